"""A term of the energy on the GPU beside the CPU: rounding, processes, recorded steps, many structures at once."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import pytest
import tolerances
from ase import Atoms
from parallel_threads import ThreadedEngines
from test_cuda import assert_same, force_scale
from test_cuda_steps import assert_same_bits

from so3md import evaluate_many
from so3md._engine import Engine, Model


def assert_rounding_errors_only(model: Model, structure: dict[str, Any], device: str, options: dict[str, Any]) -> None:
    """Of `mixed`."""
    bounds = tolerances.rounding(model, structure, **options)
    expected = Engine(model, precision="mixed", tabulate=False, **options).evaluate(**structure)
    found = Engine(model, precision="mixed", tabulate=False, device=device, **options).evaluate(**structure)
    tolerances.assert_within(bounds, found, expected)


def assert_same_on_processes(
    ranks: int, model: Model, structure: dict[str, Any], device: str, options: dict[str, Any]
) -> None:
    expected = Engine(model, precision="double", **options).evaluate(**structure)
    found = ThreadedEngines(ranks, model, precision="double", device=device, **options).evaluate(structure)
    assert_same(found, expected, tolerances.RANKS, force_scale(expected))


def assert_graphs_follow(
    model: Model,
    structures: Iterable[dict[str, Any]],
    device: str,
    options: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Steps that were recorded, with structures that come later."""
    engines = []
    for graphs in ("0", "1"):
        monkeypatch.setenv("SO3MD_CUDA_GRAPHS", graphs)
        engines.append(Engine(model, precision="double", device=device, **options))
    for structure in structures:
        results = [engine.evaluate(**structure) for engine in engines]
        assert_same_bits(*results)
        expected = Engine(model, precision="double", **options).evaluate(**structure)
        assert_same(results[1], expected, scale=force_scale(expected))


def in_another_cell(structure: dict[str, Any], scale: float) -> dict[str, Any]:
    return structure | {"positions": scale * structure["positions"], "cell": scale * structure["cell"]}


def periodic(structure: dict[str, Any]) -> Atoms:
    return Atoms(structure["numbers"], structure["positions"], cell=structure["cell"], pbc=True)


def assert_many_are_the_same(model: Model, structures: list[Atoms], device: str, options: dict[str, Any]) -> None:
    """Of other sizes, and of other elements, in one domain."""
    options = {"model": model.path, "precision": "double", "forces": True, **options}
    pairs = zip(evaluate_many(structures, device=device, **options), evaluate_many(structures, **options), strict=True)
    for found, expected in pairs:
        scale = max(1.0, float(np.abs(expected.forces).max()))
        np.testing.assert_allclose(found.forces, expected.forces, rtol=0, atol=tolerances.DEVICE.forces * scale)
        np.testing.assert_allclose(found.stress, expected.stress, rtol=0, atol=tolerances.DEVICE.stress * scale)
        assert found.energy == pytest.approx(expected.energy, rel=1e-11)
