"""Batches for benchmarks of training: rattled structures with made-up reference values."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from ase import Atoms
from ase.build import molecule

from so3md.structures import read_structure

RATTLE = 0.05  # A, standard deviation


def alkane(carbons: int) -> Atoms:
    """A stretched chain C(n)H(2n+2): carbon atoms in a zigzag, hydrogen atoms at tetrahedral angles."""
    rise, width = 1.54 * np.sin(np.radians(56)), 1.54 * np.cos(np.radians(56))
    side = np.array([(-1) ** number for number in range(carbons)])
    chain = np.stack([rise * np.arange(carbons), 0.5 * width * side, np.zeros(carbons)], axis=1)
    out = 1.09 * np.array([0, np.cos(np.radians(54.75)), np.sin(np.radians(54.75))])
    hydrogens = [chain + out * np.stack([0 * side, side, sign + 0 * side], axis=1) for sign in (1, -1)]
    ends = [
        chain[end] + 1.09 * np.array([toward * np.sin(np.radians(56)), -side[end] * np.cos(np.radians(56)), 0])
        for end, toward in ((0, -1), (-1, 1))
    ]
    return Atoms(f"C{carbons}H{2 * carbons + 2}", np.concatenate([chain, *hydrogens, ends]))


#: Name -> structures.
BATCHES = {
    "10 ethanol": [molecule("CH3CH2OH")] * 10,
    "20 alkanes of 20 to 59 atoms": [alkane(6 + number % 14) for number in range(20)],
    "2 boxes of 192 water atoms": [read_structure("water")] * 2,
}


def save_batch(file: Path, structures: list[Atoms]) -> None:
    """Write structures, displaced at random, with reference values: energies (eV) and forces (eV/A)."""
    rng = np.random.default_rng(0)
    positions = np.concatenate([atoms.positions for atoms in structures])
    np.savez(
        file,
        counts=[len(atoms) for atoms in structures],
        numbers=np.concatenate([atoms.numbers for atoms in structures]),
        positions=positions + RATTLE * rng.standard_normal(positions.shape),
        cells=[atoms.cell.array for atoms in structures],
        pbc=[atoms.pbc for atoms in structures],
        energies=0.1 * rng.standard_normal(len(structures)),
        forces=rng.standard_normal(positions.shape),
    )
