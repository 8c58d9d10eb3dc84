"""The LAMMPS pair style against the ASE calculator, finite differences and LAMMPS's own fixes, on one and many ranks.

Most structures are small, since their periodic images make them as demanding as large ones: boxes thinner than every
cutoff, atoms that see many images of themselves and of atoms of other ranks.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.neighborlist import neighbor_list
from lammps_comparison import assert_equal_to_ase, moved, of_ase, skewed_waters, waters
from lammps_runs import needs_lammps
from lammps_tools import PRESSURE_UNIT, Job
from reference_data import SYSTEMS, load_system
from tolerances import (
    EXACT,
    FINITE_DIFFERENCE_FORCES,
    FINITE_DIFFERENCE_STEP,
    FINITE_DIFFERENCE_STRESS,
    MIXED_ENERGY_PER_ATOM,
    MIXED_WORST_FORCE,
    RANKS,
    REFERENCE,
)

from so3md import load_model

pytestmark = needs_lammps

PERIODIC_SYSTEMS = [name for name in SYSTEMS if name.startswith("water")]
MOLECULES = ["acetate_m1", "atat_nocut", "nh4cl_p1", "oh_radical_spin05", "o2_triplet_spin1", "atom_H"]

#: Ranks and processor grid; every one cuts boxes of which no side is as long as the long cutoff.
GRIDS = [(1, "1 1 1"), (2, "2 1 1"), (2, "1 1 2"), (3, "1 3 1"), (4, "1 2 2"), (8, "2 2 2")]


def test_the_plugin_is_built_for_the_lammps_that_is_installed_with_it() -> None:
    text = (Path(__file__).parent.parent / "pyproject.toml").read_text(encoding="utf-8")
    versions = re.findall(r'"lammps(?:\[mpi\])?==([\d.]+)', text)
    assert len(versions) == 2
    assert len(set(versions)) == 1


# --- the same numbers as ASE ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", PERIODIC_SYSTEMS)
def test_periodic_reference_systems(name: str, tmp_path: Path) -> None:
    system = load_system(name)
    atoms = Atoms(system.numbers, system.positions, cell=system.cell, pbc=system.pbc)
    parameters = {"charge": system.charge, "lr_cutoff": system.lr_cutoff, "lr_damping": system.lr_damping}
    words = " ".join(f"{key} {value}" for key, value in parameters.items())
    job = Job(tmp_path, atoms, f"so3lr precision double {words}")
    job.report("start")
    report = job.run()["start"]
    assert_equal_to_ase(report, atoms, **parameters)
    np.testing.assert_allclose(report.forces, system.expected["forces"], rtol=0, atol=REFERENCE.forces)


@pytest.mark.parametrize("name", MOLECULES)
@pytest.mark.parametrize("ranks", [1, 2])
def test_molecules_in_vacuum(name: str, ranks: int, tmp_path: Path) -> None:
    system = load_system(name)
    atoms = Atoms(system.numbers, system.positions)
    parameters = {"charge": system.charge, "spin": system.spin, "lr_cutoff": system.lr_cutoff}
    words = f"charge {system.charge} spin {system.spin} lr_cutoff {system.lr_cutoff or 'none'}"
    job = Job(tmp_path, atoms, f"so3lr precision double {words}")
    job.report("start")
    assert_equal_to_ase(job.run(ranks)["start"], atoms, **parameters)


def test_mixed_precision(tmp_path: Path) -> None:
    atoms = waters(2, 2, 2)
    job = Job(tmp_path, atoms, "so3lr")
    job.report("start")
    report, expected = job.run(2)["start"], of_ase(atoms)
    assert abs(report.energy - expected.get_potential_energy()) < MIXED_ENERGY_PER_ATOM * len(atoms)
    np.testing.assert_allclose(report.forces, expected.get_forces(), rtol=0, atol=MIXED_WORST_FORCE)


@pytest.mark.parametrize("atom_style", ["atomic", "full"])
def test_units_real_and_atom_styles(atom_style: str, tmp_path: Path) -> None:
    atoms = skewed_waters()
    job = Job(tmp_path, atoms, units="real", atom_style=atom_style)
    job.report("start")
    report = job.run()["start"]
    # LAMMPS's factor between its two energy units has eight digits, as has its unit of pressure.
    assert report.energy == pytest.approx(of_ase(atoms).get_potential_energy(), rel=1e-7)
    np.testing.assert_allclose(report.forces, of_ase(atoms).get_forces(), rtol=1e-7, atol=1e-7)
    np.testing.assert_allclose(report.stress, of_ase(atoms).get_stress(voigt=False), rtol=1e-7, atol=1e-8)


def test_threads(tmp_path: Path) -> None:
    job = Job(tmp_path, waters(2, 2, 2), "so3lr precision double threads 2")
    job.report("start")
    assert_equal_to_ase(job.run()["start"], waters(2, 2, 2))


# --- any number of ranks --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("ranks", "grid"), GRIDS)
@pytest.mark.parametrize("newton", ["on", "off"])
def test_decompositions(ranks: int, grid: str, newton: str, tmp_path: Path) -> None:
    atoms = skewed_waters()
    job = Job(tmp_path, atoms, before_box=f"newton {newton}\nprocessors {grid}")
    job.report("start")
    report = job.run(ranks)["start"]
    assert_equal_to_ase(report, atoms, RANKS)
    assert len(set(report.processes)) == ranks


def test_tiled_domains(tmp_path: Path) -> None:
    atoms = waters(3, 3, 3)
    job = Job(tmp_path, atoms, "so3lr precision double lr_cutoff 6.0", before_box="comm_style tiled")
    job.commands("balance 1.0 rcb")
    job.report("start")
    assert_equal_to_ase(job.run(3)["start"], atoms, RANKS, lr_cutoff=6.0)


def test_ranks_without_atoms(tmp_path: Path) -> None:
    atoms = waters(2, 2, 2)
    atoms.set_cell([6.2, 6.2, 60.0])
    job = Job(tmp_path, atoms, before_box="processors 1 1 4")
    job.report("start")
    report = job.run(4)["start"]
    assert len(set(report.processes)) < 4
    assert_equal_to_ase(report, atoms, RANKS)


@pytest.mark.parametrize("grid", ["2 1 1", "1 2 2"])
def test_atoms_that_cross_boundaries(grid: str, tmp_path: Path) -> None:
    atoms = waters(2, 2, 2)
    atoms.positions += 1.55  # molecules on the boundaries, not in the middle
    atoms.wrap()
    ranks = int(np.prod([int(count) for count in grid.split()]))
    job = Job(tmp_path, atoms, before_box=f"processors {grid}")
    job.commands("neighbor 1.0 bin\nneigh_modify every 5 delay 0 check no\nfix nve all nve\ntimestep 0.001")
    job.report("start")
    # The last lists are three steps old at the end of the run, and new in the report.
    job.commands("dump old all custom 48 old_lists.dump id x y z fx fy fz")
    job.commands("dump_modify old sort id format float %.17g first no\nrun 48")
    job.report("end")
    reports = job.run(ranks)
    assert np.any(reports["end"].processes != reports["start"].processes)
    assert_equal_to_ase(reports["end"], moved(atoms, reports["end"]), RANKS)
    np.testing.assert_allclose(
        job.last_snapshot("old_lists.dump")[:, 4:], reports["end"].forces, rtol=0, atol=RANKS.forces
    )


def test_trajectories_on_one_and_two_ranks(tmp_path: Path) -> None:
    positions = []
    for ranks in (1, 2):
        job = Job(tmp_path, waters(2, 2, 2))
        job.commands("fix nve all nve\ntimestep 0.0005\nrun 20")
        job.report("end")
        positions.append(job.run(ranks)["end"].positions)
    np.testing.assert_allclose(positions[1], positions[0], rtol=0, atol=1e-9)


def test_bytes_sent_are_those_of_the_halo(tmp_path: Path) -> None:
    """Each distinct remote atom within reach once per exchange, its images and those of own atoms not at all."""
    atoms, skin, long_cutoff = waters(1, 1, 12), 0.3, 8.0
    job = Job(tmp_path, atoms, f"so3lr precision double lr_cutoff {long_cutoff}", before_box="processors 1 1 2")
    job.commands(f"neighbor {skin} bin")
    job.report("start")
    report = job.run(2)["start"]
    model = load_model("so3lr")
    shape = json.loads(model.metadata)["hyperparameters"]
    # Features and spherical harmonic coordinates go to every layer but the first, and gradients come back from each.
    row = shape["num_features"] + sum(2 * degree + 1 for degree in shape["degrees"])
    exchanges = 2 * shape["num_layers"] - 1
    near = remote_neighbours(moved(atoms, report), report.processes, model.cutoff + skin)
    far = remote_neighbours(moved(atoms, report), report.processes, long_cutoff + skin)
    assert near < far < len(atoms)
    assert report.bytes_sent == 8 * (near * exchanges * row + far * 2)  # charge and polarisability of the far ones
    per_process = re.findall(r"halo exchange of a process per step .* messages, ([\d.]+) / (\d+) bytes", job.output)[-1]
    assert float(per_process[0]) == pytest.approx(report.bytes_sent / 2, abs=0.5)


def remote_neighbours(atoms: Atoms, processes: np.ndarray, radius: float) -> int:
    """How many atoms the processes need of others, in all."""
    i, j = neighbor_list("ij", atoms, radius)
    return sum(len(set(j[(processes[i] == process) & (processes[j] != process)])) for process in set(processes))


# --- forces and virial are derivatives ------------------------------------------------------------------------------


def test_finite_differences_of_lammps(tmp_path: Path) -> None:
    atoms = waters(1, 1, 2)
    job = Job(tmp_path, atoms, "so3lr precision double lr_cutoff 8.0")
    job.commands(f"fix forces all numdiff 1 {FINITE_DIFFERENCE_STEP}")
    job.commands(f"fix virial all numdiff/virial 1 {FINITE_DIFFERENCE_STEP}")
    job.report("start", columns="f_forces[*]")
    job.commands(
        'print "NUMDIFF $(f_virial[1]) $(f_virial[2]) $(f_virial[3]) $(f_virial[6]) $(f_virial[5]) $(f_virial[4])"'
    )
    report = job.run(2)["start"]
    np.testing.assert_allclose(report.forces, report.columns, rtol=0, atol=FINITE_DIFFERENCE_FORCES)
    voigt = report.stress[[0, 1, 2, 0, 0, 1], [0, 1, 2, 1, 2, 2]]
    numdiff = -job.numbers("NUMDIFF") / PRESSURE_UNIT["metal"]
    np.testing.assert_allclose(voigt, numdiff, rtol=0, atol=FINITE_DIFFERENCE_STRESS)


def test_stress_of_atoms(tmp_path: Path) -> None:
    """They add up to the virial."""
    job = Job(tmp_path, skewed_waters())
    job.commands("compute stress all stress/atom NULL virial")
    job.report("start", columns="c_stress[*]")
    report = job.run(2)["start"]
    assert report.columns.shape[1] == 6
    virial = report.stress[[0, 1, 2, 0, 0, 1], [0, 1, 2, 1, 2, 2]] * report.volume * PRESSURE_UNIT["metal"]
    bars = EXACT.stress * report.volume * PRESSURE_UNIT["metal"]
    np.testing.assert_allclose(report.columns.sum(axis=0), virial, rtol=0, atol=bars)
