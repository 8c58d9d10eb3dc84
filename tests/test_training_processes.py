"""Several processes that share a training: the losses of one, whatever their number, and one message for all errors."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import pytest
from ase.io import read, write
from click.testing import CliRunner

torch = pytest.importorskip("torch", reason="training needs PyTorch (extra 'torch')")

from training_tools import write_config, write_molecules  # noqa: E402

from so3md.cli import main  # noqa: E402
from so3md.model_file import ModelFile  # noqa: E402
from so3md.parallel.team import usable_cores  # noqa: E402
from so3md.torch_launch import run_processes  # noqa: E402
from so3md.training.checkpoint import TrainingCheckpoint  # noqa: E402
from so3md.training.processes import divide, launched_team  # noqa: E402

if not torch.distributed.is_available() or not torch.distributed.is_gloo_available():
    pytest.skip("this PyTorch was built without torch.distributed and gloo", allow_module_level=True)

#: Of a command that hangs; one that does not takes some ten seconds.
TIMEOUT = 120
STEPS = {"epochs": 17, "batch_size": 3, "learning_rate": 1e-2, "schedule": {"type": "constant"}}  # 51


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with a small data set and a configuration of 51 steps in double precision."""
    directory = tmp_path_factory.mktemp("processes")
    write_molecules(directory / "molecules.xyz")
    write_config(directory / "config.yaml", precision="float64", training=STEPS)
    return directory


