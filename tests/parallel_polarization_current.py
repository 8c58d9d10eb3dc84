"""Under mpiexec: compare the current of polarization of all ranks with that of one process.

    mpiexec -n RANKS python parallel_polarization_current.py

The first rank prints a JSON document: for each structure the largest difference.
"""

from __future__ import annotations

import json

import numpy as np
from mpi4py import MPI
from parallel_heat_flux import moving
from parallel_systems import SYSTEMS, make_calculator

COMM = MPI.COMM_WORLD


def main() -> None:
    """Compare all."""
    report = {}
    for name, make in SYSTEMS.items():
        atoms, lr_cutoff = make()
        expected = make_calculator(lr_cutoff).get_polarization_current(moving(atoms))
        found = make_calculator(lr_cutoff, comm=COMM).get_polarization_current(atoms)
        report[name] = float(np.abs(found - expected).max())
        report[f"{name}, not the same on all ranks"] = float(len({v.tobytes() for v in COMM.allgather(found)}) > 1)
    if COMM.rank == 0:
        print(json.dumps(report))


if __name__ == "__main__":
    main()
