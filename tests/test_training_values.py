"""Absurd values of every key of a training configuration are refused in one line that names the key."""

from __future__ import annotations

import copy
import json
import math
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any, get_type_hints

import pytest

pytest.importorskip("torch", reason="training needs PyTorch (extra 'torch')")

import yaml
from test_cli import fail, in_an_empty_directory, succeed  # noqa: F401 (a fixture for all tests)
from training_tools import TINY_MODEL, write_config, write_molecules

from so3md.training.config import Config, read_config
from so3md.training.data import read_files
from so3md.training.hyperparameters import check_size, complete
from so3md.training.schema import ConfigError
from so3md.training.splits import split_indices
from so3md.training.start import start_new

ABSURD = {
    **{str(value): value for value in (0, -1, 0.5, math.nan, math.inf, -math.inf, 1e-320, 1e308, -1e308)},
    "2^31": 2**31,
    "2^63": 2**63,
    "10^400": 10**400,
    "true": True,
    "null": None,
    "text": "x",
    "empty": "",
    "text of a number": "1e-320",
    "[]": [],
    "[1]": [1],
    "[[1]]": [[1]],
    "[null]": [None],
    "{}": {},
    "{a: 1}": {"a": 1},
}


def keys_of(cls: type, prefix: str = "") -> Iterator[str]:
    """All keys, those of sections with the names of these."""
    hints = get_type_hints(cls)
    for item in fields(cls):
        if is_dataclass(hints[item.name]):
            yield prefix + item.name
            yield from keys_of(hints[item.name], f"{prefix}{item.name}.")
        else:
            yield prefix + item.name


def document_with(document: dict[str, Any], key: str, value: Any) -> dict[str, Any]:
    document = part = copy.deepcopy(document)
    *sections, last = key.split(".")
    for section in sections:
        part = part.setdefault(section, {})
    part[last] = value
    return document


#: What is no mistake, of these values: key, or its last part -> names.
_TEXT = {"text", "text of a number", "null"}
_WEIGHT = {"0", "0.5"}
FINE = {
    "data.files": _TEXT - {"null"} | {"[]"},
    "model": {"{}", "{a: 1}"},  # whose keys are looked at with the data
    **{key: {*_TEXT, "[]"} for key in ("files", "train_files", "validation_files", "test_files")},
    **dict.fromkeys(
        ("data.units.energy", "length", "data.units.forces", "data.units.stress", "data.units.dipole"), _TEXT
    ),
    **{
        key: {*_TEXT, "0", "0.5", "[]", "[1]"}
        for key in ("data.split.train", "data.split.validation", "data.split.test")
    },
    **{key: {"{}"} for key in ("data.units", "data.keys", "data.split", "loss", "training", "training.schedule")},
    **dict.fromkeys(("file", "name", "output"), _TEXT),
    **{key: {"null"} for key in ("spin_convention", "threads", "early_stopping", "low_rank")},
    **dict.fromkeys(("energy", "forces", "stress", "dipole", "hirshfeld_ratios", "weight_decay"), _WEIGHT),
    **{key: {"0.5"} for key in ("learning_rate", "final", "factor", "scale")},
    **{key: {"0.5", "null"} for key in ("gradient_clipping", "time_limit")},
    "ema_decay": {*_WEIGHT, "null"},
    "warm_up_steps": {"0"},
    "seed": {"0", "2^31"},
    "data.split.seed": {"0", "2^31", "null"},  # null: that of the run
    "check_labels": {"true"},
    "on_disk": {"true", "null"},
    "cache": _TEXT,
    "freeze": {"[]"},
    "reference_energies": {"null", "{}", "{a: 1}"},
}


@pytest.mark.parametrize("key", keys_of(Config))
def test_absurd_values_of_a_configuration_are_refused_by_name(key: str) -> None:
    fine = FINE.get(key, FINE.get(key.split(".")[-1], set()))
    path = Path("config.yaml")
    for name, value in ABSURD.items():
        path.write_text(yaml.safe_dump(document_with({"data": {"files": "a.xyz"}}, key, value)), encoding="utf-8")
        if name in fine:
            read_config(path)
            continue
        with pytest.raises(ConfigError) as info:
            read_config(path)
        assert str(info.value).startswith(f"{path}: "), name
        assert key in str(info.value), (name, str(info.value))
        assert len(str(info.value).splitlines()) == 1, name


