"""Reading data sets: structures with reference values, in eV, A and e whatever the file has."""

from __future__ import annotations

import hashlib
import warnings
import zipfile
from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms

from so3md.bounded_yaml import shown
from so3md.charge_and_spin import charge_and_spin_of
from so3md.data_sets import (
    doubt_about_spins,
    has_constrained_forces,
    read_frames,
    spins_of,
    take_spin_convention,
    total_spin,
    warn_of_constrained_forces,
)
from so3md.defined_properties import spanned_volume
from so3md.nearest_name import closest
from so3md.present import present
from so3md.reference.graph import Structure
from so3md.reference_values import (
    KEYS,
    NOT_FINITE,
    Factors,
    find_in_atoms,
    make_reference,
    names_in_atoms,
    what_looks_like,
)
from so3md.structure_checks import warn_of_odd_structures
from so3md.structures import EXAMPLES, example_path
from so3md.training.config import QUANTITIES, DataConfig, Source, Units
from so3md.training.on_demand import joined, taken
from so3md.training.sample import Sample
from so3md.training.schema import ConfigError
from so3md.training.streaming import found_format, stays_on_disk, stored_samples
from so3md.training.unit_conversion import factors

#: Names under which an .npz holds what, the first that is there counting. The first are those of MD17 and of rMD17.
NPZ_KEYS: dict[str, tuple[str, ...]] = {
    "numbers": ("z", "nuclear_charges", "numbers", "atomic_numbers", "Z"),
    "positions": ("R", "coords", "positions"),
    "energy": ("E", "energies", "energy"),
    "forces": ("F", "forces"),
    "stress": ("stress",),
    "virial": ("virial", "virials"),
    "dipole": ("D", "dipole", "dipoles"),
    "charges": ("charges", "q"),
    "hirshfeld_ratios": ("hirshfeld_ratios", "h"),
    "cell": ("cell", "lattice"),
    "pbc": ("pbc",),
    "charge": ("charge", "Q"),
    "spin": ("spin", "S"),
    "multiplicity": ("multiplicity",),
}
_ASE_UNITS = Units(energy="eV", length="Angstrom", stress=None)


def read_files(files: Any, config: DataConfig, directory: Path) -> Sequence[Sample]:
    """All structures of the files of one entry of the configuration, in their order; paths relative to `directory`.

    A list, or of large files a sequence that reads them from disk when they are asked for.
    """
    entries = files if isinstance(files, list) else [files]
    sources = [Source(entry) if isinstance(entry, str) else entry for entry in entries]
    return joined([_read(source, config, directory) for source in sources])


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


def _read(source: Source, config: DataConfig, directory: Path) -> Sequence[Sample]:
    path = directory / example_path(source.path)  # of an example, the second is absolute and stands alone
    if not path.is_file():
        raise FileNotFoundError(
            f"data file {path}: there is no such file; paths are relative to the configuration, and the examples that "
            f"ship with so3md are {', '.join(EXAMPLES)}"
        )
    units, keys = source.units or config.units, config.keys if source.keys is None else source.keys
    convention = source.spin_convention or config.spin_convention
    known = NPZ_KEYS if path.suffix == ".npz" else KEYS
    for key in keys:
        if key not in known:
            raise ConfigError(f"data.keys.{key}: unknown quantity; {closest(key, known)}")
    samples: Sequence[Sample]
    stored = stays_on_disk(path, source.format, config.on_disk)
    if stored:
        samples, spins = _read_stored(path, source, config, directory, keys, convention)
    elif path.suffix == ".npz":
        samples, spins = _read_npz(path, source, keys, factors(units, None, "data.units"), convention)
    else:
        samples, spins = _read_ase(path, source, keys, factors(units, _ASE_UNITS, "data.units"), convention)
    if not samples:
        raise ValueError(f"{path}: no structures (index {source.index!r})")
    doubt = doubt_about_spins(spins) if convention is None else None
    if doubt:
        warnings.warn(f"{path.name}: {doubt}", stacklevel=2)
    if not stored:  # of which it is said when they are converted
        warn_of_odd_structures([sample.atoms() for sample in samples], [sample.origin for sample in samples])
    return samples


