"""Under mpiexec: compare the heat flux of all ranks with that of one process.

    mpiexec -n RANKS python parallel_heat_flux.py [MODEL]

MODEL is SO3LR, if none is given. The first rank prints a JSON document: for each structure the largest difference of
each part; and those that are no numbers are 1 where something else than the result is wrong.
"""

from __future__ import annotations

import json
import sys

import numpy as np
from ase import Atoms
from mpi4py import MPI
from parallel_systems import SYSTEMS, make_calculator

from so3md.parallel.agreement import RanksDisagreeError

COMM = MPI.COMM_WORLD


def moving(atoms: Atoms) -> Atoms:
    """With velocities."""
    atoms.set_velocities(np.random.default_rng(7).normal(size=(len(atoms), 3)) * 0.01)
    return atoms


def refused(atoms: Atoms, model: str) -> bool:
    """Whether velocities that differ between ranks are found."""
    if COMM.size == 1:
        return True
    other = atoms.copy()
    other.arrays["momenta"] *= 1 + 0.01 * COMM.rank
    try:
        make_calculator(comm=COMM, model=model).get_heat_flux(other)
    except RanksDisagreeError as error:
        return "velocities of" in str(error)
    return False


def main() -> None:
    """Compare all."""
    report, model = {}, sys.argv[1] if len(sys.argv) > 1 else "so3lr"
    for name, make in SYSTEMS.items():
        atoms, lr_cutoff = make()
        expected = make_calculator(lr_cutoff, model=model).get_heat_flux_parts(moving(atoms))
        found = make_calculator(lr_cutoff, comm=COMM, model=model).get_heat_flux_parts(atoms)
        for part, value in expected.items():
            report[f"{name}, {part}"] = float(np.abs(found[part] - value).max())
        bits = {values.tobytes() for values in COMM.allgather(found["potential"])}
        report[f"{name}, not the same on all ranks"] = float(len(bits) > 1)
    report["velocities that differ are not refused"] = float(not refused(moving(SYSTEMS["water"]()[0]), model))
    if COMM.rank == 0:
        print(json.dumps(report))


if __name__ == "__main__":
    main()
