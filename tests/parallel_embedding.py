"""Under mpiexec: compare structures in an external potential on all ranks with those of one process.

    mpiexec -n RANKS python parallel_embedding.py

The first rank prints a JSON document: for each structure the largest difference; and what a rank with another potential
is told.
"""

from __future__ import annotations

import json

import numpy as np
from mpi4py import MPI
from parallel_systems import SYSTEMS, make_calculator

COMM = MPI.COMM_WORLD


def main() -> None:
    """Compare all."""
    report: dict[str, float | str] = {}
    for name, make in SYSTEMS.items():
        atoms, lr_cutoff = make()
        rng = np.random.default_rng(3)
        external = rng.normal(size=len(atoms)), rng.normal(size=(len(atoms), 3))
        expected = make_calculator(lr_cutoff).get_embedded(atoms, *external)
        found = make_calculator(lr_cutoff, comm=COMM).get_embedded(atoms, *external)
        report[name] = max(float(np.abs(found[key] - expected[key]).max()) for key in ("forces", "charges"))
        report[f"{name}, energy of an atom"] = abs(found["energy"] - expected["energy"]) / len(atoms)
    if COMM.size > 1:
        try:
            make_calculator(lr_cutoff, comm=COMM).get_embedded(atoms, external[0] + COMM.rank, external[1])
        except RuntimeError as error:
            report["disagreement"] = str(error)
    if COMM.rank == 0:
        print(json.dumps(report))


if __name__ == "__main__":
    main()
