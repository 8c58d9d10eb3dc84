"""Structures that benchmarks use."""

from __future__ import annotations

from ase import Atoms, units

from so3md.benchmark.systems import TIMESTEP_FS, save_motion, with_velocities
from so3md.structures import read_structure

__all__ = ["SUPERCELLS", "TIMESTEP", "moving_water", "save_motion", "water"]

TIMESTEP = TIMESTEP_FS * units.fs

#: Copies of the box of 64 water molecules that give a number of atoms.
SUPERCELLS = {192: (1, 1, 1), 1536: (2, 2, 2), 5184: (3, 3, 3), 12288: (4, 4, 4), 41472: (6, 6, 6)}


def water(n_atoms: int) -> Atoms:
    """Liquid water; n_atoms is one of SUPERCELLS."""
    return read_structure("water", supercell=SUPERCELLS[n_atoms])


def moving_water(n_atoms: int) -> Atoms:
    """Liquid water with thermal velocities, the same at every call."""
    return with_velocities(water(n_atoms))
