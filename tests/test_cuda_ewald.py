"""Electrostatics of all periodic images on the GPU: the numbers of the CPU."""

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

from so3md._engine import Engine, Model

OPTIONS: dict[str, Any] = {"lr_cutoff": 5.0, "lr_damping": 1.5, "coulomb": "ewald"}


@pytest.fixture
def model(toy_model: Callable[..., Path]) -> Model:
    return Model(str(toy_model(seed=1)))


@pytest.mark.parametrize("charge", [0.0, 1.0])
@pytest.mark.parametrize("copies", [(1, 1, 1), (2, 1, 3)])
def test_double_agrees_with_the_cpu(model: Model, device: str, copies: tuple[int, int, int], charge: float) -> None:
    structure = crystal(copies) | {"charge": charge}
    expected = Engine(model, precision="double", **OPTIONS).evaluate(**structure)
    found = Engine(model, precision="double", device=device, **OPTIONS).evaluate(**structure)
    assert_same(found, expected, scale=force_scale(expected))
    with_cutoff = Engine(model, precision="double", device=device, **OPTIONS | {"coulomb": "cutoff"})
    assert with_cutoff.evaluate(**structure)["energy"] != found["energy"]


def test_mixed_has_rounding_errors_only(model: Model, device: str) -> None:
    assert_rounding_errors_only(model, crystal((2, 2, 1)), device, OPTIONS)


@pytest.mark.parametrize("ranks", [2, 3])
def test_processes_agree_with_one(model: Model, device: str, ranks: int) -> None:
    assert_same_on_processes(ranks, model, crystal((2, 2, 1)), device, OPTIONS)


def test_graphs_follow_a_cell_that_changes(model: Model, device: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A recorded step reads the waves of the cell that there is now, also where there are more of them."""
    scales = (1.0 + 0.001 * max(0, step - 5) * (30.0 if step > 8 else 1.0) for step in range(12))
    structures = (in_another_cell(moved(crystal(), step), scale) for step, scale in enumerate(scales))
    assert_graphs_follow(model, structures, device, OPTIONS, monkeypatch)


def test_many_structures(model: Model, device: str) -> None:
    structures = [periodic(crystal(copies)) for copies in ((1, 1, 1), (2, 1, 1), (1, 1, 2))]
    assert_many_are_the_same(model, structures, device, OPTIONS)