def so3md(
    *arguments: object,
    launcher: Sequence[str] = (sys.executable,),
    environment: Mapping[str, str] = MappingProxyType({}),
) -> subprocess.CompletedProcess[str]:
    """A command in processes of its own, which may not take long."""
    return subprocess.run(
        [*launcher, "-m", "so3md", *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=TIMEOUT,
        env=os.environ | {"OMP_NUM_THREADS": "1"} | environment,
        check=False,
    )


def trained(*arguments: object, **options: Any) -> str:
    result = so3md("train", *arguments, **options)
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


@pytest.fixture(scope="module")
def alone(project: Path) -> Path:
    """The run of one process."""
    trained(project / "config.yaml", "--output", project / "alone")
    return project / "alone"


def assert_same_training(found: Path, expected: Path) -> None:
    """The same losses and parameters; rounding differs, since sums are made in another order."""
    states = [
        TrainingCheckpoint.read(path / "checkpoint.safetensors", torch.device("cpu")) for path in (found, expected)
    ]
    assert states[0].state["step"] == states[1].state["step"] == 51
    assert states[0].state["best_epoch"] == states[1].state["best_epoch"]
    assert states[0].state["best_loss"] == pytest.approx(states[1].state["best_loss"], rel=1e-6)
    for name, values in states[1].tensors.items():
        scale = values.abs().max().item()
        torch.testing.assert_close(states[0].tensors[name], values, rtol=0, atol=1e-6 * scale, msg=name)
    logs = [np.genfromtxt(path / "log.csv", delimiter=",", names=True) for path in (found, expected)]
    assert logs[0].dtype.names == logs[1].dtype.names
    for name in set(logs[1].dtype.names) - {"seconds"}:
        np.testing.assert_allclose(logs[0][name], logs[1][name], rtol=1e-6, atol=0, err_msg=name)


@pytest.mark.parametrize("count", [2, 3])
def test_losses_are_those_of_one_process(count: int, project: Path, alone: Path) -> None:
    """The last batch of an epoch has two structures, so that one of three processes has nothing to do there."""
    output = trained(project / "config.yaml", "--output", project / f"of-{count}", "--processes", count)
    assert output.count("epoch 1 of 17") == 1
    assert f"{count} processes of 1 thread" in output
    assert_same_training(project / f"of-{count}", alone)
    one, other = (ModelFile.read(path / "model.safetensors") for path in (alone, project / f"of-{count}"))
    assert one.uncertainty is not None
    assert other.uncertainty is not None


def test_a_run_goes_on_with_another_number_of_processes(project: Path, alone: Path) -> None:
    trained(project / "config.yaml", "--output", project / "changed", "--processes", 3, "--epochs", 5)
    trained("--resume", project / "changed", "--epochs", 9)
    trained("--resume", project / "changed", "--epochs", 17, "--processes", 2)
    assert_same_training(project / "changed", alone)


def test_torchrun_starts_them_as_well(project: Path, alone: Path) -> None:
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    trained(project / "config.yaml", "--output", project / "torchrun", launcher=launcher)
    assert_same_training(project / "torchrun", alone)
    refused = so3md("train", project / "config.yaml", "--processes", 2, launcher=launcher)
    assert refused.returncode != 0
    assert refused.stderr.count("--processes: torchrun has started 2 processes") == 1


def test_what_ends_with_the_interpreter_cannot_fail_a_training(project: Path, tmp_path: Path) -> None:
    """A process of a finished training was seen to abort in its last moments, where PyTorch's threads end."""
    (tmp_path / "sitecustomize.py").write_text(
        "import atexit, os\nif 'LOCAL_RANK' in os.environ:\n    atexit.register(os.abort)\n"
    )
    path = os.pathsep.join([str(tmp_path), *filter(None, [os.environ.get("PYTHONPATH")])])
    arguments = (project / "config.yaml", "--output", project / "aborting", "--processes", 2, "--epochs", 1)
    assert "all 1 epochs are done" in trained(*arguments, environment={"PYTHONPATH": path})


def test_a_committee_of_several_processes(project: Path) -> None:
    for count in (1, 2):
        trained(project / "config.yaml", "--output", project / f"c{count}", "--processes", count, "--committee", 2,
                "--epochs", 2)  # fmt: skip
    for letter in "ab":
        one, other = (ModelFile.read(project / f"c{count}" / f"{letter}.safetensors") for count in (1, 2))
        for name, values in one.tensors.items():
            np.testing.assert_allclose(other.tensors[name], values, rtol=0, atol=1e-6 * max(1e-3, np.abs(values).max()))


def test_a_low_rank_is_fine_tuned_by_several_processes(project: Path, alone: Path) -> None:
    config = write_config(project / "low_rank.yaml", model=None, precision="float64", training=STEPS | {"low_rank": 2})
    for count in (1, 2):
        result = so3md("finetune", alone / "model.safetensors", config, "--output", project / f"low-rank-{count}",
                       "--processes", count)  # fmt: skip
        assert result.returncode == 0, result.stdout + result.stderr
    assert_same_training(project / "low-rank-2", project / "low-rank-1")


def test_steps_of_muon_are_those_of_one_process(project: Path) -> None:
    config = write_config(project / "muon.yaml", precision="float64", training=STEPS | {"optimiser": "muon"})
    for count in (1, 2):
        trained(config, "--output", project / f"muon-{count}", "--processes", count)
    assert_same_training(project / "muon-2", project / "muon-1")


def test_threads_are_the_cores_divided_by_the_processes(project: Path, capfd: pytest.CaptureFixture[str]) -> None:
    config = write_config(project / "threads.yaml", threads=None, training={"epochs": 1})
    environment = {key: value for key, value in os.environ.items() if key != "OMP_NUM_THREADS"}
    command = [sys.executable, "-m", "so3md", "train", str(config), "--output", str(project / "t"), "--processes", "2"]
    result = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT, env=environment, check=False)
    from so3md._engine import cpu_quota

    cores = min(len(usable_cores()), cpu_quota() or np.inf)
    expected = max(1, int(cores / 2))
    assert f"2 processes of {expected} thread" in result.stdout, result.stdout + result.stderr


# --- errors ---------------------------------------------------------------------------------------------------------


def messages(result: subprocess.CompletedProcess[str]) -> list[str]:
    return [line for line in result.stderr.splitlines() if line.startswith("Error: ") or "Traceback" in line]


