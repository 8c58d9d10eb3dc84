"""The model in a model file: what is right is read, everything else is refused with a message that helps."""

from __future__ import annotations

import copy
import json
import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from model_contents import (
    MISSING,
    Contents,
    pack,
    paths,
    read_or_refuse,
    refusal_message,
    set_at,
    tiny_raw,
    without,
)
from toy_models import VARIANTS, VARIANTS_SO3LR2, make_toy_model

from so3md._engine import Model, ModelError
from so3md.model_file import UNSUPPORTED_FEATURES, ModelFileError

NLH = {"type": "nlh", "switch_on": 0.0, "switch_off": 1.5}
CONSTANTS = ("radial_basis.", "dispersion.", "nlh.")  # tensors that are not trained
FLAGS = ("layer_norm_1", "layer_norm_2", "residual_mlp_1", "residual_mlp_2", "charge_embedding", "spin_embedding")


@pytest.fixture
def tiny() -> Contents:
    return Contents(tiny_raw())


@pytest.fixture
def refusal(tmp_path: Path) -> Callable[[bytes], str]:
    """A function that returns the message with which the bytes of a file are refused."""
    return partial(refusal_message, tmp_path / "altered.safetensors")


# What can be read


def test_so3lr(so3lr_path: Path) -> None:
    model = Model(str(so3lr_path))
    contents = Contents(so3lr_path.read_bytes())
    assert model.elements == [1, 6, 7, 8, 9, 15, 16, 17]
    assert model.cutoff == 4.5
    assert model.path == str(so3lr_path)
    assert json.loads(model.metadata) == contents.document
    sizes = {name: int(np.prod(entry["shape"])) for name, entry in contents.table.items()}
    assert model.num_parameters == sum(size for name, size in sizes.items() if not name.startswith(CONSTANTS))


@pytest.mark.parametrize("variant", VARIANTS | VARIANTS_SO3LR2)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_every_option(variant: str, dtype: type, tmp_path: Path) -> None:
    toy = make_toy_model(dtype=dtype, **(VARIANTS | VARIANTS_SO3LR2)[variant])
    toy.write(tmp_path / "toy.safetensors")
    model = Model(tmp_path / "toy.safetensors")
    assert model.elements == toy.elements
    assert model.cutoff == toy.hyperparameters["cutoff"]
    trained = [tensor for name, tensor in toy.tensors.items() if not name.startswith(CONSTANTS)]
    assert model.num_parameters == sum(tensor.size for tensor in trained)


def test_order_and_spaces_of_the_header_do_not_matter(tiny: Contents, tmp_path: Path) -> None:
    header = dict(reversed(tiny.header().items()))
    assert read_or_refuse(tmp_path / "altered.safetensors", pack(json.dumps(header, indent=2) + "   ", tiny.data))


def test_other_metadata_entries_are_ignored(tiny: Contents, tmp_path: Path) -> None:
    header = tiny.header()
    header["__metadata__"]["format"] = "pt"
    assert read_or_refuse(tmp_path / "altered.safetensors", pack(json.dumps(header), tiny.data))


@pytest.mark.parametrize("name", ["mød€l.safetensors", b"mod\xffel.safetensors"])
def test_any_file_name(name: str | bytes, tmp_path: Path) -> None:
    path = tmp_path / os.fsdecode(name)
    path.write_bytes(tiny_raw())
    assert Model(str(path)).path == str(path)
    path.write_bytes(b"")
    with pytest.raises(ModelError) as caught:
        Model(str(path))
    assert str(path) in str(caught.value)


def test_model_error_is_a_value_error() -> None:
    assert issubclass(ModelError, ValueError)


# Tensors and hyperparameters that do not fit together


def test_missing_tensor(tiny: Contents, refusal: Callable) -> None:
    for name, entry in tiny.table.items():
        message = refusal(without(copy.deepcopy(tiny), name).raw())
        shape = json.dumps(entry["shape"], separators=(",", ":"))
        assert f'tensor "{name}": expected the shape {shape}, found no such tensor' in message


def test_unknown_tensor(tiny: Contents, refusal: Callable) -> None:
    end = len(tiny.data)
    tiny.data += b"\0" * 8
    tiny.table["layers.1.norm1.scale"] = {"dtype": "F32", "shape": [2], "data_offsets": [end, end + 8]}
    assert 'tensor "layers.1.norm1.scale": not one of a model with these hyperparameters' in refusal(tiny.raw())


