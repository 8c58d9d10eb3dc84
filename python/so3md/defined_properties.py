"""Which properties a structure has."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from ase import Atoms
from ase.calculators.calculator import PropertyNotImplementedError

#: Least volume of three unit vectors that are not in a plane but for rounding: that of the engine (geometry/cell.cpp).
_SMALLEST_UNIT_VOLUME = 1e-6


def has_volume(atoms: Atoms) -> bool:
    """Whether a stress is defined: periodic along at least one direction, and three cell vectors span a volume."""
    return bool(atoms.pbc.any()) and span_volume(atoms.cell.array)


def span_volume(cell: np.ndarray) -> bool:
    """Whether the vectors of a cell (3, 3) are three, and not in a plane."""
    lengths = np.linalg.norm(cell, axis=1)
    return bool(lengths.all()) and bool(abs(np.linalg.det(cell / lengths[:, None])) > _SMALLEST_UNIT_VOLUME)


def check_defined(properties: Sequence[str], atoms: Atoms) -> None:
    """Raise PropertyNotImplementedError for stresses without a volume."""
    stresses = [name for name in ("stress", "stresses") if name in properties]
    if stresses and not has_volume(atoms):
        raise PropertyNotImplementedError(
            f"{stresses[0]}: expected a periodic structure with three cell vectors that are not in a plane, found "
            f"pbc = {atoms.pbc.tolist()} and {atoms.cell.rank} cell vectors"
        )