def _read_stored(
    path: Path, source: Source, config: DataConfig, directory: Path, keys: dict[str, str], convention: str | None
) -> tuple[Sequence[Sample], list[float | None]]:
    """As `_read_ase`, of a file that is converted once and then read from disk."""
    factor = factors(source.units or config.units, _ASE_UNITS, "data.units")
    file_format = present(found_format(path, source.format))
    chosen = _parse_slice(source.index)
    options = {"factors": asdict(factor), "keys": keys, "convention": convention, "format": file_format}
    folder = None if config.cache is None else directory / config.cache
    found = stored_samples(
        path,
        file_format,
        folder,
        options,
        source.path,
        lambda: _Conversion(path, keys, factor, convention, on_its_own=True),
    )
    samples = found if source.index == ":" else taken(found, np.arange(len(found))[chosen])
    return samples, found.stated_spins()


def _read_ase(
    path: Path, source: Source, keys: dict[str, str], factor: Factors, convention: str | None
) -> tuple[list[Sample], list[float | None]]:
    """The samples, and what the file states of each spin."""
    convert = _Conversion(path, keys, factor, convention)
    found = [convert(number, atoms) for number, atoms in read_frames(path, source.index, source.format)]
    names = frozenset(convert.about()["names"])
    return [replace(sample, file=source.path, names=names) for sample, _ in found], [spin for _, spin in found]


class _Conversion:
    """Makes samples of the structures of a file; `about`, when all are made, says what is known of them together."""

    def __init__(
        self, path: Path, keys: dict[str, str], factor: Factors, convention: str | None, on_its_own: bool = False
    ) -> None:
        """on_its_own: say of each structure what is odd about it, as nobody sees them together."""
        self._path, self._keys, self._factor, self._convention = path, keys, factor, convention
        self._on_its_own = on_its_own
        self._found: set[str] = set()
        self._names: set[str] = set()
        self._constrained = 0

    def __call__(self, number: int, atoms: Atoms) -> tuple[Sample, float | None]:
        """The sample, and what the file states of its spin."""
        (stated,) = spins_of([atoms])
        origin, length = f"{self._path.name}, structure {number}", self._factor.length
        try:
            take_spin_convention(atoms, self._convention)
            state = charge_and_spin_of(atoms)
            structure = Structure(atoms.numbers, atoms.positions * length, atoms.cell.array * length, atoms.pbc, *state)
            found = find_in_atoms(atoms, self._keys)
            sample = _make_sample(structure, found, self._factor, origin, self._keys)
        except ValueError as error:
            raise ValueError(f"{origin}: {error}") from error
        self._found |= found.keys()
        self._names |= names_in_atoms(atoms)
        self._constrained += has_constrained_forces(atoms, sample.forces)
        if self._on_its_own:
            warn_of_odd_structures([sample.atoms()], [origin])
        return sample, stated

    def about(self) -> dict[str, Any]:
        """Names of all entries. Raises ValueError if a key is nowhere; warns of forces that constraints made zero."""
        for quantity, key in self._keys.items():
            if quantity not in self._found:
                raise ValueError(
                    f"{self._path.name}: there is no entry {key!r} for {quantity} (data.keys.{quantity}); "
                    f"{what_looks_like(quantity, self._names)}"
                )
        warn_of_constrained_forces(self._path.name, self._constrained)
        return {"names": sorted(self._names)}


def _read_npz(
    path: Path, source: Source, keys: dict[str, str], factor: Factors, convention: str | None
) -> tuple[list[Sample], list[float | None]]:
    """The samples, and what the file states of each spin."""
    arrays, read_from, names = _load_npz(path, keys)
    count = len(arrays["positions"])
    if arrays["positions"].ndim != 3 or arrays["positions"].shape[2] != 3:
        found = arrays["positions"].shape
        raise ValueError(f"{path}: positions: expected the shape (structures, atoms, 3), found {found}")
    # One for all structures if they have only these axes.
    shared = {"numbers": 1, "cell": 2, "pbc": 1, "charge": 0, "spin": 0, "multiplicity": 0}

    def of(name: str, number: int) -> Any:
        array = arrays.get(name)
        if array is None:
            return None
        return array if array.ndim <= shared.get(name, -1) else array[number]

    for name, array in arrays.items():
        if array.ndim > shared.get(name, -1) and len(array) != count:
            raise ValueError(f"{path}: {name}: expected {count} structures, as positions have, found {len(array)}")
    samples, spins = [], []
    for number in range(count)[_parse_slice(source.index)]:
        origin = f"{path.name}, structure {number}"
        try:
            numbers = np.asarray(of("numbers", number))
            real = numbers > 0  # rows of atomic number 0 pad molecules of different sizes
            cell = of("cell", number)
            stated, spin = _npz_spin(of("spin", number), of("multiplicity", number), convention)
            spins.append(stated)
            structure = Structure(
                numbers[real],
                of("positions", number)[real] * factor.length,
                None if cell is None else np.asarray(cell) * factor.length,
                (cell is not None) if of("pbc", number) is None else of("pbc", number),
                float(np.squeeze(of("charge", number) or 0.0)),
                spin,
            )
            values = {name: (read_from[name], of(name, number)) for name in KEYS if name in arrays}
            for name in {"forces", "charges", "hirshfeld_ratios"} & values.keys():
                values[name] = read_from[name], values[name][1][real]
            samples.append(_make_sample(structure, values, factor, origin, keys))
        except ValueError as error:
            raise ValueError(f"{origin}: {error}") from error
    return [replace(sample, file=source.path, names=names) for sample in samples], spins


