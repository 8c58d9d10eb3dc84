"""The equations of docs/theory.md, section 5, written independently of the engine in NumPy and SciPy."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import erf

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

COULOMB = 14.399645351950548  # eV A / e^2
BOHR = 0.5291772105638411  # A
HARTREE = 27.211386245988  # eV
SIGMA = 4.0  # A, smearing length of SO3LR


@dataclass(frozen=True)
class Pairs:
    """Directed pairs: atom i, atom j, displacement from i to j (or to its image)."""

    i: IntArray
    j: IntArray
    d: FloatArray

    @property
    def r(self) -> FloatArray:
        return np.linalg.norm(self.d, axis=1)

    def per_atom(self, values: FloatArray, number: int) -> FloatArray:
        return np.bincount(self.i, values, number)


def all_pairs(
    positions: FloatArray, cutoff: float, cell: FloatArray | None = None, pbc: NDArray[np.bool_] | None = None
) -> Pairs:
    """Every pair within the cutoff, by brute force over as many images as the cutoff and the atoms' spread ask for."""
    counts = np.zeros(3, dtype=int)
    if cell is not None and pbc is not None and pbc.any():
        vectors = np.where(pbc[:, None], cell, 0.0)
        inverse = np.linalg.pinv(vectors)
        spread = np.ptp(positions @ inverse, axis=0)
        counts = np.where(pbc, np.ceil(cutoff * np.linalg.norm(inverse, axis=0) + spread), 0).astype(int)
    found = []
    for shift in np.ndindex(*(2 * counts + 1)):
        image = np.array(shift) - counts
        d = positions[None, :] - positions[:, None] + (image @ cell if cell is not None else 0.0)
        inside = (d**2).sum(axis=-1) < cutoff**2
        if not image.any():
            np.fill_diagonal(inside, False)
        i, j = np.nonzero(inside)
        found.append((i, j, d[i, j]))
    i, j, d = (np.concatenate(part) for part in zip(*found, strict=True))
    order = np.argsort(i, kind="stable")
    return Pairs(i[order], j[order], d[order])


@dataclass(frozen=True)
class System:
    """Atoms with charges, polarisabilities (Bohr^3) and free-atom C6/alpha^2 (Hartree)."""

    positions: FloatArray
    charge: FloatArray
    alpha: FloatArray
    c6_factor: FloatArray
    cutoff: float = np.inf
    damping: float = 2.0

    def __len__(self) -> int:
        return len(self.positions)


def random_system(number: int, seed: int = 0, *, cutoff: float = np.inf, density: float = 0.05) -> System:
    """Atoms at least 0.8 A apart in a cube."""
    rng = np.random.default_rng(seed)
    length = (number / density) ** (1 / 3)
    positions = rng.uniform(0, length, (1, 3))
    while len(positions) < number:
        candidate = rng.uniform(0, length, 3)
        if np.linalg.norm(positions - candidate, axis=1).min() > 0.8:
            positions = np.vstack([positions, candidate])
    alpha = rng.choice([4.5, 12.0, 7.4, 5.4, 15.0, 60.0], number)
    c6 = np.interp(alpha, [4.5, 5.4, 7.4, 12.0, 15.0, 60.0], [6.5, 15.6, 24.2, 46.6, 94.6, 528.0])
    ratio = rng.uniform(0.4, 1.1, number)
    return System(positions, rng.normal(0, 0.4, number), alpha * ratio, c6 / alpha**2, cutoff)


def equations_switch(r: FloatArray, on: float, off: float) -> FloatArray:
    """Equation (32)."""

    def sigma(t: FloatArray) -> FloatArray:
        return np.where(t > 0, np.exp(-1 / np.where(t > 0, t, 1.0)), 0.0)

    c = (r - on) / (off - on)
    return sigma(1 - c) / (sigma(1 - c) + sigma(c))


def equations_electrostatics(system: System, pairs: Pairs) -> FloatArray:
    """Equations (34) to (36): half of each pair's energy."""
    r, cutoff = pairs.r, system.cutoff
    f = erf(r / SIGMA) / r
    if np.isfinite(cutoff):
        at_cutoff = erf(cutoff / SIGMA) / cutoff
        slope = 2 / (np.sqrt(np.pi) * SIGMA) * np.exp(-((cutoff / SIGMA) ** 2)) / cutoff - at_cutoff / cutoff
        w = equations_switch(r, 0.45 * cutoff, cutoff)
        f = w * (f - at_cutoff) + (1 - w) * (f - at_cutoff - slope * (r - cutoff))
    return 0.5 * COULOMB * system.charge[pairs.i] * system.charge[pairs.j] * f


def equations_dispersion(system: System, pairs: Pairs) -> FloatArray:
    """Equations (37) to (40): half of each pair's energy."""
    r = pairs.r / BOHR
    alpha_i, alpha_j = system.alpha[pairs.i], system.alpha[pairs.j]
    c6_i, c6_j = (system.c6_factor[index] * system.alpha[index] ** 2 for index in (pairs.i, pairs.j))
    alpha = (alpha_i + alpha_j) / 2
    c6 = 2 * c6_i * c6_j * alpha_i * alpha_j / (alpha_i**2 * c6_j + alpha_j**2 * c6_i)
    radius = 0.0072973525693 ** (-4 / 21) * alpha ** (1 / 7)
    gamma = 0.5 / np.polyval([-0.00078893, 0.04125273, 0.24428889, -0.00433008], radius) ** 2
    coefficients = {6: c6, 8: 5 / gamma * c6, 10: 245 / 8 / gamma**2 * c6}
    p = 1.2 * 2 * 2.54 * alpha ** (1 / 7)
    energy = -0.5 * HARTREE * sum(c / (r**n + p**n) for n, c in coefficients.items())
    if np.isfinite(system.cutoff):
        energy = energy * equations_switch(pairs.r, system.cutoff - system.damping, system.cutoff)
    return energy


@dataclass(frozen=True)
class ZblParameters:
    """Numbers of a model's repulsion before softplus, and where it is switched off."""

    a_raw: tuple[float, ...]
    c_raw: tuple[float, ...]
    p_raw: float
    d_raw: float
    switch_on: float = 0.0
    switch_off: float = 1.5


def equations_zbl(
    parameters: ZblParameters, z_i: IntArray, z_j: IntArray, r: FloatArray, phi: FloatArray
) -> FloatArray:
    """Equation (33): energy of directed edges."""
    a, c, p, d = (
        np.log1p(np.exp(np.asarray(raw)))
        for raw in (parameters.a_raw, parameters.c_raw, parameters.p_raw, parameters.d_raw)
    )
    rho = r * (z_i**p + z_j**p) * d
    screening = (c / c.sum()) @ np.exp(-np.outer(a, rho))
    switch = equations_switch(r, parameters.switch_on, parameters.switch_off)
    return 0.5 * switch * phi * COULOMB * z_i * z_j / r * screening
