"""What an analysis hands over: numbers with errors, curves, and what could not be had, with the reason."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np


class Unavailable(Exception):
    """A quantity that this trajectory does not give; the text says why, and what to do."""


@dataclass(frozen=True)
class Quantity:
    """A number. error: standard error of the mean, None where it is unknown; correlation_time in ps."""

    name: str
    value: float
    unit: str
    error: float | None = None
    correlation_time: float | None = None
    note: str = ""


@dataclass(frozen=True)
class Plot:
    """Curves that share their axes: label -> (x, y), arrays of the same length."""

    title: str
    x_label: str
    y_label: str
    curves: Mapping[str, tuple[np.ndarray, np.ndarray]]
    x_range: tuple[float, float] | None = None
    y_range: tuple[float, float] | None = None


@dataclass
class Section:
    """What belongs together. missing: name of a quantity -> why it cannot be had."""

    title: str
    quantities: list[Quantity] = field(default_factory=list)
    plots: list[Plot] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    missing: dict[str, str] = field(default_factory=dict)

    def document(self) -> dict[str, Any]:
        """All of it as JSON has it; numbers that are not finite are null."""
        curves = [
            {"title": plot.title, "x": plot.x_label, "y": plot.y_label, "curves": _curves(plot)} for plot in self.plots
        ]
        return {
            "title": self.title,
            "quantities": [
                {key: _finite(value) for key, value in asdict(quantity).items()} for quantity in self.quantities
            ],
            "plots": curves,
            "notes": self.notes,
            "missing": self.missing,
        }


def _curves(plot: Plot) -> dict[str, dict[str, list[float | None]]]:
    return {
        label: {"x": [_finite(v) for v in x.tolist()], "y": [_finite(v) for v in y.tolist()]}
        for label, (x, y) in plot.curves.items()
    }


def _finite(value: Any) -> Any:
    return None if isinstance(value, float) and not np.isfinite(value) else value
