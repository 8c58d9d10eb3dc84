"""Programs that mpiexec starts: noticing it, and ending all ranks when one fails."""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import TracebackType
from typing import Any

from so3md.missing_packages import needed
from so3md.mpi_exit import launched_ranks, shown_by
from so3md.parallel.team import ALONE, MPITeam, Team


def launched_team() -> Team:
    """The team of all ranks that mpiexec started; ALONE, without any MPI, if it started one process or none.

    Raises ImportError if mpi4py is missing, RuntimeError if it belongs to another MPI than the launcher.
    """
    _, size = launched_ranks()
    if size == 1:
        return ALONE
    with needed(f"a run of {size} MPI processes", "mpi4py", "mpi4py, or start one process without mpiexec"):
        from mpi4py import MPI
    comm = MPI.COMM_WORLD
    if comm.size != size:
        raise RuntimeError(
            f"mpiexec started {size} processes, and mpi4py finds {comm.size}: they belong to different MPI libraries; "
            f"mpi4py uses {MPI.Get_library_version().splitlines()[0].strip()}"
        )
    return MPITeam(comm)


def stop_all_on_errors(team: Team) -> None:
    """Let an exception that nothing catches end all ranks, with one message, instead of leaving the others waiting.

    Puts a hook before sys.excepthook, once. If all ranks end with an exception, the first rank shows its own; if only
    some do, they show theirs, and all ranks are stopped with exit code 1.
    """
    if not isinstance(team, MPITeam) or isinstance(sys.excepthook, _StoppingHook):
        return
    if team.size > 1 or team.has_outsiders():
        sys.excepthook = _StoppingHook(team, shown_by(sys.excepthook))  # it does the work of that of `watch`


class _StoppingHook:
    """What ends all ranks of a team, and has an error shown by another hook."""

    def __init__(self, team: MPITeam, shows: Callable[..., Any]) -> None:
        self._team, self._shows = team, shows

    def __call__(self, kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        team = self._team
        everyone = team.all_fail()
        if team.leads or not everyone:
            sys.stderr = sys.__stderr__  # which commands silence on all ranks but the first
            self._shows(kind, error, trace)
        # Ranks of other communicators may wait for this one, even if it takes its whole team along.
        if not everyone or (team.leads and team.has_outsiders()):
            team.abort("it ended with the error above; all ranks are stopped")