def test_shape_of_every_tensor(tiny: Contents, refusal: Callable) -> None:
    for name, entry in tiny.table.items():
        altered = copy.deepcopy(tiny)
        altered.table[name]["shape"] = [1, *entry["shape"]]
        assert f'tensor "{name}": expected the shape' in refusal(altered.raw())


def test_transposed_tensor(tiny: Contents, refusal: Callable) -> None:
    tiny.table["embedding.element"]["shape"].reverse()
    assert 'tensor "embedding.element": expected the shape [3,6], found [6,3]' in refusal(tiny.raw())


@pytest.mark.parametrize(
    ("option", "value", "tensor"),
    [
        ("residual_mlp_2", False, "layers.0.mlp2."),
        ("layer_norm_1", False, "layers.0.norm1."),
        ("spin_embedding", False, "embedding.spin."),
        ("zbl", None, "zbl."),
        ("dispersion", None, "dispersion."),
        ("radial_basis", {"type": "bessel", "size": 3}, "radial_basis."),
        ("num_layers", 2, "layers.1."),
        ("num_layers", 65536, "layers.1."),
        ("num_features", 65536, "embedding.element"),
        ("radial_hidden", 65536, "layers.0.filter_features.radial1"),
    ],
)
def test_hyperparameter_that_contradicts_the_tensors(
    option: str, value: Any, tensor: str, tiny: Contents, refusal: Callable
) -> None:
    tiny.document["hyperparameters"][option] = value
    assert tensor in refusal(tiny.raw())


@pytest.mark.parametrize("name", ["radial_basis.widths", "dispersion.alpha", "dispersion.c6"])
@pytest.mark.parametrize("value", [0.0, -1.0])
def test_constant_that_must_be_positive(name: str, value: float, tiny: Contents, refusal: Callable) -> None:
    tiny.set_number(name, 1, value)
    assert f'tensor "{name}": expected positive numbers' in refusal(tiny.raw())


# The document


@pytest.mark.parametrize("version", [3, 4, 2**31, 2**63, 2**64 - 1])
def test_newer_format(version: int, tiny: Contents, refusal: Callable) -> None:
    tiny.document["format_version"] = version
    tiny.document["a_key_of_the_future"] = tiny.document["theory_levels"] = True
    assert f"found {version}: the file is from a newer so3md: update so3md" in refusal(tiny.raw())


@pytest.mark.parametrize("version", [0, -1, 1.0, "1", True, None, [1]])
def test_format_version_of_another_kind(version: Any, tiny: Contents, refusal: Callable) -> None:
    tiny.document["format_version"] = version
    assert "format_version: expected 1 or 2, found " in refusal(tiny.raw())


@pytest.mark.parametrize("feature", UNSUPPORTED_FEATURES)
@pytest.mark.parametrize(
    "place", ["", "hyperparameters", "hyperparameters/energy_head", "hyperparameters/radial_basis"]
)
@pytest.mark.parametrize("value", [True, False, None, {"levels": 16}])
def test_features_of_the_next_generation(
    feature: str, place: str, value: Any, tiny: Contents, refusal: Callable
) -> None:
    set_at(tiny.document, f"{place}/{feature}".lstrip("/"), value)
    where = f"{place}/{feature}".lstrip("/").replace("/", ".")
    assert f"{where}: the model needs a feature that this version of so3md does not support yet" in refusal(tiny.raw())


@pytest.mark.parametrize(
    "place", ["", "units", "hyperparameters", "hyperparameters/zbl", "hyperparameters/cutoff_function"]
)
def test_unknown_key(place: str, tiny: Contents, refusal: Callable) -> None:
    set_at(tiny.document, f"{place}/attention".lstrip("/"), 1)
    assert 'unknown key "attention"; known here: ' in refusal(tiny.raw())


def test_every_key_is_required(tiny: Contents, refusal: Callable) -> None:
    for path in paths(tiny.document):
        altered = copy.deepcopy(tiny)
        set_at(altered.document, path, MISSING)
        assert f"{path.replace('/', '.')}: the key is missing" in refusal(altered.raw())


