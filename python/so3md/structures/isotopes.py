"""Deuterium and tritium in XYZ files, D and T, which ASE does not know: hydrogen with another mass."""

from __future__ import annotations

import io
import re
from pathlib import Path
from typing import cast

from ase import Atoms

#: Symbol -> mass (amu).
ISOTOPES = {"D": 2.014, "T": 3.016}
FORMATS = ("xyz", "extxyz")

_PROPERTIES = re.compile(r'Properties="?([A-Za-z0-9_:]+)')


def read_with_isotopes(path: Path, format: str) -> list[Atoms]:
    """All frames of an XYZ file, with D and T as H of their masses. Raises what ASE raises for what it cannot read."""
    from ase.io import read

    text, isotopes = _as_hydrogen(path.read_text(encoding="utf-8"))
    frames = cast("list[Atoms]", read(io.StringIO(text), slice(None), format))
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
