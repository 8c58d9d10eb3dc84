"""Cutoff functions, radial bases, spherical harmonics, activations and the switch (docs/theory.md)."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import Tensor
from torch.nn import functional

ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "identity": lambda t: t,
    "silu": functional.silu,
    "tanh": torch.tanh,
    "gelu": partial(functional.gelu, approximate="tanh"),
    "relu": functional.relu,
}


def cutoff_function(kind: str, distance: Tensor, cutoff: float, exponent: float = 0.0) -> Tensor:
    """phi(r), eqs. (3) to (6): 1 at r = 0, exactly 0 from the cutoff on. Same shape as `distance` (A)."""
    t = distance / cutoff
    inside = t < 1  # asked of t and not of the distance, as the exponential form must not divide by 1 - t = 0
    # Beyond the cutoff the formulas diverge or wrap around; a constant there keeps the gradient finite.
    t = torch.where(inside, t, torch.zeros_like(t))
    if kind == "phys":
        phi = 1 - 6 * t**5 + 15 * t**4 - 10 * t**3
    elif kind == "cosine":
        phi = (1 + torch.cos(math.pi * t)) / 2
    elif kind == "polynomial":
        p = exponent
        phi = 1 - (p + 1) * (p + 2) / 2 * t**p + p * (p + 2) * t ** (p + 1) - p * (p + 1) / 2 * t ** (p + 2)
    elif kind == "exponential":
        phi = torch.exp(-(t**2) / ((1 - t) * (1 + t)))
    else:
        raise ValueError(f"unknown cutoff function {kind!r}")
    return torch.where(inside, phi, torch.zeros_like(phi))


def bernstein_basis(distance: Tensor, size: int, gamma: float | Tensor) -> Tensor:
    """Eq. (7): binom(K-1, k) y^k (1-y)^(K-1-k) with y = exp(-gamma r); shape (edges, K)."""
    k = torch.arange(size, dtype=distance.dtype, device=distance.device)
    log_binomial = torch.tensor([math.log(math.comb(size - 1, i)) for i in range(size)], dtype=torch.float64).to(k)
    log_y = -gamma * distance[:, None]
    # In logarithms, as a plain product under- and overflows for large K; 1 - y is exact through expm1.
    return torch.exp(log_binomial + k * log_y + (size - 1 - k) * torch.log(-torch.expm1(log_y)))


def gaussian_basis(distance: Tensor, centers: Tensor, widths: Tensor) -> Tensor:
    """Eq. (8): exp(-(r - c_k)^2 / (2 w_k^2)); shape (edges, K)."""
    return torch.exp(-((distance[:, None] - centers) ** 2) / (2 * widths**2))


def bessel_basis(distance: Tensor, size: int, cutoff: float) -> Tensor:
    """Eq. (9): sin(pi k r / r_c) / r for k = 0..K-1, so the first function is zero; shape (edges, K)."""
    k = torch.arange(size, dtype=distance.dtype, device=distance.device)
    return torch.sin(math.pi * k * distance[:, None] / cutoff) / distance[:, None]


def phys_basis(distance: Tensor, size: int, cutoff: float) -> Tensor:
    """Eq. (10): exp(-beta (e^-r - mu_k)^2), mu_k evenly spaced from e^-r_c to 1; shape (edges, K)."""
    centers = torch.linspace(math.exp(-cutoff), 1.0, size, dtype=distance.dtype, device=distance.device)
    beta = (2 / size * (1 - math.exp(-cutoff))) ** -2
    return torch.exp(-beta * (torch.exp(-distance[:, None]) - centers) ** 2)


def spherical_harmonics(unit: Tensor, degrees: Sequence[int]) -> Tensor:
    """Real orthonormal Y_lm(u), m = -l..l, without Condon-Shortley sign; (edges, 3) -> (edges, sum of 2l+1).

    Eqs. (11) and (12): N_lm Pi_lm(z) times sqrt(2) Re (x + iy)^m for m > 0 and sqrt(2) Im (x + iy)^|m| for m < 0.
    """
    x, y, z = unit.unbind(-1)
    real, imaginary = [torch.ones_like(x)], [torch.zeros_like(x)]
    for _ in range(max(degrees)):
        re, im = real[-1], imaginary[-1]
        real.append(x * re - y * im)
        imaginary.append(x * im + y * re)

    legendre: dict[tuple[int, int], Tensor] = {}
    for m in range(max(degrees) + 1):
        legendre[m, m] = torch.full_like(z, math.prod(range(1, 2 * m, 2)))
        for degree in range(m + 1, max(degrees) + 1):
            below = legendre[degree - 2, m] if degree > m + 1 else torch.zeros_like(z)
            legendre[degree, m] = ((2 * degree - 1) * z * legendre[degree - 1, m] - (degree + m - 1) * below) / (
                degree - m
            )

    def harmonic(degree: int, order: int) -> Tensor:
        m = abs(order)
        norm = (2 * degree + 1) / (4 * math.pi) * math.factorial(degree - m) / math.factorial(degree + m)
        if order == 0:
            return math.sqrt(norm) * legendre[degree, 0]
        return math.sqrt(2 * norm) * legendre[degree, m] * (real[m] if order > 0 else imaginary[m])

    return torch.stack([harmonic(degree, m) for degree in degrees for m in range(-degree, degree + 1)], dim=-1)


def switch(distance: Tensor, on: float, off: float) -> Tensor:
    """S(r; on, off), eq. (32): 1 below `on`, 0 above `off`, infinitely often differentiable."""

    def sigma(t: Tensor) -> Tensor:
        positive = t > 0
        return torch.where(positive, torch.exp(-1 / torch.where(positive, t, torch.ones_like(t))), torch.zeros_like(t))

    c = (distance - on) / (off - on)
    return sigma(1 - c) / (sigma(1 - c) + sigma(c))
