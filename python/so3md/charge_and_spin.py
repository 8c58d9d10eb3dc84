"""Total charge and total spin of a structure: where they come from, and which of them can go together.

The charge Q is in units of e. The spin is the total spin S, half the number of unpaired electrons: 0 for a closed
shell, 1/2 for a radical, 1 for a triplet. It is neither the multiplicity 2 S + 1 nor the number of unpaired electrons.
"""

from __future__ import annotations

import math
import warnings
from typing import Any, NamedTuple

from ase import Atoms

#: Keys of atoms.info that are read, in the order of the fields of `ChargeAndSpin`.
CHARGE_KEYS = ("charge", "total_charge")
SPIN_KEYS = ("spin", "total_spin")


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
        _from_info(info, SPIN_KEYS) if spin is None else spin,
    )


def charge_and_spin_entries(atoms: Atoms) -> dict[str, float]:
    """The entries of atoms.info that say something of charge and spin."""
    found = {key: atoms.info.get(key) for key in (*CHARGE_KEYS, *SPIN_KEYS)}
    return {key: checked_number(value, f'atoms.info["{key}"]') for key, value in found.items() if value is not None}


def checked_number(value: Any, name: str) -> float:
    """The value as a finite float; raises ValueError, naming it, if it is none."""
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = math.nan
    if not math.isfinite(number):
        raise ValueError(f"{name}: expected a finite number, found {value!r}")
    return number


def _from_info(info: dict[str, Any], keys: tuple[str, ...]) -> float:
    found = {key: checked_number(info[key], f'atoms.info["{key}"]') for key in keys if info.get(key) is not None}
    if not found:
        return 0.0
    if len(set(found.values())) > 1:
        entries = " and ".join(f"{key} = {value:g}" for key, value in found.items())
        raise ValueError(f"atoms.info holds {entries}, which contradict each other; keep one of them")
    return next(iter(found.values()))


def check_charge_and_spin(numbers_sum: int, state: ChargeAndSpin) -> None:
    """Refuse what no number of electrons can have; numbers_sum is the sum of the atomic numbers.

    Raises ValueError if the charge is not an integer, 2 S is not a non-negative integer, there would be fewer
    electrons than none or than unpaired ones, or the unpaired electrons of a spin S > 0 cannot be an even or odd
    number of electrons. An odd number of electrons with S = 0 is only warned about (`OddElectronsWarning`): for a
    So3krates model S = 0 also means that nothing is known of the spin, and SO3LR is used like that.
    """
    charge, spin = state
    if charge != round(charge):
        raise ValueError(f"charge {charge:g}: expected an integer, the total charge in units of e")
    if spin < 0 or 2 * spin != round(2 * spin):
        raise ValueError(
            f"spin {spin:g}: expected 0, 0.5, 1, 1.5, ...: the total spin S, half the number of unpaired electrons"
        )
    electrons, unpaired = round(numbers_sum - charge), round(2 * spin)
    if electrons < 0:
        raise ValueError(f"charge {charge:g}: the atoms have only {numbers_sum} electrons to lose")
    if unpaired > electrons:
        raise ValueError(f"spin {spin:g}: it needs {unpaired} unpaired electrons, and there are {electrons}")
    if (electrons - unpaired) % 2 == 0:
        return
    parity = f"charge {charge:g} leaves {electrons} electrons, of which {unpaired} cannot be unpaired (spin {spin:g})"
    if spin > 0:
        raise ValueError(f"{parity}; change the charge, or the spin S by 1/2")
    warnings.warn(
        f"{parity}: an odd number of electrons has at least one unpaired. Give the charge, or spin 0.5 for a radical. "
        "Going on with spin 0, which tells the model nothing about the spin",
        OddElectronsWarning,
        stacklevel=2,
    )
