"""The current of polarization in LAMMPS: the derivative of the dipole, and the numbers of the ASE calculator."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from ase import units
from lammps_comparison import calculator, waters
from lammps_runs import needs_lammps
from lammps_tools import Job, failure
from test_cuda_errors import EMULATION, needs_emulation
from test_lammps_heat_flux import CASES, CONSTANTS_OF_OTHER_YEARS, TIME_UNIT, job_of
from tolerances import RANKS

pytestmark = needs_lammps

CURRENT = "compute current all so3krates/polarization/current"


def printed(job: Job, label: str = "CURRENT", compute: str = "current") -> None:
    values = " ".join(f"$(c_{compute}[{k}]:%.17g)" for k in range(1, 4))
    job.commands(f'run 0 post no\nprint "{label} {values}"')


def current_of(job: Job, label: str = "CURRENT") -> np.ndarray:
    """In e A per ASE's unit of time, in the frame of the structure."""
    return job.numbers(label) @ job.structure.rotation.T / TIME_UNIT[job.units] / units.fs


@pytest.mark.parametrize("unit_style", ["metal", "real"])
@pytest.mark.parametrize("ranks", [1, 2, 3])
@pytest.mark.parametrize("case", CASES)
def test_current_equals_that_of_ase(case: str, ranks: int, unit_style: str, tmp_path: Path) -> None:
    make, settings, lr_cutoff = CASES[case]
    atoms = make()
    job = job_of(tmp_path, atoms, settings, unit_style)
    job.commands(f"{CURRENT}\nthermo_style custom step c_current[1]")
    printed(job)
    job.run(ranks)
    expected = calculator(lr_cutoff=lr_cutoff).get_polarization_current(atoms)
    np.testing.assert_allclose(current_of(job), expected, rtol=CONSTANTS_OF_OTHER_YEARS, atol=RANKS.component)
    assert np.abs(expected).max() > 1e4 * RANKS.component


@pytest.mark.parametrize("electrostatics", ["coulomb ewald", "coulomb kspace"])
def test_current_beside_every_sum_of_charges(electrostatics: str, tmp_path: Path) -> None:
    atoms = waters(2, 2, 2)
    job = job_of(tmp_path, atoms, f"lr_cutoff 6.0 {electrostatics}")
    if electrostatics == "coulomb kspace":
        job.commands("kspace_style ewald 1e-6")
    job.commands(f"{CURRENT}\nthermo_style custom step c_current[1]")
    printed(job)
    job.run()
    expected = calculator(lr_cutoff=6.0).get_polarization_current(atoms)
    np.testing.assert_allclose(current_of(job), expected, rtol=CONSTANTS_OF_OTHER_YEARS, atol=RANKS.component)


def test_groups_add_up(tmp_path: Path) -> None:
    job = job_of(tmp_path, waters(2, 2, 2), "lr_cutoff 6.0")
    job.commands("group hydrogen type 1\ngroup oxygen type 2\n" + CURRENT)
    job.commands("compute h hydrogen so3krates/polarization/current\ncompute o oxygen so3krates/polarization/current")
    job.commands("thermo_style custom step c_current[1] c_h[1] c_o[1]")
    for label, compute in (("CURRENT", "current"), ("H", "h"), ("O", "o")):
        printed(job, label, compute)
    job.run(2)
    together = current_of(job, "H") + current_of(job, "O")
    np.testing.assert_allclose(together, current_of(job), rtol=0, atol=RANKS.component)


SEVERAL = """\
pair_style hybrid/scaled 1.0 so3krates so3lr-fast 1.0 so3krates so3lr lr_cutoff 6.0 precision double
pair_coeff * * so3krates 1 H O
pair_coeff * * so3krates 2 H O"""


def test_one_of_several_styles_is_asked(tmp_path: Path) -> None:
    """Also in multiple time steps, where the model is at the outer level."""
    atoms = waters(2, 2, 2)
    job = Job(tmp_path, atoms, pair_style=None)
    job.commands(f"{SEVERAL}\n{CURRENT} 2\nthermo_style custom step c_current[1]")
    printed(job)
    job.commands("run_style respa 2 2 hybrid 1 2")
    printed(job, "RESPA")
    job.run()
    expected = calculator(lr_cutoff=6.0).get_polarization_current(atoms)
    for label in ("CURRENT", "RESPA"):
        found = current_of(job, label)
        np.testing.assert_allclose(found, expected, rtol=CONSTANTS_OF_OTHER_YEARS, atol=RANKS.component)


REFUSED = {
    "which": (SEVERAL, "", r"has so3krates more than once: give the number of the one .*/polarization/current 2"),
    "too many": (SEVERAL, "3", r"the hybrid style has fewer than 3 styles so3krates"),
    "zero": (SEVERAL, "0", r"expected 1, 2, 3, .*, found 0"),
    "no charges": (SEVERAL, "1", r"models with charges, and this one has none"),
    "word": (SEVERAL, "2 shifts", r"unknown keyword 'shifts'"),
    "another style": ("pair_style lj/cut 5.0\npair_coeff * * 0.01 1.0", "", r"needs pair_style so3krates"),
    "keyword": ("pair_style so3krates so3lr\npair_coeff * * H O", "shifts no", r"unknown keyword 'shifts'; there are"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_has_no_current_is_refused(case: str, tmp_path: Path) -> None:
    style, options, message = REFUSED[case]
    job = Job(tmp_path, waters(1, 1, 2), pair_style=None)
    job.commands(f"{style}\n{CURRENT} {options}\nthermo_style custom step c_current[1]\nrun 0")
    assert re.search(message, failure(job))


def test_models_without_charges_are_refused(toy_model: Callable[..., Path], tmp_path: Path) -> None:
    for options, message in (
        ({"charge_head": None, "electrostatics": None}, "models with charges, and this one has none"),
        ({"architecture": "so3krates-2022"}, "this one is of so3krates-2022"),
    ):
        model = toy_model(elements=(1, 8), **options)
        job = Job(tmp_path, waters(3, 3, 3), pair_style=None)
        job.commands(f"pair_style so3krates {model}\npair_coeff * * {job.elements}")
        job.commands(f"{CURRENT}\nthermo_style custom step c_current[1]\nrun 0")
        assert message in failure(job)


@needs_emulation
def test_devices_have_no_current(tmp_path: Path) -> None:
    job = Job(tmp_path, waters(1, 1, 2), f"so3lr device {EMULATION}")
    job.commands(f"{CURRENT}\nthermo_style custom step c_current[1]\nrun 0")
    assert "evaluated on processors only: use device cpu" in failure(job)


def test_atoms_that_changed_after_a_run_are_refused(tmp_path: Path) -> None:
    job = Job(tmp_path, waters(2, 2, 2), "so3lr lr_cutoff 6.0")
    job.commands(f'{CURRENT}\nrun 0\ndisplace_atoms all random 0.1 0.1 0.1 1\nprint "$(c_current[1])"')
    assert "since the forces of this step: the current of polarization needs another run 0" in failure(job)
