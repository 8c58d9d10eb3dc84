"""Radial filters that change too fast for tables come from their networks in `mixed`, and that is said once."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from ase.build import molecule
from click.testing import CliRunner
from paper_models import structure_of, water
from test_cuda_errors import EMULATION, needs_emulation
from tolerances import assert_within, rounding

from so3md import So3kratesCalculator, evaluate_many
from so3md._engine import Engine, Model
from so3md.cli import main

#: Bases of hundreds of functions, and one of few with kinks, that splines of 512 intervals round off.
FAST = {
    "gaussian": {"radial_basis": {"type": "gaussian", "size": 300}},
    "bessel": {"radial_basis": {"type": "bessel", "size": 200}},
    "phys": {"radial_basis": {"type": "phys", "size": 400}},
    "relu": {"activation": "relu", "energy_head": {"hidden": 20, "activation": "relu"}},
}
#: Bases whose filters tables follow, however many functions they have.
SLOW = {
    "default": {},
    "bernstein": {"radial_basis": {"type": "bernstein", "size": 300, "gamma": 0.9448630629184640}},
}
OPTIONS = {"lr_cutoff": 6.0}
WARNING = "change too fast for tables"

ToyModel = Callable[..., Path]


@pytest.mark.parametrize("name", FAST)
def test_networks_are_used_and_mixed_is_double_but_for_rounding(toy_model: ToyModel, name: str) -> None:
    model, structure = Model(toy_model(seed=3, **FAST[name])), structure_of(water(3, 1.0))
    with pytest.warns(UserWarning, match=WARNING):
        engine = Engine(model, **OPTIONS)
    info = engine.info()
    assert not info["tabulated"]
    error = info["table_error"]
    assert error["value"] > 1e-6 * error["scale"] or error["derivative"] > 1e-4 * error["scale"]
    exact = Engine(model, precision="double", **OPTIONS).evaluate(**structure)
    bounds = rounding(model, structure, **OPTIONS)
    assert_within(bounds, engine.evaluate(**structure), exact)

    # And there was a reason: with tables, forces are wrong by more than any rounding.
    tables = Engine(model, tabulate=True, **OPTIONS)
    assert tables.info()["tabulated"]
    assert np.abs(tables.evaluate(**structure)["forces"] - exact["forces"]).max() > 10 * bounds["forces"]


@pytest.mark.parametrize("name", SLOW)
def test_tables_are_used_where_they_are_good_enough(toy_model: ToyModel, name: str) -> None:
    model, structure = Model(toy_model(seed=3, **SLOW[name])), structure_of(water(3, 1.0))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        engine = Engine(model, **OPTIONS)
    assert engine.info()["tabulated"]
    exact = Engine(model, precision="double", **OPTIONS).evaluate(**structure)
    assert_within(rounding(model, structure, **OPTIONS), engine.evaluate(**structure), exact)


@needs_emulation
@pytest.mark.parametrize("name", FAST)
def test_a_gpu_uses_the_networks_as_well(toy_model: ToyModel, name: str) -> None:
    model, structure = Model(toy_model(seed=3, **FAST[name])), structure_of(molecule("H2O"))
    options = {"lr_cutoff": 6.0, "device": EMULATION}
    with pytest.warns(UserWarning, match=WARNING):
        engine = Engine(model, **options)
    assert not engine.info()["tabulated"]
    exact = Engine(model, precision="double", lr_cutoff=6.0).evaluate(**structure)
    assert_within(rounding(model, structure, lr_cutoff=6.0), engine.evaluate(**structure), exact)
    tables = Engine(model, tabulate=True, **options)  # which give other numbers, so that the networks were used
    assert np.abs(tables.evaluate(**structure)["forces"] - engine.evaluate(**structure)["forces"]).max() > 1e-5


def test_what_was_asked_for_is_not_overruled(toy_model: ToyModel) -> None:
    path = toy_model(**FAST["gaussian"])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert not Engine(Model(path), tabulate=False).info()["tabulated"]
        assert Engine(Model(path), tabulate=True).info()["tabulated"]
        assert Engine(Model(path), precision="double").info()["table_error"] is None


@pytest.mark.filterwarnings("ignore::so3md.charge_and_spin.OddElectronsWarning")
def test_every_way_to_the_engine_says_it(toy_model: ToyModel) -> None:
    path, atoms = toy_model(**FAST["gaussian"]), molecule("CH4")
    with pytest.warns(UserWarning, match=WARNING):
        alone = So3kratesCalculator(path, lr_cutoff=None).get_forces(atoms)
    with pytest.warns(UserWarning, match=WARNING):
        (batch,) = evaluate_many([atoms], path, lr_cutoff=None)
    bounds = rounding(path, structure_of(atoms), lr_cutoff=None)
    np.testing.assert_allclose(batch.forces, alone, rtol=0, atol=bounds["forces"])
    result = CliRunner().invoke(main, ["info", str(path)])
    output = " ".join(result.output.split())
    assert result.exit_code == 0
    assert "not used, but the networks" in output
    assert output.count(WARNING) == 1  # commands print warnings
