"""Reading structures: from any file that ASE reads, or one of the examples that ship with so3md."""

from __future__ import annotations

import os
from collections.abc import Sequence
from math import prod
from pathlib import Path

from ase import Atoms

from so3md.charge_and_spin import charge_and_spin_entries
from so3md.structure_checks import warn_of_odd_structures

#: Example structures: name -> file beside this module.
EXAMPLES = {"water": "water_64.xyz"}


def read_structure(
    name_or_path: str | os.PathLike[str], index: int = -1, supercell: Sequence[int] = (1, 1, 1)
) -> Atoms:
    """Read one structure, without calculator, and replicate it.

    index picks the frame of a file that holds several (default: the last). supercell: the number of copies along
    each cell vector; total charge and spin in atoms.info are multiplied by it, and the copies get no velocities,
    because those of the original, repeated, would move all copies alike. The name of an example wins over a file of
    the same name; write ./NAME for the file. What no substance has, such as atoms on top of each other, is warned about
    (`so3md.structure_checks`).
    Raises FileNotFoundError for a missing file, ValueError for one that cannot be read and for a supercell that does
    not fit the structure.
    """
    text = os.fspath(name_or_path)
    path = Path(__file__).parent / EXAMPLES[text] if text in EXAMPLES else Path(text).expanduser()
    if not path.is_file():
        raise FileNotFoundError(
            f"structure {text!r}: there is no such file; give a file that ASE can read or one of the examples "
            f"that ship with so3md: {', '.join(EXAMPLES)}"
        )
    atoms = _read(path, index)
    atoms.calc = None
    warn_of_odd_structures([atoms])
    return atoms if tuple(supercell) == (1, 1, 1) else _replicate(atoms, supercell)


def _read(path: Path, index: int) -> Atoms:
    from ase.io import read

    try:
        atoms = read(path, index=index)
    except Exception as error:  # ASE's readers raise whatever their parsing trips over
        raise ValueError(f"structure {path}: ASE could not read it ({type(error).__name__}: {error})") from error
    if len(atoms) == 0:
        raise ValueError(f"structure {path}: it holds no atoms")
    return atoms


def _replicate(atoms: Atoms, supercell: Sequence[int]) -> Atoms:
    copies = tuple(int(count) for count in supercell)
    if min(copies) < 1:
        raise ValueError(f"supercell {copies}: expected three positive integers")
    lengths = atoms.cell.lengths()
    for axis, count in enumerate(copies):
        if count > 1 and (lengths[axis] == 0 or not atoms.pbc[axis]):
            raise ValueError(
                f"supercell {copies}: the structure is not periodic along cell vector {axis + 1}, "
                "so that it cannot be replicated along it"
            )
    replicated = atoms.repeat(copies)
    replicated.arrays.pop("momenta", None)
    replicated.info |= {key: value * prod(copies) for key, value in charge_and_spin_entries(atoms).items()}
    return replicated
