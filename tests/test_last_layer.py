"""Last-layer uncertainty: the engine's against NumPy, the model file, and whether it tells of errors."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ase import Atoms
from ase.build import molecule
from parallel_runs import run_checks
from safetensors import safe_open
from safetensors.numpy import save_file
from tolerances import EXACT, MIXED_MEDIAN_RELATIVE_FORCE, RANKS
from toy_models import ETHANOL_LIKE, make_toy_model

from so3md import So3kratesCalculator, evaluate_many, load_model
from so3md._engine import ModelError
from so3md.last_layer import LastLayer, activated, calibrated, factor_of, fit, hidden_values
from so3md.model_file import FACTOR, ModelFile, ModelFileError

#: What changes the path from the last layer to the hidden values.
VARIANTS: dict[str, dict[str, Any]] = {
    "default": {},
    "one layer": {"num_layers": 1},
    "norm at the end": {"final_layer_norm": True, "layer_norm_position": "pre"},
    "tanh": {"energy_head": {"hidden": 12, "activation": "tanh"}},
    "gelu": {"energy_head": {"hidden": 33, "activation": "gelu"}},
}


def ethanol(seed: int = 0, displacement: float = 0.1) -> Atoms:
    atoms = Atoms("CCOH6", ETHANOL_LIKE)
    atoms.positions += displacement * np.random.default_rng(seed).standard_normal(atoms.positions.shape)
    return atoms


def box() -> Atoms:
    return Atoms("CCOH6", ETHANOL_LIKE, cell=[9.0, 8.5, 8.0], pbc=True)


def with_uncertainty(file: ModelFile, exponent: float = 1.5, scale: float = 0.2) -> ModelFile:
    training = [ethanol(seed) for seed in range(12)]
    factor = factor_of(hidden_values(file, training), 1e-4)
    file.uncertainty = LastLayer(factor.astype(np.float32), scale, exponent, {"structures": 12})
    return file


def written(path: Path, file: ModelFile) -> str:
    file.long_range_cutoff = 12.0
    file.write(path)
    return str(path)


# --- the engine -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("make", [ethanol, box])
def test_the_engine_gives_the_equation(tmp_path: Path, variant: str, make: Callable[[], Atoms]) -> None:
    file = with_uncertainty(make_toy_model(seed=3, **VARIANTS[variant]))
    assert file.uncertainty is not None
    atoms = make()
    found = So3kratesCalculator(written(tmp_path / "m.safetensors", file), precision="double", threads=1)
    atoms.calc = found
    atoms.get_potential_energy()
    expected = file.uncertainty.errors(hidden_values(file, [atoms]))
    np.testing.assert_allclose(found.results["forces_uncertainty"], expected, rtol=EXACT.forces, atol=0)
    assert found.results["uncertainty"] == found.results["forces_uncertainty"].max()


def test_results_but_for_uncertainties_are_those_without(tmp_path: Path) -> None:
    file = make_toy_model(seed=3)
    without = So3kratesCalculator(written(tmp_path / "without.safetensors", file), threads=1)
    with_it = So3kratesCalculator(written(tmp_path / "with.safetensors", with_uncertainty(file)), threads=1)
    atoms = ethanol()
    np.testing.assert_array_equal(with_it.get_forces(atoms), without.get_forces(atoms))
    assert with_it.results.keys() - without.results.keys() == {"uncertainty", "forces_uncertainty"}


def test_single_precision_and_batches_agree(tmp_path: Path) -> None:
    path = written(tmp_path / "m.safetensors", with_uncertainty(make_toy_model(seed=3)))
    structures = [ethanol(1), box(), molecule("H2O"), *(ethanol(seed) for seed in range(2, 12))]
    for atoms, found in zip(structures, evaluate_many(structures, path, forces=False), strict=True):
        double = So3kratesCalculator(path, precision="double", threads=1).get_property("forces_uncertainty", atoms)
        assert found is not None
        # The relative error of distances is that of features, which is what that of forces is made of.
        worst = np.abs(found.forces_uncertainty / double - 1)
        assert np.median(worst) < 10 * MIXED_MEDIAN_RELATIVE_FORCE
        assert found.uncertainty == found.forces_uncertainty.max()


def test_a_model_can_be_given_one_in_memory(tmp_path: Path) -> None:
    file = make_toy_model(seed=3)
    model = load_model(written(tmp_path / "m.safetensors", file))
    assert not model.has_uncertainty
    assert model.with_uncertainty(np.eye(20), 0.1, 1.0).has_uncertainty
    for factor, scale, exponent in (
        (np.eye(3), 1, 1),
        (np.eye(20), 0, 1),
        (np.eye(20), 1, -1),
        (np.full((20, 20), np.inf), 1, 1),
    ):
        with pytest.raises(ModelError, match="uncertainty: expected"):
            model.with_uncertainty(factor, scale, exponent)


# --- the model file -------------------------------------------------------------------------------------------------


def test_the_file_keeps_it(tmp_path: Path) -> None:
    file = with_uncertainty(make_toy_model(seed=3))
    path = written(tmp_path / "m.safetensors", file)
    found = ModelFile.read(path)
    assert found.uncertainty is not None
    assert file.uncertainty is not None
    np.testing.assert_array_equal(found.uncertainty.factor, file.uncertainty.factor)
    assert (found.uncertainty.scale, found.uncertainty.exponent) == (0.2, 1.5)
    assert found.uncertainty.origin == {"structures": 12}
    assert found.num_parameters == load_model(path).num_parameters == make_toy_model(seed=3).num_parameters
    assert FACTOR not in found.tensors


def altered(path: str, to: Path, change: Callable[[dict[str, Any], dict[str, np.ndarray]], None]) -> str:
    with safe_open(path, framework="numpy") as file:
        document = json.loads(file.metadata()["so3md"])
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
    change(document, tensors)
    save_file(tensors, to, metadata={"so3md": json.dumps(document)})
    return str(to)


CHANGES: dict[str, tuple[Callable[[dict[str, Any], dict[str, np.ndarray]], Any], str]] = {
    "no tensor": (lambda d, t: t.pop(FACTOR), "uncertainty.factor"),
    "no key": (lambda d, t: d.pop("uncertainty"), "uncertainty.factor"),
    "shape": (lambda d, t: t.update({FACTOR: np.eye(3)}), "uncertainty.factor"),
    "not finite": (lambda d, t: t[FACTOR].fill(np.nan), "uncertainty.factor"),
    "scale": (lambda d, t: d["uncertainty"].update(scale=0.0), "uncertainty.scale"),
    "exponent": (lambda d, t: d["uncertainty"].update(exponent=-1.0), "uncertainty.exponent"),
    "type": (lambda d, t: d["uncertainty"].update(type="other"), "uncertainty.type"),
    "unknown": (lambda d, t: d["uncertainty"].update(more=1), "more"),
}


@pytest.mark.parametrize("name", CHANGES)
def test_damaged_files_are_refused_by_both_readers(tmp_path: Path, name: str) -> None:
    change, text = CHANGES[name]
    path = written(tmp_path / "m.safetensors", with_uncertainty(make_toy_model(seed=3)))
    bad = altered(path, tmp_path / "bad.safetensors", change)
    with pytest.raises(ModelFileError, match=text):
        ModelFile.read(bad)
    with pytest.raises(ModelError, match=text):
        load_model(bad)


def test_a_head_without_a_hidden_layer_cannot_have_it(tmp_path: Path) -> None:
    file = make_toy_model(seed=3, energy_head={"hidden": 0, "activation": "silu"})
    with pytest.raises(ValueError, match="a hidden layer in the energy head"):
        fit(file, [ethanol()])
    with_it = written(tmp_path / "m.safetensors", with_uncertainty(make_toy_model(seed=3)))
    head = {"hidden": 0, "activation": "silu"}
    bad = altered(with_it, tmp_path / "bad.safetensors", lambda d, t: d["hyperparameters"].update(energy_head=head))
    with pytest.raises(ModelError, match="uncertainty: expected no such key"):
        load_model(bad)


# --- what it is made of ---------------------------------------------------------------------------------------------


def test_activations_are_those_of_the_reference() -> None:
    torch = pytest.importorskip("torch", reason="the reference needs PyTorch")
    from so3md.reference.functions import ACTIVATIONS

    x = np.linspace(-5, 5, 41)
    for name, function in ACTIVATIONS.items():
        expected = function(torch.from_numpy(x)).numpy()
        np.testing.assert_allclose(activated(name, x), expected, rtol=0, atol=EXACT.features)


def test_the_mean_distance_of_the_training_set_is_one() -> None:
    hidden = np.random.default_rng(0).normal(size=(50, 6)) @ np.diag([1, 2, 3, 1e-3, 1, 0])
    layer = LastLayer(factor_of(hidden, 1e-4), 1, 1)
    assert np.mean(layer.distances(hidden) ** 2) == pytest.approx(1, rel=1e-12)
    # A direction in which the training set has no width is the farthest, and not infinitely far.
    unseen = np.eye(6)[5:]
    assert 3 < layer.distances(unseen)[0] < 1e3


def test_calibration_finds_the_law_that_errors_follow() -> None:
    rng = np.random.default_rng(1)
    distances = np.exp(rng.normal(size=20_000))
    errors = (0.3 * distances**1.25 / np.sqrt(3))[:, None] * rng.normal(size=(20_000, 3))
    scale, exponent, _ = calibrated(distances, errors)
    assert scale == pytest.approx(0.3, rel=0.03)
    assert exponent == pytest.approx(1.25, abs=0.051)  # the grid is 0.05 wide
    scale, exponent, _ = calibrated(distances, rng.normal(size=(20_000, 3)))
    assert exponent <= 0.05


# --- ranks ----------------------------------------------------------------------------------------------------------


@pytest.mark.skipif(importlib.util.find_spec("mpi4py") is None, reason="mpi4py is not installed")
@pytest.mark.parametrize("ranks", [1, 2, 3])
def test_ranks_do_not_matter(ranks: int, tmp_path: Path) -> None:
    models = [
        written(tmp_path / "a.safetensors", with_uncertainty(make_toy_model(seed=3))),
        written(tmp_path / "b.safetensors", make_toy_model(seed=4)),
    ]
    found = run_checks("parallel_uncertainty.py", ranks, tmp_path, *map(Path, models))
    assert {"single, forces_uncertainty", "committee, forces_uncertainty"} <= found.keys()
    for key, difference in found.items():
        assert difference < RANKS.component, key
