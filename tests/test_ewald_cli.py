"""Commands with --coulomb ewald."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from ase.io import read, write
from dynamics_tools import forget_choices
from lammps_comparison import skewed_waters, waters
from test_cli import fail, in_an_empty_directory, read_csv, succeed  # noqa: F401 (a fixture for all tests)
from tolerances import EXACT

from so3md import So3kratesCalculator

OPTIONS = ("--coulomb", "ewald", "--threads", "1")
SAID = "lectrostatics by Ewald summation without a cutoff; dispersion cutoff 12 A"


@pytest.fixture
def box() -> str:
    write("box.xyz", skewed_waters())
    return "box.xyz"


def ewald_energy(atoms, **parameters) -> float:
    atoms.calc = So3kratesCalculator(coulomb="ewald", threads=1, **parameters)
    return atoms.get_potential_energy()


def test_md_runs_and_goes_on(box: str) -> None:
    output = succeed(
        "md", box, *OPTIONS, "--ewald-accuracy", "1e-8", "--steps", "4", "--log-interval", "1", "-o", "run"
    )
    assert SAID in output
    succeed("md", "--resume", "run", "--steps", "4")
    record = json.loads(Path("run/run.json").read_text())
    assert record["calculator"]["coulomb"] == record["identity"]["coulomb"] == "ewald"
    assert record["calculator"]["ewald_accuracy"] == 1e-8
    energy = float(read_csv("run/log.csv")[-1]["potential_eV"])
    assert ewald_energy(read("run/final.xyz"), ewald_accuracy=1e-8) == pytest.approx(energy, rel=0, abs=1e-4)
    message = fail("md", "--resume", "run", "--coulomb", "cutoff", "--steps", "2")
    assert "coulomb: the checkpoint has ewald, this run cutoff" in message
    message = fail("md", "--resume", "run", "--ewald-method", "mesh", "--steps", "2")
    assert "ewald_method: the checkpoint has auto, this run mesh" in message


def test_runs_from_before_there_was_a_choice_go_on(box: str) -> None:
    succeed("md", box, "--threads", "1", "--steps", "2", "-o", "run")
    forget_choices("run", "coulomb", "ewald_accuracy", "ewald_method")
    succeed("md", "--resume", "run", "--steps", "2")
    assert "coulomb: the checkpoint has cutoff, this run ewald" in fail("md", "--resume", "run", "--coulomb", "ewald")


def test_relax(box: str) -> None:
    output = succeed("relax", box, *OPTIONS, "--steps", "300", "--fmax", "0.5", "--cell", "full", "-o", "relaxed.xyz")
    assert SAID in output
    relaxed = read("relaxed.xyz")
    assert ewald_energy(relaxed.copy()) == pytest.approx(relaxed.get_potential_energy(), rel=0, abs=1e-5)


def test_eval() -> None:
    frames = [skewed_waters(), waters(1, 2, 2)]
    for atoms in frames:
        atoms.info["REF_energy"] = ewald_energy(atoms, precision="double")
        atoms.calc = None
    write("set.xyz", frames)
    options = (*OPTIONS, "--precision", "double", "--energy-offset", "none")
    assert SAID in succeed("eval", "set.xyz", *options, "-o", "out")
    summary = dict(line.split(",")[:2] for line in Path("out/summary.csv").read_text().splitlines())
    assert float(next(value for name, value in summary.items() if name.startswith("energy"))) < 1e3 * EXACT.component


def test_bench() -> None:
    output = succeed("bench", "--atoms", "192", "--threads", "1", "--seconds", "0.1", "--coulomb", "ewald", "--json")
    report = json.loads(output[output.index("{") :])  # after the progress
    assert report["coulomb"] == "ewald"
    assert report["cases"][0]["stage_shares"]["ewald"] > 0


@pytest.mark.parametrize("command", ["md", "relax", "lammps"])
def test_slabs_are_refused(command: str) -> None:
    slab = skewed_waters()
    slab.pbc = (True, True, False)
    write("slab.xyz", slab)
    assert "periodic in all" in fail(command, "slab.xyz", *OPTIONS, "-o", "out.xyz")
