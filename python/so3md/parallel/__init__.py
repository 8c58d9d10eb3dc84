"""Several processes that work on one structure, by MPI (mpi4py, which only this package imports, and only if asked to).

`MPITeam` is what the calculator makes of a communicator, `ALONE` is its counterpart without one; `launched_team` is
that of a program that mpiexec has started. docs/parallel.md tells how the work is shared.
"""

from so3md.parallel.agreement import RanksDisagreeError
from so3md.parallel.launcher import launched_team, stop_all_on_errors
from so3md.parallel.team import ALONE, MPITeam, Team, team_of

__all__ = ["ALONE", "MPITeam", "RanksDisagreeError", "Team", "launched_team", "stop_all_on_errors", "team_of"]
