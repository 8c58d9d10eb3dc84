"""Charges and spins that a model knows nothing of are said to do nothing: once, wherever they are given."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path

import pytest
from ase import Atoms
from ase.build import molecule
from ase.io import write
from click.testing import CliRunner
from parallel_runs import run

from so3md import So3kratesCalculator, evaluate_many
from so3md.cli import main
from so3md.ignored_states import IgnoredStateWarning, ignored_quantities

ToyModel = Callable[..., Path]
NO_PHYSICS = {"electrostatics": None, "dispersion": None, "charge_head": None, "hirshfeld_head": None, "zbl": None}
BLIND = NO_PHYSICS | {"charge_embedding": False, "spin_embedding": False}


@pytest.fixture
def blind(tmp_path: Path) -> str:
    """The file of a model without embeddings."""
    from toy_models import write_toy_model

    return str(write_toy_model(tmp_path / "blind.safetensors", **BLIND))


def ion(**info: float) -> Atoms:
    atoms = molecule("CH3OH")
    atoms.info |= info
    return atoms


def messages(function: Callable[[], object]) -> list[str]:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        function()
    return [str(item.message) for item in caught if item.category is IgnoredStateWarning]


@pytest.mark.parametrize(
    ("hyper", "expected"),
    [
        (BLIND, ("charge", "spin")),
        (NO_PHYSICS | {"charge_embedding": True, "spin_embedding": False}, ("spin",)),
        ({"electrostatics": {"sigma": 4.0}, "charge_embedding": False, "spin_embedding": True}, ()),
        ({"charge_head": {"hidden": 4}, "electrostatics": None, "charge_embedding": False}, ("charge", "spin")),
    ],
)
def test_what_a_model_knows_is_told_by_its_hyperparameters(hyper: dict, expected: tuple[str, ...]) -> None:
    assert ignored_quantities(hyper) == expected


@pytest.mark.parametrize("architecture", ["so3krates", "so3krates-2022"])
def test_energies_depend_on_what_is_not_ignored_only(architecture: str, tmp_path: Path) -> None:
    from toy_models import write_toy_model

    for charge_embedding, spin_embedding in ((True, True), (True, False), (False, True), (False, False)):
        options = {"charge_embedding": charge_embedding, "spin_embedding": spin_embedding}
        physics = NO_PHYSICS if architecture == "so3krates" else {}
        path = write_toy_model(tmp_path / "model.safetensors", architecture=architecture, **physics, **options)
        states = {"neither": ion(), "charge": ion(charge=2), "spin": ion(spin=1)}
        found = evaluate_many(states.values(), path, precision="double", lr_cutoff=None, threads=1)
        energies = dict(zip(states, (item.energy for item in found), strict=True))
        told = " ".join(messages(lambda: list(evaluate_many(states.values(), path, lr_cutoff=None, threads=1))))  # noqa: B023
        for name, embedding in (("charge", charge_embedding), ("spin", spin_embedding)):
            assert (energies[name] != energies["neither"]) == embedding
            assert (f"has no {name} embedding" in told) == (not embedding)


def test_the_calculator_says_it_once(blind: str) -> None:
    def use() -> None:
        calculator = So3kratesCalculator(blind, lr_cutoff=None, threads=1, charge=2, spin=1)
        for seed in range(3):
            atoms = ion()
            atoms.rattle(0.01, seed=seed)
            atoms.calc = calculator
            atoms.get_forces()

    found = messages(use)
    assert len(found) == 2
    assert found[0].startswith("charge 2 changes nothing: this model has no charge embedding")
    assert found[1].startswith("spin 1 changes nothing: this model has no spin embedding")


def test_structures_and_parameters_count_alike(blind: str) -> None:
    many = [ion(charge=2), ion(charge=2), ion(charge=0)]
    assert len(messages(lambda: list(evaluate_many(many, blind, lr_cutoff=None, threads=1)))) == 1
    assert len(messages(lambda: list(evaluate_many([ion()] * 3, blind, charge=-2, lr_cutoff=None, threads=1)))) == 1
    assert not messages(lambda: list(evaluate_many([ion()] * 3, blind, lr_cutoff=None, threads=1)))
    calculator = So3kratesCalculator(blind, lr_cutoff=None, threads=1)
    assert len(messages(lambda: calculator.get_potential_energy(ion(charge=2)))) == 1


def test_a_model_with_embeddings_says_nothing() -> None:
    calculator = So3kratesCalculator(lr_cutoff=None, threads=1, charge=2, spin=1)
    assert not messages(lambda: calculator.get_potential_energy(ion()))


@pytest.mark.parametrize("ranks", [1, 2])
def test_commands_say_it_in_one_line(blind: str, ranks: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write("set.xyz", [ion(REF_energy=1.0), ion(REF_energy=1.0, charge=2)])
    arguments = ["eval", "set.xyz", "--model", blind, "--lr-cutoff", "none", "--threads", "1"]
    if ranks > 1:
        pytest.importorskip("mpi4py")
        output = run(ranks, "-m", "so3md", *arguments, cwd=tmp_path)
    else:
        output = CliRunner().invoke(main, arguments).output
    assert output.count("Warning: charge 2 changes nothing") == 1
