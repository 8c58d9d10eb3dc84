"""A disk that fills up, a kill at any moment, a folder that may not be written, for every command that works for long.

Nothing is lost but what came after the last checkpoint, and one line says what is wrong (docs/trust.md has a table).

A kill and a full disk come at a moment when a file is handed to the disk (os.fsync), because what else happens between
two of these is lost in either case.
"""

from __future__ import annotations

import csv
import ctypes
import errno
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ase.build import molecule
from ase.io import read, write
from sanitizers import patience
from test_cli import fail, in_an_empty_directory, run, succeed  # noqa: F401 (a fixture for all tests)

from so3md.model_file import ModelFile

KILLED = -signal.SIGKILL


@pytest.fixture(autouse=True)
def inputs(in_an_empty_directory: None, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: F811 (the fixture)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, sys.path)))
    write("ethanol.xyz", molecule("CH3CH2OH"))
    write("water.xyz", molecule("H2O"))


# --- the commands ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Work:
    """A command: how it begins and goes on, the file without which it begins anew, and what it must leave."""

    begin: tuple[str, ...]
    go_on: tuple[str, ...]
    record: str
    results: Callable[[], dict[str, Any]]
    moments: tuple[float, ...]  # of its syncs, 0 the first and 1 the last
    prepare: Callable[[], None] = lambda: None

    def again(self) -> tuple[str, ...]:
        """How a user goes on after a failure."""
        return self.go_on if Path(self.record).exists() else (*self.begin, "--overwrite")


def files(*names: str) -> dict[str, Any]:
    return {name: Path(name).read_bytes() for name in names}


def tensors(name: str) -> dict[str, Any]:
    return {f"{name}: {key}": value.tobytes() for key, value in ModelFile.read(name).tensors.items()}


def training_log(name: str) -> dict[str, Any]:
    with Path(name).open(newline="", encoding="utf-8") as file:
        return {name: [{key: row[key] for key in row if key != "seconds"} for row in csv.DictReader(file)]}


def training_data() -> None:
    pytest.importorskip("torch", reason="training needs PyTorch (extra 'torch')")
    from training_tools import write_config, write_molecules

    write_molecules(Path("molecules.xyz"))
    write_config(Path("config.yaml"), output="run", training={"epochs": 3, "validation_interval": 1})


def needs_torch() -> None:
    pytest.importorskip("torch", reason="training needs PyTorch (extra 'torch')")


MD = (
    "--steps",
    "40",
    "--seed",
    "3",
    "--threads",
    "1",
    "--no-plot",
    "--log-interval",
    "1",
    "--trajectory-interval",
    "2",
)
MD = (*MD, "--checkpoint-interval", "10", "-o", "run")
SMALL = ("--frames", "10", "--layers", "1", "--features", "8", "--epochs", "2", "--threads", "1", "--seed", "5")
RUN = ("log.csv", "trajectory.xyz", "final.xyz")

WORK = {
    "md": Work(
        ("md", "ethanol.xyz", *MD),
        ("md", "--resume", "run", "--no-plot"),
        "run/checkpoint.npz",
        lambda: files(*(f"run/{name}" for name in RUN)),
        (0.1, 0.4, 0.7, 0.965, 1.0),
    ),
    "train": Work(
        ("train", "config.yaml"),
        ("train", "--resume", "run"),
        "run/run.json",
        lambda: tensors("run/model.safetensors") | training_log("run/log.csv"),
        (0.1, 0.5, 0.9),
        training_data,
    ),
    "distill": Work(
        ("distill", "water.xyz", *SMALL, "-o", "water.safetensors"),
        ("distill", "--resume", "water"),
        "water/distill.json",
        lambda: tensors("water.safetensors"),
        (0.3, 0.6, 1.0),
        needs_torch,
    ),
}


@pytest.fixture(autouse=True)
def a_checkpoint_at_every_validation(monkeypatch: pytest.MonkeyPatch) -> None:
    """Instead of twice a minute."""
    try:
        from so3md.training import run as training
    except ImportError:  # without PyTorch
        return
    monkeypatch.setattr(training, "_CHECKPOINT_EVERY", -1.0)


class Syncs:
    """os.fsync that counts, and from some call on does what is to go wrong."""

    def __init__(self, fails_at: int | None, fault: Callable[[], None]) -> None:
        self.count, self._fails_at, self._fault, self._real = 0, fails_at, fault, os.fsync

    def __call__(self, handle: int) -> None:
        self.count += 1
        if self._fails_at is not None and self.count >= self._fails_at:
            self._fault()
        self._real(handle)


def no_space() -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def undisturbed(work: Work, monkeypatch: pytest.MonkeyPatch) -> tuple[dict[str, Any], int]:
    """What the command leaves, and how often it syncs; its files are removed again."""
    before = {path.name for path in Path().iterdir()}
    syncs = Syncs(None, no_space)
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", syncs)
        succeed(*work.begin)
    found = work.results()
    for path in Path().iterdir():
        if path.name not in before:
            subprocess.run(["rm", "-r", str(path)], check=True)
    return found, syncs.count


