"""Fit the polynomial of logistic() in csrc/cpu/vector_math.h: 2^f for |f| <= 1/2.

Prints the coefficients, lowest power first, and the largest relative error of the fit. Needs numpy.
Usage: python scripts/fit_exp2.py [degree]
"""

import sys

import numpy as np
from numpy.polynomial import chebyshev

STEPS = 80


def fit(degree: int) -> tuple[np.ndarray, float]:
    """Polynomial whose largest relative error is close to the smallest possible (by Lawson), and that error."""
    nodes = np.cos(np.pi * (np.arange(4000) + 0.5) / 4000)
    target = 2.0 ** (nodes / 2)
    weight = np.ones_like(target)
    for _ in range(STEPS):
        series = chebyshev.chebfit(nodes, target, degree, w=np.sqrt(weight) / target)
        error = np.abs(chebyshev.chebval(nodes, series) / target - 1)
        weight *= error / error.mean()
    return chebyshev.Chebyshev(series, domain=[-0.5, 0.5]).convert(kind=np.polynomial.Polynomial).coef, error.max()


if __name__ == "__main__":
    polynomial, largest = fit(int(sys.argv[1]) if len(sys.argv) > 1 else 6)
    print(",\n".join(f"{coefficient:.9e}" for coefficient in polynomial))
    print(f"largest relative error: {largest:.1e}")