def test_a_loss_that_is_not_finite_ends_all_with_one_message(project: Path) -> None:
    frames = read(project / "molecules.xyz", index=":")
    frames[2].calc.results["forces"] = np.full((len(frames[2]), 3), 1e200)
    write(project / "infinite.xyz", frames, format="extxyz")
    data = {"files": "infinite.xyz", "split": {"train": [1, 2, 3, 4], "validation": [0], "test": None}}
    config = write_config(project / "infinite.yaml", data=data | {"check_labels": False}, scale=1.0)
    result = so3md("train", config, "--output", project / "infinite", "--processes", 2)
    assert result.returncode == 1
    (message,) = messages(result)
    assert "not a finite number, because of these structures: infinite.xyz, structure 2" in message
    (bad,) = read(project / "infinite" / "bad_structures.xyz", index=":")
    assert bad.info["origin"] == "infinite.xyz, structure 2"


#: A command of which the second process meets an error of its own: in reading, or in its fourth step.
FAULTY = """
import os, sys
import so3md.training.run as run
from so3md.training.trainer import Trainer
from so3md.cli import main

def fail(*_):
    raise ValueError("the second process has a bad file")

def one_step(self, step=Trainer._one_step):
    if self.step == 3:
        fail()
    step(self)

if os.environ["RANK"] == "1":
    if sys.argv.pop() == "reading":
        run.read_data = fail
    else:
        Trainer._one_step = one_step
else:
    sys.argv.pop()
main()
"""


