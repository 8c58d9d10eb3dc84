"""Heat flux in LAMMPS: the derivative itself, from LAMMPS's own dynamics, and the numbers of the ASE calculator."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms, units
from ase.build import molecule
from lammps_comparison import calculator, skewed_waters, waters
from lammps_runs import needs_lammps
from lammps_tools import ENERGY_UNIT, Job, failure
from test_cuda_errors import EMULATION, needs_emulation
from tolerances import LAMMPS_FLUX_OF_A_STEP, RANKS

from so3md.lammps import plugin_path

pytestmark = needs_lammps

#: LAMMPS's unit of time in fs, and its boltz/mvv2e constants differ from ASE's by their years: relative.
TIME_UNIT = {"metal": 1000.0, "real": 1.0}
CONSTANTS_OF_OTHER_YEARS = 1e-6

FLUX = "compute flux all so3krates/heat/flux"


def ethanol() -> Atoms:
    atoms = molecule("CH3CH2OH")
    atoms.rattle(0.05, seed=3)
    atoms.set_velocities(np.random.default_rng(4).normal(size=(9, 3)) * np.sqrt(0.05 / atoms.get_masses())[:, None])
    return atoms


def job_of(tmp_path: Path, atoms: Atoms, settings: str, unit_style: str = "metal") -> Job:
    """With the velocities of the atoms, which stand in the data file."""
    return Job(tmp_path, atoms, f"so3lr precision double {settings}", units=unit_style)


def printed(job: Job, label: str = "FLUX", compute: str = "flux") -> None:
    values = " ".join(f"$(c_{compute}[{k}]:%.17g)" for k in range(1, 7))
    job.commands(f'run 0 post no\nprint "{label} {values}"')


def flux_of(job: Job, label: str = "FLUX") -> np.ndarray:
    """(2, 3): the flux and its convective part, in eV A per ASE's unit of time, in the frame of the structure."""
    values = job.numbers(label).reshape(2, 3) @ job.structure.rotation.T
    return values / ENERGY_UNIT[job.units] / TIME_UNIT[job.units] / units.fs


@pytest.mark.parametrize("ranks", [1, 2])
def test_flux_is_the_derivative_along_dynamics(ranks: int, tmp_path: Path) -> None:
    """d/dt of the sum of r_i e_i, by central differences over two steps of a molecule's dynamics."""
    step, steps = 1e-6, 10
    job = job_of(tmp_path, ethanol(), "lr_cutoff none")
    job.commands(f"fix n all nve\ntimestep {step}\n{FLUX}\ncompute ke all ke/atom\ncompute pe all pe/atom")
    for axis in "xyz":
        job.commands(f"variable e{axis} atom {axis}*(c_ke+c_pe)")
    job.commands("compute moment all reduce sum v_ex v_ey v_ez")
    job.commands("thermo_style custom step c_flux[*] c_moment[*]\nthermo_modify format float %.12f\nthermo 1")
    job.commands(f"run {steps}")
    job.run(ranks)
    rows = re.findall(r"^ +\d+((?: +-?\d+\.\d{12}){9})", job.output, flags=re.MULTILINE)
    values = np.array([row.split() for row in rows], float)
    assert len(values) == steps + 1
    derivatives = (values[2:, 6:] - values[:-2, 6:]) / (2 * step)
    np.testing.assert_allclose(values[1:-1, :3], derivatives, rtol=0, atol=LAMMPS_FLUX_OF_A_STEP)
    potential = values[:, :3] - values[:, 3:6]
    assert np.abs(potential).max() > 1e5 * LAMMPS_FLUX_OF_A_STEP


CASES: dict[str, tuple[Callable[[], Atoms], str, float | None]] = {
    "molecule": (ethanol, "lr_cutoff none", None),
    "water": (lambda: waters(2, 2, 3), "lr_cutoff 6.0", 6.0),
    "skewed": (skewed_waters, "lr_cutoff 12.0", 12.0),
}


