"""The recipes run as they are, in shortened form, with the real programs, and say what they should."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms, units
from ase.build import molecule
from ase.io import read, write
from lammps_runs import lmp, needs_lammps, run, thermo
from optional_programs import needs
from sanitizers import patience

from so3md import evaluate_many
from so3md.lammps_input import LammpsStructure

ROOT = Path(__file__).parent.parent
RECIPES = ROOT / "examples" / "recipes"
PAGES = ROOT / "docs" / "recipes"
TESTED = {
    "gcmc_water.in",
    "conformers.py",
    "metadynamics.colvars",
    "metadynamics.in",
    "metadynamics_plumed.py",
    "openmm_mixed.py",
    "path_integral.in",
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
@pytest.mark.parametrize("embedding", ["mechanical", "electrostatic"])
def test_openmm_mixed(embedding: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENMM_CPU_THREADS", "1")
    output = python("openmm_mixed.py", tmp_path, "4", embedding)
    assert numbers(r"(\d+) atoms by SO3LR, (\d+) by TIP3P", output)[0] == 22
    rows = [row.split(",") for row in output.splitlines() if re.match(r"\d+,", row)]
    assert int(rows[-1][0]) == 4
    assert 100 < float(rows[-1][2]) < 500  # K, from 300


@needs("ipi")
@pytest.mark.parametrize(("drivers", "steps"), [("0", "400"), ("2", "200")])
def test_path_integral_ipi(drivers: str, steps: str, tmp_path: Path) -> None:
    """In the process of i-PI, with all beads together; and over a socket."""
    write(tmp_path / "h2o.xyz", molecule("H2O"))
    output = python("path_integral_ipi.py", tmp_path, "h2o.xyz", steps, "8", drivers)
    pattern = r"primitive: (\S+) \+- (\S+) eV\n.*virial: (\S+) \+- (\S+) eV\nclassical: (\S+) eV"
    primitive, its_error, virial, other_error, classical = numbers(pattern, output)
    assert abs(primitive - virial) < 4 * np.hypot(its_error, other_error)
    assert classical == pytest.approx(4.5 * 300 * 8.617333e-5, abs=1e-4)
    assert 1.5 * classical < virial < 4 * classical


@needs("rdkit")
def test_conformers(tmp_path: Path) -> None:
    """Of ethanol: anti, and the two gauche ones, which are mirror images."""
    output = python("conformers.py", tmp_path, "CCO", "12")
    assert numbers(r"(\d+) conformers of (\d+) that were relaxed", output) == [3, 12]
    unique = read(tmp_path / "unique.xyz", ":")
    torsions = [atoms.get_dihedral(0, 1, 2, 8) % 360 for atoms in unique]
    energies = [atoms.get_potential_energy() for atoms in unique]
    assert sorted(torsions) == pytest.approx([60, 180, 300], abs=10)
    gauche = [energy for energy, torsion in zip(energies, torsions, strict=True) if abs(torsion - 180) > 90]
    assert gauche[0] == pytest.approx(gauche[1], abs=1e-3)
    factors = np.exp(-(np.array(energies) - energies[0]) / (units.kB * 298.15))
    assert [atoms.info["weight"] for atoms in unique] == pytest.approx(factors / factors.sum(), abs=1e-6)
    rows = re.findall(r"^ +(\d+\.\d\d) .* (\d+)$", output, re.MULTILINE)
    assert sum(int(count) for _, count in rows) == 12


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
    bend, strength = numbers(r"(1\d\d\d) cm\^-1 +(\S+) km/mol", output)
    assert 1500 < bend < 1700
    assert 30 < strength < 150


def dumped(path: Path) -> list[Atoms]:
    """The frames of a LAMMPS dump with columns id element x y z."""
    frames = []
    for text in path.read_text().split("ITEM: TIMESTEP")[1:]:
        rows = [line.split() for line in text.split("ITEM: ATOMS")[1].splitlines()[1:]]
        frames.append(Atoms([row[1] for row in rows], np.array([row[2:] for row in rows], dtype=float)))
    return frames


def path_integral_in_lammps(tmp_path: Path, beads: int, steps: int) -> list[dict[str, float]]:
    """The recipe for a molecule of water; returns the rows of its log."""
    atoms = molecule("H2O")
    atoms.center(vacuum=5.0)
    (tmp_path / "h2o.data").write_text(LammpsStructure.of(atoms).data_file("water"))
    shutil.copy(RECIPES / "path_integral.in", tmp_path)
    command = ["mpiexec", "-n", str(beads), "lmp", "-partition", f"{beads}x1", "-in", "path_integral.in"]
    settings = ["-var", "steps", str(steps), "-var", "data", "h2o.data", "-var", "edges", "m"]
    result = run([*command, *settings], tmp_path)
    assert result.returncode == 0, result.stdout + result.stderr
    return thermo((tmp_path / "log.lammps.0").read_text())[0]


def estimators(wavenumber: float, beads: int, timestep: float) -> np.ndarray:
    """Kinetic energy (kT) of a harmonic vibration (1/cm) at 300 K: primitive, virial.

    Of the ring polymer (at the temperature times the number of beads) that kicks by the potential, exact motion of the
    free ring and thermostats of the momenta sample at a time step (fs). The step of a normal mode without thermostat is
    the map ((a, b/m), (-m c, a)) of position and momentum, which leaves (b/m)^2 p^2 + (1 - a^2) q^2 as it is; its
    momenta have the variance that the thermostat gives them.
    """
    omega = 2 * np.pi * 2.99792458e-5 * wavenumber  # 1/fs
    chain = beads * units.kB * 300 / (units._hbar * units.J * units.s) * units.fs
    modes = 2 * chain * np.sin(np.pi * np.arange(beads) / beads)
    b = timestep * np.sinc(modes * timestep / np.pi)
    a = np.cos(modes * timestep) - omega**2 * timestep * b / 2
    squares = beads * b**2 / (1 - a**2)  # of positions, in kT/m
    primitive = beads / 2 - (modes**2 * squares).sum() / (2 * beads)
    virial = 0.5 + omega**2 * squares[1:].sum() / (2 * beads)
    return np.array([primitive, virial])


def test_the_page_knows_how_far_the_estimators_are_apart() -> None:
    page = (PAGES / "path_integrals.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (\d+) \| (\S+) \| (\S+) % \|$", page, re.MULTILINE)
    assert len(rows) == 4
    for beads, timestep, percent in rows:
        vibrations = sum(estimators(wavenumber, int(beads), float(timestep)) for wavenumber in (1600, 3650, 3750))
        primitive, virial = vibrations + 3  # and what moves and turns, in classical motion
        assert 100 * (1 - primitive / virial) == pytest.approx(float(percent), abs=0.06)
    short = estimators(3700, 8, 1e-3)
    assert short[0] == pytest.approx(short[1], rel=1e-6)


@needs_lammps
def test_estimators_agree_in_lammps(tmp_path: Path) -> None:
    """Two beads: each bead is a process that waits at full speed. The springs are -0.08 eV of the primitive one."""
    rows = path_integral_in_lammps(tmp_path, 2, 2000)[40:]
    primitive, virial = (np.array([row[name] for row in rows]) for name in ("v_primitive", "v_virial"))
    errors = [np.std([block.mean() for block in np.array_split(values, 8)]) / 7**0.5 for values in (primitive, virial)]
    assert abs(primitive.mean() - virial.mean()) < 4 * np.hypot(*errors)
    assert 4 * np.hypot(*errors) < 0.06  # eV
    assert virial.mean() > 4.5 * 300 * units.kB


@needs_lammps
def test_path_integral_in_lammps(tmp_path: Path) -> None:
    """The estimators that LAMMPS prints, from the beads that it writes."""
    last = path_integral_in_lammps(tmp_path, 8, 20)[-1]
    atoms = molecule("H2O")
    beads = [dumped(tmp_path / f"bead_{number}.lammpstrj")[-1] for number in range(1, 9)]
    positions = np.array([bead.positions for bead in beads])
    forces = np.array([prediction.forces for prediction in evaluate_many(beads)])
    heat, hbar = 300 * units.kB, units._hbar * units.J * units.s
    masses = np.array([{"H": 1.008, "O": 15.999}[symbol] for symbol in atoms.symbols])[:, None]
    springs = 0.5 * masses * len(beads) * (heat / hbar) ** 2 * (positions - np.roll(positions, 1, axis=0)) ** 2
    primitive = 1.5 * positions[..., 0].size * heat - springs.sum()
    virial = 1.5 * len(atoms) * heat - 0.5 * ((positions - positions.mean(axis=0)) * forces).sum() / len(beads)
    # LAMMPS's constants have six digits, and terms are below 1 eV; forces are of `mixed` precision.
    assert last["v_primitive"] == pytest.approx(primitive, abs=1e-5)
    assert last["v_virial"] == pytest.approx(virial, abs=1e-5)


@needs_lammps
def test_gcmc_water(tmp_path: Path) -> None:
    """Nearly an ideal gas; and the energy at the end, after all insertions, is that of the molecules that are there."""
    folder = shutil.copytree(RECIPES, tmp_path / "recipes")
    output = lmp(folder, "-in", "gcmc_water.in", "-var", "steps", "150")
    row = thermo(output)[-1][-1]
    assert row["f_gas[4]"] > 100  # insertions
    assert row["f_gas[6]"] > 100
    energy, count, alone = numbers(r"energy (\S+) eV, of (\S+) molecules, of which one alone has (\S+) eV", output)
    lines = (folder / "gcmc_water.dump").read_text().splitlines()[9:]
    assert len(lines) == 3 * count
    atoms = Atoms(
        [line.split()[1] for line in lines],
        [[float(text) for text in line.split()[2:]] for line in lines],
        cell=[30] * 3,
        pbc=True,
    )
    # Both in `mixed`, with sums in another order.
    assert energy == pytest.approx(next(evaluate_many([atoms])).energy, abs=1e-5 * len(atoms))
    molecule_alone = next(evaluate_many([atoms[:3]])).energy
    assert alone == pytest.approx(molecule_alone, abs=1e-4)  # whose template has four digits
    # A Poisson distribution with mean pV/kT, of which each step with ten attempts is about one sample; and 5 % for what
    # is not ideal.
    ideal = 20e5 * 27e-27 / (1000 * 1.380649e-23)
    (mean,) = np.loadtxt(folder / "gcmc_water.mean", ndmin=2)[:, 1]
    assert mean == pytest.approx(ideal, abs=5 * np.sqrt(ideal / 75) + 0.05 * ideal)


@needs_lammps
def test_metadynamics_in_lammps(tmp_path: Path) -> None:
    folder = shutil.copytree(RECIPES, tmp_path / "recipes")
    rows = thermo(lmp(folder, "-in", "metadynamics.in", "-var", "steps", "200"))[0]
    assert rows[0]["f_bias"] == 0
    assert 0.015 < rows[1]["f_bias"] <= 0.02  # the first hill, on a grid
    frames = dumped(folder / "metadynamics.lammpstrj")
    torsions = np.loadtxt(folder / "metadynamics.colvars.traj")
    for number, frame in enumerate(frames):
        found = torsions[torsions[:, 0] == 100 * number][0, 1:]
        for value, atoms in zip(found, ([4, 6, 8, 14], [6, 8, 14, 16]), strict=True):
            away = value - frame.get_dihedral(*atoms)
            assert abs((away + 180) % 360 - 180) < 0.01  # degrees: positions in the dump have six digits
    free_energy = np.loadtxt(folder / "metadynamics.pmf")
    assert free_energy.shape == (72 * 72, 3)
    assert free_energy[:, 2].min() == 0 < free_energy[:, 2].max()


def sum_of_hills(rows: np.ndarray, torsions: list[float]) -> float:
    """The bias (eV) of METAD in PLUMED; rows of HILLS: time, centres, widths, height, bias factor."""
    away = (rows[:, 1:3] - torsions + np.pi) % (2 * np.pi) - np.pi
    exponents = 0.5 * ((away / rows[:, 3:5]) ** 2).sum(axis=1)
    cut = np.exp(-6.25)  # the kernel is stretched, so that it ends at zero there
    kernels = np.where(exponents < 6.25, (np.exp(-exponents) - cut) / (1 - cut), 0)
    return float((rows[:, 5] * (1 - 1 / rows[:, 6]) * kernels).sum())


@needs("plumed", "hillclimber", install="--no-deps hillclimber")
def test_metadynamics_with_plumed(tmp_path: Path) -> None:
    """Torsions are ASE's, and what comes to the model's energy and forces is the sum of hills and its derivative."""
    assert "600 steps, 6 hills" in python("metadynamics_plumed.py", tmp_path, "600")
    rows = np.loadtxt(tmp_path / "COLVAR")
    hills = np.loadtxt(tmp_path / "HILLS")
    frames = read(tmp_path / "metadynamics.traj", ":")
    assert hills[:, 0] == pytest.approx(0.05 * np.arange(1, 7))  # ps
    torsions = ([4, 6, 8, 14], [6, 8, 14, 16])
    bias = []
    for number, (atoms, own) in enumerate(zip(frames, evaluate_many(frames), strict=True)):
        row = rows[10 * number]
        found = np.radians([atoms.get_dihedral(*four) for four in torsions])
        assert np.abs((row[1:3] - found + np.pi) % (2 * np.pi) - np.pi).max() < 1e-5
        bias.append(sum_of_hills(hills[: max(0, number - 1)], found))  # the hill of a step acts from the next one on
        assert row[3] == pytest.approx(bias[-1], abs=2e-6)  # of six digits
        assert atoms.get_potential_energy() - own.energy == pytest.approx(bias[-1], abs=1e-5 * len(atoms))
    assert max(bias) > 0.02
    atom, step = 8, 1e-3
    slopes = []
    for axis in range(3):
        ends = []
        for sign in (1, -1):
            moved = frames[-1].copy()
            moved.positions[atom, axis] += sign * step
            ends.append(sum_of_hills(hills[:5], [np.radians(moved.get_dihedral(*four)) for four in torsions]))
        slopes.append((ends[0] - ends[1]) / (2 * step))
    added = frames[-1].get_forces()[atom] - own.forces[atom]
    assert added == pytest.approx(-np.array(slopes), abs=1e-4)  # step^2, and forces of `mixed`
    assert np.abs(slopes).max() > 0.01
