"""Velocities at which heat fluxes and currents of polarization are asked for."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from ase import Atoms

#: In ASE's unit, the engine's bound too (csrc/heat_flux/heat_flux.h).
LARGEST_VELOCITY = 1e8


def velocities_of(atoms: Atoms, what: str) -> Callable[[], np.ndarray]:
    """A function that gives the velocities (n, 3) that `what` needs; it raises ValueError where there are none."""

    def velocities() -> np.ndarray:
        if not atoms.has("momenta"):
            raise ValueError(f"{what} needs velocities, and this structure has none: set them, or run dynamics")
        return np.ascontiguousarray(atoms.get_velocities(), dtype=float)

    return velocities


def check_velocities(velocities: np.ndarray) -> None:
    """Raise ValueError, with the first such atom, for velocities (n, 3) that cannot be meant."""
    usable = (np.abs(velocities) < LARGEST_VELOCITY).all(axis=1)  # not so for nan
    if not usable.all():
        atom = np.argmin(usable)
        raise ValueError(
            f"the velocity of atom {atom} is {velocities[atom].tolist()}: expected finite numbers below "
            f"{LARGEST_VELOCITY:g}, in ASE's unit (some 10 A/ps)"
        )


def born_charges(n: int, current: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    """The derivatives (n, 3, 3) of a current (3), along the second axis, by each velocity, in which it is linear."""
    born = np.empty((n, 3, 3))
    for atom, axis in np.ndindex(n, 3):
        velocities = np.zeros((n, 3))
        velocities[atom, axis] = 1.0
        born[atom, :, axis] = current(velocities)
    return born
