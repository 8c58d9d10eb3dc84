"""Child process of parallel.py: NVE molecular dynamics of water in ASE, alone or under mpiexec; prints what it took.

[mpiexec -n N] python benchmarks/md_in_ase.py ATOMS --threads T --steps S
"""

from __future__ import annotations

import argparse
import json
import os
import time
from typing import Any

from ase.md.verlet import VelocityVerlet
from systems import TIMESTEP, moving_water

from so3md import So3kratesCalculator


def communicator() -> Any:
    """MPI.COMM_WORLD under mpiexec, else None."""
    if "PMI_SIZE" not in os.environ:
        return None
    from mpi4py import MPI

    return MPI.COMM_WORLD


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("atoms", type=int)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--steps", type=int, required=True)
    parser.add_argument("--warm-up", type=int, default=5)
    options = parser.parse_args()
    comm = communicator()
    atoms = moving_water(options.atoms)
    atoms.calc = So3kratesCalculator(threads=options.threads, comm=comm)
    with VelocityVerlet(atoms, timestep=TIMESTEP) as dynamics:
        dynamics.run(options.warm_up)
        before = atoms.calc.engine_info()
        begin = time.perf_counter()
        dynamics.run(options.steps)
        seconds = time.perf_counter() - begin
    after = atoms.calc.engine_info()
    result = {
        "seconds_per_step": seconds / options.steps,
        "stage_seconds_per_step": {
            stage: (total - before["stage_seconds"][stage]) / options.steps
            for stage, total in after["stage_seconds"].items()
        },
    }
    if comm is None or comm.rank == 0:
        print(json.dumps(result))


if __name__ == "__main__":
    main()
