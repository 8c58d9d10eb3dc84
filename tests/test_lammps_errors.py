"""What LAMMPS users are told where something cannot be done, and how a run of several ranks ends."""

from __future__ import annotations

import re
from pathlib import Path
from subprocess import CompletedProcess

import pytest
from lammps_comparison import assert_equal_to_ase, moved, waters
from lammps_runs import needs_lammps, run
from lammps_tools import Job, failure

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
    "bad coulomb": ("pair_style so3krates so3lr coulomb pme", r"coulomb: expected cut or kspace, found pme"),
    "bad precision": (
        "pair_style so3krates so3lr precision single",
        r"precision: expected mixed or double, found single",
    ),
    "no such device": ("pair_style so3krates so3lr device tpu", r"device: expected cpu, cuda, or cuda:N.*found tpu"),
    "no threads": ("pair_style so3krates so3lr threads 0", r"threads: expected 1 or more.*found 0"),
    "no cutoff": ("pair_style so3krates so3lr lr_cutoff -1", r"lr_cutoff: expected a positive length.*found -1"),
    "long damping": ("pair_style so3krates so3lr lr_cutoff 3 lr_damping 4", r"damping length is 4 A: expected"),
    "one element too few": ("pair_coeff * * O", r"names 1 elements, and there are 2 atom types"),
    "one element too many": ("pair_coeff * * O H H", r"names 3 elements, and there are 2 atom types"),
    "unknown element": ("pair_coeff * * O Fe", r"does not know the element 'Fe'; it knows H C N O F P S Cl"),
    "no such element": ("pair_coeff * * O Hx", r"does not know the element 'Hx'"),
    "some types": ("pair_coeff 1 1 O H", r"must start with \* \*"),
    "no element": ("pair_coeff * * NULL NULL", r"gives no atom type an element"),
    "excluded pairs": (
        "neigh_modify exclude type 1 1\nrun 0",
        r"also those that neigh_modify exclude.*remove that command",
    ),
    "impossible spin": (
        "pair_style so3krates so3lr charge 1 spin 1\npair_coeff * * H O\nrun 0",
        r"electrons, of which 2 cannot be unpaired",
    ),
    "no cutoff in a cell": (
        "pair_style so3krates so3lr lr_cutoff none\npair_coeff * * H O\nrun 0",
        r"lr_cutoff none needs a box without periodic directions",
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
        r"KSpace style is incompatible with Pair style",
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


@pytest.mark.parametrize("units", ["lj", "si", "electron"])
def test_other_units_are_refused(units: str, tmp_path: Path) -> None:
    job = Job(tmp_path, waters(1, 1, 2))
    job.lines[0] = f"units {units}"
    assert re.search(f"works in units metal and real, and these are {units}", failure(job))


def test_two_dimensions_are_refused(tmp_path: Path) -> None:
    job = Job(tmp_path, waters(1, 1, 1), pair_style=None)
    job.lines = ["units metal", "dimension 2", "region box block 0 9 0 9 -0.5 0.5", "create_box 1 box"]
    job.commands("create_atoms 1 single 1 1 0\nmass 1 1.0\npair_style so3krates so3lr\npair_coeff * * H\nrun 0")
    assert "needs a system of three dimensions" in failure(job)


def test_respa_with_the_whole_style_on_one_level(tmp_path: Path) -> None:
    job = Job(tmp_path, waters(2, 2, 2), "so3lr precision double lr_cutoff 6.0")
    job.commands("run_style respa 2 2 pair 2\nfix nve all nve\nrun 2")
    job.report("end")
    report = job.run(2)["end"]
    assert_equal_to_ase(report, moved(waters(2, 2, 2), report), lr_cutoff=6.0)


def test_warnings(tmp_path: Path) -> None:
    job = Job(tmp_path, waters(2, 2, 2), "so3lr charge 1")
    job.commands("run 0\nrun 0")
    job.run()
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
