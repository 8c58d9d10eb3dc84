"""The example of examples/paper runs, and its model is the one whose errors stand beside it."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from ase.build import molecule
from sanitizers import patience

from so3md import So3kratesCalculator
from so3md.model_file import ModelFile

ROOT = Path(__file__).parent.parent
MODEL = ROOT / "examples" / "paper" / "ethanol.safetensors"


def test_the_model_is_that_of_its_errors() -> None:
    report = json.loads(MODEL.with_suffix(".json").read_text())
    model = ModelFile.read(MODEL)
    assert model.num_parameters == report["parameters"] <= 700_000
    assert model.provenance["train"]["config"] == report["config"]
    assert model.provenance["train"]["epoch"] == report["epoch"]
    assert model.provenance["train"]["validation_loss"] == pytest.approx(report["validation_loss"])


def test_forces_are_derivatives_of_the_energy() -> None:
    atoms = molecule("CH3CH2OH")
    atoms.rattle(0.05, seed=1)
    atoms.calc = So3kratesCalculator(str(MODEL), precision="double", lr_cutoff=None)
    forces, start, step = atoms.get_forces(), atoms.positions.copy(), 1e-4
    energies = []
    for sign in (1, -1):
        atoms.positions = start + sign * step * forces
        energies.append(atoms.get_potential_energy())
    assert (energies[1] - energies[0]) / (2 * step) == pytest.approx((forces**2).sum(), rel=1e-5)


def test_the_example_runs(tmp_path: Path) -> None:
    script = MODEL.parent / "ethanol_md.py"
    run = subprocess.run(
        [sys.executable, script, "200"], cwd=tmp_path, capture_output=True, text=True, timeout=patience(120)
    )
    assert run.returncode == 0, run.stderr
    numbers = [float(value) for value in re.findall(r"(-?\d+\.\d+) m?eV", run.stdout)]
    minimum, barrier, change = numbers
    assert -4217 < minimum < -4214  # the scale of MD17's total energies
    assert 0.03 < barrier < 0.2
    assert abs(change) < 10
    temperature = re.search(r"ps: (\d+) K", run.stdout)
    assert temperature
    assert 50 < float(temperature[1]) < 600
