"""Fit the polynomial of csrc/cpu/pair_math.h: erfc(t) = exp(-t^2) P(y), y = 1/(1 + t/2), for t >= 0.

Prints the coefficients of P, lowest power first, and the largest error of erf: of the fit itself, and when evaluated in
single precision. Needs numpy and scipy. Usage: python scripts/fit_erfc.py [degree]
"""

import sys

import numpy as np
from numpy.polynomial import chebyshev
from scipy.special import erfcx

RANGE = 6.0  # beyond it exp(-t^2) is below 1e-15, whatever P is
STEPS = 60


def fit(degree: int) -> np.ndarray:
    """Polynomial whose largest error times exp(-t^2) is close to the smallest possible (Lawson's iteration)."""
    start = 1 / (1 + RANGE / 2)
    nodes = np.cos(np.pi * (np.arange(4000) + 0.5) / 4000)
    y = (1 + start) / 2 + (1 - start) / 2 * nodes
    t = 2 * (1 / y - 1)
    gaussian, target = np.exp(-t * t), erfcx(t)
    weight = np.ones_like(t)
    for _ in range(STEPS):
        series = chebyshev.chebfit(nodes, target, degree, w=np.sqrt(weight) * gaussian)
        error = gaussian * np.abs(chebyshev.chebval(nodes, series) - target)
        weight *= error / error.mean()
    return chebyshev.Chebyshev(series, domain=[start, 1]).convert(kind=np.polynomial.Polynomial).coef


def errors(coefficients: np.ndarray) -> tuple[float, float]:
    """Largest error of erf(t), t in [0, 6], in double and in single precision."""
    t = np.linspace(0, RANGE, 200001).astype(np.float32)
    exact = np.exp(-(t.astype(float) ** 2)) * erfcx(t.astype(float))
    result = []
    for kind in (np.float64, np.float32):
        y = 1 / (1 + t.astype(kind) / 2)
        polynomial = np.zeros_like(y)
        for coefficient in coefficients[::-1]:
            polynomial = polynomial * y + kind(coefficient)
        gaussian = np.exp(-(t.astype(float) ** 2)).astype(kind)
        result.append(float(np.max(np.abs((1 - gaussian * polynomial).astype(float) - (1 - exact)))))
    return result[0], result[1]


if __name__ == "__main__":
    polynomial = fit(int(sys.argv[1]) if len(sys.argv) > 1 else 7)
    print(",\n".join(f"{coefficient:.12e}" for coefficient in polynomial))
    print("largest error of erf: fit {:.1e}, single precision {:.1e}".format(*errors(polynomial)))
