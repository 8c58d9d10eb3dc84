"""Fine-tuning of low rank: it begins with the model, changes no matrix by more than the rank, and goes on exactly."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="training needs PyTorch (extra 'torch')")

from click.testing import CliRunner  # noqa: E402
from test_training_model import samples  # noqa: E402
from toy_models import VARIANTS_SO3LR2, make_toy_model, write_toy_model  # noqa: E402
from training_tools import write_config, write_molecules  # noqa: E402

from so3md.cli import main  # noqa: E402
from so3md.model_file import PAPER_2022, ModelFile  # noqa: E402
from so3md.run_directory import CheckpointError  # noqa: E402
from so3md.training.config import Config, DataConfig, TrainingConfig, read_config  # noqa: E402
from so3md.training.model import ReferenceNetwork, TrainableModel, make_model  # noqa: E402
from so3md.training.run import Run, make_model_items  # noqa: E402
from so3md.training.sample import Sample  # noqa: E402
from so3md.training.schema import ConfigError  # noqa: E402
from so3md.training.trainer import Trainer  # noqa: E402

RANK = 3
#: The data have no nitrogen.
ELEMENTS, NITROGEN = (1, 6, 7, 8), 2
ARCHITECTURES: dict[str, dict[str, Any]] = {
    "so3krates": {},
    "second_generation": VARIANTS_SO3LR2["all_of_so3lr2"],
    "so3krates-2022": {"architecture": PAPER_2022},
}


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A directory with a small data set."""
    write_molecules(tmp_path / "molecules.xyz")
    return tmp_path


def start(project: Path, name: str = "run", rank: int | None = RANK, **training: Any) -> Run:
    """A fine-tuning of a toy model in double precision, of 12 steps."""
    file = make_toy_model(elements=ELEMENTS, dtype=np.float64)
    path = write_config(
        project / f"{name}.yaml", model=None, precision="float64", training={"low_rank": rank, **training}
    )
    return Run.start(read_config(path), project, project / name, model=file)


def trainer_of(model: TrainableModel, rank: int | None) -> Trainer:
    """A training on two molecules with made-up energies and forces."""
    random = np.random.default_rng(0)
    labelled = [
        Sample(
            one.structure, energy=random.standard_normal(), forces=random.standard_normal(one.structure.positions.shape)
        )
        for one in (samples()[0], samples()[2])
    ]
    items = make_model_items(model, labelled)
    return Trainer(model, items, items, Config(DataConfig("none"), training=TrainingConfig(low_rank=rank)))


def moved(trainer: Trainer) -> Trainer:
    """With a model that has gone somewhere."""
    values = trainer.parameters.values
    trainer.parameters.take(values + 0.05 * torch.randn(values.shape, generator=torch.Generator().manual_seed(0)))
    return trainer


def rank_of(change: np.ndarray, matrix: np.ndarray) -> int:
    """That of the difference of two matrices, one of them given: what is above the rounding of its elements."""
    rounding = np.finfo(matrix.dtype).eps * np.linalg.norm(matrix)
    return int(np.sum(np.linalg.svd(change, compute_uv=False) > rounding))


@pytest.mark.parametrize("options", ARCHITECTURES.values(), ids=ARCHITECTURES)
def test_the_first_step_begins_with_the_model(options: dict[str, Any]) -> None:
    file = make_toy_model(dtype=np.float64, **options)
    model = make_model(file, None)
    trainer = trainer_of(model, RANK)
    trainer.parameters.update()
    assert trainer.parameters.low_rank.changes["layers.0.attention.value_features"].a.data.abs().max() > 0
    for name, value in model.tensors().items():
        np.testing.assert_array_equal(value, file.tensors[name], err_msg=name)


