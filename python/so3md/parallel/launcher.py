"""Programs that mpiexec starts: noticing it, and ending all ranks when one fails."""

from __future__ import annotations

import os
import sys
from types import TracebackType

from so3md.parallel.team import ALONE, MPITeam, Team

#: Variables with the number of ranks and this rank, by launcher: MPICH, Intel MPI and Slurm (pmi2), Open MPI, MVAPICH.
_LAUNCHERS = (
    ("PMI_SIZE", "PMI_RANK"),
    ("OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_RANK"),
    ("MV2_COMM_WORLD_SIZE", "MV2_COMM_WORLD_RANK"),
)


def launched_ranks() -> tuple[int, int]:
    """(rank, number of ranks) according to the program that started this process; (0, 1) if it was started alone."""
    for size, rank in _LAUNCHERS:
        if os.environ.get(size, "").isdigit():
            return int(os.environ.get(rank, 0)), int(os.environ[size])
    if "PMIX_RANK" in os.environ:  # Slurm with PMIx; Open MPI was found above
        return int(os.environ["PMIX_RANK"]), int(os.environ.get("SLURM_NTASKS", 1))
    return 0, 1


def launched_team() -> Team:
    """The team of all ranks that mpiexec started; ALONE, without any MPI, if it started one process or none.

    Raises ImportError if mpi4py is missing, RuntimeError if it belongs to another MPI than the launcher.
    """
    _, size = launched_ranks()
    if size == 1:
        return ALONE
    try:
        from mpi4py import MPI
    except ImportError as error:
        raise ImportError(
            f"{size} processes were started to work together, which needs mpi4py: pip install mpi4py, or start one "
            f"process without mpiexec ({error})"
        ) from error
    comm = MPI.COMM_WORLD
    if comm.size != size:
        raise RuntimeError(
            f"the launcher started {size} processes, of which mpi4py finds {comm.size}: mpiexec and mpi4py belong to "
            f"different MPI libraries; mpi4py uses {MPI.Get_library_version().splitlines()[0].strip()}"
        )
    return MPITeam(comm)


def stop_all_on_errors(team: Team) -> None:
    """Let an exception that nothing catches end all ranks, with one message, instead of leaving the others waiting.

    Puts a hook before sys.excepthook, once. If all ranks end with an exception, the first rank shows its own; if only
    some do, they show theirs, and all ranks are stopped with exit code 1.
    """
    others = isinstance(team, MPITeam) and (team.size > 1 or team.has_outsiders())
    if not others or getattr(sys.excepthook, "stops_all", False):
        return
    show = sys.excepthook

    def hook(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        everyone = team.all_fail()
        if team.leads or not everyone:
            sys.stderr = sys.__stderr__  # which commands silence on all ranks but the first
            show(kind, error, trace)
        # Ranks of other communicators may wait for this one, even if it takes its whole team along.
        if not everyone or (team.leads and team.has_outsiders()):
            team.abort("it ended with the error above; all ranks are stopped")

    hook.stops_all = True
    sys.excepthook = hook
