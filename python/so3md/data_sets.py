"""Reading the structures of a data set: which frames, by which numbers they are called, and how spins are meant."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from ase.constraints import FixAtoms

from so3md.charge_and_spin import SPIN_KEYS, checked_number
from so3md.structures import parse_index, read_structures

#: What atoms.info["spin"] of a data set may mean: the total spin S, the multiplicity 2 S + 1, or 2 S.
SPIN_CONVENTIONS = ("S", "multiplicity", "unpaired")


def read_frames(
    path: Path,
    index: str = ":",
    file_format: str | None = None,
    *,
    charge: float | None = None,
    spin: float | None = None,
) -> list[tuple[int, Atoms]]:
    """The structures that ASE's notation of slices picks from a file, each with its number in the file, from 0 on.

    charge and spin, where given, replace those of the structures. Raises ValueError for a file that ASE cannot read,
    and if there is no such structure.
    """
    wanted = parse_index(index) if isinstance(index, str) else index
    if isinstance(wanted, int):  # as a slice, which may be empty
        wanted = slice(wanted, wanted + 1 or None)
    # ASE says nothing of numbers, which can be told beforehand unless they are counted from the end.
    counted = any(value is not None and value < 0 for value in (wanted.start, wanted.stop, wanted.step))
    frames = read_structures(path, slice(None) if counted else wanted, format=file_format, charge=charge, spin=spin)
    if counted:
        numbered = list(enumerate(frames))[wanted]
    else:
        numbered = [((wanted.start or 0) + k * (wanted.step or 1), atoms) for k, atoms in enumerate(frames)]
    if not numbered:
        raise ValueError(f"data set {path}: there are no structures in {index!r}; it holds {_count(path, file_format)}")
    return numbered


def _count(path: Path, file_format: str | None) -> str:
    return f"{len(read_structures(path, format=file_format))}, counted from 0"


def warn_of_constrained_forces(file: str, count: int) -> None:
    """Warn if there are structures whose forces are `has_constrained_forces`; count: how many."""
    if count:
        warnings.warn(
            f"{file}: the reference forces of fixed atoms are exactly zero in {count} structures, and are used as they "
            "are; ASE's get_forces(apply_constraint=False) gives the real ones",
            stacklevel=2,
        )


def has_constrained_forces(atoms: Atoms, forces: np.ndarray | None) -> bool:
    """Whether the reference forces (n, 3) of fixed atoms are exactly zero: constraints were applied to them when they
    were written, as `atoms.get_forces()` does."""
    if forces is None:
        return False
    fixed = [index for item in atoms.constraints if isinstance(item, FixAtoms) for index in item.get_indices()]
    return bool(fixed) and not forces[fixed].any() and bool(forces.any())


# --- spins ----------------------------------------------------------------------------------------------------------


def total_spin(value: float, convention: str | None) -> float:
    """The total spin S that a number means in a convention; None: it is S. Raises ValueError where it can be none."""
    if convention == "multiplicity":
        if value < 1:
            raise ValueError(f"spin {value:g}: a multiplicity 2 S + 1 is at least 1 (spin_convention: {convention})")
        return (value - 1) / 2
    return value / 2 if convention == "unpaired" else value


def take_spin_convention(atoms: Atoms, convention: str | None) -> None:
    """Let the spins in atoms.info, meant in a convention of `SPIN_CONVENTIONS`, become total spins S."""
    if convention in (None, "S"):
        return
    for key, value in _stated_spins(atoms).items():
        atoms.info[key] = total_spin(checked_number(value, f'atoms.info["{key}"]'), convention)


def doubt_about_spins(spins: Sequence[float | None]) -> str | None:
    """A sentence if stated spins look like multiplicities: whole, at least 1 everywhere; spins: None where not stated.

    Multiplicities taken for S would pass every other check: water of multiplicity 1 becomes a triplet.
    """
    stated = [spin for spin in spins if spin is not None]
    if not stated or any(spin < 1 or spin != round(spin) for spin in stated):
        return None
    return (
        f"all {len(stated)} spins that the data set states are whole numbers of at least 1, as multiplicities are, and "
        "are taken for total spins S (1: a triplet): say which they are with spin_convention "
        "(S, multiplicity or unpaired)"
    )


def spins_of(structures: Iterable[Atoms]) -> Iterator[float | None]:
    """The spin that each structure states, in whatever convention; None where it states none."""
    for atoms in structures:
        found = _stated_spins(atoms)
        yield checked_number(next(iter(found.values())), "spin") if found else None


def _stated_spins(atoms: Atoms) -> dict[str, Any]:
    """The entries that speak of a spin, and not of a multiplicity."""
    return {
        key: value
        for key, value in atoms.info.items()
        if isinstance(key, str) and key.lower() in SPIN_KEYS and value is not None
    }
