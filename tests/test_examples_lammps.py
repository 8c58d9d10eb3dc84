"""The examples for LAMMPS run as they are, in shortened form, and say what they should."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from ase.io import read
from ase.neighborlist import neighbor_list
from lammps_runs import lmp, needs_lammps, run, thermo

from so3md import So3kratesCalculator
from so3md.structures import read_structure

EXAMPLES = Path(__file__).parent.parent / "examples" / "lammps"
TESTED = {
    "water_nvt.in",
    "two_ranks.sh",
    "water_npt_kspace.in",
    "peptide.in",
    "ion.in",
    "hybrid.in",
    "minimize.in",
    "thermal_conductivity.in",
    "first_part.in",
    "second_part.in",
    "replica_exchange.in",
}
#: `mixed` precision in LAMMPS and in ASE: sums in another order, 192 atoms.
ENERGY = 2e-3  # eV

pytestmark = needs_lammps


@pytest.fixture
def examples(tmp_path: Path) -> Path:
    """A copy of the examples."""
    return shutil.copytree(EXAMPLES, tmp_path / "lammps")


def test_every_example_is_tested_and_listed():
    scripts = {path.name for suffix in ("in", "sh") for path in EXAMPLES.glob(f"*.{suffix}")}
    assert scripts == TESTED
    listed = (EXAMPLES / "README.md").read_text(encoding="utf-8")
    assert all(f"`{name}`" in listed for name in TESTED)


def energy_of_water() -> float:
    """In eV, as ASE finds it."""
    atoms = read_structure("water")
    atoms.positions = atoms.positions.round(4)
    atoms.calc = So3kratesCalculator()
    return atoms.get_potential_energy()


def test_water_nvt(examples: Path):
    rows = thermo(lmp(examples, "-in", "water_nvt.in", "-var", "steps", "50"))[0]
    assert rows[0]["PotEng"] == pytest.approx(energy_of_water(), abs=ENERGY)
    assert rows[0]["Temp"] == pytest.approx(300)
    frames = read(examples / "water_nvt.lammpstrj", index=":")
    assert [frame.get_chemical_formula() for frame in frames] == ["H128O64"] * 2
    charges = frames[1].get_initial_charges()  # from the column q
    assert abs(charges.sum()) < 1e-3
    assert charges[frames[1].numbers == 8].max() < -0.3


def test_two_ranks(examples: Path):
    result = run(["sh", "two_ranks.sh", "-var", "steps", "10"], examples)
    assert result.returncode == 0, result.stdout + result.stderr
    assert "in each of 2 process(es)" in result.stdout
    rows = thermo(result.stdout)[0]
    assert rows[0]["PotEng"] == pytest.approx(energy_of_water(), abs=ENERGY)
    assert rows[-1]["Step"] == 10


def test_water_npt_kspace(examples: Path):
    rows = thermo(lmp(examples, "-in", "water_npt_kspace.in", "-var", "steps", "20"))[0]
    assert rows[-1]["Volume"] != rows[0]["Volume"]
    exchanged = max(row["KinEng"] for row in rows) - min(row["KinEng"] for row in rows)
    assert abs(rows[-1]["Econserve"] - rows[0]["Econserve"]) < 0.1 * exchanged


def test_peptide(examples: Path):
    relaxing, moving = thermo(lmp(examples, "-in", "peptide.in", "-var", "steps", "20"))
    assert relaxing[-1]["PotEng"] < relaxing[0]["PotEng"] - 100  # kcal/mol
    assert moving[0]["PotEng"] == pytest.approx(relaxing[-1]["PotEng"], abs=0.1)
    assert len(read(examples / "peptide.lammpstrj")) == 162


def test_ion(examples: Path):
    rows = thermo(lmp(examples, "-in", "ion.in", "-var", "steps", "10"))[0]
    for row in rows:
        assert row["c_total_charge"] == pytest.approx(-1, abs=1e-5)
        assert -1 < row["c_ion_charge"] < -0.3


def test_hybrid(examples: Path):
    rows = thermo(lmp(examples, "-in", "hybrid.in", "-var", "steps", "10"))[0]
    atoms = read(examples / "data" / "argon.data", format="lammps-data")
    argon = atoms.symbols == "Ar"
    water = atoms[~argon]
    water.calc = So3kratesCalculator()
    assert rows[0]["c_model"] == pytest.approx(water.get_potential_energy(), abs=ENERGY)
    centre, neighbour, distance = neighbor_list("ijd", atoms, 10.0)
    ratio = (3.283 / distance[argon[centre] & (atoms.numbers[neighbour] == 8)]) ** 6
    assert rows[0]["c_lj"] == pytest.approx(4 * 0.00835 * (ratio**2 - ratio).sum(), rel=1e-6)
    for row in rows:
        assert row["c_model"] + row["c_lj"] == pytest.approx(row["PotEng"], abs=ENERGY)


def test_minimize(examples: Path):
    output = lmp(examples, "-in", "minimize.in", "-var", "steps", "20")
    rows = thermo(output)[0]
    assert rows[-1]["PotEng"] < rows[0]["PotEng"] - 0.02
    assert rows[-1]["Fmax"] < rows[0]["Fmax"]
    assert rows[-1]["Lx"] == pytest.approx(rows[-1]["Ly"])
    assert rows[-1]["Lz"] < rows[0]["Lz"]
    assert len(read(examples / "urea_relaxed.data", format="lammps-data")) == 16


def test_thermal_conductivity(examples: Path):
    settings = ["-var", "steps", "40", "-var", "warm", "10", "-var", "points", "5"]
    output = lmp(examples, "-in", "thermal_conductivity.in", *settings)
    lines = (examples / "correlation.txt").read_text().splitlines()
    correlation = np.array([line.split()[3:6] for line in lines[-5:]], dtype=float)
    trapezia = correlation.sum(axis=0) - 0.5 * (correlation[0] + correlation[-1])
    volume = read_structure("water").get_volume()
    expected = trapezia.mean() * 4 * 0.0005 * 1602.1766 / (8.617333e-5 * volume * 300**2)
    found = float(output.split("Thermal conductivity: ")[-1].split()[0])
    assert found == pytest.approx(expected, rel=1e-3)


def test_replica_exchange(examples: Path):
    if "temper" not in lmp(examples, "-h").split():
        pytest.skip("this LAMMPS has no command temper (package REPLICA)")
    command = ["mpiexec", "-n", "2", "lmp", "-partition", "2x1", "-in", "replica_exchange.in"]
    result = run([*command, "-var", "steps", "60", "-var", "exchange", "10"], examples)
    assert result.returncode == 0, result.stdout + result.stderr
    exchanges = (examples / "log.lammps").read_text().split("Step T0 T1\n")[1].splitlines()
    assert [line.split()[0] for line in exchanges[:7]] == [str(step) for step in range(0, 70, 10)]
    assert {tuple(line.split()[1:]) for line in exchanges[:7]} <= {("0", "1"), ("1", "0")}
    for replica in ("0", "1"):
        rows = thermo((examples / f"log.lammps.{replica}").read_text())[0]
        assert rows[0]["PotEng"] == pytest.approx(energy_of_water(), abs=ENERGY)
        assert rows[0]["Temp"] == pytest.approx((300, 306)[int(replica)])
        assert rows[-1]["Step"] == 60


def test_a_run_in_two_parts(examples: Path):
    first = thermo(lmp(examples, "-in", "first_part.in", "-var", "steps", "20"))[0]
    second = thermo(lmp(examples, "-in", "second_part.in", "-var", "steps", "20"))[0]
    assert [row["Step"] for row in second] == [20, 30, 40]
    for name in ("PotEng", "Temp", "Econserve"):
        assert second[0][name] == pytest.approx(first[-1][name], rel=1e-6)
    assert second[-1]["Econserve"] == pytest.approx(first[0]["Econserve"], abs=0.1)
