"""Training from the command line: what it learns, what it leaves, and that it goes on exactly where it stopped."""

from __future__ import annotations

import csv
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result

torch = pytest.importorskip("torch", reason="training needs PyTorch (extra 'torch')")

from ase.io import read, write  # noqa: E402
from training_tools import TINY_MODEL, write_config, write_molecules  # noqa: E402

from so3md import So3kratesCalculator  # noqa: E402
from so3md.cli import main  # noqa: E402
from so3md.model_file import ModelFile  # noqa: E402
from so3md.run_directory import CheckpointError, LockedError  # noqa: E402
from so3md.training.config import read_config  # noqa: E402
from so3md.training.run import Run  # noqa: E402
from so3md.training.trainer import NotFiniteError  # noqa: E402

WITH_HEADS = {
    "charge_head": {"hidden": 6},
    "hirshfeld_head": {"hidden": 6, "size": 4},
    "electrostatics": {"sigma": 4.0},
    "long_range_cutoff": None,
}


@pytest.fixture(scope="module")
def molecules(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with a small data set."""
    directory = tmp_path_factory.mktemp("molecules")
    write_molecules(directory / "molecules.xyz")
    return directory


@pytest.fixture
def project(molecules: Path, tmp_path: Path) -> Path:
    """An empty directory beside the same data."""
    os.symlink(molecules / "molecules.xyz", tmp_path / "molecules.xyz")
    return tmp_path


def so3md(*arguments: str | Path) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def start(project: Path, name: str = "run", **sections: Any) -> Run:
    config = read_config(write_config(project / f"{name}.yaml", **sections))
    return Run.start(config, project, project / name)


def log_without_time(directory: Path) -> list[dict[str, str]]:
    with (directory / "log.csv").open(newline="") as file:
        return [{key: value for key, value in row.items() if key != "seconds"} for row in csv.DictReader(file)]


def test_a_short_configuration_trains_a_model_that_the_engine_runs(project: Path) -> None:
    config = write_config(project / "config.yaml", training={"epochs": 25, "learning_rate": 0.03})
    result = so3md("train", config)
    assert result.exit_code == 0, result.output
    run = project / "run"
    rows = log_without_time(run)
    assert len(rows) == 25
    assert float(rows[-1]["validation_loss"]) < 0.8 * float(rows[0]["validation_loss"])
    for name in ("model.safetensors", "learning_curve.png", "parity.png", "summary.json", "checkpoint.safetensors"):
        assert (run / name).stat().st_size > 0
    summary = json.loads((run / "summary.json").read_text())
    assert summary["part"] == "test"
    assert summary["engine_and_torch"]["largest_force_difference_eV_per_A"] < 1e-9
    atoms = read(project / "molecules.xyz", index=0)
    reference = atoms.get_potential_energy()
    atoms.calc = So3kratesCalculator(str(run / "model.safetensors"))
    assert atoms.get_potential_energy() == pytest.approx(reference, abs=5.0)
    md = so3md("md", project / "molecules.xyz", "--model", run / "model.safetensors", "--steps", "3",
               "--no-plot", "--output", project / "md")  # fmt: skip
    assert md.exit_code == 0, md.output


def test_an_existing_run_is_not_replaced_unasked(project: Path) -> None:
    start(project)
    with pytest.raises(FileExistsError, match="holds a run already"):
        start(project)


@pytest.mark.parametrize("steps", [1, 3, 7], ids=["first step", "end of an epoch", "within an epoch"])
@pytest.mark.parametrize("schedule", ["exponential", "plateau"])
def test_a_resumed_training_is_the_same_to_the_bit(project: Path, steps: int, schedule: str) -> None:
    training = {
        "warm_up_steps": 2,
        "schedule": {"type": schedule, "patience": 1},
        "weight_decay": 0.01,
        "gradient_clipping": 1.0,
    }
    whole = start(project, "whole", training=training)
    whole.train()

    stopped = start(project, "stopped", training=training)
    stopped.train(should_stop=lambda: stopped.trainer.step >= steps)
    assert stopped.trainer.step == steps
    resumed = Run.resume(project / "stopped")
    assert resumed.trainer.step == steps
    resumed.train()

    assert resumed.trainer.step == whole.trainer.step == 12
    expected = whole.trainer.checkpoint({})
    found = resumed.trainer.checkpoint({})
    assert found.tensors.keys() == expected.tensors.keys()
    for name, value in expected.tensors.items():
        assert torch.equal(found.tensors[name], value), name
    states = [dict(checkpoint.state, seconds=0) for checkpoint in (expected, found)]
    assert states[0] == states[1]
    assert log_without_time(project / "stopped") == log_without_time(project / "whole")
    models = [ModelFile.read(project / name / "model.safetensors") for name in ("whole", "stopped")]
    for name, value in models[0].tensors.items():
        np.testing.assert_array_equal(models[1].tensors[name], value)


def test_rows_after_the_checkpoint_are_taken_back(project: Path) -> None:
    run = start(project)
    run.train(should_stop=lambda: run.trainer.step >= 6)
    with (project / "run" / "log.csv").open("a") as file:
        file.write("a row of a session that was killed before its checkpoint\n")
    Run.resume(project / "run").train()
    assert [row["epoch"] for row in log_without_time(project / "run")] == ["1", "2", "3", "4"]


def test_other_data_are_refused_when_a_run_goes_on(project: Path) -> None:
    run = start(project)
    run.train(should_stop=lambda: True)
    frames = read(project / "molecules.xyz", index=":")
    frames[3].positions[0, 0] += 1e-3
    (project / "molecules.xyz").unlink()
    write(project / "molecules.xyz", frames, format="extxyz")
    with pytest.raises(CheckpointError, match="belongs to another run"):
        Run.resume(project / "run")


def stopped_with_two_checkpoints(project: Path) -> Path:
    """The directory of a training with checkpoints after steps 3 and 6, which has 6 more to go."""
    with start(project, training={"epochs": 4, "validation_interval": 1}) as run:
        for steps in (3, 6):
            run.train(should_stop=lambda steps=steps: run.trainer.step >= steps)
    return project / "run"


@pytest.mark.parametrize("damage", ["truncated", "empty", "one byte"])
def test_a_damaged_checkpoint_falls_back_to_the_one_before(damage: str, project: Path) -> None:
    path = stopped_with_two_checkpoints(project) / "checkpoint.safetensors"
    content = path.read_bytes()
    length = {"truncated": 200, "empty": 0, "one byte": len(content) - 9}[damage]
    path.write_bytes(content[:length])
    if damage == "one byte":  # of a number in the last tensor, which safetensors by itself does not notice
        path.write_bytes(content[:length] + bytes([content[length] ^ 1]) + content[length + 1 :])
    with pytest.warns(UserWarning, match=r"checkpoint\.safetensors: damaged.*going on from the checkpoint before it"):
        resumed = Run.resume(project / "run")
    assert resumed.trainer.step == 3
    resumed.train()
    assert [row["epoch"] for row in log_without_time(project / "run")] == ["1", "2", "3", "4"]


def test_two_damaged_checkpoints_are_refused(project: Path) -> None:
    directory = stopped_with_two_checkpoints(project)
    for name in ("checkpoint.safetensors", "checkpoint_previous.safetensors"):
        os.truncate(directory / name, 200)
    with pytest.raises(CheckpointError, match="damaged"):
        Run.resume(directory)


@pytest.mark.parametrize("lost", ["shorter", "zeros"])
def test_a_log_that_lost_its_end_goes_on_after_its_last_whole_row(lost: str, project: Path) -> None:
    log = stopped_with_two_checkpoints(project) / "log.csv"
    size = log.stat().st_size
    os.truncate(log, size - 10)
    if lost == "zeros":
        os.truncate(log, size)
    with pytest.warns(UserWarning, match="going on after its last complete record"):
        resumed = Run.resume(project / "run")
    resumed.train()
    assert b"\0" not in log.read_bytes()
    assert [row["epoch"] for row in log_without_time(project / "run")] == ["1", "3", "4"]


def test_two_processes_cannot_train_in_one_directory(project: Path) -> None:
    with start(project) as run:
        for again in (lambda: Run.resume(project / "run"), lambda: start(project)):
            with pytest.raises((LockedError, FileExistsError)):
                again()
        config = read_config(write_config(project / "run.yaml"))
        with pytest.raises(LockedError, match="is in use by this process itself"):
            Run.start(config, project, project / "run", overwrite=True)
        run.train(should_stop=lambda: True)
    Run.resume(project / "run").close()


@pytest.mark.parametrize("change", [{"config": {}}, {"config": 3}, {"data": None}, {"kind": None}], ids=str)
def test_a_damaged_record_is_an_error_of_one_line(change: dict[str, Any], project: Path) -> None:
    start(project).close()
    record = json.loads((project / "run" / "run.json").read_text())
    (project / "run" / "run.json").write_text(json.dumps(record | change))
    with pytest.raises(ValueError, match=r"run\.json: damaged"):
        Run.resume(project / "run")


def test_more_epochs_can_be_added(project: Path) -> None:
    config = write_config(project / "config.yaml", training={"epochs": 1})
    assert so3md("train", config).exit_code == 0
    result = so3md("train", "--resume", project / "run", "--epochs", "2")
    assert result.exit_code == 0, result.output
    assert len(log_without_time(project / "run")) == 2


def test_ctrl_c_saves_and_says_how_to_go_on(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import signal

    from so3md.training.trainer import Trainer

    config = write_config(project / "config.yaml", training={"epochs": 50})
    one_step = Trainer._one_step

    def interrupted_step(self: Trainer) -> None:
        one_step(self)
        if self.step == 4:
            os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(Trainer, "_one_step", interrupted_step)
    result = so3md("train", config)
    assert result.exit_code == 130
    assert f"so3md train --resume {project / 'run'}" in result.output
    assert Run.resume(project / "run").trainer.step == 4


def test_a_loss_that_is_not_finite_stops_with_the_structure(project: Path) -> None:
    frames = read(project / "molecules.xyz", index=":")
    frames[2].calc.results["forces"] = np.full((len(frames[2]), 3), 1e200)
    (project / "molecules.xyz").unlink()
    write(project / "molecules.xyz", frames, format="extxyz")
    run = start(project, data={"split": {"train": [1, 2, 3, 4], "validation": [0], "test": None}}, scale=1.0)
    with pytest.raises(NotFiniteError, match=r"molecules.xyz, structure 2"):
        run.train()
    bad = read(project / "run" / "bad_structures.xyz", index=":")
    assert len(bad) == 1
    assert bad[0].info["origin"] == "molecules.xyz, structure 2"
    assert torch.isfinite(run.trainer.parameters.values).all()


def test_training_ends_early_without_improvement(project: Path) -> None:
    run = start(project, training={"epochs": 50, "learning_rate": 1e-12, "ema_decay": None, "early_stopping": 2})
    run.trainer.best_loss, run.trainer.best_epoch = 0.0, 1
    run.train()
    assert run.trainer.epoch == 3
    assert run.trainer.stop_reason == "no improvement in 2 epochs"


def test_the_best_model_is_kept_and_not_the_last(project: Path) -> None:
    run = start(project, training={"epochs": 2, "ema_decay": None})
    run.train()
    best = run.trainer.best_values.clone()
    run.trainer.parameters.values.add_(1.0)
    run.write_model()
    file = ModelFile.read(project / "run" / "model.safetensors")
    with run.trainer.using(best):
        expected = run.model.tensors()
    for name, value in file.tensors.items():
        np.testing.assert_array_equal(value, expected[name])


def test_reference_energies_take_the_composition_out_of_the_energies(project: Path) -> None:
    run = start(project, training={"epochs": 1})
    items = run.trainer._train
    energies = np.array([item.sample.energy for item in items])
    counts = np.array([[np.count_nonzero(i.sample.structure.numbers == z) for z in (1, 6, 8)] for i in items])
    expected, *_ = np.linalg.lstsq(counts, energies, rcond=None)
    np.testing.assert_allclose(counts @ run.model.shift, counts @ expected, atol=1e-8)
    targets = np.array([item.batch.targets.energy.item() for item in items])
    np.testing.assert_allclose(targets, energies - counts @ expected, atol=1e-8)


def test_reference_energies_can_be_given(project: Path) -> None:
    run = start(project, reference_energies={"H": -1.0, "C": -2.0, "O": -3.0}, scale=0.5)
    np.testing.assert_array_equal(run.model.shift, [-1.0, -2.0, -3.0])
    assert ModelFile.read(project / "run" / "start.safetensors").tensors["energy.scale"].tolist() == [0.5] * 3
    with pytest.raises(ValueError, match="reference_energies: the value for O is missing"):
        start(project, "other", reference_energies={"H": -1.0, "C": -2.0})


def test_stress_dipole_and_ratios_can_be_learned(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    from ase.build import molecule

    frames = []
    for _ in range(6):
        atoms = molecule("H2O", cell=[6, 6, 6], pbc=True)
        atoms.positions += 0.02 * rng.standard_normal((3, 3))
        atoms.info |= {"REF_stress": 0.01 * rng.standard_normal(6), "REF_dipole": rng.standard_normal(3)}
        atoms.arrays["REF_hirshfeld_ratios"] = 1 + 0.1 * rng.standard_normal(3)
        frames.append(atoms)
    write(tmp_path / "molecules.xyz", frames, format="extxyz")
    loss = {"energy": 0, "forces": 0, "stress": 100, "dipole": 1, "hirshfeld_ratios": 1}
    model = dict(TINY_MODEL) | WITH_HEADS | {"long_range_cutoff": 5.0}
    run = start(
        tmp_path,
        loss=loss,
        model=model,
        data={"split": {"train": 4, "validation": 2, "test": None}},
        training={"epochs": 40, "ema_decay": None},
    )
    run.train()
    rows = log_without_time(tmp_path / "run")
    for column in ("train_stress_rmse_eV_per_A3", "train_dipole_rmse_eA", "train_hirshfeld_ratios_rmse_1"):
        assert float(rows[-1][column]) < float(rows[0][column]), column


def test_finetuning_goes_on_from_a_model(project: Path) -> None:
    config = write_config(
        project / "config.yaml",
        model=None,
        training={"epochs": 2, "learning_rate": 1e-4, "freeze": ["embedding.element"]},
        data={"split": {"train": 6, "validation": 3, "test": 3}},
    )
    result = so3md("finetune", "so3lr", config)
    assert result.exit_code == 0, result.output
    tuned = ModelFile.read(project / "run" / "model.safetensors")
    from so3md.loading import model_path

    original = ModelFile.read(model_path("so3lr"))
    assert tuned.hyperparameters == original.hyperparameters
    assert tuned.citation == original.citation
    np.testing.assert_array_equal(tuned.tensors["embedding.element"], original.tensors["embedding.element"])
    name = "layers.0.exchange.weight"
    assert not np.array_equal(tuned.tensors[name], original.tensors[name])
    # The data come from the model itself: it must start with almost no error, and keep it.
    summary = json.loads((project / "run" / "summary.json").read_text())
    assert summary["errors"]["forces (eV/A)"]["mae"] < 0.1


def test_finetuning_keeps_the_network(project: Path) -> None:
    config = write_config(project / "config.yaml")
    result = so3md("finetune", "so3lr", config)
    assert result.exit_code == 1
    assert "fine-tuning keeps the network" in result.output


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU, so there is no error to see")
def test_a_missing_gpu_is_said_at_once(project: Path) -> None:
    result = so3md("train", write_config(project / "config.yaml", device="cuda"))
    assert result.exit_code == 1
    assert "device: cuda was asked for, but" in result.output


def test_wrong_usage_is_explained(project: Path) -> None:
    assert "give a CONFIG" in so3md("train").output
    assert "did you mean 'num_features'?" in so3md(
        "train", write_config(project / "config.yaml", model={"num_feature": 8})
    ).output  # fmt: skip
    assert so3md("train", "--resume", project / "nothing").exit_code == 1
    example = so3md("train", "--example")
    assert example.exit_code == 0
    assert "data:" in example.output
