"""Starting programs under mpiexec, for tests."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

from sanitizers import patience

HERE = Path(__file__).parent

#: More ranks than cores, free to use any of them, and any user: what Open MPI wants to be told. Others take no notice.
_ENVIRONMENT = {
    "OMPI_MCA_hwloc_base_binding_policy": "none",
    "PRTE_MCA_hwloc_default_binding_policy": "none",
    "OMPI_MCA_rmaps_base_oversubscribe": "1",
    "PRTE_MCA_rmaps_default_mapping_policy": ":oversubscribe",
    "OMPI_ALLOW_RUN_AS_ROOT": "1",
    "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1",
}


def mpiexec(ranks: int, *arguments: str | Path) -> list[str]:
    """The command that starts a Python program (its file and arguments, or "-m", ...) on some ranks.

    The launcher is the one that the environment variable MPIEXEC names, or that of Python's environment, or of PATH.
    """
    beside = Path(sys.executable).parent / "mpiexec"  # of the same environment as mpi4py
    launcher = os.environ.get("MPIEXEC") or (str(beside) if beside.exists() else shutil.which("mpiexec"))
    assert launcher, "mpi4py is installed, and there is no mpiexec: an MPI library for mpi4py brings one"
    return [launcher, "-n", str(ranks), sys.executable, *map(str, arguments)]


def start(ranks: int, *arguments: str | Path, cwd: Path) -> subprocess.Popen:
    """Start a program; its output and errors come in one stream."""
    return subprocess.Popen(
        mpiexec(ranks, *arguments),
        cwd=cwd,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=os.environ | _ENVIRONMENT,
        start_new_session=True,
    )


def finish(process: subprocess.Popen, timeout: float = 90) -> str:
    """What a program prints until it ends; a hang is an error."""
    try:
        output, _ = process.communicate(timeout=patience(timeout))
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        output, _ = process.communicate()
        raise AssertionError(f"the ranks hang:\n{output}") from None
    return output


def run(ranks: int, *arguments: str | Path, cwd: Path, code: int | None = 0) -> str:
    """Run a program to its end; returns what it printed. code: the exit code that it must have; None: any but 0."""
    process = start(ranks, *arguments, cwd=cwd)
    output = finish(process)
    expected = process.returncode != 0 if code is None else process.returncode == code
    assert expected, f"exit code {process.returncode}:\n{output}"
    return output


def run_checks(name: str, ranks: int, cwd: Path, *arguments: Path) -> dict[str, Any]:
    """What a program of this folder reports: the JSON document in the last line that it prints."""
    return json.loads(run(ranks, HERE / name, *arguments, cwd=cwd).splitlines()[-1])
