"""The recipes run as they are, in shortened form, with the real programs, and say what they should."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms, units
from ase.build import molecule
from ase.io import read, write
from optional_programs import needs
from sanitizers import patience

from so3md import evaluate_many

ROOT = Path(__file__).parent.parent
RECIPES = ROOT / "examples" / "recipes"
PAGES = ROOT / "docs" / "recipes"
TESTED = {
    "openmm_mixed.py",
    "path_integral_ipi.py",
    "phonons.py",
    "saddle.py",
    "thermochemistry.py",
}


def python(name: str, directory: Path, *arguments: str) -> str:
    """Run a recipe in a directory; returns what it printed. Fails if it does."""
    programs = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
    result = subprocess.run(
        [sys.executable, RECIPES / name, *arguments],
        cwd=directory,
        env=os.environ | {"PATH": programs, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        capture_output=True,
        text=True,
        timeout=patience(300),
    )
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


def numbers(pattern: str, output: str) -> list[float]:
    """The numbers in the groups of a pattern, which the output must have."""
    match = re.search(pattern, output)
    assert match, output
    return [float(text) for text in match.groups()]


def test_every_recipe_is_tested_and_has_its_page() -> None:
    files = {path.name for path in RECIPES.iterdir() if path.is_file()} - {"README.md"}
    assert files == TESTED
    listed = (RECIPES / "README.md").read_text(encoding="utf-8")
    pages = "\n".join(page.read_text(encoding="utf-8") for page in PAGES.glob("*.md"))
    for name in TESTED:
        assert f"`{name}" in listed
        assert f"examples/recipes/{name}" in pages


@needs("openmm", "openmmml")
def test_openmm_mixed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENMM_CPU_THREADS", "1")
    output = python("openmm_mixed.py", tmp_path, "4")
    assert numbers(r"(\d+) atoms by SO3LR, (\d+) by TIP3P", output)[0] == 22
    rows = [row.split(",") for row in output.splitlines() if re.match(r"\d+,", row)]
    assert int(rows[-1][0]) == 4
    assert 100 < float(rows[-1][2]) < 500  # K, from 300


@needs("ipi")
def test_path_integral_ipi(tmp_path: Path) -> None:
    write(tmp_path / "h2o.xyz", molecule("H2O"))
    output = python("path_integral_ipi.py", tmp_path, "h2o.xyz", "400")
    pattern = r"primitive: (\S+) \+- (\S+) eV\n.*virial: (\S+) \+- (\S+) eV\nclassical: (\S+) eV"
    primitive, its_error, virial, other_error, classical = numbers(pattern, output)
    assert abs(primitive - virial) < 4 * np.hypot(its_error, other_error)
    assert classical == pytest.approx(4.5 * 300 * 8.617333e-5, abs=1e-4)
    assert 1.5 * classical < virial < 4 * classical


def frequencies(atoms: Atoms) -> np.ndarray:
    """Of a cell by itself (cm^-1), by central differences: phonopy's at Gamma, without its symmetries."""
    step = 0.01
    moved = []
    for move in step * np.vstack([np.eye(3 * len(atoms)), -np.eye(3 * len(atoms))]):
        moved.append(atoms.copy())
        moved[-1].positions += move.reshape(-1, 3)
    forces = np.array([prediction.forces.ravel() for prediction in evaluate_many(moved, precision="double")])
    hessian = (forces[len(forces) // 2 :] - forces[: len(forces) // 2]) / (2 * step)
    masses = atoms.get_masses().repeat(3)
    squares = np.linalg.eigvalsh((hessian + hessian.T) / 2 / np.sqrt(np.outer(masses, masses)))
    return np.sqrt(np.maximum(squares, 0)) * units._hbar * units.m / np.sqrt(units._e * units._amu) / units.invcm


@needs("phonopy")
def test_phonons(tmp_path: Path) -> None:
    output = python("phonons.py", tmp_path, "1")
    listed = re.search(r"at Gamma \(cm\^-1\): (.*)", output)
    assert listed, output
    found = np.array(listed[1].split(), dtype=float)
    right = frequencies(read(tmp_path / "urea_relaxed.xyz"))
    assert np.abs(found[:3]).max() < 1  # the acoustic ones
    assert found[3:] == pytest.approx(right[3:], abs=1)  # of one displacement by symmetry, or all
    assert found[3] > 40
    heat = [float(text) for text in re.findall(r"Cv (\S+) J/mol/K", output)]
    assert heat == sorted(heat)
    assert heat[-1] < 48 * 8.314


@needs("sella")
def test_saddle(tmp_path: Path) -> None:
    output = python("saddle.py", tmp_path)
    band, saddle, imaginary = numbers(r"band: (\S+) eV\nsaddle: (\S+) eV.*\n.*: (\d+)", output)
    assert saddle == pytest.approx(band, abs=5e-3)
    assert 0.1 < saddle < 0.4
    assert imaginary == 1


def test_thermochemistry(tmp_path: Path) -> None:
    output = python("thermochemistry.py", tmp_path)
    (entropy,) = numbers(r"entropy at 298.15 K, 1 bar: (\S+) J/mol/K", output)
    assert entropy == pytest.approx(188.8, abs=1)  # CODATA: 188.835
    (bend, strength) = numbers(r"\n +(1\d\d\d) cm\^-1 +(\S+) km/mol", output)
    assert 1500 < bend < 1700
    assert 30 < strength < 150
