"""Under mpiexec: compare uncertainties and results of a committee and of a single model with those of one process.

    mpiexec -n RANKS python parallel_uncertainty.py MODEL [OTHER ...]

Models have the elements of water; the first knows its last layer, and all are the committee. The first rank prints a
JSON document: for each of the two, the largest difference of each quantity.
"""

from __future__ import annotations

import json
import sys
from typing import Any

import numpy as np
from mpi4py import MPI
from parallel_systems import make_calculator, water_box

COMM = MPI.COMM_WORLD
QUANTITIES = ("energy", "forces", "stress", "uncertainty", "forces_uncertainty")


def results(models: str | list[str], comm: Any) -> dict[str, Any]:
    atoms = water_box(3)
    atoms.calc = make_calculator(12.0, model=models, comm=comm)
    atoms.get_forces()
    return {key: atoms.calc.results[key] for key in QUANTITIES}


def main() -> None:
    """Compare both."""
    report = {}
    for name, models in (("single", sys.argv[1]), ("committee", sys.argv[1:])):
        expected, found = results(models, None), results(models, COMM)
        for key, value in expected.items():
            report[f"{name}, {key}"] = float(np.abs(np.subtract(found[key], value)).max())
        bits = COMM.allgather(np.asarray(found["forces_uncertainty"]).tobytes())
        report[f"{name}, not the same on all ranks"] = float(len(set(bits)) > 1)
    if COMM.rank == 0:
        print(json.dumps(report))


if __name__ == "__main__":
    main()