@pytest.mark.parametrize("unit_style", ["metal", "real"])
@pytest.mark.parametrize("ranks", [1, 2, 3])
@pytest.mark.parametrize("case", CASES)
def test_flux_equals_that_of_ase(case: str, ranks: int, unit_style: str, tmp_path: Path) -> None:
    make, settings, lr_cutoff = CASES[case]
    atoms = make()
    job = job_of(tmp_path, atoms, settings, unit_style)
    job.commands(
        f"{FLUX}\ncompute bare all so3krates/heat/flux shifts no\nthermo_style custom step c_flux[1] c_bare[1]"
    )
    printed(job)
    printed(job, "BARE", "bare")
    job.run(ranks)
    for label, shifts in (("FLUX", True), ("BARE", False)):
        parts = calculator(lr_cutoff=lr_cutoff).get_heat_flux_parts(atoms, shifts)
        total, convective = flux_of(job, label)
        scale = CONSTANTS_OF_OTHER_YEARS * np.abs(parts["convective"]).max() + RANKS.component
        np.testing.assert_allclose(convective, parts["convective"], rtol=0, atol=scale)
        np.testing.assert_allclose(
            total - convective, parts["potential"], rtol=CONSTANTS_OF_OTHER_YEARS, atol=RANKS.component
        )


def test_groups_add_up(tmp_path: Path) -> None:
    job = job_of(tmp_path, waters(2, 2, 2), "lr_cutoff 6.0")
    job.commands("group hydrogen type 1\ngroup oxygen type 2\n" + FLUX)
    job.commands("compute h hydrogen so3krates/heat/flux\ncompute o oxygen so3krates/heat/flux")
    job.commands("thermo_style custom step c_flux[1] c_h[1] c_o[1]")
    for label, compute in (("FLUX", "flux"), ("H", "h"), ("O", "o")):
        printed(job, label, compute)
    job.run(2)
    np.testing.assert_allclose(flux_of(job, "H") + flux_of(job, "O"), flux_of(job), rtol=0, atol=RANKS.component)


def test_flux_after_atoms_have_moved_over(tmp_path: Path) -> None:
    """In dynamics with new neighbour lists, the same on one and two ranks, through a fix that asks for it."""
    found = []
    for ranks in (1, 2):
        job = job_of(tmp_path, waters(2, 2, 2), "lr_cutoff 6.0")
        job.commands(
            f"{FLUX}\nfix nve all nve\ntimestep 0.0005\nneighbor 0.3 bin\nneigh_modify every 5 delay 0 check no"
        )
        job.commands("fix out all ave/time 4 1 4 c_flux[1] c_flux[2] c_flux[3] file flux.txt\nrun 20")
        job.run(ranks)
        found.append(np.loadtxt(tmp_path / "flux.txt")[:, 1:])
    assert len(found[0]) == 6
    np.testing.assert_allclose(found[1], found[0], rtol=1e-9)


# --- refusals ---------------------------------------------------------------------------------------------------------

PLAIN = "pair_style so3krates so3lr\npair_coeff * * H O"
REFUSED = {
    "another style": ("pair_style lj/cut 5.0\npair_coeff * * 0.01 1.0", "", r"needs pair_style so3krates"),
    "hybrid": (
        "pair_style hybrid/overlay so3krates so3lr lj/cut 5.0\npair_coeff * * so3krates H O\npair_coeff * * lj/cut 0 1",
        "",
        r"there are other interactions \(a hybrid pair style",
    ),
    "several": (
        "pair_style hybrid/overlay so3krates so3lr so3krates so3lr\npair_coeff * * so3krates 1 H O\n"
        "pair_coeff * * so3krates 2 H O",
        "",
        r"there are other interactions \(a hybrid pair style",
    ),
    "kspace": (
        "pair_style so3krates so3lr coulomb kspace\npair_coeff * * H O\nkspace_style pppm 1e-4",
        "",
        r"no flux of coulomb kspace: use coulomb cut",
    ),
    "keyword": (
        PLAIN,
        "shift no",
        r"unknown keyword 'shift'; there is shifts",
    ),
    "value": (PLAIN, "shifts off", r"expected yes or no, found 'off'"),
    "no value": (PLAIN, "shifts", r"expected yes or no, found ''"),
}


@pytest.mark.parametrize("ranks", [1, 2])
@pytest.mark.parametrize("case", REFUSED)
def test_what_has_no_flux_is_refused(case: str, ranks: int, tmp_path: Path) -> None:
    style, options, message = REFUSED[case]
    job = Job(tmp_path, waters(1, 1, 2), pair_style=None)
    job.commands(f"{style}\ncompute flux all so3krates/heat/flux {options}\nthermo_style custom step c_flux[1]\nrun 0")
    assert re.search(message, failure(job, ranks))