def _load_npz(path: Path, keys: dict[str, str]) -> tuple[dict[str, np.ndarray], dict[str, str], frozenset[str]]:
    """Quantity -> array, and its name in the file; and the names of all arrays."""
    try:
        file = np.load(path, allow_pickle=False)
    except (ValueError, OSError, EOFError, zipfile.BadZipFile) as error:
        raise ValueError(f"{path}: not an archive of NumPy arrays ({error})") from error
    arrays, read_from = {}, {}
    with file:
        for name, candidates in NPZ_KEYS.items():
            wanted = (keys[name],) if name in keys else candidates
            found = next((key for key in wanted if key in file), None)
            if found is None and (name in keys or name in ("numbers", "positions")):
                raise ValueError(f"{path}: no array {' or '.join(wanted)} for {name}; it has {', '.join(file.files)}")
            if found is not None:
                arrays[name], read_from[name] = _array(path, file, found), found
        return arrays, read_from, frozenset(file.files) - {read_from["numbers"], read_from["positions"]}


def _array(path: Path, file: Any, name: str) -> np.ndarray:
    try:
        return file[name]
    except (ValueError, OSError, EOFError, zipfile.BadZipFile) as error:
        raise ValueError(f"{path}: the array {name} cannot be read ({error})") from error


def _npz_spin(spin: Any, multiplicity: Any, convention: str | None) -> tuple[float | None, float]:
    """The spin as it is stated, None if it is not, and the total spin S."""
    stated = None if spin is None else float(np.squeeze(spin))
    total = None if stated is None else total_spin(stated, convention)
    if multiplicity is not None:
        by_multiplicity = total_spin(float(np.squeeze(multiplicity)), "multiplicity")
        if total not in (None, by_multiplicity):
            raise ValueError(
                f"spin {stated:g} and multiplicity {2 * by_multiplicity + 1:g} contradict each other: expected "
                "multiplicity = 2 S + 1 (or state data.spin_convention)"
            )
        total = by_multiplicity
    return stated if multiplicity is None else None, total or 0.0


def _parse_slice(text: str, key: str = "index") -> slice:
    try:
        parts = [int(part) if part else None for part in text.split(":")]
        found = slice(*parts) if len(parts) > 1 else slice(int(text), int(text) + 1 or None)
        found.indices(0)  # raises for a step of 0
        return found
    except (TypeError, ValueError):
        raise ConfigError(f"{key}: expected a slice such as 0:1000 or ::10, found {shown(text)}") from None


def _make_sample(
    structure: Structure,
    found: Mapping[str, tuple[str, Any]],
    factor: Factors,
    origin: str,
    named: Container[str],
) -> Sample:
    """Check shapes and numbers, and convert units. Raises ValueError, naming the quantity."""
    atoms = len(structure.numbers)
    if not atoms:
        raise ValueError("a structure without atoms")
    for name in ("positions", "cell"):
        if not np.isfinite(getattr(structure, name)).all():
            raise ValueError(f"{name}: holds a number that is not finite")
    volume = spanned_volume(structure.cell) if np.any(structure.pbc) else None
    reference = make_reference(found, atoms, volume, factor, named)
    for name, reason in reference.left_out.items():
        if reason == NOT_FINITE:
            raise ValueError(f"{name}: {reason}")
    return Sample(structure, origin=origin, **vars(reference))


def elements_of(samples: Iterable[Sample]) -> list[int]:
    """Atomic numbers that occur, increasing."""
    return sorted({z for sample in samples for z in set(sample.structure.numbers.tolist())})
