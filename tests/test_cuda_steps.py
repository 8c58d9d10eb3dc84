"""What a step costs the host of a GPU: it waits once, and gives small systems to the device as a recorded graph."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tolerances
from test_cuda import assert_same, crystal, force_scale

from so3md import _engine
from so3md._engine import Engine, Model

EMULATION = "cuda-emulation"
OPTIONS: dict[str, Any] = {"precision": "mixed", "lr_cutoff": 5.0, "lr_damping": 1.5}
RESULTS = ("energy", "forces", "virial", "energies", "charges", "hirshfeld_ratios")


@pytest.fixture
def model(toy_model: Callable[..., Path]) -> Model:
    return Model(str(toy_model(seed=1)))


@pytest.fixture(scope="module")
def waits(device: str) -> Callable[[], int]:
    """How often this thread has waited for the emulated device: also in copies to memory that is not pinned."""
    if device != EMULATION:
        pytest.skip("only the emulation counts what its runtime library is asked for")
    count = ctypes.CDLL(str(Path(_engine.__file__).parent / "so3md_cuda_emulation.so")).so3md_emulation_waits
    count.restype = ctypes.c_longlong
    return count


def moved(structure: dict[str, Any], seed: int, size: float = 0.01) -> dict[str, Any]:
    step = np.random.default_rng(seed).normal(0, size, structure["positions"].shape)
    return structure | {"positions": structure["positions"] + step}


def assert_same_bits(one: dict[str, Any], other: dict[str, Any]) -> None:
    for key in RESULTS:
        np.testing.assert_array_equal(one[key], other[key], err_msg=key)


@pytest.mark.parametrize("graphs", ["0", "1"])
def test_the_host_waits_once_in_a_step(
    model: Model, device: str, waits: Callable[[], int], graphs: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SO3MD_CUDA_GRAPHS", graphs)
    engine = Engine(model, device=device, **OPTIONS)
    engine.evaluate(**crystal())
    for step in range(4):
        before = waits()
        engine.evaluate(**moved(crystal(), step))
        assert waits() - before == 1
        assert engine.info()["device_work"]["waits"] == 1
    assert engine.info()["neighbour_rebuilds"] == 1


def test_a_graph_repeats_the_work_of_a_step(model: Model, device: str, monkeypatch: pytest.MonkeyPatch) -> None:
    engines = []
    for graphs in ("0", "1"):
        monkeypatch.setenv("SO3MD_CUDA_GRAPHS", graphs)
        engines.append(Engine(model, device=device, **OPTIONS))
        work = []
        for step in range(4):
            engines[-1].evaluate(**moved(crystal(), step))
            work.append(engines[-1].info()["device_work"])
        # The first step finds the sizes of arrays, the second is recorded, and runs as a graph like all others.
        assert [step["replay"] for step in work] == [graphs == "1" and step > 0 for step in range(4)]
        assert len({(step["kernels"], step["copies"]) for step in work[1:]}) == 1
    kernels = [engine.info()["device_work"]["kernels"] for engine in engines]
    assert kernels[0] == kernels[1] > 10


def test_graphs_give_the_same_bits_whatever_changes(model: Model, device: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """New lists, another cell, charge, number of atoms, other elements, other evaluations in between, and errors."""

    def evaluate(engine: Engine, step: int) -> dict[str, Any]:
        structure = moved(crystal(), step)
        if step in (3, 4, 5):
            shift = np.repeat([[0.6, 0, 0], [0, 0, 0]], 3, axis=0)
            structure = structure | {"positions": structure["positions"] + shift}
        if step in (7, 8, 9):
            stretch = np.diag([1.001, 1.0, 0.999 + 0.0001 * step])
            structure |= {"positions": structure["positions"] @ stretch, "cell": structure["cell"] @ stretch}
        if step in (11, 12, 13):
            structure |= {"charge": 1.0}
        if step in (14, 15):
            structure = moved(crystal((2, 1, 1)), step)
        if step == 17:
            engine.intermediates(**moved(crystal((1, 2, 1)), 2) | {"charge": -1.0})
        if step == 19:
            broken = structure["positions"].copy()
            broken[2] = broken[1]
            with pytest.raises(ValueError, match="are at the same place"):
                engine.evaluate(**structure | {"positions": broken})
        if step in (22, 23):
            structure |= {"numbers": np.where(np.arange(6) == 4, 8, structure["numbers"])}
        return engine.evaluate(**structure)

    results, replays = {}, {}
    for graphs in ("0", "1"):
        monkeypatch.setenv("SO3MD_CUDA_GRAPHS", graphs)
        engine = Engine(model, device=device, **OPTIONS)
        results[graphs], replays[graphs] = [], []
        for step in range(25):
            results[graphs].append(evaluate(engine, step))
            replays[graphs].append(engine.info()["device_work"]["replay"])
    for one, other in zip(results["0"], results["1"], strict=True):
        assert_same_bits(one, other)
    assert not any(replays["0"])
    # Also while the cell changes; not in the steps after something else did.
    assert [step for step, replay in enumerate(replays["1"]) if not replay] == [0, 3, 6, 11, 14, 16, 17, 19, 22, 24]
    exact, structure = OPTIONS | {"precision": "double"}, moved(crystal(), 21)
    expected, bounds = Engine(model, **exact).evaluate(**structure), tolerances.rounding(model, structure, **exact)
    tolerances.assert_within(bounds, results["1"][21], expected)


def test_energies_alone_in_a_graph(model: Model, device: str) -> None:
    engine = Engine(model, device=device, **OPTIONS | {"precision": "double"})
    with_forces = [engine.evaluate(**crystal()) for _ in range(3)][-1]
    alone = [engine.evaluate(**crystal(), forces=False) for _ in range(3)][-1]
    assert engine.info()["device_work"]["replay"]
    assert alone["energy"] == with_forces["energy"]
    assert_same(engine.evaluate(**crystal()), with_forces, scale=force_scale(with_forces))


@pytest.mark.parametrize(
    ("environment", "replay"),
    [({}, True), ({"SO3MD_CUDA_GRAPHS": "0"}, False), ({"SO3MD_CUDA_STAGES": "1"}, False)],
    ids=["default", "no graphs", "stages"],
)
def test_switches(
    model: Model, device: str, environment: dict[str, str], replay: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("SO3MD_CUDA_GRAPHS", "SO3MD_CUDA_STAGES"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    engine = Engine(model, device=device, **OPTIONS)
    for _ in range(2):
        engine.evaluate(**crystal())
    assert engine.info()["device_work"]["replay"] == replay
    assert ("edges" in engine.info()["stage_seconds"]) == ("SO3MD_CUDA_STAGES" in environment)


@pytest.mark.parametrize("name", ["SO3MD_CUDA_GRAPHS", "SO3MD_CUDA_STAGES"])
def test_a_switch_that_is_neither_0_nor_1_is_refused(
    model: Model, device: str, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, "yes")
    with pytest.raises(ValueError, match=rf"{name} is 'yes': expected 1 \(on\) or 0 \(off\)"):
        Engine(model, device=device, **OPTIONS).evaluate(**crystal())
