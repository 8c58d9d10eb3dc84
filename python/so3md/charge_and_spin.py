"""Total charge and total spin of a structure: where they come from, and which of them can go together.

The charge Q is in units of e. The spin is the total spin S, half the number of unpaired electrons: 0 for a closed
shell, 1/2 for a radical, 1 for a triplet. It is neither the multiplicity 2 S + 1, which has entries of its own, nor the
number of unpaired electrons.
"""

from __future__ import annotations

import math
import warnings
from typing import Any, NamedTuple

import numpy as np
from ase import Atoms

from so3md import _engine

#: Keys of atoms.info that are read, in upper or lower case: charge, spin S, and multiplicity 2 S + 1.
CHARGE_KEYS = ("charge", "total_charge")
SPIN_KEYS = ("spin", "total_spin")
MULTIPLICITY_KEYS = ("multiplicity", "spin_multiplicity", "total_multiplicity", "mult")
_ALL_SPIN_KEYS = (*SPIN_KEYS, *MULTIPLICITY_KEYS)

_LARGEST = 1e6  # of charge (e) and spin: more than any system that fits into memory has


class ChargeAndSpin(NamedTuple):
    """Total charge (e) and total spin S of a structure."""

    charge: float
    spin: float


class OddElectronsWarning(UserWarning):
    """An odd number of electrons was given the spin zero."""


def charge_and_spin_of(atoms: Atoms, charge: float | None = None, spin: float | None = None) -> ChargeAndSpin:
    """The given total charge (e) and spin, or where None, what atoms.info says, or zero where it says nothing.

    Raises ValueError if an entry of atoms.info is not a finite number or two entries contradict each other.
    """
    info = atoms.info
    return ChargeAndSpin(
        _from_info(info, CHARGE_KEYS) if charge is None else charge,
        _from_info(info, _ALL_SPIN_KEYS) if spin is None else spin,
    )


def charge_and_spin_entries(atoms: Atoms) -> dict[str, float]:
    """The entries of atoms.info that say something of charge and spin."""
    found = _entries(atoms.info, CHARGE_KEYS) | _entries(atoms.info, _ALL_SPIN_KEYS)
    return {key: checked_number(value, f'atoms.info["{key}"]') for key, value in found.items()}


def set_charge_and_spin(atoms: Atoms, charge: float | None = None, spin: float | None = None) -> None:
    """Let a charge or a spin, where it is not None, take the place of all that atoms.info says of it."""
    for key, value, known in (("charge", charge, CHARGE_KEYS), ("spin", spin, _ALL_SPIN_KEYS)):
        if value is not None:
            for other in _entries(atoms.info, known, also_none=True):
                del atoms.info[other]
            atoms.info[key] = value


def describe_charge_and_spin(atoms: Atoms, cells: int = 1) -> str:
    """Both as text for the user; cells: of how many equal cells the structure was made."""
    texts = []
    for name, value in charge_and_spin_of(atoms)._asdict().items():
        shares = f" ({value / cells:g} for each of {cells} cells)" if value and cells > 1 else ""
        texts.append(f"{name} {value:g}{shares}")
    return ", ".join(texts)


def checked_number(value: Any, name: str) -> float:
    """The value as a finite float; raises ValueError, naming it, if it is none."""
    if isinstance(value, bool | np.bool_):  # ASE reads "charge -1" in a comment line as two words that are True
        hint = "; a comment line needs name=value" if name.startswith("atoms.info") else ""
        raise ValueError(f"{name}: expected a finite number, found {value!r}{hint}")
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        number = math.nan
    if not math.isfinite(number):
        raise ValueError(f"{name}: expected a finite number, found {value!r}")
    return number


def _entries(info: dict[str, Any], known: tuple[str, ...], also_none: bool = False) -> dict[str, Any]:
    """The entries whose keys, in upper or lower case, are known."""
    return {
        key: value
        for key, value in info.items()
        if isinstance(key, str) and key.lower() in known and (also_none or value is not None)
    }


def _from_info(info: dict[str, Any], known: tuple[str, ...]) -> float:
    entries = {key: checked_number(value, f'atoms.info["{key}"]') for key, value in _entries(info, known).items()}
    if not entries:
        return 0.0
    multiplicities = {key: value for key, value in entries.items() if key.lower() in MULTIPLICITY_KEYS}
    found = entries | {key: _spin_of_multiplicity(value, key) for key, value in multiplicities.items()}
    if len(set(found.values())) > 1:
        texts = [f"{key} = {value:g}{_as_spin(key, found[key])}" for key, value in entries.items()]
        raise ValueError(f"atoms.info holds {' and '.join(texts)}, which contradict each other; keep one of them")
    return next(iter(found.values()))


def _as_spin(key: str, spin: float) -> str:
    return f" (spin {spin:g})" if key.lower() in MULTIPLICITY_KEYS else ""


def _spin_of_multiplicity(multiplicity: float, key: str) -> float:
    if multiplicity < 1 or multiplicity != round(multiplicity):
        raise ValueError(
            f'atoms.info["{key}"] = {multiplicity:g}: expected 1, 2, 3, ...: the multiplicity 2 S + 1 of the spin S'
        )
    return (multiplicity - 1) / 2


def check_charge_and_spin(numbers_sum: int, state: ChargeAndSpin) -> None:
    """Refuse what no number of electrons can have; numbers_sum is the sum of the atomic numbers.

    Raises ValueError if the charge is not an integer, 2 S is not a non-negative integer, there would be fewer
    electrons than none or than unpaired ones, or the unpaired electrons of a spin S > 0 cannot be an even or odd
    number of electrons. An odd number of electrons with S = 0 is only warned about (`OddElectronsWarning`): for a
    So3krates model S = 0 also means that nothing is known of the spin, and SO3LR is used like that.
    """
    charge, spin = state
    for name, value in state._asdict().items():
        if abs(value) > _LARGEST:
            raise ValueError(f"{name} {value:g}: expected a number between {-_LARGEST:g} and {_LARGEST:g}")
    impossible, message = _engine.check_charge_and_spin(numbers_sum, charge, spin)
    if impossible:
        raise ValueError(message)
    if message:
        warnings.warn(message, OddElectronsWarning, stacklevel=2)
