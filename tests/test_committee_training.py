"""so3md train --committee: members, their data, and how a training that was stopped goes on."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result

pytest.importorskip("torch", reason="training needs PyTorch (extra 'torch')")

from training_tools import write_config, write_molecules

from so3md import So3kratesCalculator
from so3md.cli import main
from so3md.model_file import ModelFile
from so3md.structures import read_structures


@pytest.fixture
def config(tmp_path: Path) -> Path:
    write_molecules(tmp_path / "molecules.xyz")
    return write_config(tmp_path / "config.yaml", training={"epochs": 2}, seed=5)


def run(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(item) for item in arguments], env={"COLUMNS": "300"})


def test_members_differ_in_their_weights_and_not_in_their_data(config: Path) -> None:
    result = run("train", config, "--committee", 2)
    assert result.exit_code == 0, result.output
    directory = config.parent / "run"
    models = [str(directory / f"{letter}.safetensors") for letter in "ab"]
    assert f"The committee: --model {models[0]} --model {models[1]}" in result.output
    records = [json.loads((directory / f"member-{number}/run.json").read_text()) for number in (1, 2)]
    assert [record["config"]["seed"] for record in records] == [5, 6]
    assert records[0]["data"] == records[1]["data"]  # the checksums of every part
    one, other = (ModelFile.read(model) for model in models)
    assert not np.array_equal(one.tensors["energy.dense1.weight"], other.tensors["energy.dense1.weight"])
    (atoms,) = read_structures(config.parent / "molecules.xyz", "0")
    atoms.calc = None
    assert So3kratesCalculator(models, threads=1).get_property("uncertainty", atoms) > 0
    result = run("train", config, "--committee", 2)
    assert result.exit_code == 1
    assert "holds a committee already (committee.json)" in result.output


def test_a_committee_goes_on_with_the_members_that_are_left(config: Path) -> None:
    assert run("train", config, "--committee", 2).exit_code == 0
    directory = config.parent / "run"
    expected = [(directory / f"{letter}.safetensors").read_bytes() for letter in "ab"]
    (directory / "b.safetensors").unlink()
    for path in (directory / "member-2").iterdir():  # as if it had been stopped before the second member
        path.unlink()
    result = run("train", "--resume", directory)
    assert result.exit_code == 0, result.output
    assert "Member 2 of 2" in result.output
    assert "Member 1 of 2" not in result.output
    for letter, before in zip("ab", expected, strict=True):
        (directory / "before.safetensors").write_bytes(before)
        one, other = (ModelFile.read(directory / f"{name}.safetensors") for name in ("before", letter))
        assert one.tensors.keys() == other.tensors.keys()
        for name, tensor in one.tensors.items():
            np.testing.assert_array_equal(tensor, other.tensors[name])


def test_a_committee_of_one_is_refused(config: Path) -> None:
    result = run("train", config, "--committee", 1)
    assert result.exit_code == 2
    assert "--committee" in result.output


def test_a_damaged_record_is_named(config: Path) -> None:
    assert run("train", config, "--committee", 2).exit_code == 0
    record = config.parent / "run/committee.json"
    record.write_text(json.dumps(json.loads(record.read_text()) | {"members": 0}))
    result = run("train", "--resume", config.parent / "run")
    assert result.exit_code == 1
    assert "committee.json: damaged, or of another version: members: expected a number from 2 to 26" in result.output
