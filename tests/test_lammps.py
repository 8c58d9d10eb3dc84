"""The LAMMPS pair style against the ASE calculator, finite differences and LAMMPS's own fixes, on one and many ranks.

Most structures are small, since their periodic images make them as demanding as large ones: boxes thinner than every
cutoff, atoms that see many images of themselves and of atoms of other ranks.
"""

from __future__ import annotations

import json
import re
from functools import cache
from itertools import combinations
from pathlib import Path
from subprocess import CompletedProcess

import numpy as np
import pytest
from ase import Atoms
from ase.build import molecule
from ase.neighborlist import neighbor_list
from lammps_runs import needs_lammps, run
from lammps_tools import PRESSURE_UNIT, Job, Report, failure
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
    Tolerance,
)

from so3md import So3kratesCalculator, load_model

pytestmark = needs_lammps

PERIODIC_SYSTEMS = [name for name in SYSTEMS if name.startswith("water")]
MOLECULES = ["acetate_m1", "atat_nocut", "nh4cl_p1", "oh_radical_spin05", "o2_triplet_spin1", "atom_H"]

#: Ranks and processor grid; every one cuts boxes of which no side is as long as the long cutoff.
GRIDS = [(1, "1 1 1"), (2, "2 1 1"), (2, "1 1 2"), (3, "1 3 1"), (4, "1 2 2"), (8, "2 2 2")]


def waters(*grid: int, spacing: float = 3.1, seed: int = 0) -> Atoms:
    """Water molecules on a grid, turned and displaced at random, with velocities of 300 K."""
    random = np.random.default_rng(seed)
    atoms = Atoms(cell=spacing * np.array(grid), pbc=True)
    for site in np.ndindex(*grid):
        water = molecule("H2O")
        water.rotate(random.uniform(0, 360), random.normal(size=3))
        water.positions += spacing * (np.array(site) + 0.5) + random.normal(scale=0.1, size=(3, 3))
        atoms += water
    speed = np.sqrt(0.02585 / atoms.get_masses())[:, None]
    atoms.set_velocities(speed * random.normal(size=(len(atoms), 3)))
    atoms.wrap()
    return atoms


def skewed_waters() -> Atoms:
    atoms = waters(2, 2, 2)
    atoms.set_cell(atoms.cell.array @ np.array([[1, 0, 0], [0.3, 1, 0], [-0.2, 0.4, 1]]), scale_atoms=True)
    return atoms


@cache
def calculator(**parameters: object) -> So3kratesCalculator:
    return So3kratesCalculator(**{"precision": "double", "threads": 1, **parameters})


def of_ase(atoms: Atoms, **parameters: object) -> Atoms:
    """A copy of the structure with its results."""
    atoms = atoms.copy()
    atoms.calc = calculator(**parameters)
    atoms.get_forces()
    return atoms


def assert_equal_to_ase(report: Report, atoms: Atoms, tolerance: Tolerance = EXACT, **parameters: object) -> None:
    expected = of_ase(atoms, **parameters)
    n = len(atoms)
    assert report.energy == pytest.approx(expected.get_potential_energy(), rel=0, abs=tolerance.energy_per_atom * n)
    np.testing.assert_allclose(report.forces, expected.get_forces(), rtol=0, atol=tolerance.forces)
    np.testing.assert_allclose(report.charges, expected.get_charges(), rtol=0, atol=tolerance.charges)
    ratios = expected.calc.get_hirshfeld_ratios(expected)
    np.testing.assert_allclose(report.hirshfeld_ratios, ratios, rtol=0, atol=tolerance.charges)
    energies = expected.get_potential_energies()
    np.testing.assert_allclose(report.energies, energies, rtol=0, atol=tolerance.energy_per_atom)
    components = expected.calc.get_energy_components(expected)
    for name, energy in report.components.items():
        assert energy == pytest.approx(components[name], rel=0, abs=tolerance.component)
    assert report.coulomb == pytest.approx(components["electrostatics"], rel=0, abs=tolerance.component)
    if atoms.pbc.all():
        np.testing.assert_allclose(report.stress, expected.get_stress(voigt=False), rtol=0, atol=tolerance.stress)


