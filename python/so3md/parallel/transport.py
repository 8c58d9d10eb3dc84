"""What the engine needs of MPI, on NumPy arrays and memory that it owns; see csrc/halo/transport.h."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from mpi4py import MPI

#: Memory for, or from, a rank.
Message = tuple[int, memoryview]


def environment_switch(variable: str) -> bool:
    """Whether an environment variable is 1; it may be 0, empty or not set. Raises ValueError for anything else."""
    value = os.environ.get(variable, "")
    if value not in ("", "0", "1"):
        raise ValueError(f"the environment variable {variable} is {value!r}: expected 1 (on) or 0 (off), or nothing")
    return value == "1"


class MPITransport:
    """The transport of an engine (`so3md._engine.Engine`) over a communicator that nothing else uses meanwhile.

    Any object with these members serves: the engine calls them in the order in which all ranks do, and what they raise
    comes out of the evaluation. device_memory (optional): whether messages may lie in the memory of a GPU, of which the
    memory views then hold the addresses; mpi4py cannot ask its MPI library, so that SO3MD_CUDA_MPI=1 has to say so.
    """

    def __init__(self, comm: MPI.Intracomm) -> None:
        from mpi4py import MPI

        self.rank: int = comm.rank
        self.size: int = comm.size
        self.device_memory = environment_switch("SO3MD_CUDA_MPI")
        self._comm, self._in_place, self._wait_for_all = comm, MPI.IN_PLACE, MPI.Request.Waitall
        self._requests: list[MPI.Request] = []

    def sum(self, values: np.ndarray) -> None:
        """Replace the values (float64) by their sums over all ranks: to the bit the same on each, as MPI demands."""
        self._comm.Allreduce(self._in_place, values)

    def transpose(self, send: np.ndarray, received: np.ndarray) -> None:
        """Number p of send (int32, as many as ranks) goes to rank p, number p of received comes from it."""
        self._comm.Alltoall(send, received)

    def start(self, sends: Sequence[Message], receives: Sequence[Message]) -> None:
        """Begin to exchange messages, at most one each way with each rank; the memory stays in place until `finish`."""
        self._requests = [self._comm.Irecv(memory, source=rank) for rank, memory in receives]
        self._requests += [self._comm.Isend(memory, dest=rank) for rank, memory in sends]

    def finish(self) -> None:
        """Wait until all of them are through."""
        self._wait_for_all(self._requests)
        self._requests = []