#: Of the hyperparameters, what is no mistake; a radius of half an Angstrom is small, and is one.
FINE_OF_MODELS = {
    **{key: {"null"} for key in ("charge_head", "hirshfeld_head", "zbl", "electrostatics", "dispersion", "elements")},
    **{key: {"null"} for key in ("long_range_cutoff", "long_range_cutoff_molecules")},
    **{key: {"true"} for key in ("layer_norm_1", "layer_norm_2", "residual_mlp_1", "residual_mlp_2")},
    **{key: {"true"} for key in ("charge_embedding", "spin_embedding")},
    "cutoff": {"0.5"},
    "degrees": {"[1]"},
    "energy_head.hidden": {"0"},
    "layer_norm_epsilon": {"0.5", "2^31"},
}
HYPERPARAMETERS = (
    *("architecture", "elements", "num_features", "num_heads", "degrees", "num_layers", "cutoff", "cutoff_function"),
    *("radial_basis", "radial_hidden", "spherical_hidden", "layer_norm_epsilon", "activation", "query_key_activation"),
    *("attention_normalization", "layer_norm_1", "layer_norm_2", "residual_mlp_1", "residual_mlp_2", "energy_head"),
    *("charge_embedding", "spin_embedding", "charge_head", "hirshfeld_head", "zbl", "electrostatics", "dispersion"),
    *("long_range_cutoff", "long_range_cutoff_molecules", "radial_basis.size", "energy_head.hidden"),
)


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    directory = tmp_path_factory.mktemp("data")
    write_molecules(directory / "a.xyz", 4)
    config = read_config(write_config(directory / "config.yaml"))
    samples = read_files("a.xyz", config.data, directory)
    return {"train": samples, "validation": samples, "test": []}


@pytest.mark.parametrize("key", HYPERPARAMETERS)
def test_absurd_hyperparameters_are_refused_by_name(key: str, parts: dict[str, Any]) -> None:
    fine = FINE_OF_MODELS.get(key, set())
    path = Path("config.yaml")
    for name, value in ABSURD.items():
        document = document_with({"data": {"files": "a.xyz"}, "model": TINY_MODEL}, f"model.{key}", value)
        path.write_text(yaml.safe_dump(document), encoding="utf-8")
        config = read_config(path)
        if name in fine:
            start_new(config, parts)
            continue
        with pytest.raises(ConfigError) as info:
            start_new(config, parts)
        assert f"model.{key}" in str(info.value), (name, str(info.value))
        assert len(str(info.value).splitlines()) == 1, name


@pytest.mark.parametrize(
    ("hyperparameters", "message"),
    [
        ({"num_layers": 1 << 16}, "model.num_layers: expected at most 100, found 65536"),
        ({"num_features": 1 << 16}, r"model: expected at most 1e\+09 parameters .* num_features \(65536\)"),
    ],
)
def test_models_that_no_computer_holds_are_refused_before_they_are_made(
    hyperparameters: dict[str, Any], message: str, parts: dict[str, Any]
) -> None:
    architecture, complete_ones = complete(TINY_MODEL | hyperparameters, parts["train"])
    with pytest.raises(ConfigError, match=message):
        check_size(complete_ones, 3, architecture)


@pytest.mark.parametrize("part", ["train", "validation", "test"])
@pytest.mark.parametrize("value", ["x", "", "::0", "0:1:2:3", "1e3", 17, 10**9, [16], [0, 0]], ids=str)
def test_parts_that_the_data_do_not_have_are_refused(part: str, value: Any) -> None:
    with pytest.raises(ConfigError, match=r"data\.split") as info:
        split_indices({part: value}, 16, seed=0)
    assert len(str(info.value).splitlines()) == 1


def test_a_split_file_that_is_none_is_refused_by_name() -> None:
    for content in (b"", b"idx_train: [1, 2]", b"PK\x03\x04" + 40 * b"\0", b"\x93NUMPY\x01\x00"):
        Path("split.npz").write_bytes(content)
        with pytest.raises(ConfigError, match=r"data\.split\.file: expected an \.npz of arrays.*split\.npz"):
            split_indices({}, 16, 0, Path("split.npz"))


@pytest.mark.parametrize(
    ("option", "value"),
    [
        (option, value)
        for option in ("--epochs", "--time-limit")
        for value in ("0", "-1", "nan", "inf", "1e-320", "1e308", "1" + 400 * "0", "x", "")
    ],
)
def test_absurd_options_of_the_command_are_refused(option: str, value: str) -> None:
    write_config(Path("config.yaml"))
    assert option in fail("train", "config.yaml", option, value, code=2)


def test_damaged_settings_of_a_run_are_named_with_the_file() -> None:
    write_molecules(Path("molecules.xyz"))
    write_config(Path("config.yaml"), training={"epochs": 1})
    succeed("train", "config.yaml")
    record = json.loads(Path("run/run.json").read_text(encoding="utf-8"))
    for section, key, value in (("training", "learning_rate", 1e-320), ("training", "epochs", -1), ("loss", "x", 1)):
        damaged = copy.deepcopy(record)
        damaged["config"][section][key] = value
        Path("run/run.json").write_text(json.dumps(damaged), encoding="utf-8")
        assert f"run/run.json: damaged, or of another version: {section}.{key}" in fail("train", "--resume", "run")
