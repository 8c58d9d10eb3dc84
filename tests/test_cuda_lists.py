"""Neighbour lists that are built on the device: the same pairs as the host's lists, on one process and on several."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tolerances
from parallel_threads import ThreadedEngines, ThreadTransport
from test_cuda import assert_same, crystal, force_scale

from so3md._engine import Engine, Model

#: Double precision everywhere: pairs that one list lacks show in every number.
OPTIONS: dict[str, Any] = {"precision": "double", "lr_cutoff": 6.0, "lr_damping": 1.5}

#: Sizes of the parts and of their halos.
COUNTS = ("n_owned", "n_interior", "n_near", "n_far", "near_rows_sent", "all_rows_sent")


def slab() -> dict[str, Any]:
    """Periodic in two directions, with atoms far outside of the cell in all three."""
    structure = crystal((2, 2, 1)) | {"pbc": np.array([True, False, True])}
    jumps = np.random.default_rng(5).integers(-3, 4, (len(structure["numbers"]), 3)) * structure["pbc"]
    return structure | {"positions": structure["positions"] + jumps @ structure["cell"]}


def cluster() -> dict[str, Any]:
    """A molecule of two crystals' atoms in no cell, far from the origin."""
    structure = crystal((3, 1, 1)) | {"pbc": np.zeros(3, bool)}
    return structure | {"positions": structure["positions"] + [300.0, -200.0, 50.0]}


def few() -> dict[str, Any]:
    """Fewer atoms than ranks."""
    structure = crystal()
    return structure | {"numbers": structure["numbers"][:2], "positions": structure["positions"][:2]}


STRUCTURES: dict[str, Callable[[], dict[str, Any]]] = {
    "thinner than the cutoffs": lambda: crystal((2, 2, 1)),
    "slab": slab,
    "cluster": cluster,
    "fewer atoms than ranks": few,
}


@pytest.fixture
def model(toy_model: Callable[..., Path]) -> Model:
    return Model(str(toy_model(seed=1)))


def assert_same_forces(found: dict, expected: dict) -> None:
    scale = force_scale(expected)
    np.testing.assert_allclose(found["forces"], expected["forces"], rtol=0, atol=tolerances.DEVICE.forces * scale)
    assert_same(found, expected, scale=scale)


@pytest.mark.parametrize("ranks", [1, 2, 3])
@pytest.mark.parametrize("name", STRUCTURES)
def test_ranks_agree_with_the_cpu(model: Model, device: str, name: str, ranks: int) -> None:
    """Also the sizes of all parts and of what they exchange: a pair too many would not show in the forces."""
    structure = STRUCTURES[name]()
    expected = Engine(model, **OPTIONS).evaluate(**structure)
    engines = ThreadedEngines(ranks, model, device=device, **OPTIONS)
    assert_same_forces(engines.evaluate(structure), expected)
    assert engines.job.messages_left() == 0
    on_cpu = ThreadedEngines(ranks, model, **OPTIONS)
    on_cpu.evaluate(structure)
    for one, other in zip(engines.engines, on_cpu.engines, strict=True):
        assert [one.info()["halo"][key] for key in COUNTS] == [other.info()["halo"][key] for key in COUNTS]


@pytest.mark.parametrize("ranks", [1, 3])
def test_without_a_cutoff(model: Model, device: str, ranks: int) -> None:
    options = OPTIONS | {"lr_cutoff": None}
    expected = Engine(model, **options).evaluate(**cluster())
    assert_same_forces(ThreadedEngines(ranks, model, device=device, **options).evaluate(cluster()), expected)


@pytest.mark.parametrize("ranks", [1, 2])
def test_lists_are_built_when_those_of_the_cpu_are(model: Model, device: str, ranks: int) -> None:
    """Atoms that move on their own, all together, across the boundary, and with the cell; and other atoms."""
    rng = np.random.default_rng(3)
    engines = ThreadedEngines(ranks, model, device=device, skin=0.4, **OPTIONS)
    on_cpu = ThreadedEngines(ranks, model, skin=0.4, **OPTIONS)
    structure = crystal((2, 1, 1))
    rebuilds = set()
    for step in range(9):
        structure["positions"] = structure["positions"] + rng.normal(0, 0.05, structure["positions"].shape)
        if step == 2:
            structure["positions"] = structure["positions"] + [0.9, -0.7, 0.8]  # together: the lists stay
        if step == 4:
            stretch = np.diag([1.01, 0.995, 1.0])
            structure |= {"positions": structure["positions"] @ stretch, "cell": structure["cell"] @ stretch}
        if step == 6:
            structure["positions"][3] += structure["cell"][1]  # into the next cell
        if step == 7:
            structure |= {"numbers": structure["numbers"][:-1], "positions": structure["positions"][:-1]}
        expected = on_cpu.evaluate(structure)
        assert_same_forces(engines.evaluate(structure), expected)
        found = [engine.info()["neighbour_rebuilds"] for engine in (*engines.engines, *on_cpu.engines)]
        assert len(set(found)) == 1, step
        rebuilds.add(found[0])
    assert 2 < len(rebuilds) < 9