def moved(atoms: Atoms, report: Report) -> Atoms:
    """The structure with the positions of a report (periodic images do not matter)."""
    atoms = atoms.copy()
    atoms.positions = report.positions
    return atoms


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
    """Both kinds of atomic stress add up to the virial; the centroid kind has nine components of its own."""
    job = Job(tmp_path, skewed_waters())
    job.commands("compute stress all stress/atom NULL virial\ncompute centroid all centroid/stress/atom NULL virial")
    job.report("start", columns="c_stress[*] c_centroid[*]")
    report = job.run(2)["start"]
    stress, centroid = report.columns[:, :6], report.columns[:, 6:]
    assert centroid.shape[1] == 9
    virial = report.stress[[0, 1, 2, 0, 0, 1], [0, 1, 2, 1, 2, 2]] * report.volume * PRESSURE_UNIT["metal"]
    bars = EXACT.stress * report.volume * PRESSURE_UNIT["metal"]
    np.testing.assert_allclose(stress.sum(axis=0), virial, rtol=0, atol=bars)
    np.testing.assert_allclose(centroid.sum(axis=0), virial[[0, 1, 2, 3, 4, 5, 3, 4, 5]], rtol=0, atol=bars)
    np.testing.assert_allclose(0.5 * (centroid[:, 3:6] + centroid[:, 6:]), stress[:, 3:], rtol=0, atol=bars)
    assert np.abs(centroid[:, 3:6] - centroid[:, 6:]).max() > 1e3 * bars


# --- electrostatics of all periodic images --------------------------------------------------------------------------

#: eV A/e^2: LAMMPS's constant in metal units.
COULOMB = 14.399645
SIGMA = 4.0  # A, of SO3LR


def ewald_energy(atoms: Atoms, charges: np.ndarray) -> float:
    """Sum of erf(r/sigma)/r over all pairs and images, with a neutralising background that has no energy of its own."""
    reciprocal = 2 * np.pi * np.linalg.inv(atoms.cell.array).T
    reach = 16 / SIGMA  # exp(-(reach sigma / 2)^2) = 1e-28
    largest = np.ceil(reach * np.linalg.norm(atoms.cell.array, axis=1) / (2 * np.pi)).astype(int)
    grid = np.stack(np.meshgrid(*(np.arange(-n, n + 1) for n in largest), indexing="ij"), axis=-1).reshape(-1, 3)
    k = grid[np.any(grid != 0, axis=1)] @ reciprocal
    square = np.sum(k**2, axis=1)
    structure_factor = np.exp(1j * k @ atoms.positions.T) @ charges
    waves = 4 * np.pi / square * np.exp(-square * SIGMA**2 / 4) * np.abs(structure_factor) ** 2
    self_energy = np.sum(charges**2) / (SIGMA * np.sqrt(np.pi))
    return COULOMB * (waves.sum() / (2 * atoms.get_volume()) - self_energy)


def kspace_job(
    directory: Path, atoms: Atoms, solver: str = "ewald 1e-12", options: str = "", before_box: str = ""
) -> Job:
    job = Job(directory, atoms, f"so3lr precision double coulomb kspace {options}", before_box=before_box)
    job.commands(f"kspace_style {solver}")
    return job


@pytest.mark.parametrize("charge", [0, 1])
@pytest.mark.parametrize("ranks", [1, 2])
def test_kspace_energy_is_that_of_a_direct_sum(charge: int, ranks: int, tmp_path: Path) -> None:
    atoms = skewed_waters()
    job = kspace_job(tmp_path, atoms, options=f"charge {charge}")
    job.report("start")
    report = job.run(ranks)["start"]
    expected = of_ase(atoms, charge=charge)
    np.testing.assert_allclose(report.charges, expected.get_charges(), rtol=0, atol=EXACT.charges)
    components = expected.calc.get_energy_components(expected)
    assert report.vdwl == pytest.approx(
        components["nn"] + components["zbl"] + components["dispersion"], rel=0, abs=1e-8
    )
    assert report.long_range + report.coulomb == pytest.approx(ewald_energy(atoms, report.charges), rel=1e-9)
    assert report.energies.sum() == pytest.approx(report.energy, rel=0, abs=EXACT.component)


