"""Commands with --electric-field."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.io import read, write
from dynamics_tools import forget_choices
from test_cli import fail, in_an_empty_directory, read_csv, succeed  # noqa: F401 (a fixture for all tests)
from test_electric_field import FIELD, unwrapped_waters, water_dimer

from so3md import So3kratesCalculator
from so3md.lammps_input import LammpsStructure

OPTIONS = ("--electric-field", *map(str, FIELD), "--threads", "1")


@pytest.fixture
def dimer() -> str:
    write("dimer.xyz", water_dimer())
    return "dimer.xyz"


def energy_of(atoms: Atoms, **parameters: object) -> float:
    atoms.calc = So3kratesCalculator(threads=1, **{"electric_field": FIELD} | parameters)
    return atoms.get_potential_energy()


def test_md_runs_and_goes_on(dimer: str) -> None:
    output = succeed("md", dimer, *OPTIONS, "--steps", "4", "--log-interval", "1", "-o", "run")
    assert "Electric field 0.08 -0.05 0.11 V/A\n" in output
    succeed("md", "--resume", "run", "--steps", "4")
    record = json.loads(Path("run/run.json").read_text())
    assert record["calculator"]["electric_field"] == record["identity"]["electric_field"] == list(FIELD)
    energy = float(read_csv("run/log.csv")[-1]["potential_eV"])
    assert energy_of(read("run/final.xyz")) == pytest.approx(energy, rel=0, abs=1e-4)
    assert abs(energy_of(read("run/final.xyz"), electric_field=None) - energy) > 1e-3
    message = fail("md", "--resume", "run", "--electric-field", "0", "0", "0.2")
    assert "electric_field: the checkpoint has [0.08, -0.05, 0.11], this run [0.0, 0.0, 0.2]" in message


def test_runs_from_before_there_was_a_choice_go_on(dimer: str) -> None:
    succeed("md", dimer, "--threads", "1", "--steps", "2", "-o", "run")
    forget_choices("run", "electric_field")
    succeed("md", "--resume", "run", "--steps", "2")


def test_periodic_structures_are_warned_of() -> None:
    write("box.xyz", unwrapped_waters())
    output = succeed("md", "box.xyz", *OPTIONS, "--steps", "2", "-o", "run")
    assert output.count("electric_field in a periodic structure") == 1


def test_relax(dimer: str) -> None:
    succeed("relax", dimer, *OPTIONS, "--steps", "300", "--fmax", "0.05", "-o", "relaxed.xyz")
    relaxed = read("relaxed.xyz")
    assert energy_of(relaxed.copy()) == pytest.approx(relaxed.get_potential_energy(), rel=0, abs=1e-5)


def test_eval() -> None:
    atoms = water_dimer()
    atoms.info["REF_energy"] = energy_of(atoms, precision="double")
    atoms.calc = None
    write("set.xyz", atoms)
    succeed("eval", "set.xyz", *OPTIONS, "--precision", "double", "--energy-offset", "none", "-o", "out")
    summary = dict(line.split(",")[:2] for line in Path("out/summary.csv").read_text().splitlines())
    assert float(next(value for name, value in summary.items() if name.startswith("energy"))) < 1e-6


def test_lammps_inputs_have_it_in_the_frame_of_lammps() -> None:
    turned = unwrapped_waters()
    turned.rotate(37, (1, 2, 3), rotate_cell=True)
    write("box.xyz", turned)
    succeed("lammps", "box.xyz", *OPTIONS, "-o", "out")
    pattern = re.compile(r"^pair_style .* electric_field (\S+) (\S+) (\S+)", re.MULTILINE)
    found = pattern.search(Path("out/in.lammps").read_text())
    assert found
    expected = np.array(FIELD) @ LammpsStructure.of(turned).rotation
    np.testing.assert_allclose([float(word) for word in found.groups()], expected, rtol=0, atol=1e-7)
    succeed("lammps", "box.xyz", "--threads", "1", "-o", "other")
    assert not pattern.search(Path("other/in.lammps").read_text())


def test_bad_fields_are_refused(dimer: str) -> None:
    assert "--electric-field" in fail("relax", dimer, "--electric-field", "0", "0", "101", code=2)
    assert "electric-field" in fail("relax", dimer, "--electric-field", "0", "0", code=2)
