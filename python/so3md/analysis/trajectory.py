"""A trajectory in memory: what the analyses are given, whatever file it came from."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from ase import Atoms

from so3md.analysis.results import Unavailable


@dataclass
class Trajectory:
    """f frames of n atoms that stay the same.

    positions (f, n, 3) in Angstrom, wrapped or not; cells (f, 3, 3), zero where there is none; times (f) in ps;
    velocities (f, n, 3) in Angstrom/ps; charges (f, n) in e; energies (f) in eV. None: the file has no such thing.
    log: columns of log.csv, by their names, also of a log of LAMMPS; info: charge and spin, as ASE keeps them.
    """

    source: str
    numbers: np.ndarray
    masses: np.ndarray
    pbc: np.ndarray
    positions: np.ndarray
    cells: np.ndarray
    times: np.ndarray | None = None
    velocities: np.ndarray | None = None
    charges: np.ndarray | None = None
    energies: np.ndarray | None = None
    log: dict[str, np.ndarray] | None = None
    degrees_of_freedom: int = 0
    info: dict[str, Any] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.positions)

    def atoms(self, frame: int = -1) -> Atoms:
        """A frame as a structure."""
        return Atoms(
            self.numbers,
            self.positions[frame],
            cell=self.cells[frame],
            pbc=self.pbc,
            masses=self.masses,
            info=dict(self.info),
        )

    @property
    def is_bulk(self) -> bool:
        """Whether it is periodic in all directions."""
        return bool(self.pbc.all())

    @cached_property
    def symbols(self) -> np.ndarray:
        """(n,): symbols of the elements."""
        from ase.data import chemical_symbols

        return np.array(chemical_symbols)[self.numbers]

    @cached_property
    def elements(self) -> list[str]:
        """The elements, by atomic number."""
        return list(dict.fromkeys(self.symbols[np.argsort(self.numbers, kind="stable")].tolist()))

    @cached_property
    def interval(self) -> float:
        """Time (ps) between frames. Raises Unavailable if it is unknown, or not the same everywhere."""
        if self.times is None:
            raise Unavailable("the time between frames is unknown; give it with --frame-interval")
        if len(self.times) < 2:
            raise Unavailable("there is a single frame")
        steps = np.diff(self.times)
        rounding = 4 * np.finfo(np.float32).eps * abs(self.times).max()  # formats keep times in single precision
        if steps.min() <= 0 or np.ptp(steps) > 1e-3 * steps.mean() + rounding:
            raise Unavailable(
                f"frames must be evenly spaced in time, and are {steps.min():g} to {steps.max():g} ps apart"
            )
        return float(steps.mean())


def unwrapped(positions: np.ndarray, cells: np.ndarray, pbc: np.ndarray) -> np.ndarray:
    """Paths without jumps over faces of the cell: (f, m, 3), from positions (f, m, 3) in any images.

    Displacements between frames are those in the nearest image, of positions within the cell, so that a cell that
    changes adds nothing to them (von Bülow, Bullerjahn and Hummer, J. Chem. Phys. 153, 021101, 2020).
    """
    if not pbc.any():
        return positions
    inside = np.einsum("fmi,fij->fmj", _folded(positions, cells, pbc), cells_or_unit(cells))
    steps = nearest_image(np.diff(inside, axis=0), cells[1:], pbc)
    return np.concatenate([positions[:1], positions[:1] + np.cumsum(steps, axis=0)])


def nearest_image(vectors: np.ndarray, cells: np.ndarray, pbc: np.ndarray) -> np.ndarray:
    """Vectors (f, m, 3), each less the lattice vector whose fractions are nearest: right for those that are short."""
    if not pbc.any():
        return vectors
    whole = cells_or_unit(cells)
    fractions = np.einsum("fmi,fij->fmj", vectors, np.linalg.inv(whole))
    return vectors - np.einsum("fmi,fij->fmj", np.round(fractions) * pbc, whole)


def _folded(positions: np.ndarray, cells: np.ndarray, pbc: np.ndarray) -> np.ndarray:
    """Fractions, within the cell along periodic directions."""
    fractions = np.einsum("fmi,fij->fmj", positions, np.linalg.inv(cells_or_unit(cells)))
    return fractions - np.floor(fractions) * pbc


def cells_or_unit(cells: np.ndarray) -> np.ndarray:
    """Cells (f, 3, 3) whose missing vectors are made up, so that they can be inverted."""
    from ase.geometry import complete_cell

    if (np.abs(np.linalg.det(cells)) > 1e-9).all():
        return cells
    return np.array([complete_cell(cell) for cell in cells])
