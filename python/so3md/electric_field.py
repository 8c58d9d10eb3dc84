"""Electric fields: what may be given, and what to know of uniform ones in periodic systems."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np

from so3md.charge_and_spin import checked_number

#: Of a component (V/Angstrom), the engine's bound too.
LARGEST_FIELD = 100.0

Field = tuple[float, float, float]


class PeriodicFieldWarning(UserWarning):
    """In a periodic system whose molecules touch along the field, its forces depend on where the faces are drawn."""


def checked_field(value: Any) -> Field | None:
    """The parameter electric_field, None for no field; raises ValueError for what is none.

    >>> checked_field([0, 0, 0.1])
    (0.0, 0.0, 0.1)
    """
    if value is None:
        return None
    if not isinstance(value, Sequence | np.ndarray) or isinstance(value, str) or np.shape(value) != (3,):
        raise ValueError(f"electric_field: expected three components in V/Angstrom, or None, found {value!r}")
    x, y, z = (checked_number(component, "electric_field") for component in value)
    if max(abs(x), abs(y), abs(z)) > LARGEST_FIELD:
        raise ValueError(
            f"electric_field: expected components from {-LARGEST_FIELD:g} to {LARGEST_FIELD:g} V/Angstrom, "
            f"found {value!r}"
        )
    return (x, y, z) if x or y or z else None


def checked_external(count: int, potentials: Any, fields: Any) -> np.ndarray:
    """The potentials and fields at `count` atoms, (n, 4); raises ValueError for what they cannot be."""
    columns = []
    for name, values, shape, unit in (
        ("potentials", potentials, (count,), "V"),
        ("fields", fields, (count, 3), "V/Angstrom"),
    ):
        array = np.asarray(values, dtype=float)
        if array.shape != shape:
            raise ValueError(f"{name}: expected {shape} in {unit}, for {count} atoms, found an array of {array.shape}")
        if not np.isfinite(array).all():
            raise ValueError(f"{name}: expected finite numbers in {unit}, found others")
        columns.append(array.reshape(count, -1))
    return np.hstack(columns)


def warn_of_periodic_field(field: Field | None, pbc: np.ndarray) -> None:
    """Warn of a field in a structure with a periodic direction."""
    if field is None or not pbc.any():
        return
    warnings.warn(
        "electric_field in a periodic structure: where molecules touch others by their images, forces by the field are "
        "wrong by as much as they are large, as charge that flows there counts over the distance of the positions as "
        "given; keep molecules whole, with vacuum along the field (docs/electrostatics.md)",
        PeriodicFieldWarning,
        stacklevel=2,
    )