@pytest.mark.parametrize("charge", [0, 1])
def test_kspace_forces_are_derivatives(charge: int, tmp_path: Path) -> None:
    atoms = waters(1, 1, 2)
    job = kspace_job(tmp_path, atoms, options=f"lr_cutoff 8.0 charge {charge}")
    job.commands(f"fix forces all numdiff 1 {FINITE_DIFFERENCE_STEP}")
    job.report("start", columns="f_forces[*]")
    report = job.run(2)["start"]
    np.testing.assert_allclose(report.forces, report.columns, rtol=0, atol=FINITE_DIFFERENCE_FORCES)


@pytest.mark.parametrize("charge", [0, 1])
def test_kspace_stress_is_a_derivative(charge: int, tmp_path: Path) -> None:
    atoms = skewed_waters()
    atoms.set_cell(np.diag(atoms.cell.lengths()), scale_atoms=True)
    # The waves of the first box are kept, so that the energy is a smooth function of the box.
    job = kspace_job(tmp_path, atoms, options=f"lr_cutoff 8.0 charge {charge}")
    job.commands("kspace_modify kmax/ewald 8 8 8")
    job.report("start")
    for axis, length in zip("xyz", atoms.cell.lengths(), strict=True):
        for sign in (1, -1):
            stretched = length * (1 + sign * FINITE_DIFFERENCE_STEP)
            job.commands(f"change_box all {axis} final 0 {stretched:.17g} remap")
            job.report(f"{axis}{sign}")
        job.commands(f"change_box all {axis} final 0 {length:.17g} remap")
    reports = job.run()
    step = 2 * FINITE_DIFFERENCE_STEP * atoms.get_volume()
    for k, axis in enumerate("xyz"):
        numerical = (reports[f"{axis}1"].energy - reports[f"{axis}-1"].energy) / step
        assert reports["start"].stress[k, k] == pytest.approx(numerical, rel=0, abs=FINITE_DIFFERENCE_STRESS)


def test_kspace_on_ranks_and_with_pppm(tmp_path: Path) -> None:
    atoms = waters(2, 2, 2)
    reports = {}
    for solver, ranks in (("ewald 1e-12", 1), ("ewald 1e-12", 4), ("pppm 1e-6", 2), ("pppm 1e-6", 3)):
        job = kspace_job(tmp_path, atoms, solver)
        job.report("start")
        reports[solver, ranks] = job.run(ranks)["start"]
    ewald = reports["ewald 1e-12", 1]
    np.testing.assert_allclose(reports["ewald 1e-12", 4].forces, ewald.forces, rtol=0, atol=RANKS.forces)
    # PPPM aims at an error of 1e-6 times the force between two unit charges 1 A apart.
    mesh_error = 1e-6 * COULOMB
    for ranks in (2, 3):
        forces = reports["pppm 1e-6", ranks].forces
        assert np.sqrt(np.mean((forces - ewald.forces) ** 2)) < mesh_error
    np.testing.assert_allclose(
        reports["pppm 1e-6", 2].forces, reports["pppm 1e-6", 3].forces, rtol=0, atol=RANKS.forces
    )


def test_kspace_accuracy_is_for_the_charges_of_the_model(tmp_path: Path) -> None:
    """LAMMPS chooses its waves before the first step, for the charges of the data file, which are zero."""
    job = kspace_job(tmp_path, waters(2, 2, 2), "ewald 1e-6")
    job.report("first")
    job.report("second")
    reports = job.run()
    assert job.output.count("initialising the kspace style anew") == 1
    assert reports["first"].energy == pytest.approx(reports["second"].energy, rel=0, abs=EXACT.component)


