"""Programs that mpiexec starts: a rank that ends early does not leave the others waiting.

`import so3md` calls `watch`, which costs nothing where no launcher of MPI is at work, and never imports mpi4py. Under a
launcher, an exception that nothing catches ends all ranks, from the import on. A rank that has been one of a team
(`joined`) and ends in any other way tells the others of that team so; whoever waits for it within so3md (`who_left`)
then ends the program.

A rank without a team says nothing when it ends well. It could only use the communicator of the script, where a manager
that waits for results of any worker would take the message for one.
"""

from __future__ import annotations

import atexit
import os
import sys
import time
from collections.abc import Callable, Iterable
from types import TracebackType
from typing import Any, NoReturn

#: Variables with the number of ranks and this rank, by launcher: MPICH, Intel MPI and Slurm (pmi2), Open MPI, MVAPICH.
_LAUNCHERS = (
    ("PMI_SIZE", "PMI_RANK"),
    ("OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_RANK"),
    ("MV2_COMM_WORLD_SIZE", "MV2_COMM_WORLD_RANK"),
)

#: Of the messages by which ranks say that they end. Programs may use any tag up to 32767; one in the middle is rare.
_TAG = 29_529

#: Seconds within which all ranks report an error that all of them have.
PATIENCE = 3.0

#: Seconds between the last message of a program and its end. mpiexec of MPICH reads messages from pipes, and drops
#: what it has not read when it learns of the end.
_PASSING_ON = 0.3

_process = 0  # that watches
_told: list[Any] = []  # the messages to the others, which must live until they are through
_teams: list[tuple[Any, list[int]]] = []  # communicators of so3md's own, and the ranks of the program that are in them


def launched_ranks() -> tuple[int, int]:
    """(rank, number of ranks) according to the program that started this process; (0, 1) if it was started alone."""
    for size, rank in _LAUNCHERS:
        if os.environ.get(size, "").isdigit():
            return int(os.environ.get(rank, 0)), int(os.environ[size])
    if "PMIX_RANK" in os.environ:  # Slurm with PMIx; Open MPI was found above
        return int(os.environ["PMIX_RANK"]), int(os.environ.get("SLURM_NTASKS", 1))
    return 0, 1


def watch() -> None:
    """Under a launcher of several ranks: have this rank tell the others when it ends. Once is enough."""
    global _process
    if _process == os.getpid() or launched_ranks()[1] == 1:
        return
    _process = os.getpid()
    atexit.register(_tell_others)  # before mpi4py finalises MPI, which it does when Python itself is gone
    sys.excepthook = _EndingHook(sys.excepthook)


class _EndingHook:
    """What shows an error as another hook does, and then ends all ranks, or ends with them."""

    def __init__(self, shows: Callable[..., Any]) -> None:
        self.shows = shows

    def __call__(self, kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        self.shows(kind, error, trace)
        _end_all_unless_all_end()


def shown_by(hook: Any) -> Any:
    """The hook below that of `watch`, for one that takes its place."""
    return hook.shows if isinstance(hook, _EndingHook) else hook


def joined(comm: Any, in_world: Iterable[int]) -> None:
    """This rank is in a team: comm is a communicator of so3md's, in_world its ranks by their numbers in the program."""
    if all(comm != known for known, _ in _teams):
        _teams.append((comm, list(in_world)))


def who_left(ranks: Iterable[int]) -> int | None:
    """The first of these ranks of the program that has ended, as far as is known; None: none of them."""
    world = _world()
    if world is None:
        return None
    return next((rank for rank in ranks if rank != world.rank and _has_left(rank, world)), None)


def _has_left(rank: int, world: Any) -> bool:
    if world.Iprobe(source=rank, tag=_TAG):  # it ends with an error
        return True
    return any(rank in members and comm.Iprobe(source=members.index(rank), tag=_TAG) for comm, members in _teams)


def _world() -> Any:
    """All ranks, where this process can still speak to them; never starts MPI."""
    module = sys.modules.get("mpi4py.MPI")
    if _process != os.getpid() or module is None or not module.Is_initialized() or module.Is_finalized():
        return None
    return module.COMM_WORLD


def _tell_others() -> None:
    """Tell those in the teams of this rank that have not ended yet; wait a little until they do, so that MPI finds
    nothing unfinished."""
    if _world() is None or _told:
        return
    # Who has ended waits in MPI_Finalize and receives nothing more.
    others = [(comm, rank) for comm, members in _teams for rank in range(len(members)) if rank != comm.rank]
    waiting = [(comm, rank) for comm, rank in others if not comm.Iprobe(source=rank, tag=_TAG)]
    _told.extend(comm.Isend(b"", dest=rank, tag=_TAG) for comm, rank in waiting)
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        waiting = [(comm, rank) for comm, rank in waiting if not comm.Iprobe(source=rank, tag=_TAG)]
        if not waiting and all(request.Test() for request in _told):
            break
        time.sleep(0.001)
    for comm, rank in others:
        if comm.Iprobe(source=rank, tag=_TAG):
            comm.Recv(bytearray(0), source=rank, tag=_TAG)


def _end_all_unless_all_end() -> None:
    """After an error: wait a little for the others to end as well, and else end them."""
    world = _world()
    if world is None:
        return
    others = set(range(world.size)) - {world.rank}
    _told.extend(world.Isend(b"", dest=rank, tag=_TAG) for rank in others)
    deadline = time.monotonic() + PATIENCE
    while others and time.monotonic() < deadline:
        others = {rank for rank in others if not world.Iprobe(source=rank, tag=_TAG)}
        time.sleep(0.01)
    if others:
        end_all(world, "it ended with the error above; all ranks are stopped")


def end_all(world: Any, message: str, code: int = 1) -> NoReturn:
    """Print the message with the rank's number and end all ranks of world, the communicator of the whole program."""
    print(f"so3md: rank {world.rank} of {world.size}: {message}", file=sys.__stderr__, flush=True)
    time.sleep(_PASSING_ON)
    world.Abort(code)
    raise SystemExit(code)  # not reached
