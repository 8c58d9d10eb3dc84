"""Under mpiexec: a rank that leaves the others in the lurch. The argument says how."""

from __future__ import annotations

import os
import signal
import sys
import time

from ase.build import molecule
from mpi4py import MPI
from parallel_systems import make_calculator

from so3md.parallel import team
from so3md.parallel.transport import MPITransport

COMM = MPI.COMM_WORLD
LAST = COMM.rank == COMM.size - 1


def no_memory(*_: object) -> None:
    raise MemoryError("there is no room")


def main(how: str) -> None:
    """Evaluate, fail in the way asked for on the last rank (or on all), evaluate again."""
    atoms = molecule("CH3CH2OH")
    atoms.calc = make_calculator(comm=COMM.Split(LAST) if how == "team" else COMM)
    atoms.get_forces()
    atoms.positions[0] += 0.01
    if how == "uncaught" and LAST:
        raise KeyError("a mistake in the script")
    if how == "all":
        atoms.positions[0] = atoms.positions[1]
    if how == "team" and LAST:  # which is a team of its own
        raise KeyError("a mistake in the script")
    if how == "team":
        COMM.Barrier()
    if how == "middle" and LAST:
        MPITransport.start = no_memory
    if how == "killed" and LAST:
        os.kill(os.getpid(), signal.SIGKILL)
    if how == "late":
        team.WARN_AFTER = 0.5
        time.sleep(2.0 if LAST else 0.0)
    atoms.get_forces()
    print("not reached" if how != "late" else "reached")


if __name__ == "__main__":
    main(sys.argv[1])
