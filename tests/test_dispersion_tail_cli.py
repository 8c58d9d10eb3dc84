"""Commands with --dispersion-tail, and what they say of a tail that is not counted."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from ase.build import molecule
from ase.io import read, write
from dynamics_tools import forget_choices
from lammps_comparison import skewed_waters
from test_cli import fail, in_an_empty_directory, read_csv, succeed  # noqa: F401 (a fixture for all tests)

from so3md import So3kratesCalculator

OPTIONS = ("--dispersion-tail", "--threads", "1")


@pytest.fixture
def box() -> str:
    write("box.xyz", skewed_waters())
    return "box.xyz"


def energy_of(atoms, **parameters) -> float:
    atoms.calc = So3kratesCalculator(threads=1, **{"dispersion_tail": True} | parameters)
    return atoms.get_potential_energy()


def size_said(output: str, end: str) -> float:
    """In meV for each atom."""
    line = next(line for line in output.splitlines() if "ong-range cutoff" in line)
    found = re.search(rf"; dispersion beyond it: about (\S+) meV/atom, {end}", line)
    assert found, line
    return float(found[1])


@pytest.mark.parametrize("command", [("md", "--steps", "0"), ("relax", "--fmax", "100"), ("lammps",)])
def test_the_size_is_said(box: str, command: tuple[str, ...]) -> None:
    atoms = read(box)
    size = 1e3 * So3kratesCalculator(threads=1).get_dispersion_tail(atoms) / len(atoms)
    for options, end in (((), r"not counted \(--dispersion-tail\)$"), (("--dispersion-tail",), "counted as of")):
        arguments = (command[0], box, *command[1:], "--threads", "1", *options, "-o", f"out-{len(options)}.xyz")
        assert size_said(succeed(*arguments), end) == pytest.approx(size, rel=0.05)


@pytest.mark.parametrize("command", [("md", "--steps", "0"), ("relax",), ("lammps",)])
def test_molecules_have_none(command: tuple[str, ...]) -> None:
    write("water.xyz", molecule("H2O"))
    assert "dispersion beyond" not in succeed(command[0], "water.xyz", *command[1:], "--threads", "1", "-o", "out.xyz")
    message = fail(command[0], "water.xyz", *command[1:], *OPTIONS, "-o", "other.xyz")
    assert re.search("dispersion_tail.* periodic in all", message)


def test_md_runs_and_goes_on(box: str) -> None:
    succeed("md", box, *OPTIONS, "--steps", "4", "--log-interval", "1", "-o", "run")
    succeed("md", "--resume", "run", "--steps", "4")
    record = json.loads(Path("run/run.json").read_text())
    assert record["calculator"]["dispersion_tail"] is record["identity"]["dispersion_tail"] is True
    energy = float(read_csv("run/log.csv")[-1]["potential_eV"])
    assert energy_of(read("run/final.xyz")) == pytest.approx(energy, rel=0, abs=1e-4)
    assert abs(energy_of(read("run/final.xyz"), dispersion_tail=False) - energy) > 1e-3


def test_runs_from_before_there_was_a_choice_go_on(box: str) -> None:
    succeed("md", box, "--threads", "1", "--steps", "2", "-o", "run")
    forget_choices("run", "dispersion_tail")
    succeed("md", "--resume", "run", "--steps", "2")
    message = fail("md", "--resume", "run", "--dispersion-tail")
    assert "dispersion_tail: the checkpoint has False, this run True" in message


def test_relax(box: str) -> None:
    options = ("--steps", "300", "--fmax", "0.5", "--cell", "full")
    succeed("relax", box, *OPTIONS, *options, "-o", "relaxed.xyz")
    relaxed = read("relaxed.xyz")
    assert energy_of(relaxed.copy()) == pytest.approx(relaxed.get_potential_energy(), rel=0, abs=1e-5)


def test_eval() -> None:
    atoms = skewed_waters()
    atoms.info["REF_energy"] = energy_of(atoms, precision="double")
    atoms.calc = None
    write("set.xyz", atoms)
    succeed("eval", "set.xyz", *OPTIONS, "--precision", "double", "--energy-offset", "none", "-o", "out")
    summary = dict(line.split(",")[:2] for line in Path("out/summary.csv").read_text().splitlines())
    assert float(next(value for name, value in summary.items() if name.startswith("energy"))) < 1e-6


def test_lammps_inputs_have_it(box: str) -> None:
    succeed("lammps", box, *OPTIONS, "-o", "out")
    assert "dispersion_tail yes" in Path("out/in.lammps").read_text()
    succeed("lammps", box, "--threads", "1", "-o", "other")
    assert "dispersion_tail yes" not in Path("other/in.lammps").read_text()
