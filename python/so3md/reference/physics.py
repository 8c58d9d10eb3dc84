"""The pair terms: repulsion, damped electrostatics, dispersion (eqs. (31) to (40), (96) of docs/theory.md); fields.

Every energy of pairs is a sum over directed edges, so half of it belongs to either atom; results are per edge, eV.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from so3md.reference.functions import switch
from so3md.reference.graph import Edges
from so3md.reference.network import parameter

COULOMB_CONSTANT = 14.399645351950548  # e^2 / (4 pi epsilon_0) in eV A
BOHR = 0.5291772105638411  # A
HARTREE = 27.211386245988  # eV
FINE_STRUCTURE = 0.0072973525693


class ZblRepulsion(nn.Module):
    """Screened nuclear repulsion with trained coefficients, eq. (33); each is the softplus of its raw number."""

    def __init__(self, switch_on: float, switch_off: float) -> None:
        super().__init__()
        self.a_raw, self.c_raw, self.p_raw, self.d_raw = parameter(4), parameter(4), parameter(1), parameter(1)
        self.switch_on, self.switch_off = switch_on, switch_off

    def forward(self, edges: Edges, phi: Tensor, numbers: Tensor) -> Tensor:
        a, c, p, d = (functional.softplus(raw) for raw in (self.a_raw, self.c_raw, self.p_raw, self.d_raw))
        r, z_i, z_j = edges.distance, numbers[edges.centre], numbers[edges.neighbour]
        rho = r * (z_i**p + z_j**p) * d
        screening = (c / c.sum() * torch.exp(-a * rho[:, None])).sum(-1)
        return 0.5 * switch(r, self.switch_on, self.switch_off) * COULOMB_CONSTANT * phi * z_i * z_j / r * screening


class NlhRepulsion(nn.Module):
    """Screened nuclear repulsion with constants for each pair of elements, eq. (96)."""

    coefficients: Tensor

    def __init__(self, num_elements: int, switch_on: float, switch_off: float) -> None:
        super().__init__()
        self.register_buffer("coefficients", torch.empty(num_elements, num_elements, 3))
        self.switch_on, self.switch_off = switch_on, switch_off

    def forward(self, edges: Edges, phi: Tensor, numbers: Tensor, species: Tensor) -> Tensor:
        i, j, r = edges.centre, edges.neighbour, edges.distance
        a, b1, b2 = self.coefficients[species[i], species[j]].unbind(-1)
        screening = a * torch.exp(-b1 * r) + (1 - a) * torch.exp(-b2 * r)
        charges = numbers[i] * numbers[j]
        return 0.5 * switch(r, self.switch_on, self.switch_off) * COULOMB_CONSTANT * phi * charges / r * screening


def electrostatic_energy(edges: Edges, charges: Tensor, sigma: float, cutoff: float | None) -> Tensor:
    """Eqs. (34) to (36): smeared charges, f(r) = erf(r/s)/r, shifted to vanish with its force at the cutoff."""
    r = edges.distance
    f = torch.erf(r / sigma) / r
    if cutoff is not None:
        f_cut = math.erf(cutoff / sigma) / cutoff
        gaussian = 2 / (math.sqrt(math.pi) * sigma) * math.exp(-((cutoff / sigma) ** 2))
        slope_cut = (gaussian - f_cut) / cutoff
        w = switch(r, 0.45 * cutoff, cutoff)
        shifted = w * (f - f_cut) + (1 - w) * (f - f_cut - slope_cut * (r - cutoff))
        f = torch.where(r < cutoff, shifted, torch.zeros_like(r))
    return 0.5 * COULOMB_CONSTANT * charges[edges.centre] * charges[edges.neighbour] * f


def field_energy(charges: Tensor, positions: Tensor, field: Tensor) -> Tensor:
    """Energies (n) of charges in a uniform field (3) in V/A, eq. (89); positions (n, 3) along the atoms' paths."""
    return -charges * (positions @ field)


