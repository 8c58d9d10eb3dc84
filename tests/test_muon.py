"""Training with Muon: steps of matrices are orthogonal, whatever stacks they lie in, and trainings go on exactly."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="training needs PyTorch (extra 'torch')")

from test_low_rank import ARCHITECTURES, trainer_of  # noqa: E402
from toy_models import make_toy_model  # noqa: E402
from training_tools import write_config, write_molecules  # noqa: E402

from so3md.model_file import ModelFile  # noqa: E402
from so3md.run_directory import CheckpointError  # noqa: E402
from so3md.training.config import Config, DataConfig, TrainingConfig, read_config  # noqa: E402
from so3md.training.model import make_model  # noqa: E402
from so3md.training.muon import MOMENTUM, orthogonal  # noqa: E402
from so3md.training.run import Run  # noqa: E402
from so3md.training.schema import ConfigError  # noqa: E402
from so3md.training.trainer import Trainer  # noqa: E402

SMALL_SIDE = 8
LARGE = {"num_features": 24, "num_heads": 2, "radial_hidden": 12, "spherical_hidden": 12}


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A directory with a small data set."""
    write_molecules(tmp_path / "molecules.xyz")
    return tmp_path


def start(project: Path, name: str, optimiser: str = "muon", **training: Any) -> Run:
    """A training of 12 steps in double precision."""
    path = write_config(project / f"{name}.yaml", precision="float64", training={"optimiser": optimiser, **training})
    return Run.start(read_config(path), project, project / name)


def muon_trainer(architecture: str, **settings: Any) -> Trainer:
    file = make_toy_model(dtype=np.float64, **ARCHITECTURES[architecture] | LARGE)
    before = trainer_of(make_model(file, None), None)
    training = TrainingConfig(optimiser="muon", **settings)
    return Trainer(before.model, before._train, before._train, Config(DataConfig("none"), training=training))


def polynomial(singular: np.ndarray) -> np.ndarray:
    """What five iterations make of singular values, those of a matrix of norm 1."""
    for _ in range(5):
        singular = 3.4445 * singular - 4.7750 * singular**3 + 2.0315 * singular**5
    return singular


def expected_direction(gradient: np.ndarray) -> np.ndarray:
    """By a singular value decomposition of each matrix of a stack."""
    u, s, v = np.linalg.svd(gradient, full_matrices=False)
    return u @ (polynomial(s / np.linalg.norm(s, axis=-1, keepdims=True))[..., None] * v)


@pytest.mark.parametrize("shape", [(3, 10, 10), (2, 9, 40), (1, 132, 132)], ids=str)
def test_singular_values_become_about_one_and_directions_stay(shape: tuple[int, ...]) -> None:
    random = np.random.default_rng(0)
    stack, rows, columns = shape
    u = np.linalg.qr(random.standard_normal((stack, rows, rows)))[0]
    v = np.linalg.qr(random.standard_normal((stack, columns, columns)))[0][:, :, :rows]
    singular = np.geomspace(1, 1e-3, rows) * 7  # a gradient of any length
    matrices = np.einsum("nik,k,njk->nij", u, singular, v)
    found = orthogonal(torch.from_numpy(matrices)).numpy()
    inner = np.einsum("nik,nij,njk->nk", u, found, v)
    assert inner[:, singular / np.linalg.norm(singular) > 2e-3].min() > 0.65
    assert inner.max() < 1.25
    np.testing.assert_allclose(found, expected_direction(matrices), atol=1e-8)


