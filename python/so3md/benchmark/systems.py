"""Structures of a benchmark, and how far their atoms move in a step."""

from __future__ import annotations

from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from ase import Atoms, units
from ase.build import molecule

from so3md.dynamics.ensembles import draw_velocities
from so3md.dynamics.settings import Settings
from so3md.structures import read_structure

if TYPE_CHECKING:
    from so3md._engine import Model

TIMESTEP_FS = 0.5
TEMPERATURE = 300.0  # K
ETHANOL_ATOMS = 9
WATER_BOX_ATOMS = 192


def example_system(n_atoms: int) -> tuple[str, Atoms]:
    """Name and structure of a benchmark with so many atoms: 9 is ethanol, multiples of 192 are liquid water.

    Raises ValueError for other numbers.
    """
    if n_atoms == ETHANOL_ATOMS:
        return "ethanol", molecule("CH3CH2OH")
    copies, rest = divmod(n_atoms, WATER_BOX_ATOMS)
    if rest or copies < 1:
        nearest = WATER_BOX_ATOMS * max(1, round(n_atoms / WATER_BOX_ATOMS))
        raise ValueError(
            f"{n_atoms} atoms: expected {ETHANOL_ATOMS} (ethanol) or a multiple of {WATER_BOX_ATOMS} (copies of a "
            f"box of water), such as {nearest}"
        )
    return "water", read_structure("water", supercell=_compact(copies))


def _compact(copies: int) -> tuple[int, int, int]:
    """The three factors that are most alike: (2, 2, 2) for 8."""
    divisors = [count for count in range(1, copies + 1) if copies % count == 0]
    shapes = [(a, b, copies // (a * b)) for a, b in product(divisors, divisors) if copies % (a * b) == 0]
    return min(shapes, key=lambda shape: (sum(shape), shape))


def with_velocities(atoms: Atoms) -> Atoms:
    """A copy with thermal velocities, the same at every call."""
    moving = atoms.copy()
    draw_velocities(moving, Settings(temperature=TEMPERATURE), np.random.default_rng(0))
    return moving


def displacement_per_step(atoms: Atoms) -> np.ndarray:
    """How far thermal velocities carry the atoms in one MD step (Angstrom, shape (n, 3)); the same at every call."""
    return with_velocities(atoms).get_velocities() * TIMESTEP_FS * units.fs


def save_motion(atoms: Atoms, file: Path) -> None:
    """Write a structure and its displacements per step as npz, for processes that may not have so3md."""
    np.savez(
        file,
        numbers=atoms.numbers,
        positions=atoms.positions,
        cell=atoms.cell.array,
        pbc=atoms.pbc,
        displacement_per_step=displacement_per_step(atoms),
    )


def mean_neighbours(model: Model, atoms: Atoms) -> float:
    """How many neighbours an atom has within the cutoff of the model, periodic images included."""
    from so3md import _engine

    neighbour_list = _engine.NeighbourList(model.cutoff, skin=0.0)
    neighbour_list.update(atoms.positions, atoms.cell.array, atoms.pbc)
    _, _, displacements = neighbour_list.short_pairs()
    return int((np.linalg.norm(displacements, axis=1) < model.cutoff).sum()) / len(atoms)