@pytest.mark.parametrize(
    ("path", "values", "expected"),
    [
        ("architecture", ["so3krates2", "SO3KRATES", None], "expected one of so3krates, so3krates-2022"),
        ("name", [1, None, ["toy"]], "expected a text"),
        ("provenance", ["here", None, []], "expected an object"),
        ("citation", ["a paper", [1], {}], "expected a list"),
        ("long_range_cutoff", [0, -12.0, "12", True], "expected a positive number"),
        ("long_range_cutoff_molecules", [0, -12.0, "same", False], "expected a positive number"),
        ("long_range_damping", [0, -2.0, None, "2"], "expected a positive number"),
        ("units/energy", ["kcal/mol", "EV", None], "expected eV"),
        ("units/length", ["nm", "angstrom"], "expected Angstrom"),
        ("units/charge", ["C"], "expected e"),
        ("units", ["metal", None], "expected an object"),
        ("elements", [[], [1, 6, 6], [6, 1, 8], [0, 1, 6], [1, 6, 119], [1, 6, 8.0], [1, 6, "8"], 1, [1, 6, 2**32 + 8]],
         "expected a list of strictly increasing integers from 1 to 118"),
        ("hyperparameters", [None, [], 3], "expected an object"),
        ("hyperparameters/degrees", [[], [3, 1], [1] * 10, [-1, 1], [1, 9], [1.0, 3.0], [True, 3], "13", None],
         "expected a list of at most 9 integers from 0 to 8 that do not decrease"),
        ("hyperparameters/hirshfeld_head", [{"type": "plain", "hidden": 3}], "hirshfeld_head.type: expected simple"),
        ("hyperparameters/repulsion", [NLH | {"type": "zbl"}], "repulsion.type: expected nlh"),
        ("hyperparameters/repulsion", [NLH], "repulsion: a model has one"),
        ("hyperparameters/repulsion", [NLH | {"switch_on": 2.0}], "repulsion.switch_off"),
        ("hyperparameters/c6_head", [True, {}, {"hidden": 3, "size": 4}], "c6_head"),
        ("hyperparameters/rms_norm", [0, 1, None, "yes"], "expected true or false"),
        ("hyperparameters/num_features", [0, -6, 6.0, "6", True, None, 65537, 2**32 + 6, 2**64], "expected an integer"),
        ("hyperparameters/num_heads", [0, -2, 2.0], "expected an integer"),
        ("hyperparameters/num_layers", [0, True, 1.0], "expected an integer"),
        ("hyperparameters/cutoff", [0, -4.0, "4.0", True, None], "expected a positive number"),
        ("hyperparameters/cutoff_function/type", ["Cosine", 1, "tanh"], "cutoff_function.type: expected"),
        ("hyperparameters/cutoff_function", ["phys", None], "expected an object"),
        ("hyperparameters/cutoff_function", [{"type": "polynomial", "exponent": 0}], "exponent: expected a positive"),
        ("hyperparameters/cutoff_function", [{"type": "polynomial"}], "exponent: the key is missing"),
        ("hyperparameters/cutoff_function", [{"type": "phys", "exponent": 6}], 'unknown key "exponent"'),
        ("hyperparameters/radial_basis", [{"type": "bernstein", "size": 3, "gamma": 0}], "gamma: expected a positive"),
        ("hyperparameters/radial_basis", [{"type": "bernstein", "size": 3}], "gamma: the key is missing"),
        ("hyperparameters/radial_basis/size", [0, 3.0, -3], "expected an integer"),
        ("hyperparameters/activation", ["swish", "SiLU", None], "expected one of identity, silu, tanh, gelu, relu"),
        ("hyperparameters/attention_normalization", [{"type": "constant"}], "value: the key is missing"),
        ("hyperparameters/attention_normalization/value", [0, -1.0, "5"], "expected a positive number"),
        ("hyperparameters/layer_norm_epsilon", [0, -1e-6], "expected a positive number"),
        *[(f"hyperparameters/{flag}", [0, 1, "true", None, "false", {}], "expected true or false")
          for flag in FLAGS],
        ("hyperparameters/energy_head", [None, True], "expected an object"),
        ("hyperparameters/energy_head/hidden", [-1, 20.0], "expected an integer from 0"),
        ("hyperparameters/charge_head", [True, {"hidden": 20, "activation": "silu"}], "charge_head"),
        ("hyperparameters/hirshfeld_head/size", [0], "expected an integer from 1"),
        ("hyperparameters/zbl", [True, False, 0, {}], "zbl"),
        ("hyperparameters/zbl/switch_on", [-0.1, "0"], "expected a number that is not negative"),
        ("hyperparameters/zbl/switch_on", [1.5, 2.0], "switch_off: expected a number above switch_on"),
        ("hyperparameters/electrostatics/sigma", [0, -4.0], "expected a positive number"),
        ("hyperparameters/dispersion/type", ["d3", None], "dispersion.type: expected"),
        ("hyperparameters/dispersion/damping_scale", [0.0], "expected a positive number"),
    ],
)  # fmt: skip
def test_value_of_the_document(path: str, values: list[Any], expected: str, tiny: Contents, refusal: Callable) -> None:
    for value in values:
        altered = copy.deepcopy(tiny)
        set_at(altered.document, path, value)
        message = refusal(altered.raw())
        assert expected in message
        assert path.split("/")[-1] in message


