"""Dividing a data set into training, validation and test structures, the same for the same seed."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from so3md.training.config import PARTS, DataConfig, Part
from so3md.training.data import _parse_slice, read_files
from so3md.training.on_demand import joined, taken
from so3md.training.sample import Sample
from so3md.training.schema import ConfigError

_NPZ_NAMES = {
    "train": ("train", "idx_train"),
    "validation": ("validation", "idx_val", "idx_valid", "idx_validation"),
    "test": ("test", "idx_test"),
}
_DEFAULT = {"train": 0.8, "validation": 0.1, "test": 0.1}


def read_data(config: DataConfig, directory: Path, seed: int) -> dict[str, Sequence[Sample]]:
    """The structures of each part, read and divided as the configuration says.

    Files of a part belong to it as a whole; `files` are divided among the parts. Raises ConfigError or ValueError if a
    structure would be in two parts, or if there is nothing to train on or to validate with.
    """
    parts: dict[str, Sequence[Sample]] = {name: [] for name in PARTS}
    own = {name: getattr(config, f"{name}_files") for name in PARTS}
    for name, files in own.items():
        if files is not None:
            parts[name] = read_files(files, config, directory)
    # With training files only, validation structures are taken out of these.
    pool_files = config.files
    pool: Sequence[Sample] = []
    if pool_files is not None:
        pool = read_files(pool_files, config, directory)
    elif not own["validation"]:
        pool, parts["train"] = parts["train"], []
    if pool:
        wanted = {name: getattr(config.split, name) for name in PARTS}
        if config.split.file is None and not any(value is not None for value in wanted.values()):
            wanted = _default_split(own, pool_files is None)
        own_seed = seed if config.split.seed is None else config.split.seed
        chosen = split_indices(wanted, len(pool), own_seed, _split_file(config, directory))
        for name in PARTS:
            parts[name] = joined([parts[name], taken(pool, chosen[name])])
    for name, need in (("train", "to train on"), ("validation", "to validate with")):
        if not parts[name]:
            raise ConfigError(
                f"data: there are no structures {need} ({_sizes(parts)}); training needs one, and validation another: "
                f"see data.split and data.{name}_files"
            )
    return parts


def _sizes(parts: dict[str, Sequence[Sample]]) -> str:
    return ", ".join(f"{name}: {len(samples)}" for name, samples in parts.items())


def _default_split(own: dict[str, object], from_training_files: bool) -> dict[str, Part | None]:
    if from_training_files:
        return {"train": 0.9, "validation": 0.1, "test": None}
    left = {name: share for name, share in _DEFAULT.items() if not own[name]}
    total = sum(left.values())
    return {name: left[name] / total if name in left else None for name in PARTS}


def _split_file(config: DataConfig, directory: Path) -> Path | None:
    return None if config.split.file is None else directory / config.split.file


def split_indices(
    wanted: dict[str, Part | None], count: int, seed: int, file: Path | None = None
) -> dict[str, np.ndarray]:
    """Indices of each part among `count` structures.

    Slices and lists take the structures that they name; then numbers and fractions are drawn at random, without
    replacement, from the others. Where train is not given, it gets what is left.
    """
    if file is not None:
        wanted = _read_split_file(file)
    chosen = {name: _named_indices(name, value, count) for name, value in wanted.items()}
    taken = np.concatenate([np.empty(0, dtype=int), *(indices for indices in chosen.values() if indices is not None)])
    if len(np.unique(taken)) < len(taken):
        values, counts = np.unique(taken, return_counts=True)
        raise ConfigError(f"data.split: structure {values[counts > 1][0]} is in two parts, or twice in one")
    free = np.random.default_rng([seed, 0x5B117]).permutation(np.setdiff1d(np.arange(count), taken))
    start, share = 0, 0.0
    for name in PARTS:
        value = wanted.get(name)
        if not isinstance(value, int | float):
            continue
        if isinstance(value, float):
            # Where the parts end is rounded, not their sizes, so that fractions that add to one use every structure.
            size = round((share + value) * count) - round(share * count)
            share += value
        else:
            size = value
        if start + size > len(free):
            left = len(free) - start
            raise ConfigError(f"data.split.{name}: {size} structures wanted, but only {left} of {count} are left")
        chosen[name] = free[start : start + size]
        start += size
    if wanted.get("train") is None and file is None:
        chosen["train"] = free[start:]
    nothing = np.empty(0, dtype=int)
    return {name: nothing if (indices := chosen.get(name)) is None else indices for name in PARTS}


def _named_indices(name: str, value: Part | None, count: int) -> np.ndarray | None:
    if isinstance(value, str):
        return np.arange(count)[_parse_slice(value, f"data.split.{name}")]
    if isinstance(value, list | np.ndarray):
        indices = np.asarray(value, dtype=int).ravel()
        if indices.size and not (indices.min() >= 0 and indices.max() < count):
            raise ConfigError(f"data.split.{name}: expected indices from 0 to {count - 1}, found {indices.max()}")
        return indices
    return None


def _read_split_file(file: Path) -> dict[str, Part | None]:
    if not file.is_file():
        raise FileNotFoundError(f"data.split.file: there is no file {file}")
    try:
        with np.load(file, allow_pickle=False) as arrays:
            names = arrays.files
            found = {
                name: next((arrays[key] for key in keys if key in arrays), None) for name, keys in _NPZ_NAMES.items()
            }
    except (ValueError, AttributeError, EOFError, zipfile.BadZipFile, zlib.error) as error:  # a .npy has no files
        raise ConfigError(f"data.split.file: expected an .npz of arrays of indices, and {file} is none") from error
    if found["train"] is None:
        raise ConfigError(f"data.split.file: {file} has no array train or idx_train, but {', '.join(names)}")
    for name, indices in found.items():
        if indices is not None and (indices.dtype.kind not in "iu" or indices.ndim != 1):
            raise ConfigError(f"data.split.file: expected one list of indices for {name} in {file}")
    return found
