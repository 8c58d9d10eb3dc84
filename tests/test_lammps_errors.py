"""What LAMMPS users are told where something cannot be done, and how a run of several ranks ends."""

from __future__ import annotations

import os
import re
from pathlib import Path
from subprocess import CompletedProcess

import numpy as np
import pytest
from ase import Atoms
from lammps_comparison import assert_equal_to_ase, moved, waters
from lammps_runs import needs_lammps, run
from lammps_tools import Job, failure
from paper_models import structure_of
from tolerances import rounding
from toy_models import write_toy_model

from so3md import So3kratesCalculator

pytestmark = needs_lammps

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
    "bad coulomb": ("pair_style so3krates so3lr coulomb pme", r"coulomb: expected cut, ewald or kspace, found pme"),
    "bad precision": (
        "pair_style so3krates so3lr precision single",
        r"precision: expected mixed or double, found single",
    ),
    "no such device": ("pair_style so3krates so3lr device tpu", r"device: expected cpu, cuda, or cuda:N.*found tpu"),
    "no threads": ("pair_style so3krates so3lr threads 0", r"threads: expected 1 to 1024.*found 0"),
    "no cutoff": ("pair_style so3krates so3lr lr_cutoff -1", r"lr_cutoff: expected a positive length.*found -1"),
    "long damping": ("pair_style so3krates so3lr lr_cutoff 3 lr_damping 4", r"damping length .* is 4 A: expected"),
    "a cutoff below the network's": (
        "pair_style so3krates so3lr lr_cutoff 4",
        r"lr_cutoff 4 A is shorter than the cutoff of the network, 4.5 A: give at least that",
    ),
    "a box without end": (
        "change_box all x final -1e12 1e12\nrun 0",
        r"cell vector 1 of 3 has the component 2e\+12: expected finite lengths in Angstrom, below 1e8",
    ),
    "a cutoff without end": (
        "pair_style so3krates so3lr lr_cutoff 1e308",
        r"lr_cutoff: expected .* to 1e6.*found 1e308",
    ),
    "a cutoff beyond numbers": (
        "pair_style so3krates so3lr lr_cutoff 1e400",
        r"1e400",
    ),
    "no number for a cutoff": ("pair_style so3krates so3lr lr_cutoff nan", r"nan"),
    "damping without end": (
        "pair_style so3krates so3lr lr_cutoff 10 lr_damping 1e308",
        r"lr_damping: expected .*found 1e308",
    ),
    "no damping": (
        "pair_style so3krates so3lr lr_damping 1e-320",
        r"lr_damping: expected a positive length from 0.001 .*found 1e-320",
    ),
    "next to no damping": (
        "pair_style so3krates so3lr lr_damping 0.0001",
        r"lr_damping: expected a positive length from 0.001 .*found 0.0001",
    ),
    "next to no cutoff": (
        "pair_style so3krates so3lr lr_cutoff 1e-6",
        r"lr_cutoff: expected a positive length from 0.001 .*found 1e-6",
    ),
    "a charge without end": (
        "pair_style so3krates so3lr charge -1e308",
        r"charge: expected an integer up to 1e6.*found -1e308",
    ),
    "a spin without end": ("pair_style so3krates so3lr spin 1e308", r"spin: expected 0, 0.5.*found 1e308"),
    "too many threads": ("pair_style so3krates so3lr threads 100000", r"threads: expected 1 to 1024.*found 100000"),
    "threads beyond numbers": ("pair_style so3krates so3lr threads 99999999999", r"99999999999"),
    "a cutoff far beyond the box": (
        "pair_style so3krates so3lr lr_cutoff 1e5\npair_coeff * * H O\nrun 0",
        r"with a cutoff of 100000 A and a skin of 2 A, each process would hold .* images of atoms.*shorter lr_cutoff",
    ),
    "a skin far beyond the box": ("neighbor 1e5 bin\nrun 0", r"a skin of 100000 A, each process would hold"),
    "ghosts far beyond the box": ("comm_modify cutoff 1e5\nrun 0", r"each process would hold"),
    "one element too few": ("pair_coeff * * O", r"names 1 elements, and there are 2 atom types"),
    "one element too many": ("pair_coeff * * O H H", r"names 3 elements, and there are 2 atom types"),
    "unknown element": ("pair_coeff * * O Fe", r"does not know the element 'Fe'; it knows H C N O F P S Cl"),
    "no such element": ("pair_coeff * * O Hx", r"does not know the element 'Hx'"),
    "some types": ("pair_coeff 1 1 O H", r"must start with \* \*"),
    "no element": ("pair_coeff * * NULL NULL", r"gives no atom type an element"),
    "excluded pairs": (
        "neigh_modify exclude type 1 1\nrun 0",
        r"neigh_modify exclude type 1 1 leaves out pairs of atoms.*remove that command",
    ),
    "impossible spin": (
        "pair_style so3krates so3lr charge 1 spin 1\npair_coeff * * H O\nrun 0",
        r"electrons, of which 2 cannot be unpaired",
    ),
    "no cutoff in a cell": (
        "pair_style so3krates so3lr lr_cutoff none\npair_coeff * * H O\nrun 0",
        r"lr_cutoff none, given .* needs a box without periodic directions",
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
        r"coulomb cut would count the charges twice, .* remove kspace_style, or use coulomb kspace",
    ),
    "charges counted twice": (
        "pair_style hybrid/overlay so3krates so3lr lj/cut/coul/long 5.0\npair_coeff * * so3krates H O\n"
        "pair_coeff * * lj/cut/coul/long 0 1\nset type 1 charge 0.1\nkspace_style pppm 1e-4\nrun 0",
        r"coulomb cut would count the charges twice",
    ),
    "forces of pairs": (
        "compute pairs all force/tally all\nrun 0",
        r"compute pairs force/tally divides the force of every pair of atoms",
    ),
    "a style that was not tried": (
        "pair_style hybrid/scaled/omp 0.5 so3krates so3lr 0.5 zero 5.0\n"
        "pair_coeff * * so3krates H O\npair_coeff * * zero\nrun 0",
        r"within hybrid, hybrid/overlay and hybrid/scaled, and this is hybrid/scaled/omp: use hybrid/overlay",
    ),
    "a field on charges": (
        "fix field all efield 0 0 0.1\nrun 0",
        r"fix field efield acts on charges as if they were constants.*fix addforce",
    ),
    "a field from a formula": (
        'fix field all efield/lepton "-0.1*z"\nrun 0',
        r"fix field efield/lepton acts on charges",
    ),
    "charges that come and go": (
        "fix regulation all charge/regulation 1 2 pH 7.0 pKa 6.0 pKb 6.0 pIp 3.0 pIm 3.0 seed 17\nrun 0",
        r"fix regulation charge/regulation adds and removes charges.*the pair_style line: remove it",
    ),
    "cutoffs of kspace that are tuned": (
        "pair_style so3krates so3lr coulomb kspace\npair_coeff * * H O\nkspace_style pppm 1e-4\n"
        "fix tuned all tune/kspace 100\nrun 0",
        r"fix tuned tune/kspace makes pair styles anew with other cutoffs: remove it",
    ),
    "fewer ghosts for some types": (
        "neighbor 2.0 multi\ncomm_modify mode multi reduce/multi\nrun 0",
        r"needs all ghost atoms within its cutoff: remove comm_modify group or comm_modify reduce/multi",
    ),
    "ghosts of a group": (
        "group some id 1 2 3\natom_modify first some\ncomm_modify group some\nrun 0",
        r"needs all ghost atoms within its cutoff: remove comm_modify group",
    ),
    "charges of another style": (
        "pair_style hybrid/overlay so3krates so3lr coul/cut 5.0\n"
        "pair_coeff * * so3krates H O\npair_coeff 1 2 coul/cut\nrun 0",
        r"pair style coul/cut, given for the types 1 2 of the model, acts on charges as if they were constants",
    ),
    "one of several charged styles": (
        "pair_style hybrid/overlay so3krates so3lr lj/cut 5.0 lj/cut/coul/dsf 0.2 5.0 coul/wolf 0.2 5.0\n"
        "pair_coeff * * so3krates H O\npair_coeff * * lj/cut 0 1\npair_coeff 2 2 coul/wolf\n"
        "pair_coeff 1 1 lj/cut/coul/dsf 0 1\nrun 0",
        r"pair style lj/cut/coul/dsf, given for the types 1 of the model",
    ),
    "a pair of types taken away": (
        "pair_style hybrid so3krates so3lr lj/cut 5.0\n"
        "pair_coeff * * so3krates H O\npair_coeff 2 2 lj/cut 0.01 3.0\nrun 0",
        r"pair_coeff 2 2 takes these atom types from it, and the network sees all pairs",
    ),
    "a pair of types left out": (
        "pair_style hybrid/overlay so3krates so3lr\npair_coeff * * so3krates H O\npair_coeff 1 2 none\nrun 0",
        r"pair_coeff 1 2 takes these atom types from it",
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


def test_a_run_style_that_sends_atoms_away_is_refused(tmp_path: Path) -> None:
    """Its processes for the kspace style never see the charges of the model."""
    job = Job(tmp_path, waters(2, 2, 2), "so3lr coulomb kspace", before_box="processors * * * part 1 2 multiple")
    job.commands("kspace_style pppm 1e-4\nrun_style verlet/split\nfix nve all nve\nrun 2")
    assert job.start(2, "-partition", "1", "1").returncode != 0
    # Whichever partition is the first to stop ends the other one, perhaps before it has written anything.
    logs = "".join((tmp_path / f"log.lammps.{partition}").read_text() for partition in (0, 1))
    assert "works with the run styles verlet and respa, and this is verlet/split: use run_style verlet" in logs


@pytest.mark.parametrize(
    ("group", "message"),
    [("all", "fix charges qeq/point sets charges, which the model predicts: remove it"), ("neon", None)],
)
def test_fixes_that_set_charges(group: str, message: str | None, tmp_path: Path) -> None:
    """A fix for atoms that the model does not see is none of its business, and so is a field on them."""
    atoms = waters(2, 2, 2) + Atoms("Ne2", positions=[[3.0, 3.1, 3.2], [3.2, 0.3, 0.1]])
    (tmp_path / "parameters").write_text("1 4.5 13.9 0 0 0\n2 8.7 13.9 0 0 0\n3 8.7 13.9 0 0 0\n")
    job = Job(tmp_path, atoms, pair_style=None)
    job.commands("pair_style hybrid/overlay so3krates so3lr lj/cut 6.0")
    job.commands("pair_coeff * * so3krates H O NULL\npair_coeff * * lj/cut 0.0 1.0\ngroup neon type 3")
    job.commands("fix field neon efield 0 0 0.1")
    job.commands(f"fix charges {group} qeq/point 1 5.0 1e-4 100 parameters\nrun 0")
    if message is None:
        job.run()
    else:
        assert message in failure(job)


@pytest.mark.parametrize("units", ["lj", "si", "electron"])
def test_other_units_are_refused(units: str, tmp_path: Path) -> None:
    job = Job(tmp_path, waters(1, 1, 2))
    job.lines[0] = f"units {units}"
    assert re.search(f"works in units metal and real, and these are {units}", failure(job))


def test_two_dimensions_are_refused(tmp_path: Path) -> None:
    job = Job(tmp_path, waters(1, 1, 1), pair_style=None)
    job.lines = ["units metal", "dimension 2", "region box block 0 9 0 9 -0.5 0.5", "create_box 1 box"]
    job.commands("create_atoms 1 single 1 1 0\nmass 1 1.0\npair_style so3krates so3lr\npair_coeff * * H\nrun 0")
    assert "needs three dimensions" in failure(job)


def test_respa_with_the_whole_style_on_one_level(tmp_path: Path) -> None:
    job = Job(tmp_path, waters(2, 2, 2), "so3lr precision double lr_cutoff 6.0")
    job.commands("run_style respa 2 2 pair 2\nfix nve all nve\nrun 2")
    job.report("end")
    report = job.run(2)["end"]
    assert_equal_to_ase(report, moved(waters(2, 2, 2), report), lr_cutoff=6.0)


def test_warnings(tmp_path: Path) -> None:
    job = Job(tmp_path, waters(2, 2, 2), "so3lr charge 1")
    job.commands("dielectric 80.0\nmass 1 2.014\nmass 2 14.007\nrun 0\nrun 0\nmass 1 19.0\nrun 0\nrun 0")
    job.run()
    assert job.output.count("dielectric constant has no effect") == 1
    assert job.output.count("so3krates: atom type 1: a mass of 2.014 for H is taken for an isotope") == 1
    assert (
        job.output.count("atom type 2: a mass of 14.007 for O, which weighs 15.999 g/mol; 14.007 is N: check the order")
        == 1
    )
    assert job.output.count("atom type 1: a mass of 19 for H, which weighs 1.008 g/mol; 19 is F: check the order") == 1
    assert job.output.count("a periodic system has a total charge of 1 e") == 1
    assert job.output.count("an odd number of electrons has at least one unpaired") == 1


HEAT_FLUX = """
compute kinetic all ke/atom
compute potential all pe/atom
compute stress all {} NULL virial
compute flux all heat/flux kinetic potential stress
"""


def test_heat_flux_from_stresses_of_atoms(tmp_path: Path) -> None:
    """LAMMPS refuses one kind of stress, the style warns of the other: both fluxes would be wrong."""
    job = Job(tmp_path, waters(1, 1, 2))
    job.commands(HEAT_FLUX.format("centroid/stress/atom") + "thermo_style custom step c_flux[1]\nrun 0")
    assert "does not support compute centroid/stress/atom" in failure(job)
    job = Job(tmp_path, waters(1, 1, 2))
    job.commands(HEAT_FLUX.format("stress/atom") + "run 0\nrun 0")
    job.run()
    assert job.output.count("compute flux heat/flux: heat fluxes from stresses of atoms are wrong for this style") == 1


def test_centroid_stress_in_hybrid_styles(tmp_path: Path) -> None:
    job = Job(tmp_path, waters(1, 1, 2), pair_style=None)
    job.commands(f"pair_style hybrid/overlay so3krates so3lr lj/cut 5.0\npair_coeff * * so3krates {job.elements}")
    job.commands("pair_coeff * * lj/cut 0.0 1.0\n" + HEAT_FLUX.format("centroid/stress/atom") + "run 0")
    assert "does not support compute centroid/stress/atom" in failure(job)


def test_charge_and_spin_of_models_that_know_none(tmp_path: Path) -> None:
    """What the model does with them is said once; a model that embeds them gives no such warning."""
    warning = "made without charge and gives the same energy for any"
    for name, embeds, head in (("embeds", True, True), ("ignores", False, True), ("plain", False, False)):
        options = {"charge_embedding": embeds, "spin_embedding": embeds}
        if not head:
            options |= {"charge_head": None, "electrostatics": None}
        write_toy_model(tmp_path / f"{name}.safetensors", **options)
        job = Job(tmp_path, waters(2, 2, 2), f"{name}.safetensors charge 1 spin 0.5 lr_cutoff 6.0")
        job.commands("run 0\nrun 0")
        job.run(2)
        assert job.output.count(f"charge 1: the network of the model {name}.safetensors was {warning}") == (not embeds)
        assert job.output.count(f"spin 0.5: the network of the model {name}.safetensors was made without spin") == (
            not embeds
        )
        assert job.output.count("only the charges that it predicts are made to add up to it") == (not embeds and head)


def test_more_threads_than_cores(tmp_path: Path) -> None:
    cores = len(os.sched_getaffinity(0))
    job = Job(tmp_path, waters(2, 2, 2), f"so3lr threads {cores + 1}")
    job.commands("run 0")
    job.run()
    assert f"each process has {cores + 1} threads and may use {cores} core(s)" in job.output


def test_filters_that_tables_cannot_follow(tmp_path: Path) -> None:
    """The networks are used, with the forces of ASE, and that is said once in a run of LAMMPS, not by every process."""
    path = write_toy_model(tmp_path / "toy.safetensors", seed=3, radial_basis={"type": "gaussian", "size": 300})
    job = Job(tmp_path, waters(2, 2, 2), "toy.safetensors lr_cutoff 6.0")
    job.report("end")
    job.commands("run 0")
    report = job.run(2)["end"]
    assert job.output.count("change too fast for tables, so that they are computed by their networks") == 1
    with pytest.warns(UserWarning, match="change too fast for tables"):
        calculator = So3kratesCalculator(path, lr_cutoff=6.0)
    atoms = waters(2, 2, 2)
    bounds = rounding(path, structure_of(atoms), lr_cutoff=6.0)
    np.testing.assert_allclose(report.forces, calculator.get_forces(atoms), rtol=0, atol=bounds["forces"])
    assert not calculator.engine_info()["tabulated"]


def test_charges_that_a_compute_changes(tmp_path: Path) -> None:
    job = Job(tmp_path, waters(2, 2, 2), "so3lr")
    job.commands("variable d equal 0.1\ncompute c all fep 300 atom charge 1 v_d\nthermo_style custom step c_c[1]")
    job.commands("run 0\nrun 0")
    job.run()
    assert job.output.count("compute fep cannot change charges") == 1


def test_charges_that_something_else_changes(tmp_path: Path) -> None:
    job = Job(tmp_path, waters(2, 2, 2), "so3lr")
    job.commands("neigh_modify every 100 delay 100 check no\nfix nve all nve\nrun 2")
    job.commands('print "UNTIL HERE"\nvariable q equal 0.1\nfix a all adapt 1 atom charge v_q\nrun 2')
    job.run()
    before, after = job.output.split("UNTIL HERE\n", 1)
    assert "charges q have been changed" not in before
    assert after.count("charges q have been changed since the last step") == 1


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
