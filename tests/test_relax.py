"""so3md relax: what it writes and when, and what it says before it begins."""

from __future__ import annotations

import errno
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.build import molecule
from ase.io import read, write
from test_cli import fail, in_an_empty_directory, succeed  # noqa: F401 (a fixture for all tests)

from so3md import So3kratesCalculator
from so3md.cli import structure_output

QUICK = ("--threads", "1", "--lr-cutoff", "none")


@pytest.fixture
def water() -> str:
    write("water.xyz", molecule("H2O"))
    return "water.xyz"


def names() -> set[str]:
    return {path.name for path in Path().iterdir()}


# --- files ------------------------------------------------------------------------------------------------------------


def test_a_format_that_cannot_hold_the_structure_is_refused_before_the_work(water: str):
    message = fail("relax", water, *QUICK, "-o", "relaxed.vasp")
    assert "relaxed.vasp: the format vasp cannot hold this structure" in message
    assert names() == {water}
    picture = fail("relax", water, *QUICK, "-o", "relaxed.png")
    assert "relaxed.png: a file of the format png cannot be read as a structure again" in picture
    Path("relaxed.vasp").write_text("mine")
    fail("relax", water, *QUICK, "-o", "relaxed.vasp", "--overwrite")
    assert Path("relaxed.vasp").read_text() == "mine"


def test_overwriting_replaces_the_default_output_and_the_input(water: str):
    for count, options in enumerate(([], [], ["--overwrite"], ["--overwrite"])):
        succeed("relax", water, *QUICK, *options)
        assert len(names()) == min(count + 2, 3)
    assert names() == {water, "water-relaxed.xyz", "water-relaxed-2.xyz"}
    Path("link.xyz").symlink_to(water)
    succeed("relax", water, *QUICK, "-o", "link.xyz", "--overwrite")
    assert Path("link.xyz").is_symlink()
    np.testing.assert_array_equal(read(water).positions, read("water-relaxed.xyz").positions)


def failing_writes(monkeypatch: pytest.MonkeyPatch, error: Exception, *fine: int) -> None:
    """Let all writes of structures fail but those of these numbers."""
    calls = iter(range(100))

    def write_or_fail(*arguments: object, **options: object) -> None:
        if next(calls) not in fine:
            raise error
        write(*arguments, **options)

    monkeypatch.setattr(structure_output, "write", write_or_fail)


def test_a_full_disk_destroys_nothing(water: str, monkeypatch: pytest.MonkeyPatch):
    before = Path(water).read_text()
    failing_writes(monkeypatch, OSError(errno.ENOSPC, "No space left on device"), 0)
    message = fail("relax", water, *QUICK, "-o", water, "--overwrite")
    assert f"{water}: No space left on device; nor could the structure be written anywhere else" in message
    assert Path(water).read_text() == before
    assert names() == {water}


@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "No space left on device"), ValueError("too long")])
def test_what_cannot_be_written_at_the_end_is_written_beside(water: str, monkeypatch: pytest.MonkeyPatch, error):
    failing_writes(monkeypatch, error, 0, 2)
    message = fail("relax", water, *QUICK, "-o", "out.pdb")
    assert "the structure is in out.pdb.xyz" in message
    atoms = read("out.pdb.xyz")
    atoms.calc = So3kratesCalculator(lr_cutoff=None)
    assert np.linalg.norm(atoms.get_forces(), axis=1).max() <= 0.011  # of positions rounded to eight digits
    assert names() == {water, "out.pdb.xyz"}


def test_a_trajectory_takes_the_place_of_another_at_the_end(water: str):
    Path("steps.traj").write_text("mine")
    assert "exists" in fail("relax", water, *QUICK, "--trajectory", "steps.traj")
    succeed("relax", water, *QUICK, "--trajectory", "steps.traj", "--overwrite")
    assert len(read("steps.traj", ":")) > 1
    assert names() == {water, "steps.traj", "water-relaxed.xyz"}
    assert "ends in .traj" in fail("relax", water, *QUICK, "--trajectory", "steps.xyz", code=2)
    same = ("-o", "both.traj", "--trajectory", "both.traj")
    assert "the same file" in fail("relax", water, *QUICK, *same, code=2)


def test_values_of_the_input_that_no_longer_hold_are_left_out():
    atoms = molecule("H2O")
    atoms.info = {"REF_energy": -3.5, "virial": np.eye(3), "dipole": [1.0, 2.0, 3.0], "charge": 0, "name": "water"}
    atoms.arrays |= {"REF_forces": np.ones((3, 3)), "initial_charges": np.zeros(3), "residue": np.array([1, 1, 1])}
    atoms.set_momenta(np.ones((3, 3)))
    write("water.xyz", atoms, columns=None)
    succeed("relax", "water.xyz", *QUICK)
    relaxed = read("water-relaxed.xyz")
    assert relaxed.info == {"charge": 0, "name": "water"}
    assert set(relaxed.arrays) == {"numbers", "positions", "residue"}
    assert {"energy", "forces", "charges"} <= set(relaxed.calc.results)


# --- what is said ---------------------------------------------------------------------------------------------------


def test_charge_and_spin_are_always_said_as_they_are_used(water: str):
    assert "H2O, 3 atoms, charge 0, spin 0; so3lr, mixed precision" in succeed("relax", water, *QUICK)
    ion = Atoms("NH4", molecule("CH4").positions, cell=[6, 6, 6], pbc=True)
    write("ion.xyz", ion)
    options = ("--supercell", "3", "1", "1", "--threads", "1", "--lr-cutoff", "6", "--steps", "0")
    given = fail("relax", "ion.xyz", "--charge", "1", *options, "-o", "a.xyz")
    assert read("a.xyz").info["charge"] == 3
    ion.info["charge"] = 1
    write("charged.xyz", ion)
    assert fail("relax", "charged.xyz", *options, "-o", "b.xyz") == given
    assert read("b.xyz").info["charge"] == 3


@pytest.mark.parametrize(("cells", "charge", "odd"), [(1, 0, True), (1, 1, False), (3, 0, True), (3, 1, False)])
def test_odd_electrons_are_those_of_the_whole_system(cells: int, charge: int, odd: bool):
    write("radical.xyz", Atoms("NH4", molecule("CH4").positions, cell=[6, 6, 6], pbc=True))
    options = ("--threads", "1", "--lr-cutoff", "6", "--steps", "0", "--fmax", "1000")
    text = succeed("relax", "radical.xyz", "--supercell", str(cells), "1", "1", "--charge", str(charge), *options)
    assert ("an odd number of electrons" in text) == odd
    assert f"charge {cells * charge}" in text


def test_small_forces_are_reached_in_double_precision(water: str):
    text = succeed("relax", water, *QUICK, "--fmax", "1e-4", "-o", "a.xyz")
    assert "--fmax 0.0001 is below 0.001 eV/A, too little for mixed precision: double precision is used" in text
    assert "so3lr, double precision" in text
    assert "mixed precision" in succeed("relax", water, *QUICK, "--fmax", "1e-3", "-o", "b.xyz")
    options = ("--fmax", "5e-4", "--precision", "mixed", "-o", "c.xyz")
    assert "the optimizer may not converge" in succeed("relax", water, *QUICK, *options)


@pytest.mark.parametrize("value", ["nan", "inf", "-inf", "1e308", "-1", "0", "", "1e999"])
def test_absurd_limits_are_refused(water: str, value: str):
    assert "expected a positive number from 1e-12 to 1000 eV/A" in fail("relax", water, "--fmax", value, code=2)
    if value not in ("0", "-1"):
        fail("relax", water, "--pressure", value, "--cell", "full", code=2)
