"""LAMMPS with the engine of a device, which builds lists: of atoms and the box on one rank, with ghosts on several."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.build import molecule
from lammps_tools import Job, Report
from test_cuda_errors import EMULATION, needs_emulation
from tolerances import DEVICE, RANKS, RANKS_TRAJECTORY

from so3md import So3kratesCalculator
from so3md.lammps import plugin_path
from so3md.parallel.transport import environment_switch

pytestmark = needs_emulation

KSPACE = "kspace_style ewald 1e-6\nkspace_modify kmax/ewald 5 5 5"


def water_pair() -> Atoms:
    """Two molecules across the boundary of a cell."""
    atoms = molecule("H2O") + molecule("H2O")
    atoms.positions[3:] += [2.9, 0.3, 0.1]
    atoms.set_cell([7.0, 6.5, 6.8])
    atoms.pbc = True
    atoms.rattle(0.02, seed=3)
    return atoms


def assert_same_reports(found: Report, expected: Report) -> None:
    np.testing.assert_allclose(found.forces, expected.forces, rtol=0, atol=RANKS.forces)
    np.testing.assert_allclose(found.energies, expected.energies, rtol=0, atol=DEVICE.component)
    np.testing.assert_allclose(found.charges, expected.charges, rtol=0, atol=DEVICE.charges)
    np.testing.assert_allclose(found.hirshfeld_ratios, expected.hirshfeld_ratios, rtol=0, atol=DEVICE.charges)
    np.testing.assert_allclose(found.stress, expected.stress, rtol=0, atol=DEVICE.stress)
    assert found.energy == pytest.approx(expected.energy, abs=DEVICE.component)


@pytest.mark.parametrize("ranks", [1, 2, 3])
def test_one_evaluation(tmp_path: Path, ranks: int) -> None:
    """A box thinner than the cutoff, so that ranks meet images of their own atoms; of three ranks, one has no atoms."""
    atoms = water_pair()
    atoms.wrap()
    job = Job(tmp_path, atoms, pair_style=f"so3lr precision double lr_cutoff 6.0 device {EMULATION}")
    if ranks == 3:
        job.lines.insert(3, "processors 1 1 3")
    job.report("start")
    report = job.run(ranks)["start"]
    assert len(set(report.processes)) == min(ranks, 2)
    assert "emulation on the host" in job.output
    assert "the processes of a machine use its GPUs in turn" in job.output
    atoms.calc = So3kratesCalculator(precision="double", lr_cutoff=6.0)
    np.testing.assert_allclose(report.forces, atoms.get_forces(), rtol=0, atol=RANKS.forces)
    np.testing.assert_allclose(report.stress, atoms.get_stress(voigt=False), rtol=0, atol=DEVICE.stress)
    assert report.energy == pytest.approx(atoms.get_potential_energy(), abs=DEVICE.component)


@pytest.mark.parametrize("field", ["", " electric_field 0.2 -0.1 0.3"], ids=["", "field"])
@pytest.mark.parametrize(("ranks", "coulomb"), [(1, "cut"), (2, "cut"), (1, "kspace"), (2, "kspace")])
def test_dynamics(tmp_path: Path, ranks: int, coulomb: str, field: str) -> None:
    """LAMMPS sorts, wraps and hands over atoms when it builds lists: the engine must notice that they are others."""
    reports = {}
    for device in ("cpu", EMULATION):
        (tmp_path / device).mkdir()
        style = f"so3lr precision double lr_cutoff 5.0 coulomb {coulomb} device {device}{field}"
        job = Job(tmp_path / device, water_pair(), pair_style=style)
        if coulomb == "kspace":
            job.commands(KSPACE)
        job.commands("neighbor 0.2 bin\nneigh_modify delay 0 every 1 check yes\natom_modify sort 1 2.0")
        job.commands("velocity all create 2000.0 7 mom no\ntimestep 0.0005\nfix nve all nve\nrun 12")
        job.report("end")
        reports[device] = job.run(ranks)["end"]
    difference = reports[EMULATION].positions - reports["cpu"].positions
    np.testing.assert_allclose(difference, 0, rtol=0, atol=RANKS_TRAJECTORY)
    np.testing.assert_allclose(reports[EMULATION].charges, reports["cpu"].charges, rtol=0, atol=RANKS_TRAJECTORY)
    if field:  # force constants of bonds are below 100 eV/A^2
        np.testing.assert_allclose(
            reports[EMULATION].forces, reports["cpu"].forces, rtol=0, atol=1e2 * RANKS_TRAJECTORY
        )


def test_atoms_of_another_pair_style_are_no_points(tmp_path: Path) -> None:
    atoms = water_pair() + Atoms("Ne", positions=[[3.4, 3.1, 3.3]])
    reports = {}
    for device in ("cpu", EMULATION):
        (tmp_path / device).mkdir()
        job = Job(tmp_path / device, atoms, pair_style=None)
        elements = job.elements.replace("Ne", "NULL")
        neon = 1 + job.elements.split().index("Ne")
        job.commands(
            f"pair_style hybrid/overlay so3krates so3lr precision double lr_cutoff 5.0 device {device} lj/cut 5.0\n"
            f"pair_coeff * * so3krates {elements}\npair_coeff * * lj/cut 0.0 1.0\n"
            f"pair_coeff {neon} * lj/cut 0.003 2.8"
        )
        job.report("start")
        reports[device] = job.run(2)["start"]
    np.testing.assert_allclose(reports[EMULATION].forces, reports["cpu"].forces, rtol=0, atol=RANKS.forces)
    assert reports[EMULATION].energy == pytest.approx(reports["cpu"].energy, abs=DEVICE.component)


def test_messages_from_the_memory_of_the_device(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Memory of the emulated device is memory of the host, which any MPI library takes."""
    reports = {}
    for switch in ("0", "1"):
        (tmp_path / switch).mkdir()
        monkeypatch.setenv("SO3MD_CUDA_MPI", switch)
        style = f"so3lr precision double lr_cutoff 5.0 device {EMULATION}"
        job = Job(tmp_path / switch, water_pair(), pair_style=style)
        job.report("start")
        reports[switch] = job.run(2)["start"]
        assert ("MPI takes messages from the memory of the GPUs" in job.output) == (switch == "1")
    assert_same_reports(reports["1"], reports["0"])
    np.testing.assert_array_equal(reports["1"].forces, reports["0"].forces)