class Dispersion(nn.Module):
    """vdW-QDO dispersion from free-atom values and ratios, eqs. (37) to (40), and beyond its cutoff, eqs. (85) to (87).

    alpha in Bohr^3, c6 in Hartree Bohr^6.
    """

    alpha: Tensor
    c6: Tensor

    def __init__(self, num_elements: int, damping_scale: float) -> None:
        super().__init__()
        self.register_buffer("alpha", torch.empty(num_elements))
        self.register_buffer("c6", torch.empty(num_elements))
        self.damping_scale = damping_scale

    def forward(
        self,
        edges: Edges,
        species: Tensor,
        ratios: Tensor,
        cutoff: float | None,
        damping: float,
        c6_ratios: Tensor | None = None,
    ) -> Tensor:
        """c6_ratios (n): of the C6 head, eq. (97); None: in this dispersion, C6 has that of eq. (37)."""
        i, j = edges.centre, edges.neighbour
        squares = ratios**2 if c6_ratios is None else c6_ratios
        energy = 0.5 * self._pair(edges.distance, species[i], species[j], ratios[i], ratios[j], squares[i], squares[j])
        return energy if cutoff is None else energy * switch(edges.distance, cutoff - damping, cutoff)

    def tail(
        self,
        species: Tensor,
        ratios: Tensor,
        volume: Tensor,
        cutoff: float,
        damping: float,
        c6_ratios: Tensor | None = None,
    ) -> Tensor:
        """Energies (n) of the atoms of one periodic structure, eqs. (86) and (98); volume in A^3."""
        distances, weights = (ratios.new_tensor(values) for values in _beyond(cutoff, damping))
        energies = torch.zeros_like(ratios)
        kinds = species.unique()
        # C6 over the square of the polarisability is averaged with the polarisability as weight.
        quotients = ratios if c6_ratios is None else c6_ratios / ratios
        means = [(ratios[species == kind].mean(), quotients[species == kind].mean()) for kind in kinds]
        for s, (mean, quotient) in zip(kinds, means, strict=True):
            others = [
                (species == t).sum() * (weights @ self._pair(distances, s, t, mean, h, mean * quotient, h * q))
                for t, (h, q) in zip(kinds, means, strict=True)
            ]
            share = torch.stack(others).sum() / (2 * volume)
            energies = energies + torch.where(species == s, ratios / mean, torch.zeros_like(ratios)) * share
        return energies

    def _pair(
        self,
        distance: Tensor,
        i: Tensor,
        j: Tensor,
        ratio_i: Tensor,
        ratio_j: Tensor,
        c6_ratio_i: Tensor,
        c6_ratio_j: Tensor,
    ) -> Tensor:
        """The whole energy of pairs of the species i and j without a cutoff."""
        alpha_i, alpha_j = self.alpha[i] * ratio_i, self.alpha[j] * ratio_j
        c6_i, c6_j = self.c6[i] * c6_ratio_i, self.c6[j] * c6_ratio_j
        alpha = (alpha_i + alpha_j) / 2
        c6 = 2 * c6_i * c6_j * alpha_i * alpha_j / (alpha_i**2 * c6_j + alpha_j**2 * c6_i)

        radius = FINE_STRUCTURE ** (-4 / 21) * alpha ** (1 / 7)
        g = -0.00433008 + 0.24428889 * radius + 0.04125273 * radius**2 - 0.00078893 * radius**3
        gamma = 1 / (2 * g**2)
        c8, c10 = 5 * c6 / gamma, 245 / 8 * c6 / gamma**2
        p = self.damping_scale * 2 * 2.54 * alpha ** (1 / 7)

        r = distance / BOHR
        return -HARTREE * (c6 / (r**6 + p**6) + c8 / (r**8 + p**8) + c10 / (r**10 + p**10))


def _beyond(cutoff: float, damping: float) -> tuple[np.ndarray, np.ndarray]:
    """Distances and weights (n) that integrate over what the cutoff leaves out, 4 pi r^2 (1 - S(r)) dr."""
    x, w = np.polynomial.legendre.leggauss(200)
    x, w = (x + 1) / 2, w / 2
    near, far = cutoff - damping * x, cutoff / x  # dr = r^2 d(1/r)
    left_out = 1 - switch(torch.from_numpy(near), cutoff - damping, cutoff).numpy()
    distances = np.concatenate([near, far])
    weights = np.concatenate([damping * w * left_out, far**2 * w / cutoff])
    return distances, 4 * math.pi * distances**2 * weights
