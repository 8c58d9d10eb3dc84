"""Charges that stand in structure files where ASE does not look: formal charges, and those of other programs' inputs.

What a file says for sure of the total charge and spin is put into atoms.info, where the calculator finds it. What only
looks like it, such as atomic charges that add up to an integer, is warned about and not used.
"""

from __future__ import annotations

import json
import re
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms

from so3md.charge_and_spin import CHARGE_KEYS, MULTIPLICITY_KEYS, SPIN_KEYS, charge_and_spin_of
from so3md.structures.molfiles import text_of

_ALL_SPIN_KEYS = (*SPIN_KEYS, *MULTIPLICITY_KEYS)
_GIVE_CHARGE = 'give --charge, or atoms.info["charge"]'
_LIKE_CHARGE, _LIKE_SPIN = r"charge|chrg|^q$|^q_?tot", r"spin|mult|unpaired|^uhf$"
#: How far a sum of atomic charges may be from an integer to be taken for one: rounded digits of many atoms.
_ROUNDED = 0.02

#: Codes of the charge column of a molfile's atom lines; 4 is a doublet radical.
_MOLFILE_CHARGES = {1: 3, 2: 2, 3: 1, 5: -1, 6: -2, 7: -3}
#: Unpaired electrons of the codes of "M  RAD": singlet, doublet, triplet.
_MOLFILE_RADICALS = {1: 0, 2: 1, 3: 2}
_PDB_CHARGE = re.compile(r"(?P<before>\d?)(?P<sign>[+-])(?P<after>\d?)")

_NUMBER = r"([-+]?\d+(?:\.\d*)?)"
#: Inputs and outputs of other programs: ASE's name of the format -> expressions for the charge and the multiplicity.
_PROGRAMS: dict[str, tuple[str, str]] = {
    # A line "-1 3", or "-1 3 0 1 -1 3" where fragments follow the whole.
    "gaussian-in": (
        rf"^[ \t]*{_NUMBER}(?:[ ,\t]+\d+)(?:[ ,\t]+[-+]?\d+)*[ \t]*$",
        r"^[ \t]*[-+]?\d+[ ,\t]+(\d+)(?:[ ,\t]+[-+]?\d+)*[ \t]*$",
    ),
    "gaussian-out": (rf"Charge\s*=\s*{_NUMBER}\s+Multiplicity", r"Charge\s*=\s*\S+\s+Multiplicity\s*=\s*(\d+)"),
    "orca-output": (rf"Total Charge\s+Charge\s+\.+\s+{_NUMBER}", r"Multiplicity\s+Mult\s+\.+\s+(\d+)"),
    "nwchem-in": (rf"^\s*charge\s+{_NUMBER}", r"^\s*mult\s+(\d+)"),
    "gamess-us-out": (rf"CHARGE OF MOLECULE\s*=\s*{_NUMBER}", r"SPIN MULTIPLICITY\s*=\s*(\d+)"),
    # Which has the number of unpaired electrons, and comments after "!".
    "espresso-in": (rf"^[^!\n]*\btot_charge\s*=\s*{_NUMBER}", rf"^[^!\n]*\btot_magnetization\s*=\s*{_NUMBER}"),
    # Charges of atoms in force fields have the same name, in other sections.
    "cp2k-restart": (rf"^\s*&DFT\b[^&]*^\s*CHARGE\s+{_NUMBER}", r"^\s*&DFT\b[^&]*^\s*MULTIPLICITY\s+(\d+)"),
}


@dataclass
class FileState:
    """What a file says of one structure: its charge (e) and spin where it says so, and notes for the user.

    oxidation: oxidation number of each element, of files that have them; None for an element that has several.
    """

    charge: float | None = None
    spin: float | None = None
    notes: list[str] = field(default_factory=list)
    oxidation: dict[str, float | None] = field(default_factory=dict)


def adopt_charges(frames: Sequence[Atoms], path: Path, format: str, index: int | slice = slice(None)) -> None:
    """Put charges and spins that the file (in one of ASE's formats) holds into the info of its structures.

    frames: those that the index picks. What atoms.info has already is kept. Warns of what looks like a charge or a spin
    and is not used.
    """
    notes: dict[str, int] = {}
    for atoms, state in zip(frames, _states(path, format, index, len(frames)), strict=True):
        texts = [*state.notes, *_adopt(atoms, state)]
        for text in texts:
            notes[text] = notes.get(text, 0) + 1
    for text, count in notes.items():
        of_many = f" (in {count} structures)" if count > 1 else ""
        warnings.warn(f"{path.name}: {text}{of_many}", stacklevel=3)


def _states(path: Path, format: str, index: int | slice, count: int) -> list[FileState]:
    """What the file says of each of the structures that were read."""
    if format not in _READERS:
        return [FileState()] * count
    try:
        states = _READERS[format](path, format)
    except (ValueError, LookupError, TypeError, AttributeError, OSError) as error:
        note = f"charges in it, if there are any, could not be read ({error}) and are not used"
        return [FileState(notes=[note])] + [FileState()] * (count - 1)
    if len(states) == 1:
        return states * count
    chosen = states[index]
    chosen = chosen if isinstance(chosen, list) else [chosen]
    return chosen if len(chosen) == count else [FileState()] * count


