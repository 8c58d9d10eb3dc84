"""Trajectories in every format: what is in them, read by other programs, and going on with them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms, units
from ase.build import molecule
from ase.calculators.calculator import PropertyNotImplementedError
from ase.constraints import FixAtoms
from ase.geometry import cell_to_cellpar
from ase.io import read, write
from dynamics_tools import SoftSpheres, soft_spheres

from so3md.dynamics import Settings, Simulation, trajectories
from so3md.dynamics.trajectories import FORMATS

#: Positions (Angstrom) in single precision, or in multiples of 0.001 A.
PRECISION = {"xyz": 1e-8, "traj": 0.0, "dcd": 1e-5, "xtc": 6e-4, "h5md": 1e-6}
SETTINGS = Settings(ensemble="nve", seed=3, timestep=4, log_interval=1, trajectory_interval=2, checkpoint_interval=10)

CELLS = {
    "cube": np.diag([5.3, 5.3, 5.3]),
    "axes in another order": np.array([[0, 0, 6.0], [5.3, 0, 0], [0, 5.8, 0]]),
    "triclinic": np.array([[5.3, 0.4, -0.3], [1.0, 5.6, 0.2], [-0.7, 0.5, 6.1]]),
    "left-handed": np.array([[0.4, 5.3, -0.3], [5.6, 1.0, 0.2], [0.5, -0.7, 6.1]]),
}


@pytest.fixture(params=FORMATS)
def kind(request: pytest.FixtureRequest) -> str:
    """A format whose library is here."""
    if request.param in ("dcd", "xtc", "h5md"):
        pytest.importorskip("MDAnalysis", reason="it reads these formats (extra 'trajectories')")
        pytest.importorskip("h5py")
    return request.param


def spheres(cell: np.ndarray) -> Atoms:
    atoms = soft_spheres()
    atoms.set_cell(cell, scale_atoms=True)
    return atoms


def frames_of(run: Path, kind: str) -> list[Atoms]:
    """The frames, with steps, as other programs read them."""
    if kind in ("xyz", "traj"):
        return read(run / f"trajectory.{kind}", ":")
    import MDAnalysis

    universe = MDAnalysis.Universe(str(run / "start.xyz"), str(run / f"trajectory.{kind}"))
    frames = []
    for step in universe.trajectory:
        cell = None if step.dimensions is None else step.dimensions
        atoms = Atoms(universe.atoms.names.tolist(), step.positions, cell=cell, pbc=cell is not None)
        atoms.info = {"step": round(1e3 * step.time / SETTINGS.timestep), "time_ps": step.time}
        if step.has_velocities:
            atoms.set_velocities(step.velocities / (1e3 * units.fs))
        frames.append(atoms)
    return frames


def distances(atoms: Atoms) -> np.ndarray:
    return atoms.get_all_distances(mic=True)


@pytest.mark.parametrize("name", CELLS)
def test_frames_are_those_of_the_run_with_their_cell(kind: str, name: str, tmp_path):
    seen: list[Atoms] = []

    def note(simulation: Simulation) -> None:
        if simulation.step % 2 == 0:
            seen.append(simulation.atoms.copy())

    atoms = spheres(CELLS[name])
    seen.append(atoms.copy())
    with Simulation.start(atoms, SETTINGS, tmp_path / "run", trajectory_format=kind) as simulation:
        simulation.run(6, on_step=note)
    frames = frames_of(tmp_path / "run", kind)
    assert [frame.info["step"] for frame in frames] == [0, 2, 4, 6]
    for frame, expected in zip(frames, seen, strict=True):
        assert frame.get_chemical_formula() == "Ar4"
        np.testing.assert_allclose(cell_to_cellpar(frame.cell.array), cell_to_cellpar(expected.cell.array), atol=2e-3)
        np.testing.assert_allclose(distances(frame), distances(expected), atol=2 * PRECISION[kind] + 1e-12)
    if name == "cube":
        np.testing.assert_allclose(frames[-1].positions, seen[-1].positions, atol=PRECISION[kind])


def test_a_molecule_has_no_cell(kind: str, tmp_path):
    atoms = Atoms("Ar2", positions=[[0, 0, 0], [2.0, 0, 0]], cell=[9, 9, 9])
    atoms.calc = SoftSpheres()
    with Simulation.start(atoms, SETTINGS, tmp_path / "run", trajectory_format=kind) as simulation:
        simulation.run(2)
    assert not any(frame.pbc.any() for frame in frames_of(tmp_path / "run", kind))


def test_what_is_written_when_going_on_is_as_without_a_stop(kind: str, tmp_path):
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    with Simulation.start(soft_spheres(), SETTINGS, whole, trajectory_format=kind) as simulation:
        simulation.run(20)
    with Simulation.start(soft_spheres(), SETTINGS, parts, trajectory_format=kind) as simulation:
        simulation.run(10)
        checkpoint = (parts / "checkpoint.npz").read_bytes()
        simulation.run(7)
    (parts / "checkpoint.npz").write_bytes(checkpoint)  # frames after it are taken back
    with Simulation.resume(parts, SoftSpheres()) as simulation:
        simulation.run(10)
    one, other = frames_of(whole, kind), frames_of(parts, kind)
    assert [frame.info["step"] for frame in other] == list(range(0, 21, 2))
    for first, second in zip(one, other, strict=True):
        np.testing.assert_array_equal(first.positions, second.positions)
    if kind in ("xyz", "dcd", "xtc"):
        name = f"trajectory.{kind}"
        assert (whole / name).read_bytes() == (parts / name).read_bytes()


def test_a_run_that_was_killed_goes_on(kind: str, tmp_path):
    write(tmp_path / "ethanol.xyz", molecule("CH3CH2OH"))
    command = [sys.executable, "-m", "so3md", "md"]
    arguments = ["ethanol.xyz", "--steps", "1000000", "--threads", "1", "-o", "run", "--trajectory-format", kind]
    arguments += ["--trajectory-interval", "1", "--checkpoint-interval", "20", "--timestep", "0.5"]
    process = subprocess.Popen(
        command + arguments, cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )
    deadline = time.monotonic() + 60
    while not (tmp_path / "run" / "checkpoint_previous.npz").exists():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.01)
    time.sleep(0.3)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    resumed = subprocess.run(
        [*command, "--resume", "run", "--steps", "10", "--no-plot"], cwd=tmp_path, capture_output=True, text=True
    )
    assert resumed.returncode == 0, resumed.stderr
    assert "Warning" not in resumed.stderr
    frames = frames_of(tmp_path / "run", kind)
    last = read(tmp_path / "run" / "final.xyz")
    assert len(frames) == last.info["step"] + 1
    np.testing.assert_allclose(distances(frames[-1]), distances(last), atol=2e-3)


@pytest.mark.parametrize("missing", ["half", "file"])
def test_a_trajectory_that_lost_its_end_goes_on_with_a_warning(kind: str, missing, tmp_path):
    with Simulation.start(soft_spheres(), SETTINGS, tmp_path / "run", trajectory_format=kind) as simulation:
        simulation.run(10)
    path = tmp_path / "run" / f"trajectory.{kind}"
    if missing == "file":
        path.unlink()
    else:
        os.truncate(path, path.stat().st_size // 2)
    with pytest.warns(UserWarning, match=rf"trajectory\.{kind}: "):
        simulation = Simulation.resume(tmp_path / "run", SoftSpheres())
    with simulation:
        simulation.run(10)
    steps = [frame.info["step"] for frame in frames_of(tmp_path / "run", kind)]
    if kind != "dcd":  # whose frames are numbered
        assert steps[-5:] == [12, 14, 16, 18, 20]
    assert len(steps) < 11


def test_velocities_and_forces(kind: str, tmp_path):
    options = {"write_velocities": True, "write_forces": True, "trajectory_format": kind}
    atoms = spheres(CELLS["axes in another order"])
    if kind in ("dcd", "xtc"):
        with pytest.raises(ValueError, match=f"in the format {kind} has no velocities and forces; xyz, traj, h5md can"):
            Simulation.start(atoms, SETTINGS, tmp_path / "run", **options)
        assert not (tmp_path / "run").exists()
        return
    with Simulation.start(atoms, SETTINGS, tmp_path / "run", **options) as simulation:
        simulation.run(2)
    frame = frames_of(tmp_path / "run", kind)[-1]
    speeds = np.linalg.norm(atoms.get_velocities(), axis=1)
    np.testing.assert_allclose(np.linalg.norm(frame.get_velocities(), axis=1), speeds, atol=1e-7)
    expected = atoms.get_forces()
    if kind == "h5md":
        import h5py

        with h5py.File(tmp_path / "run" / "trajectory.h5md") as file:
            found = file["particles/trajectory/force/value"][-1] * units.kJ / units.mol
        turned = expected[:, [2, 0, 1]]  # the cell's vectors lie along z, x and y
        np.testing.assert_allclose(found, turned, atol=1e-12)
    else:
        np.testing.assert_allclose(frame.get_forces(apply_constraint=False), expected, atol=1e-8)


def test_ase_format_keeps_masses_constraints_and_energy(tmp_path):
    atoms = soft_spheres()
    atoms.set_masses([2.0, 3.0, 4.0, 5.0])
    atoms.set_constraint(FixAtoms([0]))
    with Simulation.start(atoms, SETTINGS, tmp_path / "run", trajectory_format="traj") as simulation:
        simulation.run(2)
    frame = read(tmp_path / "run" / "trajectory.traj")
    assert frame.get_masses().tolist() == [2, 3, 4, 5]
    assert frame.constraints[0].index.tolist() == [0]
    assert frame.get_potential_energy() == atoms.get_potential_energy()
    with pytest.raises(PropertyNotImplementedError):
        frame.get_forces()


def test_a_dcd_file_has_one_interval(tmp_path):
    pytest.importorskip("MDAnalysis")
    with Simulation.start(soft_spheres(), SETTINGS, tmp_path / "run", trajectory_format="dcd") as simulation:
        simulation.run(2)
    other = Settings(**{**vars(SETTINGS), "trajectory_interval": 5})
    with pytest.raises(ValueError, match="a DCD file has one interval from its beginning, here 2"):
        Simulation.resume(tmp_path / "run", SoftSpheres(), settings=other)


def test_a_format_without_its_library_is_an_error_before_anything_is_done(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "MDAnalysis", None)
    expected = r"the trajectory format dcd needs MDAnalysis.*pip install '\.\[trajectories\]'"
    with pytest.raises(ImportError, match=expected):
        Simulation.start(soft_spheres(), SETTINGS, tmp_path / "run", trajectory_format="dcd")
    with pytest.raises(ValueError, match="trajectory_format 'pdb': expected one of xyz, traj, dcd, xtc, h5md"):
        trajectories.check_format("pdb", {})
    assert not (tmp_path / "run").exists()
