"""Charges in an electric field on the GPU: the numbers of the CPU."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cuda_comparison import (
    assert_graphs_follow,
    assert_many_are_the_same,
    assert_rounding_errors_only,
    assert_same_on_processes,
    periodic,
)
from test_cuda import assert_same, crystal, force_scale
from test_cuda_steps import moved
from test_electric_field import FIELD, WITH_CHARGES

from so3md._engine import Engine, Model

pytestmark = [
    pytest.mark.filterwarnings("ignore::so3md.charge_and_spin.OddElectronsWarning"),
    pytest.mark.filterwarnings("ignore::so3md.electric_field.PeriodicFieldWarning"),
]

OPTIONS: dict[str, Any] = {"lr_cutoff": 5.0, "lr_damping": 1.5, "electric_field": FIELD}


@pytest.fixture
def model(toy_model: Callable[..., Path]) -> Model:
    return Model(str(toy_model(seed=1)))


def in_other_images(structure: dict[str, Any]) -> dict[str, Any]:
    """The same crystal, with atoms elsewhere along their paths."""
    images = np.arange(3 * len(structure["numbers"])).reshape(-1, 3) % 4 - 1
    return structure | {"positions": structure["positions"] + images @ structure["cell"]}


@pytest.mark.parametrize("variant", WITH_CHARGES)
@pytest.mark.parametrize("coulomb", ["cutoff", "ewald"])
def test_double_agrees_with_the_cpu(toy_model: Callable[..., Path], device: str, variant: str, coulomb: str) -> None:
    model = Model(str(toy_model(seed=1, **WITH_CHARGES[variant])))
    if coulomb == "ewald" and variant == "charges without electrostatics":
        coulomb = "cutoff"
    structure, options = in_other_images(crystal((2, 1, 1))), {"precision": "double", "coulomb": coulomb, **OPTIONS}
    expected = Engine(model, **options).evaluate(**structure)
    engine = Engine(model, device=device, **options)
    found = engine.evaluate(**structure)
    assert_same(found, expected, scale=force_scale(expected))
    assert engine.evaluate(**structure, forces=False)["energy"] == pytest.approx(found["energy"], rel=1e-12)
    without = Engine(model, device=device, **options | {"electric_field": (0, 0, 0)}).evaluate(**structure)
    assert abs(without["energy"] - found["energy"]) > 1e-3


def test_mixed_has_rounding_errors_only(model: Model, device: str) -> None:
    assert_rounding_errors_only(model, in_other_images(crystal((2, 2, 1))), device, OPTIONS)


@pytest.mark.parametrize("ranks", [2, 3])
def test_processes_agree_with_one(model: Model, device: str, ranks: int) -> None:
    assert_same_on_processes(ranks, model, in_other_images(crystal((2, 2, 1))), device, OPTIONS)


def test_graphs_follow_the_paths_of_atoms(model: Model, device: str, monkeypatch: pytest.MonkeyPatch) -> None:
    structures = (in_other_images(moved(crystal(), step)) for step in range(6))
    assert_graphs_follow(model, structures, device, OPTIONS, monkeypatch)


def test_many_structures(model: Model, device: str) -> None:
    structures = [periodic(in_other_images(crystal(copies))) for copies in ((1, 1, 1), (2, 1, 1), (1, 1, 2))]
    assert_many_are_the_same(model, structures, device, OPTIONS)