# --- with other parts of LAMMPS -------------------------------------------------------------------------------------


def test_hybrid_with_atoms_of_another_style(tmp_path: Path) -> None:
    water = waters(2, 2, 2)
    atoms = water + Atoms("Ne2", positions=[[3.0, 3.1, 3.2], [3.2, 0.3, 0.1]])
    job = Job(tmp_path, atoms, pair_style=None, before_box="processors 2 1 1")
    job.commands(
        f"""pair_style hybrid/overlay so3krates so3lr precision double lj/cut 6.0
        pair_coeff * * so3krates {job.elements.replace("Ne", "NULL")}
        pair_coeff * * lj/cut 0.0 1.0
        pair_coeff {1 + job.elements.split().index("Ne")} * lj/cut 0.003 2.8
        pair_modify shift yes"""
    )
    job.commands("compute lj all pair lj/cut\ncompute force all property/atom fx fy fz\nvariable lj equal c_lj")
    job.commands('thermo_style custom pe c_lj\nrun 0\nprint "LJ $(c_lj:%.17g)"')
    job.report("start")
    report = job.run(2)["start"]
    is_water = atoms.numbers != 10
    expected = of_ase(water)
    assert report.energy - job.numbers("LJ")[0] == pytest.approx(
        expected.get_potential_energy(), rel=0, abs=EXACT.component
    )
    np.testing.assert_allclose(report.charges[is_water], expected.get_charges(), rtol=0, atol=EXACT.charges)
    assert np.all(report.charges[~is_water] == 0)


def test_two_models_in_one_hybrid_style(tmp_path: Path) -> None:
    """Two subsystems that do not see each other, each with a charge of its own."""
    first, second = waters(1, 1, 2, spacing=3.0), Atoms("NH4", molecule("CH4").positions + 2.5)
    second.set_masses([14.0, 1.1, 1.1, 1.1, 1.1])  # the mass makes its hydrogen a type of its own
    for part in (first, second):
        part.set_cell([9, 9, 12])
        part.pbc = True
    job = Job(tmp_path, first + second, pair_style=None)
    types = list(zip(job.structure.symbols, job.structure.masses, strict=True))
    in_second = [symbol == "N" or 1.05 < mass < 2 for symbol, mass in types]
    words = [
        " ".join(symbol if inside == part else "NULL" for (symbol, _), inside in zip(types, in_second, strict=True))
        for part in (False, True)
    ]
    style = "so3krates so3lr precision double lr_cutoff 6.0"
    job.commands(f"pair_style hybrid/overlay {style} {style} charge 1")
    job.commands(f"pair_coeff * * so3krates 1 {words[0]}\npair_coeff * * so3krates 2 {words[1]}")
    for i, j in combinations(range(len(types)), 2):
        if in_second[i] != in_second[j]:
            job.commands(f"pair_coeff {i + 1} {j + 1} none")
    job.commands('thermo_style custom pe\nrun 0\nprint "ENERGY $(pe:%.17g)"')
    job.run()
    parts = [of_ase(first, lr_cutoff=6.0), of_ase(second, lr_cutoff=6.0, charge=1)]
    expected = sum(part.get_potential_energy() for part in parts)
    assert job.numbers("ENERGY")[0] == pytest.approx(expected, rel=0, abs=EXACT.component)


def test_restart(tmp_path: Path) -> None:
    atoms = waters(2, 2, 2)
    job = Job(tmp_path, atoms, "so3lr precision double lr_cutoff 8.0 charge 0")
    job.commands("fix nve all nve\ntimestep 0.0005\nrun 10\nwrite_restart state.restart\nrun 10")
    job.report("end")
    expected = job.run(2)["end"]
    again = Job(tmp_path, atoms, pair_style=None)
    again.lines = ["atom_modify map yes", "read_restart state.restart"]
    again.commands("fix nve all nve\ntimestep 0.0005\nrun 10")
    again.report("again")
    report = again.run(2)["again"]
    assert "cutoffs 4.5 and 8 A" in again.output
    np.testing.assert_allclose(report.positions, expected.positions, rtol=0, atol=1e-9)
    np.testing.assert_allclose(report.forces, expected.forces, rtol=0, atol=1e-8)


