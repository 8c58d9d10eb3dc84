"""Atoms that fixes hide, insert, delete or swap: the model sees those that LAMMPS sees, and charge is kept."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.build import molecule
from lammps_comparison import of_ase, waters
from lammps_runs import needs_lammps
from lammps_tools import Job, failure
from tolerances import EXACT, RANKS

pytestmark = needs_lammps

#: Of these jobs, whose boxes are small.
STYLE = "so3lr precision double lr_cutoff 6.0"


def final_structure(job: Job, atoms: Atoms) -> tuple[Atoms, np.ndarray]:
    """What the dump `end` of a job holds: the atoms in the original cell, and their columns fx fy fz q."""
    lines = (job.directory / "end.dump").read_text().splitlines()
    rows = [line.split() for line in lines[9:]]
    numbers = np.array([row[2:] for row in rows], dtype=float)
    return Atoms([row[1] for row in rows], numbers[:, :3], cell=atoms.cell, pbc=atoms.pbc), numbers[:, 3:]


def dump_the_end(job: Job) -> None:
    job.commands(
        'thermo_style custom pe\nrun 0\nprint "ENERGY $(pe:%.17g)"\nwrite_dump all custom end.dump id element x y z'
        f" fx fy fz q modify sort id element {job.elements} format float %.17g"
    )


def assert_end_is_that_of_ase(job: Job, atoms: Atoms, **parameters: object) -> Atoms:
    """Energy, forces and charges at the end are those of ASE for the atoms that are there then; returns these."""
    end, columns = final_structure(job, atoms)
    expected = of_ase(end, lr_cutoff=6.0, **parameters)
    energy = expected.get_potential_energy()
    assert job.numbers("ENERGY")[0] == pytest.approx(energy, rel=0, abs=RANKS.energy_per_atom * len(end))
    np.testing.assert_allclose(columns[:, :3], expected.get_forces(), rtol=0, atol=RANKS.forces)
    np.testing.assert_allclose(columns[:, 3], expected.get_charges(), rtol=0, atol=RANKS.charges)
    return end


def water_job(directory: Path, atoms: Atoms, style: str = STYLE, atom_style: str = "full") -> Job:
    """Molecules with numbers, and a template of one."""
    job = Job(directory, atoms, style, atom_style=atom_style)
    for k in range(len(atoms) // 3):
        job.commands(f"set atom {3 * k + 1}*{3 * k + 3} mol {k + 1}")
    water = molecule("H2O")
    coordinates = "\n".join(f"{n} {x} {y} {z}" for n, (x, y, z) in enumerate(water.positions, start=1))
    (directory / "mol").write_text(f"water\n\n3 atoms\n\nCoords\n\n{coordinates}\n\nTypes\n\n1 2\n2 1\n3 1\n")
    job.commands("molecule water mol")
    return job


# --- exclusions -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ranks", [1, 2])
def test_a_group_excluded_from_all_is_invisible(ranks: int, tmp_path: Path) -> None:
    """Also if that changes between two runs, and in dynamics with lists made anew."""
    atoms = waters(2, 2, 2)
    job = Job(tmp_path, atoms, STYLE, columns="q")
    job.report("all")
    job.commands("group gone id 1 2 3 7 8 9\nneigh_modify exclude group gone all")
    job.report("some")
    job.commands("neigh_modify exclude none")
    job.report("again")
    reports = job.run(ranks)
    assert re.search(r"WARNING.*does not see the atoms of the group\(s\) gone, which neigh_modify excludes", job.output)
    kept = np.setdiff1d(np.arange(len(atoms)), [0, 1, 2, 6, 7, 8])
    expected = of_ase(atoms[kept], lr_cutoff=6.0)
    some = reports["some"]
    energy = expected.get_potential_energy()
    assert some.energy == pytest.approx(energy, rel=0, abs=RANKS.energy_per_atom * len(atoms))
    np.testing.assert_allclose(some.forces[kept], expected.get_forces(), rtol=0, atol=RANKS.forces)
    np.testing.assert_allclose(some.columns[:, 0][kept], expected.get_charges(), rtol=0, atol=RANKS.charges)
    gone = np.setdiff1d(np.arange(len(atoms)), kept)
    assert not np.any(some.forces[gone])
    assert not np.any(some.columns[:, 0][gone])
    np.testing.assert_allclose(some.stress, expected.get_stress(voigt=False), rtol=0, atol=RANKS.stress)
    full = of_ase(atoms, lr_cutoff=6.0)
    for name in ("all", "again"):
        np.testing.assert_allclose(reports[name].forces, full.get_forces(), rtol=0, atol=RANKS.forces)


@pytest.mark.parametrize("ranks", [1, 2])
def test_invisible_atoms_have_no_charge_for_kspace(ranks: int, tmp_path: Path) -> None:
    """Also where none are left: the kspace style would go on with the charges of before."""
    atoms = waters(2, 2, 2)
    kspace = "kspace_style ewald 1e-6\nkspace_modify kmax/ewald 4 4 4"
    job = Job(tmp_path, atoms, f"{STYLE} coulomb kspace")
    job.commands(f"{kspace}\nrun 0\ngroup gone id 1 2 3\nneigh_modify exclude group gone all")
    job.report("some")
    job.commands("neigh_modify exclude none\ngroup gone type 1 2\nneigh_modify exclude group gone all")
    job.report("none")
    reports = job.run(ranks)
    alone = Job(tmp_path, atoms[3:], f"{STYLE} coulomb kspace")
    alone.commands(kspace)
    alone.report("start")
    expected = alone.run(ranks)["start"]
    assert reports["some"].energy == pytest.approx(expected.energy, rel=0, abs=EXACT.component)
    np.testing.assert_allclose(reports["some"].forces[3:], expected.forces, rtol=0, atol=RANKS.forces)
    assert not np.any(reports["some"].forces[:3])
    assert reports["none"].energy == 0


@pytest.mark.parametrize("coulomb", ["cut", "kspace"])
@pytest.mark.parametrize("ranks", [1, 2])
def test_gcmc_sees_what_a_deletion_costs(ranks: int, coulomb: str, tmp_path: Path) -> None:
    """Deleting a molecule costs 496 eV, so that none is deleted; inserting one gains as much, so that some are."""
    atoms = waters(2, 2, 2, spacing=5.0)
    job = water_job(tmp_path, atoms, f"{STYLE} coulomb {coulomb}")
    if coulomb == "kspace":
        job.commands("kspace_style ewald 1e-4\nkspace_modify kmax/ewald 4 4 4")
    job.commands("fix g all gcmc 1 8 0 0 12345 300 -5.0 0.1 mol water full_energy\nrun 2")
    job.commands('print "TRIED $(f_g[5]) $(f_g[6]) $(f_g[4])"\nrun 1')  # the second run has the fix's group
    job.commands("unfix g")
    dump_the_end(job)
    if coulomb == "kspace":
        job.commands("run 0\nwrite_data end.data nocoeff")
    job.run(ranks)
    tried, deleted, inserted = job.numbers("TRIED")
    assert tried > 2
    assert deleted == 0
    assert inserted > 0
    if coulomb == "cut":
        end = assert_end_is_that_of_ase(job, atoms)
        assert len(end) > len(atoms)
        return
    again = Job(tmp_path, atoms, None, atom_style="full")
    again.lines[-1] = "read_data end.data"
    again.commands(f"pair_style so3krates {STYLE} coulomb kspace\npair_coeff * * {job.elements}")
    again.commands("kspace_style ewald 1e-4\nkspace_modify kmax/ewald 4 4 4")
    energy = job.numbers("ENERGY")[0]
    dump_the_end(again)
    again.run(ranks)
    assert energy == pytest.approx(again.numbers("ENERGY")[0], rel=0, abs=1e-8)  # what the data file rounds


@pytest.mark.parametrize("fix", ["gcmc 1 8 0 1 12345 300 -5.0 0.1 full_energy", "widom 1 4 1 29494 300 full_energy"])
@pytest.mark.parametrize("ranks", [1, 2])
def test_monte_carlo_of_ions_is_refused(ranks: int, fix: str, tmp_path: Path) -> None:
    """Protons: their charge would not be in the total charge."""
    job = Job(tmp_path, waters(2, 2, 1, spacing=5.0), STYLE)  # types: H 1, O 2
    job.commands(f"fix f all {fix}\nrun 2")
    assert "inserts or deletes particles with an odd number of protons (1), ions or radicals" in failure(job, ranks)


@pytest.mark.parametrize("ranks", [1, 2])
def test_gcmc_of_a_neutral_pair_of_ions(ranks: int, tmp_path: Path) -> None:
    """As one molecule; and with a charge of all, which stays: what is there has the energy of ASE."""
    atoms = waters(2, 2, 2, spacing=5.0)
    job = water_job(tmp_path, atoms, f"{STYLE} charge 2")
    rows = "1 0 0 0\n2 0.98 0 0\n3 -0.3 0.93 0\n4 -0.3 -0.4 0.84\n5 3 0 0\n6 3.97 0 0"  # H3O+ and OH-
    types = "1 2\n2 1\n3 1\n4 1\n5 2\n6 1"
    (tmp_path / "ions").write_text(f"ions\n\n6 atoms\n\nCoords\n\n{rows}\n\nTypes\n\n{types}\n")
    job.commands("molecule ions ions\nfix g all gcmc 1 8 0 0 12345 300 -5.0 0.1 mol ions full_energy\nrun 2\nunfix g")
    dump_the_end(job)
    job.run(ranks)
    end = assert_end_is_that_of_ase(job, atoms, charge=2)
    assert len(end) > len(atoms)


@pytest.mark.parametrize("ranks", [1, 2])
def test_widom_inserts_and_leaves_no_trace(ranks: int, tmp_path: Path) -> None:
    atoms = waters(2, 2, 1, spacing=5.0)
    job = Job(tmp_path, atoms, STYLE)
    job.commands("fix w all widom 1 4 2 29494 300 full_energy\nrun 2\nrun 1\nunfix w")  # atoms of oxygen
    dump_the_end(job)
    job.run(ranks)
    end = assert_end_is_that_of_ase(job, atoms)
    assert len(end) == len(atoms)


@pytest.mark.parametrize("ranks", [1, 2])
def test_atoms_are_swapped_in_more_than_one_run(ranks: int, tmp_path: Path) -> None:
    """Fix atom/swap asks at the start of each run that all atoms of a type have one charge."""
    atoms = waters(2, 1, 1, spacing=5.0)
    job = Job(tmp_path, atoms, STYLE)
    # So hot that every swap is accepted, the worst ones too
    job.commands("fix s all atom/swap 1 3 29494 1e9 types 1 2\nrun 1\nrun 2\nvariable n equal f_s[2]")
    job.commands('print "SWAPS ${n}"\nunfix s')
    dump_the_end(job)
    job.run(ranks)
    assert job.numbers("SWAPS")[0] > 0
    end = assert_end_is_that_of_ase(job, atoms)
    assert list(end.symbols) != list(atoms.symbols)


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("exclude type 1 2", "neigh_modify exclude type 1 2 leaves out pairs"),
        ("exclude group some some", "neigh_modify exclude group some some leaves out pairs"),
        ("exclude molecule/intra some", "neigh_modify exclude molecule/intra some leaves out pairs"),
        ("exclude molecule/inter all", "neigh_modify exclude molecule/inter all leaves out pairs"),
    ],
)
def test_other_exclusions_are_named(command: str, message: str, tmp_path: Path) -> None:
    job = water_job(tmp_path, waters(1, 1, 2))
    job.commands(f"group some id 1:3\nrun 0\nneigh_modify {command}\nrun 0")
    assert message in failure(job)


def test_exclusions_of_atoms_of_other_styles_do_not_matter(tmp_path: Path) -> None:
    atoms = waters(2, 2, 2) + Atoms("Ne2", positions=[[3.0, 3.1, 3.2], [3.2, 0.3, 0.1]])
    job = Job(tmp_path, atoms, pair_style=None)
    job.commands(f"pair_style hybrid/overlay so3krates {STYLE} lj/cut 6.0")
    job.commands(f"pair_coeff * * so3krates {job.elements.replace('Ne', 'NULL')}\npair_coeff * * lj/cut 0.0 1.0")
    job.commands("group neon type 3\nneigh_modify exclude group neon neon\nneigh_modify exclude type 3 3\nrun 0")
    job.run()
    assert "leaves out pairs" not in job.output


@pytest.mark.parametrize(
    "commands",
    {
        "dynamic": "region half block 0 3.1 INF INF INF INF\ngroup late dynamic all region half every 1\n"
        "fix f late efield 0 0 0.5",
        "deposit": "group late empty\nfix f late efield 0 0 0.5\nregion box block 0 8 0 8 0 8\n"
        "fix d late deposit 2 2 1 1234 region box near 1.5",
    }.items(),
    ids=lambda item: item[0],
)
@pytest.mark.parametrize("ranks", [1, 2])
def test_fields_on_atoms_that_come_later_are_refused(ranks: int, commands: tuple[str, str], tmp_path: Path) -> None:
    """Groups without atoms of the model at the start of a run may get some."""
    job = Job(tmp_path, waters(2, 2, 2, spacing=4.0), STYLE)
    job.commands(f"{commands[1]}\nfix nve all nve\ntimestep 0.0005\nrun 5")
    assert "efield acts on charges as if they were constants" in failure(job, ranks)


# --- electrons and charge -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ranks", [1, 2])
def test_charge_is_kept_when_atoms_go(ranks: int, tmp_path: Path) -> None:
    atoms = waters(2, 2, 2)
    job = Job(tmp_path, atoms, f"{STYLE} charge 2")
    job.commands('variable q equal charge(all)\nrun 0\nprint "BEFORE ${q}"')
    job.commands("region all block INF INF INF INF INF INF\ngroup some id 1 2 3")
    job.commands("fix ev some evaporate 1 3 all 49892\nrun 3\nunfix ev")
    job.commands('print "AFTER ${q} $(atoms)"')
    dump_the_end(job)
    job.run(ranks)
    assert job.numbers("BEFORE")[0] == pytest.approx(2, rel=0, abs=EXACT.charges * len(atoms))
    charge, count = job.numbers("AFTER")
    assert count == len(atoms) - 3
    assert charge == pytest.approx(2, rel=0, abs=EXACT.charges * len(atoms))
    assert (
        job.output.count("atoms came, went or changed: charge 2 and spin 0 are those of all atoms that are left") == 1
    )
    assert_end_is_that_of_ase(job, atoms, charge=2)


def test_electrons_are_counted_again_when_atoms_go(tmp_path: Path) -> None:
    job = Job(tmp_path, waters(2, 2, 2), STYLE)
    job.commands("region all block INF INF INF INF INF INF\ngroup one id 2\nrun 0")
    job.commands('print "UNTIL HERE"\nfix ev one evaporate 1 1 all 49892\nrun 3')
    job.run()
    before, after = job.output.split("UNTIL HERE\n", 1)
    assert "odd number of electrons" not in before
    assert after.count("odd number of electrons") == 1


def test_electrons_are_counted_again_when_types_change(tmp_path: Path) -> None:
    """Without new neighbour lists in between."""
    job = Job(tmp_path, waters(2, 2, 2), STYLE)
    job.commands("neigh_modify every 100 delay 100 check no\nfix nve all nve\nrun 1")
    job.commands('print "UNTIL HERE"\nvariable h atom 1\nfix s all set 1 0 atom 1 type v_h\nrun 2')
    job.run()
    before, after = job.output.split("UNTIL HERE\n", 1)
    assert "odd number of electrons" not in before
    assert after.count("odd number of electrons") == 1
