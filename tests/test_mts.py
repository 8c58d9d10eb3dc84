"""Multiple time steps: what must come out whatever the student is, and what stops a run whose student is no good."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import ClassVar

import numpy as np
import parallel_runs
import pytest
import tolerances
from ase import Atoms, units
from ase.build import molecule
from ase.calculators.calculator import Calculator, all_changes
from ase.constraints import FixAtoms, FixBondLengths, FixCartesian
from ase.io import read, write
from ase.md.bussi import Bussi
from ase.md.langevinbaoab import LangevinBAOAB
from ase.md.verlet import VelocityVerlet
from dynamics_tools import SoftSpheres, read_rows, soft_spheres
from test_cli import fail, succeed
from test_dynamics import SAMPLING
from test_dynamics_files import assert_same_run

from so3md import So3kratesCalculator
from so3md.cli.student_options import GENERAL_STUDENTS, default_outer_timestep, default_timestep
from so3md.dynamics import (
    BlowUpError,
    RespaBussi,
    RespaLangevin,
    RespaNPT,
    RespaVerlet,
    Settings,
    Simulation,
    StudentError,
)
from so3md.dynamics.ensembles import BAR
from so3md.loading import model_path
from so3md.run_directory import CheckpointError, read_json
from so3md.structures import read_structure
from so3md.student import ForceLimits, report_of

STEP = 8 * units.fs  # of soft spheres, whose fastest motion takes some 500 fs
KINDS = {
    "nve": {"ensemble": "nve"},
    "langevin": {"friction": 20.0},
    "csvr": {"thermostat": "csvr", "taut": 40.0},
    "npt": {"ensemble": "npt", "taut": 40.0, "taup": 300.0, "pressure": 2000.0},
}


def another(strength: float = 0.05, width: float = 1.2) -> SoftSpheres:
    """A student for soft spheres; by default the teacher itself once more."""
    return SoftSpheres(strength=strength, width=width)


class VolumeSpring(Calculator):
    """No forces, and an energy of the volume alone, stiffness / 2 (V - volume)^2."""

    name = "volumespring"
    implemented_properties: ClassVar[list[str]] = ["energy", "forces", "stress"]
    default_parameters: ClassVar[dict[str, float]] = {"stiffness": 3.5e-5, "volume": 200.0}  # eV/A^6, A^3

    def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes):
        super().calculate(atoms, properties, system_changes)
        stretch = atoms.get_volume() - self.parameters["volume"]
        stiffness = self.parameters["stiffness"]
        stress = np.array([1, 1, 1, 0, 0, 0]) * stiffness * stretch
        self.results = {"energy": stiffness / 2 * stretch**2, "forces": np.zeros((len(atoms), 3)), "stress": stress}


def moving() -> Atoms:
    """Soft spheres in motion."""
    atoms = soft_spheres()
    atoms.rattle(0.1, seed=1)
    atoms.set_momenta(0.5 * np.random.default_rng(2).standard_normal((4, 3)))
    atoms.set_momenta(atoms.get_momenta() - atoms.get_momenta().mean(axis=0))
    return atoms


def settings_of(kind: str, timestep: float = 2.0, outer: float = 8.0, **others) -> Settings:
    return Settings(**KINDS[kind], timestep=timestep, outer_timestep=outer, temperature=100, seed=3, **others)


def assert_same_state(first: Atoms, second: Atoms) -> None:
    np.testing.assert_allclose(first.positions, second.positions, rtol=0, atol=tolerances.RANKS_TRAJECTORY)
    np.testing.assert_allclose(first.get_momenta(), second.get_momenta(), rtol=0, atol=tolerances.RANKS_TRAJECTORY)


# --- limits in which it is a single time step -----------------------------------------------------------------------


def test_with_the_teacher_as_its_student_it_makes_the_inner_steps():
    outer, single = moving(), moving()
    RespaVerlet(outer, STEP, another(), substeps=4).run(10)
    VelocityVerlet(single, STEP / 4).run(40)
    assert_same_state(outer, single)
    assert np.abs(outer.positions - moving().positions).max() > 0.1


def test_with_one_inner_step_it_is_velocity_verlet_whatever_the_student_is():
    outer, single = moving(), moving()
    RespaVerlet(outer, STEP, another(0.2, 0.8), substeps=1).run(40)
    VelocityVerlet(single, STEP).run(40)
    assert_same_state(outer, single)


def test_with_one_inner_step_rescaling_is_that_of_ase_whatever_the_student_is():
    outer, single = moving(), moving()
    for atoms, kind, student in ((outer, RespaBussi, {"student": another(0.1), "substeps": 1}), (single, Bussi, {})):
        kind(atoms, STEP, temperature_K=100, taut=200 * units.fs, rng=np.random.default_rng(4), **student).run(40)
    assert_same_state(outer, single)


@pytest.mark.parametrize(("substeps", "strength"), [(4, 0.05), (1, 0.2)], ids=["teacher as student", "one inner step"])
def test_langevin_dynamics_is_baoab_in_the_same_limits(substeps: int, strength: float):
    outer, single = moving(), moving()
    friction, inner = 0.02 / units.fs, STEP / substeps
    rng = np.random.default_rng(5)
    RespaLangevin(outer, STEP, 100, friction, another(strength), substeps, rng=rng).run(40 // substeps)
    rng = np.random.default_rng(5)
    LangevinBAOAB(single, inner, temperature_K=100, T_tau=1 / friction, rng=rng).run(40 // substeps * substeps)
    assert_same_state(outer, single)


# --- properties that it must have -----------------------------------------------------------------------------------


def test_it_runs_backwards_to_where_it_began():
    atoms = moving()
    driver = RespaVerlet(atoms, STEP, another(0.1), substeps=4)
    driver.run(20)
    there = atoms.positions.copy()
    atoms.set_momenta(-atoms.get_momenta())
    driver.run(20)
    np.testing.assert_allclose(atoms.positions, moving().positions, rtol=0, atol=tolerances.RANKS_TRAJECTORY)
    np.testing.assert_allclose(atoms.get_momenta(), -moving().get_momenta(), rtol=0, atol=tolerances.RANKS_TRAJECTORY)
    assert np.abs(there - atoms.positions).max() > 0.1


def test_the_error_of_the_teachers_energy_falls_with_the_square_of_the_outer_step():
    deviations = []
    for outer in (8, 16, 32):
        atoms = moving()
        driver = RespaVerlet(atoms, outer * units.fs, another(0.07, 1.1), substeps=outer)
        energies = []
        driver.attach(lambda energies=energies, atoms=atoms: energies.append(atoms.get_total_energy()))
        driver.run(1600 // outer)
        deviations.append(np.std(energies))
    assert np.divide(deviations[1:], deviations[:-1]) == pytest.approx([4, 4], rel=0.15)


def test_fixed_atoms_stay_and_bonds_keep_their_lengths():
    fixed = moving()
    fixed.set_constraint(FixAtoms([1]))
    fixed.set_momenta(fixed.get_momenta())
    RespaLangevin(fixed, STEP, 100, 0.02 / units.fs, another(0.1), 4, rng=np.random.default_rng(6)).run(20)
    np.testing.assert_array_equal(fixed.positions[1], moving().positions[1])
    bound = moving()
    bound.pbc = False  # else two images are equally near
    length = bound.get_distance(0, 1)
    bound.set_constraint(FixBondLengths([[0, 1]], tolerance=1e-12))
    bound.set_momenta(bound.get_momenta())
    RespaVerlet(bound, STEP, another(0.1), substeps=4).run(20)
    assert bound.get_distance(0, 1) == pytest.approx(length, abs=1e-9)
    with pytest.raises(ValueError, match=r"constraint FixBondLengths: Langevin dynamics in multiple time steps knows"):
        RespaLangevin(bound, STEP, 100, 0.02 / units.fs, another(0.1), 4)


def test_constraints_count_from_when_they_are_set_to_when_they_are_removed():
    atoms = moving()
    driver = RespaLangevin(atoms, STEP, 100, 0.02 / units.fs, another(0.1), 4, rng=np.random.default_rng(6))
    driver.run(3)
    atoms.set_constraint([FixAtoms([1]), FixCartesian(2, (True, False, False))])
    before = atoms.get_positions()
    driver.run(5)
    moved = atoms.get_positions() != before
    assert moved.tolist() == [[True] * 3, [False] * 3, [False, True, True], [True] * 3]
    atoms.set_constraint()
    driver.run(1)
    assert (atoms.get_positions() != before).all()
    atoms.set_constraint(FixBondLengths([[0, 1]]))
    with pytest.raises(ValueError, match=r"constraint FixBondLengths: Langevin dynamics in multiple time steps knows"):
        driver.run(1)


def test_constant_pressure_refuses_constraints():
    atoms = moving()
    atoms.set_constraint(FixAtoms([1]))
    with pytest.raises(ValueError, match=r"constraints: all atoms follow the cell here; remove them"):
        barostat(atoms, another(0.1), 0.0, 100).step()


@pytest.mark.filterwarnings("ignore::so3md.dynamics.odd_states.OddStateWarning")
@pytest.mark.parametrize("kind", ["langevin", "csvr", "npt"])
def test_the_kinetic_energy_is_that_of_the_canonical_ensemble(kind: str, tmp_path: Path):
    atoms, masses = moving(), np.array([4, 20, 40, 84])
    atoms.set_masses(masses)
    settings = settings_of(kind, log_interval=2, max_difference=10.0)
    of_atoms = []
    with Simulation.start(atoms, settings, tmp_path / "run", student=another(0.07, 1.1)) as simulation:
        simulation.run(
            6000, on_step=lambda run: of_atoms.append(np.square(run.atoms.get_momenta()).sum(axis=1) / masses)
        )
        free = simulation.degrees_of_freedom
    log = read_rows(tmp_path / "run")
    thermal = units.kB * 100
    assert log["kinetic_eV"].mean() == pytest.approx(free / 2 * thermal, rel=SAMPLING)
    assert log["kinetic_eV"].var() == pytest.approx(free / 2 * thermal**2, rel=4 * SAMPLING)
    if kind == "langevin":  # rescaling leaves it to rare collisions to give each atom its part
        assert np.mean(of_atoms, axis=0) == pytest.approx(3 * thermal * np.ones(4), rel=2 * SAMPLING)
    elif kind == "npt":
        assert log["volume_A3"].std() > 0.01 * log["volume_A3"].mean()
        assert np.isnan(log["conserved_eV"]).all()
    else:
        assert np.std(log["conserved_eV"]) < 0.2 * np.std(log["total_eV"])


def gas_in_a_spring(number: int, temperature: float) -> Atoms:
    """Atoms without forces at a temperature (K), in a volume that is held by a spring."""
    rng = np.random.default_rng(7)
    atoms = Atoms(f"Ar{number}", cell=[5.3] * 3, pbc=True, scaled_positions=rng.random((number, 3)))
    atoms.calc = VolumeSpring()
    atoms.set_momenta(rng.standard_normal((number, 3)) * np.sqrt(units.kB * temperature * atoms.get_masses())[:, None])
    atoms.set_momenta(atoms.get_momenta() - atoms.get_momenta().mean(axis=0))
    return atoms


def barostat(atoms: Atoms, student: Calculator, pressure: float, taup: float) -> RespaNPT:
    """One for 100 K; pressure in bar, taup in fs."""
    rng = np.random.default_rng(8)
    driver = RespaNPT(
        atoms, STEP, 100, 40 * units.fs, student, 1, pressure * BAR, taup * units.fs, limits=ForceLimits(10), rng=rng
    )
    driver.ndof = 3 * len(atoms) - 3
    driver.target_kinetic_energy = driver.ndof / 2 * units.kB * 100
    return driver


def test_volumes_have_the_distribution_of_constant_pressure():
    """With the centre of mass at rest, V^(N - 1) exp(-(U + P V) / kT)."""
    number, pressure, thermal = 8, 2000.0, units.kB * 100
    atoms = gas_in_a_spring(number, 100)
    driver = barostat(atoms, VolumeSpring(stiffness=0.0), pressure, 100)
    volumes, kinetic = [], []
    for _ in range(4000):
        driver.step()
        volumes.append(atoms.get_volume())
        kinetic.append(atoms.get_kinetic_energy())
    grid = np.linspace(10, 400, 4000)
    spring = atoms.calc.parameters
    energy = spring["stiffness"] / 2 * (grid - spring["volume"]) ** 2 + pressure * BAR * grid
    weight = grid ** (number - 1) * np.exp(-(energy - energy.min()) / thermal)
    mean = np.average(grid, weights=weight)
    deviation = np.sqrt(np.average((grid - mean) ** 2, weights=weight))
    assert np.mean(volumes) == pytest.approx(mean, abs=SAMPLING * 5 * deviation)  # four standard errors
    assert np.std(volumes) == pytest.approx(deviation, rel=3 * SAMPLING)
    assert np.mean(kinetic) == pytest.approx(driver.target_kinetic_energy, rel=SAMPLING)


def test_without_noise_the_volume_follows_the_pressure_of_the_teacher():
    class Quiet:
        def standard_normal(self) -> float:
            return 0.0

    atoms = moving()
    driver = barostat(atoms, another(0.1), 100.0, 300)
    driver.rng = Quiet()
    stress = atoms.get_stress(include_ideal_gas=True)
    expected = 4.6e-5 * (-stress[:3].mean() / BAR - 100.0) * 8 / 300
    assert driver._change_of_volume() == pytest.approx(expected, rel=1e-9)


def test_the_cell_keeps_its_shape_and_molecules_their_places_in_it():
    atoms = moving()
    shape, places = atoms.cell.array / np.cbrt(atoms.get_volume()), atoms.get_scaled_positions(wrap=False)
    driver = barostat(atoms, another(0.1), 0.0, 50)
    momenta = atoms.get_momenta()
    driver._rescale_cell(0.03)
    assert atoms.get_volume() == pytest.approx(5.3**3 * np.exp(0.03))
    np.testing.assert_allclose(atoms.cell.array / np.cbrt(atoms.get_volume()), shape, atol=1e-14)
    np.testing.assert_allclose(atoms.get_scaled_positions(wrap=False), places, atol=1e-14)
    np.testing.assert_allclose(atoms.get_momenta(), momenta * np.exp(-0.01))
    driver.taup = 1e-6
    with pytest.raises(ValueError, match=r"the barostat would change the volume by .* % in one step; relax the cell"):
        driver.run(1)


# --- runs in directories --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_a_resumed_run_goes_on_to_the_bit(kind: str, tmp_path: Path, toy_model):
    frequent = {"log_interval": 1, "trajectory_interval": 2, "checkpoint_interval": 5, "max_difference": 1e3}
    settings = settings_of(kind, timestep=0.25, outer=0.5, **frequent)
    student = toy_model()

    def calculators() -> tuple[So3kratesCalculator, So3kratesCalculator]:
        return So3kratesCalculator(threads=1), So3kratesCalculator(student, threads=1)

    for name, parts in (("whole", [10]), ("parts", [5, 5])):
        atoms = molecule("CH3CH2OH", cell=[8, 8, 8], pbc=kind == "npt")
        atoms.calc, other = calculators()
        with Simulation.start(atoms, settings, tmp_path / name, student=other) as run:
            run.run(parts[0])
        for steps in parts[1:]:
            teacher, other = calculators()
            with Simulation.resume(tmp_path / name, teacher, student=other) as run:
                run.run(steps)
    assert_same_run(tmp_path / "whole", tmp_path / "parts")
    assert read_rows(tmp_path / "whole")["time_ps"][-1] == pytest.approx(10 * 0.5e-3)


def test_a_run_goes_on_with_its_own_student_only(tmp_path: Path):
    settings = settings_of("nve", max_difference=10.0)
    with Simulation.start(moving(), settings, tmp_path / "run", student=another(0.1)) as run:
        run.run(2)
    with pytest.raises(CheckpointError, match=r"student_strength: the checkpoint has 0.1, this run 0.2"):
        Simulation.resume(tmp_path / "run", another(), student=another(0.2))
    with pytest.raises(ValueError, match="multiple time steps need both a student and an outer time step"):
        Simulation.resume(tmp_path / "run", another())


def test_a_student_that_leaves_its_domain_stops_the_run_with_the_structure(tmp_path: Path):
    atoms = Atoms("Ar2", positions=[[0, 0, 0], [6.0, 0, 0]])
    atoms.set_velocities([[0.05, 0, 0], [-0.05, 0, 0]])
    atoms.calc = SoftSpheres(strength=2.0)
    settings = Settings(ensemble="nve", timestep=2, outer_timestep=4, max_difference=0.15)
    with Simulation.start(atoms, settings, tmp_path / "run", student=another(0.0), velocities="file") as run:
        with pytest.raises(BlowUpError, match=r"forces of student and teacher differ by 0\.\d+ eV/A on atom . \(Ar\)"):
            run.run(1000)
        assert run.step > 10
    assert (tmp_path / "run" / "blow_up.xyz").exists()
    assert atoms.calc.parameters["strength"] == 2.0  # the teacher's, as before


def test_a_student_that_does_not_know_the_structure_is_refused_before_there_is_a_directory(tmp_path: Path):
    limits = ForceLimits(largest=1.0, rms=1e-3, reason="3 times what distillation found")
    driver = RespaVerlet(moving(), STEP, another(0.1), substeps=2, limits=limits)
    with pytest.raises(StudentError, match=r"differ by 0\.\d+ eV/A on average .*at most 0.001 .*distillation found"):
        driver.run(1)
    with pytest.raises(StudentError, match="the student does not know such structures"):
        Simulation.start(moving(), settings_of("nve", max_difference=1e-3), tmp_path / "run", student=another(0.1))
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"ensemble": "npt", "taup": 1.0}, "taup 1 fs: expected at least a time step, 2 fs"),
        (
            {"outer_timestep": 3.3},
            r"outer_timestep 3.3 fs: expected a whole number of inner steps of 0.5 fs, found 6.6",
        ),
        ({"outer_timestep": 0.2}, "expected a whole number of inner steps of 0.5 fs, found 0.4"),
        ({"outer_timestep": None, "max_difference": 1.0}, "a single time step has no student"),
        ({"outer_timestep": np.nan}, "outer_timestep nan: expected a positive number from"),
    ],
)
def test_settings_that_cannot_be_are_refused(wrong: dict, message: str):
    with pytest.raises(ValueError, match=message):
        Settings(**({"outer_timestep": 2.0} | wrong))


def test_student_and_outer_step_go_together(tmp_path: Path):
    with pytest.raises(ValueError, match="multiple time steps need both a student and an outer time step"):
        Simulation.start(moving(), Settings(outer_timestep=2.0), tmp_path / "run")
    with pytest.raises(ValueError, match="multiple time steps need both a student and an outer time step"):
        Simulation.start(moving(), Settings(), tmp_path / "run", student=another())
    atoms = moving()
    with pytest.raises(ValueError, match="expected another calculator than that of the structure"):
        RespaVerlet(atoms, STEP, atoms.calc, substeps=2)
    with pytest.raises(ValueError, match=r"substeps 1\.5: expected a whole number of inner steps, at least 1"):
        RespaVerlet(atoms, STEP, another(), substeps=1.5)


# --- the command ----------------------------------------------------------------------------------------------------


@pytest.fixture
def ethanol(tmp_path: Path, toy_model, monkeypatch: pytest.MonkeyPatch) -> tuple[str, ...]:
    """Arguments of `so3md` that run ethanol with a student, which is none: its forces are as large as the teacher's."""
    student = toy_model()
    monkeypatch.chdir(tmp_path)
    write("ethanol.xyz", molecule("CH3CH2OH"))
    multiple = ("--mts", "--student", student.name, "--timestep", "0.25", "--outer-timestep", "0.5")
    intervals = ("--log-interval", "1", "--checkpoint-interval", "4", "--seed", "1", "--no-plot", "--threads", "1")
    return ("md", "ethanol.xyz", "--output", "run", *multiple, *intervals, "--max-difference", "1000")


