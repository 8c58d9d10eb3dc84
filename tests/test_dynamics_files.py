"""The directory of a run: what is written, going on exactly, and nothing lost when something goes wrong."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.build import molecule
from ase.calculators.calculator import Calculator
from ase.constraints import FixAtoms
from ase.io import read
from dynamics_tools import SoftSpheres, read_rows, soft_spheres

from so3md import So3kratesCalculator
from so3md.dynamics import BlowUpError, Settings, Simulation
from so3md.dynamics.checkpoint import Checkpoint, CheckpointError
from so3md.structures import read_structure

KINDS = {
    "nve": {"ensemble": "nve"},
    "langevin": {"thermostat": "langevin"},
    "csvr": {"thermostat": "csvr"},
    "npt": {"ensemble": "npt"},
}
FREQUENT = {"seed": 7, "log_interval": 1, "trajectory_interval": 2, "checkpoint_interval": 10}


def settings_of(kind: str) -> Settings:
    return Settings(**KINDS[kind], **FREQUENT)


def ethanol() -> Atoms:
    atoms = molecule("CH3CH2OH")
    atoms.calc = new_calculator()
    return atoms


def new_calculator() -> So3kratesCalculator:
    return So3kratesCalculator(threads=1)


def state_of(directory: Path) -> dict[str, np.ndarray]:
    """All arrays of the checkpoint but the document."""
    with np.load(directory / "checkpoint.npz") as file:
        return {key: file[key] for key in file.files if key != "document"}


def assert_same_run(first: Path, second: Path) -> None:
    """The two directories hold the same run, to the bit."""
    one, other = state_of(first), state_of(second)
    assert one.keys() == other.keys()
    for key, array in one.items():
        np.testing.assert_array_equal(array, other[key], err_msg=key)
    for name in ("log.csv", "trajectory.xyz", "final.xyz"):
        assert (first / name).read_text() == (second / name).read_text()


@pytest.fixture
def finished(tmp_path: Path) -> Path:
    """The directory of a run of ten steps."""
    with Simulation.start(soft_spheres(), settings_of("csvr"), tmp_path / "run") as simulation:
        simulation.run(10)
    return tmp_path / "run"


# --- going on -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["nve", "langevin", "csvr"])
def test_a_molecule_goes_on_to_the_bit(kind: str, tmp_path):
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    with Simulation.start(ethanol(), settings_of(kind), whole) as simulation:
        simulation.run(20)
    with Simulation.start(ethanol(), settings_of(kind), parts) as simulation:
        simulation.run(10)
    with Simulation.resume(parts, new_calculator()) as simulation:
        assert simulation.step == 10
        simulation.run(10)
    assert_same_run(whole, parts)


@pytest.mark.parametrize("kind", KINDS)
def test_a_periodic_box_goes_on_to_the_bit(kind: str, tmp_path):
    def water() -> Atoms:
        atoms = read_structure("water")
        atoms.calc = new_calculator()
        return atoms

    few = Settings(**KINDS[kind], **(FREQUENT | {"checkpoint_interval": 4}))
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    with Simulation.start(water(), few, whole) as simulation:
        simulation.run(8)
    with Simulation.start(water(), few, parts) as simulation:
        simulation.run(4)
    with Simulation.resume(parts, new_calculator()) as simulation:
        simulation.run(4)
    assert_same_run(whole, parts)


def test_what_was_written_after_the_checkpoint_is_taken_back(tmp_path):
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    with Simulation.start(soft_spheres(), settings_of("csvr"), whole) as simulation:
        simulation.run(20)
    with Simulation.start(soft_spheres(), settings_of("csvr"), killed) as simulation:
        simulation.run(10)
        checkpoint = (killed / "checkpoint.npz").read_bytes()
        simulation.run(7)
    (killed / "checkpoint.npz").write_bytes(checkpoint)  # as a power failure at step 17 leaves it
    with Simulation.resume(killed, SoftSpheres()) as simulation:
        simulation.run(10)
    assert_same_run(whole, killed)


def test_constraints_charge_and_spin_are_kept(tmp_path):
    atoms = molecule("OH")
    atoms.info = {"charge": 0, "spin": 0.5}
    atoms.calc = new_calculator()
    atoms.set_constraint(FixAtoms([0]))
    with Simulation.start(atoms, settings_of("langevin"), tmp_path / "run") as simulation:
        simulation.run(2)
    with Simulation.resume(tmp_path / "run", new_calculator()) as simulation:
        assert simulation.atoms.info == {"charge": 0.0, "spin": 0.5}
        assert [constraint.todict() for constraint in simulation.atoms.constraints] == [FixAtoms([0]).todict()]
    assert read(tmp_path / "run" / "final.xyz").info["spin"] == 0.5


def test_intervals_may_change(finished: Path):
    with Simulation.resume(finished, SoftSpheres(), settings=Settings(**KINDS["csvr"], seed=7, log_interval=5)) as run:
        run.run(10)
    assert read_rows(finished)["step"].tolist() == [*range(11), 15, 20]


def test_the_record_tells_of_every_session(finished: Path):
    with Simulation.resume(finished, SoftSpheres()) as simulation:
        simulation.run(5)
    sessions = json.loads((finished / "run.json").read_text())["sessions"]
    assert [(session["from_step"], session["to_step"]) for session in sessions] == [(0, 10), (10, 15)]
    assert all(session["ase"] for session in sessions)


# --- another run's checkpoint ---------------------------------------------------------------------------------------


def test_the_checkpoint_of_another_structure_is_refused(finished: Path, tmp_path):
    other = soft_spheres()
    other.positions[0, 0] += 0.1
    with Simulation.start(other, settings_of("csvr"), tmp_path / "other") as simulation:
        simulation.run(10)
    shutil.copy(tmp_path / "other" / "checkpoint.npz", finished)
    with pytest.raises(CheckpointError, match=r"belongs to another run\. structure: the checkpoint has Ar4"):
        Simulation.resume(finished, SoftSpheres())


def test_a_structure_that_is_not_the_one_of_the_run_is_refused(finished: Path):
    Simulation.resume(finished, SoftSpheres(), structure=soft_spheres()).close()
    with pytest.raises(CheckpointError, match=r"structure: the checkpoint has Ar4, 4 atoms.*this run Ar32, 32 atoms"):
        Simulation.resume(finished, SoftSpheres(), structure=soft_spheres().repeat(2))


def test_other_settings_are_refused(finished: Path):
    with pytest.raises(CheckpointError, match=r"temperature: the checkpoint has 300\.0, this run 310\.0"):
        Simulation.resume(finished, SoftSpheres(), settings=Settings(**KINDS["csvr"], seed=7, temperature=310.0))


def test_another_model_is_refused(tmp_path, toy_model):
    path = toy_model(seed=1)
    atoms = molecule("H2O")
    atoms.calc = So3kratesCalculator(model=path, threads=1)
    with Simulation.start(atoms, Settings(), tmp_path / "run") as simulation:
        simulation.run(1)
    os.replace(toy_model(seed=2), path)
    with pytest.raises(CheckpointError, match="model_checksum"):
        Simulation.resume(tmp_path / "run", So3kratesCalculator(model=path, threads=1))
    with pytest.raises(CheckpointError, match="precision: the checkpoint has mixed, this run double"):
        Simulation.resume(tmp_path / "run", So3kratesCalculator(model=path, threads=1, precision="double"))


@pytest.mark.parametrize(
    "damage",
    [
        lambda path: path.write_bytes(path.read_bytes()[:-200]),
        lambda path: path.write_bytes(b""),
        lambda path: path.write_text("step 10"),
        lambda path: np.savez(path, step=10),
        lambda path: np.savez(path, document=np.array(["{}"], dtype=object)),
    ],
    ids=["truncated", "empty", "text", "other arrays", "a pickle"],
)
def test_a_damaged_checkpoint_is_refused(finished: Path, damage):
    damage(finished / "checkpoint.npz")
    with pytest.raises(CheckpointError, match=r"checkpoint\.npz: damaged, or not a checkpoint of so3md"):
        Simulation.resume(finished, SoftSpheres())


def test_a_trajectory_that_lost_frames_is_refused(finished: Path):
    os.truncate(finished / "trajectory.xyz", 100)
    with pytest.raises(ValueError, match=r"trajectory\.xyz: expected at least \d+ bytes.*found 100"):
        Simulation.resume(finished, SoftSpheres())


def test_a_directory_without_a_run_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"it has no run\.json"):
        Simulation.resume(tmp_path, SoftSpheres())
    (tmp_path / "run.json").write_text("{}")
    with pytest.raises(ValueError, match="it lacks 'calculator'"):
        Simulation.resume(tmp_path, SoftSpheres())
    (tmp_path / "run.json").write_text("{")
    with pytest.raises(ValueError, match=r"run\.json: damaged"):
        Simulation.resume(tmp_path, SoftSpheres())


# --- writing --------------------------------------------------------------------------------------------------------


def test_log_and_trajectory_say_what_happened(tmp_path):
    atoms = ethanol()
    options = {"write_velocities": True, "write_forces": True}
    with Simulation.start(atoms, settings_of("nve"), tmp_path / "run", **options) as simulation:
        simulation.run(4)
    log, frames = read_rows(tmp_path / "run"), read(tmp_path / "run" / "trajectory.xyz", index=":")
    assert log["step"].tolist() == [0, 1, 2, 3, 4]
    assert log["time_ps"] == pytest.approx(log["step"] * 0.5e-3)
    assert log["total_eV"] == pytest.approx(log["potential_eV"] + log["kinetic_eV"])
    assert np.isnan(log["pressure_bar"]).all()
    assert [frame.info["step"] for frame in frames] == [0, 2, 4]
    last, digits = frames[-1], 1e-8  # what extended XYZ has room for
    np.testing.assert_allclose(last.positions, atoms.positions, rtol=0, atol=digits)
    np.testing.assert_allclose(last.get_momenta(), atoms.get_momenta(), rtol=0, atol=digits)
    np.testing.assert_allclose(last.get_forces(), atoms.get_forces(), rtol=0, atol=digits)
    assert last.get_potential_energy() == pytest.approx(atoms.get_potential_energy(), rel=0, abs=1e-6)


def test_density_and_pressure_are_those_of_ase(tmp_path):
    atoms = soft_spheres()
    with Simulation.start(atoms, settings_of("npt"), tmp_path / "run") as simulation:
        seen = simulation.observe()
    assert seen.volume_A3 == pytest.approx(5.3**3)
    assert seen.density_g_cm3 == pytest.approx(4 * 39.948 / 6.02214076e23 / (5.3e-8) ** 3)
    pascal = -atoms.get_stress(include_ideal_gas=True)[:3].mean() * 1.602176634e-19 / 1e-30
    assert seen.pressure_bar == pytest.approx(pascal / 1e5)


def test_existing_output_is_never_overwritten_silently(finished: Path):
    before = {path.name: path.read_bytes() for path in finished.iterdir()}
    with pytest.raises(FileExistsError, match="has files in it"):
        Simulation.start(soft_spheres(), settings_of("nve"), finished)
    assert {path.name: path.read_bytes() for path in finished.iterdir()} == before
    (finished / "notes.txt").write_text("mine")
    with Simulation.start(soft_spheres(), settings_of("nve"), finished, overwrite=True) as simulation:
        simulation.run(1)
    assert (finished / "notes.txt").read_text() == "mine"
    assert read_rows(finished)["step"].tolist() == [0, 1]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no device that is always full")
def test_a_trajectory_that_cannot_be_written_is_noticed_before_the_first_step(tmp_path, monkeypatch):
    def is_full(self, path, *args, **kwargs):
        original(self, Path("/dev/full") if path.name == "trajectory.xyz" else path, *args, **kwargs)

    from so3md.dynamics.outputs import _GrowingFile

    original = _GrowingFile.__init__
    monkeypatch.setattr(_GrowingFile, "__init__", is_full)
    atoms = soft_spheres()
    before = atoms.positions.copy()
    with pytest.raises(OSError, match="No space left"):
        Simulation.start(atoms, settings_of("nve"), tmp_path / "run")
    assert (atoms.positions == before).all()


def test_an_output_directory_that_cannot_be_made_is_an_error(tmp_path):
    (tmp_path / "file").write_text("")
    for target in (tmp_path / "file", tmp_path / "file" / "run"):
        with pytest.raises(OSError, match="file"):
            Simulation.start(soft_spheres(), settings_of("nve"), target)


# --- failing and stopping -------------------------------------------------------------------------------------------


def test_an_explosion_stops_the_run_and_saves_the_step(tmp_path):
    atoms = ethanol()
    settings = Settings(**KINDS["nve"], seed=1, timestep=20.0)
    expected = r"failed at step \d+: .*checkpoint is of step 0"
    with (
        Simulation.start(atoms, settings, tmp_path / "run") as simulation,
        pytest.raises(BlowUpError, match=expected) as caught,
    ):
        simulation.run(1000)
    failed = read(tmp_path / "run" / "blow_up.xyz")
    assert f"step {failed.info['step']}:" in str(caught.value)
    assert len(failed) == 9
    assert Checkpoint.read(tmp_path / "run" / "checkpoint.npz").step == 0


class FailsAtStep(SoftSpheres):
    """Soft spheres whose energy is not a number from some evaluation on."""

    evaluations = 0

    def calculate(self, *args, **kwargs):
        super().calculate(*args, **kwargs)
        self.evaluations += 1
        if self.evaluations > 14:
            self.results["energy"] = float("nan")


def test_an_energy_that_is_not_a_number_stops_the_run(tmp_path):
    atoms = soft_spheres()
    atoms.calc = FailsAtStep()
    expected = r"failed at step 1\d: the energy is not a number.*checkpoint is of step 10"
    with (
        Simulation.start(atoms, settings_of("nve"), tmp_path / "run") as simulation,
        pytest.raises(BlowUpError, match=expected),
    ):
        simulation.run(20)
    assert read_rows(tmp_path / "run")["step"][-1] == read(tmp_path / "run" / "blow_up.xyz").info["step"] - 1


def test_a_run_stops_when_told_and_can_go_on(tmp_path):
    whole, stopped = tmp_path / "whole", tmp_path / "stopped"
    with Simulation.start(soft_spheres(), settings_of("csvr"), whole) as simulation:
        simulation.run(20)
    with Simulation.start(soft_spheres(), settings_of("csvr"), stopped) as simulation:
        assert not simulation.run(20, should_stop=lambda: simulation.step == 13)
        assert simulation.planned_steps == 20
    with Simulation.resume(stopped, SoftSpheres()) as simulation:
        assert simulation.step == 13
        assert simulation.run(7)
    assert_same_run(whole, stopped)


def test_an_error_between_steps_leaves_everything_saved(tmp_path):
    def fail(simulation: Simulation) -> None:
        if simulation.step == 5:
            raise KeyboardInterrupt

    with (
        Simulation.start(soft_spheres(), settings_of("csvr"), tmp_path / "run") as simulation,
        pytest.raises(KeyboardInterrupt),
    ):
        simulation.run(20, on_step=fail)
    assert Checkpoint.read(tmp_path / "run" / "checkpoint.npz").step == 5


def test_a_calculator_without_forces_is_refused_before_any_file_is_made(tmp_path):
    atoms = soft_spheres()
    atoms.calc = Calculator()  # has nothing at all
    with pytest.raises(NotImplementedError):
        Simulation.start(atoms, settings_of("nve"), tmp_path / "run")
    assert not (tmp_path / "run").exists()
