"""The kinds of network a model file can hold: their hyperparameters and their tensors (docs/model_file.md).

`expected_tensors` is the single source of the names and shapes of the tensors.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from so3md.model_checks import (
    Check,
    ModelFileError,
    fail,
    flag,
    increasing_integers,
    not_decreasing_integers,
    not_negative,
    one_of,
    or_null,
    positive,
    positive_to,
    record,
    size,
    variant,
)

#: The local family from 2023 on, SO3LR among it.
SO3KRATES = "so3krates"
#: The network of the paper (NeurIPS 2022), with attention in the space of the spherical harmonic coordinates.
PAPER_2022 = "so3krates-2022"
ARCHITECTURES = (SO3KRATES, PAPER_2022)

MAX_DEGREE = 8
MAX_DEGREES = MAX_DEGREE + 1  # entries, repeated ones included (csrc/network/layout.h)
MAX_CUTOFF = 100.0  # A, of a network (csrc/model/read_hyperparameters.cpp)
CUTOFF_FUNCTIONS = ("phys", "cosine", "exponential", "polynomial")
RADIAL_BASES = ("bernstein", "gaussian", "bessel", "phys")
ACTIVATIONS = ("identity", "silu", "tanh", "gelu", "relu")
ATTENTION_NORMALIZATIONS = ("constant", "sqrt_head_width", "none")

Shapes = dict[str, tuple[int, ...]]

_ENERGY_HEAD = record({"hidden": size(0), "activation": one_of(ACTIVATIONS)})

#: What both architectures have.
_COMMON: dict[str, Check] = {
    "num_features": size(1),
    "num_heads": size(1),
    "num_layers": size(1),
    "cutoff": positive_to(MAX_CUTOFF),
    "cutoff_function": variant(CUTOFF_FUNCTIONS, {}, {"polynomial": {"exponent": positive}}),
    "radial_hidden": size(1),
    "spherical_hidden": size(1),
    "layer_norm_epsilon": positive,
    "energy_head": _ENERGY_HEAD,
}

_PRODUCT_HEAD = record({"hidden": size(0), "size": size(1)})
_SIMPLE_HEAD = variant(("simple",), {"hidden": size(0)}, {})


def _hirshfeld_head(value: Any, key: str) -> None:
    """The head of the first generation has no type."""
    (_SIMPLE_HEAD if isinstance(value, dict) and "type" in value else _PRODUCT_HEAD)(value, key)


#: Where a repulsion is switched off, A.
_SWITCH: dict[str, Check] = {"switch_on": not_negative, "switch_off": positive}

_SO3KRATES: dict[str, Check] = _COMMON | {
    "degrees": not_decreasing_integers(0, MAX_DEGREE, MAX_DEGREES),
    "radial_basis": variant(RADIAL_BASES, {"size": size(1)}, {"bernstein": {"gamma": positive}}),
    "activation": one_of(ACTIVATIONS),
    "query_key_activation": one_of(ACTIVATIONS),
    "attention_normalization": variant(ATTENTION_NORMALIZATIONS, {}, {"constant": {"value": positive}}),
    "layer_norm_1": flag,
    "layer_norm_2": flag,
    "residual_mlp_1": flag,
    "residual_mlp_2": flag,
    "charge_embedding": flag,
    "spin_embedding": flag,
    "charge_head": or_null(record({"hidden": size(0)})),
    "hirshfeld_head": or_null(_hirshfeld_head),
    "zbl": or_null(record(_SWITCH)),
    "electrostatics": or_null(record({"sigma": positive})),
    "dispersion": or_null(variant(("vdw_qdo",), {"damping_scale": positive}, {})),
}

_SO3KRATES_OPTIONAL: dict[str, Check] = {
    "layer_norm_position": one_of(("post", "pre")),
    "residual_mlp_kind": one_of(("two_layers", "three_layers")),
    "initial_coordinates": variant(("zero", "neighbour_sum"), {}, {"neighbour_sum": {"normalization": positive}}),
    "final_layer_norm": flag,
    "rms_norm": flag,
    "normalize_query_key": flag,
    "residual_scalars": flag,
    "c6_head": or_null(record({"hidden": size(0)})),
    "repulsion": or_null(variant(("nlh",), _SWITCH, {})),
}

_PAPER_2022: dict[str, Check] = _COMMON | {
    "degrees": increasing_integers(1, MAX_DEGREE),
    "radial_basis": variant(RADIAL_BASES, {"size": size(1)}, {}),
    "parity": flag,
    "layer_norm": flag,
    "coordinate_norm": flag,
    "nonlocal": or_null(variant(("dynamic", "static"), {}, {"static": {"cutoff": positive}})),
}

_PAPER_2022_OPTIONAL: dict[str, Check] = {"charge_embedding": flag, "spin_embedding": flag}

_CHECKS = {
    SO3KRATES: record(_SO3KRATES, _SO3KRATES_OPTIONAL),
    PAPER_2022: record(_PAPER_2022, _PAPER_2022_OPTIONAL),
}

#: The values of optional keys. They came later than the format: files leave them out where they can, so that a model
#: that needs none of them stays the file it was, and an older reader refuses one that does by the unknown key.
_DEFAULTS: dict[str, dict[str, Any]] = {
    SO3KRATES: {
        "layer_norm_position": "post",
        "residual_mlp_kind": "two_layers",
        "initial_coordinates": {"type": "zero"},
        "final_layer_norm": False,
        "rms_norm": False,
        "normalize_query_key": False,
        "residual_scalars": False,
        "c6_head": None,
        "repulsion": None,
    },
    PAPER_2022: {"charge_embedding": False, "spin_embedding": False},
}


def with_defaults(hyperparameters: dict[str, Any], architecture: str = SO3KRATES) -> dict[str, Any]:
    """The hyperparameters with every optional key."""
    return _DEFAULTS[architecture] | hyperparameters


def without_defaults(hyperparameters: Any, architecture: str = SO3KRATES) -> Any:
    """The hyperparameters without optional keys that have their default, as files have them; what is none stays."""
    if not isinstance(hyperparameters, dict):
        return hyperparameters
    defaults = _DEFAULTS[architecture] if architecture in ARCHITECTURES else {}
    # 0 == False, but only one of them is a flag: a value of the wrong type must stay for the check to find.
    return {
        key: value
        for key, value in hyperparameters.items()
        if key not in defaults or value != defaults[key] or type(value) is not type(defaults[key])
    }


def second_generation(hyperparameters: dict[str, Any], architecture: str = SO3KRATES) -> list[str]:
    """The hyperparameters, by name, that only models of the second generation of SO3LR have (docs/so3lr2.md).

    Files with any of them have format version 2; the others have version 1, as ever.
    """
    if architecture != SO3KRATES or not isinstance(hyperparameters, dict):
        return []
    hp = with_defaults(hyperparameters, architecture)
    names = ("rms_norm", "normalize_query_key", "residual_scalars", "c6_head", "repulsion")
    found = [name for name in names if hp[name] not in (False, None)]
    head, degrees = hp.get("hirshfeld_head"), hp.get("degrees")
    if isinstance(head, dict) and "type" in head:
        found.append("simple hirshfeld_head")
    if isinstance(degrees, list) and len(set(map(str, degrees))) < len(degrees):
        found.append("repeated degrees")
    return found


def check_hyperparameters(hyperparameters: dict[str, Any], architecture: str = SO3KRATES) -> None:
    """Raise `ModelFileError`, naming the key, unless the hyperparameters are complete and fit together."""
    _CHECKS[architecture](hyperparameters, "hyperparameters")
    features = hyperparameters["num_features"]
    for key, parts in (("num_heads", hyperparameters["num_heads"]), ("degrees", len(hyperparameters["degrees"]))):
        if features % parts:
            raise ModelFileError(
                f"hyperparameters.num_features: {features} features cannot be split into {parts} equal heads "
                f"(hyperparameters.{key})"
            )
    for name in ("zbl", "repulsion"):
        term = hyperparameters.get(name)
        if term is not None and term["switch_on"] >= term["switch_off"]:
            fail(
                f"hyperparameters.{name}.switch_off",
                f"a number above switch_on = {term['switch_on']}",
                term["switch_off"],
            )
    if hyperparameters.get("zbl") is not None and hyperparameters.get("repulsion") is not None:
        raise ModelFileError(
            "hyperparameters.repulsion: a model has one repulsion, but hyperparameters.zbl is there too"
        )
    if hyperparameters.get("rms_norm", False) and hyperparameters.get("final_layer_norm", False):
        raise ModelFileError("hyperparameters.final_layer_norm: there is none in models with hyperparameters.rms_norm")
    needs = (("electrostatics", "charge_head"), ("dispersion", "hirshfeld_head"), ("c6_head", "dispersion"))
    for term, head in needs:
        if hyperparameters.get(term) is not None and hyperparameters.get(head) is None:
            raise ModelFileError(f"hyperparameters.{term}: needs hyperparameters.{head}, which is null")


def expected_tensors(hyperparameters: dict[str, Any], num_elements: int, architecture: str = SO3KRATES) -> Shapes:
    """Names and shapes of all tensors of a model with (valid) hyperparameters: exactly these and no others.

    Linear maps have the shape (out, in), head matrices (head, in, out), element tables one row per element.
    """
    hp = with_defaults(hyperparameters, architecture)
    shapes: Shapes = {}
    _embedding(shapes, hp, num_elements)
    radial_basis, layer, rest = _TENSORS[architecture]
    radial_basis(shapes, hp)
    for t in range(hp["num_layers"]):
        _filters_and_attention(shapes, f"layers.{t}", hp)
        layer(shapes, f"layers.{t}", hp)
    _head(shapes, "energy", hp["energy_head"]["hidden"], hp["num_features"], 1)
    shapes["energy.scale"] = shapes["energy.shift"] = (num_elements,)
    rest(shapes, hp, num_elements)
    return shapes


def _dense(shapes: Shapes, name: str, out: int, into: int) -> None:
    shapes[f"{name}.weight"], shapes[f"{name}.bias"] = (out, into), (out,)


def _head(shapes: Shapes, name: str, hidden: int, features: int, out: int) -> None:
    if hidden:
        _dense(shapes, f"{name}.dense1", hidden, features)
    _dense(shapes, f"{name}.dense2", out, hidden or features)


def _norm(shapes: Shapes, name: str, features: int) -> None:
    shapes[f"{name}.scale"] = shapes[f"{name}.bias"] = (features,)


def _embedding(shapes: Shapes, hp: dict[str, Any], elements: int) -> None:
    features = hp["num_features"]
    shapes["embedding.element"] = (elements, features)
    for kind in ("charge", "spin"):
        if hp[f"{kind}_embedding"]:
            shapes[f"embedding.{kind}.query"] = (elements, features)
            shapes[f"embedding.{kind}.key"] = shapes[f"embedding.{kind}.value"] = (2, features)
            shapes[f"embedding.{kind}.mlp1"] = shapes[f"embedding.{kind}.mlp2"] = (features, features)


def _filters_and_attention(shapes: Shapes, layer: str, hp: dict[str, Any]) -> None:
    features, heads, degrees = hp["num_features"], hp["num_heads"], len(hp["degrees"])
    for block in ("filter_features", "filter_coordinates"):
        _dense(shapes, f"{layer}.{block}.radial1", hp["radial_hidden"], hp["radial_basis"]["size"])
        _dense(shapes, f"{layer}.{block}.radial2", features, hp["radial_hidden"])
        _dense(shapes, f"{layer}.{block}.spherical1", hp["spherical_hidden"], degrees)
        _dense(shapes, f"{layer}.{block}.spherical2", features, hp["spherical_hidden"])
    for name in ("query_features", "key_features", "value_features"):
        shapes[f"{layer}.attention.{name}"] = (heads, features // heads, features // heads)
    for name in ("query_coordinates", "key_coordinates"):
        shapes[f"{layer}.attention.{name}"] = (degrees, features // degrees, features // degrees)


def _so3krates_radial_basis(shapes: Shapes, hp: dict[str, Any]) -> None:
    if hp["radial_basis"]["type"] == "gaussian":
        shapes["radial_basis.centers"] = shapes["radial_basis.widths"] = (hp["radial_basis"]["size"],)


def _so3krates_layer(shapes: Shapes, layer: str, hp: dict[str, Any]) -> None:
    features, degrees = hp["num_features"], len(hp["degrees"])
    for number in (1, 2):
        mlp = f"{layer}.mlp{number}"
        if hp[f"layer_norm_{number}"] and not hp["rms_norm"]:
            _norm(shapes, f"{layer}.norm{number}", features)
        if not hp[f"residual_mlp_{number}"]:
            continue
        if hp["residual_mlp_kind"] == "three_layers":
            for dense in (1, 2, 3):
                shapes[f"{mlp}.dense{dense}.weight"] = (features, features)
        else:
            _dense(shapes, f"{mlp}.dense1", features, features)
            _dense(shapes, f"{mlp}.dense2", features, features)
    _dense(shapes, f"{layer}.exchange", features + degrees, features + degrees)
    if hp["residual_scalars"]:
        shapes[f"{layer}.residual_scalars"] = (2,)


def _so3krates_rest(shapes: Shapes, hp: dict[str, Any], elements: int) -> None:
    features = hp["num_features"]
    if hp["final_layer_norm"]:
        _norm(shapes, "final_norm", features)
    if hp["charge_head"] is not None:
        _head(shapes, "charge", hp["charge_head"]["hidden"], features, 1)
        shapes["charge.element"] = (elements,)
    if hp["hirshfeld_head"] is not None:
        length = hp["hirshfeld_head"].get("size")
        _head(shapes, "hirshfeld", hp["hirshfeld_head"]["hidden"], features, length or 1)
        if length is not None:
            shapes["hirshfeld.query"] = (elements, length)
        shapes["hirshfeld.shift"] = (elements,)
    if hp["c6_head"] is not None:
        _head(shapes, "c6", hp["c6_head"]["hidden"], features, 1)
        shapes["c6.shift"] = (elements,)
    if hp["zbl"] is not None:
        shapes["zbl.a_raw"] = shapes["zbl.c_raw"] = (4,)
        shapes["zbl.p_raw"] = shapes["zbl.d_raw"] = (1,)
    if hp["repulsion"] is not None:
        shapes["nlh.coefficients"] = (elements, elements, 3)
    if hp["dispersion"] is not None:
        shapes["dispersion.alpha"] = shapes["dispersion.c6"] = (elements,)


def _paper_2022_radial_basis(shapes: Shapes, hp: dict[str, Any]) -> None:
    if hp["radial_basis"]["type"] == "bernstein":
        shapes["radial_basis.gamma"] = (1,)


def _paper_2022_layer(shapes: Shapes, layer: str, hp: dict[str, Any]) -> None:
    features, degrees = hp["num_features"], len(hp["degrees"])
    for name in ("query_features", "key_features", "value_features", "query_coordinates", "key_coordinates"):
        heads, _, width = shapes[f"{layer}.attention.{name}"]
        shapes[f"{layer}.attention.{name}_bias"] = (heads, width)
    for number in (1, 2):
        if hp["layer_norm"]:
            _norm(shapes, f"{layer}.norm{number}", features)
        if hp["coordinate_norm"]:
            shapes[f"{layer}.coordinate_norm{number}.scale"] = (degrees,)
    shapes[f"{layer}.self_mix.coefficients"] = (degrees, degrees, degrees)
    _dense(shapes, f"{layer}.self_mix.gate", features, degrees)
    _dense(shapes, f"{layer}.exchange", 2 * (features + degrees), features + degrees)


def _paper_2022_rest(shapes: Shapes, hp: dict[str, Any], elements: int) -> None:
    """Nothing: the paper has no terms beside the network."""


#: For each architecture: the tensors of the radial basis, those of a layer that both do not share, and those after.
_TENSORS: dict[str, tuple[Callable[..., None], Callable[..., None], Callable[..., None]]] = {
    SO3KRATES: (_so3krates_radial_basis, _so3krates_layer, _so3krates_rest),
    PAPER_2022: (_paper_2022_radial_basis, _paper_2022_layer, _paper_2022_rest),
}