def test_nothing_comes_of_nothing() -> None:
    assert not orthogonal(torch.zeros(2, 9, 9)).any()


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_each_matrix_of_the_model_file_moves_by_its_own_direction(architecture: str) -> None:
    """Matrices of heads and filters lie in stacks, some of them with strides; tables, biases and norms go with Adam."""
    trainer = muon_trainer(architecture, weight_decay=0.5, gradient_clipping=None, ema_decay=None)
    model, rate = trainer.model, trainer.config.training.learning_rate
    trainer.differentiate(trainer.join(trainer.first_items()))
    before = {name: value.copy() for name, value in model.tensors().items()}
    gradients = gradients_of(trainer)
    trainer.optimiser.step()
    moved = {view.data_ptr() for view in trainer.parameters.large}
    names = {name for name, value in model.views() if value.data_ptr() in moved and value.dim() > 1}
    assert any(name.endswith("query_features") for name in names)
    assert any("radial1.weight" in name for name in names)
    for name, value in model.tensors().items():
        if name in names:
            assert min(value.shape[-2:]) > SMALL_SIDE, name
            # The momentum of the first step, and Nesterov's look ahead, are multiples of the gradient.
            direction = expected_direction(gradients[name]) * 0.2 * math.sqrt(max(value.shape[-2:]))
            expected = before[name] * (1 - 0.5 * rate) - rate * direction
            np.testing.assert_allclose(value, expected, rtol=0, atol=1e-8 * rate, err_msg=name)
        elif name in gradients and gradients[name].any():
            assert np.abs(value - before[name]).max() <= rate * (1.01 + 0.5 * np.abs(before[name]).max()), name


def gradients_of(trainer: Trainer) -> dict[str, np.ndarray]:
    """Of the tensors of the model file, from the vector."""
    values, gradient = trainer.parameters.values, trainer.parameters.gradient
    found = {}
    for name, view in trainer.model.views():
        offset = view.storage_offset() - values.storage_offset()
        if view.untyped_storage().data_ptr() == values.untyped_storage().data_ptr():
            found[name] = gradient.as_strided(view.shape, view.stride(), gradient.storage_offset() + offset).numpy()
    return found


def test_the_momentum_is_a_mean_of_gradients() -> None:
    trainer = muon_trainer("so3krates")
    muon, part = trainer.optimiser.muon, slice(None, trainer.parameters.large_size)
    expected = torch.zeros_like(muon.momentum)
    for _ in range(3):
        trainer.differentiate(trainer.join(trainer.first_items()))
        trainer.optimiser.clip()
        expected = MOMENTUM * expected + (1 - MOMENTUM) * trainer.parameters.gradient[part]
        trainer.optimiser.step()
    torch.testing.assert_close(muon.momentum, expected, rtol=1e-12, atol=0)


@pytest.mark.parametrize("steps", [1, 3, 7], ids=["first step", "end of an epoch", "within an epoch"])
def test_a_resumed_training_is_the_same_to_the_bit(project: Path, steps: int) -> None:
    whole = start(project, "whole", weight_decay=0.01)
    whole.train()
    stopped = start(project, "stopped", weight_decay=0.01)
    stopped.train(should_stop=lambda: stopped.trainer.step >= steps)
    resumed = Run.resume(project / "stopped")
    resumed.train()
    expected, found = whole.trainer.checkpoint({}).tensors, resumed.trainer.checkpoint({}).tensors
    assert found.keys() == expected.keys()
    assert "momentum" in found
    for name, value in expected.items():
        assert torch.equal(found[name], value), name


def test_frozen_tensors_stay(project: Path) -> None:
    run = start(project, "run", freeze=["layers.0", "embedding"])
    run.train()
    other = start(project, "other", freeze=["layers.0", "embedding"])
    first = other.trainer.model.tensors()
    last = ModelFile.read(project / "run" / "model.safetensors").tensors
    for name, value in first.items():
        same = np.array_equal(np.asarray(last[name]), value)
        if name.startswith(("layers.0.", "embedding.")):
            assert same, name
        elif name.startswith("layers.1.") and name.endswith(".weight"):
            assert not same, name


def test_a_checkpoint_of_another_optimiser_is_refused(project: Path) -> None:
    run = start(project, "run")
    run.train(should_stop=lambda: True)
    record = json.loads((project / "run" / "run.json").read_text())
    record["config"]["training"]["optimiser"] = "adamw"
    (project / "run" / "run.json").write_text(json.dumps(record))
    with pytest.raises(CheckpointError, match=r"training\.optimiser was muon, and is adamw"):
        Run.resume(project / "run")


def test_small_matrices_alone_are_refused(project: Path) -> None:
    with pytest.raises(ConfigError, match=r"training\.optimiser: muon is for matrices of more than 8 rows and columns"):
        start(project, "run", freeze=["layers.0", "layers.1", "embedding"])


def test_a_low_rank_and_muon_exclude_each_other() -> None:
    with pytest.raises(ConfigError, match="low_rank: not together with optimiser: muon"):
        replace(TrainingConfig(optimiser="muon"), low_rank=3)