def test_the_command_runs_and_goes_on_with_a_student(ethanol: tuple[str, ...]):
    output = succeed(*ethanol, "--steps", "4")
    assert "Multiple time steps: /" in output
    assert "toy0.safetensors every 0.25 fs, so3lr every 0.5 fs, which is a step" in output
    succeed("md", "--resume", "run", "--steps", "4", "--no-plot")
    succeed(*ethanol, "--steps", "8", "--overwrite", "--output", "whole")
    assert_same_run(Path("run"), Path("whole"))
    assert read_rows(Path("run"))["time_ps"][-1] == pytest.approx(8 * 0.5e-3)
    assert "expected a whole number of inner steps" in fail("md", "--resume", "run", "--outer-timestep", "0.6")
    assert "outer_timestep: the checkpoint has 0.5, this run 1.0" in fail(
        "md", "--resume", "run", "--outer-timestep", "1"
    )
    # A student without a long range, beside the lengths that are recorded of the one before.
    assert "student_model: the checkpoint has " in fail("md", "--resume", "run", "--student", "so3lr-fast")
    assert "model: the checkpoint has so3lr, this run so3lr-fast" in fail(
        "md", "--resume", "run", "--model", "so3lr-fast"
    )


def test_options_of_multiple_time_steps_go_together(ethanol: tuple[str, ...]):
    def without(*names: str) -> tuple[str, ...]:
        left = list(ethanol)
        for name in names:
            at = left.index(name)
            del left[at : at + (1 if name == "--mts" else 2)]
        return tuple(left)

    assert "--student is for multiple time steps: give --mts as well" in fail(*without("--mts"), code=2)
    own = ("--model", ethanol[ethanol.index("--student") + 1])
    assert "only so3lr has a student that is shipped" in fail(*without("--student"), *own, code=2)
    assert "npt: the structure must be periodic" in fail(*ethanol, "--ensemble", "npt")
    assert "differ by" in fail(*without("--max-difference"), "--max-difference", "0.01")
    assert "model 'nobody' is neither a file nor a name" in fail(*ethanol, "--student", "nobody")
    succeed(*without("--mts", "--student", "--outer-timestep", "--max-difference"), "--steps", "1")
    assert "the run has a single time step" in fail("md", "--resume", "run", "--mts", code=2)


