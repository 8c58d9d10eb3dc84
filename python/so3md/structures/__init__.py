"""Reading structures: from any file that ASE reads, or one of the examples that ship with so3md."""

from __future__ import annotations

import os
from collections.abc import Sequence
from math import prod
from pathlib import Path

from ase import Atoms

from so3md.charge_and_spin import charge_and_spin_entries, charge_and_spin_of, set_charge_and_spin
from so3md.structure_checks import warn_of_odd_structures
from so3md.structures.constraints import restore_constraints
from so3md.structures.file_charges import adopt_charges
from so3md.structures.reading import read_frames
from so3md.structures.values import drop_values

#: Example structures: name -> file beside this module.
EXAMPLES = {"water": "water_64.xyz", "ethanol": "ethanol_50.xyz"}


def example_path(name_or_path: str | os.PathLike[str]) -> Path:
    """The file that a name of `EXAMPLES` or a path stands for; the name of an example wins over a file of that name."""
    text = os.fspath(name_or_path)
    return Path(__file__).parent / EXAMPLES[text] if text in EXAMPLES else Path(text).expanduser()


_MOST_ATOMS = 2**31 - 1


def read_structure(
    name_or_path: str | os.PathLike[str],
    index: int = -1,
    supercell: Sequence[int] = (1, 1, 1),
    *,
    format: str | None = None,
    charge: float | None = None,
    spin: float | None = None,
) -> Atoms:
    """Read one structure, without calculator, and replicate it.

    index picks the frame of a file that holds several (default: the last); format is ASE's name of its format, where
    the name of the file does not tell. charge and spin, where given, take the place of those of the file.
    supercell: the number of copies along each cell vector; total charge and spin, given or of the file, are those of
    one cell and are multiplied by it; the copies get no velocities, because those of the original, repeated, would move
    all copies alike, and no values of one cell, such as its energy. The name of an example wins over a file of the same
    name; write ./NAME for the file. What no substance has, such as atoms on top of each other, is warned about
    (`so3md.structure_checks`), and so are charges in the file that are not used.
    Raises FileNotFoundError for a missing file, ValueError for one that cannot be read and for a supercell that does
    not fit the structure.

    >>> from so3md.structures import read_structure
    >>> len(read_structure("water")), len(read_structure("water", supercell=(2, 1, 1)))
    (192, 384)
    """
    text = os.fspath(name_or_path)
    path = example_path(text)
    if not path.is_file():
        raise FileNotFoundError(
            f"structure {text!r}: there is no such file; give a file that ASE can read or one of the examples "
            f"that ship with so3md: {', '.join(EXAMPLES)}"
        )
    (atoms,) = read_structures(path, index, format=format, charge=charge, spin=spin)
    atoms = finished(atoms, supercell)
    warn_of_odd_structures([atoms])
    return atoms


def finished(atoms: Atoms, supercell: Sequence[int] = (1, 1, 1)) -> Atoms:
    """A structure of `read_structures` as `read_structure` gives it: its constraints, no results, replicated."""
    atoms.calc = None
    restore_constraints(atoms)
    return atoms if tuple(supercell) == (1, 1, 1) else _replicate(atoms, supercell)


def read_structures(
    path: str | os.PathLike[str],
    index: int | slice | str = ":",
    *,
    format: str | None = None,
    charge: float | None = None,
    spin: float | None = None,
) -> list[Atoms]:
    """Read the frames of a file that index picks, a number or a slice, with the results that ASE finds in it.

    For format, charge and spin, and for errors, see `read_structure`. What is odd about structures is not looked for.
    """
    path = Path(path)
    picked = parse_index(index) if isinstance(index, str) else index
    frames, found_format = read_frames(path, picked, format)
    for atoms in frames:
        set_charge_and_spin(atoms, charge, spin)
    adopt_charges(frames, path, found_format, picked)
    return frames


def parse_index(text: str) -> int | slice:
    """A number or a slice, as ASE writes them. Raises ValueError for other text.

    >>> parse_index("-1"), parse_index("::10")
    (-1, slice(None, None, 10))
    """
    from ase.utils import string2index

    try:
        index = string2index(text)
    except (ValueError, TypeError):  # the latter for more than two colons
        index = text
    if isinstance(index, str) or (isinstance(index, slice) and index.step == 0):
        raise ValueError(f"index {text!r}: expected a number, or a slice such as :100 or ::10")
    return index


def _replicate(atoms: Atoms, supercell: Sequence[int]) -> Atoms:
    copies = tuple(int(count) for count in supercell)
    if min(copies) < 1:
        raise ValueError(f"supercell {copies}: expected three positive integers")
    if len(atoms) * prod(copies) > _MOST_ATOMS:
        raise ValueError(f"supercell {copies}: {len(atoms) * prod(copies):,} atoms are more than the engine can count")
    lengths = atoms.cell.lengths()
    for axis, count in enumerate(copies):
        if count > 1 and (lengths[axis] == 0 or not atoms.pbc[axis]):
            raise ValueError(
                f"supercell {copies}: the structure is not periodic along cell vector {axis + 1}, "
                "so that it cannot be replicated along it"
            )
    if charge_and_spin_entries(atoms):
        charge, spin = charge_and_spin_of(atoms)
        set_charge_and_spin(atoms, charge * prod(copies), spin * prod(copies))
    drop_values(atoms)
    try:
        return atoms.repeat(copies)
    except NotImplementedError as error:
        names = ", ".join(type(constraint).__name__ for constraint in atoms.constraints)
        raise ValueError(
            f"supercell {copies}: ASE cannot replicate the constraints of the structure ({names}); remove them first"
        ) from error
