"""Reference values of data sets: the names that they go by, what is read from a structure, and what was found where.

Units are eV, A and e. Stress has ASE's sign, positive under tension; virials are those of the data of MACE, GAP and
QUIP: virial = -stress * volume, an energy.
"""

from __future__ import annotations

import re
from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from ase import Atoms
from ase.stress import voigt_6_to_full_3x3_stress

#: What a structure may have reference values of.
QUANTITIES = ("energy", "forces", "stress", "dipole", "charges", "hirshfeld_ratios")

#: What these values are, for messages: components of one structure, or of an atom.
UNITS = {
    "energy": "eV",
    "forces": "eV/A",
    "stress": "eV/A^3",
    "dipole": "e A",
    "charges": "e",
    "hirshfeld_ratios": "1",
}


def _with_prefixes(name: str) -> tuple[str, ...]:
    return f"REF_{name}", f"ref_{name}", f"{name}_ref", f"DFT_{name}", f"dft_{name}"


#: Where values are looked for, the first that is there counting: in atoms.info, atoms.arrays, then in what ASE itself
#: has read. A virial counts as a stress, where there is no stress.
KEYS: dict[str, tuple[str, ...]] = {name: (*_with_prefixes(name), name) for name in QUANTITIES} | {
    "virial": (*_with_prefixes("virial"), *_with_prefixes("virials"), "virial", "virials")
}

#: Parts of names that mean a quantity, for proposals in messages.
_LOOKS_LIKE = {
    "energy": r"energ|(^|_)e(tot|pot|_|\d|$)|toten|hartree",
    "forces": r"forc|(^|_)f(_|$)|grad",
    "stress": r"stress|viri|press",
    "dipole": r"dip|^mu$|^d$",
    "charges": r"charges|^q_?.*|mulliken",
    "hirshfeld_ratios": r"hirsh|ratio|^h$",
}

_RARE = ("dipole", "charges", "hirshfeld_ratios")

NOT_FINITE = "holds a number that is not finite"
NO_VOLUME = "the structure has no volume: it is not periodic, or lacks cell vectors"

#: How far a stress and the virial that stand beside each other may differ, of the larger: files round, to some digits.
_CONTRADICTION = 0.01


@dataclass(frozen=True)
class Factors:
    """What numbers of a file are multiplied by to become eV, A, eV/A, eV/A^3 and e A."""

    energy: float = 1.0
    length: float = 1.0
    forces: float = 1.0
    stress: float = 1.0
    dipole: float = 1.0

    def of(self, quantity: str) -> float:
        """The factor of a quantity; a virial is an energy."""
        return self.energy if quantity == "virial" else getattr(self, quantity, 1.0)


@dataclass(kw_only=True)
class Reference:
    """Reference values of one structure of n atoms; None where there are none.

    energy (eV), forces (n, 3) eV/A, stress (3, 3) eV/A^3, dipole (3) e A, charges (n) e, hirshfeld_ratios (n).
    entries: quantity -> name that it was read from. left_out: quantity -> why what is there is of no use.
    """

    energy: float | None = None
    forces: np.ndarray | None = None
    stress: np.ndarray | None = None
    dipole: np.ndarray | None = None
    charges: np.ndarray | None = None
    hirshfeld_ratios: np.ndarray | None = None
    entries: dict[str, str] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)


def find_in_atoms(atoms: Atoms, keys: Mapping[str, str]) -> dict[str, tuple[str, Any]]:
    """Quantity -> name and value of its entry. keys: the one name to look under, instead of those of `KEYS`."""
    results = atoms.calc.results if atoms.calc else {}
    found = {}
    for quantity, known in KEYS.items():
        for name in (keys[quantity],) if quantity in keys else known:
            for place in (atoms.info, atoms.arrays, results):
                if name in place and quantity not in found:
                    found[quantity] = name, place[name]
    return found


def names_in_atoms(atoms: Atoms) -> set[str]:
    """The names of all entries of a structure."""
    own = {"numbers", "positions", "momenta", "initial_charges", "initial_magmoms", "tags", "masses"}
    return ({*atoms.info, *atoms.arrays} | (set(atoms.calc.results) if atoms.calc else set())) - own


