"""Several models, and how uncertain forces are, in LAMMPS: against ASE, on ranks, and what is made of it."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.io import write
from click.testing import CliRunner
from lammps_comparison import assert_equal_to_ase, calculator, moved, of_ase, skewed_waters, waters
from lammps_runs import lmp, needs_lammps
from lammps_tools import ENERGY_UNIT, Job, Report, failure
from test_last_layer import with_uncertainty, written
from tolerances import EXACT
from toy_models import make_toy_model, write_toy_model

from so3md.cli import main

pytestmark = needs_lammps

COLUMNS = "f_unsure"
_COMPUTES = """
fix unsure all pair 1 so3krates uncertainty 0
compute unsure all pair so3krates
"""
#: Rows of the file have seven digits.
FILE = 1e-6


@pytest.fixture
def members(tmp_path: Path) -> list[str]:
    return [str(write_toy_model(tmp_path / f"member{seed}.safetensors", seed=seed)) for seed in range(3)]


@pytest.fixture
def single(tmp_path: Path) -> str:
    """A model that knows its last layer."""
    return written(tmp_path / "single.safetensors", with_uncertainty(make_toy_model(seed=3)))


def job_of(directory: Path, atoms: Atoms, models: list[str], words: str = "", units: str = "metal") -> Job:
    job = Job(directory, atoms, f"{' '.join(models)} precision double {words}", units=units)
    job.commands(_COMPUTES)
    return job


def report(job: Job, ranks: int | None = None) -> Report:
    job.report("start", COLUMNS)
    job.commands('run 0 post no\nprint "LARGEST $(c_unsure[7]:%.17g)"')
    return job.run(ranks)["start"]


def rows_of(file: Path) -> np.ndarray:
    return np.loadtxt(file, ndmin=2)


@pytest.mark.parametrize("ranks", [1, 2, 3])
@pytest.mark.parametrize("make", [lambda: waters(3, 2, 2), skewed_waters])
def test_a_committee_is_that_of_ase_on_ranks(make, ranks: int, members: list[str], tmp_path: Path) -> None:
    atoms = make()
    job = job_of(tmp_path, atoms, members)
    found = report(job, ranks)
    assert_equal_to_ase(found, atoms, model=tuple(members))
    expected = of_ase(atoms, model=tuple(members)).calc.results
    np.testing.assert_allclose(found.columns[:, 0], expected["forces_uncertainty"], rtol=0, atol=EXACT.forces)
    assert job.numbers("LARGEST")[0] == pytest.approx(expected["uncertainty"], rel=0, abs=EXACT.forces)
    assert expected["uncertainty"] > 0.01


@pytest.mark.parametrize("ranks", [1, 2, 8])
@pytest.mark.parametrize("units", ["metal", "real"])
def test_a_single_model_says_what_it_says_in_ase(units: str, ranks: int, single: str, tmp_path: Path) -> None:
    """On eight ranks, some have no atoms."""
    atoms = waters(2, 1, 1, spacing=5.0)
    job = job_of(tmp_path, atoms, [single], units=units)
    found = report(job, ranks)
    expected = of_ase(atoms, model=single).calc.results
    in_lammps = ENERGY_UNIT[units] * expected["forces_uncertainty"]
    np.testing.assert_allclose(found.columns[:, 0], in_lammps, rtol=0, atol=ENERGY_UNIT[units] * EXACT.forces)
    assert job.numbers("LARGEST")[0] == pytest.approx(in_lammps.max(), rel=0, abs=ENERGY_UNIT[units] * EXACT.forces)


def deviations_of_virials(members: list[str], atoms: Atoms) -> list[float]:
    """As the file has them: standard deviations of the components for each atom."""
    volume = atoms.get_volume()
    virials = [-volume * of_ase(atoms, model=member).get_stress(voigt=False) for member in members]
    deviations = np.std(virials, axis=0) / len(atoms)
    return [deviations.max(), deviations.min(), float(np.sqrt(np.square(deviations).mean()))]


@pytest.mark.parametrize("ranks", [1, 3])
def test_the_file_has_what_deepmd_writes(ranks: int, members: list[str], tmp_path: Path) -> None:
    atoms = waters(3, 2, 2)
    job = job_of(tmp_path, atoms, members, "out_file unsure.out out_freq 2")
    job.commands("fix nve all nve\ntimestep 0.0005\nrun 5")
    job.report("end", COLUMNS)
    end = job.run(ranks)["end"]
    header = (tmp_path / "unsure.out").read_text().splitlines()[0].split()
    assert header[1:] == ["step", *(f"{what}_devi_{of}" for of in "vf" for what in ("max", "min", "avg"))]
    rows = rows_of(tmp_path / "unsure.out")
    assert rows[:, 0].tolist() == [0, 2, 4]
    calculator.cache_clear()
    unsure = of_ase(atoms, model=tuple(members)).calc.results["forces_uncertainty"]
    expected = [*deviations_of_virials(members, atoms), unsure.max(), unsure.min(), unsure.mean()]
    np.testing.assert_allclose(rows[0, 1:], expected, rtol=FILE, atol=EXACT.forces)
    unsure = of_ase(moved(atoms, end), model=tuple(members)).calc.results["forces_uncertainty"]
    np.testing.assert_allclose(end.columns[:, 0], unsure, rtol=0, atol=EXACT.forces)


def test_the_file_of_a_single_model_has_forces_alone(single: str, tmp_path: Path) -> None:
    job = job_of(tmp_path, waters(2, 2, 2), [single], "out_freq 1")
    job.commands("run 0")
    job.run()
    text = (tmp_path / "model_devi.out").read_text()
    assert text.split("\n")[0].split() == ["#", "step", "max_devi_f", "min_devi_f", "avg_devi_f"]
    assert rows_of(tmp_path / "model_devi.out").shape == (1, 4)


def test_a_run_that_goes_on_adds_to_the_file(members: list[str], tmp_path: Path) -> None:
    job = job_of(tmp_path, waters(2, 2, 2), members[:2], "out_freq 3")
    job.commands("fix nve all nve\ntimestep 0.0005\nrun 4\nwrite_restart part.restart")
    job.run()
    assert rows_of(tmp_path / "model_devi.out")[:, 0].tolist() == [0, 3]
    (tmp_path / "in.lammps").write_text(
        "read_restart part.restart\nfix nve all nve\ntimestep 0.0005\nrun 4\nrun 1\n"  # a second run of the same step
    )
    again = Job(tmp_path, waters(2, 2, 2), None)
    again.lines = (tmp_path / "in.lammps").read_text().splitlines()
    again.run()
    assert rows_of(tmp_path / "model_devi.out")[:, 0].tolist() == [0, 3, 6, 9]


@pytest.mark.parametrize("ranks", [1, 2])
def test_a_run_ends_above_the_threshold(ranks: int, members: list[str], tmp_path: Path) -> None:
    atoms = waters(2, 2, 2)
    results = of_ase(atoms, model=tuple(members)).calc.results
    low, high = 0.01 * results["uncertainty"], 100 * results["uncertainty"]
    job = job_of(tmp_path, atoms, members, f"threshold {high}")
    job.commands("fix nve all nve\ntimestep 0.0005\nrun 3\nprint 'AFTER $(step)'")
    job.commands(f"pair_style so3krates {' '.join(members)} precision double threshold {low}")
    job.commands(f"pair_coeff * * {job.elements}")
    job.commands("run 5\nprint 'STOPPED $(step)'\nwrite_dump all custom kept.dump id f_unsure modify sort id")
    job.commands("run 5\nprint 'LATER $(step)'")
    job.run(ranks)
    assert job.numbers("AFTER")[0] == 3
    assert job.numbers("STOPPED")[0] == 3
    assert job.numbers("LATER")[0] == job.numbers("STOPPED")[0]
    assert len(re.findall(r"is uncertain by .* above the threshold of .*: the run ends", job.output)) == 1
    step = int(job.numbers("STOPPED")[0])
    (atom,) = re.findall(r"the force on atom (\d+) is uncertain", job.output)
    assert f"at step {step}, above" in job.output
    assert int(atom) == 1 + int(job.last_snapshot("kept.dump")[:, 1].argmax())


def test_a_compute_outlives_the_committee(members: list[str], tmp_path: Path) -> None:
    """It still asks for seven components, of a model that has six."""
    job = job_of(tmp_path, waters(2, 2, 2), members)
    job.commands(f"run 0\npair_style so3krates {members[0]}\npair_coeff * * {job.elements}\nunfix unsure\nrun 0")
    job.commands('print "LARGEST $(c_unsure[7]:%.17g)"')
    job.run()
    assert job.numbers("LARGEST")[0] == 0


def refused(tmp_path: Path, models: list[str], words: str = "", commands: str = "run 0") -> str:
    job = Job(tmp_path, waters(2, 2, 2), None)
    job.commands(f"pair_style so3krates {' '.join(models)} {words}\npair_coeff * * {job.elements}\n{commands}")
    return failure(job)


def test_what_cannot_be_together_is_refused(members: list[str], single: str, tmp_path: Path) -> None:
    folder = tmp_path / "jobs"
    folder.mkdir()
    other = str(write_toy_model(tmp_path / "other.safetensors", seed=5, elements=(1, 8)))
    without = str(write_toy_model(tmp_path / "without.safetensors", seed=5, dispersion=None))
    two = members[:2]
    assert "are one file" in refused(folder, [members[0], members[0]])
    assert re.search(r"found elements .* 1 6 8 of .*member0.* and 1 8 of", refused(folder, [members[0], other]))
    assert re.search(r"found heads and long-range terms .* take models that", refused(folder, [members[0], without]))
    assert "coulomb kspace is for a single model" in refused(folder, two, "coulomb kspace")
    assert "on processors only: use device cpu" in refused(folder, two, "device cuda")
    assert "need an uncertainty, which the model so3lr has not" in refused(folder, ["so3lr"], "threshold 1.0")
    assert "threshold: expected a positive" in refused(folder, two, "threshold 0")
    assert "out_freq: expected a number of steps" in refused(folder, two, "out_freq 0")
    assert "cannot be written: No such file" in refused(folder, [single], "out_file none/such.out out_freq 1")
    assert re.search(r"unknown keyword 'thershold'; the keywords are", refused(folder, two, "thershold 1"))
    flux = "compute flux all so3krates/heat/flux\nthermo_style custom step c_flux[1]\nrun 0"
    assert "it is there for a single model" in refused(folder, two, "", flux)


# --- so3md lammps ---------------------------------------------------------------------------------------------------


def written_input(directory: Path, models: list[str], *words: str, fails: bool = False) -> str:
    """What so3md lammps writes or says, for a box of water."""
    write(directory / "water.xyz", waters(2, 2, 2))
    named = [word for model in models for word in ("--model", model)]
    arguments = ["lammps", str(directory / "water.xyz"), *named, "--output", str(directory / "run"), *words]
    result = CliRunner().invoke(main, arguments, env={"COLUMNS": "300"})
    assert (result.exit_code != 0) == fails, result.output
    return result.output if fails else (directory / "run" / "in.lammps").read_text()


DYNAMICS = ("--steps", "4", "--ensemble", "nve", "--trajectory-interval", "2", "--log-interval", "1")


@pytest.mark.parametrize("style", [(), ("--mts", "--timestep", "0.1", "--outer-timestep", "0.4")])
def test_so3md_lammps_keeps_uncertain_structures(style: tuple[str, ...], members: list[str], tmp_path: Path) -> None:
    student = ("--student", members[2], "--max-difference", "1000") if style else ()
    limits = ("--uncertainty-threshold", "1e-6", "--max-temperature", "1e9")
    input_file = written_input(tmp_path, members[:2], *DYNAMICS, *style, *student, *limits)
    assert f"so3krates {members[0]} {members[1]} charge 0" in input_file
    output = lmp(tmp_path / "run", "-in", "in.lammps")
    assert "c_terms[7]" in output
    kept = (tmp_path / "run" / "run.uncertain.lammpstrj").read_text()
    assert re.findall(r"ITEM: TIMESTEP\n(\d+)", kept) == ["0", "2", "4"]
    unsure = of_ase(waters(2, 2, 2), model=tuple(members[:2]), precision="mixed").calc.results["forces_uncertainty"]
    log = re.findall(r"^ +[0-4] +-?\d.* (\d\S*) *$", output, flags=re.MULTILINE)
    assert float(log[0]) == pytest.approx(unsure.max(), rel=1e-3)
    assert len(log) == 5
    frames = [np.loadtxt(frame.splitlines()[9:], usecols=-1) for frame in kept.split("ITEM: TIMESTEP")[1:]]
    np.testing.assert_allclose(frames[0], unsure, rtol=1e-3)  # mixed, of positions with ten digits
    for frame, largest in zip(frames, log[::2], strict=True):
        assert frame.max() == pytest.approx(float(largest), rel=1e-3)


@pytest.mark.parametrize("ranks", [1, 3])
def test_the_compute_of_atoms_gives_what_fix_pair_gives(ranks: int, members: list[str], tmp_path: Path) -> None:
    atoms = waters(3, 2, 2)
    job = Job(tmp_path, atoms, f"{members[0]} {members[1]} precision double")
    names = ("charge", "hirshfeld_ratio", "uncertainty")
    job.commands("group oxygen type 2\nfix values all pair 1 so3krates " + " ".join(f"{name} 0" for name in names))
    job.commands("\n".join(f"compute {name} all so3krates/atom {name}" for name in names))
    job.commands("compute some oxygen so3krates/atom uncertainty 1\nfix move all nve\ntimestep 1e-5\nthermo 1")
    columns = "f_values[1] f_values[2] f_values[3] c_charge c_hirshfeld_ratio c_uncertainty c_some type"
    job.commands(f"dump all all custom 2 all.dump {columns}\ndump_modify all sort id format float %.17g\nrun 4")
    job.run(ranks)
    frames = (tmp_path / "all.dump").read_text().split("ITEM: TIMESTEP")[1:]
    tables = [np.loadtxt(frame.splitlines()[9:]) for frame in frames]
    assert len(tables) == 3
    for table in tables:
        np.testing.assert_array_equal(table[:, 3:6], table[:, :3])
        np.testing.assert_array_equal(table[:, 6], np.where(table[:, 7] == 2, table[:, 2], 0))
    assert (tables[0] != tables[2]).any()
    assert np.abs(tables[0][:, :3]).min(axis=0).max() > 0.01


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("", "expected charge, hirshfeld_ratio or uncertainty, found ''"),
        ("force", "expected charge, hirshfeld_ratio or uncertainty, found 'force'"),
        ("charge 1 2", "unknown keyword '2'; there are none"),
        ("charge 0", "expected 1, 2, 3, ..., the number of the style so3krates"),
        ("uncertainty", "the pair style has no uncertainty with this model"),
    ],
)
def test_what_the_compute_of_atoms_cannot_give_is_refused(words: str, message: str, tmp_path: Path) -> None:
    job = Job(tmp_path, waters(1, 1, 2), "so3lr")
    job.commands(f"compute of all so3krates/atom {words}\ncompute most all reduce max c_of")
    job.commands("thermo_style custom step c_most\nrun 0")
    assert message in failure(job)


def test_so3md_lammps_keeps_nothing_below_the_threshold(members: list[str], tmp_path: Path) -> None:
    written_input(tmp_path, members, *DYNAMICS, "--uncertainty-threshold", "1e6", "--max-temperature", "1e9")
    lmp(tmp_path / "run", "-in", "in.lammps")
    kept = tmp_path / "run" / "run.uncertain.lammpstrj"
    assert not kept.exists() or kept.read_text() == ""


@pytest.mark.parametrize("units", ["metal", "real"])
def test_so3md_lammps_ends_a_run(units: str, members: list[str], tmp_path: Path) -> None:
    written_input(tmp_path, members, *DYNAMICS, "--units", units, "--stop-uncertainty", "1e-6")
    output = lmp(tmp_path / "run", "-in", "in.lammps")
    assert "is uncertain by" in output
    assert {"run.restart", "run.data"} <= {path.name for path in (tmp_path / "run").iterdir()}


def test_so3md_lammps_refuses_what_lammps_would(members: list[str], tmp_path: Path) -> None:
    for model, words, message in (
        (members, ("--coulomb", "kspace"), "coulomb kspace is for a single model"),
        (members, ("--device", "cuda"), "on processors only"),
        (["so3lr"], ("--stop-uncertainty", "1"), "the model says nothing of it"),
        (members, ("--ensemble", "minimize", "--stop-uncertainty", "1"), "does not go with --ensemble minimize"),
    ):
        assert message in " ".join(written_input(tmp_path, model, *words, fails=True).split())
