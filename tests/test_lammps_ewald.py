"""Electrostatics of all periodic images in LAMMPS by the engine's own sum: coulomb ewald."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from lammps_comparison import assert_equal_to_ase, moved, skewed_waters, waters
from lammps_runs import needs_lammps
from lammps_tools import Job, failure
from test_cuda_errors import EMULATION, needs_emulation
from tolerances import EXACT, RANKS

pytestmark = [
    needs_lammps,
    pytest.mark.filterwarnings("ignore::so3md.long_range.ChargedCellWarning"),
    pytest.mark.filterwarnings("ignore::so3md.charge_and_spin.OddElectronsWarning"),
]

STYLE = "so3lr precision double coulomb ewald"
COULOMB = 14.399645  # eV A/e^2, LAMMPS's constant in metal units, of which the engine's has more digits


@pytest.mark.parametrize("ranks", [1, 2, 3, 8])
@pytest.mark.parametrize("charge", [0, 1])
def test_same_as_ase_on_any_number_of_ranks(ranks: int, charge: int, tmp_path: Path) -> None:
    atoms = skewed_waters()
    job = Job(tmp_path, atoms, f"{STYLE} charge {charge}")
    job.report("start")
    report = job.run(ranks)["start"]
    assert_equal_to_ase(report, atoms, charge=charge, coulomb="ewald")
    assert report.long_range == 0.0


@pytest.mark.parametrize("ranks", [1, 2, 3])
@pytest.mark.parametrize("charge", [0, 1])
def test_mesh_gives_what_the_sum_gives_in_ase(ranks: int, charge: int, tmp_path: Path) -> None:
    atoms = skewed_waters()
    job = Job(tmp_path, atoms, f"{STYLE} ewald_method mesh charge {charge}")
    job.report("start")
    assert_equal_to_ase(job.run(ranks)["start"], atoms, charge=charge, coulomb="ewald", ewald_method="sum")


def test_without_charges_in_the_atom_style_and_in_other_units(tmp_path: Path) -> None:
    atoms = waters(2, 2, 2)
    job = Job(tmp_path, atoms, STYLE, units="real", atom_style="full")
    job.report("start")
    assert_equal_to_ase(job.run(2)["start"], atoms, coulomb="ewald")


def test_same_after_dynamics_of_a_box_that_changes(tmp_path: Path) -> None:
    job = Job(tmp_path, skewed_waters(), STYLE)
    job.commands("fix move all npt temp 300 300 0.05 tri 1.0 1.0 0.5\nthermo 10\nrun 20")
    job.report("end")
    job.commands("print 'BOX $(xlo) $(xhi) $(ylo) $(yhi) $(zlo) $(zhi) $(xy) $(xz) $(yz)'")
    report = job.run(2)["end"]
    xlo, xhi, ylo, yhi, zlo, zhi, xy, xz, yz = job.numbers("BOX")
    atoms = moved(skewed_waters(), report)
    rotation = job.structure.rotation
    box = np.array([[xhi - xlo, 0, 0], [xy, yhi - ylo, 0], [xz, yz, zhi - zlo]])
    atoms.set_cell(box @ rotation.T)
    assert_equal_to_ase(report, atoms, coulomb="ewald")


@pytest.mark.parametrize("charge", [0, -1])
@pytest.mark.parametrize("solver", ["ewald 1e-12", "pppm 1e-6"])
def test_same_as_lammps_solvers(solver: str, charge: int, tmp_path: Path) -> None:
    atoms = waters(3, 3, 3)
    reports = {}
    for name in ("ewald", "kspace"):
        (tmp_path / name).mkdir()
        job = Job(tmp_path / name, atoms, f"so3lr precision double charge {charge} coulomb {name}")
        if name == "kspace":
            job.commands(f"kspace_style {solver}")
        job.report("start")
        reports[name] = job.run(2)["start"]
    ewald, kspace = reports["ewald"], reports["kspace"]
    np.testing.assert_allclose(ewald.charges, kspace.charges, rtol=0, atol=RANKS.charges)
    exact = solver.startswith("ewald")
    # LAMMPS's unit of energy has eight digits; PPPM aims at an error of 1e-6 of the force between unit charges at 1 A.
    error = 1e-7 if exact else 1e-6 * COULOMB
    assert np.sqrt(np.mean((ewald.forces - kspace.forces) ** 2)) < error
    assert ewald.coulomb == pytest.approx(kspace.coulomb + kspace.long_range, rel=1e-7 if exact else 1e-5)
    np.testing.assert_allclose(ewald.stress, kspace.stress, rtol=0, atol=1e-9 if exact else 1e-6)
    if exact:
        np.testing.assert_allclose(ewald.energies, kspace.energies, rtol=0, atol=1e-6)


def test_restart_goes_on_with_it(tmp_path: Path) -> None:
    job = Job(tmp_path, waters(2, 2, 2), f"{STYLE} ewald_accuracy 1e-9")
    job.report("before")
    job.commands("write_restart state.restart\nclear\nread_restart state.restart")
    job.has_computes = False
    job.report("after")
    reports = job.run(2)
    assert "coulomb ewald" in job.output
    np.testing.assert_allclose(reports["after"].forces, reports["before"].forces, rtol=0, atol=EXACT.forces)


def test_threads_change_no_bit(tmp_path: Path) -> None:
    forces = []
    for threads in (1, 3):
        job = Job(tmp_path, waters(2, 2, 3), f"so3lr coulomb ewald threads {threads}")
        job.report("start")
        forces.append(job.run()["start"].forces)
    assert forces[0].tobytes() == forces[1].tobytes()


BAD_COMMANDS = {
    "a slab": ("change_box all boundary p p f", r"periodic in all three directions, and this one is periodic in 2"),
    "a molecule": ("change_box all boundary f f f", r"this one is a molecule"),
    "a kspace style": (
        f"pair_style hybrid/overlay so3krates {STYLE} coul/long 6.0\n"
        "pair_coeff * * so3krates H O\npair_coeff * * coul/long\nset type 1 charge 0.1\nkspace_style ewald 1e-5",
        r"coulomb ewald would count the charges twice",
    ),
    "a kspace style alone": (
        "set type 1 charge 0.1\nkspace_style pppm 1e-5",
        r"coulomb ewald would count the charges twice",
    ),
    "a kspace style beside a cutoff": (
        "pair_style so3krates so3lr\npair_coeff * * H O\nset type 1 charge 0.1\nkspace_style ewald 1e-5",
        r"coulomb cut would count the charges twice",
    ),
    "no accuracy": (f"pair_style so3krates {STYLE} ewald_accuracy 0", r"ewald_accuracy: expected .* found 0"),
    "no method": (
        f"pair_style so3krates {STYLE} ewald_method pme",
        r"ewald_method: expected auto, sum or mesh, found pme",
    ),
    "a heat flux": ("compute flux all so3krates/heat/flux", r"no flux of coulomb ewald: use coulomb cut"),
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


@needs_emulation
def test_gpus_have_no_mesh(tmp_path: Path) -> None:
    job = Job(tmp_path, waters(2, 2, 2), f"{STYLE} ewald_method mesh device {EMULATION}")
    job.commands("run 0")
    assert "ewald_method 'mesh' is for the CPU" in failure(job)
