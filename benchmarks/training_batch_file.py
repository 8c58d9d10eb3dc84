"""Reading what `training_batches.save_batch` has written, without so3md: also under the Python of a peer."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from ase import Atoms


def read_batch(file: Path) -> Iterator[tuple[Atoms, float, np.ndarray]]:
    """Each structure with its energy (eV) and forces (eV/A)."""
    data = np.load(file)
    ends = np.cumsum(data["counts"])[:-1]
    arrays = (np.split(data[name], ends) for name in ("numbers", "positions", "forces"))
    for numbers, positions, forces, cell, pbc, energy in zip(
        *arrays, data["cells"], data["pbc"], data["energies"], strict=True
    ):
        yield Atoms(numbers, positions, cell=cell, pbc=pbc), float(energy), forces
