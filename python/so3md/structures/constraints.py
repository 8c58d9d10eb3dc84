"""Constraints of a structure as plain data, for checkpoints, and in files of extended XYZ.

Such files hold fixed atoms and directions in a column, move_mask, which ASE reads. Other constraints have no place
there; they go into the header as the entry "constraints".
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from ase import Atoms
from ase.constraints import FixAtoms, FixBondLengths, FixCartesian, dict2constraint
from ase.data import atomic_masses
from ase.io import jsonio

#: Entry of atoms.info: constraints as JSON, or a text with their names.
KEY = "constraints"


def constraints_text(constraints: list[Any]) -> str:
    """JSON text from which `constraints_of_text` makes them again. Raises ValueError for one that ASE cannot store."""
    return jsonio.encode([_document(constraint) for constraint in constraints])


def _document(constraint: Any) -> dict[str, Any]:
    try:
        document = constraint.todict()
    except (NotImplementedError, AttributeError) as error:
        raise ValueError(f"constraint {type(constraint).__name__}: ASE cannot store it; remove it") from error
    if isinstance(constraint, FixBondLengths) and constraint.bondlengths is not None:
        # ASE leaves the lengths out, and would take those of the structure that it is restored for.
        document["kwargs"]["bondlengths"] = np.asarray(constraint.bondlengths).tolist()
    return document


def constraints_of_text(text: str) -> list[Any]:
    """The constraints of `constraints_text`. Raises ValueError for what are none."""
    try:
        return [dict2constraint(document) for document in jsonio.decode(text)]
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise ValueError(f"these constraints cannot be restored ({error})") from error


def beyond_mask(atoms: Atoms) -> list[Any]:
    """The constraints that a column move_mask does not hold."""
    return [constraint for constraint in atoms.constraints if not isinstance(constraint, FixAtoms | FixCartesian)]


def header_entries(atoms: Atoms, complete: bool) -> dict[str, Any]:
    """What a header has to say of the constraints that move_mask does not hold: all, or only their names."""
    constraints = beyond_mask(atoms)
    if not constraints:
        return {}
    if complete:
        return {KEY: json.loads(constraints_text(constraints))}
    return {KEY: ", ".join(dict.fromkeys(type(constraint).__name__ for constraint in constraints))}


def lost_in(atoms: Atoms, file_format: str) -> list[str]:
    """Names of constraints, and masses of isotopes, which files of a format do not keep; file_format is ASE's name."""
    if file_format in ("extxyz", "traj", "json", "db"):
        return []
    kept_masks = file_format == "vasp"
    lost = [type(item).__name__ for item in (beyond_mask(atoms) if kept_masks else atoms.constraints)]
    return list(dict.fromkeys(lost)) + (["masses"] if has_own_masses(atoms) else [])


@contextmanager
def in_header(atoms: Atoms, file_format: str) -> Iterator[None]:
    """While ASE writes extended XYZ: let the header have the constraints that move_mask does not hold."""
    before = atoms.info
    if file_format == "extxyz":
        atoms.info = before | header_entries(atoms, complete=True)
    try:
        yield
    finally:
        atoms.info = before


def has_own_masses(atoms: Atoms) -> bool:
    """Whether there are other masses than the natural ones: isotopes."""
    return bool(np.any(atoms.get_masses() != atomic_masses[atoms.numbers]))


def restore_constraints(atoms: Atoms) -> None:
    """After reading a file: give atoms the constraints that its header holds, or warn if it only names them."""
    _join_masks(atoms)
    entry = atoms.info.pop(KEY, None)
    if isinstance(entry, list):
        try:
            found = constraints_of_text(json.dumps(entry))
        except ValueError as error:
            raise ValueError(f'atoms.info["{KEY}"]: {error}') from error
        atoms.set_constraint([*atoms.constraints, *found])
    elif entry is not None:
        warnings.warn(
            f"the file names constraints ({entry}) and does not hold them: none is applied",
            stacklevel=2,
        )


def _join_masks(atoms: Atoms) -> None:
    """One constraint for all atoms with the same fixed directions, where ASE's reader makes one for each atom."""
    if not any(isinstance(constraint, FixCartesian) for constraint in atoms.constraints):
        return
    fixed = fixed_directions(atoms)
    joined: list[Any] = []
    for mask in np.unique(fixed, axis=0)[::-1]:  # whole atoms first
        indices = np.flatnonzero((fixed == mask).all(axis=1))
        if mask.all():
            joined.append(FixAtoms(indices))
        elif mask.any():
            joined.append(FixCartesian(indices, mask=mask))
    atoms.set_constraint([*joined, *beyond_mask(atoms)])


def fixed_directions(atoms: Atoms) -> np.ndarray:
    """(n, 3): along which of x, y and z `FixAtoms` and `FixCartesian` hold each atom."""
    fixed = np.zeros((len(atoms), 3), dtype=bool)
    for constraint in atoms.constraints:
        if isinstance(constraint, FixAtoms):
            fixed[constraint.index] = True
        elif isinstance(constraint, FixCartesian):
            fixed[constraint.index] |= np.asarray(constraint.mask)
    return fixed