def moments_of(work: Work, count: int) -> list[int]:
    return sorted({max(1, round(moment * count)) for moment in work.moments})


def assert_goes_on_as_if_nothing_had_happened(work: Work, expected: dict[str, Any], when: str) -> None:
    # What is done is done: then the files are there and there is nothing to go on with.
    result = run(*work.again())
    assert result.exit_code == 0 or "has done all" in result.output, f"{when}: {result.output}"
    assert "Traceback" not in result.output, when
    found = work.results()
    assert found.keys() == expected.keys(), when
    for name, value in expected.items():
        assert found[name] == value, f"{when}: {name}"
    assert not list(Path().rglob("*.partial")), when


def start_anew(keep: set[str]) -> None:
    for path in Path().iterdir():
        if path.name not in keep:
            subprocess.run(["rm", "-r", str(path)], check=True)


# --- a full disk ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", WORK)
def test_a_disk_that_fills_up_costs_nothing_but_time(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    work = WORK[name]
    work.prepare()
    keep = {path.name for path in Path().iterdir()}
    expected, count = undisturbed(work, monkeypatch)
    for moment in moments_of(work, count):
        with monkeypatch.context() as patch:
            patch.setattr(os, "fsync", Syncs(moment, no_space))
            message = fail(*work.begin)
        assert message.endswith(": No space left on device"), message
        assert_goes_on_as_if_nothing_had_happened(work, expected, f"full at sync {moment} of {count}")
        start_anew(keep)


# --- a kill ---------------------------------------------------------------------------------------------------------

#: so3md in a process that is killed before its n-th sync.
KILLED_AT = """
import os, signal, sys
count, real = 0, os.fsync
def fsync(handle):
    global count
    count += 1
    if count == int(sys.argv[1]):
        os.kill(os.getpid(), signal.SIGKILL)
    real(handle)
os.fsync = fsync
try:
    from so3md.training import run as training
    training._CHECKPOINT_EVERY = -1.0
except ImportError:
    pass
from so3md.cli import main
main(sys.argv[2:])
"""


@pytest.mark.parametrize("name", WORK)
def test_a_process_that_is_killed_goes_on_to_the_bit(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    work = WORK[name]
    work.prepare()
    keep = {path.name for path in Path().iterdir()}
    expected, count = undisturbed(work, monkeypatch)
    for moment in moments_of(work, count)[-2:]:
        command = [sys.executable, "-c", KILLED_AT, str(moment), *work.begin]
        process = subprocess.run(command, capture_output=True, text=True, timeout=patience(300))
        assert process.returncode == KILLED, process.stderr
        assert_goes_on_as_if_nothing_had_happened(work, expected, f"killed at sync {moment} of {count}")
        start_anew(keep)


def test_a_command_that_is_killed_while_it_relaxes_leaves_the_file_that_was_there() -> None:
    """It writes at its end, as a whole."""
    slow = molecule("CH3CH2OH")
    slow.rattle(0.1, seed=3)
    write("set.xyz", [molecule("H2O"), *[slow] * 2000])
    write("relaxed.xyz", molecule("CH4"))
    before = Path("relaxed.xyz").read_bytes()
    options = ("--all", "--threads", "1", "--lr-cutoff", "none", "--fmax", "1e-3", "-o", "relaxed.xyz", "--overwrite")
    command = [sys.executable, "-m", "so3md", "relax", "set.xyz", *options]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True)
    assert process.stdout is not None
    while line := process.stdout.readline():
        if "of 2001 relaxed" in line:
            break
    os.killpg(process.pid, signal.SIGKILL)
    assert process.wait() == KILLED
    assert Path("relaxed.xyz").read_bytes() == before
    assert sorted(path.name for path in Path().iterdir()) == ["ethanol.xyz", "relaxed.xyz", "set.xyz", "water.xyz"]


# --- replicas -------------------------------------------------------------------------------------------------------

REPLICAS = ("md", "ethanol.xyz", "--replicas", "2", "--steps", "200", "--seed", "3", "--threads", "2", "--no-plot")
REPLICAS = (*REPLICAS, "--log-interval", "1", "--trajectory-interval", "5", "--checkpoint-interval", "20", "-o", "all")


def replica_results() -> dict[str, Any]:
    return files(*(f"all/replica-{number}/{name}" for number in (1, 2) for name in RUN))


def test_replicas_that_are_killed_go_on_to_the_bit() -> None:
    succeed(*REPLICAS)
    expected = replica_results()
    subprocess.run(["rm", "-r", "all"], check=True)
    process = subprocess.Popen([sys.executable, "-m", "so3md", *REPLICAS], stdout=subprocess.DEVNULL)
    logs = [Path(f"all/replica-{number}/log.csv") for number in (1, 2)]
    deadline = time.monotonic() + patience(120)
    while not all(log.exists() and log.read_bytes().count(b"\n") > 50 for log in logs):
        assert process.poll() is None, "the replicas ended before they could be killed"
        assert time.monotonic() < deadline, "the replicas did not begin"
        time.sleep(0.01)
    children = [int(pid) for pid in children_of(process.pid)]
    process.kill()
    process.wait()
    for pid in children:
        os.kill(pid, signal.SIGKILL)
    assert len(children) == 2
    while any(Path(f"/proc/{pid}/exe").exists() for pid in children):  # until their locks are gone
        time.sleep(0.01)
    result = run("md", "--resume", "all", "--threads", "2", "--no-plot")
    assert result.exit_code == 0, result.output
    assert replica_results() == expected


def children_of(pid: int) -> list[str]:
    """Of all threads of a process."""
    return [
        child
        for task in Path(f"/proc/{pid}/task").iterdir()
        for child in (task / "children").read_text(encoding="ascii").split()
    ]


def test_a_replica_whose_disk_is_full_is_named_and_goes_on() -> None:
    import resource

    def little_room() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (9_000, 9_000))

    command = [sys.executable, "-m", "so3md", *REPLICAS]
    stopped = subprocess.run(command, capture_output=True, text=True, preexec_fn=little_room, timeout=patience(300))
    assert stopped.returncode == 1
    assert "Traceback" not in stopped.stderr
    assert "2 of 2 replicas failed" in stopped.stderr, stopped.stderr
    assert "File too large" in stopped.stderr
    result = run("md", "--resume", "all", "--threads", "2", "--no-plot")
    assert result.exit_code == 0, result.output
    for number in (1, 2):
        rows = np.loadtxt(f"all/replica-{number}/log.csv", delimiter=",", skiprows=1, usecols=0)
        np.testing.assert_array_equal(rows, np.arange(201))
        frames = read(f"all/replica-{number}/trajectory.xyz", ":")
        assert [frame.info["step"] for frame in frames] == list(range(0, 201, 5))


