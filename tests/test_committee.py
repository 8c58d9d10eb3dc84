"""Several models in one calculator: means, deviations, and what is refused."""

from __future__ import annotations

import copy
import csv
import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import yaml
from ase import Atoms
from ase.build import molecule
from ase.calculators.calculator import PropertyNotImplementedError
from ase.io import write
from click.testing import CliRunner
from derivatives import assert_forces_are_derivatives
from tolerances import EXACT
from toy_models import ETHANOL_LIKE

from so3md import So3kratesCalculator, evaluate_many
from so3md.cli import main

Toys = Callable[..., Path]
MEANS = ("energy", "energies", "forces", "charges", "hirshfeld_ratios", "dipole")


def ethanol() -> Atoms:
    return Atoms("CCOH6", ETHANOL_LIKE)


def box() -> Atoms:
    return Atoms("CCOH6", ETHANOL_LIKE, cell=[9.0, 8.5, 8.0], pbc=True)


@pytest.fixture
def members(toy_model: Toys) -> list[str]:
    return [str(toy_model(seed=seed)) for seed in range(3)]


def results(model: str | list[str], atoms: Atoms, **options: object) -> dict[str, np.ndarray]:
    atoms = atoms.copy()
    atoms.calc = So3kratesCalculator(model, precision="double", threads=1, **options)
    atoms.get_forces()
    if atoms.pbc.any():
        atoms.get_stress()
    return atoms.calc.results


@pytest.mark.parametrize("make", [ethanol, box])
def test_results_are_the_means_of_the_members(members: list[str], make: Callable[[], Atoms]) -> None:
    options = {"lr_cutoff": 6.0}
    alone = [results(member, make(), **options) for member in members]
    together = results(members, make(), **options)
    names = [name for name in (*MEANS, "stress") if name in alone[0]]
    assert ("stress" in names) == bool(make().pbc.any())
    for name in names:
        expected = np.mean([found[name] for found in alone], axis=0)
        np.testing.assert_allclose(together[name], expected, rtol=0, atol=EXACT.component, err_msg=name)


def test_the_uncertainty_is_the_deviation_of_the_forces(members: list[str]) -> None:
    together = results(members, ethanol())
    forces = np.array([results(member, ethanol())["forces"] for member in members])
    squares = [sum(np.sum((f[i] - forces[:, i].mean(axis=0)) ** 2) for f in forces) / 3 for i in range(9)]
    np.testing.assert_allclose(together["forces_uncertainty"], np.sqrt(squares), rtol=0, atol=EXACT.component)
    assert together["uncertainty"] == together["forces_uncertainty"].max() > 0.01


def test_forces_are_the_derivative_of_the_mean_energy(members: list[str]) -> None:
    atoms = ethanol()
    atoms.calc = So3kratesCalculator(members, precision="double", threads=1)
    assert_forces_are_derivatives(atoms, [1])


def test_an_uncertainty_that_is_asked_for_first_is_there(members: list[str]) -> None:
    calculator = So3kratesCalculator(members, threads=1)
    atoms = ethanol()
    atoms.calc = calculator
    atoms.get_potential_energy()
    assert "uncertainty" not in calculator.results  # forces were not needed
    asked = calculator.get_property("uncertainty", atoms)
    assert asked == calculator.get_property("forces_uncertainty", atoms).max()


def test_one_toy_model_has_no_uncertainty(members: list[str]) -> None:
    calculator = So3kratesCalculator(members[0], threads=1)
    with pytest.raises(PropertyNotImplementedError):
        calculator.get_property("uncertainty", ethanol())


def test_many_structures_give_what_single_ones_do(members: list[str]) -> None:
    structures = [ethanol(), box(), molecule("H2O")]
    for atoms, found in zip(structures, evaluate_many(structures, members, precision="double"), strict=True):
        expected = results(members, atoms)
        assert found is not None
        for name in ("energy", "forces", "forces_uncertainty", "uncertainty"):
            np.testing.assert_allclose(getattr(found, name), expected[name], rtol=0, atol=EXACT.component, err_msg=name)


def test_a_structure_that_cannot_be_evaluated_is_refused_by_a_committee_too(members: list[str]) -> None:
    bad = molecule("H2O")
    bad.positions[2] = bad.positions[1]
    errors: list[int] = []
    found = list(evaluate_many([ethanol(), bad], members, on_error=lambda index, _: errors.append(index)))
    assert errors == [1]
    assert found[1] is None
    assert found[0] is not None


def test_the_heat_flux_is_the_mean(members: list[str]) -> None:
    atoms = ethanol()
    atoms.set_velocities(np.linspace(-0.02, 0.03, 27).reshape(9, 3))
    alone = [So3kratesCalculator(member, precision="double").get_heat_flux(atoms) for member in members]
    together = So3kratesCalculator(members, precision="double").get_heat_flux(atoms)
    np.testing.assert_allclose(together, np.mean(alone, axis=0), rtol=0, atol=EXACT.component)