def _adopt(atoms: Atoms, state: FileState) -> list[str]:
    """Put charge and spin into the structure, where it has none; returns what there is to say."""
    present = {key.lower() for key in atoms.info if isinstance(key, str)}
    notes = []
    if present.isdisjoint(CHARGE_KEYS):
        if state.charge:
            atoms.info["charge"] = state.charge
        elif state.charge is None:
            notes += _charges_not_used(atoms, state.oxidation)
    if present.isdisjoint(_ALL_SPIN_KEYS):
        if state.spin:
            atoms.info["spin"] = state.spin
        elif words := _words(atoms.info, _ALL_SPIN_KEYS, _LIKE_SPIN):
            notes.append(f'{words}: not used as the total spin; give --spin, or atoms.info["spin"]')
    return notes


# --- formats --------------------------------------------------------------------------------------------------------


def _read_molfile(path: Path, format: str) -> list[FileState]:
    """SDF and mol, V2000: "M  CHG" and "M  RAD", which where they are there replace the codes of the atom lines."""
    text = text_of(path)
    state = FileState()
    molecules = len(re.findall(r"^M  END", text, re.MULTILINE))
    if molecules > 1:
        state.notes.append(f"it holds {molecules} molecules, of which ASE reads the first")
    lines = text.splitlines()
    atoms = int(lines[3][0:3])
    charges: list[int] = []
    radicals: list[int] = []
    listed = False
    for line in lines[4 + atoms :]:
        if line.startswith(("M  END", "$$$$")):
            break
        if line.startswith(("M  CHG", "M  RAD")):
            listed = True
            numbers = [int(word) for word in line[9:].split()]
            (charges if line.startswith("M  CHG") else radicals).extend(numbers[1::2])
    if listed:
        unpaired = sum(_MOLFILE_RADICALS.get(code, 0) for code in radicals)
    else:
        codes = [int(line[36:39]) if line[36:39].strip() else 0 for line in lines[4 : 4 + atoms]]
        charges, unpaired = [_MOLFILE_CHARGES.get(code, 0) for code in codes], codes.count(4)
    state.charge = float(sum(charges))
    if unpaired and len([code for code in radicals if code]) > 1:
        state.notes.append("how the unpaired electrons of its radicals couple, it does not say: give --spin")
    else:
        state.spin = unpaired / 2
    return [state]


def _read_pdb(path: Path, format: str) -> list[FileState]:
    """Columns 79 and 80 of each atom ("1-"), and alternate locations; frames end where ASE has them end."""
    states: list[FileState] = []
    lines: list[str] = []
    for line in (*text_of(path).splitlines(), "END"):
        if line.startswith(("ATOM", "HETATM")):
            lines.append(line)
        elif line.startswith("END"):
            if lines:
                states.append(_pdb_state(lines))
            lines = []
    return states


def _pdb_state(lines: list[str]) -> FileState:
    state = FileState()
    charges, unknown = [], []
    for line in lines:
        text = line[78:80].strip()
        match = _PDB_CHARGE.fullmatch(text)
        if match and not (match["before"] and match["after"]):
            charges.append(int(match["sign"] + (match["before"] or match["after"] or "1")))
        elif "+" in text or "-" in text:
            unknown.append(text)
    if unknown:
        state.notes.append(f"the charge {unknown[0]!r} in columns 79-80 is not understood and not used; {_GIVE_CHARGE}")
    else:
        state.charge = float(sum(charges))
    places: dict[str, list[int]] = {}
    for number, line in enumerate(lines):
        if line[16:17].strip():
            places.setdefault(line[12:16] + line[17:27], []).append(number)
    twice = [numbers for numbers in places.values() if len(numbers) > 1]
    if twice:
        first = twice[0]
        name = f"{lines[first[0]][12:16].strip()} of {' '.join(lines[first[0]][17:27].split())}"
        atoms = " and ".join(str(number) for number in first)
        count = "1 atom has" if len(twice) == 1 else f"{len(twice)} atoms have"
        state.notes.append(
            f"{count} alternate locations, each of which is taken for an atom of its own: {name} is atoms {atoms}; "
            "keep one location"
        )
    return state


