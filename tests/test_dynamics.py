"""Dynamics: the ensembles are sampled as they should be, and the settings are checked."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms, units
from ase.build import molecule
from ase.calculators.fd import calculate_numerical_forces, calculate_numerical_stress
from ase.constraints import (
    ExternalForce,
    FixAtoms,
    FixBondLengths,
    FixCartesian,
    FixCom,
    FixedLine,
    FixedMode,
    FixedPlane,
    FixSubsetCom,
    Hookean,
    MirrorForce,
)
from ase.io import write
from dynamics_tools import SoftSpheres, read_rows, soft_spheres

from so3md import So3kratesCalculator
from so3md.dynamics import Settings, Simulation
from so3md.dynamics.ensembles import check_ase, degrees_of_freedom, draw_velocities
from so3md.dynamics.odd_states import OddStateWarning
from so3md.structures import read_structure

# Averages over several hundred independent samples have standard errors of about two percent, and chaos makes each
# machine draw other ones. Counting three degrees of freedom too many, for four atoms, would be wrong by a third.
SAMPLING = 0.1


def run(atoms: Atoms, settings: Settings, directory: Path, steps: int, **options) -> dict[str, np.ndarray]:
    """Run and return the log."""
    with Simulation.start(atoms, settings, directory / "run", **options) as simulation:
        assert simulation.run(steps)
    return read_rows(directory / "run")


def ethanol(precision: str = "mixed") -> Atoms:
    atoms = molecule("CH3CH2OH")
    atoms.calc = So3kratesCalculator(precision=precision, threads=1)
    return atoms


def test_a_version_of_ase_that_names_its_parts_otherwise_is_refused():
    class Renamed:
        def __init__(self):
            self.thermostat = self.barostat = self._num_atoms_global = None

    with pytest.raises(ImportError, match=r"is not supported: expected 3.27 .*Renamed has no _thermostat"):
        check_ase(Renamed)


# --- NVE ------------------------------------------------------------------------------------------------------------


def test_the_error_of_nve_falls_with_the_square_of_the_time_step(tmp_path):
    deviations = []
    for timestep in (0.25, 0.5, 1.0):
        settings = Settings(ensemble="nve", timestep=timestep, seed=1, log_interval=1)
        log = run(ethanol("double"), settings, tmp_path / str(timestep), round(100 / timestep))
        deviations.append(np.std(log["total_eV"]))
    ratios = np.array(deviations[1:]) / deviations[:-1]
    assert ratios == pytest.approx([4, 4], rel=0.1)


def test_nve_in_mixed_precision_conserves_the_energy_of_a_molecule(tmp_path):
    log = run(ethanol(), Settings(ensemble="nve", seed=1), tmp_path, 2000)
    drift = np.polyfit(log["time_ps"], log["conserved_eV"], 1)[0]
    assert abs(drift) < 1e-3  # eV/ps, while 0.3 eV go back and forth between kinetic and potential energy


# --- thermostats and barostat ---------------------------------------------------------------------------------------


def test_the_potential_of_these_tests_is_consistent():
    atoms = soft_spheres()
    atoms.rattle(0.3, seed=1)
    np.testing.assert_allclose(atoms.get_forces(), calculate_numerical_forces(atoms, eps=1e-4), atol=1e-9)
    np.testing.assert_allclose(atoms.get_stress(), calculate_numerical_stress(atoms, eps=1e-5), atol=1e-9)


@pytest.mark.parametrize(
    "settings",
    [
        Settings(thermostat="langevin", friction=20.0, temperature=100, timestep=8, seed=1, log_interval=2),
        Settings(thermostat="csvr", taut=40, temperature=100, timestep=8, seed=1, log_interval=2),
        Settings(
            ensemble="npt", taut=100, taup=500, pressure=1500, temperature=100, timestep=8, seed=1, log_interval=2
        ),
    ],
    ids=lambda settings: settings.kind,
)
def test_the_kinetic_energy_is_that_of_the_canonical_ensemble(settings: Settings, tmp_path):
    atoms = soft_spheres()
    free = degrees_of_freedom(atoms, settings)
    assert free == (12 if settings.thermostat == "langevin" else 9)  # the centre of mass rests unless it is kicked
    log = run(atoms, settings, tmp_path, 6000 if settings.ensemble == "npt" else 10000)
    thermal = units.kB * settings.temperature
    assert log["kinetic_eV"].mean() == pytest.approx(free / 2 * thermal, rel=SAMPLING)
    assert log["kinetic_eV"].var() == pytest.approx(free / 2 * thermal**2, rel=4 * SAMPLING)
    assert log["temperature_K"].mean() == pytest.approx(settings.temperature, rel=SAMPLING)
    if settings.ensemble == "npt":
        assert log["pressure_bar"].mean() == pytest.approx(settings.pressure, rel=SAMPLING)
        assert log["volume_A3"].std() > 0.01 * log["volume_A3"].mean()
    if settings.thermostat != "langevin":
        assert np.std(log["conserved_eV"]) < 0.1 * np.std(log["total_eV"])


def test_langevin_dynamics_has_no_conserved_energy(tmp_path):
    assert np.isnan(run(soft_spheres(), Settings(seed=1), tmp_path, 10)["conserved_eV"]).all()


# --- velocities -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("settings", [Settings(ensemble="nve", seed=3), Settings(seed=3)], ids=["nve", "langevin"])
def test_drawn_velocities_have_the_temperature_and_no_total_momentum(settings: Settings, tmp_path):
    atoms = soft_spheres().repeat(4)
    atoms.calc = soft_spheres().calc
    with Simulation.start(atoms, settings, tmp_path / "run"):
        np.testing.assert_allclose(atoms.get_momenta().sum(axis=0), 0, atol=1e-10)
        assert atoms.get_temperature() == pytest.approx(settings.temperature, rel=SAMPLING)


def test_velocities_of_the_structure_are_kept_unless_others_are_asked_for(tmp_path):
    given = np.random.default_rng(1).normal(size=(4, 3))
    given -= given.mean(axis=0)
    for mode in ("auto", "file", "draw"):
        atoms = soft_spheres()
        atoms.set_momenta(given)
        with Simulation.start(atoms, Settings(seed=1), tmp_path / mode, velocities=mode):
            assert np.allclose(atoms.get_momenta(), given) == (mode != "draw")


def test_asking_for_velocities_that_are_not_there_is_an_error(tmp_path):
    with pytest.raises(ValueError, match="the structure has none"):
        Simulation.start(soft_spheres(), Settings(), tmp_path / "run", velocities="file")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("name", ["velo", "vel", "velocities"])
def test_velocities_of_an_unknown_unit_are_said_not_to_be_used(name: str, tmp_path):
    atoms = soft_spheres()
    atoms.set_array(name, np.ones((4, 3)))
    write(tmp_path / "structure.xyz", atoms, format="extxyz")
    atoms = read_structure(tmp_path / "structure.xyz")
    atoms.calc = soft_spheres().calc
    with pytest.warns(UserWarning, match=f"velocities are drawn: the structure has a column '{name}'"):
        Simulation.start(atoms, Settings(), tmp_path / "run").close()
    atoms.set_momenta(np.zeros((4, 3)))
    del atoms.arrays["momenta"]
    with pytest.raises(ValueError, match=f"the structure has none; the structure has a column '{name}'"):
        Simulation.start(atoms, Settings(), tmp_path / "other", velocities="file")


def test_velocities_that_are_no_numbers_are_refused(tmp_path):
    atoms = soft_spheres()
    atoms.set_momenta(np.full((4, 3), np.nan))
    with pytest.raises(ValueError, match="velocities of the structure: one is not a finite number"):
        Simulation.start(atoms, Settings(), tmp_path / "run")


# --- states that no model knows -------------------------------------------------------------------------------------


def two_atoms(velocity: float) -> Atoms:
    """Two heavy atoms that fly at each other, and do not feel each other at first."""
    atoms = Atoms("Ar2", positions=[[0, 0, 0], [2.0, 0, 0]])
    atoms.set_velocities([[velocity, 0, 0], [-velocity, 0, 0]])
    atoms.calc = SoftSpheres(strength=1e-9)
    return atoms


def test_atoms_that_come_too_close_are_named_once(tmp_path):
    settings = Settings(ensemble="nve", log_interval=1, timestep=1.0, max_temperature=1e9)
    with (
        Simulation.start(two_atoms(0.5), settings, tmp_path / "run", velocities="file") as simulation,
        pytest.warns(OddStateWarning, match=r"step 16: atom 0 \(Ar\) and atom 1 \(Ar\) are 0\.\d+ A apart") as caught,
    ):
        simulation.run(30)
    assert len(caught) == 1


def test_a_force_that_no_model_knows_is_named_once(tmp_path):
    atoms = two_atoms(0)
    atoms.calc = SoftSpheres(strength=1000.0)
    with (
        pytest.warns(OddStateWarning, match=r"step 0: the force on atom [01] \(Ar\) is 3\d\d eV/A") as caught,
        Simulation.start(atoms, Settings(max_temperature=1e9), tmp_path / "run") as simulation,
    ):
        simulation.run(3)
    assert len(caught) == 1


def test_an_ordinary_run_says_nothing(tmp_path, recwarn):
    with Simulation.start(soft_spheres(), Settings(log_interval=1), tmp_path / "run") as simulation:
        simulation.run(20)
    assert not recwarn


def test_the_total_momentum_of_given_velocities_is_removed(tmp_path):
    atoms = soft_spheres()
    atoms.set_momenta(np.ones((4, 3)))
    atoms.rattle(0.2, seed=1)
    with Simulation.start(atoms, Settings(ensemble="nve"), tmp_path / "run") as simulation:
        np.testing.assert_allclose(atoms.get_momenta().sum(axis=0), 0, atol=1e-10)
        assert simulation.run(10)
        np.testing.assert_allclose(atoms.get_momenta().sum(axis=0), 0, atol=1e-10)


def test_atoms_can_be_held_in_place(tmp_path):
    atoms = soft_spheres()
    atoms.set_constraint(FixAtoms([0]))
    before = atoms.positions.copy()
    with Simulation.start(atoms, Settings(thermostat="csvr", seed=1), tmp_path / "run") as simulation:
        assert simulation.degrees_of_freedom == 9
        assert simulation.run(10)
    assert (atoms.positions[0] == before[0]).all()
    assert (atoms.positions[1:] != before[1:]).all()


def waters() -> Atoms:
    """Three molecules."""
    atoms = molecule("H2O")
    for number in (1, 2):
        other = molecule("H2O")
        other.positions += [4.0 * number, 0.5 * number, 0]
        atoms += other
    return atoms


RIGID = [[3 * molecule + i, 3 * molecule + j] for molecule in range(3) for i, j in ((0, 1), (0, 2), (1, 2))]

#: Constraints, degrees of freedom of nine atoms in NVE, and directions in which the total momentum is zero.
CONSTRAINED = {
    "none": ([], 24, "xyz"),
    "rigid molecules": ([FixBondLengths(RIGID)], 24 - 9, "xyz"),
    "a bond, twice": ([FixBondLengths([[0, 1], [1, 0]])], 24 - 1, "xyz"),
    "a spring between two atoms": ([Hookean(0, 3, 1.0, 2.0)], 24, "xyz"),
    "a spring to a point": ([Hookean(0, (0, 0, 0), 1.0, 0.1)], 27, ""),
    "a spring to a plane": ([Hookean(0, (0, 0, 1, -1.0), 1.0)], 25, "xy"),
    "the centre of mass": ([FixCom()], 24, "xyz"),
    "the centre of mass and a bond": ([FixCom(), FixBondLengths([[0, 1]])], 23, "xyz"),
    "that of a molecule": ([FixSubsetCom([0, 1, 2])], 24, ""),
    "an atom": ([FixAtoms([0])], 24, ""),
    "an atom, twice": ([FixAtoms([0]), FixAtoms([0, 1])], 21, ""),
    "an atom and its bond": ([FixAtoms([0]), FixBondLengths([[0, 1]])], 23, ""),
    "heights": ([FixCartesian([0, 1, 2], mask=[False, False, True])], 22, "xy"),
    "planes": ([FixedPlane([0, 1], (0, 0, 1))], 23, "xy"),
    "a line": ([FixedLine([0], (0, 0, 1))], 24, "z"),
    "a mode": ([FixedMode(np.eye(27)[3])], 24, "yz"),
    "nothing": ([FixAtoms([])], 24, "xyz"),
}


@pytest.mark.parametrize(("constraints", "free", "resting"), CONSTRAINED.values(), ids=CONSTRAINED)
def test_degrees_of_freedom_are_those_that_drawn_velocities_have(constraints, free: int, resting: str):
    settings, atoms, rng = Settings(ensemble="nve"), waters(), np.random.default_rng(1)
    atoms.set_constraint(constraints)
    assert degrees_of_freedom(atoms, settings) == free
    kinetic = []
    for _ in range(400):
        draw_velocities(atoms, settings, rng)
        kinetic.append(atoms.get_kinetic_energy())
    total = np.abs(atoms.get_momenta().sum(axis=0))
    assert "".join(axis for axis, value in zip("xyz", total, strict=True) if value < 1e-9) == resting
    thermal = units.kB * settings.temperature
    error = np.sqrt(2 / (free * len(kinetic)))  # of the mean, relative to it
    assert np.mean(kinetic) == pytest.approx(free / 2 * thermal, rel=4 * error)


@pytest.mark.parametrize("settings", [Settings(ensemble="nve", seed=5), Settings(thermostat="csvr", seed=5)])
def test_rigid_molecules_do_not_fly_away(settings: Settings, tmp_path):
    atoms = waters()
    atoms.set_constraint(FixBondLengths(RIGID))
    atoms.calc = So3kratesCalculator(lr_cutoff=None, threads=1)
    atoms.set_velocities(np.full((9, 3), 0.01))
    before = atoms.get_center_of_mass()
    with Simulation.start(atoms, settings, tmp_path / "run", velocities="draw") as simulation:
        assert simulation.degrees_of_freedom == 15
        simulation.run(50)
        seen = simulation.observe()
    assert seen.temperature_K == pytest.approx(2 * seen.kinetic_eV / (15 * units.kB))
    rounding = 1e-6  # of forces in `mixed`, which add up to zero but for that; thermal momenta are of the order of 1
    np.testing.assert_allclose(atoms.get_momenta().sum(axis=0), 0, atol=rounding)
    np.testing.assert_allclose(atoms.get_center_of_mass(), before, atol=rounding)


def test_langevin_dynamics_kicks_the_centre_of_mass_of_rigid_molecules_too():
    atoms = waters()
    atoms.set_constraint(FixBondLengths(RIGID))
    assert degrees_of_freedom(atoms, Settings()) == 27 - 9


def test_given_velocities_are_made_to_fit_constraints(tmp_path):
    atoms = soft_spheres()
    atoms.set_momenta(np.ones((4, 3)))
    atoms.set_constraint(FixAtoms([0]))
    with Simulation.start(atoms, Settings(ensemble="nve"), tmp_path / "run"):
        assert not atoms.get_momenta()[0].any()


@pytest.mark.parametrize(
    "constraint", [MirrorForce(0, 1), ExternalForce(0, 1, 0.1)], ids=lambda item: type(item).__name__
)
def test_constraints_that_are_not_for_dynamics_are_refused(constraint, tmp_path):
    atoms = soft_spheres()
    atoms.set_constraint(constraint)
    with pytest.raises(ValueError, match=rf"constraint {type(constraint).__name__}: .*not for dynamics; remove it"):
        Simulation.start(atoms, Settings(), tmp_path / "run")


def test_a_mode_in_which_atoms_of_different_masses_move_is_refused(tmp_path):
    # ASE's projection would heat ethanol from 300 to 3000 K within 100 fs.
    atoms = waters()
    atoms.calc = So3kratesCalculator(threads=1)
    bonds = np.zeros((9, 3))
    bonds[0, 2], bonds[1, 2] = 1, -1
    atoms.set_constraint(FixedMode(bonds))
    with pytest.raises(ValueError, match=r"constraint FixedMode: .* not conserve the energy .*; remove it"):
        Simulation.start(atoms, Settings(), tmp_path / "run")
    atoms.set_constraint(FixedMode(np.roll(bonds, 1, axis=0)))  # the two H of the first molecule
    with Simulation.start(atoms, Settings(ensemble="nve"), tmp_path / "run") as simulation:
        assert simulation.degrees_of_freedom == 23


# --- what does not go together --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"ensemble": "nvp"}, "ensemble 'nvp': expected one of nve, nvt, npt"),
        ({"thermostat": "nose"}, "thermostat 'nose': expected one of langevin, csvr"),
        ({"ensemble": "nve", "thermostat": "csvr"}, "nve has no such setting"),
        ({"thermostat": "csvr", "friction": 1.0}, "friction 1.0: nvt-csvr has no such setting"),
        ({"pressure": 1.0}, "pressure 1.0: nvt-langevin has no such setting"),
        ({"temperature": -1.0}, "temperature -1.0: expected a number from 0 to 1e\\+06 K"),
        ({"temperature": 0.0}, "temperature 0.0 K: expected a positive"),
        ({"temperature": float("nan")}, "temperature nan: expected a number"),
        ({"timestep": 0.0}, "timestep 0.0: expected a positive number"),
        ({"ensemble": "npt", "taup": -1.0}, "taup -1.0: expected a positive number"),
        ({"ensemble": "npt", "taup": 0.1}, "taup 0.1 fs: expected at least a time step, 0.5 fs"),
        ({"friction": -1.0}, "friction -1.0"),
        ({"log_interval": 0}, "log_interval 0: expected an integer from 1 to"),
        ({"seed": -1}, "seed -1: expected an integer from 0 to"),
        ({"friction": 1e5}, "friction 100000 /ps: expected at most 2000 /ps"),
        ({"max_temperature": 100.0}, "max_temperature 100 K: expected more than the temperature of the run, 300 K"),
        ({"temperature": "300"}, "temperature 300: expected a number"),
        ({"seed": True}, "seed True: expected an integer"),
        ({"thermostat": 3}, "thermostat 3: expected one of"),
    ],
)
def test_settings_that_make_no_sense_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        Settings(**settings)


_NUMBERS = [field.name for field in fields(Settings) if field.name not in ("ensemble", "thermostat")]


@pytest.mark.parametrize("name", _NUMBERS)
@pytest.mark.parametrize("value", [1e308, -1e308, 1e-320, float("inf"), float("nan"), 10**400, -1, "1", [1]], ids=str)
def test_no_number_of_the_settings_is_without_bounds(name: str, value):
    own = {"friction": {}, "taup": {"ensemble": "npt"}, "pressure": {"ensemble": "npt"}, "taut": {"thermostat": "csvr"}}
    if (name, value) == ("pressure", -1):
        Settings(ensemble="npt", pressure=value)
        return
    with pytest.raises(ValueError, match=f"{name} .*: expected"):
        Settings(**own.get(name, {}), **{name: value})


def test_numbers_of_numpy_become_plain_ones():
    settings = Settings(temperature=np.float32(250), log_interval=np.int64(3), seed=np.int32(1))
    assert [type(getattr(settings, name)) for name in ("temperature", "log_interval", "seed")] == [float, int, int]


def test_defaults_depend_on_the_ensemble():
    assert Settings().physics() == {
        "ensemble": "nvt",
        "thermostat": "langevin",
        "temperature": 300.0,
        "timestep": 0.5,
        "friction": 1.0,
        "seed": 0,
    }
    assert Settings(thermostat="csvr").taut == 100.0
    assert Settings(ensemble="npt").pressure == 1.01325
    assert Settings(ensemble="npt", pressure=-500.0).pressure == -500.0


def test_constant_pressure_needs_a_periodic_structure_without_constraints(tmp_path):
    atoms = soft_spheres()
    atoms.pbc = [True, True, False]
    with pytest.raises(ValueError, match="must be periodic in all directions"):
        Simulation.start(atoms, Settings(ensemble="npt"), tmp_path / "run")
    atoms.pbc = True
    atoms.set_constraint(FixAtoms([0]))
    with pytest.raises(ValueError, match="constraints are not supported"):
        Simulation.start(atoms, Settings(ensemble="npt"), tmp_path / "run")


def test_a_single_atom_has_nothing_to_rescale(tmp_path):
    atoms = Atoms("H")
    atoms.calc = soft_spheres().calc
    with pytest.raises(ValueError, match="no degrees of freedom are left"):
        Simulation.start(atoms, Settings(thermostat="csvr"), tmp_path / "run")
    with Simulation.start(atoms, Settings(ensemble="nve"), tmp_path / "run") as simulation:
        assert simulation.observe().temperature_K == 0
