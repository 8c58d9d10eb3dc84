"""The command line as a process: signals, and output that is no terminal."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from ase.build import molecule
from ase.io import read, write
from sanitizers import patience

from so3md.dynamics.checkpoint import Checkpoint

COMMAND = [sys.executable, "-m", "so3md"]


def wait_for_steps(log: Path, process: subprocess.Popen) -> None:
    """Until the run has begun."""
    deadline = time.monotonic() + 60
    while not (log.exists() and len(log.read_text().splitlines()) > 3):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline, "the run did not begin"
        time.sleep(0.02)


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM"])
def test_a_signal_stops_a_run_cleanly_with_everything_saved(name: str, tmp_path):
    write(tmp_path / "ethanol.xyz", molecule("CH3CH2OH"))
    arguments = ["md", "ethanol.xyz", "--steps", "10000000", "--log-interval", "1", "--threads", "1", "-o", "run"]
    process = subprocess.Popen(
        COMMAND + arguments, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    wait_for_steps(tmp_path / "run" / "log.csv", process)
    number = getattr(signal, name)
    process.send_signal(number)
    output, errors = process.communicate(timeout=patience(60))
    assert process.returncode == 128 + number
    assert "Traceback" not in errors
    last = int((tmp_path / "run" / "log.csv").read_text().splitlines()[-1].split(",")[0])
    assert f"Stopped after step {last}" in output
    assert Checkpoint.read(tmp_path / "run" / "checkpoint.npz").step == last
    assert read(tmp_path / "run" / "final.xyz").info["step"] == last
    assert (tmp_path / "run" / "log.png").exists()

    resumed = subprocess.run(
        [*COMMAND, "md", "--resume", "run", "--steps", "5"], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert f"Steps {last} to {last + 5}" in resumed.stdout
    steps = np.loadtxt(tmp_path / "run" / "log.csv", delimiter=",", skiprows=1, usecols=0)
    np.testing.assert_array_equal(steps, np.arange(last + 6))


@pytest.mark.skipif(not hasattr(os, "openpty"), reason="this system has no pseudo-terminals")
def test_a_terminal_gets_a_progress_bar_and_a_file_plain_lines(tmp_path):
    write(tmp_path / "ethanol.xyz", molecule("CH3CH2OH"))
    arguments = [*COMMAND, "md", "ethanol.xyz", "--steps", "20", "--threads", "1", "--no-plot"]
    plain = subprocess.run(arguments, cwd=tmp_path, capture_output=True, check=True).stdout
    assert b"\x1b" not in plain
    assert b"step 20 of 20: " in plain

    leader, follower = os.openpty()
    environment = os.environ | {"TERM": "xterm-256color", "COLUMNS": "120"}
    process = subprocess.Popen(arguments, cwd=tmp_path, stdout=follower, stderr=follower, env=environment)
    os.close(follower)
    shown = b""
    while True:
        try:
            piece = os.read(leader, 4096)
        except OSError:  # Linux says so when the other side is closed
            break
        if not piece:
            break
        shown += piece
    os.close(leader)
    assert process.wait(timeout=patience(60)) == 0
    assert "━".encode() in shown
    assert b"20/20" in shown
    assert b"ns/day" in shown


def test_a_disk_that_is_full_is_named_and_the_run_goes_on_later(tmp_path):
    def some_frames_only() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (20000, 20000))

    write(tmp_path / "ethanol.xyz", molecule("CH3CH2OH"))
    arguments = [*COMMAND, "md", "ethanol.xyz", "--steps", "40", "--threads", "1", "--no-plot", "-o", "run"]
    arguments += ["--trajectory-interval", "1", "--checkpoint-interval", "2"]
    stopped = subprocess.run(arguments, cwd=tmp_path, capture_output=True, text=True, preexec_fn=some_frames_only)
    assert stopped.returncode == 1
    assert stopped.stderr.splitlines()[-1] == "Error: run/trajectory.xyz: File too large"
    resumed = subprocess.run(
        [*COMMAND, "md", "--resume", "run", "--no-plot"], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert "Warning" not in resumed.stderr
    assert [frame.info["step"] for frame in read(tmp_path / "run" / "trajectory.xyz", ":")] == list(range(41))
