"""Which properties a structure has."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from ase import Atoms
from ase.calculators.calculator import PropertyNotImplementedError

#: Least volume of three unit vectors that are not in a plane but for rounding: that of the engine (geometry/cell.cpp).
_SMALLEST_UNIT_VOLUME = 1e-6


def volume_of(atoms: Atoms) -> float | None:
    """The volume (A^3) that a stress belongs to: of a cell that is periodic along at least one direction, and whose
    three vectors are not in a plane. None where there is none."""
    return spanned_volume(atoms.cell.array) if atoms.pbc.any() else None


def spanned_volume(cell: np.ndarray) -> float | None:
    """The volume (A^3) between the vectors of a cell (3, 3); None if they are fewer than three, or in a plane.

    In plain numbers, because it is needed at every step, and numpy takes ten times as long for so few.
    """
    a, b, c = cell.tolist()
    normal = (b[1] * c[2] - b[2] * c[1], b[2] * c[0] - b[0] * c[2], b[0] * c[1] - b[1] * c[0])
    volume = abs(a[0] * normal[0] + a[1] * normal[1] + a[2] * normal[2])
    box = math.hypot(*a) * math.hypot(*b) * math.hypot(*c)
    return volume if volume > _SMALLEST_UNIT_VOLUME * box else None


def check_defined(properties: Sequence[str], atoms: Atoms) -> None:
    """Raise PropertyNotImplementedError for stresses without a volume."""
    stresses = [name for name in ("stress", "stresses") if name in properties]
    if stresses and volume_of(atoms) is None:
        raise PropertyNotImplementedError(
            f"{stresses[0]}: expected a periodic structure with three cell vectors that are not in a plane, found "
            f"pbc = {atoms.pbc.tolist()} and {atoms.cell.rank} cell vectors"
        )
