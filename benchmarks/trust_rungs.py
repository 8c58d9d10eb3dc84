"""What benchmarks/trust.py measures, one figure at a time."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Rung:
    """A figure, which must be at most its bound."""

    name: str
    value: float
    bound: float
    unit: str = ""

    @property
    def holds(self) -> bool:
        """False for a figure that is not a number, too."""
        return bool(self.value <= self.bound)