@pytest.mark.parametrize("options", ARCHITECTURES.values(), ids=ARCHITECTURES)
def test_gradients_are_those_of_pytorch(options: dict[str, Any]) -> None:
    """Of the factors: PyTorch's derivatives of the whole matrices, then of W0 + A B."""
    file = make_toy_model(dtype=np.float64, **options)
    trainer = moved(trainer_of(make_model(file, None), RANK))
    trainer.differentiate(trainer.join(trainer.first_items()))

    merged = make_toy_model(dtype=np.float64, **options)
    merged.tensors = trainer.model.tensors()
    plain = ReferenceNetwork(merged, None).double()
    plain.load(merged)
    whole = trainer_of(plain, None)
    whole.differentiate(whole.join(whole.first_items()))
    gradients = {name: parameter.grad for name, parameter in plain.network.named_parameters()}

    changes = trainer.parameters.low_rank.changes
    for name, change in changes.items():
        a, b = (torch.nn.Parameter(factor.data.clone()) for factor in (change.a, change.b))
        (gradients[name] * (torch.from_numpy(file.tensors[name]) + a @ b)).sum().backward()
        for found, expected in ((change.a.grad, a.grad), (change.b.grad, b.grad)):
            # As in the comparison of the forms of the network, test_training_model.
            torch.testing.assert_close(found, expected, rtol=0, atol=1e-10 * max(1.0, expected.abs().max()), msg=name)
    for name in ("layers.1.filter_features.radial1.weight", "layers.1.attention.key_features", "energy.dense1.weight"):
        assert changes[name].a.grad.abs().max() > 1e-3
        assert changes[name].b.grad.abs().max() > 1e-3


def test_gradients_do_not_add_up_from_step_to_step() -> None:
    trainer = moved(trainer_of(make_model(make_toy_model(dtype=np.float64), None), RANK))
    batch = trainer.join(trainer.first_items())
    trainer.differentiate(batch)
    first = trainer.parameters.gradient.clone()
    trainer.differentiate(batch)
    torch.testing.assert_close(trainer.parameters.gradient, first, rtol=0, atol=0)


def test_no_matrix_changes_by_more_than_the_rank(project: Path) -> None:
    start(project, weight_decay=0.1).train()
    before, after = (ModelFile.read(project / "run" / f"{name}.safetensors").tensors for name in ("start", "model"))
    ranks = {}
    for name, matrix in before.items():
        if matrix.ndim > 1 and min(matrix.shape[-2:]) > RANK and name != "embedding.element":
            stacks = ((value.reshape(-1, *matrix.shape[-2:])) for value in (after[name] - matrix, matrix))
            ranks[name] = {rank_of(*pair) for pair in zip(*stacks, strict=True)}
    assert set().union(*ranks.values()) <= set(range(RANK + 1))
    assert {name for name, found in ranks.items() if found == {RANK}} >= {
        "layers.1.attention.query_features",
        "layers.0.filter_coordinates.radial2.weight",
        "layers.1.exchange.weight",
        "energy.dense1.weight",
    }


def test_vectors_and_tables_are_trained_as_they_are(project: Path) -> None:
    """Of a table, the rows of the elements that the data have."""
    start(project).train()
    before, after = (ModelFile.read(project / "run" / f"{name}.safetensors").tensors for name in ("start", "model"))
    for name in ("layers.0.exchange.bias", "energy.dense2.weight", "layers.0.norm1.scale"):
        assert not np.array_equal(before[name], after[name]), name
    same = np.all(before["embedding.element"] == after["embedding.element"], axis=1)
    assert np.flatnonzero(same).tolist() == [NITROGEN]


def test_decay_draws_to_the_model_of_the_start() -> None:
    """Without a gradient, decay makes factors shorter and leaves the rest as it is."""
    file = make_toy_model(dtype=np.float64)
    distances = []
    for decay in (0.0, 10.0):
        trainer = moved(trainer_of(make_model(file, None), RANK))
        trainer.optimiser.adam.param_groups[0]["weight_decay"] = decay
        before = trainer.model.tensors()
        for _ in range(20):
            trainer.parameters.zero_gradient()
            trainer.optimiser.step()
        after = trainer.model.tensors()
        np.testing.assert_array_equal(after["embedding.element"], before["embedding.element"])
        distances.append(np.abs(after["energy.dense1.weight"] - file.tensors["energy.dense1.weight"]).max())
    assert distances[1] < 0.9 * distances[0]


