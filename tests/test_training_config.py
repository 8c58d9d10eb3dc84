"""Configuration files are read strictly: what is wrong is named, with a proposal where there is one."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("torch", reason="training needs PyTorch (extra 'torch')")

from importlib import resources

from so3md.training.config import read_config
from so3md.training.schema import ConfigError

MINIMAL = "data: {files: a.xyz}\n"


def read(tmp_path: Path, text: str):
    path = tmp_path / "config.yaml"
    path.write_text(text, encoding="utf-8")
    return read_config(path)


def test_the_data_are_all_that_must_be_given(tmp_path: Path) -> None:
    config = read(tmp_path, MINIMAL)
    assert config.training.batch_size == 10
    assert config.loss.weights["forces"] > 0


def test_the_example_is_valid_and_short(tmp_path: Path) -> None:
    for name in ("example", "finetune_example"):
        text = resources.files("so3md.training").joinpath(f"{name}.yaml").read_text(encoding="utf-8")
        assert read(tmp_path, text).data.files == "ethanol"
        assert len([line for line in text.splitlines() if not line.startswith("#")]) <= 10


def test_numbers_with_an_exponent_may_lack_the_point(tmp_path: Path) -> None:
    assert read(tmp_path, MINIMAL + "training: {learning_rate: 1e-3}").training.learning_rate == 1e-3


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("training: {epochs: 5}", "data: the key is missing"),
        (MINIMAL + "trainning: {epochs: 5}", "trainning: unknown key; did you mean 'training'?"),
        (MINIMAL + "training: {epoch: 5}", "training.epoch: unknown key; did you mean 'epochs'?"),
        (MINIMAL + "training: {epochs: many}", "training.epochs: expected an integer, found 'many'"),
        (MINIMAL + "training: {epochs: 0}", "training.epochs: expected a positive integer, at most 1e+09, found 0"),
        (MINIMAL + "training: {epochs: true}", "training.epochs: expected an integer, found True"),
        (MINIMAL + "training: {learning_rate: .nan}", "training.learning_rate: expected a number"),
        (MINIMAL + "training: {schedule: {type: expo}}", "training.schedule.type: expected one of exponential"),
        (MINIMAL + "training: 5", "training: expected keys and values, found 5"),
        (MINIMAL + "precision: float16", "precision: expected one of float32, float64"),
        (MINIMAL + "device: tpu", "device: expected one of cpu, cuda"),
        (MINIMAL + "loss: {energy: 0, forces: 0}", "loss.forces: at least one weight must be positive"),
        (MINIMAL + "training: {batch_size: 1" + 400 * "0" + "}", "training.batch_size: expected a positive integer"),
        (
            MINIMAL + "seed: 0x" + 5000 * "f",
            "seed: expected an integer that is not negative, below 2^63, found a number",
        ),
        (MINIMAL + "threads: 100000", "threads: expected a positive integer, at most 1024, or null, found 100000"),
        (MINIMAL + "loss: {forces: 1e308}", "loss.forces: expected a weight that is not negative, at most 1e+09"),
        (MINIMAL + "seed: " + 5000 * "9", "not valid YAML (Exceeds the limit"),
        (MINIMAL + "name: 2001-99-99", "not valid YAML (month must be in 1..12)"),
        (MINIMAL + "loss: {forces: -1}", "loss.forces: expected a weight that is not negative"),
        ("data: {files: a.xyz, split: {train: 1.5}}", "data.split.train: expected a fraction above 0 and at most 1"),
        ("data: {files: a.xyz, files: b.xyz}", "files: the key stands twice"),
        ("data: {split: {train: 5}}", "data.files: the key is missing"),
        ("data: {files: {pth: a.xyz}}", "data.files.pth: unknown key; did you mean 'path'?"),
        ("- data", "expected keys and values"),
        ("data: [", "not valid YAML"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        read(tmp_path, text)
    assert message in str(caught.value)
    assert "config.yaml" in str(caught.value)


def laughs(levels: int) -> str:
    """A few lines that stand for 9^(levels + 1) values."""
    lines = ["  a0: &a0 [lol]"]
    lines += [f"  a{k + 1}: &a{k + 1} [{', '.join([f'*a{k}'] * 9)}]" for k in range(levels)]
    return "\n".join(["model:", *lines, ""])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (laughs(9), "expected at most 1000000 values, found more: aliases (*name) in each other"),
        (laughs(60), "expected keys and lists at most 50 levels deep"),
        ("model: &m {a: *m}", "expected keys and lists at most 50 levels deep"),
        ("model: &m [*m]", "expected keys and lists at most 50 levels deep"),
        ("model: " + 5000 * "[" + 5000 * "]", "expected keys and lists at most 50 levels deep"),
        ("model: " + 5000 * "{a: " + 5000 * "}", "expected keys and lists at most 50 levels deep"),
    ],
    ids=["values", "levels", "own mapping", "own list", "lists", "mappings"],
)
def test_nesting_has_an_end(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        read(tmp_path, text + "\n" + MINIMAL)
    assert message in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


def test_aliases_and_merged_keys_may_be_used(tmp_path: Path) -> None:
    text = """
data:
  train_files: &file {path: a.xyz, units: &units {energy: kcal/mol, length: Angstrom}}
  validation_files: {<<: *file, index: "::2"}
  units: *units
"""
    config = read(tmp_path, text)
    assert config.data.validation_files.path == "a.xyz"
    assert config.data.validation_files.index == "::2"
    assert config.data.units == config.data.validation_files.units