@pytest.mark.parametrize(
    ("inner", "outer"), [(0.55, 2.75), (0.5, 2.5), (0.25, 2.75), (0.1, 2.7), (0.4, 2.4), (1.0, 2.0), (-1.0, 2.75)]
)
def test_the_default_outer_step_is_a_whole_number_of_inner_ones(inner: float, outer: float):
    assert default_outer_timestep(inner) == pytest.approx(outer)


@pytest.mark.parametrize(
    ("outer", "inner"), [(2.75, 0.55), (2.0, 0.5), (3.5, 0.5), (1.25, 0.625), (0.75, 0.75), (-1.0, 0.5)]
)
def test_the_default_inner_step_is_a_whole_part_of_the_outer_one(outer: float, inner: float):
    assert default_timestep(outer) == pytest.approx(inner)


@pytest.mark.parametrize(("inner", "found"), [("2", "1.375"), ("4", "0.6875")])
def test_an_inner_step_that_leaves_no_room_for_the_default_outer_one_is_an_error(inner: str, found: str):
    message = f"outer_timestep 2.75 fs: expected a whole number of inner steps of {inner} fs, found {found}"
    assert message in fail("md", "water", "--mts", "--timestep", inner)


def test_so3lr_has_a_student_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    output = succeed("md", "--mts", "--steps", "5", "--log-interval", "1", "--no-plot", "--output", "run")
    assert "so3lr-fast every 0.55 fs, so3lr every 2.75 fs, which is a step" in output
    assert read_rows(Path("run"))["time_ps"][-1] == pytest.approx(5 * 2.75e-3)
    assert "model 'nobody' is neither a file nor a name" in fail("md", "--resume", "run", "--student", "nobody")
    succeed("md", "--config", "run/config.yaml", "--output", "again")
    assert read_json(Path("again", "run.json"))["student"]["model"] == "so3lr-fast"
    assert_same_run(Path("run"), Path("again"))
    # Also once another version has another general student.
    monkeypatch.setitem(GENERAL_STUDENTS, "so3lr", "another")
    succeed("md", "--config", "run/config.yaml", "--output", "later")
    assert_same_run(Path("run"), Path("later"))