@pytest.mark.parametrize("where", ["reading", "step"])
def test_an_error_of_one_process_ends_all_with_one_message(
    where: str, project: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    command = [sys.executable, "-c", FAULTY, "train", str(project / "config.yaml"), "--output"]
    begin = time.monotonic()
    assert run_processes([*command, str(project / f"faulty-{where}"), where], 2) == 1
    assert time.monotonic() - begin < TIMEOUT
    errors = [line for line in capfd.readouterr().err.splitlines() if line.startswith("Error: ")]
    assert len(errors) == 1, errors
    assert "the second process has a bad file" in errors[0]
    assert ("on rank 1 of 2" in errors[0]) == (where == "reading")


class LongTraining:
    """A training of two processes that would go on for hours, once it has begun."""

    def __init__(self, project: Path, name: str) -> None:
        config = write_config(project / f"{name}.yaml", training={"epochs": 10**6})
        self.directory = project / name
        self.process = subprocess.Popen(
            [sys.executable, "-m", "so3md", "train", config, "--output", self.directory, "--processes", "2"],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        wait_until(lambda: (self.directory / "model.safetensors").exists())

    def members(self) -> list[int]:
        """Of each process its number, by the environment that it was started with."""
        found = {}
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        for child in children:
            environment = Path(f"/proc/{child}/environ").read_bytes().decode().split("\0")
            found[next(item for item in environment if item.startswith("RANK="))] = int(child)
        return [found[key] for key in sorted(found)]

    def end(self) -> subprocess.CompletedProcess[str]:
        output, errors = self.process.communicate(timeout=TIMEOUT)
        return subprocess.CompletedProcess([], self.process.returncode, output, errors)


def wait_until(true: Any) -> None:
    deadline = time.monotonic() + TIMEOUT
    while not true():
        assert time.monotonic() < deadline, "it takes too long"
        time.sleep(0.1)


needs_proc = pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="needs Linux's /proc")


@needs_proc
@pytest.mark.parametrize("rank", [0, 1])
def test_a_process_that_is_killed_takes_the_others_along(rank: int, project: Path) -> None:
    training = LongTraining(project, f"killed-{rank}")
    members = training.members()
    os.kill(members[rank], signal.SIGKILL)
    result = training.end()
    assert result.returncode == 128 + signal.SIGKILL
    (message,) = messages(result)
    assert message.startswith(f"Error: process {rank + 1} of 2 was ended by SIGKILL")
    assert not any(Path(f"/proc/{member}").exists() for member in members)


@needs_proc
@pytest.mark.parametrize("whom", ["launcher", "second process"])
def test_ctrl_c_stops_all_with_everything_saved(whom: str, project: Path) -> None:
    training = LongTraining(project, f"stopped-{whom[0]}")
    os.kill(training.process.pid if whom == "launcher" else training.members()[1], signal.SIGINT)
    result = training.end()
    assert result.returncode == 130, result.stderr
    assert messages(result) == []
    (step,) = re.findall(r"Stopped after step (\d+) of", result.stdout)
    state = TrainingCheckpoint.read(training.directory / "checkpoint.safetensors", torch.device("cpu")).state
    assert state["step"] == int(step)


@needs_proc
def test_processes_end_with_the_one_that_started_them(project: Path) -> None:
    training = LongTraining(project, "orphans")
    members = training.members()
    training.process.kill()
    training.end()
    wait_until(lambda: not any(Path(f"/proc/{member}").exists() for member in members))
    assert (training.directory / "checkpoint.safetensors").exists()
    assert not (training.directory / ".so3md.lock").exists()


def test_more_processes_than_structures_are_refused(project: Path) -> None:
    config = write_config(project / "few.yaml", data={"split": {"train": 2, "validation": 1}})
    result = so3md("train", config, "--output", project / "few", "--processes", 3)
    assert result.returncode == 1
    (message,) = messages(result)
    assert "3 processes are more than there are training structures (2)" in message
    assert not (project / "few").exists()


@pytest.mark.parametrize("value", ["0", "-1", "two"])
def test_a_number_of_processes_that_is_none_is_refused(value: str) -> None:
    result = CliRunner().invoke(main, ["train", "config.yaml", "--processes", value])
    assert result.exit_code == 2
    assert "--processes" in result.output


@pytest.fixture
def second_of_two(monkeypatch: pytest.MonkeyPatch) -> None:
    """The environment of a process of torchrun."""
    place = {"RANK": "1", "WORLD_SIZE": "2", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "2", "MASTER_ADDR": "localhost"}
    for name, value in place.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("so3md.training.processes._team", None)  # of a training in this process before


def test_a_distillation_of_several_processes_is_refused(second_of_two: None) -> None:
    result = CliRunner().invoke(main, ["distill", "water"])
    assert result.exit_code == 2
    assert "a distillation is the work of one process" in result.output


def test_a_pytorch_without_gloo_is_named(second_of_two: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.distributed, "is_gloo_available", lambda: False)
    with pytest.raises(RuntimeError, match=r"2 processes need torch\.distributed with gloo"):
        launched_team()


# --- shares ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sizes", "count", "expected"),
    [([], 2, [0, 0]), ([5], 3, [5, 0, 0]), ([3, 3, 2, 2, 2], 2, [7, 5]), ([9, 1, 1, 1, 1, 1], 3, [9, 3, 2])],
)
def test_shares_are_balanced(sizes: list[int], count: int, expected: list[int]) -> None:
    shares = divide(sizes, count)
    assert sorted(place for share in shares for place in share) == list(range(len(sizes)))
    assert sorted((sum(sizes[place] for place in share) for share in shares), reverse=True) == sorted(expected)[::-1]


@pytest.mark.parametrize(("processes", "warned"), [(2, False), (3, True)])
def test_more_processes_than_cores_are_told_of_before_they_start(
    processes: int, warned: bool, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("so3md.benchmark.machine.available_cores", lambda: 2)
    monkeypatch.setattr("so3md.cli.training_command.run_processes", lambda command, count: 0)
    result = CliRunner().invoke(main, ["train", str(project / "config.yaml"), "--processes", str(processes)])
    assert result.exit_code == 0
    warning = "Warning: --processes 3: this process may use 2 cores; more processes are slower"
    assert (warning in result.output) == warned