@pytest.mark.parametrize("ranks", [1, 2])
def test_velocities_without_end_are_refused(ranks: int, tmp_path: Path) -> None:
    job = Job(tmp_path, waters(1, 1, 2))
    job.commands(f"{FLUX}\ngroup fast id 4\nvelocity fast set 1e150 0 0\nthermo_style custom step c_flux[1]\nrun 0")
    message = r"the velocity of atom 4 has a component of 1e\+150: expected finite numbers below 1e8"
    assert re.search(message, failure(job, ranks))


@needs_emulation
def test_devices_have_no_flux(tmp_path: Path) -> None:
    job = Job(tmp_path, waters(1, 1, 2), f"so3lr device {EMULATION}")
    job.commands(f"{FLUX}\nthermo_style custom step c_flux[1]\nrun 0")
    assert "evaluated on processors only: use device cpu" in failure(job)


def test_unloading_and_loading(tmp_path: Path) -> None:
    """Both styles of the plugin come again."""
    atoms = waters(1, 1, 2)
    job = Job(tmp_path, atoms, pair_style=None)
    job.commands("plugin unload compute so3krates/heat/flux\nplugin unload pair so3krates\nplugin list")
    job.commands(f"plugin load {plugin_path().resolve()}\npair_style so3krates so3lr precision double")
    job.commands(f"pair_coeff * * {job.elements}\n{FLUX}\nthermo_style custom step c_flux[1]")
    printed(job)
    job.run()
    expected = calculator().get_heat_flux(atoms)
    np.testing.assert_allclose(flux_of(job)[0], expected, rtol=CONSTANTS_OF_OTHER_YEARS, atol=RANKS.component)


def test_models_of_the_paper_are_refused(toy_model: Callable[..., Path], tmp_path: Path) -> None:
    model = toy_model(architecture="so3krates-2022", elements=(1, 8))
    job = Job(tmp_path, waters(3, 3, 3), pair_style=None)
    job.commands(f"pair_style so3krates {model}\npair_coeff * * {job.elements}")
    job.commands(f"{FLUX}\nthermo_style custom step c_flux[1]\nrun 0")
    assert "this one is of so3krates-2022" in failure(job)


def test_a_step_without_forces_is_refused(tmp_path: Path) -> None:
    job = Job(tmp_path, waters(1, 1, 2), "so3lr")
    job.commands(f'{FLUX}\nrun 0\nreset_timestep 5\nvariable f equal c_flux[1]\nprint "$(v_f)"')
    assert re.search(r"the forces of this step are not known", failure(job))


@pytest.mark.parametrize(
    "command",
    [
        "displace_atoms all random 0.1 0.1 0.1 1",
        "group some id 1 2 3\ndelete_atoms group some",
        "set type 1 type 2",
        "change_box all x scale 1.01 remap",
        "change_box all z final 0 40",
    ],
)
@pytest.mark.parametrize("ranks", [1, 2])
def test_atoms_that_changed_after_a_run_are_refused(ranks: int, command: str, tmp_path: Path) -> None:
    """The flux needs positions and neighbours as the forces had them; a variable may ask after other commands."""
    job = Job(tmp_path, waters(2, 2, 2), "so3lr lr_cutoff 6.0")
    job.commands(f'{FLUX}\nrun 0\n{command}\nprint "$(c_flux[1])"')
    assert "have changed since the forces of this step: the heat flux needs another run 0" in failure(job, ranks)


def test_cost_of_fluxes_is_not_that_of_steps(tmp_path: Path) -> None:
    """What the log says about the halo exchange is the same whether a flux is asked for or not."""
    found = []
    for column in ("pe", "c_flux[1]"):
        job = Job(tmp_path, waters(2, 2, 2), "so3lr lr_cutoff 6.0")
        job.commands(f"{FLUX}\nthermo 1\nthermo_style custom step {column}\nfix n all nve\nrun 3")
        job.run(2)
        found += re.findall(r"halo exchange .*: (.* bytes), waiting", job.output)
    assert len(found) == 2
    assert found[0] == found[1]
