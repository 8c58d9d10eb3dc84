"""Multiple time steps in LAMMPS, by hybrid/scaled and run_style respa: ASE's trajectory, and the teacher's energies."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.build import molecule
from ase.io import read, write
from lammps_comparison import waters
from lammps_runs import needs_lammps, run
from lammps_tools import Job, failure
from test_cli import fail, succeed
from tolerances import EXACT, RANKS_TRAJECTORY
from toy_models import write_toy_model

from so3md import So3kratesCalculator
from so3md.dynamics import RespaVerlet
from so3md.model_file import ModelFile
from so3md.student import REPORT, ForceLimits

pytestmark = needs_lammps

#: LAMMPS's square of ASE's unit of time in ps (its constant mvv2e); steps in ps. The forces of random models are wild.
TIME_UNIT_SQUARED = 1.0364269e-4
MOST_FORCE = 1e3  # eV/A, of all atoms together
OUTER, INNER_STEPS, STEPS = 2e-4, 4, 20
NO_PHYSICS = {"charge_head": None, "hirshfeld_head": None, "zbl": None, "electrostatics": None, "dispersion": None}


@pytest.fixture
def models(tmp_path: Path) -> tuple[Path, Path]:
    """A teacher with all terms and a student without any."""
    teacher = write_toy_model(tmp_path / "teacher.safetensors", seed=1)
    return teacher, write_toy_model(tmp_path / "student.safetensors", seed=2, cutoff=3.0, num_layers=1, **NO_PHYSICS)


def pair_styles(models: tuple[Path, Path], elements: str, rest: str = "lr_cutoff 6.0 precision double") -> str:
    teacher, student = (f"so3krates {path} {rest}" for path in models)
    return "\n".join(
        [
            f"pair_style hybrid/scaled 1.0 {student} 1.0 {teacher} -1.0 {student}",
            *(f"pair_coeff * * so3krates {number} {elements}" for number in (1, 2, 3)),
            f"run_style respa 2 {INNER_STEPS} hybrid 1 2 2",
        ]
    )


def in_lammps(directory: Path, atoms: Atoms, models: tuple[Path, Path], ranks: int) -> tuple[Job, np.ndarray]:
    """A job that moved a structure from rest, and told energy and pressure, also by the teacher; the positions."""
    directory.mkdir()
    job = Job(directory, atoms, pair_style=None)
    job.commands(pair_styles(models, job.elements))
    job.commands(f"timestep {OUTER}\nfix move all nve\nthermo_style custom step pe press\nrun {STEPS}")
    job.commands('print "RESPA $(pe:%.17g) $(press:%.17g)"')
    job.commands("write_dump all custom end.dump id x y z modify sort id format float %.17g")
    job.commands(f"pair_style so3krates {models[0]} lr_cutoff 6.0 precision double\npair_coeff * * {job.elements}")
    job.commands('run_style verlet\nrun 0\nprint "TEACHER $(pe:%.17g) $(press:%.17g)"')
    job.run(ranks)
    return job, job.last_snapshot("end.dump")[:, 1:] @ job.structure.rotation.T


def apart(first: np.ndarray, second: np.ndarray, atoms: Atoms) -> float:
    """The largest distance between positions, which may be of other periodic images."""
    difference = (first - second) @ np.linalg.inv(atoms.cell.array)
    return float(np.abs((difference - np.round(difference)) @ atoms.cell.array).max())


def test_lammps_on_one_and_two_ranks_moves_atoms_as_ase_does(tmp_path: Path, models: tuple[Path, Path]) -> None:
    atoms = waters(2, 2, 1)
    atoms.set_momenta(np.zeros((len(atoms), 3)))  # a data file has velocities with ASE's constant
    teacher, student = (So3kratesCalculator(path, lr_cutoff=6.0, precision="double", threads=1) for path in models)
    moved = atoms.copy()
    moved.calc = teacher
    timestep = OUTER / np.sqrt(TIME_UNIT_SQUARED)
    RespaVerlet(moved, timestep, student, INNER_STEPS, limits=ForceLimits(largest=1e3)).run(STEPS)
    assert np.abs(moved.positions - atoms.positions).max() > 1e-3
    for ranks in (1, 2):
        job, positions = in_lammps(tmp_path / str(ranks), atoms, models, ranks)
        assert apart(positions, moved.positions, atoms) < RANKS_TRAJECTORY
        energy, pressure = job.numbers("RESPA")
        expected_energy, expected_pressure = job.numbers("TEACHER")
        assert energy == pytest.approx(expected_energy, rel=0, abs=EXACT.component)
        assert energy == pytest.approx(moved.get_potential_energy(), rel=0, abs=RANKS_TRAJECTORY * MOST_FORCE)
        # Of the virial alone on both sides: kinetic energy is the same.
        assert pressure == pytest.approx(expected_pressure, rel=1e-9)


def test_a_scaled_style_has_its_part_of_everything(tmp_path: Path) -> None:
    atoms = waters(2, 2, 1)
    atoms.set_momenta(np.zeros((len(atoms), 3)))  # whose part of the pressure no style has
    job = Job(tmp_path, atoms, pair_style=None)
    for name, pair_style in (
        ("whole", f"pair_style so3krates so3lr precision double\npair_coeff * * {job.elements}"),
        (
            "part",
            "pair_style hybrid/scaled 0.25 so3krates so3lr precision double 1.0 zero 5.0\n"
            f"pair_coeff * * so3krates {job.elements}\npair_coeff * * zero",
        ),
    ):
        job.commands(pair_style)
        job.commands(f'run 0\nprint "{name} $(pe:%.17g) $(press:%.17g) $(fmax:%.17g)"')
    job.run()
    seen = [job.numbers(name) for name in ("whole", "part")]
    np.testing.assert_allclose(seen[1], 0.25 * seen[0], rtol=1e-12)


def test_kspace_is_refused_where_it_would_not_be_scaled(tmp_path: Path, models: tuple[Path, Path]) -> None:
    job = Job(tmp_path, waters(2, 2, 1), pair_style=None)
    job.commands(
        "pair_style hybrid/scaled 1.0 so3krates so3lr coulomb kspace 1.0 zero 5.0\n"
        f"pair_coeff * * so3krates {job.elements}\npair_coeff * * zero\nkspace_style ewald 1e-4\nrun 0"
    )
    assert "coulomb kspace does not work with hybrid/scaled" in failure(job)


def report_errors(student: str, largest: float, rms: float) -> None:
    """Write into the file of a student what distillation would have found (eV/A)."""
    model = ModelFile.read(student)
    model.provenance[REPORT] = {"errors": {"force_largest": largest, "force_rms": rms}}
    model.write(student)


def test_the_input_stops_where_the_student_is_wrong_by_three_times_its_errors(
    tmp_path: Path, models: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write("water.xyz", waters(2, 2, 1))
    atoms = read("water.xyz")
    forces = []
    for path, options in zip(models, ({"lr_cutoff": 6.0}, {}), strict=True):
        atoms.calc = So3kratesCalculator(path, precision="double", threads=1, **options)
        forces.append(atoms.get_forces())
    apart = np.linalg.norm(forces[0] - forces[1], axis=1)
    largest, rms = float(apart.max()), float(np.sqrt(np.square(apart).mean()))
    multiple = ("--mts", "--student", "student.safetensors", "--timestep", "1e-4", "--outer-timestep", "4e-4")
    arguments = ("lammps", "water.xyz", "--model", "teacher.safetensors", "--lr-cutoff", "6", *multiple)
    for directory, reported, stopped_by in (
        ("good", (0.5, 0.5), None),
        ("wrong", (0.3, 0.5), "student_fails"),
        ("wrong-on-average", (0.5, 0.3), "student_fails_rms"),
    ):
        report_errors("student.safetensors", reported[0] * largest, reported[1] * rms)
        succeed(*arguments, "--precision", "double", "--max-temperature", "1e8", "-o", directory)
        Path(directory, "check.lammps").write_text(
            "variable steps index 0\ninclude in.lammps\n"
            'print "APART $(c_most_apart:%.17g) $(v_rms_apart:%.17g)"\nrun 1\n'
        )
        result = run(["lmp", "-in", "check.lammps"], tmp_path / directory)
        found = re.search(r"^APART (\S+) (\S+)$", result.stdout, re.MULTILINE).groups()
        assert [float(number) for number in found] == pytest.approx([largest, rms], rel=1e-9)
        halted = re.findall(r"condition for fix-id (\S+) met on step 1", result.stdout)
        assert (halted[:1], result.returncode == 0) == ([stopped_by] if stopped_by else [], stopped_by is None)


def test_the_command_writes_an_input_that_runs(
    tmp_path: Path, models: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write("water.xyz", waters(2, 2, 1))
    multiple = ("--mts", "--student", "student.safetensors", "--timestep", "0.05", "--outer-timestep", "0.2")
    wild = ("--max-temperature", "1e8", "--max-difference", "1e8")  # as random models are
    arguments = ("lammps", "water.xyz", "--model", "teacher.safetensors", "--lr-cutoff", "6", *multiple, *wild)
    for thermostat in ("langevin", "csvr"):
        output = succeed(*arguments, "--thermostat", thermostat, "--steps", "10", "-o", thermostat)
        energy = float(re.search(r"Its energy is (\S+) eV", output).group(1))
        result = run(["lmp", "-in", "in.lammps", "-var", "name", "run"], tmp_path / thermostat)
        assert result.returncode == 0, result.stdout[-3000:]
        log = (tmp_path / thermostat / "run.log").read_text()
        first = re.search(r"^ +Step .*PotEng.*\n +0 (.*)$", log, re.MULTILINE).group(1).split()
        assert float(first[2]) == pytest.approx(energy, abs=1e-3)
        assert "respa 2 4 hybrid 1 2 2" in log
    assert "coulomb kspace: LAMMPS has it at one time step only" in fail(*arguments, "--coulomb", "kspace", "-o", "k")
    assert "--mts does not go with --ensemble minimize" in fail(
        "lammps", "water.xyz", *multiple, "--ensemble", "minimize", code=2
    )
    own = ("--model", "teacher.safetensors", "--lr-cutoff", "6")
    assert "--mts needs --student FILE" in fail("lammps", "water.xyz", "--mts", *own, code=2)
    succeed("lammps", "water", "--mts", "-o", "general")
    assert "so3krates so3lr-fast" in Path("general", "in.lammps").read_text()


def test_a_student_has_the_charge_and_spin_that_it_knows_of(
    tmp_path: Path, models: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    radical = molecule("CH3")  # nine electrons
    radical.center(vacuum=5.0)
    write("radical.xyz", radical)
    write_toy_model(Path("knows.safetensors"), seed=3, charge_embedding=True, spin_embedding=True, **NO_PHYSICS)
    write_toy_model(Path("ignorant.safetensors"), seed=3, charge_embedding=False, spin_embedding=False, **NO_PHYSICS)
    limits = ("--max-difference", "1e8", "--max-temperature", "1e8", "--steps", "1")
    arguments = ("lammps", "radical.xyz", "--mts", *limits)
    for student, state, known in (
        ("knows", ("--spin", "0.5"), " charge 0 spin 0.5"),
        ("knows", ("--charge", "1"), " charge 1 spin 0"),
        ("ignorant", ("--spin", "0.5"), ""),
        ("ignorant", ("--charge", "1"), ""),
    ):
        succeed(*arguments, "--student", f"{student}.safetensors", *state, "-o", "run", "--overwrite")
        styles = re.search(r"^pair_style .*$", Path("run", "in.lammps").read_text(), re.MULTILINE).group()
        assert styles.count(f"{student}.safetensors{known} precision mixed") == 2
        result = run(["lmp", "-in", "in.lammps"], tmp_path / "run")
        assert result.returncode == 0, result.stdout[-3000:]
        assert "WARNING" not in result.stdout


def test_a_minimisation_with_the_forces_of_one_level_is_refused(
    tmp_path: Path, models: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """LAMMPS would take the student alone before a first run, and the model minus the student after one."""
    monkeypatch.chdir(tmp_path)
    write("water.xyz", waters(2, 2, 1))
    arguments = ("lammps", "water.xyz", "--model", "teacher.safetensors", "--lr-cutoff", "6", "--precision", "double")
    output = succeed(*arguments, "--mts", "--student", "student.safetensors", "-o", "run")
    energy = float(re.search(r"Its energy is (\S+) eV", output).group(1))
    before = Path("run", "in.lammps").read_text().split("# Stop where the student is wrong")[0]
    for run_style, relax in (("", ""), ("", "fix box all box/relax iso 0\n"), ("run_style verlet\n", "")):
        Path("run", "minimize.lammps").write_text(f"{before}{run_style}{relax}thermo 1\nminimize 0 0 1 10\n")
        result = run(["lmp", "-in", "minimize.lammps", "-var", "name", "run"], tmp_path / "run")
        if not run_style:
            assert result.returncode != 0
            assert "put run_style verlet before them" in result.stdout + result.stderr
            continue
        assert result.returncode == 0, result.stdout[-3000:]
        first = re.search(r"^ +0 +\S+ +(\S+) ", result.stdout, re.MULTILINE).group(1)  # step, temperature, energy
        assert float(first) == pytest.approx(energy, abs=1e-3)
