"""Reference values that cannot be right are told before a training, with what to do; those that are, pass."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ase import Atoms, units
from ase.io import read, write

pytest.importorskip("torch", reason="training needs PyTorch (extra 'torch')")

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks" / "paper"))

import cumulene_data
from click.testing import CliRunner
from scipy.spatial.transform import Rotation
from training_tools import TINY_MODEL, labelled, rattled, write_config

from so3md import So3kratesCalculator
from so3md.cli import main
from so3md.structures import read_structure
from so3md.training.config import DataConfig
from so3md.training.label_checks import check_labels, works
from so3md.training.schema import ConfigError
from so3md.training.splits import read_data

Change = Callable[[Atoms], None]


@cache
def _labelled_molecules(names: tuple[str, ...], seed: int) -> tuple[Atoms, ...]:
    rng = np.random.default_rng(seed)
    calculator = So3kratesCalculator("so3lr", threads=1)
    return tuple(labelled(rattled(name, rng), calculator) for name in names)


def molecules(*names: str, count: int = 12, seed: int = 0) -> list[Atoms]:
    """Rattled molecules with energies and forces of SO3LR as entries that can be changed."""
    found = []
    for number, atoms in enumerate(_labelled_molecules(tuple(names) * (count // len(names)), seed)):
        other = Atoms(atoms.numbers, atoms.positions)
        # SO3LR's own zero, -164 eV for every atom, would hide what is wrong; real data have one for each element.
        other.info["REF_energy"] = atoms.get_potential_energy() + 3.0 * float(atoms.numbers.sum())
        other.arrays["REF_forces"] = atoms.get_forces()
        other.info["number"] = number
        found.append(other)
    return found


def checked(directory: Path, frames: list[Atoms], **split: Any) -> list[str]:
    """The warnings of a data set. Raises what is refused."""
    write(directory / "data.xyz", frames, format="extxyz")
    split = {"train": len(frames) - 1, "validation": 1, "test": 0} | split
    config = DataConfig(files="data.xyz")
    for name, value in split.items():
        setattr(config.split, name, value)
    parts = read_data(config, directory, seed=0)
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always")
        check_labels(parts)
    return [str(item.message) for item in found]


def each(change: Change, frames: list[Atoms]) -> list[Atoms]:
    for atoms in frames:
        change(atoms)
    return frames


def turned(atoms: Atoms) -> None:
    """As molecules of a trajectory are, which turn and move."""
    turn = Rotation.random(random_state=atoms.info["number"]).as_matrix()
    atoms.positions = atoms.positions @ turn.T + 7.0
    atoms.arrays["REF_forces"] = atoms.arrays["REF_forces"] @ turn.T


def gradient(atoms: Atoms) -> None:
    atoms.arrays["REF_forces"] *= -1


def per_atom(atoms: Atoms) -> None:
    atoms.info["REF_energy"] /= len(atoms)


def energies_in_kcal(atoms: Atoms) -> None:
    atoms.info["REF_energy"] /= units.kcal / units.mol


def forces_in_atomic_units(atoms: Atoms) -> None:
    atoms.arrays["REF_forces"] /= units.Hartree / units.Bohr


def all_in_kcal(atoms: Atoms) -> None:
    energies_in_kcal(atoms)
    atoms.arrays["REF_forces"] /= units.kcal / units.mol


# --- energies and forces --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("names", [("CH3CH2OH",), ("H2O", "CH3OH", "CH4", "H2CO", "CH3CH2OH", "NH3")])
def test_right_labels_pass_in_silence(tmp_path: Path, names: tuple[str, ...]) -> None:
    assert checked(tmp_path, molecules(*names)) == []
    assert checked(tmp_path, each(turned, molecules(*names))) == []


def test_the_work_of_right_forces_is_the_change_of_the_energy(tmp_path: Path) -> None:
    write(tmp_path / "data.xyz", each(turned, molecules("CH3CH2OH", count=20)), format="extxyz")
    parts = read_data(DataConfig(files="data.xyz"), tmp_path, seed=0)
    (found,) = works(parts["train"])
    assert found.correlation > 0.95
    assert found.factor == pytest.approx(1, abs=0.2)


@pytest.mark.parametrize("length", cumulene_data.LENGTHS)
def test_the_sign_is_known_where_structures_are_far_apart(tmp_path: Path, length: int) -> None:
    """Chains that are turned by any angle, few of them: over all nearest pairs the correlation is 0.86 for C9H4."""
    frames = read(cumulene_data.training_file(length), "::3")
    assert checked(tmp_path, frames) == []
    for atoms in frames:
        atoms.calc.results["forces"] *= -1
    with pytest.raises(ConfigError, match=r"contradict.*sign is wrong.*check_labels"):
        checked(tmp_path, frames)


def test_labels_that_mean_nothing_are_not_mistaken(tmp_path: Path) -> None:
    rng = np.random.default_rng(5)
    frames = molecules("CH3CH2OH", count=20)
    for atoms in frames:
        atoms.info["REF_energy"], atoms.arrays["REF_forces"] = rng.normal(), rng.normal(size=(len(atoms), 3))
    assert checked(tmp_path, frames) == []


@pytest.mark.parametrize("change_of_place", [lambda atoms: None, turned])
@pytest.mark.parametrize(
    ("change", "text"),
    [
        (gradient, "The sign is wrong: forces are the negative gradient"),
        (per_atom, "1/9 is what energies per atom give"),
        (energies_in_kcal, "Energies in kcal/mol and forces in eV/A give that"),
        (forces_in_atomic_units, "Forces in Hartree/Bohr and energies in eV give that"),
    ],
)
def test_energies_and_forces_that_contradict_each_other(
    tmp_path: Path, change: Change, text: str, change_of_place: Change
) -> None:
    frames = each(change, each(change_of_place, molecules("CH3CH2OH", count=16)))
    with pytest.raises(ConfigError, match=text) as error:
        checked(tmp_path, frames)
    assert "data.check_labels" in str(error.value)


def test_the_sign_is_found_in_a_periodic_structure(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    water, calculator = read_structure("water"), So3kratesCalculator("so3lr", threads=1)
    frames = []
    for number in range(10):
        atoms = water.copy()
        atoms.positions += 0.02 * rng.standard_normal(atoms.positions.shape)
        found = labelled(atoms, calculator)
        atoms = Atoms(atoms.numbers, atoms.positions, cell=atoms.cell, pbc=True, info={"number": number})
        atoms.wrap()
        atoms.info["REF_energy"], atoms.arrays["REF_forces"] = found.get_potential_energy(), found.get_forces()
        frames.append(atoms)
    assert checked(tmp_path, frames) == []
    with pytest.raises(ConfigError, match="The sign is wrong"):
        checked(tmp_path, each(gradient, frames))


def test_energies_per_atom_of_different_molecules(tmp_path: Path) -> None:
    names = ("H2O", "CH3OH", "CH4", "H2CO", "CH3CH2OH", "C2H6", "C2H4", "HCOOH", "CO2", "C2H2")
    frames = molecules(*names, count=10)
    for atoms in frames:
        del atoms.arrays["REF_forces"]
    assert checked(tmp_path, frames) == []
    with pytest.raises(ConfigError, match=r"energies look like energies per atom: those of structures of 3 to 9 atoms"):
        checked(tmp_path, each(per_atom, frames))


def test_all_in_another_unit_is_doubted(tmp_path: Path) -> None:
    (text,) = checked(tmp_path, each(all_in_kcal, molecules("CH3CH2OH")))
    assert "far more than in structures at temperatures that matter: look at data.units" in text


# --- structures -----------------------------------------------------------------------------------------------------


def test_structures_without_forces_among_others_are_counted(tmp_path: Path) -> None:
    frames = molecules("CH3CH2OH")
    for atoms in frames[:3]:
        del atoms.arrays["REF_forces"]
    (text,) = checked(tmp_path, frames, train="0:11", validation="11:12")
    assert text.startswith("3 of 11 structures of the training set have no forces, data.xyz, structure 0 the first")


def test_structures_that_are_there_twice_are_named(tmp_path: Path) -> None:
    frames = molecules("CH3CH2OH")
    twice = [*frames, frames[2].copy()]
    (text,) = checked(tmp_path, twice, train=[*range(11), 12], validation=[11])
    assert text == "data.xyz, structure 2 and data.xyz, structure 12: the same structure twice, which counts twice"
    (text,) = checked(tmp_path, twice, train="0:12", validation=[12])
    assert "structure 12 (train and validation): the same structure in two parts of the data" in text
    twice[-1].info["REF_energy"] += 1.0
    (text,) = checked(tmp_path, twice, train=[*range(11), 12], validation=[11])
    assert "the same structure with other reference values" in text


def test_single_atoms_are_told(tmp_path: Path) -> None:
    lone = Atoms("O", info={"REF_energy": -40.0, "number": 0, "spin": 1})
    lone.arrays["REF_forces"] = np.zeros((1, 3))
    frames = [lone, *molecules("CH3CH2OH")]
    (text,) = checked(tmp_path, frames, train="0:12", validation=[12])
    assert text.startswith("single atoms in the training set (O; 1 structure): they say nothing of forces")
    lone.arrays["REF_forces"][0, 1] = 0.5
    with pytest.raises(ConfigError, match=r"structure 0: an atom alone has no force, found 0.5 eV/A"):
        checked(tmp_path, frames, train="0:12", validation=[12])


# --- the command ----------------------------------------------------------------------------------------------------


@pytest.fixture
def wrong(tmp_path: Path) -> Iterator[Path]:
    write(tmp_path / "molecules.xyz", each(gradient, molecules("CH3CH2OH", count=16)), format="extxyz")
    return tmp_path


def test_the_command_refuses_and_can_be_told_otherwise(wrong: Path) -> None:
    split = {"train": 12, "validation": 2, "test": None}
    sections: dict[str, Any] = {"model": dict(TINY_MODEL), "training": {"epochs": 1}}
    config = write_config(wrong / "config.yaml", data={"split": split}, **sections)
    result = CliRunner().invoke(main, ["train", str(config)])
    assert result.exit_code == 1
    assert "The sign is wrong" in result.output
    assert not (wrong / "run").exists()
    config = write_config(wrong / "config.yaml", data={"split": split, "check_labels": False}, **sections)
    result = CliRunner().invoke(main, ["train", str(config)])
    assert result.exit_code == 0, result.output


def test_one_structure_only_is_refused_with_what_is_needed(tmp_path: Path) -> None:
    write(tmp_path / "molecules.xyz", molecules("H2O", count=1), format="extxyz")
    config = write_config(tmp_path / "config.yaml", data={"split": {"train": None, "validation": None, "test": None}})
    result = CliRunner().invoke(main, ["train", str(config)], env={"COLUMNS": "300"})
    assert result.exit_code == 1
    assert "there are no structures to validate with (train: 1, validation: 0, test: 0)" in result.output
    assert "training needs one, and validation another" in result.output
