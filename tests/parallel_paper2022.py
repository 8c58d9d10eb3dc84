"""Under mpiexec: results of the paper's architecture on all ranks against those of one process.

    mpiexec -n RANKS python parallel_paper2022.py MODEL STRUCTURE EXPECTED

The files are those of `test_engine_paper2022_parallel.py`. The first rank prints a JSON document: the largest
differences of each quantity in each precision, and how many ranks have atoms.
"""

from __future__ import annotations

import json
import pickle
import sys
from pathlib import Path

import numpy as np
from mpi4py import MPI

from so3md._engine import Engine, Model
from so3md.parallel.transport import MPITransport

COMM = MPI.COMM_WORLD


def main() -> None:
    """Compare."""
    model, structures, expected = Model(sys.argv[1]), *(pickle.loads(Path(name).read_bytes()) for name in sys.argv[2:])
    report: dict[str, dict[str, float]] = {}
    for key, alone in expected.items():
        name, precision = key
        engine = Engine(model, precision=precision, threads=1, transport=MPITransport(COMM))
        found = engine.evaluate(**structures[name])
        whole = {quantity: found[quantity] for quantity in ("energy", "virial")}
        of_atoms = [quantity for quantity in ("energies", "forces", "charges", "hirshfeld_ratios") if quantity in alone]
        rows = COMM.allgather((found["atoms"], *(found[quantity] for quantity in of_atoms)))
        for column, quantity in enumerate(of_atoms, start=1):
            whole[quantity] = np.empty_like(alone[quantity])
            for row in rows:
                whole[quantity][row[0]] = row[column]
        report[f"{name} {precision}"] = {
            **{quantity: float(np.abs(values - alone[quantity]).max()) for quantity, values in whole.items()},
            "owners": sum(len(atoms) > 0 for atoms, *_ in rows),
        }
    if COMM.rank == 0:
        print(json.dumps(report))


if __name__ == "__main__":
    main()
