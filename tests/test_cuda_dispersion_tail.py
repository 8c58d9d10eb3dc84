"""Dispersion beyond its cutoff on the GPU: the numbers of the CPU."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tolerances
from ase import Atoms
from parallel_threads import ThreadedEngines
from test_cuda import assert_same, crystal, force_scale
from test_cuda_steps import assert_same_bits, moved

from so3md import evaluate_many
from so3md._engine import Engine, Model

pytestmark = pytest.mark.filterwarnings("ignore::so3md.charge_and_spin.OddElectronsWarning")

OPTIONS: dict[str, Any] = {"lr_cutoff": 5.0, "lr_damping": 1.5, "dispersion_tail": True}


@pytest.fixture
def model(toy_model: Callable[..., Path]) -> Model:
    return Model(str(toy_model(seed=1)))


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
    structure = crystal((2, 2, 1))
    bounds = tolerances.rounding(model, structure, **OPTIONS)
    expected = Engine(model, precision="mixed", tabulate=False, **OPTIONS).evaluate(**structure)
    found = Engine(model, precision="mixed", tabulate=False, device=device, **OPTIONS).evaluate(**structure)
    tolerances.assert_within(bounds, found, expected)


@pytest.mark.parametrize("ranks", [2, 3])
def test_processes_agree_with_one(model: Model, device: str, ranks: int) -> None:
    structure = crystal((2, 2, 1))
    expected = Engine(model, precision="double", **OPTIONS).evaluate(**structure)
    found = ThreadedEngines(ranks, model, precision="double", device=device, **OPTIONS).evaluate(structure)
    assert_same(found, expected, tolerances.RANKS, force_scale(expected))


def test_graphs_follow_a_cell_that_changes(model: Model, device: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A recorded step reads the volume of the cell that there is now."""
    engines = []
    for graphs in ("0", "1"):
        monkeypatch.setenv("SO3MD_CUDA_GRAPHS", graphs)
        engines.append(Engine(model, precision="double", device=device, **OPTIONS))
    for step in range(8):
        scale = 1.0 + 0.001 * max(0, step - 4)
        structure = moved(crystal(), step)
        structure |= {"positions": scale * structure["positions"], "cell": scale * structure["cell"]}
        results = [engine.evaluate(**structure) for engine in engines]
        assert_same_bits(*results)
        expected = Engine(model, precision="double", **OPTIONS).evaluate(**structure)
        assert_same(results[1], expected, scale=force_scale(expected))


def test_many_structures(model: Model, device: str) -> None:
    """Of other sizes, and of other elements, in one domain."""
    structures = []
    for copies in ((1, 1, 1), (2, 1, 1), (1, 1, 2)):
        made = crystal(copies)
        structures.append(Atoms(made["numbers"], made["positions"], cell=made["cell"], pbc=True))
    structures[1] = structures[1][structures[1].numbers != 6]
    options = {"model": model.path, "precision": "double", "forces": True, **OPTIONS}
    pairs = zip(evaluate_many(structures, device=device, **options), evaluate_many(structures, **options), strict=True)
    for found, expected in pairs:
        scale = max(1.0, float(np.abs(expected.forces).max()))
        np.testing.assert_allclose(found.forces, expected.forces, rtol=0, atol=tolerances.DEVICE.forces * scale)
        np.testing.assert_allclose(found.stress, expected.stress, rtol=0, atol=tolerances.DEVICE.stress * scale)
        assert found.energy == pytest.approx(expected.energy, rel=1e-11)