# --- a folder that may not be written -------------------------------------------------------------------------------


class _Header(ctypes.Structure):
    _fields_ = [("version", ctypes.c_uint32), ("pid", ctypes.c_int)]


class _Sets(ctypes.Structure):
    _fields_ = [(name, ctypes.c_uint32) for name in ("effective", "permitted", "inheritable")]


@pytest.fixture
def permissions_count() -> Iterator[None]:
    """For root as well, who is let through by capabilities that this process lays down for a while."""
    if os.geteuid() != 0:
        yield
        return
    libc = ctypes.CDLL(None, use_errno=True)
    header, sets = _Header(0x20080522, 0), (_Sets * 2)()
    if not hasattr(libc, "capget") or libc.capget(ctypes.byref(header), sets) != 0:
        pytest.skip("root may write anywhere, and this system has no capabilities to lay down")
    before = sets[0].effective
    override, search = 1 << 1, 1 << 2  # CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH
    sets[0].effective = before & ~(override | search)
    assert libc.capset(ctypes.byref(header), sets) == 0, os.strerror(ctypes.get_errno())
    yield
    sets[0].effective = before
    assert libc.capset(ctypes.byref(header), sets) == 0


@pytest.fixture
def locked(permissions_count: None) -> Iterator[Path]:
    """A folder that may not be written."""
    folder = Path("locked")
    folder.mkdir()
    folder.chmod(0o555)
    with pytest.raises(PermissionError):
        (folder / "file").touch()
    yield folder
    folder.chmod(0o755)


NEW = {
    "md": ("md", "ethanol.xyz", "--steps", "5", "-o", "locked/run"),
    "replicas": ("md", "ethanol.xyz", "--replicas", "2", "--steps", "5", "-o", "locked/run"),
    "train": ("train", "config.yaml", "-o", "locked/run"),
    "distill": ("distill", "water.xyz", *SMALL, "-o", "locked/water.safetensors"),
    "relax": ("relax", "ethanol.xyz", "-o", "locked/ethanol.xyz"),
    "relax --all": ("relax", "ethanol.xyz", "--all", "-o", "locked/ethanol.xyz"),
    "lammps": ("lammps", "ethanol.xyz", "-o", "locked/run"),
}


@pytest.mark.parametrize("name", NEW)
def test_a_folder_that_may_not_be_written_is_named(name: str, locked: Path) -> None:
    if name == "train":
        training_data()
    if name == "distill":
        needs_torch()
    message = fail(*NEW[name])
    assert "locked" in message
    assert "ermission denied" in message
    assert not list(locked.iterdir())


def test_a_run_in_a_folder_that_may_no_longer_be_written_is_left_as_it_was(permissions_count: None) -> None:
    work = WORK["md"]
    succeed(*work.begin)
    before = {path.name: path.read_bytes() for path in Path("run").iterdir()}
    Path("run").chmod(0o555)
    try:
        assert "ermission denied" in fail(*work.go_on, "--steps", "5")
        assert {path.name: path.read_bytes() for path in Path("run").iterdir()} == before
    finally:
        Path("run").chmod(0o755)
    succeed(*work.go_on, "--steps", "5")