def _read_cif(path: Path, format: str) -> list[FileState]:
    """Oxidation numbers ("Na1+") and partial occupancies, of which nothing is used; one state for all blocks."""
    from ase.io.cif import parse_cif

    state = FileState()
    for block in parse_cif(str(path)):
        symbols, numbers = block.get("_atom_type_symbol") or [], block.get("_atom_type_oxidation_number") or []
        found = [(str(symbol), number) for symbol, number in zip(symbols, numbers, strict=False)]
        for symbol in block.get("_atom_site_type_symbol") or []:
            if match := re.fullmatch(r"([A-Za-z]+)(\d*)([+-])", str(symbol)):
                found.append((match[1], float(match[3] + (match[2] or "1"))))
        for symbol, number in found:
            if isinstance(number, int | float):
                element = re.sub(r"[^A-Za-z].*", "", symbol).capitalize()
                same = state.oxidation.setdefault(element, float(number)) == number
                state.oxidation[element] = float(number) if same else None
        occupancies = [value for value in block.get("_atom_site_occupancy") or [] if isinstance(value, int | float)]
        if occupancies and min(occupancies) < 1:
            state.notes = ["sites of partial occupancy are taken for whole atoms: choose which of them there are"]
    return [state]


def _read_cjson(path: Path, format: str) -> list[FileState]:
    document = json.loads(text_of(path))
    properties = document.get("properties") or {}
    formal = (document.get("atoms") or {}).get("formalCharges") or []
    charge = properties.get("totalCharge", sum(formal))
    multiplicity = properties.get("totalSpinMultiplicity", 1)
    return [FileState(charge=float(charge), spin=(float(multiplicity) - 1) / 2)]


def _read_database(path: Path, format: str) -> list[FileState]:
    """Key-value pairs of ASE's databases."""
    from ase.db import connect

    states = []
    for row in connect(str(path)).select():
        # The key "charge" is ASE's own there, for the sum of the initial charges.
        atoms = Atoms(info={key: value for key, value in row.key_value_pairs.items() if key != "charge"})
        words = _words(atoms.info, (*CHARGE_KEYS, *_ALL_SPIN_KEYS), f"{_LIKE_CHARGE}|{_LIKE_SPIN}")
        states.append(FileState(*charge_and_spin_of(atoms), [f"{words}: not used; {_GIVE_CHARGE}"] if words else []))
    return states


def _read_program(path: Path, format: str) -> list[FileState]:
    text = text_of(path)
    found = [re.search(pattern, text, re.MULTILINE | re.IGNORECASE) for pattern in _PROGRAMS[format]]
    charge, multiplicity = (float(match[1]) if match else None for match in found)
    if multiplicity is None or multiplicity < 0:  # -1 is Quantum ESPRESSO's for what is not said
        return [FileState(charge=charge)]
    return [FileState(charge=charge, spin=(multiplicity if format == "espresso-in" else multiplicity - 1) / 2)]


_READERS: dict[str, Callable[[Path, str], list[FileState]]] = {
    "sdf": _read_molfile,
    "mol": _read_molfile,
    "proteindatabank": _read_pdb,
    "cif": _read_cif,
    "cjson": _read_cjson,
    "db": _read_database,
    "json": _read_database,
    **dict.fromkeys(_PROGRAMS, _read_program),
}

# --- what is not used -------------------------------------------------------------------------------------------------


def _charges_not_used(atoms: Atoms, oxidation: dict[str, float | None]) -> list[str]:
    """What looks like a charge, in a structure that says nothing of it in the entries that are read."""
    if words := _words(atoms.info, CHARGE_KEYS, _LIKE_CHARGE):
        return [f"{words}: not used as the total charge; {_GIVE_CHARGE}"]
    if total := _sum_of_charges(atoms):
        return [f"its atomic charges add up to {total:g} e, and the total charge is taken as 0; {_GIVE_CHARGE}"]
    numbers = [oxidation.get(symbol, 0.0) for symbol in atoms.symbols]
    known = [number for number in numbers if number is not None]
    if len(known) < len(numbers) or sum(known) != 0:
        return [f"its oxidation numbers are not used, and the total charge is taken as 0; {_GIVE_CHARGE}"]
    return []


def _words(info: dict[str, Any], known: tuple[str, ...], pattern: str) -> str:
    """The entries, as text, of which a total may be meant: numbers that are not zero, and words of a comment line."""
    found = []
    for key, value in info.items():
        if not isinstance(key, str) or key.lower() in known or not re.search(pattern, key, re.IGNORECASE):
            continue
        if value is True:
            found.append(f"the word {key!r} of the comment line")
        elif isinstance(value, str) or (np.ndim(value) == 0 and isinstance(value, int | float | np.number) and value):
            found.append(f"{key} = {value}")
    return ", ".join(found)


def _sum_of_charges(atoms: Atoms) -> float:
    """The sum of the charges that the atoms have in the file, if it is an integer other than zero; else 0."""
    columns = [atoms.get_initial_charges()]
    columns += [values for key, values in atoms.arrays.items() if key != "initial_charges" and "charge" in key.lower()]
    if atoms.calc is not None and "charges" in atoms.calc.results:
        columns.append(atoms.calc.results["charges"])
    for values in columns:
        if np.shape(values) == (len(atoms),) and np.issubdtype(np.asarray(values).dtype, np.number):
            total = float(np.sum(values))
            if round(total) and abs(total - round(total)) < _ROUNDED:
                return round(total)
    return 0.0
