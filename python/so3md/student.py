"""What is known of a student, a cheap model that stands in for another one at the inner of multiple time steps."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from typing import Any

from ase.calculators.calculator import Calculator

from so3md.loading import load_model

#: Key of the provenance of a model file under which `so3md distill` reports.
REPORT = "distill"
#: How many times the differences of distillation those of a run may be. Their largest grows slowly with the number of
#: atoms and steps that are looked at; a student that does not know a structure is wrong by much more.
_TIMES_LARGEST, _TIMES_RMS = 3.0, 3.0
#: Of a student without a report (eV/A): kicks of 2 fs that change the velocity of hydrogen by some 15 A/ps.
UNREPORTED = 8.0


@dataclass(frozen=True)
class ForceLimits:
    """How far forces of student and teacher may be apart (eV/A): on one atom, and the root mean square over all atoms.

    reason: whose limits these are, for messages.
    """

    largest: float = UNREPORTED
    rms: float = math.inf
    reason: str = "the limit for a student without a report of its errors"

    @classmethod
    def given(cls, max_difference: float) -> ForceLimits:
        """A limit for the largest that the user gave."""
        return cls(max_difference, reason="max_difference")


def report_of(model: str) -> dict[str, Any] | None:
    """What `so3md distill` wrote into a model file, by path or name; None for other models."""
    report = json.loads(load_model(model).metadata)["provenance"].get(REPORT)
    return report if isinstance(report, dict) else None


def limits_of(student: Calculator) -> ForceLimits:
    """The limits for a student: from the report in its model file, if it has one."""
    model = getattr(student, "parameters", {}).get("model") if getattr(student, "name", "") == "so3krates" else None
    return limits_of_model(model if isinstance(model, str) else None)  # a committee's mean has no report


def limits_of_model(model: str | None) -> ForceLimits:
    """The limits for a student by path or name; None: one that is no model file."""
    report = report_of(model) if model is not None else None
    try:
        errors = (report or {})["errors"]
        largest, rms = float(errors["force_largest"]), float(errors["force_rms"])
    except (KeyError, TypeError, ValueError):  # a file may say anything
        return ForceLimits()
    times = f"{_TIMES_LARGEST:g} times what distillation found"
    return ForceLimits(_TIMES_LARGEST * largest, _TIMES_RMS * rms, times)