def test_minimisation_box_relaxation_and_barostat(tmp_path: Path) -> None:
    job = Job(tmp_path, waters(2, 2, 2), "so3lr precision double lr_cutoff 6.0")
    job.report("start")
    job.commands("min_style cg\nminimize 0 0.1 30 60")
    job.report("minimised")
    job.commands("fix relax all box/relax aniso 0.0 vmax 0.01\nminimize 0 0.1 10 30\nunfix relax")
    job.report("relaxed")
    job.commands("change_box all triclinic\nvelocity all create 300 1 loop geom\ntimestep 0.0005")
    job.commands("fix npt all npt temp 300 300 0.1 tri 0 0 1\nrun 10\nunfix npt")
    job.report("npt")
    reports = job.run(2)
    assert reports["minimised"].energy < reports["start"].energy - 1.0
    assert reports["relaxed"].volume != pytest.approx(reports["start"].volume, rel=1e-3)
    assert reports["npt"].volume != pytest.approx(reports["relaxed"].volume, rel=1e-6)


def test_lists_outlast_changes_of_the_box(tmp_path: Path) -> None:
    """The same trajectory in a box that is deformed, with lists of 20 steps and with new ones in each step."""
    reports = []
    for every in (20, 1):
        job = Job(tmp_path, skewed_waters(), "so3lr precision double lr_cutoff 6.0")
        job.commands(f"neighbor 2.0 bin\nneigh_modify every {every} delay 0 check no\ntimestep 0.0005")
        job.commands("fix nve all nve\nfix deform all deform 1 x scale 0.97 xy delta 0.1 remap x\nrun 19")
        job.commands("unfix deform")
        job.report("end")
        reports.append(job.run(2)["end"])
    np.testing.assert_allclose(reports[0].positions, reports[1].positions, rtol=0, atol=1e-9)
    np.testing.assert_allclose(reports[0].forces, reports[1].forces, rtol=0, atol=1e-8)


@pytest.mark.parametrize("coulomb", ["cut", "kspace"])
def test_rerun_of_changing_boxes(coulomb: str, tmp_path: Path) -> None:
    job = Job(tmp_path, waters(2, 2, 2), f"so3lr precision double lr_cutoff 8.0 coulomb {coulomb}")
    if coulomb == "kspace":
        job.commands("kspace_style ewald 1e-6\nkspace_modify kmax/ewald 6 6 6")
    job.commands("compute virial all pressure NULL virial\nthermo 5")
    job.commands("thermo_style custom step pe c_virial[1]\nthermo_modify format float %.12f")
    job.commands("dump all all custom 5 all.dump id type x y z\ndump_modify all format float %.17g")
    job.commands("fix npt all npt temp 300 300 0.1 aniso 0 0 0.1\nrun 20\nunfix npt")
    job.commands("undump all\nrerun all.dump dump x y z")
    job.run(2)
    rows = re.findall(r"^ +(\d+) +(-\d+\.\d{12}) +(-?\d+\.\d{12}) *$", job.output, flags=re.MULTILINE)
    steps, energies, pressures = np.array(rows, dtype=float).T
    assert steps.tolist() == 2 * [0, 5, 10, 15, 20]
    np.testing.assert_allclose(energies[5:], energies[:5], rtol=0, atol=EXACT.component)
    bars = EXACT.stress * PRESSURE_UNIT["metal"]
    np.testing.assert_allclose(pressures[5:], pressures[:5], rtol=0, atol=bars)
    assert np.ptp(energies[:5]) > 0.1


