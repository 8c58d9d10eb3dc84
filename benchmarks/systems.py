"""Structures that benchmarks use."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from ase import Atoms, units
from ase.build import molecule
from ase.md.velocitydistribution import MaxwellBoltzmannDistribution

from so3md.structures import read_structure

TIMESTEP = 0.5 * units.fs
TEMPERATURE = 300.0  # K

#: Copies of the box of 64 water molecules that give a number of atoms.
SUPERCELLS = {192: (1, 1, 1), 1536: (2, 2, 2), 5184: (3, 3, 3), 12288: (4, 4, 4), 41472: (6, 6, 6)}


def water(n_atoms: int) -> Atoms:
    """Liquid water; n_atoms is one of SUPERCELLS."""
    return read_structure("water", supercell=SUPERCELLS[n_atoms])


def moving_water(n_atoms: int) -> Atoms:
    """Liquid water with thermal velocities, the same at every call."""
    atoms = water(n_atoms)
    MaxwellBoltzmannDistribution(atoms, temperature_K=TEMPERATURE, rng=np.random.default_rng(0))
    return atoms


def ethanol() -> Atoms:
    return molecule("CH3CH2OH")


def displacement_per_step(atoms: Atoms) -> np.ndarray:
    """How far thermal velocities carry the atoms in one MD step (Angstrom, shape (n, 3)); the same at every call."""
    moving = atoms.copy()
    MaxwellBoltzmannDistribution(moving, temperature_K=TEMPERATURE, rng=np.random.default_rng(0))
    return moving.get_velocities() * TIMESTEP


def save_system(atoms: Atoms, file: Path) -> None:
    """Write a structure and its displacements for worker.py, which may run without so3md."""
    np.savez(
        file,
        numbers=atoms.numbers,
        positions=atoms.positions,
        cell=atoms.cell.array,
        pbc=atoms.pbc,
        displacement_per_step=displacement_per_step(atoms),
    )
