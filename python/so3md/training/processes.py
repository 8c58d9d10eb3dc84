"""The processes that share the batches of a training, by torch.distributed: gloo on processors, NCCL on GPUs.

Gradients are added up as one vector, which `FlatParameters` has anyway.
"""

from __future__ import annotations

import heapq
import os
import socket
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor
from torch import distributed as dist

from so3md._engine import cpu_quota, threads_in_environment
from so3md.parallel.team import Several, Team, usable_cores
from so3md.torch_launch import STORE, Launched, launched

#: Processes wait for the first one to check and to assess, which takes hours where there are many structures. One that
#: has ended is noticed at once.
_PATIENCE = timedelta(days=7)


class ProcessLostError(RuntimeError):
    """Another process has ended, or cannot be reached."""


class TrainingTeam(Team):
    """A process that trains alone; `TorchTeam` does for several what each method says."""

    def use(self, device: str) -> torch.device:
        """Collective: the device of this process, of a name such as cpu, cuda, cuda:1. Raises RuntimeError if PyTorch
        does not have it."""
        if device.startswith("cuda") and not torch.cuda.is_available():
            built = "this PyTorch was built without CUDA" if torch.version.cuda is None else "PyTorch finds no GPU"
            raise RuntimeError(f"device: {device} was asked for, but {built}; use cpu, or install PyTorch for CUDA")
        return torch.device(device)

    def add_up(self, values: Tensor) -> None:
        """Collective: replace values by their sums over all processes, to the bit the same on each."""

    def take_leaders(self, values: Iterable[Tensor]) -> None:
        """Collective: replace values by those of the first process."""

    def share_of(self, sizes: ArrayLike) -> list[int]:
        """Places of what this process takes of things of these sizes, in their order; the same division for all."""
        return list(range(np.size(sizes)))

    def refuse_different(self, value: Any, what: str) -> None:
        """Collective: raise RuntimeError on all processes if a value is not the same on each."""

    def first_to_fail(self) -> bool:
        """Whether this process is the first that ends with an error, which is to be shown once."""
        return True

    def close(self) -> None:
        """Leave the others, in peace."""


ALONE = TrainingTeam()
_team: TrainingTeam | None = None


def launched_team() -> TrainingTeam:
    """All processes that torchrun or `so3md train --processes` started; ALONE if this one was started alone.

    Raises RuntimeError if PyTorch has no means for them to speak to each other.
    """
    global _team
    if _team is None:
        found = launched()
        _team = ALONE if found is None or found.size == 1 else TorchTeam(found)
    return _team


def present_team() -> TrainingTeam | None:
    """What `launched_team` has returned, if it was called."""
    return _team