def test_suffix_partitions_and_commands_given_anew(tmp_path: Path) -> None:
    atoms = waters(2, 2, 2)
    job = Job(tmp_path, atoms, "so3lr")
    job.commands(f"pair_style so3krates so3lr precision double charge 0\npair_coeff * * {job.elements}")
    job.commands('thermo_style custom pe\nrun 0\nprint "ENERGY $(pe:%.17g)"')
    job.run(1, "-sf", "omp", "-pk", "omp", "1")
    expected = pytest.approx(of_ase(atoms).get_potential_energy(), rel=0, abs=EXACT.component)
    assert job.numbers("ENERGY")[0] == expected
    # Two worlds of two ranks and one, each with its own log file.
    job.run(3, "-partition", "2", "1")
    for world in range(2):
        log = (tmp_path / f"log.lammps.{world}").read_text()
        assert float(re.findall(r"^ENERGY (.*)$", log, flags=re.MULTILINE)[0]) == expected


def test_bonds_do_not_hide_pairs(tmp_path: Path) -> None:
    """LAMMPS leaves bonded pairs out of its neighbour lists by default; the style does not use them."""
    atoms = waters(2, 2, 2)
    job = Job(tmp_path, atoms, atom_style="full", pair_style=None)
    job.lines[-1] += " extra/bond/types 1 extra/bond/per/atom 2 extra/special/per/atom 4"
    oxygen = 1 + job.elements.split().index("O")
    hydrogen = 1 + job.elements.split().index("H")
    job.commands("bond_style zero\nbond_coeff * 1.0\ncreate_bonds many all all 1 0.6 1.3\n")
    job.lines[-1] = ""
    job.commands(f"pair_style so3krates so3lr precision double\npair_coeff * * {job.elements}")
    job.commands("bond_style zero\nbond_coeff * 1.0")
    job.commands(f"group o type {oxygen}\ngroup h type {hydrogen}\ncreate_bonds many o h 1 0.6 1.35")
    job.report("start")
    report = job.run(2)["start"]
    assert "special_bonds has no effect" in job.output
    assert_equal_to_ase(report, atoms)


# --- what cannot be done is said ------------------------------------------------------------------------------------

