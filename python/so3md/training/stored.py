"""Samples in two files of records that are mapped into memory, for data sets that are larger than it.

`atoms-*.bin` has a record for each atom, `structures-*.bin` one for each structure; `data.json` names both, says what
they were made of, and is written last: without it, or with other sizes than it says, there is nothing.
"""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from so3md.reference.graph import Structure
from so3md.run_directory import naming, read_json, write_json
from so3md.training.on_demand import OnDemand
from so3md.training.sample import Sample

INDEX = "data.json"
FORMAT = 1
#: Reference values that are not there are NaN: those that are there are finite.
_ATOM = np.dtype(
    [
        ("number", "<i2"),
        ("position", "<f8", 3),
        ("forces", "<f8", 3),
        ("charges", "<f8"),
        ("hirshfeld_ratios", "<f8"),
    ]
)
_STRUCTURE = np.dtype(
    [
        ("start", "<i8"),
        ("atoms", "<i8"),
        ("frame", "<i8"),
        ("notes", "<i4"),
        ("pbc", "?", 3),
        ("cell", "<f8", (3, 3)),
        ("charge", "<f8"),
        ("spin", "<f8"),
        ("stated_spin", "<f8"),
        ("energy", "<f8"),
        ("stress", "<f8", (3, 3)),
        ("dipole", "<f8", 3),
    ]
)
_PER_ATOM, _PER_STRUCTURE = ("forces", "charges", "hirshfeld_ratios"), ("stress", "dipole")


class StoredSamples(OnDemand[Sample]):
    """The samples of a directory; `sizes` (structures): their atoms."""

    def __init__(self, directory: Path, file: str) -> None:
        """file: what the samples are said to be of. Raises ValueError for a directory that has none."""
        self.about = _read_index(directory)
        self._file, self._names = file, frozenset(self.about["names"])
        self._structures = np.memmap(directory / self.about["structures"]["file"], _STRUCTURE, "r")
        self._atoms = np.memmap(directory / self.about["atoms"]["file"], _ATOM, "r")
        self.sizes = np.array(self._structures["atoms"])

    def __len__(self) -> int:
        return len(self.sizes)

    def _one(self, place: int) -> Sample:
        row = self._structures[place]
        atoms = np.array(self._atoms[row["start"] : row["start"] + row["atoms"]])
        structure = Structure(
            atoms["number"],
            np.array(atoms["position"]),
            np.array(row["cell"]),
            np.array(row["pbc"]),
            float(row["charge"]),
            float(row["spin"]),
        )
        values: dict[str, Any] = {name: _unless_missing(atoms[name]) for name in _PER_ATOM}
        values |= {name: _unless_missing(row[name]) for name in _PER_STRUCTURE}
        values["energy"] = None if np.isnan(row["energy"]) else float(row["energy"])
        notes = self.about["notes"][row["notes"]]
        return Sample(
            structure=structure,
            origin=f"{self.about['source']}, structure {row['frame']}",
            file=self._file,
            names=self._names,
            entries=dict(notes["entries"]),
            left_out=dict(notes["left_out"]),
            **values,
        )

    def stated_spins(self) -> list[float | None]:
        """What the source states of each spin."""
        return [None if np.isnan(value) else float(value) for value in self._structures["stated_spin"]]


def _unless_missing(values: np.ndarray) -> np.ndarray | None:
    return None if np.isnan(values.flat[0]) else np.array(values)


def _read_index(directory: Path) -> dict[str, Any]:
    """The contents of data.json. Raises ValueError where there is none, or the files are not those that it is of."""
    try:
        found = read_json(directory / INDEX)
        sizes = {name: (directory / found[name]["file"]).stat().st_size for name in ("atoms", "structures")}
        whole = found["format"] == FORMAT and all(sizes[name] == found[name]["bytes"] for name in sizes)
    except (OSError, KeyError, TypeError) as error:
        raise ValueError(f"{directory} holds no data set") from error
    if not whole:
        raise ValueError(f"{directory} holds a data set that is damaged, or of another version of so3md")
    return found


class SampleWriter:
    """Writes samples into a directory; they are there once `finish` has returned.

    The files have new names, so that a training that still reads earlier ones goes on.
    """

    def __init__(self, directory: Path) -> None:
        token = secrets.token_hex(4)
        self._directory = directory
        self._paths = {name: directory / f"{name}-{token}.bin" for name in ("atoms", "structures")}
        self._files = {name: path.open("xb") for name, path in self._paths.items()}
        self._notes: dict[str, int] = {}
        self._count = 0

    def add(self, sample: Sample, frame: int, stated_spin: float | None) -> None:
        """Append a sample; frame: its number in the source."""
        item = sample.structure
        atoms = np.zeros(len(item.numbers), _ATOM)
        atoms["number"], atoms["position"] = item.numbers, item.positions
        row = np.zeros(1, _STRUCTURE)
        for name in _PER_ATOM:
            atoms[name] = _or_nan(getattr(sample, name))
        for name in (*_PER_STRUCTURE, "energy"):
            row[name] = _or_nan(getattr(sample, name))
        for name in ("pbc", "cell", "charge", "spin"):
            row[name] = getattr(item, name)
        notes = json.dumps({"entries": sample.entries, "left_out": sample.left_out})
        row["notes"] = self._notes.setdefault(notes, len(self._notes))
        row["start"], row["atoms"], row["frame"] = self._count, len(atoms), frame
        row["stated_spin"] = _or_nan(stated_spin)
        self._count += len(atoms)
        with naming(self._directory):
            self._files["atoms"].write(atoms.tobytes())
            self._files["structures"].write(row.tobytes())

    def finish(self, about: Mapping[str, Any]) -> None:
        """Let the data set be whole; about: source (its name), names (of all entries), and what `about` is to hold."""
        for name, file in self._files.items():
            with naming(self._paths[name]):
                file.flush()
                os.fsync(file.fileno())
                file.close()
        files = {name: {"file": path.name, "bytes": path.stat().st_size} for name, path in self._paths.items()}
        notes = [json.loads(text) for text in self._notes]
        write_json(self._directory / INDEX, {**about, "format": FORMAT, **files, "notes": notes})
        remove_unnamed(self._directory, self._paths.values())

    def close(self) -> None:
        """Close the files, which are of no use unless they are finished."""
        for file in self._files.values():
            file.close()


def remove_unnamed(directory: Path, but: Iterable[Path] = ()) -> None:
    """Remove files of records that data.json does not name; only for the process that holds the lock."""
    kept = {path.name for path in but}
    for path in directory.glob("*.bin"):
        if path.name not in kept:
            path.unlink(missing_ok=True)


def _or_nan(value: Any) -> Any:
    return np.nan if value is None else value
