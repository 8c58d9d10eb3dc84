"""so3md md --replicas: runs side by side that differ in their seeds; stopping, going on, and one that fails."""

from __future__ import annotations

import json
import os
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
from test_cli import fail, in_an_empty_directory, read_csv, succeed  # noqa: F401 (a fixture for all tests)

from so3md.dynamics.outputs import read_log
from so3md.dynamics.summary import summary_of
from so3md.replicas import seeds_of, thread_shares
from so3md.replicas.processes import Job, run_jobs

QUICK = ("--threads", "2", "--no-plot", "--log-interval", "5", "--seed", "11")
ROOT = Path(__file__).parents[1]


@pytest.fixture(autouse=True)
def ethanol(in_an_empty_directory: None, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: F811 (the fixture)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, sys.path)))
    write("ethanol.xyz", molecule("CH3CH2OH"))


def test_replicas_have_different_seeds_that_follow_from_one() -> None:
    seeds = seeds_of(11, 100)
    assert len(set(seeds)) == 100
    assert seeds_of(11, 3) == seeds[:3]
    assert not set(seeds_of(12, 100)) & set(seeds)


@pytest.mark.parametrize(
    ("threads", "count", "expected"), [(8, 2, (2, 4)), (8, 3, (3, 2)), (2, 5, (2, 1)), (1, 1, (1, 1))]
)
def test_threads_are_shared(threads: int, count: int, expected: tuple[int, int]) -> None:
    assert thread_shares(threads, count) == expected


def test_replicas_run_and_are_summed_up() -> None:
    output = succeed("md", "ethanol.xyz", "--replicas", "3", "--steps", "20", *QUICK, "-o", "all", "--json", "all.json")
    assert "3 replicas of" in output
    assert "2 at once with 1 thread each" in output
    names = ["replica-1", "replica-2", "replica-3"]
    assert sorted(path.name for path in Path("all").iterdir() if path.is_dir()) == names
    seeds = [json.loads(Path("all", name, "run.json").read_text())["settings"]["seed"] for name in names]
    assert seeds == seeds_of(11, 3)
    means = []
    for name in names:
        log = read_log(Path("all", name, "log.csv"))
        assert log["step"].tolist() == [0, 5, 10, 15, 20]
        means.append(log["temperature_K"][-2:].mean())
    found = json.loads(Path("all.json").read_text())
    assert found == json.loads(Path("all", "summary.json").read_text())
    assert [item["mean"]["temperature_K"] for item in found["replicas"]] == pytest.approx(means)
    assert found["all"]["temperature_K"]["mean"] == pytest.approx(np.mean(means))
    assert found["all"]["temperature_K"]["standard_deviation"] == pytest.approx(np.std(means, ddof=1))
    assert f"{np.mean(means):.1f} ± {np.std(means, ddof=1):.1f}" in output

    # One of them is the run that its seed makes alone.
    alone = (
        "--threads",
        "1",
        "--no-plot",
        "--log-interval",
        "5",
        "--seed",
        str(seeds[1]),
        "--steps",
        "20",
        "-o",
        "alone",
    )
    succeed("md", "ethanol.xyz", *alone)
    assert Path("alone", "log.csv").read_text() == Path("all", "replica-2", "log.csv").read_text()

    assert "have done all of their steps" in fail("md", "--resume", "all", code=2)
    succeed("md", "--resume", "all", "--steps", "5", "--no-plot", "--threads", "2")
    assert [summary_of(Path("all", name))["steps"] for name in names] == [25, 25, 25]
    assert "has files in it" in fail("md", "ethanol.xyz", "--replicas", "3", "-o", "all")
    assert "has 3 replicas, of which 2" in fail("md", "ethanol.xyz", "--replicas", "2", "-o", "all", "--overwrite")
    succeed("md", "ethanol.xyz", "--replicas", "3", "--steps", "5", *QUICK, "-o", "all", "--overwrite")
    assert read_csv("all/replica-1/log.csv")[-1]["step"] == "5"


def test_a_replica_that_fails_is_named_and_does_not_take_the_others() -> None:
    # The second directory cannot be made: a file is in its place, put there while the first replica runs.
    Path("all").mkdir()
    from so3md.replicas import Plan

    plan = Plan(["--no-plot", "--log-interval", "5"], str(Path("ethanol.xyz").resolve()), 10, seeds_of(1, 3))
    plan.write(Path("all"))
    Path("all", "replica-2").touch()
    message = fail("md", "--resume", "all", "--threads", "1")
    assert "1 of 3 replicas failed, the others are done: replica-2: " in message
    found = json.loads(Path("all", "summary.json").read_text())
    assert [item["steps"] for item in found["replicas"]] == [10, 0, 10]
    assert found["replicas"][1]["error"]
    Path("all", "replica-2").unlink()
    succeed("md", "--resume", "all", "--threads", "1")  # the one that is missing
    assert summary_of(Path("all", "replica-2"))["steps"] == 10


def test_ctrl_c_stops_all_and_they_go_on() -> None:
    arguments = ["md", "ethanol.xyz", "--replicas", "3", "--steps", "100000", *QUICK, "-o", "all"]
    process = subprocess.Popen(
        [sys.executable, "-m", "so3md", *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    logs = [Path("all", f"replica-{number}", "log.csv") for number in (1, 2)]
    deadline = time.monotonic() + patience(120)
    while not all(log.exists() and len(log.read_text().splitlines()) > 3 for log in logs):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline, "the replicas did not begin"
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    output, errors = process.communicate(timeout=patience(120))
    assert process.returncode == 130, errors
    assert "Go on with: so3md md --resume all" in output
    assert not Path("all", "replica-3").exists()  # it was waiting for a core
    steps = [read(log.with_name("final.xyz")).info["step"] for log in logs]
    succeed("md", "--resume", "all", "--steps", "5", "--threads", "2", "--no-plot")
    assert [read(log.with_name("final.xyz")).info["step"] for log in logs] == [step + 5 for step in steps]
    assert summary_of(Path("all", "replica-3"))["steps"] == 5


def test_what_makes_no_sense_is_refused() -> None:
    assert "--replicas says how a run begins" in fail("md", "--resume", "x", "--replicas", "2", code=2)
    Path("mine").mkdir()
    Path("mine", "notes.txt").touch()
    message = fail("md", "ethanol.xyz", "--replicas", "2", "-o", "mine", "--overwrite")
    assert "that are not those of replicas" in message
    assert "structure 'none.xyz'" in fail("md", "none.xyz", "--replicas", "2")
    assert "friction" in fail("md", "ethanol.xyz", "--replicas", "2", "--ensemble", "nve", "--friction", "1")


# --- processes ------------------------------------------------------------------------------------------------------


def shell(name: str, text: str) -> Job:
    return Job(name, ["sh", "-c", text], Path(f"{name}.out"))


def test_jobs_run_a_few_at_once_and_all_end() -> None:
    jobs = [shell(str(number), f"echo begin; sleep 0.2; exit {number}") for number in range(5)]
    most = 0

    def look() -> None:
        nonlocal most
        most = max(most, sum(job.process is not None and job.process.poll() is None for job in jobs))

    run_jobs(jobs, 2, lambda: False, look)
    assert [job.exit_code for job in jobs] == list(range(5))
    assert 1 <= most <= 2
    assert jobs[3].reason() == "it ended with exit code 3; see 3.out"


def test_no_job_outlives_an_error() -> None:
    jobs = [shell("long", "sleep 600")]

    def fails() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_jobs(jobs, 1, lambda: False, fails)
    assert jobs[0].exit_code == -signal.SIGKILL
