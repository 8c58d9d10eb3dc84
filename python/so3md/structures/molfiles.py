"""Molfiles (.mol, .sdf): what ASE reads of them as something else is refused, and isotopes are read, too."""

from __future__ import annotations

from pathlib import Path

from ase import Atoms

from so3md.structures.isotopes import ISOTOPES

#: ASE's names of the formats.
MOLFILE_FORMATS = ("sdf", "mol")
_HEADER_LINES = 4  # three, and the counts of atoms and bonds


def text_of(path: Path) -> str:
    """The text of a file, which may be compressed."""
    from ase.io.formats import open_with_compression

    with open_with_compression(str(path), "rb") as file:
        return file.read().decode("utf-8", errors="replace")


def check_molfile(path: Path) -> None:
    """Raise ValueError for a file of the V3000 kind, of which ASE sees no atom, and for one that has lost its end."""
    lines = text_of(path).splitlines()
    counts = lines[_HEADER_LINES - 1] if len(lines) >= _HEADER_LINES else ""
    if "V3000" in counts:
        raise ValueError(
            f"structure {path}: a molfile of the kind V3000, and ASE reads V2000 only; convert it, with Open Babel "
            "(obabel FILE -O FILE.xyz) or RDKit for example, and give --charge if it is an ion"
        )
    try:
        count = int(counts[:3])
    except ValueError:
        raise ValueError(
            f"structure {path}: expected a molfile, whose line 4 begins with the number of atoms, found {counts!r}"
        ) from None
    found = 0
    for line in lines[_HEADER_LINES : _HEADER_LINES + count]:
        if line.startswith(("M  ", "$$$$")):
            break
        found += 1
    if found < count:
        raise ValueError(f"structure {path}: it should have {count} atoms, and ends after {found}: it is damaged")


def read_molfile(path: Path) -> Atoms:
    """The first molecule of a (checked) file. Isotopes ("M  ISO", or D and T) have their masses."""
    lines = text_of(path).splitlines()
    count = int(lines[_HEADER_LINES - 1][:3])
    rows = [line.split()[:4] for line in lines[_HEADER_LINES : _HEADER_LINES + count]]
    masses = {number: ISOTOPES[row[3]] for number, row in enumerate(rows) if row[3] in ISOTOPES}
    symbols = ["H" if row[3] in ISOTOPES else row[3] for row in rows]
    atoms = Atoms(symbols, [[float(word) for word in row[:3]] for row in rows])
    for line in lines[_HEADER_LINES + count :]:
        if line.startswith(("M  END", "$$$$")):
            break
        if line.startswith("M  ISO"):
            numbers = [int(word) for word in line[9:].split()]
            for atom, mass_number in zip(numbers[::2], numbers[1::2], strict=True):
                masses[atom - 1] = _mass(symbols[atom - 1], mass_number)
    if masses:
        all_masses = atoms.get_masses()
        all_masses[list(masses)] = list(masses.values())
        atoms.set_masses(all_masses)
    return atoms


def _mass(symbol: str, mass_number: int) -> float:
    """The mass of an isotope (amu): that of D and T, else the mass number, from which none differs by 0.1."""
    names = {("H", 2): "D", ("H", 3): "T"}
    if (symbol, mass_number) in names:
        return ISOTOPES[names[symbol, mass_number]]
    return float(mass_number)
