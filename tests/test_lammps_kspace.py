"""Electrostatics of all periodic images in LAMMPS: k-space styles with the charges of the model."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from lammps_comparison import of_ase, skewed_waters, waters
from lammps_runs import needs_lammps
from lammps_tools import Job
from tolerances import (
    EXACT,
    FINITE_DIFFERENCE_FORCES,
    FINITE_DIFFERENCE_STEP,
    FINITE_DIFFERENCE_STRESS,
    RANKS,
)

pytestmark = needs_lammps

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
