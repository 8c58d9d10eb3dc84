"""Electrostatics of all periodic images by brute force, along another way than the engine's.

The engine sums erf(r/s)/r in reciprocal space. Here it is 1/r less erfc(r/s)/r: the first by the Ewald sum of point
charges, with a splitting of its own, the second over images in space. Each has a uniform background that neutralises
its charges.
"""

from __future__ import annotations

from itertools import product

import numpy as np
from ase import Atoms
from scipy.special import erfc

COULOMB = 14.399645351950548  # eV A/e^2, docs/theory.md
SIGMA = 4.0  # A, of SO3LR

#: erfc(6)/r and exp(-36) are 1e-16: what is left out is nothing.
_REACH = 6.0


def smeared_energy(atoms: Atoms, charges: np.ndarray, sigma: float = SIGMA) -> float:
    """Energy in eV of smeared charges (e) and all their images, with a background that neutralises them."""
    return point_energy(atoms, charges) - screened_energy(atoms, charges, sigma)


def wave_sum(
    positions: np.ndarray, charges: np.ndarray, cell: np.ndarray, sigma: float = SIGMA
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Potentials (n) in eV/e, forces (n, 3) in eV/A and virials (n, 3, 3) in eV of smeared charges, wave by wave."""
    waves = 2 * np.pi * np.linalg.inv(cell).T
    bound = 2 * _REACH / sigma
    k = _grid(np.ceil(bound * np.linalg.norm(cell, axis=1) / (2 * np.pi))) @ waves
    k = k[(k**2).sum(axis=1) > 0]
    square = (k**2).sum(axis=1)
    weights = 4 * np.pi * COULOMB / abs(np.linalg.det(cell)) * np.exp(-square * sigma**2 / 4) / square
    phases = np.exp(1j * positions @ k.T)
    fields = weights * (charges @ phases).conj() * phases  # of each atom and wave
    potentials = fields.real.sum(axis=1)
    forces = charges[:, None] * (fields.imag @ k)
    strains = np.einsum("nk,ka,kb,k->nab", fields.real, k, k, 1 / square + sigma**2 / 4)
    virials = charges[:, None, None] * (strains - 0.5 * potentials[:, None, None] * np.eye(3))
    return potentials - 2 * COULOMB / (sigma * np.sqrt(np.pi)) * charges, forces, virials


def point_energy(atoms: Atoms, charges: np.ndarray) -> float:
    """Energy of point charges, by Ewald's sum."""
    length = 0.35 * atoms.get_volume() ** (1 / 3)
    waves = 2 * np.pi * np.linalg.inv(atoms.cell.array).T
    bound = 2 * _REACH / length
    k = _grid(np.ceil(bound * np.linalg.norm(atoms.cell.array, axis=1) / (2 * np.pi))) @ waves
    square = (k**2).sum(axis=1)
    k, square = k[square > 0], square[square > 0]
    factors = np.abs(np.exp(1j * k @ atoms.positions.T) @ charges) ** 2
    reciprocal = 2 * np.pi / atoms.get_volume() * np.sum(np.exp(-square * length**2 / 4) / square * factors)
    own = np.sum(charges**2) / (length * np.sqrt(np.pi))
    return COULOMB * (reciprocal - own) + screened_energy(atoms, charges, length)


def screened_energy(atoms: Atoms, charges: np.ndarray, length: float) -> float:
    """Energy of charges that interact by erfc(r/length)/r, less what the mean of this potential gives (V -> Q)."""
    heights = 1 / np.linalg.norm(np.linalg.inv(atoms.cell.array), axis=0)
    scaled = atoms.get_scaled_positions(wrap=True)
    d = scaled[:, None] - scaled[None, :]
    products = np.outer(charges, charges)
    total = 0.0
    for shift in _grid(np.ceil(_REACH * length / heights) + 1):
        r = np.linalg.norm((d + shift) @ atoms.cell.array, axis=-1)
        pairs = r > 0
        total += np.sum(products[pairs] * erfc(r[pairs] / length) / r[pairs])
    mean = np.pi * length**2 / atoms.get_volume() * charges.sum() ** 2
    return 0.5 * COULOMB * (total - mean)


def _grid(largest: np.ndarray) -> np.ndarray:
    return np.array(list(product(*(np.arange(-n, n + 1) for n in largest.astype(int)))))
