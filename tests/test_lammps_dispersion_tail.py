"""Dispersion beyond its cutoff in LAMMPS: dispersion_tail yes."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from lammps_comparison import assert_equal_to_ase, moved, of_ase, skewed_waters, waters
from lammps_runs import needs_lammps
from lammps_tools import Job, failure
from tolerances import EXACT

pytestmark = needs_lammps

STYLE = "so3lr precision double dispersion_tail yes"


@pytest.mark.parametrize("ranks", [1, 2, 3, 8])
def test_same_as_ase_on_any_number_of_ranks(ranks: int, tmp_path: Path) -> None:
    atoms = skewed_waters()
    job = Job(tmp_path, atoms, STYLE)
    job.report("start")
    assert_equal_to_ase(job.run(ranks)["start"], atoms, dispersion_tail=True)
    assert "dispersion beyond it as of evenly spread atoms" in job.output


def test_beside_other_choices_and_in_other_units(tmp_path: Path) -> None:
    atoms = waters(2, 2, 2)
    job = Job(tmp_path, atoms, f"{STYLE} coulomb ewald lr_cutoff 8.0", units="real", atom_style="full")
    job.report("start")
    assert_equal_to_ase(job.run(2)["start"], atoms, dispersion_tail=True, coulomb="ewald", lr_cutoff=8.0)


def test_same_after_dynamics_of_a_box_that_changes(tmp_path: Path) -> None:
    job = Job(tmp_path, skewed_waters(), STYLE)
    job.commands("fix move all npt temp 300 300 0.05 tri 1.0 1.0 0.5\nthermo 10\nrun 20")
    job.report("end")
    job.commands("print 'BOX $(xlo) $(xhi) $(ylo) $(yhi) $(zlo) $(zhi) $(xy) $(xz) $(yz)'")
    report = job.run(2)["end"]
    xlo, xhi, ylo, yhi, zlo, zhi, xy, xz, yz = job.numbers("BOX")
    atoms = moved(skewed_waters(), report)
    box = np.array([[xhi - xlo, 0, 0], [xy, yhi - ylo, 0], [xz, yz, zhi - zlo]])
    atoms.set_cell(box @ job.structure.rotation.T)
    assert_equal_to_ase(report, atoms, dispersion_tail=True)


def test_restart_goes_on_with_it(tmp_path: Path) -> None:
    job = Job(tmp_path, waters(2, 2, 2), STYLE)
    job.report("before")
    job.commands("write_restart state.restart\nclear\nread_restart state.restart")
    job.has_computes = False
    job.report("after")
    reports = job.run(2)
    assert reports["after"].energy == pytest.approx(reports["before"].energy, rel=0, abs=EXACT.component)
    assert job.output.count("dispersion beyond it as of evenly spread atoms") == 2


BAD_COMMANDS = {
    "a slab": ("change_box all boundary p p f", r"dispersion_tail is for .* this one is periodic in 2"),
    "a molecule": ("change_box all boundary f f f", r"this one is a molecule"),
    "neither yes nor no": (
        "pair_style so3krates so3lr dispersion_tail maybe",
        r"dispersion_tail: expected yes or no, found maybe",
    ),
    "LAMMPS's own tail": ("pair_modify tail yes", r"give dispersion_tail yes on the line of pair_style so3krates"),
    "LAMMPS's own tail in a hybrid style": (
        f"pair_style hybrid/overlay so3krates {STYLE} lj/cut 6.0\npair_modify tail yes",
        r"and pair_modify pair STYLE tail yes for the other styles",
    ),
    "a heat flux": ("compute flux all so3krates/heat/flux", r"no flux of dispersion_tail"),
}


@pytest.mark.parametrize("ranks", [1, 2])
@pytest.mark.parametrize("name", BAD_COMMANDS)
def test_what_cannot_be_done_is_said(name: str, ranks: int, tmp_path: Path) -> None:
    command, message = BAD_COMMANDS[name]
    job = Job(tmp_path, waters(2, 2, 2), STYLE)
    job.commands(command)
    if name == "a heat flux":
        job.commands("thermo_style custom step c_flux[1]")
    job.commands("run 0")
    assert re.search(message, failure(job, ranks))


def test_other_styles_of_a_hybrid_may_have_lammps_own(tmp_path: Path) -> None:
    atoms = waters(2, 2, 2)
    job = Job(tmp_path, atoms, STYLE)
    job.commands(
        f"pair_style hybrid/overlay so3krates {STYLE} lj/cut 6.0\npair_coeff * * so3krates H O\n"
        "pair_coeff * * lj/cut 0.0 1.0\npair_modify pair lj/cut tail yes"
    )
    job.report("start")
    expected = of_ase(atoms, dispersion_tail=True).get_forces()
    np.testing.assert_allclose(job.run(2)["start"].forces, expected, rtol=0, atol=EXACT.forces)
