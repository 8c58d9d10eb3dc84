"""What is found out about the data before a training begins, and not after its last epoch."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ase import Atoms
from ase.build import molecule
from ase.io import write
from click.testing import CliRunner, Result

torch = pytest.importorskip("torch", reason="training needs PyTorch (extra 'torch')")

from training_tools import TINY_MODEL, write_config  # noqa: E402

from so3md.cli import main  # noqa: E402

SPLIT = {"split": {"train": 4, "validation": 2, "test": None}}


def water(seed: int, **info: Any) -> Atoms:
    """A molecule with reference values that mean nothing."""
    rng = np.random.default_rng(seed)
    atoms = molecule("H2O")
    atoms.positions += 0.05 * rng.standard_normal((3, 3))
    atoms.info |= {"REF_energy": -1.0 + 0.1 * rng.standard_normal()} | info
    atoms.arrays["REF_forces"] = rng.standard_normal((3, 3))
    return atoms


def train(directory: Path, frames: list[Atoms], command: tuple[str, ...] = ("train",), **sections: Any) -> Result:
    """The outcome of a training of one epoch."""
    write(directory / "molecules.xyz", frames, format="extxyz")
    sections = {"data": dict(SPLIT), "training": {"epochs": 1}} | sections
    config = write_config(directory / "config.yaml", **sections)
    # In fine-tuning, so that periodic structures are refused for what they are and not for want of a cutoff.
    config.write_text(config.read_text().replace("long_range_cutoff: null", "long_range_cutoff: 12.0"))
    return CliRunner().invoke(main, [*command, str(config), "--overwrite"], env={"COLUMNS": "200"})


def error(result: Result) -> str:
    """The one line of a training that was refused before its first epoch."""
    assert result.exit_code == 1, result.output
    assert "epoch 1" not in result.output
    (line,) = [line for line in result.output.splitlines() if line.startswith("Error: ")]
    return line


# --- quantities -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("quantity", ["energy", "forces"])
def test_a_quantity_of_the_loss_that_no_structure_has_is_named_with_what_looks_like_it(
    tmp_path: Path, quantity: str
) -> None:
    frames = [water(seed) for seed in range(6)]
    for atoms in frames:
        place = atoms.info if quantity == "energy" else atoms.arrays
        place[f"my_{quantity}"] = place.pop(f"REF_{quantity}")
    message = error(train(tmp_path, frames))
    assert f"loss.{quantity}: " in message
    assert f"entries that look like it: my_{quantity}." in message
    result = train(tmp_path, frames, loss={quantity: 0})
    assert result.exit_code == 0, result.output
    result = train(tmp_path, frames, data=SPLIT | {"keys": {quantity: f"my_{quantity}"}})
    assert result.exit_code == 0, result.output


def test_all_quantities_that_are_missing_are_named_at_once(tmp_path: Path) -> None:
    frames = [water(seed) for seed in range(6)]
    for atoms in frames:
        atoms.info["E_dft"], atoms.arrays["grad"] = atoms.info.pop("REF_energy"), atoms.arrays.pop("REF_forces")
    result = train(tmp_path, frames)
    assert "No reference values were found" in result.output
    message = error(result)
    assert "no training structure has an energy; entries that look like it: E_dft. " in message
    assert "no training structure has forces; entries that look like it: grad. " in message


def test_the_stress_of_molecules_is_of_no_use(tmp_path: Path) -> None:
    frames = [water(seed, REF_stress=np.zeros(6)) for seed in range(6)]
    message = error(train(tmp_path, frames, loss={"stress": 1}))
    assert "no training structure has a stress that is of use (4 left out: the structure has no volume" in message


def test_molecules_may_stand_beside_periodic_structures_with_stress(tmp_path: Path) -> None:
    frames = [water(seed) for seed in range(6)]
    for number in (1, 3, 5):
        frames[number].set_cell([6, 6, 6])
        frames[number].pbc = True
        frames[number].info["REF_stress"] = np.full(6, 0.01)
    split = {"train": [0, 1, 2, 3], "validation": [4, 5], "test": None}
    result = train(tmp_path, frames, loss={"stress": 1}, data={"split": split})
    assert result.exit_code == 0, result.output
    assert "epoch 1 of 1" in result.output


def test_the_table_at_the_start_says_what_each_file_has(tmp_path: Path) -> None:
    write(tmp_path / "other.xyz", [water(seed, virial=np.zeros((3, 3))) for seed in range(3)], format="extxyz")
    frames = [water(seed) for seed in range(6)]
    del frames[2].arrays["REF_forces"]
    result = train(tmp_path, frames, data=SPLIT | {"test_files": ["other.xyz"]})
    assert result.exit_code == 0, result.output
    table = [line.split() for line in result.output.splitlines() if ".xyz  " in line]
    assert ["molecules.xyz", "energy", "REF_energy", "6", "of", "6", "6"] in table
    assert ["molecules.xyz", "forces", "REF_forces", "5", "of", "6", "45"] in table
    assert ["other.xyz", "forces", "REF_forces", "3", "of", "3", "27"] in table
    assert ["other.xyz", "stress", "-", "0", "of", "3", "0"] in table


def test_validation_without_a_quantity_is_said(tmp_path: Path) -> None:
    frames = [water(seed) for seed in range(6)]
    for atoms in frames[4:]:
        del atoms.arrays["REF_forces"]
    data = {"split": {"train": "0:4", "validation": "4:6", "test": None}}
    assert "Warning: no validation structure has forces" in train(tmp_path, frames, data=data).output


@pytest.mark.parametrize(("quantity", "head"), [("dipole", "charge_head"), ("hirshfeld_ratios", "hirshfeld_head")])
def test_a_loss_of_what_the_model_does_not_predict_is_refused(tmp_path: Path, quantity: str, head: str) -> None:
    frames = [water(seed, REF_dipole=np.zeros(3)) for seed in range(6)]
    for atoms in frames:
        atoms.arrays["REF_hirshfeld_ratios"] = np.ones(3)
    assert f"loss.{quantity}: the model has no {head}" in error(train(tmp_path, frames, loss={quantity: 1.0}))


def test_the_summary_has_errors_of_everything_that_the_model_gives(tmp_path: Path) -> None:
    frames = [water(seed, REF_dipole=np.zeros(3)) for seed in range(8)]
    for atoms in frames:
        atoms.arrays["REF_charges"] = np.zeros(3)
    model = dict(TINY_MODEL) | {"charge_head": {"hidden": 4}}
    data = {"split": {"train": 4, "validation": 2, "test": 2}}
    result = train(tmp_path, frames, model=model, data=data, loss={"dipole": 1})
    assert result.exit_code == 0, result.output
    for text in ("dipole (e A)", "charges (e)", "dipole MAE"):
        assert text in result.output
    assert '"charges (e)"' in (tmp_path / "run" / "summary.json").read_text()


# --- charges and spins ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "values"), [("charge", (0, 2)), ("spin", (0, 1))])
def test_states_that_the_model_cannot_tell_apart_are_refused(
    tmp_path: Path, name: str, values: tuple[int, int]
) -> None:
    frames = [water(seed, **{name: values[seed % 2]}) for seed in range(6)]
    message = error(train(tmp_path, frames))
    states = f"the structures have different {name}s ({values[0]}, {values[1]})"
    assert f"model.{name}_embedding: expected true, because {states}" in message
    result = train(tmp_path, frames, model=dict(TINY_MODEL) | {f"{name}_embedding": True})
    assert result.exit_code == 0, result.output
    assert "changes nothing" not in result.output
    result = train(tmp_path, frames, model=None, command=("finetune", "so3lr"))
    assert result.exit_code == 0, result.output


def test_one_charge_of_all_that_the_model_ignores_is_said_once(tmp_path: Path) -> None:
    result = train(tmp_path, [water(seed, charge=2) for seed in range(8)])
    assert result.exit_code == 0, result.output
    assert result.output.count("charge 2 changes nothing") == 1


# --- structures -----------------------------------------------------------------------------------------------------


def overlapping(atoms: Atoms) -> None:
    atoms.positions[2] = atoms.positions[1]


def flat_cell(atoms: Atoms) -> None:
    atoms.cell, atoms.pbc = np.array([[5.0, 0, 0], [5.0, 0, 0], [0, 0, 5.0]]), True


def impossible_spin(atoms: Atoms) -> None:
    atoms.info["spin"] = 0.5


def not_finite(atoms: Atoms) -> None:
    atoms.positions[0, 0] = np.nan


def fractional_charge(atoms: Atoms) -> None:
    atoms.info["charge"] = 0.5


@pytest.mark.parametrize("command", [("train",), ("finetune", "so3lr")], ids=["train", "finetune"])
@pytest.mark.parametrize("spoil", [overlapping, flat_cell, impossible_spin, not_finite, fractional_charge])
def test_what_the_engine_refuses_is_refused_when_it_is_read(
    tmp_path: Path, spoil: Callable[[Atoms], None], command: tuple[str, ...]
) -> None:
    frames = [water(seed) for seed in range(6)]
    spoil(frames[3])
    model = None if command[0] == "finetune" else dict(TINY_MODEL) | {"charge_embedding": True, "spin_embedding": True}
    assert "molecules.xyz, structure 3: " in error(train(tmp_path, frames, command, model=model))
    assert not (tmp_path / "run").exists()


def test_an_element_that_a_model_lacks_is_named(tmp_path: Path) -> None:
    frames = [water(seed) for seed in range(6)]
    frames[2].symbols[0] = "Se"
    assert "does not have these elements of the data: Se" in error(
        train(tmp_path, frames, ("finetune", "so3lr"), model=None)
    )
