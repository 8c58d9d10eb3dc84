"""so3md select and so3md label: which structures are chosen, and what is written of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, molecule
from ase.calculators.emt import EMT
from ase.constraints import FixAtoms
from ase.io import read, write
from click.testing import CliRunner, Result

from so3md import So3kratesCalculator
from so3md.cli import main
from so3md.last_layer import farthest


def run(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(item) for item in arguments], env={"COLUMNS": "300"})


def ok(*arguments: object) -> str:
    result = run(*arguments)
    assert result.exit_code == 0, result.output
    return result.output


def fail(*arguments: object) -> str:
    result = run(*arguments)
    assert result.exit_code != 0
    return result.output


# --- farthest points ------------------------------------------------------------------------------------------------


def test_the_next_point_is_the_farthest_from_those_before() -> None:
    points = np.array([[0.0], [1.0], [10.0], [4.0], [10.1]])
    assert farthest(points, 3) == [4, 0, 3]  # 10.1 is farthest from the mean, 5; then 0; then 4, which is 4 from both
    assert farthest(points, 2, known=np.array([[0.0], [10.0]])) == [3, 1]


def test_copies_are_not_chosen_twice() -> None:
    points = np.array([[0.0, 0.0], [3.0, 4.0], [0.0, 0.0], [3.0, 4.0]])
    assert len(farthest(points, 4)) == 2
    assert farthest(points, 4, known=points[:2]) == []


# --- select ---------------------------------------------------------------------------------------------------------


def stretched(by: float) -> Atoms:
    atoms = molecule("H2O")
    atoms.positions[1] += by * (atoms.positions[1] - atoms.positions[0])
    return atoms


def test_structures_that_differ_are_chosen_and_their_values_left(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    alike = [stretched(0.001 * rng.normal()) for _ in range(8)]
    odd = [stretched(0.3), stretched(-0.15)]
    frames = [*alike[:4], odd[0], *alike[4:], odd[1]]
    for number, atoms in enumerate(frames):
        atoms.info |= {"energy": -1.0, "charge": 0, "number": number, "weight": 0.5}
        atoms.arrays |= {"forces": np.zeros((3, 3)), "REF_forces": np.zeros((3, 3))}
    write(tmp_path / "frames.xyz", frames, format="extxyz")
    assert "3 of 10 structures in" in ok("select", tmp_path / "frames.xyz", "-n", 3, "-o", tmp_path / "chosen.xyz")
    chosen = read(tmp_path / "chosen.xyz", ":")
    assert {4, 9} < {atoms.info["number"] for atoms in chosen}
    assert all(atoms.calc is None and not atoms.arrays.keys() & {"forces", "REF_forces"} for atoms in chosen)
    assert all(atoms.info["weight"] == 0.5 for atoms in chosen)


def test_known_structures_are_kept_away_from(tmp_path: Path) -> None:
    write(tmp_path / "frames.xyz", [stretched(by) for by in (0.0, 0.1, 0.3)], format="extxyz")
    write(tmp_path / "known.xyz", [stretched(0.3)], format="extxyz")
    files = [tmp_path / "frames.xyz", "--known", tmp_path / "known.xyz"]
    ok("select", *files, "-n", 1, "-o", tmp_path / "chosen.xyz")
    np.testing.assert_allclose(read(tmp_path / "chosen.xyz").positions, stretched(0.0).positions, atol=1e-6)
    said = ok("select", *files, "-n", 3, "-o", tmp_path / "chosen.xyz", "--overwrite")
    assert "2 of 3 structures" in said
    assert "The others are no different from these." in said
    assert "exists; choose another --output" in fail("select", *files, "-o", tmp_path / "chosen.xyz")


def test_charge_and_spin_are_those_of_known_structures_too(tmp_path: Path) -> None:
    write(tmp_path / "frames.xyz", [stretched(by) for by in (0.0, 0.3)], format="extxyz")
    write(tmp_path / "known.xyz", [stretched(0.0)], format="extxyz")
    state = ["--charge", 1, "--spin", 0.5]
    said = ok("select", tmp_path / "frames.xyz", "--known", tmp_path / "known.xyz", *state, "-o", tmp_path / "new.xyz")
    assert "1 of 2 structures" in said


# --- label ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def waters(tmp_path: Path) -> Path:
    frames = [stretched(by) for by in (0.0, 0.02, 0.05)]
    write(tmp_path / "waters.xyz", frames, format="extxyz")
    return tmp_path / "waters.xyz"


def test_a_model_labels_structures_as_training_reads_them(waters: Path, tmp_path: Path) -> None:
    assert "3 structures labelled by so3lr, 0 left out" in ok(
        "label", waters, "--calculator", "so3lr", "--set", "precision=double", "-o", tmp_path / "out.xyz"
    )
    calculator = So3kratesCalculator(precision="double")
    for found, atoms in zip(read(tmp_path / "out.xyz", ":"), read(waters, ":"), strict=True):
        # Files have eight digits of positions.
        assert found.info["REF_energy"] == pytest.approx(calculator.get_potential_energy(atoms), abs=1e-6)
        np.testing.assert_allclose(found.arrays["REF_forces"], calculator.get_forces(atoms), rtol=0, atol=1e-6)


def test_a_calculator_of_ase_labels_crystals_with_stress(tmp_path: Path) -> None:
    copper = bulk("Cu", cubic=True)
    copper.rattle(0.05, seed=1)
    write(tmp_path / "copper.xyz", copper, format="extxyz")
    for name in ("emt", "ase.calculators.emt:EMT"):
        ok("label", tmp_path / "copper.xyz", "--calculator", name, "-o", tmp_path / "out.xyz", "--overwrite")
        found = read(tmp_path / "out.xyz")
        copper.calc = EMT()
        np.testing.assert_allclose(found.info["REF_stress"], copper.get_stress(voigt=False), rtol=0, atol=1e-6)
        np.testing.assert_allclose(found.arrays["REF_forces"], copper.get_forces(), rtol=0, atol=1e-6)


class Fixed(EMT):
    """Looks at what atoms have of their own."""

    def calculate(self, atoms: Atoms, *arguments: Any, **options: Any) -> None:
        super().calculate(atoms, *arguments, **options)
        assert not atoms.get_initial_charges().any()
        self.results["energy"] = 10 * atoms.get_initial_magnetic_moments().sum() + atoms.get_tags().sum()


def test_what_else_the_file_says_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    copper = bulk("Cu", cubic=True)
    copper.rattle(0.05, seed=1)
    forces = copper.copy()
    forces.calc = EMT()
    copper.set_initial_magnetic_moments([1, 2, 3, 4])
    copper.set_initial_charges([0.5] * 4)
    copper.set_tags([0, 1, 0, 1])
    copper.set_constraint(FixAtoms([2]))
    copper.info |= {"config_type": "bulk", "weight": 0.25, "DFT_energy": -7.0, "REF_virial": np.eye(3)}
    copper.arrays |= {"site_energies": np.arange(4.0), "REF_forces": np.ones((4, 3)), "REF_charges": np.ones(4)}
    write(tmp_path / "copper.xyz", copper, format="extxyz")
    monkeypatch.setattr("ase.calculators.emt.Fixed", Fixed, raising=False)
    ok("label", tmp_path / "copper.xyz", "--calculator", "ase.calculators.emt:Fixed", "-o", tmp_path / "out.xyz")
    found = read(tmp_path / "out.xyz")
    assert found.info.keys() == {"config_type", "weight", "REF_energy", "REF_stress"}
    assert (found.info["config_type"], found.info["weight"], found.info["REF_energy"]) == ("bulk", 0.25, 102)
    np.testing.assert_allclose(found.arrays["REF_forces"], forces.get_forces(), rtol=0, atol=1e-6)
    np.testing.assert_array_equal(found.arrays["site_energies"], np.arange(4.0))
    np.testing.assert_array_equal(found.get_initial_charges(), 0.5)
    assert "REF_charges" not in found.arrays
    assert list(found.constraints[0].index) == [2]


def test_what_fails_is_left_out_and_told(tmp_path: Path) -> None:
    write(tmp_path / "mixed.xyz", [molecule("CO"), Atoms("Xe"), molecule("N2")], format="extxyz")
    said = ok("label", tmp_path / "mixed.xyz", "--calculator", "emt", "-o", tmp_path / "out.xyz")
    assert "Left out: structure 1 (Xe): " in said
    assert "2 structures labelled by emt, 1 left out" in said
    assert [str(atoms.symbols) for atoms in read(tmp_path / "out.xyz", ":")] == ["OC", "N2"]
    write(tmp_path / "bad.xyz", Atoms("Xe"), format="extxyz")
    assert "no structure could be labelled" in fail("label", tmp_path / "bad.xyz", "--calculator", "emt")


def test_an_output_that_was_interrupted_goes_on(waters: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.xyz"
    ok("label", waters, "--calculator", "so3lr", "-o", out)
    whole = out.read_text()
    lines = whole.splitlines(keepends=True)
    out.write_text("".join(lines[:7]))  # one structure, and a part of the second
    assert "--resume to go on with it" in fail("label", waters, "--calculator", "so3lr", "-o", out)
    assert "2 structures labelled" in ok("label", waters, "--calculator", "so3lr", "-o", out, "--resume")
    assert len(read(out, ":")) == 3
    assert out.read_text().splitlines()[:5] == whole.splitlines()[:5]
    write(tmp_path / "other.xyz", molecule("CH4"), format="extxyz")
    assert "does not have in this order" in fail(
        "label", tmp_path / "other.xyz", "--calculator", "so3lr", "-o", out, "--resume"
    )


def test_a_charge_that_a_calculator_would_not_see_is_refused(tmp_path: Path) -> None:
    write(tmp_path / "ion.xyz", Atoms("N2", [(0, 0, 0), (0, 0, 1.1)], info={"charge": 1, "spin": 0.5}), format="extxyz")
    said = fail("label", tmp_path / "ion.xyz", "--calculator", "emt")
    assert "charge 1 and spin 0.5, which emt does not get from it; give its own arguments with --set" in said


@pytest.mark.parametrize(
    ("name", "text"),
    [("nothing_of_that_name", "cannot be imported"), ("no.such.module:Class", "install no, or give a model")],
)
def test_calculators_that_are_not_there_are_named(waters: Path, name: str, text: str) -> None:
    assert text in fail("label", waters, "--calculator", name)


def test_tblite_labels_with_gfn2(waters: Path, tmp_path: Path) -> None:
    pytest.importorskip("tblite", reason="labels of GFN2-xTB need tblite")
    ok("label", waters, "--calculator", "tblite", "-o", tmp_path / "out.xyz")
    energies = [atoms.info["REF_energy"] for atoms in read(tmp_path / "out.xyz", ":")]
    assert -150 < energies[0] < -130  # eV; GFN2-xTB has -5.07 Hartree for water


INTERRUPTED = """
import signal
from ase.calculators.emt import EMT
from ase.constraints import FixAtoms


class Interrupted(EMT):
    def calculate(self, *arguments, **options):
        signal.raise_signal(signal.SIGINT)
        super().calculate(*arguments, **options)
"""


def test_what_was_not_done_when_it_was_stopped_is_not_counted(
    waters: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "interrupted.py").write_text(INTERRUPTED)
    monkeypatch.syspath_prepend(str(tmp_path))
    result = run("label", waters, "--calculator", "interrupted:Interrupted", "-o", tmp_path / "out.xyz")
    assert result.exit_code == 130
    assert "1 structures labelled by interrupted:Interrupted, 0 left out" in result.output
    assert len(read(tmp_path / "out.xyz", ":")) == 1
