"""The model file: one safetensors file with a JSON document that describes the model (docs/model_file.md).

`expected_tensors` is the single source of the names and shapes of the tensors; everything that reads or writes a
model file goes through `ModelFile.check`. Needs NumPy and safetensors only.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

FORMAT_VERSION = 1
ARCHITECTURE = "so3krates"
METADATA_KEY = "so3md"
UNITS = {"energy": "eV", "length": "Angstrom", "charge": "e"}
MAX_ATOMIC_NUMBER = 118
MAX_DEGREE = 8
MAX_SIZE = 1 << 16

CUTOFF_FUNCTIONS = ("phys", "cosine", "exponential", "polynomial")
RADIAL_BASES = ("bernstein", "gaussian", "bessel", "phys")
ACTIVATIONS = ("identity", "silu", "tanh", "gelu", "relu")
ATTENTION_NORMALIZATIONS = ("constant", "sqrt_head_width", "none")

#: Features of later SO3LR generations. A file that has one of these keys is refused, not misread.
UNSUPPORTED_FEATURES = (
    "rms_norm",
    "normalize_query_key",
    "residual_scalars",
    "degree_repeats",
    "c6_head",
    "simplified_hirshfeld",
    "theory_levels",
    "particle_mesh",
    "repulsion",
)


class ModelFileError(ValueError):
    """A model that cannot be read or written; the message says what was expected and what was found."""


Check = Callable[[Any, str], None]


def _fail(key: str, expected: str, found: Any) -> None:
    text = json.dumps(found, default=repr)
    raise ModelFileError(f"{key}: expected {expected}, found {text if len(text) < 80 else text[:77] + '...'}")


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _flag(value: Any, key: str) -> None:
    if not isinstance(value, bool):
        _fail(key, "true or false", value)


def _text(value: Any, key: str) -> None:
    if not isinstance(value, str):
        _fail(key, "a text", value)


def _size(minimum: int) -> Check:
    def check(value: Any, key: str) -> None:
        if not isinstance(value, int) or isinstance(value, bool) or not minimum <= value <= MAX_SIZE:
            _fail(key, f"an integer from {minimum} to {MAX_SIZE}", value)

    return check


def _positive(value: Any, key: str) -> None:
    if not _is_number(value) or value <= 0:
        _fail(key, "a positive number", value)


def _not_negative(value: Any, key: str) -> None:
    if not _is_number(value) or value < 0:
        _fail(key, "a number that is not negative", value)


def _one_of(names: Iterable[str]) -> Check:
    names = tuple(names)

    def check(value: Any, key: str) -> None:
        if value not in names:
            _fail(key, "one of " + ", ".join(names), value)

    return check


def _increasing_integers(low: int, high: int) -> Check:
    def check(value: Any, key: str) -> None:
        valid = isinstance(value, list) and value and all(type(item) is int and low <= item <= high for item in value)
        if not valid or any(a >= b for a, b in pairwise(value)):
            _fail(key, f"a list of increasing integers from {low} to {high}", value)

    return check


def _record(fields: dict[str, Check]) -> Check:
    """An object that has exactly these keys."""

    def check(value: Any, key: str) -> None:
        if not isinstance(value, dict):
            _fail(key, "an object with the keys " + ", ".join(fields), value)
        prefix = f"{key}." if key else ""
        for name in value:
            if name in UNSUPPORTED_FEATURES and name not in fields:
                raise ModelFileError(
                    f"{prefix}{name}: the model needs a feature that this version of so3md does not support yet"
                )
            if name not in fields:
                raise ModelFileError(f"{prefix}{name}: unknown key; known are " + ", ".join(fields))
        for name, check_field in fields.items():
            if name not in value:
                raise ModelFileError(f"{prefix}{name}: the key is missing")
            check_field(value[name], prefix + name)

    return check


def _variant(names: tuple[str, ...], common: dict[str, Check], extra: dict[str, dict[str, Check]]) -> Check:
    """An object with the key "type"; the type decides which other keys it has."""

    def check(value: Any, key: str) -> None:
        if not isinstance(value, dict) or "type" not in value:
            _fail(key, 'an object with the key "type"', value)
        _one_of(names)(value["type"], f"{key}.type")
        _record({"type": _text, **common, **extra.get(value["type"], {})})(value, key)

    return check


def _or_null(check_value: Check) -> Check:
    def check(value: Any, key: str) -> None:
        if value is not None:
            check_value(value, key)

    return check


def _object(value: Any, key: str) -> None:
    if not isinstance(value, dict):
        _fail(key, "an object", value)


def _list_of_texts(value: Any, key: str) -> None:
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        _fail(key, "a list of texts", value)


def _exactly(expected: Any) -> Check:
    def check(value: Any, key: str) -> None:
        if value != expected or type(value) is not type(expected):
            _fail(key, json.dumps(expected), value)

    return check


_HYPERPARAMETERS: dict[str, Check] = {
    "num_features": _size(1),
    "num_heads": _size(1),
    "degrees": _increasing_integers(0, MAX_DEGREE),
    "num_layers": _size(1),
    "cutoff": _positive,
    "cutoff_function": _variant(CUTOFF_FUNCTIONS, {}, {"polynomial": {"exponent": _positive}}),
    "radial_basis": _variant(RADIAL_BASES, {"size": _size(1)}, {"bernstein": {"gamma": _positive}}),
    "radial_hidden": _size(1),
    "spherical_hidden": _size(1),
    "activation": _one_of(ACTIVATIONS),
    "query_key_activation": _one_of(ACTIVATIONS),
    "attention_normalization": _variant(ATTENTION_NORMALIZATIONS, {}, {"constant": {"value": _positive}}),
    "layer_norm_1": _flag,
    "layer_norm_2": _flag,
    "layer_norm_epsilon": _positive,
    "residual_mlp_1": _flag,
    "residual_mlp_2": _flag,
    "charge_embedding": _flag,
    "spin_embedding": _flag,
    "energy_head": _record({"hidden": _size(0), "activation": _one_of(ACTIVATIONS)}),
    "charge_head": _or_null(_record({"hidden": _size(0)})),
    "hirshfeld_head": _or_null(_record({"hidden": _size(0), "size": _size(1)})),
    "zbl": _or_null(_record({"switch_on": _not_negative, "switch_off": _positive})),
    "electrostatics": _or_null(_record({"sigma": _positive})),
    "dispersion": _or_null(_variant(("vdw_qdo",), {"damping_scale": _positive}, {})),
}

_DOCUMENT: dict[str, Check] = {
    "format_version": _exactly(FORMAT_VERSION),
    "architecture": _exactly(ARCHITECTURE),
    "name": _text,
    "description": _text,
    "hyperparameters": _record(_HYPERPARAMETERS),
    "elements": _increasing_integers(1, MAX_ATOMIC_NUMBER),
    "units": _exactly(UNITS),
    "long_range_cutoff": _or_null(_positive),
    "provenance": _object,
    "citation": _list_of_texts,
    "license": _text,
    "license_text": _text,
}


def check_hyperparameters(hyperparameters: dict[str, Any]) -> None:
    """Raise `ModelFileError`, naming the key, unless the hyperparameters are complete and fit together."""
    _record(_HYPERPARAMETERS)(hyperparameters, "hyperparameters")
    features = hyperparameters["num_features"]
    for key, parts in (("num_heads", hyperparameters["num_heads"]), ("degrees", len(hyperparameters["degrees"]))):
        if features % parts:
            raise ModelFileError(
                f"hyperparameters.num_features: {features} features cannot be split into {parts} equal heads "
                f"(hyperparameters.{key})"
            )
    zbl = hyperparameters["zbl"]
    if zbl is not None and zbl["switch_on"] >= zbl["switch_off"]:
        _fail("hyperparameters.zbl.switch_off", f"a number above switch_on = {zbl['switch_on']}", zbl["switch_off"])
    for term, head in (("electrostatics", "charge_head"), ("dispersion", "hirshfeld_head")):
        if hyperparameters[term] is not None and hyperparameters[head] is None:
            raise ModelFileError(f"hyperparameters.{term}: needs hyperparameters.{head}, which is null")


def expected_tensors(hyperparameters: dict[str, Any], num_elements: int) -> dict[str, tuple[int, ...]]:
    """Names and shapes of all tensors of a model with (valid) hyperparameters: exactly these and no others.

    Linear maps have the shape (out, in), head matrices (head, in, out), element tables one row per element.
    """
    hp, elements = hyperparameters, num_elements
    features, heads, degrees = hp["num_features"], hp["num_heads"], len(hp["degrees"])
    shapes: dict[str, tuple[int, ...]] = {"embedding.element": (elements, features)}

    def dense(name: str, out: int, into: int) -> None:
        shapes[f"{name}.weight"], shapes[f"{name}.bias"] = (out, into), (out,)

    def head(name: str, hidden: int, out: int) -> None:
        if hidden:
            dense(f"{name}.dense1", hidden, features)
        dense(f"{name}.dense2", out, hidden or features)

    for kind in ("charge", "spin"):
        if hp[f"{kind}_embedding"]:
            shapes[f"embedding.{kind}.query"] = (elements, features)
            shapes[f"embedding.{kind}.key"] = shapes[f"embedding.{kind}.value"] = (2, features)
            shapes[f"embedding.{kind}.mlp1"] = shapes[f"embedding.{kind}.mlp2"] = (features, features)
    radial = hp["radial_basis"]["size"]
    if hp["radial_basis"]["type"] == "gaussian":
        shapes["radial_basis.centers"] = shapes["radial_basis.widths"] = (radial,)

    for t in range(hp["num_layers"]):
        layer = f"layers.{t}"
        for block in ("filter_features", "filter_coordinates"):
            dense(f"{layer}.{block}.radial1", hp["radial_hidden"], radial)
            dense(f"{layer}.{block}.radial2", features, hp["radial_hidden"])
            dense(f"{layer}.{block}.spherical1", hp["spherical_hidden"], degrees)
            dense(f"{layer}.{block}.spherical2", features, hp["spherical_hidden"])
        for map_name in ("query_features", "key_features", "value_features"):
            shapes[f"{layer}.attention.{map_name}"] = (heads, features // heads, features // heads)
        for map_name in ("query_coordinates", "key_coordinates"):
            shapes[f"{layer}.attention.{map_name}"] = (degrees, features // degrees, features // degrees)
        for number in (1, 2):
            if hp[f"layer_norm_{number}"]:
                shapes[f"{layer}.norm{number}.scale"] = shapes[f"{layer}.norm{number}.bias"] = (features,)
            if hp[f"residual_mlp_{number}"]:
                dense(f"{layer}.mlp{number}.dense1", features, features)
                dense(f"{layer}.mlp{number}.dense2", features, features)
        dense(f"{layer}.exchange", features + degrees, features + degrees)

    head("energy", hp["energy_head"]["hidden"], 1)
    shapes["energy.scale"] = shapes["energy.shift"] = (elements,)
    if hp["charge_head"] is not None:
        head("charge", hp["charge_head"]["hidden"], 1)
        shapes["charge.element"] = (elements,)
    if hp["hirshfeld_head"] is not None:
        size = hp["hirshfeld_head"]["size"]
        head("hirshfeld", hp["hirshfeld_head"]["hidden"], size)
        shapes["hirshfeld.query"], shapes["hirshfeld.shift"] = (elements, size), (elements,)
    if hp["zbl"] is not None:
        shapes["zbl.a_raw"] = shapes["zbl.c_raw"] = (4,)
        shapes["zbl.p_raw"] = shapes["zbl.d_raw"] = (1,)
    if hp["dispersion"] is not None:
        shapes["dispersion.alpha"] = shapes["dispersion.c6"] = (elements,)
    return shapes


@dataclass
class ModelFile:
    """A So3krates model as it lies in a model file.

    hyperparameters: the object "hyperparameters" of the file; elements: atomic numbers, increasing, which are also
    the order of the rows of every element table; tensors: name -> array of float32 or float64, as `expected_tensors`
    says. Lengths in Angstrom, energies in eV, charges in e.
    """

    hyperparameters: dict[str, Any]
    elements: list[int]
    tensors: dict[str, np.ndarray]
    name: str
    description: str = ""
    long_range_cutoff: float | None = None
    provenance: dict[str, Any] = field(default_factory=dict)
    citation: list[str] = field(default_factory=list)
    license: str = ""
    license_text: str = ""

    @property
    def num_parameters(self) -> int:
        """Number of scalars in all tensors."""
        return sum(tensor.size for tensor in self.tensors.values())

    @property
    def document(self) -> dict[str, Any]:
        """The JSON document that describes the model."""
        own = {key: getattr(self, key) for key in _DOCUMENT if hasattr(self, key)}
        return {"format_version": FORMAT_VERSION, "architecture": ARCHITECTURE, "units": dict(UNITS)} | own

    def check(self) -> None:
        """Raise `ModelFileError`, naming what is wrong, unless the model is complete and consistent."""
        _record(_DOCUMENT)(self.document, "")
        check_hyperparameters(self.hyperparameters)
        expected = expected_tensors(self.hyperparameters, len(self.elements))
        missing, unknown = sorted(expected.keys() - self.tensors.keys()), sorted(self.tensors.keys() - expected.keys())
        if missing:
            raise ModelFileError(f"tensor {missing[0]}: missing ({len(missing)} tensors are missing in all)")
        if unknown:
            raise ModelFileError(
                f"tensor {unknown[0]}: the hyperparameters leave no place for it "
                f"({len(unknown)} tensors are in excess in all)"
            )
        for name, shape in expected.items():
            _check_tensor(name, self.tensors[name], shape)

    def write(self, path: str | os.PathLike[str]) -> None:
        """Check the model and write it; an existing file is replaced only once the new one is complete."""
        self.check()
        path = Path(path)
        text = json.dumps(self.document, ensure_ascii=False, allow_nan=False, sort_keys=True)
        tensors = {name: np.ascontiguousarray(tensor) for name, tensor in self.tensors.items()}
        partial = path.with_name(path.name + ".partial")
        try:
            partial.write_bytes(save(tensors, metadata={METADATA_KEY: text}))
            os.replace(partial, path)
        finally:
            partial.unlink(missing_ok=True)

    @classmethod
    def read(cls, path: str | os.PathLike[str]) -> ModelFile:
        """Read and check a model file. Raises `ModelFileError` for a bad file, `OSError` if it cannot be opened."""
        path = Path(path)
        with path.open("rb"):  # a plain OSError, which names the path, for a missing file or a directory
            pass
        try:
            with safe_open(path, framework="numpy") as file:
                document = _parse_document((file.metadata() or {}).get(METADATA_KEY))
                _record(_DOCUMENT)(document, "")
                check_hyperparameters(document["hyperparameters"])
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
            fixed = {"format_version", "architecture", "units"}
            model = cls(tensors=tensors, **{key: value for key, value in document.items() if key not in fixed})
            model.check()
        except SafetensorError as error:
            raise ModelFileError(f"{path}: truncated, altered or not a model file ({error})") from error
        except ModelFileError as error:
            raise ModelFileError(f"{path}: {error}") from error
        return model


def read(path: str | os.PathLike[str]) -> ModelFile:
    """Read and check a model file, see `ModelFile.read`."""
    return ModelFile.read(path)


def write(path: str | os.PathLike[str], model: ModelFile) -> None:
    """Check and write a model, see `ModelFile.write`."""
    model.write(path)


def _check_tensor(name: str, tensor: np.ndarray, shape: tuple[int, ...]) -> None:
    if tensor.dtype not in (np.float32, np.float64):
        raise ModelFileError(f"tensor {name}: expected float32 or float64, found {tensor.dtype}")
    if tensor.shape != shape:
        raise ModelFileError(f"tensor {name}: expected the shape {shape}, found {tensor.shape}")
    if not np.isfinite(tensor).all():
        raise ModelFileError(f"tensor {name}: holds a number that is not finite")


def _parse_document(text: str | None) -> dict[str, Any]:
    """The JSON document of a file, refusing what JSON readers are known to disagree about."""
    if text is None:
        raise ModelFileError(f'not a so3md model file: its header has no entry "{METADATA_KEY}"')

    def object_without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        result = dict(pairs)
        if len(result) != len(pairs):
            names = [name for name, _ in pairs]
            raise ModelFileError(f"{next(n for n in names if names.count(n) > 1)}: the key occurs twice")
        return result

    def refuse_constant(constant: str) -> None:
        raise ModelFileError(f"the header holds {constant}, which is no JSON number")

    try:
        document = json.loads(text, object_pairs_hook=object_without_duplicates, parse_constant=refuse_constant)
    except (json.JSONDecodeError, RecursionError) as error:
        raise ModelFileError(f'the header entry "{METADATA_KEY}" is not valid JSON ({error})') from error
    _object(document, f'header entry "{METADATA_KEY}"')
    # These two come first: the keys of another version or architecture are not for this reader to judge.
    for key in ("format_version", "architecture"):
        if key not in document:
            raise ModelFileError(f"{key}: the key is missing")
        try:
            _DOCUMENT[key](document[key], key)
        except ModelFileError as error:
            raise ModelFileError(f"{error}; this file needs another version of so3md") from None
    return document
