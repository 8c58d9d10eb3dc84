"""Reading data sets: structures with reference values, in eV, A and e whatever the file has."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io import iread
from ase.stress import voigt_6_to_full_3x3_stress

from so3md.charge_and_spin import charge_and_spin_of
from so3md.evaluation import ENERGY_KEYS, FORCES_KEYS
from so3md.reference.graph import Structure
from so3md.training.config import QUANTITIES, DataConfig, Source, Units
from so3md.training.schema import ConfigError, closest
from so3md.training.unit_conversion import Factors, factors

#: Names under which an .npz holds what, the first that is there counting. The first are those of MD17 and of rMD17.
NPZ_KEYS: dict[str, tuple[str, ...]] = {
    "numbers": ("z", "nuclear_charges", "numbers", "atomic_numbers", "Z"),
    "positions": ("R", "coords", "positions"),
    "energy": ("E", "energies", "energy"),
    "forces": ("F", "forces"),
    "stress": ("stress",),
    "dipole": ("D", "dipole", "dipoles"),
    "hirshfeld_ratios": ("hirshfeld_ratios", "h"),
    "cell": ("cell", "lattice"),
    "pbc": ("pbc",),
    "charge": ("charge", "Q"),
    "spin": ("spin", "S"),
}
ASE_KEYS: dict[str, tuple[str, ...]] = {
    "energy": (*ENERGY_KEYS, "energy"),
    "forces": (*FORCES_KEYS, "forces"),
    "stress": ("REF_stress", "stress"),
    "dipole": ("REF_dipole", "dipole"),
    "hirshfeld_ratios": ("REF_hirshfeld_ratios", "hirshfeld_ratios"),
}
_ASE_UNITS = Units(energy="eV", length="Angstrom", stress=None)


@dataclass
class Sample:
    """A structure and its reference values; None where the file has none.

    energy (eV), forces (n, 3) eV/A, stress (3, 3) eV/A^3 with ASE's sign, dipole (3) e A, hirshfeld_ratios (n);
    origin: file and number of the structure in it, for messages.
    """

    structure: Structure
    energy: float | None = None
    forces: np.ndarray | None = None
    stress: np.ndarray | None = None
    dipole: np.ndarray | None = None
    hirshfeld_ratios: np.ndarray | None = None
    origin: str = ""

    def atoms(self) -> Atoms:
        """The structure for ASE, with the reference values as results of a calculator."""
        item = self.structure
        atoms = Atoms(numbers=item.numbers, positions=item.positions, cell=item.cell, pbc=item.pbc)
        atoms.info["origin"] = self.origin
        for name, value in (("charge", item.charge), ("spin", item.spin)):
            if value:
                atoms.info[name] = float(value)
        if self.energy is not None or self.forces is not None:
            results = {"energy": self.energy, "forces": self.forces}
            atoms.calc = SinglePointCalculator(atoms, **{k: v for k, v in results.items() if v is not None})
        return atoms


def read_files(files: Any, config: DataConfig, directory: Path) -> list[Sample]:
    """All structures of the files of one entry of the configuration, in their order; paths relative to `directory`."""
    entries = files if isinstance(files, list) else [files]
    sources = [Source(entry) if isinstance(entry, str) else entry for entry in entries]
    return [sample for source in sources for sample in _read(source, config, directory)]


def checksum(samples: Iterable[Sample]) -> str:
    """A short text that tells data sets apart: structures and reference values, to the bit."""
    digest = hashlib.sha256()
    for sample in samples:
        item = sample.structure
        for value in (item.numbers, item.positions, item.cell, item.pbc, item.charge, item.spin):
            digest.update(np.ascontiguousarray(value).tobytes())
        for name in QUANTITIES:
            value = getattr(sample, name)
            digest.update(b"-" if value is None else np.ascontiguousarray(value, dtype=float).tobytes())
    return digest.hexdigest()[:16]


def _read(source: Source, config: DataConfig, directory: Path) -> list[Sample]:
    path = directory / Path(source.path).expanduser()
    if not path.is_file():
        raise FileNotFoundError(f"data file {path}: there is no such file (paths are relative to the configuration)")
    units, keys = source.units or config.units, config.keys if source.keys is None else source.keys
    known = NPZ_KEYS if path.suffix == ".npz" else ASE_KEYS
    for key in keys:
        if key not in known:
            raise ConfigError(f"data.keys.{key}: unknown quantity; {closest(key, known)}")
    if path.suffix == ".npz":
        samples = _read_npz(path, keys, factors(units, None, "data.units"), source.index)
    else:
        samples = _read_ase(path, source, keys, factors(units, _ASE_UNITS, "data.units"))
    if not samples:
        raise ValueError(f"{path}: no structures (index {source.index!r})")
    return samples


def _read_ase(path: Path, source: Source, keys: dict[str, str], factor: Factors) -> list[Sample]:
    samples = []
    for number, atoms in enumerate(iread(path, index=source.index, format=source.format)):
        origin = f"{path.name}, structure {number}"
        try:
            charge, spin = charge_and_spin_of(atoms)
            structure = Structure(
                atoms.numbers,
                atoms.positions * factor.length,
                atoms.cell.array * factor.length,
                atoms.pbc,
                charge,
                spin,
            )
            values = {name: _find_in_atoms(atoms, name, keys.get(name)) for name in ASE_KEYS}
            samples.append(_make_sample(structure, values, factor, origin))
        except ValueError as error:
            raise ValueError(f"{origin}: {error}") from error
    return samples


def _find_in_atoms(atoms: Atoms, name: str, key: str | None) -> Any:
    results = atoms.calc.results if atoms.calc else {}
    places = (atoms.info, atoms.arrays, results)
    for candidate in ASE_KEYS[name] if key is None else (key,):
        for place in places:
            if candidate in place:
                return place[candidate]
    if key is not None:
        raise ValueError(f"there is no entry {key!r} for {name} (data.keys.{name})")
    return None


def _read_npz(path: Path, keys: dict[str, str], factor: Factors, index: str) -> list[Sample]:
    with np.load(path, allow_pickle=False) as file:
        arrays = {}
        for name, candidates in NPZ_KEYS.items():
            wanted = (keys[name],) if name in keys else candidates
            found = next((key for key in wanted if key in file), None)
            if found is not None:
                arrays[name] = file[found]
            elif name in keys or name in ("numbers", "positions"):
                raise ValueError(f"{path}: no array {' or '.join(wanted)} for {name}; it has {', '.join(file.files)}")
    count = len(arrays["positions"])
    if arrays["positions"].ndim != 3 or arrays["positions"].shape[2] != 3:
        found = arrays["positions"].shape
        raise ValueError(f"{path}: positions: expected the shape (structures, atoms, 3), found {found}")
    shared = {"numbers": 1, "cell": 2, "pbc": 1, "charge": 0, "spin": 0}  # one for all if they have only these axes

    def of(name: str, number: int) -> Any:
        array = arrays.get(name)
        if array is None:
            return None
        return array if array.ndim <= shared.get(name, -1) else array[number]

    for name, array in arrays.items():
        if array.ndim > shared.get(name, -1) and len(array) != count:
            raise ValueError(f"{path}: {name}: expected {count} structures, as positions have, found {len(array)}")
    samples = []
    for number in range(count)[_parse_slice(index)]:
        origin = f"{path.name}, structure {number}"
        try:
            numbers = np.asarray(of("numbers", number))
            real = numbers > 0  # rows of atomic number 0 pad molecules of different sizes
            cell = of("cell", number)
            structure = Structure(
                numbers[real],
                of("positions", number)[real] * factor.length,
                None if cell is None else np.asarray(cell) * factor.length,
                (cell is not None) if of("pbc", number) is None else of("pbc", number),
                float(np.squeeze(of("charge", number) or 0.0)),
                float(np.squeeze(of("spin", number) or 0.0)),
            )
            values = {name: of(name, number) for name in QUANTITIES}
            for name in ("forces", "hirshfeld_ratios"):
                values[name] = None if values[name] is None else values[name][real]
            samples.append(_make_sample(structure, values, factor, origin))
        except ValueError as error:
            raise ValueError(f"{origin}: {error}") from error
    return samples


def _parse_slice(text: str) -> slice:
    try:
        parts = [int(part) if part else None for part in text.split(":")]
        return slice(*parts) if len(parts) > 1 else slice(parts[0], parts[0] + 1 or None)
    except (TypeError, ValueError):
        raise ConfigError(f"index: expected a slice such as 0:1000 or ::10, found {text!r}") from None


def _make_sample(structure: Structure, values: dict[str, Any], factor: Factors, origin: str) -> Sample:
    """Check shapes and convert units. Raises ValueError, naming the quantity."""
    atoms = len(structure.numbers)
    if not atoms:
        raise ValueError("a structure without atoms")
    shapes: dict[str, tuple[int, ...]] = {"forces": (atoms, 3), "dipole": (3,), "hirshfeld_ratios": (atoms,)}
    scale = {name: getattr(factor, name, 1.0) for name in QUANTITIES}
    converted: dict[str, Any] = {}
    for name, value in values.items():
        if value is None:
            continue
        array = np.asarray(value, dtype=float)
        if name == "energy":
            if array.size != 1:
                raise ValueError(f"energy: expected one number, found the shape {array.shape}")
            array = array.reshape(())
        elif name == "stress":
            array = _full_stress(array)
        elif array.shape != shapes[name]:
            raise ValueError(f"{name}: expected the shape {shapes[name]}, found {array.shape}")
        if not np.isfinite(array).all():
            raise ValueError(f"{name}: holds a number that is not finite")
        converted[name] = float(array) * scale[name] if name == "energy" else array * scale[name]
    if not np.isfinite(structure.positions).all():
        raise ValueError("positions: hold a number that is not finite")
    return Sample(structure, origin=origin, **converted)


def _full_stress(stress: np.ndarray) -> np.ndarray:
    if stress.shape == (6,):
        return voigt_6_to_full_3x3_stress(stress)
    if stress.size != 9:
        raise ValueError(f"stress: expected 6 numbers (Voigt) or 3 by 3, found the shape {stress.shape}")
    return stress.reshape(3, 3)


def elements_of(samples: Sequence[Sample]) -> list[int]:
    """Atomic numbers that occur, increasing."""
    return sorted({int(z) for sample in samples for z in sample.structure.numbers})