def test_a_committee_can_be_a_student_in_ase(toy_model):
    atoms = molecule("CH3CH2OH")
    atoms.calc = So3kratesCalculator(threads=1)
    student = So3kratesCalculator([str(toy_model(seed=seed)) for seed in (0, 1)], threads=1)
    driver = RespaVerlet(atoms, 0.5 * units.fs, student, 2)
    assert driver.limits == ForceLimits()


def test_the_general_student_is_like_its_teacher():
    """It was made from this very model, and its report is true for liquid water."""
    report, file = report_of("so3lr-fast"), model_path("so3lr-fast")
    assert report is not None
    assert report["teacher"] == "so3lr"
    assert report["teacher_checksum"] == hashlib.sha256(model_path("so3lr").read_bytes()).hexdigest()[:16]
    assert file.stat().st_size < 1_000_000
    atoms = read_structure("water")
    forces = [So3kratesCalculator(name, threads=1).get_property("forces", atoms) for name in ("so3lr-fast", "so3lr")]
    difference = np.sqrt(np.square(forces[0] - forces[1]).sum(axis=1).mean())
    # A structure at rest: smaller differences than in dynamics at 300 and 600 K.
    assert difference < report["kept_aside"]["water"]["force_rms"]


def test_two_processes_make_the_same_steps_as_one(ethanol: tuple[str, ...], tmp_path: Path):
    pytest.importorskip("mpi4py")
    double = (*ethanol, "--steps", "20", "--precision", "double")
    succeed(*double)
    parallel_runs.run(2, "-m", "so3md", *double, "--output", "two", cwd=tmp_path)
    one, two = read_rows(tmp_path / "run"), read_rows(tmp_path / "two")
    assert len(two["step"]) == 21
    np.testing.assert_allclose(two["potential_eV"], one["potential_eV"], rtol=tolerances.RANKS_RELATIVE_ENERGY)
    first, second = read(tmp_path / "run" / "final.xyz"), read(tmp_path / "two" / "final.xyz")
    np.testing.assert_allclose(second.positions, first.positions, rtol=0, atol=1e-8)  # as many digits as the file has
