"""The processes that work together: who leads, who does what, and how all of them learn of an error."""

from __future__ import annotations

import os
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

import numpy as np

from so3md.missing_packages import needed
from so3md.mpi_exit import PATIENCE, end_all, joined, who_left

if TYPE_CHECKING:
    from mpi4py import MPI

T = TypeVar("T")

#: How many ranks the launcher has put on this node, by launcher: MPICH and Intel MPI, Open MPI, MVAPICH.
_LOCAL_SIZES = ("MPI_LOCALNRANKS", "OMPI_COMM_WORLD_LOCAL_SIZE", "MV2_COMM_WORLD_LOCAL_SIZE")

#: Seconds after which a rank that waits for the others says so.
WARN_AFTER = 60.0

#: Seconds after which it looks whether they are still there.
_LOOK_AFTER = 1.0


class Team:
    """A process alone: each method does what it says for one process. `MPITeam` does it for several.

    All methods but `abort` are collective: every rank must call them, in the same order.
    """

    rank = 0
    size = 1

    @property
    def several(self) -> MPITeam | None:
        """This team, if it is of several ranks."""
        return None

    @property
    def leads(self) -> bool:
        """Whether this is the one process that reads, writes and prints."""
        return self.rank == 0

    def from_leader(self, function: Callable[[], T]) -> T:
        """What the function returns on the leader, which alone calls it; what it raises there is raised on all."""
        return function()

    def on_leader(self, function: Callable[[], T]) -> T | None:
        """As `from_leader`, for what cannot be sent, such as open files: the other ranks get None."""
        return function()

    def together(self, function: Callable[[], T]) -> T:
        """What the function returns here, once it has returned on all ranks; one error for all if it failed on any."""
        return function()

    def highest(self, number: int) -> int:
        """The highest of the ranks' numbers."""
        return number

    def threads(self) -> int:
        """Threads for this process, 0 for all cores that it may use; not collective."""
        return 0

    def number_on_node(self) -> int:
        """Number of this process among those of the team on the same machine; not collective."""
        return 0


#: The team of a process that works alone.
ALONE = Team()


class Several(Team):
    """Processes that agree by two operations on what can be pickled, which a subclass has: `from_first`, `of_all`."""

    def from_first(self, value: Any) -> Any:
        """Collective: what the first rank gives."""
        raise NotImplementedError

    def of_all(self, value: Any) -> list[Any]:
        """Collective: what each rank gives, in their order."""
        raise NotImplementedError

    def from_leader(self, function: Callable[[], T]) -> T:
        return self._on_leader(function, share=True)

    def on_leader(self, function: Callable[[], T]) -> T | None:
        return self._on_leader(function, share=False)

    def _on_leader(self, function: Callable[[], Any], share: bool) -> Any:
        value, error = _outcome(function) if self.leads else (None, None)
        report = None if error is None else _report(error)
        report, shared = self.from_first((report, value if share else None))
        if report is not None:
            raise error or _exception(*report)
        return value if self.leads else shared

    def together(self, function: Callable[[], T]) -> T:
        value, error = _outcome(function)
        if self.highest(error is not None):
            self.raise_together(error)
        return value

    def raise_together(self, error: Exception | None, missing: type[Exception] | None = None) -> NoReturn:
        """Collective: raise, on all ranks, the error of the first rank that has one, and say which ranks have it.

        An error of the type `missing` only says that another rank failed.
        """
        report = None if error is None or (missing and isinstance(error, missing)) else _report(error)
        reports = self.of_all(report)
        failed = [rank for rank, found in enumerate(reports) if found is not None]
        if not failed:
            raise RuntimeError("a rank failed without an error") from error
        kind, text = reports[failed[0]]
        if missing is None and len(set(reports)) > 1:
            text = f"on rank {failed[0]} of {self.size}: {text}"
        if error is not None and report == (kind, text):
            raise error
        raise _exception(kind, text) from (None if report is None else error)