def test_copies_and_parameters_keep_the_members(members: list[str]) -> None:
    calculator = So3kratesCalculator(members, threads=1)
    expected = calculator.get_property("uncertainty", ethanol())
    assert calculator.todict()["model"] == members
    for other in (copy.deepcopy(calculator), pickle.loads(pickle.dumps(calculator))):
        assert other.get_property("uncertainty", ethanol()) == expected
    identity = calculator.identity(ethanol())
    assert identity["model_checksum"] != So3kratesCalculator(members[:2]).identity(ethanol())["model_checksum"]
    assert So3kratesCalculator(members[:1]).parameters["model"] == members[0]


# --- what is refused ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"elements": (1, 6, 7, 8)}, r"elements \[1, 6, 8\] of .* and \[1, 6, 7, 8\] of"),
        ({"dispersion": None}, "heads and long-range terms"),
    ],
)
def test_members_that_predict_other_things_are_refused(toy_model: Toys, options: dict, text: str) -> None:
    with pytest.raises(ValueError, match=f"model: expected members that predict the same, found {text}"):
        So3kratesCalculator([str(toy_model(seed=0)), str(toy_model(seed=1, **options))])


def test_the_same_file_twice_is_refused(members: list[str]) -> None:
    with pytest.raises(ValueError, match=r"expected different files, .* as models 1 and 3"):
        So3kratesCalculator([members[0], members[1], members[0]])


@pytest.mark.parametrize("models", [[], [1], {"a": 1}, None])
def test_what_is_no_list_of_models_is_refused(models: object) -> None:
    with pytest.raises(ValueError, match="model: expected a name"):
        So3kratesCalculator(models)  # type: ignore[arg-type] # that is the test


# --- commands -------------------------------------------------------------------------------------------------------


def test_md_takes_several_models_and_can_be_repeated_and_resumed(tmp_path: Path, members: list[str]) -> None:
    write(tmp_path / "ethanol.xyz", ethanol())
    models = [text for member in members[:2] for text in ("--model", member)]
    run = ["md", str(tmp_path / "ethanol.xyz"), *models, "--steps", "3", "--seed", "1", "--no-plot", "--threads", "1"]
    result = CliRunner().invoke(main, [*run, "-o", str(tmp_path / "run")])
    assert result.exit_code == 0, result.output
    assert yaml.safe_load((tmp_path / "run/config.yaml").read_text())["model"] == members[:2]
    again = ["md", "--config", str(tmp_path / "run/config.yaml"), "-o", str(tmp_path / "again"), "--no-plot"]
    result = CliRunner().invoke(main, again)
    assert result.exit_code == 0, result.output
    assert (tmp_path / "again/log.csv").read_text() == (tmp_path / "run/log.csv").read_text()
    result = CliRunner().invoke(main, ["md", "--resume", str(tmp_path / "run"), "--steps", "2", "--no-plot"])
    assert result.exit_code == 0, result.output
    other = [text for member in members[1:] for text in ("--model", member)]
    result = CliRunner().invoke(main, ["md", "--resume", str(tmp_path / "run"), "--steps", "2", *other])
    assert result.exit_code != 0
    assert "model_checksum" in result.output


def test_eval_writes_the_uncertainty_of_each_structure(tmp_path: Path, members: list[str]) -> None:
    frames = [ethanol(), molecule("H2O")]
    for atoms in frames:
        atoms.info["REF_energy"], atoms.arrays["REF_forces"] = 0.0, np.zeros((len(atoms), 3))
    write(tmp_path / "data.xyz", frames, format="extxyz")
    models = [text for member in members for text in ("--model", member)]
    result = CliRunner().invoke(main, ["eval", str(tmp_path / "data.xyz"), *models, "-o", str(tmp_path / "out")])
    assert result.exit_code == 0, result.output
    with (tmp_path / "out/errors.csv").open() as file:
        rows = list(csv.DictReader(file))
    for atoms, row in zip(frames, rows, strict=True):
        found = next(iter(evaluate_many([atoms], members)))
        assert found is not None
        assert float(row["uncertainty_eV_per_A"]) == pytest.approx(found.uncertainty, rel=1e-9)


# --- commands -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("command", ["bench", "select frames.xyz", "analyse frames.xyz"])
def test_commands_that_take_one_model_refuse_several(
    command: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write("frames.xyz", molecule("H2O"))
    result = CliRunner().invoke(
        main, [*command.split(), "--model", "so3lr", "--model", "so3lr-fast"], env={"COLUMNS": "300"}
    )
    assert result.exit_code == 2
    assert "--model: expected one, found 2; committees are for so3md md, relax, eval and lammps" in result.output
    assert sorted(path.name for path in tmp_path.iterdir()) == ["frames.xyz"]


def test_a_committee_has_no_general_student() -> None:
    arguments = ["md", "--mts", "--model", "so3lr", "--model", "so3lr-fast"]
    result = CliRunner().invoke(main, arguments, env={"COLUMNS": "300"})
    assert result.exit_code == 2
    assert "--mts of several models needs --student FILE" in result.output