@pytest.mark.parametrize(("key", "value"), [("num_heads", 4), ("degrees", [0, 1, 2, 3])])
def test_features_that_cannot_be_split_into_heads(key: str, value: Any, tiny: Contents, refusal: Callable) -> None:
    tiny.document["hyperparameters"][key] = value
    assert f'num_features: expected a multiple of the 4 heads that "{key}" asks for, found 6' in refusal(tiny.raw())


@pytest.mark.parametrize(("term", "head"), [("electrostatics", "charge_head"), ("dispersion", "hirshfeld_head")])
def test_physics_without_its_head(term: str, head: str, tiny: Contents, refusal: Callable) -> None:
    tiny.document["hyperparameters"][head] = None
    assert f'{term}: needs "{head}", which is null' in refusal(tiny.raw())


@pytest.mark.parametrize("document", ["", "[]", "null", "{", "{}\0", "\ufeff{}", '{"format_version": 1e999}', "{} {}"])
def test_document_that_is_not_a_json_object(document: str, tiny: Contents, refusal: Callable) -> None:
    message = refusal(pack(json.dumps({"__metadata__": {"so3md": document}, **tiny.table}), tiny.data))
    assert "the model document" in message


def test_messages_stay_short_and_printable(tiny: Contents, refusal: Callable) -> None:
    tiny.document["name"] = tiny.document["hyperparameters"]["activation"] = "\x1b[2J\u202e" * 10_000
    message = refusal(tiny.raw())
    assert len(message) < 1000
    assert message.isascii()
    assert message.isprintable()


# The second generation of SO3LR


@pytest.mark.parametrize("key", ["rms_norm", "normalize_query_key", "residual_scalars"])
def test_version_1_has_nothing_of_the_second_generation(key: str, tiny: Contents, refusal: Callable) -> None:
    tiny.document["hyperparameters"][key] = True
    message = f"format_version: expected 2 (hyperparameters: {key}), found 1"
    assert message in refusal(tiny.raw())


def test_repeated_degrees_need_version_2(tiny: Contents, refusal: Callable) -> None:
    tiny.document["hyperparameters"]["degrees"] = [1, 1]
    assert "format_version: expected 2 (hyperparameters: repeated degrees), found 1" in refusal(tiny.raw())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda values: values[0, 1].fill(1.0), "expected the same numbers for i, j and j, i"),
        (lambda values: values[..., 2].fill(-1.0), "expected exponents that are not negative"),
    ],
)
def test_constants_of_the_repulsion(change: Callable, message: str, tmp_path: Path) -> None:
    model = make_toy_model(**VARIANTS_SO3LR2["nlh"])
    model.tensors["nlh.coefficients"] = model.tensors["nlh.coefficients"].copy()
    change(model.tensors["nlh.coefficients"])
    with pytest.raises(ModelFileError, match=message):
        model.check()
    path = tmp_path / "toy.safetensors"
    model.check = lambda: None  # type: ignore[method-assign]
    model.write(path)
    with pytest.raises(ModelError, match=message):
        Model(str(path))
