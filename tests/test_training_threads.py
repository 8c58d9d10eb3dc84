"""The number of threads of a training: measured at its start, recorded, and none that spins while it waits."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

torch = pytest.importorskip("torch", reason="training needs PyTorch (extra 'torch')")

from training_tools import write_config, write_molecules  # noqa: E402

import so3md.training.run  # noqa: E402
from so3md.training.config import read_config  # noqa: E402
from so3md.training.run import Run  # noqa: E402
from so3md.training.threads import MOST, choose_threads, quickest  # noqa: E402


@pytest.fixture
def project(tmp_path: Path) -> Path:
    write_molecules(tmp_path / "molecules.xyz", count=16)
    return tmp_path


@pytest.fixture(autouse=True)
def same_threads_afterwards():
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize(
    ("times", "expected"),
    [
        ({1: 1.0}, 1),
        ({1: 1.0, 2: 0.55, 4: 0.3}, 4),
        ({1: 1.0, 2: 0.95, 4: 0.9}, 1),  # not worth it
        ({1: 1.0, 2: 14.0}, 1),
        ({1: 1.0, 2: 1.2, 4: 0.5, 8: 0.49}, 4),
    ],
)
def test_more_threads_are_taken_only_where_they_pay(times: dict[int, float], expected: int) -> None:
    assert quickest(times) == expected


def test_measuring_leaves_no_trace_in_the_training(project: Path) -> None:
    config = read_config(write_config(project / "config.yaml"))
    run = Run.start(config, project, project / "run")
    before = run.trainer.checkpoint({})
    assert choose_threads(run.trainer) in range(1, MOST + 1)
    after = run.trainer.checkpoint({})
    assert before.state == after.state
    assert all(torch.equal(after.tensors[name], value) for name, value in before.tensors.items())
    assert torch.get_num_threads() == 1


@pytest.mark.parametrize("count", [1, 2])
def test_the_number_is_recorded_and_a_resumed_training_is_the_same_to_the_bit(
    project: Path, count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(so3md.training.run, "choose_threads", lambda trainer: count)
    config = read_config(write_config(project / "config.yaml", threads=None, training={"epochs": 3}))
    whole = Run.start(config, project, project / "whole")
    whole.train()
    stopped = Run.start(config, project, project / "stopped")
    assert json.loads((project / "stopped" / "run.json").read_text())["threads"] == count
    stopped.train(should_stop=lambda: stopped.trainer.step >= 4)
    monkeypatch.setattr(so3md.training.run, "choose_threads", lambda trainer: pytest.fail("measured again"))
    torch.set_num_threads(1)
    resumed = Run.resume(project / "stopped")
    assert resumed.threads == resumed.model.threads == count
    resumed.train()
    found, expected = resumed.trainer.checkpoint({}).tensors, whole.trainer.checkpoint({}).tensors
    assert all(torch.equal(found[name], value) for name, value in expected.items())


def test_pytorch_has_its_threads_back_afterwards(project: Path) -> None:
    torch.set_num_threads(3)
    run = Run.start(read_config(write_config(project / "config.yaml", threads=2)), project, project / "run")
    assert torch.get_num_threads() == 1  # the engine has the others
    run.train()
    assert torch.get_num_threads() == 3


def test_a_given_number_is_taken_without_measuring(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(so3md.training.run, "choose_threads", lambda trainer: pytest.fail("measured"))
    run = Run.start(read_config(write_config(project / "config.yaml", threads=2)), project, project / "run")
    assert run.threads == run.model.threads == 2
    assert "threads" not in run.record


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="other systems have other libraries of OpenMP")
@pytest.mark.parametrize(("given", "expected"), [({}, "PASSIVE"), ({"OMP_WAIT_POLICY": "ACTIVE"}, "ACTIVE")])
def test_threads_sleep_while_they_wait_unless_the_user_says_otherwise(given: dict[str, str], expected: str) -> None:
    program = (
        "import os, so3md.training; print(sorted(k for k in os.environ if k in ('OMP_WAIT_POLICY', 'KMP_BLOCKTIME')))"
    )
    own = {name: value for name, value in os.environ.items() if name not in ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT")}
    paths = {"PYTHONPATH": os.pathsep.join(sys.path), "OMP_DISPLAY_ENV": "TRUE"}
    result = subprocess.run(
        [sys.executable, "-c", program], env=own | paths | given, capture_output=True, text=True, check=True
    )
    assert result.stdout.strip() == str(list(given))  # children of this process are left alone
    if "OMP_WAIT_POLICY" not in result.stderr:
        pytest.skip("this PyTorch's library of OpenMP does not show its settings")
    assert f"OMP_WAIT_POLICY = '{expected}'" in result.stderr