BAD_COMMANDS = {
    "no model": ("pair_style so3krates", r"needs a model: pair_style so3krates MODEL"),
    "unknown model": ("pair_style so3krates so3lrx", r"no model 'so3lrx'.*Known names: so3lr"),
    "misspelt keyword": (
        "pair_style so3krates so3lr chrage 1",
        r"unknown keyword 'chrage'; the keywords are charge, spin",
    ),
    "no value": ("pair_style so3krates so3lr charge", r"the keyword charge needs a value"),
    "no number": ("pair_style so3krates so3lr charge one", r"one"),
    "part of a charge": ("pair_style so3krates so3lr charge 0.5", r"charge: expected an integer.*found 0.5"),
    "bad spin": ("pair_style so3krates so3lr spin 0.3", r"spin: expected 0, 0.5, 1.*found 0.3"),
    "bad coulomb": ("pair_style so3krates so3lr coulomb pme", r"coulomb: expected cut or kspace, found pme"),
    "bad precision": (
        "pair_style so3krates so3lr precision single",
        r"precision: expected mixed or double, found single",
    ),
    "no such device": ("pair_style so3krates so3lr device tpu", r"device: expected cpu, cuda, or cuda:N.*found tpu"),
    "no threads": ("pair_style so3krates so3lr threads 0", r"threads: expected 1 or more.*found 0"),
    "no cutoff": ("pair_style so3krates so3lr lr_cutoff -1", r"lr_cutoff: expected a positive length.*found -1"),
    "long damping": ("pair_style so3krates so3lr lr_cutoff 3 lr_damping 4", r"damping length is 4 A: expected"),
    "one element too few": ("pair_coeff * * O", r"names 1 elements, and there are 2 atom types"),
    "one element too many": ("pair_coeff * * O H H", r"names 3 elements, and there are 2 atom types"),
    "unknown element": ("pair_coeff * * O Fe", r"does not know the element 'Fe'; it knows H C N O F P S Cl"),
    "no such element": ("pair_coeff * * O Hx", r"does not know the element 'Hx'"),
    "some types": ("pair_coeff 1 1 O H", r"must start with \* \*"),
    "no element": ("pair_coeff * * NULL NULL", r"gives no atom type an element"),
    "excluded pairs": (
        "neigh_modify exclude type 1 1\nrun 0",
        r"also those that neigh_modify exclude.*remove that command",
    ),
    "impossible spin": (
        "pair_style so3krates so3lr charge 1 spin 1\npair_coeff * * H O\nrun 0",
        r"electrons, of which 2 cannot be unpaired",
    ),
    "no cutoff in a cell": (
        "pair_style so3krates so3lr lr_cutoff none\npair_coeff * * H O\nrun 0",
        r"lr_cutoff none needs a box without periodic directions",
    ),
    "kspace without its style": (
        "pair_style so3krates so3lr coulomb kspace\npair_coeff * * H O\nrun 0",
        r"coulomb kspace needs a kspace style: add, for example, kspace_style pppm",
    ),
    "kspace of another kind": (
        "pair_style so3krates so3lr coulomb kspace\npair_coeff * * H O\nkspace_style pppm/cg 1e-5\nrun 0",
        r"works with kspace styles ewald and pppm, and this is pppm/cg",
    ),
    "kspace without energy": (
        "pair_style so3krates so3lr coulomb kspace\npair_coeff * * H O\n"
        "kspace_style pppm 1e-5\nkspace_modify compute no\nrun 0",
        r"remove kspace_modify compute no",
    ),
    "kspace with another splitting": (
        "pair_style so3krates so3lr coulomb kspace\npair_coeff * * H O\n"
        "kspace_style pppm 1e-5\nkspace_modify gewald 0.3\nrun 0",
        r"was given a gewald of 0.3, .* smeared by 4 A: use kspace_modify gewald 0.25",
    ),
    "kspace for cut charges": (
        "kspace_style pppm 1e-5\nrun 0",
        r"KSpace style is incompatible with Pair style",
    ),
    "charges counted twice": (
        "pair_style hybrid/overlay so3krates so3lr lj/cut/coul/long 5.0\npair_coeff * * so3krates H O\n"
        "pair_coeff * * lj/cut/coul/long 0 1\nset type 1 charge 0.1\nkspace_style pppm 1e-4\nrun 0",
        r"coulomb cut would count the charges twice",
    ),
    "levels within the style": (
        "run_style respa 2 2 inner 1 4.0 5.0 outer 2\nrun 0",
        r"[Pp]air style does not support rRESPA",
    ),
    "levels with kspace": (
        "pair_style so3krates so3lr coulomb kspace\npair_coeff * * H O\nkspace_style pppm 1e-5\n"
        "run_style respa 2 2 pair 1 kspace 2\nrun 0",
        r"does not work with run_style respa",
    ),
}


@pytest.mark.parametrize("case", BAD_COMMANDS)
def test_bad_commands(case: str, tmp_path: Path) -> None:
    commands, message = BAD_COMMANDS[case]
    job = Job(tmp_path, waters(1, 1, 2), "so3lr")
    job.commands(commands)
    assert re.search(message, failure(job))


@pytest.mark.parametrize("units", ["lj", "si", "electron"])
def test_other_units_are_refused(units: str, tmp_path: Path) -> None:
    job = Job(tmp_path, waters(1, 1, 2))
    job.lines[0] = f"units {units}"
    assert re.search(f"works in units metal and real, and these are {units}", failure(job))


def test_two_dimensions_are_refused(tmp_path: Path) -> None:
    job = Job(tmp_path, waters(1, 1, 1), pair_style=None)
    job.lines = ["units metal", "dimension 2", "region box block 0 9 0 9 -0.5 0.5", "create_box 1 box"]
    job.commands("create_atoms 1 single 1 1 0\nmass 1 1.0\npair_style so3krates so3lr\npair_coeff * * H\nrun 0")
    assert "needs a system of three dimensions" in failure(job)