def test_a_switch_that_is_neither_0_nor_1_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SO3MD_CUDA_MPI", "yes")
    run = Job(tmp_path, water_pair(), pair_style=f"so3lr device {EMULATION}").start(2)
    assert run.returncode != 0
    assert "SO3MD_CUDA_MPI is 'yes': expected 1 (on) or 0 (off)" in run.stdout
    with pytest.raises(ValueError, match=r"SO3MD_CUDA_MPI is 'yes': expected 1 \(on\) or 0 \(off\)"):
        environment_switch("SO3MD_CUDA_MPI")


def test_lammps_says_why_a_device_cannot_be_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SO3MD_EMULATION_DEVICES", "0")
    job = Job(tmp_path, water_pair(), pair_style=f"so3lr device {EMULATION}")
    run = job.start(2)
    assert run.returncode != 0
    assert "Pair style so3krates: looking for devices on the GPU failed: the NVIDIA driver sees no GPU" in run.stdout


def test_a_missing_library_names_every_folder_that_was_searched(tmp_path: Path) -> None:
    """The plugin lies in a folder of its own: the folder above is searched too."""
    folder = tmp_path / "package" / "lammps"
    folder.mkdir(parents=True)
    plugin = Path(shutil.copy(plugin_path().resolve(), folder))
    job = Job(tmp_path, water_pair(), pair_style=None)
    job.commands(f"plugin unload pair so3krates\nplugin load {plugin}\npair_style so3krates so3lr device {EMULATION}")
    run = job.start()
    assert run.returncode != 0
    assert f"there is no so3md_cuda_emulation.so in {folder} or {folder.parent}. " in run.stdout