def make_reference(
    found: Mapping[str, tuple[str, Any]],
    num_atoms: int,
    volume: float | None,
    factors: Factors = Factors(),
    named: Container[str] = (),
) -> Reference:
    """Check the shapes of what was found, and convert it. volume (A^3): None where there is none.

    Raises ValueError, naming the quantity, for a wrong shape, and for stress and virial that contradict each other.
    named: quantities whose entry the user has named; what only happens to have the name of one of the rarer quantities,
    such as a total charge called charges, is left out where its shape is another.
    """
    result = Reference()
    values = {}
    for quantity, (name, value) in found.items():
        kind = "stress" if quantity == "virial" else quantity
        try:
            array = shaped(quantity, value, num_atoms) * factors.of(quantity)
        except ValueError as error:
            if quantity not in _RARE or quantity in named:
                raise
            result.left_out[kind] = str(error).removeprefix(f"{quantity}: ")
            continue
        if kind == "stress" and volume is None:
            # Programs write zeros, or the stress of a box of vacuum, for molecules as well.
            result.left_out.setdefault("stress", NO_VOLUME)
        elif not np.isfinite(array).all():
            result.left_out[kind] = NOT_FINITE
        elif quantity == "virial" and volume is not None:
            values[quantity] = name, -array / volume
        else:
            values[quantity] = name, array
    if "virial" in values:
        name, stress = values.pop("virial")
        if "stress" in values:
            _refuse_contradiction(*values["stress"], name, stress)
        else:
            values["stress"] = name, stress
    for quantity, (name, array) in values.items():
        result.entries[quantity] = name
        setattr(result, quantity, float(array) if quantity == "energy" else array)
        if quantity == "stress":
            result.left_out.pop("stress", None)
    return result


def shaped(quantity: str, value: Any, num_atoms: int) -> np.ndarray:
    """The value as an array of numbers of the right shape; raises ValueError, naming the quantity."""
    try:
        array = np.asarray(value, dtype=float)
    except (TypeError, ValueError):
        raise ValueError(f"{quantity}: expected numbers, found {value!r:.60}") from None
    if quantity == "energy":
        if array.size != 1:
            raise ValueError(f"energy: expected one number, found the shape {array.shape}")
        return array.reshape(())
    if quantity in ("stress", "virial"):
        if array.shape == (6,):
            return voigt_6_to_full_3x3_stress(array)
        if array.size != 9:
            raise ValueError(f"{quantity}: expected 6 numbers (Voigt) or 3 by 3, found the shape {array.shape}")
        return array.reshape(3, 3)
    expected = {"forces": (num_atoms, 3), "dipole": (3,)}.get(quantity, (num_atoms,))
    if array.shape != expected:
        raise ValueError(f"{quantity}: expected the shape {expected}, found {array.shape}")
    return array


def _refuse_contradiction(stress_name: str, stress: np.ndarray, virial_name: str, other: np.ndarray) -> None:
    size = max(np.abs(stress).max(), np.abs(other).max())
    if np.abs(stress - other).max() > _CONTRADICTION * size:
        raise ValueError(
            f"stress: the entries {stress_name} and {virial_name} contradict each other: expected "
            "virial = -stress * volume. Name the right one under another key, or remove the wrong one"
        )


# --- what was found -------------------------------------------------------------------------------------------------


@dataclass
class Found:
    """How much of a quantity a file holds: entries it was read from, structures that have it and those that were left
    out, of how many, and the number of values."""

    file: str
    quantity: str
    entries: list[str]
    structures: int
    of: int
    values: int
    left_out: dict[str, int]


class Inventory:
    """What the structures of a file have, which are added one after the other."""

    def __init__(self, file: str) -> None:
        self._rows = {quantity: Found(file, quantity, [], 0, 0, 0, {}) for quantity in QUANTITIES}

    def add(self, reference: Reference) -> None:
        """Count a structure."""
        for quantity, row in self._rows.items():
            row.of += 1
            value = getattr(reference, quantity)
            if value is not None:
                row.structures, row.values = row.structures + 1, row.values + int(np.size(value))
                entry = reference.entries.get(quantity)
                if entry is not None and entry not in row.entries:
                    row.entries.append(entry)
            if quantity in reference.left_out:
                reason = reference.left_out[quantity]
                row.left_out[reason] = row.left_out.get(reason, 0) + 1

    def rows(self) -> list[Found]:
        """For every quantity that any has."""
        return [replace(r, entries=sorted(r.entries)) for r in self._rows.values() if r.structures or r.left_out]


def inventory(file: str, references: Iterable[Reference]) -> list[Found]:
    """What the structures of a file have, for every quantity that any has."""
    result = Inventory(file)
    for reference in references:
        result.add(reference)
    return result.rows()


def what_looks_like(quantity: str, names: Iterable[str]) -> str:
    """A sentence on the entries that may hold a quantity, or else on all that there are."""
    names = sorted(names)
    pattern = _LOOKS_LIKE["stress" if quantity == "virial" else quantity]
    similar = [name for name in names if re.search(pattern, name, re.IGNORECASE)]
    if similar:
        return f"entries that look like it: {', '.join(similar)}"
    return f"the entries are {_some(names)}" if names else "there are no entries at all"


def _some(names: Sequence[str], count: int = 12) -> str:
    return ", ".join(names[:count]) + (", ..." if len(names) > count else "")