def test_respa_with_the_whole_style_on_one_level(tmp_path: Path) -> None:
    job = Job(tmp_path, waters(2, 2, 2), "so3lr precision double lr_cutoff 6.0")
    job.commands("run_style respa 2 2 pair 2\nfix nve all nve\nrun 2")
    job.report("end")
    report = job.run(2)["end"]
    assert_equal_to_ase(report, moved(waters(2, 2, 2), report), lr_cutoff=6.0)


def test_warnings(tmp_path: Path) -> None:
    job = Job(tmp_path, waters(2, 2, 2), "so3lr charge 1")
    job.commands("run 0\nrun 0")
    job.run()
    assert job.output.count("a periodic system has a total charge of 1 e") == 1
    assert job.output.count("an odd number of electrons has at least one unpaired") == 1


@pytest.mark.parametrize("ranks", [1, 2])
def test_positions_that_are_no_numbers(ranks: int, tmp_path: Path) -> None:
    job = Job(tmp_path, waters(2, 2, 2))
    # After the first step the atom gets a velocity that no position survives.
    job.commands("neigh_modify every 100 delay 100 check no\nfix nve all nve\nrun 0")
    job.commands("group bad id 14\nvelocity bad set 1e300 0 0\nrun 5")
    message = failure(job, ranks)
    assert re.search(r"atom 14 has the position \(.*\) A: expected finite numbers", message)


@pytest.mark.parametrize("ranks", [1, 2])
def test_atoms_at_the_same_place(ranks: int, tmp_path: Path) -> None:
    atoms = waters(2, 2, 2)
    atoms.positions[13] = atoms.positions[5] + [1e-6, 0, 0]
    job = Job(tmp_path, atoms)
    job.commands("run 0")
    message = failure(job, ranks)
    assert re.search(r"atom (6 and atom 14|14 and atom 6) are at the same place", message)


# --- from Python, on two ranks --------------------------------------------------------------------------------------

DRIVER_START = """
import os, signal
from mpi4py import MPI
from lammps import lammps
rank = MPI.COMM_WORLD.Get_rank()
lmp = lammps(cmdargs=["-screen", "none"])
lmp.file("in.lammps")
"""


def run_driver(job: Job, commands: str) -> CompletedProcess[str]:
    """Have two ranks of Python set the job up and go on with these commands."""
    (job.directory / "in.lammps").write_text("\n".join(job.lines) + "\n")
    (job.directory / "driver.py").write_text(DRIVER_START + commands)
    return run(["mpiexec", "-n", "2", "python", "driver.py"], job.directory)


def test_python_goes_on_after_an_error(tmp_path: Path) -> None:
    atoms = waters(2, 2, 2)
    atoms.positions[13] = atoms.positions[5]
    job = Job(tmp_path, atoms)
    result = run_driver(
        job,
        """
try:
    lmp.command("run 0")
except Exception as error:
    assert "are at the same place" in str(error)
    print(f"rank {rank} caught it", flush=True)
lmp.command("group one id 14")
lmp.command("displace_atoms one move 0.0 0.9 0.0 units box")
lmp.command("run 0")
print(f"ENERGY {lmp.get_thermo('pe')}", flush=True)
""",
    )
    assert result.returncode == 0, result.stdout + result.stderr
    assert "rank 0 caught it" in result.stdout
    assert "rank 1 caught it" in result.stdout
    assert result.stdout.count("ENERGY -") == 2


def test_a_rank_that_dies_ends_the_run(tmp_path: Path) -> None:
    job = Job(tmp_path, waters(2, 2, 2), "so3lr")
    job.commands("fix nve all nve\nrun 1")
    result = run_driver(
        job,
        """
if rank == 1:
    os.kill(os.getpid(), signal.SIGKILL)
lmp.command("run 1000000")
""",
    )
    assert result.returncode != 0
    assert re.search("BAD TERMINATION|KILLED BY SIGNAL", result.stdout + result.stderr)
