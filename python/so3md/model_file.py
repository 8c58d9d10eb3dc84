"""The model file: one safetensors file with a JSON document that describes the model (docs/model_file.md).

`so3md.architectures` knows the hyperparameters and tensors of each kind of network; everything that reads or writes a
model file goes through `ModelFile.check`. Needs NumPy and safetensors only.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from so3md.architectures import (
    ARCHITECTURES,
    PAPER_2022,
    SO3KRATES,
    check_hyperparameters,
    expected_tensors,
    second_generation,
    with_defaults,
    without_defaults,
)
from so3md.last_layer import LastLayer, has_last_layer
from so3md.model_checks import (
    UNSUPPORTED_FEATURES,
    Check,
    ModelFileError,
    any_object,
    any_text,
    exactly,
    fail,
    increasing_integers,
    list_of_texts,
    not_negative,
    one_of,
    one_of_integers,
    or_null,
    positive,
    positive_to,
    record,
)
from so3md.run_directory import replace_file
from so3md.strict_json import parse_json

__all__ = [
    "PAPER_2022",
    "SO3KRATES",
    "UNSUPPORTED_FEATURES",
    "ModelFile",
    "ModelFileError",
    "check_hyperparameters",
    "expected_tensors",
    "read",
    "with_defaults",
    "write",
]

#: Of files without and with anything that models of the second generation of SO3LR brought.
FORMAT_VERSIONS = (1, 2)
METADATA_KEY = "so3md"
UNITS = {"energy": "eV", "length": "Angstrom", "charge": "e"}
MAX_ATOMIC_NUMBER = 118
MAX_LENGTH = 1e6  # A, of a long-range cutoff (csrc/common/largest_length.h)
MAX_HEADER = 16 << 20  # bytes

#: Tensors by which something is divided, or of which a root is taken.
POSITIVE_TENSORS = ("radial_basis.gamma", "radial_basis.widths", "dispersion.alpha", "dispersion.c6")

_DOCUMENT: dict[str, Check] = {
    "format_version": one_of_integers(FORMAT_VERSIONS),
    "architecture": one_of(ARCHITECTURES),
    "name": any_text,
    "description": any_text,
    "hyperparameters": any_object,  # `check_hyperparameters` judges the rest, which depends on the architecture
    "elements": increasing_integers(1, MAX_ATOMIC_NUMBER),
    "units": exactly(UNITS),
    "long_range_cutoff": or_null(positive_to(MAX_LENGTH)),
    "provenance": any_object,
    "citation": list_of_texts,
    "license": any_text,
    "license_text": any_text,
}
#: Keys that came later. Files leave them out where they say nothing new, so that older readers take these files too.
_OPTIONAL: dict[str, Check] = {
    "long_range_cutoff_molecules": or_null(positive_to(MAX_LENGTH)),
    "long_range_damping": positive_to(MAX_LENGTH),
    "uncertainty": record(
        {"type": one_of(("last_layer",)), "scale": positive, "exponent": not_negative, "origin": any_object}
    ),
}
_check_document = record(_DOCUMENT, _OPTIONAL)
SAME = "same"
LONG_RANGE_DAMPING = 2.0


FACTOR = "uncertainty.factor"

_CONSTANTS = ("radial_basis.", "dispersion.", "nlh.")  # tensors that are not trained


def count_parameters(tensors: Mapping[str, np.ndarray]) -> int:
    """Number of trained numbers, as the engine counts them: all but those of constants."""
    return sum(tensor.size for name, tensor in tensors.items() if not name.startswith(_CONSTANTS))


@dataclass
class ModelFile:
    """A So3krates model as it lies in a model file.

    hyperparameters: the object "hyperparameters" of the file, in which keys may be missing that have a default (see
    `with_defaults`); elements: atomic numbers, increasing, which are also the order of the rows of every element table;
    tensors: name -> array of float32 or float64, as `expected_tensors` says. Lengths in Angstrom, energies in eV,
    charges in e.

    long_range_cutoff: that of electrostatics and dispersion in periodic systems, as the model was made for; None: it
    was not made for these. long_range_cutoff_molecules: the same in systems without a periodic direction; None: none
    there; "same": no other. long_range_damping: the width over which dispersion is switched off before the cutoff.

    uncertainty: of forces, for these tensors and no others (docs/uncertainty.md); None: there is none.

    >>> from so3md.loading import model_path
    >>> from so3md.model_file import ModelFile
    >>> model = ModelFile.read(model_path("so3lr"))
    >>> model.name, model.hyperparameters["num_layers"], model.long_range_cutoff, model.molecule_cutoff
    ('SO3LR', 3, 12.0, None)
    >>> model.tensors["energy.shift"].shape
    (8,)
    """

    hyperparameters: dict[str, Any]
    elements: list[int]
    tensors: dict[str, np.ndarray]
    name: str
    description: str = ""
    long_range_cutoff: float | None = None
    long_range_cutoff_molecules: float | str | None = SAME
    long_range_damping: float = LONG_RANGE_DAMPING
    provenance: dict[str, Any] = field(default_factory=dict)
    citation: list[str] = field(default_factory=list)
    license: str = ""
    license_text: str = ""
    architecture: str = SO3KRATES
    uncertainty: LastLayer | None = None

    @property
    def num_parameters(self) -> int:
        """Number of trained numbers, see `count_parameters`."""
        return count_parameters(self.tensors)

    @property
    def document(self) -> dict[str, Any]:
        """The JSON document that describes the model, without hyperparameters that have their default."""
        own = {key: getattr(self, key) for key in _DOCUMENT if hasattr(self, key)}
        own["hyperparameters"] = without_defaults(self.hyperparameters, self.architecture)
        if self.molecule_cutoff != self.long_range_cutoff:
            own["long_range_cutoff_molecules"] = self.long_range_cutoff_molecules
        if self.long_range_damping != LONG_RANGE_DAMPING:
            own["long_range_damping"] = self.long_range_damping
        if (found := self.uncertainty) is not None:
            numbers = {"scale": found.scale, "exponent": found.exponent}
            own["uncertainty"] = {"type": "last_layer", **numbers, "origin": found.origin}
        return {"format_version": self.format_version, "units": dict(UNITS)} | own

    @property
    def format_version(self) -> int:
        """1, or 2 for models with anything that the second generation of SO3LR brought."""
        return 2 if second_generation(self.hyperparameters, self.architecture) else 1

    @property
    def molecule_cutoff(self) -> float | None:
        """The cutoff (Angstrom) of long-range terms in systems without a periodic direction; None: none."""
        own = self.long_range_cutoff_molecules
        return self.long_range_cutoff if own == SAME else cast("float | None", own)  # `check` finds other texts

    def check(self) -> None:
        """Raise `ModelFileError`, naming what is wrong, unless the model is complete and consistent."""
        _check_document(self.document, "")
        check_hyperparameters(self.hyperparameters, self.architecture)
        expected = expected_tensors(self.hyperparameters, len(self.elements), self.architecture)
        missing, unknown = sorted(expected.keys() - self.tensors.keys()), sorted(self.tensors.keys() - expected.keys())
        if missing:
            raise ModelFileError(f"tensor {missing[0]}: missing ({len(missing)} tensors are missing in all)")
        if unknown:
            raise ModelFileError(
                f"tensor {unknown[0]}: not one of a model with these hyperparameters "
                f"({len(unknown)} such tensors in all)"
            )
        if self.uncertainty is not None:
            if not has_last_layer(self):
                raise ModelFileError(
                    "uncertainty: expected no such key: it needs the architecture so3krates and an energy head with a "
                    "hidden layer"
                )
            hidden = self.hyperparameters["energy_head"]["hidden"]
            _check_tensor(FACTOR, self.uncertainty.factor, (hidden, hidden))
        for name, shape in expected.items():
            _check_tensor(name, self.tensors[name], shape)
        if "nlh.coefficients" in expected:
            _check_nlh(self.tensors["nlh.coefficients"])

    def write(self, path: str | os.PathLike[str]) -> None:
        """Check the model and write it; an existing file is replaced only once the new one is complete."""
        self.check()
        path = Path(path)
        text = json.dumps(self.document, ensure_ascii=False, allow_nan=False, sort_keys=True)
        stored = self.tensors if self.uncertainty is None else self.tensors | {FACTOR: self.uncertainty.factor}
        tensors = {name: np.ascontiguousarray(tensor) for name, tensor in stored.items()}
        replace_file(path, save(tensors, metadata={METADATA_KEY: text}))

    @classmethod
    def read(cls, path: str | os.PathLike[str]) -> ModelFile:
        """Read and check a model file. Raises `ModelFileError` for a bad file, `OSError` if it cannot be opened."""
        path = Path(path)
        try:
            _check_header(path)
            with safe_open(path, framework="numpy") as file:
                document = _parse_document((file.metadata() or {}).get(METADATA_KEY))
                _check_document(document, "")
                check_hyperparameters(document["hyperparameters"], document["architecture"])
                _check_version(document)
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
            document["uncertainty"] = _take_uncertainty(document, tensors)
            fixed = {"format_version", "units"}
            model = cls(tensors=tensors, **{key: value for key, value in document.items() if key not in fixed})
            model.check()
        except SafetensorError as error:
            raise ModelFileError(f"{path}: truncated, altered or not a model file ({error})") from error
        except ModelFileError as error:
            raise ModelFileError(f"{path}: {error}") from error
        except OSError as error:
            if error.filename is None:  # of a read that failed; that of an open names the file
                error.filename = str(path)
            raise
        return model


def read(path: str | os.PathLike[str]) -> ModelFile:
    """Read and check a model file, see `ModelFile.read`."""
    return ModelFile.read(path)


def write(path: str | os.PathLike[str], model: ModelFile) -> None:
    """Check and write a model, see `ModelFile.write`."""
    model.write(path)


def _take_uncertainty(document: dict[str, Any], tensors: dict[str, np.ndarray]) -> LastLayer | None:
    """Take it out of the tensors of a file. A factor without its key is one tensor too many, as `check` says."""
    if "uncertainty" not in document:
        return None
    found = {key: value for key, value in document["uncertainty"].items() if key != "type"}
    if FACTOR not in tensors:
        raise ModelFileError(f'tensor {FACTOR}: missing, which the key "uncertainty" needs')
    return LastLayer(tensors.pop(FACTOR), **found)


def _check_header(path: Path) -> None:
    """Refuse what safetensors lets pass and the engine does not (csrc/model/safetensors.cpp)."""
    with path.open("rb") as file:  # a plain OSError, which names the path, for a missing file or a directory
        length = int.from_bytes(file.read(8), "little")
        header = file.read(length) if 0 < length <= MAX_HEADER else b""
    if len(header) != length or not header.startswith(b"{"):
        raise ModelFileError("truncated, altered or not a model file (it does not begin with a header)")
    table = parse_json(header, "the header")
    any_object(table, "the header")
    for name, entry in table.items():
        if name == "__metadata__":
            continue
        if not isinstance(entry, dict) or entry.keys() != {"dtype", "shape", "data_offsets"}:
            fail(f"tensor {name}", "an object with exactly the keys dtype, shape and data_offsets", entry)
        if entry["dtype"] not in ("F32", "F64"):
            raise ModelFileError(f"tensor {name}: expected float32 or float64 (F32, F64), found {entry['dtype']!r}")


def _check_tensor(name: str, tensor: np.ndarray, shape: tuple[int, ...]) -> None:
    if tensor.dtype not in (np.float32, np.float64):
        raise ModelFileError(f"tensor {name}: expected float32 or float64, found {tensor.dtype}")
    if tensor.shape != shape:
        raise ModelFileError(f"tensor {name}: expected the shape {shape}, found {tensor.shape}")
    if not np.isfinite(tensor).all():
        raise ModelFileError(f"tensor {name}: holds a number that is not finite")
    if name in POSITIVE_TENSORS and not (tensor > 0).all():
        raise ModelFileError(f"tensor {name}: expected positive numbers, found {tensor.min():g}")


def _check_nlh(coefficients: np.ndarray) -> None:
    """The repulsion is the same from both atoms of a pair, and does not grow with their distance."""
    if not np.array_equal(coefficients, coefficients.transpose(1, 0, 2)):
        raise ModelFileError("tensor nlh.coefficients: expected the same numbers for i, j and j, i")
    if (coefficients[..., 1:] < 0).any():
        raise ModelFileError("tensor nlh.coefficients: expected exponents that are not negative")


def _check_version(document: dict[str, Any]) -> None:
    """A file of version 1 is one that readers of version 1 understand."""
    newer = second_generation(document["hyperparameters"], document["architecture"])
    if newer and document["format_version"] < 2:
        fail("format_version", f"2 (hyperparameters: {newer[0]})", document["format_version"])


def _parse_document(text: str | None) -> dict[str, Any]:
    """The JSON document of a file, refusing what JSON readers are known to disagree about."""
    if text is None:
        raise ModelFileError(f'not a so3md model file: its header has no entry "{METADATA_KEY}"')
    document = parse_json(text, f'the header entry "{METADATA_KEY}"')
    any_object(document, f'header entry "{METADATA_KEY}"')
    # These two come first: the keys of another version or architecture are not for this reader to judge.
    for key in ("format_version", "architecture"):
        if key not in document:
            raise ModelFileError(f"{key}: the key is missing")
        try:
            _DOCUMENT[key](document[key], key)
        except ModelFileError as error:
            raise ModelFileError(f"{error}; this file needs another version of so3md") from None
    return document
