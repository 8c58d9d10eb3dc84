"""Under mpiexec: compare the results of all ranks with those of one process, which the file EXPECTED holds.

    mpiexec -n RANKS python parallel_equality.py EXPECTED

The first rank prints a JSON document: for each structure the largest difference of each quantity.
"""

from __future__ import annotations

import json
import pickle
import sys
from pathlib import Path
from typing import Any

import numpy as np
from mpi4py import MPI
from parallel_systems import MOVED, make_calculator, results, results_of_all, run_dynamics

COMM = MPI.COMM_WORLD


def differences(found: dict[str, Any], expected: dict[str, Any]) -> dict[str, Any]:
    """The largest difference of each quantity, that of the energy also relative to it."""
    assert found.keys() == expected.keys(), (found.keys(), expected.keys())
    report: dict[str, Any] = {
        key: float(np.max(np.abs(np.subtract(found[key], value)))) for key, value in expected.items()
    }
    report["relative energy"] = report["energy"] / abs(expected["energy"])
    bits = repr([(key, np.asarray(found[key]).tobytes()) for key in sorted(found)])
    return report | {"same on all ranks": len(set(COMM.allgather(bits))) == 1}


def move(positions: np.ndarray, expected: dict[str, Any]) -> dict[str, Any]:
    """Molecular dynamics on all ranks, and the results at the end of it. positions: those of a process alone."""
    calculator = make_calculator(comm=COMM)
    owners: list[np.ndarray] = []
    members = lambda: calculator._evaluators[calculator._last].members  # noqa: E731
    atoms = run_dynamics(calculator, lambda: owners.append(members()[0].gatherer.owners()))
    apart = float(np.abs(atoms.positions - positions).max())
    atoms.positions[:] = positions  # only then are the results comparable to 1e-9
    return differences(results(atoms), expected) | {
        "positions": apart,
        "rebuilds": calculator.engine_info()["neighbour_rebuilds"],
        "moved": int(np.any([later != owners[0] for later in owners], axis=0).sum()),
    }


def main() -> None:
    """Compare all."""
    expected = pickle.loads(Path(sys.argv[1]).read_bytes())
    report = {name: differences(found, expected[name]) for name, found in results_of_all(COMM).items()}
    if COMM.size > 1:
        report[MOVED] = move(expected["positions"], expected[MOVED])
    if COMM.rank == 0:
        print(json.dumps(report))


if __name__ == "__main__":
    main()
