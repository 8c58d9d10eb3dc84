"""Parameters of the calculator, which are also those of `evaluate_many` and of commands: what they may be."""

from __future__ import annotations

from typing import Any

import numpy as np

from so3md.charge_and_spin import checked_number
from so3md.committee import checked_models
from so3md.devices import checked_device
from so3md.electric_field import checked_field
from so3md.long_range import (
    LARGEST_LENGTH,
    OF_MODEL,
    SMALLEST_LENGTH,
    checked_accuracy,
    checked_coulomb,
    checked_method,
)

PRECISIONS = ("mixed", "double")
MOST_THREADS = 1024  # of the engine (csrc/common/resources.h)


def checked_parameter(key: str, value: Any) -> Any:
    """The value of a parameter in the form that is kept; raises FileNotFoundError or ValueError for a bad one."""
    if key == "model":
        return checked_models(value)
    if key == "device":
        return checked_device(value)
    if key == "precision":
        if value not in PRECISIONS:
            raise ValueError(f"{key}: expected one of {', '.join(PRECISIONS)}, found {value!r}")
        return value
    if key == "coulomb":
        return checked_coulomb(value)
    if key == "ewald_accuracy":
        return checked_accuracy(value)
    if key == "ewald_method":
        return checked_method(value)
    if key == "dispersion_tail":
        if not isinstance(value, bool | np.bool_):
            raise ValueError(f"{key}: expected True or False, found {value!r}")
        return bool(value)
    if key == "electric_field":
        return checked_field(value)
    if value is None and key != "lr_damping":
        return None
    if key in ("lr_cutoff", "lr_damping") and isinstance(value, str) and value == OF_MODEL:
        return value
    if key == "threads":
        if not isinstance(value, int | np.integer) or isinstance(value, bool) or not 1 <= value <= MOST_THREADS:
            raise ValueError(
                f"threads: expected an integer from 1 to {MOST_THREADS}, or None for all cores, found {value!r}"
            )
        return int(value)
    number = checked_number(value, key)
    if key in ("lr_cutoff", "lr_damping") and not SMALLEST_LENGTH <= number <= LARGEST_LENGTH:
        others = f"None for no cutoff, or {OF_MODEL!r}" if key == "lr_cutoff" else f"or {OF_MODEL!r}"
        lengths = f"a positive length from {SMALLEST_LENGTH:g} to {LARGEST_LENGTH:g} Angstrom"
        raise ValueError(f"{key}: expected {lengths}, {others}, found {value!r}")
    return number
