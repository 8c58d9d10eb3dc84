"""The directory of a run: what is written, going on exactly, and nothing lost when something goes wrong."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import re
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.build import molecule
from ase.calculators.calculator import Calculator
from ase.constraints import FixAtoms, FixBondLengths, FixCartesian, FixCom, Hookean
from ase.io import read
from dynamics_tools import SoftSpheres, read_rows, soft_spheres

from so3md import So3kratesCalculator
from so3md.dynamics import BlowUpError, Settings, Simulation, record
from so3md.dynamics.checkpoint import Checkpoint
from so3md.dynamics.outputs import Observation
from so3md.run_directory import CheckpointError, DirectoryLock, GrowingFile, LockedError
from so3md.structures import read_structure
from so3md.structures.constraints import constraints_text

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


def test_steps_of_long_runs_are_whole_numbers_in_the_log():
    for step in (0, 9_999, 10_000, 1_000_000, 12_345_678_901):
        row = Observation(step, 5e-4 * step, 300.0, -31774.188, 7.5, -31766.688, None).row()
        assert row[0] == str(step)
        assert float(row[1]) == pytest.approx(5e-4 * step)
        assert row[3:7] == ["-31774.188000", "7.5", "-31766.688000", ""]


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


def heavy_water() -> Atoms:
    atoms = molecule("H2O")
    atoms.set_masses([15.999, 2.014, 2.014])
    atoms.set_velocities([[0, 0, 0], [0.02, 0, 0], [0, 0.02, 0]])
    atoms.calc = So3kratesCalculator(lr_cutoff=None, threads=1, precision="double")
    return atoms


CONSTRAINTS = {
    "none": [],
    "an atom": [FixAtoms([0])],
    "directions": [FixAtoms([0]), FixCartesian([1, 2], mask=[True, False, True])],
    "bonds": [FixBondLengths([[0, 1], [0, 2]])],
    "an atom and a spring": [FixAtoms([1]), Hookean(1, 2, 1.0, 0.5)],
    "the centre of mass": [FixCom()],
}


@pytest.mark.parametrize("constraints", CONSTRAINTS.values(), ids=CONSTRAINTS)
def test_the_last_structure_goes_on_with_its_masses_and_constraints(constraints, tmp_path):
    atoms = heavy_water()
    atoms.set_constraint(constraints)
    settings = settings_of("nve")
    with Simulation.start(atoms, settings, tmp_path / "one", write_velocities=True) as simulation:
        simulation.run(10)
        before = simulation.observe()
    again = read_structure(tmp_path / "one" / "final.xyz")
    assert constraints_text(again.constraints) == constraints_text(atoms.constraints)
    again.calc = heavy_water().calc
    with Simulation.start(again, settings, tmp_path / "two", velocities="file") as simulation:
        after = simulation.observe()
        np.testing.assert_array_equal(again.get_masses(), atoms.get_masses())
        digits = 1e-7  # what extended XYZ has room for
        assert after.kinetic_eV == pytest.approx(before.kinetic_eV, rel=1e-5)
        assert after.temperature_K == pytest.approx(before.temperature_K, rel=1e-5)
        assert after.potential_eV == pytest.approx(before.potential_eV, rel=0, abs=10 * digits)


def test_the_trajectory_has_masses_and_fixed_atoms_and_names_other_constraints(tmp_path):
    atoms = heavy_water()
    atoms.set_constraint([FixAtoms([0]), Hookean(1, 2, 1.0, 0.5)])
    with Simulation.start(atoms, settings_of("nve"), tmp_path / "run") as simulation:
        simulation.run(2)
    frame = read(tmp_path / "run" / "trajectory.xyz")
    np.testing.assert_array_equal(frame.get_masses(), atoms.get_masses())
    assert frame.constraints[0].index.tolist() == [0]
    with pytest.warns(UserWarning, match=r"the file names constraints \(Hookean\)"):
        read_structure(tmp_path / "run" / "trajectory.xyz")


def test_natural_masses_and_free_atoms_have_no_columns(finished: Path):
    assert "Properties=species:S:1:pos:R:3 " in (finished / "trajectory.xyz").read_text()


def test_rigid_bonds_go_on_to_the_bit(tmp_path):
    def rigid() -> Atoms:
        atoms = heavy_water()
        atoms.set_constraint(FixBondLengths([[0, 1], [0, 2]]))
        return atoms

    whole, parts = tmp_path / "whole", tmp_path / "parts"
    with Simulation.start(rigid(), settings_of("nve"), whole) as simulation:
        simulation.run(20)
    with Simulation.start(rigid(), settings_of("nve"), parts) as simulation:
        simulation.run(10)
    with Simulation.resume(parts, heavy_water().calc) as simulation:
        simulation.run(10)
    assert_same_run(whole, parts)


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


def test_a_run_with_the_former_file_of_a_shipped_model_goes_on(tmp_path):
    with Simulation.start(ethanol(), settings_of("nve"), tmp_path / "run") as simulation:
        simulation.run(1)
    state = Checkpoint.read(tmp_path / "run" / "checkpoint.npz")
    contents = record.read_record(tmp_path / "run")
    for checksum, error in (
        ("0af11d65167f9fd3", None),
        ("0123456789abcdef", "model_checksum: the checkpoint has 01"),
    ):
        state.identity["model_checksum"] = contents["identity"]["model_checksum"] = checksum
        state.write(tmp_path / "run" / "checkpoint.npz")
        (tmp_path / "run" / "run.json").write_text(json.dumps(contents))
        if error:
            with pytest.raises(CheckpointError, match=error):
                Simulation.resume(tmp_path / "run", new_calculator())
        else:
            Simulation.resume(tmp_path / "run", new_calculator()).close()


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


def _with_other_byte(content: bytes) -> bytes:
    middle = len(content) // 2
    return content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]


DAMAGE = {
    "truncated": lambda path: path.write_bytes(path.read_bytes()[:-200]),
    "empty": lambda path: path.write_bytes(b""),
    "zeros": lambda path: path.write_bytes(bytes(path.stat().st_size)),
    "one byte": lambda path: path.write_bytes(_with_other_byte(path.read_bytes())),
    "text": lambda path: path.write_text("step 10"),
    "other arrays": lambda path: np.savez(path, step=10),
    "a pickle": lambda path: np.savez(path, document=np.array(["{}"], dtype=object)),
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
def test_a_damaged_checkpoint_falls_back_to_the_one_before(damage, tmp_path):
    whole, damaged = tmp_path / "whole", tmp_path / "damaged"
    for directory in (whole, damaged):
        with Simulation.start(soft_spheres(), settings_of("csvr"), directory) as simulation:
            simulation.run(20)
    damage(damaged / "checkpoint.npz")
    with pytest.warns(UserWarning, match=r"checkpoint\.npz: damaged.*going on from the checkpoint before it") as caught:
        simulation = Simulation.resume(damaged, SoftSpheres())
    assert "\n" not in str(caught[0].message)
    with simulation:
        assert simulation.step == 10
        assert Checkpoint.read(damaged / "checkpoint.npz").step == 10  # the damaged one does not become the one before
        simulation.run(10)
    assert_same_run(whole, damaged)


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
def test_two_damaged_checkpoints_are_refused(finished: Path, damage):
    for name in ("checkpoint.npz", "checkpoint_previous.npz"):
        damage(finished / name)
    with pytest.raises(CheckpointError, match=r"checkpoint\.npz: damaged, or not a checkpoint of so3md"):
        Simulation.resume(finished, SoftSpheres())


def test_no_damage_to_a_checkpoint_goes_unnoticed(finished: Path):
    path = finished / "checkpoint.npz"
    content = path.read_bytes()
    state = {key: array.tobytes() for key, array in np.load(path).items()}
    random = np.random.default_rng(1)
    for place in random.integers(len(content), size=300):
        damaged = bytearray(content)
        damaged[place] ^= 1 << random.integers(8)
        path.write_bytes(damaged)
        try:
            Checkpoint.read(path)
        except CheckpointError:
            continue
        assert {key: array.tobytes() for key, array in np.load(path).items()} == state  # such as the date in the zip


def test_a_checkpoint_of_another_version_is_not_taken_for_a_damaged_one(finished: Path):
    path = finished / "checkpoint.npz"
    with np.load(path) as file:
        arrays = dict(file)
    document = json.loads(str(arrays["document"])) | {"format": 2}
    np.savez(path, **(arrays | {"document": np.array(json.dumps(document))}))
    with pytest.raises(CheckpointError, match="format 2, and this so3md reads format 1"):
        Simulation.resume(finished, SoftSpheres())


def test_a_checkpoint_that_is_not_there_falls_back_to_the_one_before(finished: Path):
    (finished / "checkpoint.npz").unlink()
    with pytest.warns(UserWarning, match="there is no such file; going on from"):
        Simulation.resume(finished, SoftSpheres()).close()


@pytest.mark.parametrize("lost", ["shorter", "zeros", "missing"])
def test_files_that_lost_their_end_go_on_after_their_last_whole_record(finished: Path, lost: str):
    sizes = Checkpoint.read(finished / "checkpoint.npz").file_sizes
    for name, size in sizes.items():
        if lost == "missing":
            (finished / name).unlink()
            continue
        os.truncate(finished / name, size * 2 // 3)
        if lost == "zeros":  # a file system that knew the size before it had the data
            os.truncate(finished / name, size + 100)
    with pytest.warns(
        UserWarning, match="perhaps after a power failure; going on after its last complete record"
    ) as caught:
        simulation = Simulation.resume(finished, SoftSpheres())
    assert len(caught) == 2
    with simulation:
        simulation.run(10)
    for steps, interval in (
        (read_rows(finished)["step"].tolist(), 1),
        ([frame.info["step"] for frame in read(finished / "trajectory.xyz", ":")], 2),
    ):
        kept = [step for step in steps if step <= 10]
        assert kept == list(range(0, interval * len(kept), interval))
        assert bool(kept) == (lost != "missing")
        assert len(kept) < 1 + 10 / interval
        assert steps[len(kept) :] == list(range(10 + interval, 21, interval))
    assert b"\0" not in (finished / "log.csv").read_bytes() + (finished / "trajectory.xyz").read_bytes()


def test_files_are_on_disk_before_the_checkpoint_that_records_their_sizes(finished: Path, monkeypatch):
    synced = []

    def record(handle: int) -> None:
        synced.append(Path(os.readlink(f"/proc/self/fd/{handle}")).name.split(".npz")[0])
        original(handle)

    original = os.fsync
    with Simulation.resume(finished, SoftSpheres()) as simulation:
        for _ in range(3):
            simulation._advance()
        monkeypatch.setattr(os, "fsync", record)
        simulation.save()
    assert synced == ["log.csv", "trajectory.xyz", ".checkpoint", "run"]


class _Interrupts:
    """A file in whose n-th write the user presses Ctrl-C."""

    def __init__(self, file, write: int) -> None:
        self._file, self._left = file, write

    def write(self, content) -> int:
        self._left -= 1
        if self._left == 0:
            self._file.write(bytes(content)[: len(content) // 2])
            raise KeyboardInterrupt
        return self._file.write(content)

    def __getattr__(self, name: str):
        return getattr(self._file, name)


@pytest.mark.parametrize("name", ["_log", "_trajectory"])
@pytest.mark.parametrize("write", [1, 2])
def test_an_interrupt_in_the_middle_of_a_row_or_frame_ruins_nothing(name: str, write: int, tmp_path):
    whole, stopped = tmp_path / "whole", tmp_path / "stopped"
    with Simulation.start(soft_spheres(), settings_of("csvr"), whole) as simulation:
        simulation.run(20)
    with Simulation.start(soft_spheres(), settings_of("csvr"), stopped) as simulation:
        simulation.run(11)
        growing = getattr(simulation._outputs, name)
        growing._file = _Interrupts(growing._file, write)
        with pytest.raises(KeyboardInterrupt):
            simulation.run(9)
    assert read(stopped / "trajectory.xyz", ":")[-1].info["step"] in (10, 12, 14)  # no part of a frame is left
    assert read_rows(stopped)["step"].tolist() == list(range(len(read_rows(stopped)["step"])))
    with Simulation.resume(stopped, SoftSpheres()) as simulation:
        assert simulation.step == 11
        simulation.run(9)
    assert_same_run(whole, stopped)


# --- one process at a time ------------------------------------------------------------------------------------------


def test_a_run_that_goes_on_elsewhere_is_left_alone(finished: Path):
    before = {path.name: path.read_bytes() for path in finished.iterdir()}
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD_LOCK, finished], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert holder.stdout.readline() == "held\n"
    expected = (
        rf"run is in use by process {holder.pid} on {re.escape(socket.gethostname())}, since 20.*wait until it ends"
    )
    with pytest.raises(LockedError, match=expected):
        Simulation.resume(finished, SoftSpheres())
    with pytest.raises(LockedError, match=expected):
        Simulation.start(soft_spheres(), settings_of("csvr"), finished, overwrite=True)
    assert {name: (finished / name).read_bytes() for name in before} == before
    holder.kill()  # a lock ends with its process, however that ends
    holder.communicate()
    with Simulation.resume(finished, SoftSpheres()) as simulation:
        simulation.run(1)
    assert not (finished / ".so3md.lock").exists()


HOLD_LOCK = """
import sys
from pathlib import Path
from so3md.run_directory import DirectoryLock
lock = DirectoryLock(Path(sys.argv[1]))
print("held", flush=True)
sys.stdin.read()
"""


def test_the_same_process_cannot_run_twice_either(finished: Path):
    with (
        Simulation.resume(finished, SoftSpheres()),
        pytest.raises(LockedError, match=r"this process itself.*close the earlier run first"),
    ):
        Simulation.resume(finished, SoftSpheres())
    Simulation.resume(finished, SoftSpheres()).close()


def test_a_refusal_lets_go_of_the_lock(finished: Path):
    with pytest.raises(CheckpointError):
        Simulation.resume(finished, SoftSpheres(), structure=soft_spheres().repeat(2))
    Simulation.resume(finished, SoftSpheres()).close()


@pytest.mark.parametrize(
    ("owner", "free"),
    [
        ({"host": socket.gethostname(), "pid": 2**22 + 1}, True),  # more than Linux has
        ({"host": socket.gethostname(), "pid": 1}, False),
        ({"host": "another", "pid": 1}, False),
        (None, True),
    ],
    ids=["dead", "alive", "elsewhere", "empty"],
)
def test_without_locks_of_the_file_system_the_owner_in_the_file_counts(owner, free: bool, tmp_path, monkeypatch):
    def no_locks(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", no_locks)
    (tmp_path / ".so3md.lock").write_text(json.dumps(owner and owner | {"since": "2026-01-01"}))
    if free:
        DirectoryLock(tmp_path).release()
    else:
        with pytest.raises(LockedError, match=r"has no locks: if that process is dead, remove .*\.so3md\.lock"):
            DirectoryLock(tmp_path)


def test_two_processes_that_begin_at_once_do_not_replace_each_other(tmp_path, monkeypatch):
    class OtherWasFaster(DirectoryLock):
        def __init__(self, directory: Path) -> None:
            monkeypatch.undo()
            with Simulation.start(soft_spheres(), settings_of("csvr"), directory) as simulation:
                simulation.run(10)
            super().__init__(directory)

    monkeypatch.setattr(record, "DirectoryLock", OtherWasFaster)
    with pytest.raises(FileExistsError, match="has files in it"):
        Simulation.start(soft_spheres(), settings_of("csvr"), tmp_path / "run")
    assert Checkpoint.read(tmp_path / "run" / "checkpoint.npz").step == 10
    Simulation.resume(tmp_path / "run", SoftSpheres()).close()


def test_what_killed_processes_left_half_written_is_removed(finished: Path):
    (finished / ".checkpoint.npz.123-0a1b2c3d.partial").write_text("half")
    (finished / ".mine.partial").write_text("of the user")
    Simulation.resume(finished, SoftSpheres()).close()
    assert [path.name for path in finished.glob(".*")] == [".mine.partial"]


# --- run.json -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "change",
    [
        {"settings": []},
        {"settings": {"temprature": 300}},
        {"settings": {"temperature": "hot"}},
        {"sessions": None},
        {"settings": {"temperature": 1e-320}},
        {"settings": {"ensemble": "nve", "friction": 1.0}},
        {"planned_steps": "many"},
        {"planned_steps": -1},
        {"planned_steps": 10**400},
        {"trajectory_columns": {"velocities": True}},
        {"identity": 3},
    ],
    ids=str,
)
def test_a_damaged_record_is_an_error_of_one_line(finished: Path, change):
    record = json.loads((finished / "run.json").read_text())
    (finished / "run.json").write_text(json.dumps(record | change))
    with pytest.raises(ValueError, match=r"run\.json: damaged"):
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
        original(self, path, *args, **kwargs)
        if path.name == "trajectory.xyz":
            self._file = open("/dev/full", "wb", buffering=0)  # noqa: SIM115

    original = GrowingFile.__init__
    monkeypatch.setattr(GrowingFile, "__init__", is_full)
    atoms = soft_spheres()
    before = atoms.positions.copy()
    with pytest.raises(OSError, match=r"No space left on device: .*trajectory\.xyz"):
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
