"""Bounds of the numbers that users give."""

from __future__ import annotations

from dataclasses import dataclass
from numbers import Integral, Real
from typing import Any

import numpy as np

#: Numbers nearer to zero are none that anybody means: reciprocals and squares of some overflow.
_SMALLEST = 1e-12


@dataclass(frozen=True)
class Limits:
    """The numbers that make sense, wide enough for anything that anyone has reason to try; zero is one if it lies in
    between, but nothing within 1e-12 of it."""

    lowest: float
    highest: float
    unit: str = ""
    whole: bool = False

    def hold(self, value: float) -> bool:
        """Whether a number lies within the limits; not so for nan."""
        return self.lowest <= value <= self.highest and (value == 0 or abs(value) >= _SMALLEST)

    def text(self) -> str:
        """What is expected, for messages."""
        number = "an integer" if self.whole else "a positive number" if self.lowest > 0 else "a number"
        unit = f" {self.unit}" if self.unit else ""
        return f"{number} from {self.lowest:g} to {self.highest:g}{unit}"

    def checked(self, name: str, value: Any) -> float | int:
        """The value as a plain number. Raises ValueError, naming it, for what is none or lies outside."""
        is_number = isinstance(value, Integral if self.whole else Real) and not isinstance(value, bool | np.bool_)
        if not is_number or not self.hold(value):
            raise ValueError(f"{name} {value}: expected {self.text()}")
        return int(value) if self.whole else float(value)