def test_same_bits_in_any_order_of_threads(model: Model, device: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if device != "cuda-emulation":
        pytest.skip("only the emulation can choose the order of threads")
    results = []
    for order in ("forward", "reverse"):
        monkeypatch.setenv("SO3MD_EMULATION_ORDER", order)
        results.append(ThreadedEngines(3, model, device=device, **OPTIONS).evaluate(crystal((2, 1, 1))))
    np.testing.assert_array_equal(results[0]["forces"], results[1]["forces"])
    assert results[0]["energy"] == results[1]["energy"]


def test_a_failure_of_one_rank_stops_all_and_they_go_on(model: Model, device: str) -> None:
    """Lists that cannot be built are an error on every rank, and no rank keeps lists that the others have not."""
    engines = ThreadedEngines(2, model, device=device, **OPTIONS)
    structure = crystal((2, 1, 1))
    expected = engines.evaluate(structure)
    broken = structure | {"positions": structure["positions"].copy()}
    broken["positions"][5, 1] = np.nan
    errors = engines.parts(broken)
    assert all(isinstance(error, ValueError) and "atom 5" in str(error) for error in errors)
    found = engines.evaluate(structure)
    assert found["energy"] == expected["energy"]
    assert engines.job.messages_left() == 0


def test_lists_of_the_host_in_between(model: Model, device: str) -> None:
    """Features come from lists of the host, whose exchange must not be taken for that of the lists of the device."""
    engines = ThreadedEngines(2, model, device=device, **OPTIONS)
    structure = crystal((4, 2, 1))
    mixed = np.random.default_rng(4).permutation(len(structure["numbers"]))  # so that the host sorts them otherwise
    structure |= {"numbers": structure["numbers"][mixed], "positions": structure["positions"][mixed]}
    expected = engines.evaluate(structure)
    for _ in range(2):
        parts = engines.on_each(lambda engine: engine.intermediates(**structure))
        assert sum(len(part["atoms"]) for part in parts) == len(structure["numbers"])
        found = engines.evaluate(structure)
        assert found["energy"] == expected["energy"]
        np.testing.assert_array_equal(found["forces"], expected["forces"])


def test_a_cell_in_the_wrong_unit_is_refused(model: Model, device: str) -> None:
    structure = crystal()
    with pytest.raises(ValueError, match=r"the periodic cell is too thin for the cutoff.*shorten lr_cutoff"):
        Engine(model, device=device, **OPTIONS).evaluate(**structure | {"cell": structure["cell"] * 0.005})


def test_lists_that_no_gpu_holds_are_refused_before_pairs_are_counted(
    model: Model, device: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SO3MD_EMULATION_MEMORY", str(141 * 10**9))  # without which that of the emulation has no end
    engine = Engine(model, device=device, lr_cutoff=1000.0)
    positions = np.random.default_rng(0).uniform(0, 50.0, (12_000, 3))
    structure = {
        "numbers": np.full(12_000, crystal()["numbers"][0]),
        "positions": positions,
        "cell": 50.0 * np.eye(3),
        "pbc": [True] * 3,
    }
    begin = time.monotonic()
    with pytest.raises(
        ValueError, match=r"lists within 1000.5 A .* need .* [GT]B of memory of the GPU, and .* shorten"
    ):
        engine.evaluate(**structure)
    assert time.monotonic() - begin < 20


def test_lists_that_outgrow_the_memory_are_refused(model: Model, device: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The exact number of pairs, where the density of the cell says nothing of it; afterwards smaller ones go on."""
    if device != "cuda-emulation":
        pytest.skip("only the emulation can be given less memory")
    engine = Engine(model, device=device, **OPTIONS)
    dense = crystal((3, 3, 2)) | {"pbc": np.zeros(3, bool)}
    thin = dense | {"positions": 3.0 * dense["positions"]}
    expected = engine.evaluate(**thin)
    room = 6000  # bytes: for some more bins, and not for the pairs
    monkeypatch.setenv("SO3MD_EMULATION_MEMORY", str(engine.info()["device_memory"]["now"] + room))
    with pytest.raises(ValueError, match=r"lists within .* A .* need .* kB of memory of the GPU, and .* kB are free"):
        engine.evaluate(**dense)
    assert engine.evaluate(**thin)["energy"] == expected["energy"]


@pytest.mark.parametrize("device_memory", [False, True])
def test_messages_from_the_memory_of_the_device(
    model: Model, device: str, device_memory: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Memory of the emulated device is memory of the host, which the transport of the tests can read."""
    if device != "cuda-emulation":
        pytest.skip("the transport of the tests cannot read the memory of a GPU")
    monkeypatch.setattr(ThreadTransport, "device_memory", device_memory, raising=False)
    engines = ThreadedEngines(2, model, device=device, **OPTIONS)
    assert_same_forces(engines.evaluate(crystal((2, 1, 1))), Engine(model, **OPTIONS).evaluate(**crystal((2, 1, 1))))
    assert all(engine.info()["halo"]["device_memory"] == device_memory for engine in engines.engines)
