"""Charges in an electric field in LAMMPS: electric_field X Y Z."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from lammps_comparison import assert_equal_to_ase, of_ase, skewed_waters, waters
from lammps_runs import needs_lammps
from lammps_tools import Job, Report, failure
from test_electric_field import FIELD, hydronium, unwrapped_waters, water_dimer
from tolerances import EXACT

pytestmark = [needs_lammps, pytest.mark.filterwarnings("ignore::so3md.electric_field.PeriodicFieldWarning")]

UNWRAPPED = "xu yu zu"


def style(atoms: Atoms, more: str = "") -> str:
    """The arguments of the pair style, with the field in the frame of LAMMPS."""
    from so3md.lammps_input import LammpsStructure

    x, y, z = np.array(FIELD) @ LammpsStructure.of(atoms).rotation
    return f"so3lr precision double electric_field {x:.17g} {y:.17g} {z:.17g} {more}"


def along_its_path(atoms: Atoms, job: Job, report: Report) -> Atoms:
    """The structure where a report, with UNWRAPPED columns, has it."""
    atoms = atoms.copy()
    atoms.positions = report.columns[:, :3] @ job.structure.rotation.T
    return atoms


@pytest.mark.parametrize("ranks", [1, 2, 8])
@pytest.mark.parametrize("make", [unwrapped_waters, water_dimer])
def test_same_as_ase_on_any_number_of_ranks(make, ranks: int, tmp_path: Path) -> None:
    atoms = make()
    job = Job(tmp_path, atoms, style(atoms))
    job.report("start", UNWRAPPED)
    report = job.run(ranks)["start"]
    start = along_its_path(atoms, job, report)
    moved = start.positions - atoms.positions  # as a whole, where the input makes a box around a molecule
    np.testing.assert_allclose(moved, np.tile(moved[0], (len(atoms), 1)), rtol=0, atol=1e-9)
    if atoms.pbc.all():
        np.testing.assert_allclose(moved, 0.0, rtol=0, atol=1e-9)
    assert_equal_to_ase(report, start, electric_field=FIELD)
    assert "electric field" in job.output
    assert ("wrong by as much as they are large" in job.output) == bool(atoms.pbc.any())


def test_an_ion_is_about_the_origin_of_lammps(tmp_path: Path) -> None:
    atoms = hydronium()
    job = Job(tmp_path, atoms, style(atoms, "charge 1"))
    job.report("start", UNWRAPPED)
    report = job.run(2)["start"]
    assert_equal_to_ase(report, along_its_path(atoms, job, report), electric_field=FIELD)


def test_beside_other_choices_and_in_other_units(tmp_path: Path) -> None:
    atoms = skewed_waters()
    job = Job(
        tmp_path,
        atoms,
        style(atoms, "coulomb ewald lr_cutoff 8.0 dispersion_tail yes"),
        units="real",
        atom_style="full",
    )
    job.report("start")
    options = {"dispersion_tail": True, "coulomb": "ewald", "lr_cutoff": 8.0}
    assert_equal_to_ase(job.run(2)["start"], atoms, electric_field=FIELD, **options)


@pytest.mark.parametrize("ranks", [1, 2])
def test_beside_a_kspace_style(ranks: int, tmp_path: Path) -> None:
    """What the field adds does not depend on how charges interact."""
    atoms, reports = skewed_waters(), []
    for field in (style(atoms), "so3lr precision double"):
        folder = tmp_path / str(len(reports))
        folder.mkdir()
        job = Job(folder, atoms, f"{field} coulomb kspace")
        job.commands("kspace_style ewald 1e-6")
        job.report("start")
        reports.append(job.run(ranks)["start"])
    found, without = reports
    expected, others = of_ase(atoms, electric_field=FIELD), of_ase(atoms)
    by_field = expected.get_forces() - others.get_forces()
    np.testing.assert_allclose(found.forces - without.forces, by_field, rtol=0, atol=EXACT.forces)
    energy = expected.get_potential_energy() - others.get_potential_energy()
    assert found.energy - without.energy == pytest.approx(energy, rel=0, abs=EXACT.component)
    assert found.coulomb - without.coulomb == pytest.approx(energy, rel=0, abs=EXACT.component)
    stress = expected.get_stress(voigt=False) - others.get_stress(voigt=False)
    np.testing.assert_allclose(found.stress - without.stress, stress, rtol=0, atol=EXACT.stress)


@pytest.mark.parametrize("ranks", [1, 2])
def test_image_flags_count(ranks: int, tmp_path: Path) -> None:
    atoms = waters(2, 2, 2)
    job = Job(tmp_path, atoms, style(atoms))
    job.commands("set atom 1 image 2 0 -1\nset atom 5 image 0 1 0")
    job.report("start")
    a, b, c = atoms.cell.array
    atoms.positions[0] += 2 * a - c
    atoms.positions[4] += b
    assert_equal_to_ase(job.run(ranks)["start"], atoms, electric_field=FIELD)


def test_atoms_that_cross_faces_of_a_box_that_changes(tmp_path: Path) -> None:
    """The energy stays that of the paths, and with it what is conserved."""
    atoms = skewed_waters()
    job = Job(tmp_path, atoms, style(atoms))
    job.commands(
        "velocity all set 60.0 -40.0 30.0 sum yes\nfix move all npt temp 300 300 0.05 tri 1.0 1.0 0.5\n"
        "timestep 0.0005\nthermo 20\nrun 200"
    )
    job.report("end", UNWRAPPED)
    job.commands("print 'BOX $(xlo) $(xhi) $(ylo) $(yhi) $(zlo) $(zhi) $(xy) $(xz) $(yz)'")
    report = job.run(2)["end"]
    xlo, xhi, ylo, yhi, zlo, zhi, xy, xz, yz = job.numbers("BOX")
    atoms = along_its_path(atoms, job, report)
    atoms.set_cell(np.array([[xhi - xlo, 0, 0], [xy, yhi - ylo, 0], [xz, yz, zhi - zlo]]) @ job.structure.rotation.T)
    assert (np.abs(atoms.get_scaled_positions(wrap=False) - 0.5) > 0.55).any()
    assert_equal_to_ase(report, atoms, electric_field=FIELD)


def test_energy_is_conserved(tmp_path: Path) -> None:
    atoms = water_dimer()
    job = Job(tmp_path, atoms, style(atoms))
    job.commands(
        "velocity all create 300 1\nfix move all nve\ntimestep 0.0001\nthermo 100\nthermo_modify format float %.15g"
    )
    job.commands("run 0\nprint 'BEFORE $(etotal)'\nrun 300\nprint 'AFTER $(etotal)'")
    job.run(2)
    assert job.numbers("AFTER")[0] == pytest.approx(job.numbers("BEFORE")[0], rel=0, abs=1e-4)


def test_restart_goes_on_with_it(tmp_path: Path) -> None:
    atoms = waters(2, 2, 2)
    job = Job(tmp_path, atoms, style(atoms, "lr_cutoff 9.0"))
    job.report("before")
    job.commands("write_restart state.restart\nclear\nread_restart state.restart")
    job.has_computes = False
    job.report("after")
    reports = job.run(2)
    assert reports["after"].energy == pytest.approx(reports["before"].energy, rel=0, abs=EXACT.component)
    assert job.output.count("electric field") == job.output.count("electric_field in a box") == 2


BAD_COMMANDS = {
    "too few": (
        "pair_style so3krates so3lr electric_field 0 1",
        "electric_field: expected three components .* found 0 1",
    ),
    "none": ("pair_style so3krates so3lr electric_field", "electric_field: expected three components .* found nothing"),
    "too large": ("pair_style so3krates so3lr electric_field 0 0 200", "from -100 to 100 V/Angstrom, found 0 0 200"),
    "no number": ("pair_style so3krates so3lr electric_field 0 0 up", "up"),
    "a heat flux": ("compute flux all so3krates/heat/flux", r"no flux in an electric_field"),
    "LAMMPS's own field": (
        "fix field all efield 0 0 0.1",
        r"Give electric_field X Y Z on the line of pair_style so3krates",
    ),
}


@pytest.mark.parametrize("ranks", [1, 2])
@pytest.mark.parametrize("name", BAD_COMMANDS)
def test_what_cannot_be_done_is_said(name: str, ranks: int, tmp_path: Path) -> None:
    command, message = BAD_COMMANDS[name]
    atoms = waters(2, 2, 2)
    job = Job(tmp_path, atoms, style(atoms))
    job.commands(command)
    if name == "a heat flux":
        job.commands("thermo_style custom step c_flux[1]")
    job.commands("run 0")
    assert re.search(message, failure(job, ranks))
