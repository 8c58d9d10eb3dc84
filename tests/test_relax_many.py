"""so3md relax of all frames of a file: side by side, with those that fail named and left out."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.build import molecule
from ase.io import read, write
from sanitizers import patience
from test_cli import fail, in_an_empty_directory, read_csv, run, succeed  # noqa: F401 (a fixture for all tests)

from so3md import So3kratesCalculator

QUICK = ("--threads", "2", "--lr-cutoff", "none")


@pytest.fixture(autouse=True)
def path(in_an_empty_directory: None, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: F811 (the fixture)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, sys.path)))


def frames() -> list[Atoms]:
    """Water, an element that the model does not know, methane, and water of other positions."""
    rattled = molecule("H2O")
    rattled.rattle(0.1, seed=1)
    return [molecule("H2O"), Atoms("Au2", [[0, 0, 0], [2.5, 0, 0]]), molecule("CH4"), rattled]


def test_frames_are_relaxed_as_each_alone_and_failures_are_left_out() -> None:
    write("set.xyz", frames())
    result = run("relax", "set.xyz", "--all", *QUICK, "--fmax", "0.005", "--json", "set.json")
    assert result.exit_code == 1
    assert "Traceback" not in result.output
    assert "Warning: structure 1 is left out: " in result.output
    assert "3 converged, 1 failed" in result.output
    relaxed = read("set-relaxed.xyz", ":")
    assert [atoms.get_chemical_formula() for atoms in relaxed] == ["H2O", "CH4", "H2O"]
    calculator = So3kratesCalculator(lr_cutoff=None)
    for atoms in relaxed:
        stored = atoms.get_potential_energy()
        atoms.calc = calculator
        assert np.linalg.norm(atoms.get_forces(), axis=1).max() < 0.0052  # of positions with eight digits
        assert atoms.get_potential_energy() == pytest.approx(stored, abs=1e-4)
    rows = read_csv("set-relaxed.csv")
    assert [row["state"] for row in rows] == ["converged", "failed", "converged", "converged"]
    assert [row["structure"] for row in rows] == ["0", "1", "2", "3"]
    assert "Au" in rows[1]["error"]
    assert float(rows[0]["energy_eV"]) == pytest.approx(float(rows[3]["energy_eV"]), abs=1e-4)
    document = json.loads(Path("set.json").read_text())
    assert document["counts"] == {"converged": 3, "failed": 1}
    succeed("relax", "set.xyz", "--index", "3", *QUICK, "--fmax", "0.005", "-o", "one.xyz")
    assert read("one.xyz").get_potential_energy() == pytest.approx(
        relaxed[2].info.get("energy", float(rows[3]["energy_eV"])), abs=1e-4
    )


def test_slices_pick_frames() -> None:
    write("set.xyz", frames())
    assert "2 structures; 2 converged" in succeed("relax", "set.xyz", "--index", "::2", *QUICK, "-o", "half.xyz")
    assert [row["structure"] for row in read_csv("half.csv")] == ["0", "2"]
    assert "exists" in fail("relax", "set.xyz", "--index", "::2", *QUICK, "-o", "half.xyz")
    assert "there are no structures in" in fail("relax", "set.xyz", "--index", "9:", *QUICK)
    assert "expected a number, or a slice" in fail("relax", "set.xyz", "--index", "a:b", *QUICK)
    assert "for one structure" in fail("relax", "set.xyz", "--all", "--trajectory", "t.traj", *QUICK, code=2)


def test_what_does_not_converge_is_written_and_said() -> None:
    write("set.xyz", [frames()[3], frames()[3]])
    result = run("relax", "set.xyz", "--all", *QUICK, "--steps", "1")
    assert result.exit_code == 1
    assert "2 not converged" in result.output
    assert len(read("set-relaxed.xyz", ":")) == 2


def test_cells_and_supercells() -> None:
    box = molecule("H2O", cell=[7, 7, 7], pbc=True)
    write("set.xyz", [box, molecule("H2O")])
    result = run(
        "relax",
        "set.xyz",
        "--all",
        *("--threads", "1", "--lr-cutoff", "6"),
        "--supercell",
        "2",
        "1",
        "1",
        "--steps",
        "2",
        "--fmax",
        "1",
    )
    assert result.exit_code == 1
    assert [len(atoms) for atoms in read("set-relaxed.xyz", ":")] == [6]
    assert "not periodic" in read_csv("set-relaxed.csv")[1]["error"]


def test_ctrl_c_keeps_what_is_done() -> None:
    floppy = molecule("CH3CH2OH")
    floppy.rattle(0.1, seed=3)
    write("set.xyz", [molecule("H2O")] + [floppy] * 2000)
    process = subprocess.Popen(
        [sys.executable, "-m", "so3md", "relax", "set.xyz", "--all", "--threads", "1", "--fmax", "1e-3"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    begun = ""
    while "1 of 2001 relaxed" not in begun:
        begun = process.stdout.readline()
        assert begun, process.communicate()
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=patience(120))
    assert process.returncode == 130, errors
    assert "Traceback" not in errors
    states = [row["state"] for row in read_csv("set-relaxed.csv")]
    assert len(states) == 2001
    assert states[-1] == "stopped"
    assert len(read("set-relaxed.xyz", ":")) == sum(state != "stopped" for state in states) + sum(
        bool(row["energy_eV"]) and row["state"] == "stopped" for row in read_csv("set-relaxed.csv")
    )