class MPITeam(Several):
    """The ranks of an mpi4py communicator. Making one is collective.

    comm is the user's; all messages go through duplicates of it, so that they never meet others.
    """

    def __init__(self, comm: MPI.Intracomm) -> None:
        """Raises TypeError for what is no communicator, or one between groups, and ImportError without mpi4py."""
        with needed("comm", "mpi4py", "mpi4py"):
            from mpi4py import MPI

        self.comm = _checked(comm)
        self.rank, self.size = comm.rank, comm.size
        self._in_world = comm.Get_group().Translate_ranks(range(comm.size), MPI.COMM_WORLD.Get_group())
        self.wait(comm.Ibarrier(), "make a calculator with the same comm")
        self.messages, self._errors = _duplicates(comm)
        joined(self._errors, self._in_world)
        self._threads = _threads_of_rank(self.messages)
        self._number_on_node = _number_on_node(self.messages)

    @property
    def several(self) -> MPITeam | None:
        return self if self.size > 1 else None

    def from_first(self, value: Any) -> Any:
        return self.messages.bcast(value, root=0)

    def of_all(self, value: Any) -> list[Any]:
        return self.messages.allgather(value)

    def highest(self, number: int) -> int:
        from mpi4py import MPI

        highest = np.array([number], dtype=np.int64)
        self.messages.Allreduce(MPI.IN_PLACE, highest, MPI.MAX)
        return int(highest[0])

    def threads(self) -> int:
        return self._threads

    def number_on_node(self) -> int:
        return self._number_on_node

    def wait(self, request: MPI.Request, what: str) -> None:
        """Wait for the others to do what they are asked to; say so if that takes long, and end all if one has ended.

        Scripts easily ask for an energy on one rank only, or call sys.exit there.
        """
        begin = time.monotonic()
        look, warn, gone = begin + _LOOK_AFTER, begin + WARN_AFTER, None
        while not request.Test():
            now = time.monotonic()
            if now > look:
                look = now + _LOOK_AFTER
                if gone is not None:  # and what it sent before it ended is not on its way either
                    self.abort(f"rank {gone} has ended, and the others wait for it to {what}: every rank must do so")
                gone = who_left(self._in_world)
            if now > warn:
                warn = float("inf")
                print(
                    f"so3md: rank {self.rank} of {self.size} has waited {WARN_AFTER:g} s for the others to {what}, and "
                    "goes on waiting: every rank must do so",
                    file=sys.__stderr__,
                    flush=True,
                )

    @contextmanager
    def inseparable(self, *common: type[Exception]) -> Iterator[None]:
        """For what all ranks do in step: an error that only this rank has ends the program, since the others wait.

        Errors of the types `common` are those that all ranks have at the same place; they pass.
        """
        try:
            yield
        except common:
            raise
        except BaseException as error:
            traceback.print_exc()
            name = type(error).__name__
            self.abort(f"{name} in the middle of an evaluation, where the other ranks wait for this one: {error}")

    def abort(self, message: str, code: int = 1) -> NoReturn:
        """Print the message and end the processes of all ranks of the program, wherever they are."""
        from mpi4py import MPI

        end_all(MPI.COMM_WORLD, message, code)

    def has_outsiders(self) -> bool:
        """Whether the program has ranks that are not in this team."""
        from mpi4py import MPI

        return MPI.COMM_WORLD.size > self.size

    def all_fail(self) -> bool:
        """Called by a rank that ends with an error: whether all ranks do so, within some seconds, and not it alone."""
        arrived = self._errors.Ibarrier()
        deadline = time.monotonic() + PATIENCE
        while not arrived.Test():
            if time.monotonic() > deadline:
                return False
            time.sleep(0.01)
        return True


def team_of(calculator: Any) -> Team:
    """The team that a calculator works in; ALONE for one of another kind.

    >>> from so3md import So3kratesCalculator
    >>> team_of(So3kratesCalculator()).size
    1
    """
    return getattr(calculator, "team", ALONE)


def _checked(comm: Any) -> Any:
    from mpi4py import MPI

    if not isinstance(comm, MPI.Intracomm) or comm == MPI.COMM_NULL:
        raise TypeError(f"comm: expected an mpi4py communicator, such as mpi4py.MPI.COMM_WORLD, found {comm!r}")
    return comm


_key: int | None = None


def _duplicates(comm: MPI.Intracomm) -> tuple[MPI.Intracomm, MPI.Intracomm]:
    """Communicators of the same ranks for data and for errors; made once, since MPI has room for some thousand."""
    from mpi4py import MPI

    global _key
    if _key is None:
        _key = MPI.Comm.Create_keyval()
    found: Any = comm.Get_attr(_key)
    if found is None:
        found = comm.Dup(), comm.Dup()
        comm.Set_attr(_key, found)
    data, errors = found
    return data, errors


def _threads_of_rank(comm: MPI.Intracomm) -> int:
    """OMP_NUM_THREADS, which is that of each rank; else the cores that this rank may use, or what its container grants,
    each divided by the number of ranks that share it; at least one.
    """
    from mpi4py import MPI

    from so3md._engine import cpu_quota, threads_in_environment

    own_number, quota = threads_in_environment(), cpu_quota()
    own = usable_cores()
    node = comm.Split_type(MPI.COMM_TYPE_SHARED)
    everyone = node.allgather(own)
    node.Free()
    threads = sum(1 / sum(core in cores for cores in everyone) for core in own)
    # Ranks outside this communicator, of which only the launcher knows, share the cores alike.
    outsiders = max((int(os.environ.get(name, 0)) for name in _LOCAL_SIZES), default=0) - len(everyone)
    if outsiders > 0 and len(own) == os.cpu_count():
        threads = min(threads, len(own) / (len(everyone) + outsiders))
    if quota is not None:
        threads = min(threads, quota / (len(everyone) + max(0, outsiders)))
    return own_number or max(1, int(threads + 1e-9))


def _number_on_node(comm: MPI.Intracomm) -> int:
    from mpi4py import MPI

    node = comm.Split_type(MPI.COMM_TYPE_SHARED)
    number = node.rank
    node.Free()
    return int(number)


def usable_cores() -> frozenset[int]:
    """Numbers of the cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return frozenset(os.sched_getaffinity(0))
    return frozenset(range(os.cpu_count() or 1))


def _outcome(function: Callable[[], T]) -> tuple[Any, Exception | None]:
    try:
        return function(), None
    except Exception as error:
        return None, error


def _report(error: Exception) -> tuple[type, str]:
    """What is sent of an error. Types travel by name: one that others cannot import becomes RuntimeError."""
    kind = type(error)
    importable = kind is getattr(sys.modules.get(kind.__module__), kind.__qualname__, None)
    return (kind, str(error)) if importable else (RuntimeError, f"{kind.__name__}: {error}")


def _exception(kind: type, text: str) -> Exception:
    try:
        return kind(text)
    except Exception:  # some types want other arguments
        return RuntimeError(f"{kind.__name__}: {text}")
