"""The long-range cutoffs of a training are those that its model file says and that everything evaluates with."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from ase import Atoms
from ase.build import molecule
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io import read, write
from click.testing import CliRunner
from tolerances import EXACT
from toy_models import make_toy_model

torch = pytest.importorskip("torch", reason="training needs PyTorch (extra 'torch')")

from training_tools import TINY_MODEL, write_config  # noqa: E402

from so3md import So3kratesCalculator, evaluate_many  # noqa: E402
from so3md.cli import main  # noqa: E402
from so3md.model_file import ModelFile  # noqa: E402
from so3md.training.assess import TOLERANCE  # noqa: E402

#: Data, settings and what a training must record (periodic, molecules): of a new model, and of SO3LR fine-tuned.
CASES: dict[tuple[str, str], tuple[Any, Any]] = {
    ("molecules", "{}"): ((None, None), (12.0, None)),
    ("boxes", "{}"): ((12.0, 12.0), (12.0, None)),
    ("both", "{}"): ((12.0, None), (12.0, None)),
    ("molecules", '{"long_range_cutoff": null}'): ((None, None), (None, None)),
    ("molecules", '{"long_range_cutoff": 5.0}'): ((5.0, 5.0), (5.0, 5.0)),
    ("both", '{"long_range_cutoff": 5.0}'): ((5.0, 5.0), (5.0, 5.0)),
    ("both", '{"long_range_cutoff": 5.0, "long_range_cutoff_molecules": null}'): ((5.0, None), (5.0, None)),
    ("both", '{"long_range_cutoff_molecules": 4.0}'): ((12.0, 4.0), (12.0, 4.0)),
}
PHYSICS = {
    "charge_head": {"hidden": 6},
    "hirshfeld_head": {"hidden": 6, "size": 4},
    "electrostatics": {"sigma": 4.0},
    "dispersion": {"type": "vdw_qdo", "damping_scale": 1.2},
}


def two_waters(random: np.random.Generator, pbc: bool) -> Atoms:
    """Two molecules 4 A apart, in a box or not, with reference values that are anything."""
    atoms = molecule("H2O") + molecule("H2O")
    atoms.positions[3:] += [4.0, 0.3, 0.2]
    atoms.positions += 2 + 0.05 * random.standard_normal((6, 3))
    if pbc:
        atoms.set_cell([8.0, 7.0, 7.5])
        atoms.pbc = True
    forces = 0.3 * random.standard_normal((6, 3))
    atoms.calc = SinglePointCalculator(atoms, energy=-20 + 0.1 * random.standard_normal(), forces=forces)
    return atoms


def write_data(path: Path, kind: str) -> list[Atoms]:
    random = np.random.default_rng(1)
    frames = [two_waters(random, pbc=kind == "boxes" or (kind == "both" and n % 2 == 1)) for n in range(10)]
    write(path, frames, format="extxyz")
    return read(path, ":")  # with its digits


def so3md(*arguments: str | Path, code: int = 0) -> str:
    result = CliRunner().invoke(main, [str(argument) for argument in arguments])
    assert result.exit_code == code, result.output
    return result.output


def config_of(directory: Path, model: dict[str, Any]) -> Path:
    split = {"train": [0, 1, 2, 3], "validation": [4, 5], "test": [6, 7, 8, 9]}
    training = {"epochs": 1, "batch_size": 4}
    path = write_config(directory / "config.yaml", data={"split": split}, training=training, precision="float64")
    path.write_text(yaml.safe_dump(yaml.safe_load(path.read_text()) | {"model": model}))
    return path


def check(directory: Path, frames: list[Atoms], cutoffs: tuple[float | None, float | None]) -> None:
    """The model file says what it was trained with; the summary and everything else evaluate it with that."""
    file = ModelFile.read(directory / "run" / "model.safetensors")
    assert (file.long_range_cutoff, file.molecule_cutoff) == cutoffs
    path = str(directory / "run" / "model.safetensors")
    summary = json.loads((directory / "run" / "summary.json").read_text())
    assert max(summary["engine_and_torch"].values()) < TOLERANCE
    test, explicit = frames[6:], []
    for atoms in test:
        cutoff = cutoffs[0] if atoms.pbc.any() else cutoffs[1]
        explicit.append(next(evaluate_many([atoms], path, lr_cutoff=cutoff, precision="double")))
    errors = np.concatenate([p.forces - a.get_forces() for p, a in zip(explicit, test, strict=True)])
    assert summary["errors"]["forces (eV/A)"]["mae"] == pytest.approx(np.abs(errors).mean(), abs=EXACT.forces)
    for atoms, expected in zip(test, explicit, strict=True):
        probe = atoms.copy()
        probe.calc = So3kratesCalculator(path, precision="double", threads=1)
        np.testing.assert_allclose(probe.get_forces(), expected.forces, rtol=0, atol=EXACT.forces)


@pytest.mark.parametrize(("kind", "settings"), CASES)
def test_a_new_model(kind: str, settings: str, tmp_path: Path) -> None:
    frames = write_data(tmp_path / "molecules.xyz", kind)
    so3md("train", config_of(tmp_path, TINY_MODEL | PHYSICS | json.loads(settings)))
    check(tmp_path, frames, CASES[kind, settings][0])


@pytest.mark.parametrize(("kind", "settings"), CASES)
def test_a_model_to_go_on_with(kind: str, settings: str, tmp_path: Path) -> None:
    """A toy model that says what SO3LR says."""
    frames = write_data(tmp_path / "molecules.xyz", kind)
    toy = make_toy_model(seed=2)
    toy.long_range_cutoff, toy.long_range_cutoff_molecules, toy.long_range_damping = 12.0, None, 1.5
    toy.write(tmp_path / "toy.safetensors")
    so3md("finetune", tmp_path / "toy.safetensors", config_of(tmp_path, json.loads(settings)))
    check(tmp_path, frames, CASES[kind, settings][1])
    assert ModelFile.read(tmp_path / "run" / "model.safetensors").long_range_damping == 1.5


def test_the_cutoff_matters_and_eval_takes_it(tmp_path: Path) -> None:
    """The other cutoff gives other forces, so that the cases above tell one from the other."""
    write_data(tmp_path / "molecules.xyz", "molecules")
    so3md("train", config_of(tmp_path, TINY_MODEL | PHYSICS | {"long_range_cutoff": 5.0}))
    model = tmp_path / "run" / "model.safetensors"
    tables = {}
    for name, options in {"own": (), "same": ("--lr-cutoff", "5"), "other": ("--lr-cutoff", "none")}.items():
        output = so3md("eval", tmp_path / "molecules.xyz", "--model", model, "-o", tmp_path / name, *options)
        tables[name] = (tmp_path / name / "summary.csv").read_text()
        assert ("the model's for molecules" in output) == (name != "other")
    assert tables["own"] == tables["same"] != tables["other"]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"long_range_cutoff": None}, "is periodic, and electrostatics and dispersion need a cutoff there"),
        ({"long_range_cutoff": 3.5}, "long_range_cutoff: expected a length (A), at least the cutoff of the network"),
        ({"long_range_cutoff": 1e20}, "long_range_cutoff: expected a length (A), at least the cutoff of the network"),
        ({"long_range_cutoff_molecules": "none"}, "model.long_range_cutoff_molecules: expected a length"),
        ({"long_range_cutoff": True}, "model.long_range_cutoff: expected a length"),
        ({"long_range": 5.0}, "model.long_range: unknown key"),
    ],
)
def test_settings_that_make_no_sense(settings: dict[str, Any], message: str, tmp_path: Path) -> None:
    write_data(tmp_path / "molecules.xyz", "both")
    output = so3md("train", config_of(tmp_path, TINY_MODEL | PHYSICS | settings), code=1)
    assert message in output


def test_a_model_without_long_range_terms_needs_no_cutoff(tmp_path: Path) -> None:
    write_data(tmp_path / "molecules.xyz", "both")
    so3md("train", config_of(tmp_path, dict(TINY_MODEL)))
    assert ModelFile.read(tmp_path / "run" / "model.safetensors").long_range_cutoff is None
