"""Energy first and forces later, of the same structure: one evaluation in two parts, and no bit differs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ase import Atoms
from ase.build import molecule
from lammps_comparison import waters
from paper_models import random_gas, structure_of
from toy_models import VARIANTS, VARIANTS_2022, VARIANTS_2023, write_toy_model

from so3md import So3kratesCalculator
from so3md._engine import Engine, Model
from so3md.model_file import PAPER_2022

OF_SO3LR = {
    "electric_field": {"electric_field": (0.1, 0.0, -0.2)},
    "dispersion_tail": {"dispersion_tail": True},
    "ewald": {"coulomb": "ewald"},
}


def differing(found: dict[str, Any], expected: dict[str, Any]) -> list[str]:
    """Quantities of which a bit differs, and those that only one of both has."""
    common = found.keys() & expected.keys()
    other = [name for name in common if not np.array_equal(np.asarray(found[name]), np.asarray(expected[name]))]
    return sorted([*other, *(found.keys() ^ expected.keys())])


def check(model: Model, structure: dict[str, Any], **options: Any) -> Engine:
    """In two parts, and in one by an engine of the same history. Returns the engine of the first."""
    engine, other = (Engine(model, threads=2, **options) for _ in range(2))
    for one in (engine, other):
        one.evaluate(**structure)  # lists are built
    moved = structure | {"positions": structure["positions"] + 0.01 * np.sin(np.arange(3.0))}
    energy, whole = engine.evaluate(**moved, forces=False), other.evaluate(**moved)
    assert differing(energy, {name: whole[name] for name in energy}) == []
    assert differing(engine.evaluate(**moved), whole) == []
    # What was kept is used up: the same once more is a whole evaluation, and so is what follows.
    assert differing(engine.evaluate(**moved), whole) == []
    assert differing(engine.evaluate(**structure), other.evaluate(**structure)) == []
    return engine


@pytest.mark.parametrize("precision", ["mixed", "double"])
@pytest.mark.parametrize("variant", VARIANTS | VARIANTS_2023)
def test_every_option(toy_model: Callable[..., Path], variant: str, precision: str) -> None:
    model = Model(toy_model(seed=1, **(VARIANTS | VARIANTS_2023)[variant]))
    check(model, structure_of(molecule("CH3CH2OH"), charge=1.0, spin=0.5), precision=precision, lr_cutoff=7.0)


@pytest.mark.parametrize("variant", VARIANTS_2022)
def test_every_option_of_2022(variant: str, tmp_path: Path) -> None:
    path = write_toy_model(tmp_path / "toy.safetensors", 1, architecture=PAPER_2022, **VARIANTS_2022[variant])
    check(Model(path), structure_of(random_gas(60, 10.0)))


@pytest.mark.parametrize("options", [{}, *OF_SO3LR.values()], ids=["cutoff", *OF_SO3LR])
def test_liquid_water(so3lr_path: Path, options: dict[str, Any]) -> None:
    check(Model(str(so3lr_path)), structure_of(waters(4, 4, 4)), **options)


FORWARD = ("edges", "embedding", "attention")


def seconds_of_forward(engine: Engine) -> list[float]:
    """Of the stages that a forward pass alone has; no clock stands still in one that is run."""
    return [engine.info()["stage_seconds"][stage] for stage in FORWARD]


def test_forces_take_the_adjoint_alone(so3lr_path: Path) -> None:
    engine, structure = Engine(Model(str(so3lr_path))), structure_of(molecule("CH3CH2OH"))
    engine.evaluate(**structure, forces=False)
    forward, adjoint = seconds_of_forward(engine), engine.info()["stage_seconds"].get("attention adjoint", 0.0)
    engine.evaluate(**structure)
    assert seconds_of_forward(engine) == forward
    assert engine.info()["stage_seconds"]["attention adjoint"] > adjoint
    engine.evaluate(**structure)
    assert all(after > before for after, before in zip(seconds_of_forward(engine), forward, strict=True))


CHANGES: dict[str, dict[str, Any]] = {
    "positions": {"positions": molecule("CH3CH2OH").positions + np.eye(9, 3) * 1e-13},
    "numbers": {"numbers": molecule("CH3CH2OH").numbers[::-1].copy()},
    "fewer atoms": {"numbers": [8, 1], "positions": np.array([[0.0, 0.0, 0.0], [0.0, 0.0, 0.98]])},
    "cell": {"cell": 11.0 * np.eye(3)},
    "pbc": {"pbc": [True, True, False]},
    "charge": {"charge": 1.0},
    "spin": {"spin": 1.0},
}


@pytest.mark.parametrize("change", CHANGES)
def test_another_structure_is_evaluated(change: str, so3lr_path: Path) -> None:
    structure = structure_of(molecule("CH3CH2OH", cell=[12.0] * 3, pbc=True))
    engine, other = (Engine(Model(str(so3lr_path)), threads=1) for _ in range(2))
    engine.evaluate(**structure, forces=False)
    other.evaluate(**structure)
    forward = seconds_of_forward(engine)
    changed = structure | CHANGES[change]
    assert differing(engine.evaluate(**changed), other.evaluate(**changed)) == []
    assert all(after > before for after, before in zip(seconds_of_forward(engine), forward, strict=True))


def refused(engine: Engine, structure: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="total spin"):
        engine.evaluate(**structure | {"spin": -1.0})


def heat_flux(engine: Engine, structure: dict[str, Any]) -> None:
    arguments = {key: value for key, value in structure.items() if key not in ("charge", "spin")}
    engine.heat_flux(**arguments, velocities=np.zeros((9, 3)))


def intermediates(engine: Engine, structure: dict[str, Any]) -> None:
    engine.intermediates(**structure)


@pytest.mark.parametrize("between", [refused, heat_flux, intermediates])
def test_other_calls_in_between(between: Callable[[Engine, dict[str, Any]], None], so3lr_path: Path) -> None:
    structure = structure_of(molecule("CH3CH2OH"))
    engine = Engine(Model(str(so3lr_path)), threads=1)
    expected = engine.evaluate(**structure)
    engine.evaluate(**structure, forces=False)
    between(engine, structure)
    assert differing(engine.evaluate(**structure), expected) == []


def test_in_ase(so3lr_path: Path) -> None:
    """Getters in the order of most scripts; what is not asked for is not among the results."""
    atoms, other = (Atoms(molecule("CH3CH2OH")) for _ in range(2))
    atoms.calc, other.calc = So3kratesCalculator(threads=1), So3kratesCalculator(threads=1)
    engine = next(iter(atoms.calc._evaluators.values())).engine
    for step in range(3):
        for one in (atoms, other):
            one.positions[0, 0] += 0.01 * step
        energy = atoms.get_potential_energy()
        assert "forces" not in atoms.calc.results
        forward = seconds_of_forward(engine)
        forces = atoms.get_forces()
        assert seconds_of_forward(engine) == forward
        assert np.array_equal(forces, other.get_forces())
        assert energy == atoms.get_potential_energy() == other.get_potential_energy()