def test_frozen_matrices_have_no_factors(project: Path) -> None:
    run = start(project, freeze=["layers.", "embedding."])
    names = run.trainer.parameters.low_rank.changes
    assert names
    assert all(name.startswith(("energy", "charge", "hirshfeld")) for name in names)
    run.train()
    before, after = (ModelFile.read(project / "run" / f"{name}.safetensors").tensors for name in ("start", "model"))
    for name, value in before.items():
        if name.startswith(("layers.", "embedding.")):
            np.testing.assert_array_equal(after[name], value, err_msg=name)


@pytest.mark.parametrize("steps", [1, 3, 7], ids=["first step", "end of an epoch", "within an epoch"])
def test_a_resumed_training_is_the_same_to_the_bit(project: Path, steps: int) -> None:
    training = {"weight_decay": 0.01, "warm_up_steps": 2}
    whole = start(project, "whole", **training)
    whole.train()
    stopped = start(project, "stopped", **training)
    stopped.train(should_stop=lambda: stopped.trainer.step >= steps)
    resumed = Run.resume(project / "stopped")
    assert resumed.trainer.step == steps
    resumed.train()
    expected, found = (run.trainer.checkpoint({}) for run in (whole, resumed))
    assert found.tensors.keys() == expected.tensors.keys()
    for name, value in expected.tensors.items():
        assert torch.equal(found.tensors[name], value), name
    models = [ModelFile.read(project / name / "model.safetensors") for name in ("whole", "stopped")]
    for name, value in models[0].tensors.items():
        np.testing.assert_array_equal(models[1].tensors[name], value)


def test_the_model_file_is_the_one_that_was_validated(project: Path) -> None:
    run = start(project)
    run.train()
    model = make_model(ModelFile.read(project / "run" / "model.safetensors"))
    items = make_model_items(model, run.parts["validation"])
    config = replace(run.config, training=replace(run.config.training, low_rank=None))
    errors = Trainer(model, items, items, config).evaluate(items)
    assert errors.loss(config.loss) == run.trainer.best_loss


@pytest.mark.parametrize("rank", [None, RANK - 1, RANK + 1], ids=str)
def test_a_checkpoint_of_another_rank_is_refused(project: Path, rank: int | None) -> None:
    run = start(project)
    run.train(should_stop=lambda: True)
    record = json.loads((project / "run" / "run.json").read_text())
    record["config"]["training"]["low_rank"] = rank
    (project / "run" / "run.json").write_text(json.dumps(record))
    with pytest.raises(CheckpointError, match=f"not one of this training .training.low_rank was {RANK}, and is {rank}"):
        Run.resume(project / "run")


def test_a_rank_that_is_no_restriction_is_refused(project: Path) -> None:
    with pytest.raises(ConfigError, match=r"training\.low_rank: no matrix to train has more than 400 rows and columns"):
        start(project, rank=400)


@pytest.mark.parametrize("committee", [(), ("--committee", "2")], ids=["one", "committee"])
def test_random_numbers_are_not_trained_with_a_low_rank(project: Path, committee: tuple[str, ...]) -> None:
    config = write_config(project / "config.yaml", training={"low_rank": RANK})
    result = CliRunner().invoke(main, ["train", str(config), *committee])
    assert result.exit_code == 1
    assert "training.low_rank: only for so3md finetune" in result.output
    assert not (project / "run").exists()


def test_the_command_says_how_much_is_trained(project: Path) -> None:
    """Factors, vectors and tables, but no constants of elements."""
    file = ModelFile.read(write_toy_model(project / "toy.safetensors"))
    expected = 0
    for name, value in file.tensors.items():
        *stack, m, n = (1, *value.shape) if value.ndim < 3 else value.shape
        if name.endswith(("weight", "features", "coordinates", "mlp1", "mlp2")) and min(m, n) > RANK:
            expected += math.prod(stack) * RANK * (m + n)
        elif name != "energy.shift" and not name.startswith("dispersion"):
            expected += value.size
    config = write_config(project / "config.yaml", model=None, training={"epochs": 1, "low_rank": RANK})
    result = CliRunner().invoke(main, ["finetune", str(project / "toy.safetensors"), str(config)])
    assert result.exit_code == 0, result.output
    assert f"({expected:,} to train)" in result.output