class TorchTeam(TrainingTeam, Several):
    """Processes of torch.distributed. Making one is collective."""

    def __init__(self, place: Launched) -> None:
        if not dist.is_available() or not dist.is_gloo_available():
            raise RuntimeError(
                f"{place.size} processes need torch.distributed with gloo, and this PyTorch was built without; install "
                "one of pytorch.org, or train in one process"
            )
        self.rank, self.size, self._local = place.rank, place.size, place
        meeting = f"file://{os.environ[STORE]}" if STORE in os.environ else "env://"
        with _lost():
            dist.init_process_group("gloo", meeting, _PATIENCE, world_size=self.size, rank=self.rank)
        self._store: Any = dist.distributed_c10d._get_default_store()
        self._gpus: Any = None  # the group of the GPUs
        self._threads = self._count_threads()

    def use(self, device: str) -> torch.device:
        found = self.together(lambda: super(TorchTeam, self).use(self._device(device)))
        if found.type == "cuda" and self._gpus is None:
            self.together(_need_nccl)
            torch.cuda.set_device(found)
            with _lost():
                self._gpus = dist.new_group(backend="nccl")
        return found

    def _device(self, device: str) -> str:
        if not device.startswith("cuda"):
            return device
        if ":" in device:
            raise RuntimeError(f"device: expected cuda for {self.size} processes, a GPU for each, found {device}")
        count = torch.cuda.device_count()
        if 0 < count < self._local.local_size:
            raise RuntimeError(
                f"device: cuda needs a GPU for each process, and {self._local.local_size} processes have {count} on "
                f"{socket.gethostname()}; start {count}"
            )
        return f"cuda:{self._local.local_rank}"

    def add_up(self, values: Tensor) -> None:
        with _lost():
            dist.all_reduce(values, group=self._group(values))

    def take_leaders(self, values: Iterable[Tensor]) -> None:
        for tensor in values:
            with _lost():
                dist.broadcast(tensor, 0, group=self._group(tensor))

    def _group(self, values: Tensor) -> Any:
        return self._gpus if values.device.type == "cuda" else None

    def share_of(self, sizes: ArrayLike) -> list[int]:
        return sorted(divide(np.asarray(sizes).tolist(), self.size)[self.rank])

    def refuse_different(self, value: Any, what: str) -> None:
        first = self.from_first(value)

        def check() -> None:
            if value != first:
                raise RuntimeError(f"{what} are not those of the first process; all must see the same files")

        self.together(check)

    def highest(self, number: int) -> int:
        highest = torch.tensor([number])
        with _lost():
            dist.all_reduce(highest, dist.ReduceOp.MAX)
        return int(highest)

    def from_first(self, value: Any) -> Any:
        box = [value]
        with _lost():
            dist.broadcast_object_list(box, 0)
        return box[0]

    def of_all(self, value: Any) -> list[Any]:
        found: list[Any] = [None] * self.size
        with _lost():
            dist.all_gather_object(found, value)
        return found

    def threads(self) -> int:
        return self._threads

    def number_on_node(self) -> int:
        return self._local.local_rank

    def _count_threads(self) -> int:
        """OMP_NUM_THREADS, but not the 1 that torchrun sets; else the cores that this process may use, each divided by
        the number of processes that share it, or what the container grants."""
        given = threads_in_environment()
        own = usable_cores()
        everyone = self.of_all((socket.gethostname(), own))
        if given and not (given == 1 and STORE not in os.environ):
            return given
        beside = [cores for host, cores in everyone if host == socket.gethostname()]
        threads = sum(1 / sum(core in cores for cores in beside) for core in own)
        quota = cpu_quota()
        if quota is not None:
            threads = min(threads, quota / len(beside))
        return max(1, int(threads + 1e-9))

    def first_to_fail(self) -> bool:
        try:
            return bool(self._store.add("so3md_failed", 1) == 1)
        except RuntimeError:  # the process that keeps it is gone
            return True

    def close(self) -> None:
        global _team
        _team = None
        dist.destroy_process_group()


def divide(sizes: Sequence[int], count: int) -> list[list[int]]:
    """Places of things of these sizes in so many shares of about the same size: the largest first, each to the share
    that has least so far."""
    shares: list[list[int]] = [[] for _ in range(count)]
    least = [(0, number) for number in range(count)]
    for place in sorted(range(len(sizes)), key=lambda k: (-sizes[k], k)):
        size, number = heapq.heappop(least)
        shares[number].append(place)
        heapq.heappush(least, (size + int(sizes[place]), number))
    return shares


def _need_nccl() -> None:
    if not dist.is_nccl_available():
        raise RuntimeError(
            "several processes with device: cuda need NCCL, and this PyTorch was built without; train in one process, "
            "or install PyTorch for CUDA on Linux"
        )


@contextmanager
def _lost() -> Iterator[None]:
    """What torch.distributed raises is that another process is gone."""
    try:
        yield
    except (RuntimeError, OSError) as error:
        raise ProcessLostError(
            "another process of this training has ended, or cannot be reached; --resume goes on from the last "
            f"checkpoint ({str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__})"
        ) from error
