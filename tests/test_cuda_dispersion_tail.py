"""Dispersion beyond its cutoff on the GPU: the numbers of the CPU."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cuda_comparison import (
    assert_graphs_follow,
    assert_many_are_the_same,
    assert_rounding_errors_only,
    assert_same_on_processes,
    in_another_cell,
    periodic,
)
from test_cuda import assert_same, crystal, force_scale
from test_cuda_steps import moved
from toy_models import VARIANTS, VARIANTS_SO3LR2

from so3md._engine import Engine, Model

pytestmark = pytest.mark.filterwarnings("ignore::so3md.charge_and_spin.OddElectronsWarning")

OPTIONS: dict[str, Any] = {"lr_cutoff": 5.0, "lr_damping": 1.5, "dispersion_tail": True}


@pytest.fixture(params=["default", "all_of_so3lr2"])
def model(request: pytest.FixtureRequest, toy_model: Callable[..., Path]) -> Model:
    return Model(str(toy_model(seed=1, **(VARIANTS | VARIANTS_SO3LR2)[request.param])))


@pytest.mark.parametrize("coulomb", ["cutoff", "ewald"])
@pytest.mark.parametrize("copies", [(1, 1, 1), (2, 1, 3)])
def test_double_agrees_with_the_cpu(model: Model, device: str, copies: tuple[int, int, int], coulomb: str) -> None:
    structure, options = crystal(copies), {"precision": "double", "coulomb": coulomb, **OPTIONS}
    expected = Engine(model, **options).evaluate(**structure)
    engine = Engine(model, device=device, **options)
    found = engine.evaluate(**structure)
    assert_same(found, expected, scale=force_scale(expected))
    assert engine.evaluate(**structure, forces=False)["energy"] == pytest.approx(found["energy"], rel=1e-12)
    without = Engine(model, device=device, **options | {"dispersion_tail": False}).evaluate(**structure)
    assert without["energy"] > found["energy"]


def test_mixed_has_rounding_errors_only(model: Model, device: str) -> None:
    assert_rounding_errors_only(model, crystal((2, 2, 1)), device, OPTIONS)


@pytest.mark.parametrize("ranks", [2, 3])
def test_processes_agree_with_one(model: Model, device: str, ranks: int) -> None:
    assert_same_on_processes(ranks, model, crystal((2, 2, 1)), device, OPTIONS)


def test_graphs_follow_a_cell_that_changes(model: Model, device: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A recorded step reads the volume of the cell that there is now."""
    scales = (1.0 + 0.001 * max(0, step - 4) for step in range(8))
    structures = (in_another_cell(moved(crystal(), step), scale) for step, scale in enumerate(scales))
    assert_graphs_follow(model, structures, device, OPTIONS, monkeypatch)


def test_many_structures(model: Model, device: str) -> None:
    structures = [periodic(crystal(copies)) for copies in ((1, 1, 1), (2, 1, 1), (1, 1, 2))]
    structures[1] = structures[1][structures[1].numbers != 6]
    assert_many_are_the_same(model, structures, device, OPTIONS)
