"""What structures carry besides atoms and cell, and what of it outlives a change of the positions."""

from __future__ import annotations

from typing import Any

import numpy as np
from ase import Atoms

from so3md.charge_and_spin import charge_and_spin_entries
from so3md.reference_values import KEYS

#: What makes the structure, or tells of atoms what does not depend on where they are.
_KEPT_ARRAYS = {"numbers", "positions", "masses", "tags", "occupancy", "bfactor"}
#: Parts of names of quantities, whose values may be integers or text, too.
_QUANTITIES = ("energy", "force", "stress", "virial", "dipole", "magmom", "charge", "step", "time", "temperature")


def drop_values(atoms: Atoms) -> None:
    """Take from a structure all values that do not hold once atoms have moved or cells were added: energies, forces...

    What is kept are atoms, masses and constraints, total charge and spin, and what names things (texts and integers).
    Momenta, initial charges and magnetic moments go as well.
    """
    kept = charge_and_spin_entries(atoms).keys()
    for key in [key for key, value in atoms.info.items() if key not in kept and not _is_label(key, value)]:
        del atoms.info[key]
    for key in [key for key, value in atoms.arrays.items() if key not in _KEPT_ARRAYS and not _is_label(key, value)]:
        del atoms.arrays[key]


def drop_reference_values(atoms: Atoms) -> None:
    """Take from a structure its calculator and what training would read: energies, forces... of another calculator."""
    atoms.calc = None
    for name in {name for names in KEYS.values() for name in names}:
        atoms.info.pop(name, None)
        atoms.arrays.pop(name, None)


def _is_label(key: Any, value: Any) -> bool:
    if any(name in str(key).lower() for name in _QUANTITIES):
        return False
    try:
        return np.asarray(value).dtype.kind in "biUS"
    except ValueError:  # lists of different lengths
        return False
