"""Deuterium and tritium in XYZ and PDB files, D and T, which ASE does not know: hydrogen with another mass."""

from __future__ import annotations

import io
import re
from pathlib import Path
from typing import cast

from ase import Atoms

#: Symbol -> mass (amu).
ISOTOPES = {"D": 2.014, "T": 3.016}
FORMATS = ("xyz", "extxyz", "proteindatabank")

_PROPERTIES = re.compile(r'Properties="?([A-Za-z0-9_:]+)')


def read_with_isotopes(path: Path, format: str) -> list[Atoms]:
    """All frames of a file, with D and T as H of their masses. Raises what ASE raises for what it cannot read."""
    from ase.io import read

    convert = _pdb_as_hydrogen if format == "proteindatabank" else _as_hydrogen
    text, isotopes = convert(path.read_text(encoding="utf-8"))
    frames = cast("list[Atoms]", read(io.StringIO(text), slice(None), format))
    frames = [atoms for atoms in frames if len(atoms)]  # ASE sees an empty one between ENDMDL and END
    for atoms, found in zip(frames, isotopes, strict=True):
        if found and not atoms.has("masses"):
            masses = atoms.get_masses()
            masses[list(found)] = list(found.values())
            atoms.set_masses(masses)
    return frames


def _as_hydrogen(text: str) -> tuple[str, list[dict[int, float]]]:
    """The text with H for D and T; for each frame, atom -> mass."""
    lines = text.splitlines()
    result: list[str] = []
    isotopes: list[dict[int, float]] = []
    while lines and lines[len(result) :] and lines[len(result)].strip():
        start = len(result) + 2
        count = int(lines[start - 2])
        column = _symbol_column(lines[start - 1])
        found = {}
        result += lines[start - 2 : start]
        for number, line in enumerate(lines[start : start + count]):
            words = line.split()
            if len(words) > column and words[column] in ISOTOPES:
                found[number] = ISOTOPES[words[column]]
                words[column] = "H"
                line = " ".join(words)
            result.append(line)
        isotopes.append(found)
    return "\n".join(result) + "\n", isotopes


def _pdb_as_hydrogen(text: str) -> tuple[str, list[dict[int, float]]]:
    """The same of a PDB file, which has elements in columns 77 and 78; its frames end where ASE has them end."""
    result: list[str] = []
    isotopes: list[dict[int, float]] = []
    found: dict[int, float] = {}
    count = 0
    for line in (*text.splitlines(), "END"):
        if line.startswith(("ATOM", "HETATM")):
            if (symbol := line[76:78].strip()) in ISOTOPES:
                found[count] = ISOTOPES[symbol]
                line = f"{line[:76]} H{line[78:]}"
            count += 1
        elif line.startswith("END"):
            if count:
                isotopes.append(found)
            found, count = {}, 0
        result.append(line)
    return "\n".join(result) + "\n", isotopes


def _symbol_column(header: str) -> int:
    properties = _PROPERTIES.search(header)
    if properties is None:
        return 0
    column = 0
    parts = properties.group(1).split(":")
    for name, width in zip(parts[::3], parts[2::3], strict=False):
        if name == "species":
            return column
        column += int(width)
    return 0
