"""Clebsch-Gordan coefficients between real spherical harmonics, eq. (68) of docs/theory.md."""

from __future__ import annotations

from functools import cache
from math import factorial, sqrt

import numpy as np


def complex_coefficient(l1: int, m1: int, l2: int, m2: int, l3: int, m3: int) -> float:
    """<l1 m1 l2 m2 | l3 m3> with the phases of Condon and Shortley, by Racah's sum."""
    if m1 + m2 != m3 or not abs(l1 - l2) <= l3 <= l1 + l2:
        return 0.0
    triangle = (
        factorial(l1 + l2 - l3) * factorial(l1 - l2 + l3) * factorial(-l1 + l2 + l3) / factorial(l1 + l2 + l3 + 1)
    )
    orders = [factorial(l + s * m) for l, m in ((l1, m1), (l2, m2), (l3, m3)) for s in (1, -1)]  # noqa: E741
    total = 0.0
    for k in range(max(0, l2 - l3 - m1, l1 - l3 + m2), min(l1 + l2 - l3, l1 - m1, l2 + m2) + 1):
        parts = (k, l1 + l2 - l3 - k, l1 - m1 - k, l2 + m2 - k, l3 - l2 + m1 + k, l3 - l1 - m2 + k)
        total += (-1) ** k / np.prod([float(factorial(part)) for part in parts])
    return sqrt((2 * l3 + 1) * triangle) * sqrt(np.prod([float(f) for f in orders])) * total


def real_from_complex(degree: int) -> np.ndarray:
    """U with Y_m (real, without Condon-Shortley sign) = sum over mu of U[m, mu] Y_mu (complex, with it)."""
    u = np.zeros((2 * degree + 1, 2 * degree + 1), dtype=complex)
    u[degree, degree] = 1
    for m in range(1, degree + 1):
        u[degree + m, [degree + m, degree - m]] = (-1) ** m / sqrt(2), 1 / sqrt(2)
        u[degree - m, [degree + m, degree - m]] = -1j * (-1) ** m / sqrt(2), 1j / sqrt(2)
    return u


@cache
def real_coefficients(l3: int, l1: int, l2: int) -> np.ndarray:
    """C[m3, m1, m2], shape (2 l3 + 1, 2 l1 + 1, 2 l2 + 1), orders from -l to l; zero if no triangle has these sides.

    They couple coordinates of degrees l1 and l2 to some of degree l3. The squares of all of them sum to 1. The phase
    makes them real, with these signs: for an even sum of degrees, the product of Y_l1(u) and Y_l2(u) becomes a positive
    multiple of Y_l3(u); for an odd sum, u . (grad Y_l1 x grad Y_l2) on the sphere becomes a negative one. For l1 < l2,
    as they are used, and degrees up to 3 these are the signs of the original's table (tests/data/paper2022).
    """
    couplings = np.array(
        [
            [[complex_coefficient(l1, m1, l2, m2, l3, m3) for m2 in range(-l2, l2 + 1)] for m1 in range(-l1, l1 + 1)]
            for m3 in range(-l3, l3 + 1)
        ]
    )
    u1, u2, u3 = (real_from_complex(degree) for degree in (l1, l2, l3))
    coupled = np.einsum("zc,cab,xa,yb->zxy", u3, couplings, u1.conj(), u2.conj())
    return (1j ** (l1 + l2 - l3) * coupled).real / sqrt(2 * l3 + 1)
