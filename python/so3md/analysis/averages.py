"""Averages of correlated numbers, with their errors: blocks that are long enough to be independent."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

#: Fewer blocks than this say nothing of their spread.
_FEWEST_BLOCKS = 8


@dataclass(frozen=True)
class Average:
    """A mean with its standard error, and the integrated correlation time in units of the interval between numbers.

    Both are None where the numbers are too few, or correlated for too long, to tell them.
    """

    mean: float
    error: float | None
    correlation_time: float | None


def block_average(values: np.ndarray) -> Average:
    """The mean of a stationary series (n,), and its error by blocking (Flyvbjerg and Petersen 1989).

    The length B of blocks is doubled until B^3 > 2 n g^2, with g the variance of the mean by blocks over that of
    independent numbers (Lee et al., Phys. Rev. E 83, 066706, 2011). The correlation time is g / 2.

    >>> import numpy as np
    >>> block_average(np.random.default_rng(0).normal(size=10_000)).error  # of independent numbers: 0.01
    0.010...
    """
    values = np.asarray(values, dtype=float)
    mean, count = float(values.mean()), len(values)
    if count < _FEWEST_BLOCKS:
        return Average(mean, None, None)
    independent = values.var(ddof=1) / count
    if independent == 0:
        return Average(mean, 0.0, None)  # a constant
    length = 1
    while (blocks := count // length) >= _FEWEST_BLOCKS:
        means = values[: blocks * length].reshape(blocks, length).mean(axis=1)
        variance = means.var(ddof=1) / blocks
        inefficiency = variance / independent
        if length**3 > 2 * count * inefficiency**2:
            return Average(mean, float(np.sqrt(variance)), float(inefficiency / 2))
        length *= 2
    return Average(mean, None, None)


@dataclass(frozen=True)
class Slope:
    """A slope with its standard error (None: unknown), and the line at the same places."""

    value: float
    error: float | None
    line: np.ndarray


def drift(times: np.ndarray, values: np.ndarray) -> Slope:
    """The slope of a straight line through values, by least squares; its error counts correlated residuals."""
    centred = times - times.mean()
    slope = float(centred @ (values - values.mean()) / (centred @ centred))
    line = values.mean() + slope * centred
    residuals = values - line
    average = block_average(residuals)
    error = None
    if average.error is not None:
        # The error of the mean of n correlated numbers, over the spread of times: that of a slope.
        error = float(average.error / centred.std())
    return Slope(slope, error, line)
