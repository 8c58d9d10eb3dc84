"""Cells as most trajectory formats want them: the first vector along x, the second in the xy plane.

Such formats keep lengths and angles, or readers turn a matrix into that orientation and leave positions as they were.
So positions, velocities and forces are turned with the cell here. (A run keeps the directions of its cell vectors.)
"""

from __future__ import annotations

import numpy as np
from ase import Atoms


def standard_orientation(atoms: Atoms) -> tuple[np.ndarray, np.ndarray]:
    """The cell (3, 3), all zero where nothing is periodic, and a rotation (3, 3): vectors v of atoms become v @ it."""
    if not atoms.pbc.any() or not atoms.cell.any(1).all():
        return np.zeros((3, 3)), np.eye(3)
    cell = atoms.cell.array
    if np.linalg.det(cell) < 0:
        cell = -cell  # the same lattice; lengths and angles alone would make of a left-handed cell its mirror image
    if np.array_equal(cell, np.tril(cell)) and (np.diag(cell) > 0).all():
        return cell, np.eye(3)
    first = cell[0] / np.linalg.norm(cell[0])
    third = np.cross(cell[0], cell[1])
    third /= np.linalg.norm(third)
    rotation = np.stack([first, np.cross(third, first), third], axis=1)
    return np.tril(cell @ rotation), rotation


def lengths_and_angles(cell: np.ndarray) -> np.ndarray:
    """(6,): lengths (Angstrom), and alpha, beta and gamma (degrees); zeros, and right angles, without a cell."""
    from ase.geometry import cell_to_cellpar

    return cell_to_cellpar(cell) if cell.any() else np.array([0, 0, 0, 90, 90, 90], dtype=float)
