"""Rungs of benchmarks/trust.py that need no dynamics: parity, derivatives, symmetries, precision, threads and ranks."""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import tests_folder  # noqa: F401
import tolerances
from ase import Atoms
from reference_data import SYSTEMS, ReferenceSystem, load_system
from scipy.spatial.transform import Rotation
from trust_rungs import Rung

from so3md import So3kratesCalculator, load_model
from so3md._engine import Engine
from so3md.structures import read_structure

EXACT = tolerances.EXACT
STEP = tolerances.FINITE_DIFFERENCE_STEP
RANKS = 2


def evaluate(system: ReferenceSystem, precision: str, **changes: Any) -> dict[str, Any]:
    """A reference system, with parts of its structure changed, by a new engine."""
    engine = Engine(
        load_model("so3lr"), precision=precision, lr_cutoff=system.lr_cutoff, lr_damping=system.lr_damping, threads=1
    )
    return engine.evaluate(**system.structure | changes)


def largest(difference: Any) -> float:
    return float(np.abs(difference).max(initial=0.0))


def reference(quick: bool) -> Iterator[Rung]:
    """The original definitions, and `mixed` beside `double`, for the systems of tests/data/so3lr."""
    names = SYSTEMS[::6] if quick else SYSTEMS
    worst = dict.fromkeys(("energy", "forces", "charges", "mixed_energy", "mixed_forces"), 0.0)
    for name in names:
        system = load_system(name)
        double, mixed = evaluate(system, "double"), evaluate(system, "mixed")
        atoms = len(system.numbers)
        found = {
            "energy": abs(double["energy"] - float(system.expected["energy"])) / atoms,
            "forces": largest(double["forces"] - system.expected["forces"]),
            "charges": largest(double["charges"] - system.expected.get("partial_charges", double["charges"])),
            "mixed_energy": abs(mixed["energy"] - double["energy"]) / atoms,
            "mixed_forces": largest(mixed["forces"] - double["forces"]),
        }
        worst = {key: max(worst[key], value) for key, value in found.items()}
    about, bound = f"original definitions, {len(names)} systems", tolerances.REFERENCE
    yield Rung(f"energy, {about}", worst["energy"], bound.energy_per_atom, "eV/atom")
    yield Rung(f"forces, {about}", worst["forces"], bound.forces, "eV/Å")
    yield Rung(f"charges, {about}", worst["charges"], bound.charges, "e")
    about = f"`mixed` beside `double`, {len(names)} systems"
    yield Rung(f"energy, {about}", worst["mixed_energy"], tolerances.MIXED_ENERGY_PER_ATOM, "eV/atom")
    yield Rung(f"forces, {about}", worst["mixed_forces"], tolerances.MIXED_WORST_FORCE, "eV/Å")


def derivatives(quick: bool) -> Iterator[Rung]:
    """Forces and stress of 64 molecules of water beside central differences of the energy."""
    atoms = read_structure("water")
    atoms.calc = So3kratesCalculator(precision="double", threads=1)
    forces, stress = atoms.get_forces(), atoms.get_stress(voigt=False)
    members = range(0, len(atoms), 96 if quick else 16)
    worst = 0.0
    for atom in members:
        for axis in range(3):
            slope = _slope(lambda step, atom=atom, axis=axis: _moved(atoms, atom, axis, step))
            worst = max(worst, abs(forces[atom, axis] + slope))
    bound = tolerances.FINITE_DIFFERENCE_FORCES
    yield Rung(f"forces, central differences, {3 * len(members)} components", worst, bound, "eV/Å")
    pairs = [(0, 0), (0, 1)] if quick else [(0, 0), (1, 1), (2, 2), (0, 1), (0, 2), (1, 2)]
    worst = max(
        abs(_slope(lambda step, pair=pair: _strained(atoms, pair, step)) / atoms.get_volume() - stress[pair])
        for pair in pairs
    )
    bound = tolerances.FINITE_DIFFERENCE_STRESS
    yield Rung(f"stress, central differences, {len(pairs)} components", worst, bound, "eV/Å³")


def _slope(changed: Any) -> float:
    """The derivative of the energy by a step."""
    up, down = (changed(sign * STEP).get_potential_energy() for sign in (1, -1))
    return (up - down) / (2 * STEP)


def _moved(atoms: Atoms, atom: int, axis: int, step: float) -> Atoms:
    moved = atoms.copy()
    moved.positions[atom, axis] += step
    moved.calc = atoms.calc
    return moved


def _strained(atoms: Atoms, pair: tuple[int, int], step: float) -> Atoms:
    strain = np.eye(3)
    strain[pair] += 0.5 * step
    strain[pair[::-1]] += 0.5 * step
    strained = atoms.copy()
    strained.set_cell(atoms.cell.array @ strain, scale_atoms=True)
    strained.calc = atoms.calc
    return strained


def symmetries(quick: bool) -> Iterator[Rung]:
    """Forces of water turned, moved, inverted and in another order, turned back; and their sum."""
    water = load_system("water_64")
    expected = evaluate(water, "double")["forces"]
    positions, cell = water.positions, water.cell
    turn = Rotation.from_rotvec([0.3, -1.1, 0.7]).as_matrix()
    order = np.random.default_rng(1).permutation(len(positions))
    images = np.random.default_rng(0).integers(-3, 4, positions.shape) @ cell
    found = {
        "rotation": evaluate(water, "double", positions=positions @ turn.T, cell=cell @ turn.T)["forces"] @ turn,
        "translation": evaluate(water, "double", positions=positions + images + np.array([3.7, -41.2, 8.9]))["forces"],
        "inversion": -evaluate(water, "double", positions=-positions, cell=-cell)["forces"],
        "permutation": evaluate(water, "double", positions=positions[order], numbers=water.numbers[order])["forces"][
            np.argsort(order)
        ],
    }
    for name, forces in found.items():
        yield Rung(f"forces, {name}", largest(forces - expected), EXACT.forces, "eV/Å")
    yield Rung("sum of all forces", largest(expected.sum(axis=0)), EXACT.component, "eV/Å")


def division(quick: bool) -> Iterator[Rung]:
    """The same water with other numbers of threads, and divided between two processes."""
    water = read_structure("water")
    expected = _forces(water, threads=1)
    for threads in (2, 3):
        difference = largest(_forces(water, threads=threads) - expected)
        yield Rung(f"forces, {threads} threads beside 1", difference, 0.0, "eV/Å")
    if importlib.util.find_spec("mpi4py") is None or shutil.which("mpiexec") is None:
        print("left out: ranks, because there is no mpi4py or no mpiexec")
        return
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "forces.npy"
        subprocess.run(["mpiexec", "-n", str(RANKS), sys.executable, str(Path(__file__)), str(file)], check=True)
        difference = largest(np.load(file) - expected)
    yield Rung(f"forces, {RANKS} processes beside 1", difference, tolerances.RANKS.forces, "eV/Å")


def _forces(atoms: Atoms, **options: Any) -> np.ndarray:
    atoms = atoms.copy()
    atoms.calc = So3kratesCalculator(precision="double", **options)
    return atoms.get_forces()


def _on_a_rank(file: str) -> None:
    """What each of the processes runs; the first writes the forces."""
    from mpi4py import MPI

    forces = _forces(read_structure("water"), threads=1, comm=MPI.COMM_WORLD)
    if MPI.COMM_WORLD.rank == 0:
        np.save(file, forces)


if __name__ == "__main__":
    _on_a_rank(sys.argv[1])
