"""ASE under MPI: the same results on any number of ranks, one error for all, and no hang."""

from __future__ import annotations

import importlib.util
import os
import pickle
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from ase.build import molecule
from ase.io import read, write
from parallel_runs import finish, mpiexec, run, run_checks, start
from parallel_systems import (
    EWALD,
    FIELD,
    MESH,
    MIXED,
    MOVED,
    SYSTEMS,
    TAIL,
    make_calculator,
    results,
    results_of_all,
    run_dynamics,
    water_box,
)
from reference_data import load_system
from sanitizers import patience
from tolerances import RANKS, RANKS_RELATIVE_ENERGY, RANKS_TRAJECTORY, rounding

from so3md.dynamics.checkpoint import Checkpoint
from so3md.dynamics.outputs import read_log
from so3md.dynamics.record import read_record

# Not imported here: that would bring MPI, by way of ASE, into this process.
pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("mpi4py") is None, reason="mpi4py is not installed (pip install '.[mpi]')"
)

RANK_COUNTS = (1, 2, 3, 4, 8)
SO3MD = ("-m", "so3md")


# --- values ---------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file with the results of this process alone."""
    contents = results_of_all()
    moved = run_dynamics(make_calculator())
    contents["positions"] = moved.positions.copy()
    moved.calc = make_calculator()
    contents[MOVED] = results(moved)
    path = tmp_path_factory.mktemp("expected") / "results.pickle"
    path.write_bytes(pickle.dumps(contents))
    return path


@pytest.fixture(scope="module", params=RANK_COUNTS)
def report(request: pytest.FixtureRequest, expected: Path, tmp_path_factory: pytest.TempPathFactory) -> dict:
    """The differences of some number of ranks from it."""
    return run_checks("parallel_equality.py", request.param, tmp_path_factory.mktemp("run"), expected) | {
        "ranks": request.param
    }


def check(found: dict[str, float], n_atoms: int) -> None:
    """The differences are within RANKS, and the ranks have the same bits."""
    assert found["same on all ranks"]
    assert found["relative energy"] <= RANKS_RELATIVE_ENERGY
    for key in ("energy", "energy alone"):
        assert found[key] <= RANKS.energy_per_atom * n_atoms, key
    for key in ("nn", "zbl", "electrostatics", "dispersion", "energies"):
        assert found[key] <= RANKS.component, key
    for key in ("charges", "hirshfeld_ratios"):
        assert found[key] <= RANKS.charges, key
    assert found["forces"] <= RANKS.forces
    for key in ("stress", "stresses"):
        assert found.get(key, 0.0) <= RANKS.stress, key


def test_results_in_double_precision_are_those_of_one_process(report: dict):
    for name, make in SYSTEMS.items():
        check(report[name], len(make()[0]))
    for name in (EWALD, MESH, TAIL, FIELD):
        check(report[name], len(SYSTEMS["triclinic"]()[0]))
    for name in ("water", "triclinic", "thinner than the cutoffs", EWALD, MESH, TAIL, FIELD):
        assert {"stress", "stresses"} <= report[name].keys()


def test_results_are_the_same_after_atoms_have_gone_from_rank_to_rank(report: dict):
    if report["ranks"] == 1:
        assert MOVED not in report  # nowhere to go
        return
    found = report[MOVED]
    assert found["moved"] > 10
    assert found["rebuilds"] > 5
    assert found["positions"] <= RANKS_TRAJECTORY
    check(found, len(water_box(3)))


@pytest.fixture(scope="module")
def mixed_bounds(so3lr_path: Path) -> dict[str, float]:
    system = load_system("water_64")
    return rounding(so3lr_path, system.structure, lr_cutoff=system.lr_cutoff)


def test_results_in_mixed_precision_differ_by_its_rounding_only(report: dict, mixed_bounds: dict[str, float]):
    found = report[MIXED]
    assert found["same on all ranks"]
    for quantity in ("energy", "energies", "forces", "charges", "hirshfeld_ratios"):
        assert found[quantity] <= mixed_bounds[quantity], quantity


# --- disagreement and failure ---------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def errors(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Every error on three ranks."""
    from toy_models import write_toy_model

    directory = tmp_path_factory.mktemp("errors")
    return run_checks("parallel_disagreements.py", 3, directory, write_toy_model(directory / "toy.safetensors"))


EXPECTED_ERRORS = {
    "positions": r"RanksDisagreeError: .*positions of 1 of 9 differ by up to 1e-12 A, most at atom 5, .* on rank 2",
    "numbers": r"RanksDisagreeError: .*atom 2 is N on rank 2 and O on rank 0",
    "number of atoms": r"RanksDisagreeError: .*rank 2 has 7 atoms and rank 0 has 9",
    "cell": r"RanksDisagreeError: .*cell of 1 of 3 differ by up to 9 A, most at cell vector 1",
    "pbc": r"RanksDisagreeError: .*pbc is \[True, False, False\] on rank 2 and \[False, False, False\] on rank 0",
    "charge": r"RanksDisagreeError: .*charge is -2.0 on rank 2 and 0.0 on rank 0",
    "precision": r"RanksDisagreeError: .*precision is 'mixed' on rank 2 and 'double' on rank 0",
    "cutoff": r"RanksDisagreeError: .*lr_cutoff is None on rank 2 and 12.0 on rank 0",
    "model": r"RanksDisagreeError: .*model is 'toy' on rank 2 and 'so3lr' on rank 0; model_checksum is",
    "one position is not a number": r"RanksDisagreeError: .*most at atom 4, \(.*nan.*\) on rank 2",
    "bad info": r"ValueError: on rank 2 of 3: atoms.info\[\"charge\"\]: expected a finite number, found 'one'",
    "periodic without cutoff": r"ValueError: on rank 2 of 3: lr_cutoff=None is for molecules",
    "forces on one": r"RanksDisagreeError: .*rank 2 asks for forces and rank 0 for the energy only",
    "undefined on one": r"PropertyNotImplementedError: on rank 2 of 3: stress: expected a periodic structure",
    "all positions are not numbers": r"ValueError: the position of atom 4 .* is \(.*nan.*\) A: expected finite numbers",
    "overlap": r"ValueError: atoms [45] and [45] are at the same place",
    "unknown element": r"ValueError: atom 2 is U \(atomic number 92\), for which this model was not trained",
    "unknown model on one": r"FileNotFoundError: on rank 2 of 3: model 'so4lr' is neither",
    "bad parameter on one": r"ValueError: on rank 2 of 3: precision: expected one of mixed, double, found 'half'",
    "no communicator": r"TypeError: comm: expected an mpi4py communicator, .* found 'COMM_WORLD'",
    "pickle": r"TypeError: a calculator with comm cannot be pickled",
    "full disk": r"OSError: no space left",
}


@pytest.mark.parametrize("case", EXPECTED_ERRORS)
def test_all_ranks_raise_one_error_that_says_what_is_wrong(errors: dict[str, str], case: str):
    assert re.match(EXPECTED_ERRORS[case], errors[case]), errors[case]


def test_every_error_is_expected(errors: dict[str, str]):
    assert errors.keys() == EXPECTED_ERRORS.keys()


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ("uncaught", "KeyError: 'a mistake in the script'"),
        ("team", "KeyError: 'a mistake in the script'"),
        ("all", "ValueError: atoms 0 and 1 are at the same place"),
        ("middle", "MemoryError: there is no room"),
    ],
)
def test_an_error_that_nothing_catches_ends_all_ranks_with_one_message(how: str, message: str, tmp_path: Path):
    output = run(3, Path(__file__).parent / "parallel_fatal.py", how, cwd=tmp_path, code=1)
    assert output.count(message) == 1, output
    assert output.count("Traceback") == 1, output
    assert "not reached" not in output


def test_killing_a_rank_ends_the_run_with_a_message(tmp_path: Path):
    output = run(3, Path(__file__).parent / "parallel_fatal.py", "killed", cwd=tmp_path, code=None)
    assert "not reached" not in output
    assert re.search("(?i)kill|signal 9|terminat", output), output


def test_a_rank_that_waits_for_long_says_so_and_goes_on(tmp_path: Path):
    output = run(3, Path(__file__).parent / "parallel_fatal.py", "late", cwd=tmp_path)
    for rank in (0, 1):
        assert output.count(f"so3md: rank {rank} of 3 has waited 0.5 s for the others") == 1, output
    assert "rank 2 of 3 has waited" not in output
    assert len(re.findall("reached", output)) == 3


# --- the command line -----------------------------------------------------------------------------------------------


def serial(*arguments: str, cwd: Path) -> str:
    """What a command prints without mpiexec."""
    command = [sys.executable, *SO3MD, *arguments]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=True, timeout=patience(90)).stdout


def error_line(output: str) -> str:
    """The one line that tells what is wrong; nothing else is told of Python."""
    lines = [line for line in output.splitlines() if line.startswith("Error: ")]
    assert len(lines) == 1, output
    assert "Traceback" not in output
    return lines[0]


def test_md_on_some_ranks_goes_on_with_another_number_and_is_the_run_of_one_process(tmp_path: Path):
    write(tmp_path / "box.xyz", water_box(2))
    options = ("box.xyz", "--precision", "double", "--seed", "4", "--log-interval", "1", "--threads", "1")
    output = run(3, *SO3MD, "md", *options, "--steps", "6", "-o", "run", cwd=tmp_path)
    assert output.count("In run: log.csv, trajectory.xyz, final.xyz, checkpoint.npz, log.png") == 1
    assert output.count("step 6 of 6:") == 1
    assert "3 processes with 1 thread each" in output
    output = run(2, *SO3MD, "md", "--resume", "run", "--steps", "4", cwd=tmp_path)
    assert "Steps 6 to 10" in output
    serial("md", "--resume", "run", "--steps", "2", cwd=tmp_path)
    serial("md", *options, "--steps", "12", "-o", "alone", cwd=tmp_path)
    rows, expected_rows = (read_log(tmp_path / name / "log.csv") for name in ("run", "alone"))
    np.testing.assert_array_equal(rows["step"], np.arange(13))
    for name, values in rows.items():
        np.testing.assert_allclose(values, expected_rows[name], rtol=0, atol=RANKS.forces * 24, err_msg=name)
    found, expected_atoms = (read(tmp_path / name / "final.xyz") for name in ("run", "alone"))
    np.testing.assert_allclose(found.positions, expected_atoms.positions, rtol=0, atol=2e-8)  # eight digits are written
    assert [session["ranks"] for session in read_record(tmp_path / "run")["sessions"]] == [3, 2, 1]


def test_md_says_once_what_is_wrong(tmp_path: Path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "file").touch()
    output = run(2, *SO3MD, "md", "-o", "run", cwd=tmp_path, code=1)
    assert "run has files in it" in error_line(output)
    assert "No such option" in error_line(run(2, *SO3MD, "md", "--stepz", "3", cwd=tmp_path, code=2))


def process_of_rank(rank: int, directory: Path) -> int:
    """The number of the process of a rank, among the programs that run in a directory."""
    for process in Path("/proc").glob("[0-9]*"):
        try:
            here = (process / "cwd").resolve() == directory.resolve()
            if here and re.search(rf"(PMI|OMPI_COMM_WORLD)_RANK={rank}\0", (process / "environ").read_text()):
                return int(process.name)
        except (OSError, UnicodeDecodeError):  # gone, or another user's
            continue
    raise AssertionError(f"there is no process of rank {rank}")


@pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="needs Linux to find the process of a rank")
@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT"])
def test_a_signal_to_one_rank_stops_all_at_the_same_step(name: str, tmp_path: Path):
    write(tmp_path / "ethanol.xyz", molecule("CH3CH2OH"))
    arguments = ("md", "ethanol.xyz", "--steps", "10000000", "--log-interval", "1", "--no-plot", "-o", "run")
    process = start(2, *SO3MD, *arguments, cwd=tmp_path)
    log = tmp_path / "run" / "log.csv"
    deadline = time.monotonic() + 60
    while not (log.exists() and len(log.read_text().splitlines()) > 3):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline, "the run did not begin"
        time.sleep(0.02)
    number = getattr(signal, name)
    os.kill(process_of_rank(1, tmp_path), number)
    output = finish(process)
    assert process.returncode == 128 + number, output
    last = int(log.read_text().splitlines()[-1].split(",")[0])
    assert output.count(f"Stopped after step {last}") == 1, output
    assert Checkpoint.read(tmp_path / "run" / "checkpoint.npz").step == last


def test_relax_and_eval_do_on_two_ranks_what_they_do_on_one(tmp_path: Path):
    atoms = molecule("CH3CH2OH")
    write(tmp_path / "ethanol.xyz", atoms)
    for directory in ("alone", "two"):
        (tmp_path / directory).mkdir()
        write(tmp_path / directory / "ethanol.xyz", atoms)
    arguments = ("relax", "ethanol.xyz", "--precision", "double", "--trajectory", "steps.traj")
    serial(*arguments, cwd=tmp_path / "alone")
    output = run(2, *SO3MD, *arguments, cwd=tmp_path / "two")
    assert output.count("In ethanol-relaxed.xyz: the relaxed structure") == 1
    relaxed, steps = (
        [read(tmp_path / name / file, index=index) for name in ("alone", "two")]
        for file, index in (("ethanol-relaxed.xyz", -1), ("steps.traj", ":"))
    )
    np.testing.assert_allclose(relaxed[1].positions, relaxed[0].positions, rtol=0, atol=2e-8)
    assert len(steps[1]) == len(steps[0])

    write(tmp_path / "two" / "data.xyz", relaxed)
    output = run(2, *SO3MD, "eval", "data.xyz", "--precision", "double", cwd=tmp_path / "two")
    assert output.count("In data-eval: errors.csv, parity.png, summary.csv") == 1
    largest = np.genfromtxt(tmp_path / "two" / "data-eval" / "summary.csv", delimiter=",", skip_header=1)[:, 3]
    assert np.all(largest < 1e-6)


def test_without_mpi4py_or_with_another_mpi_than_that_of_mpiexec_the_user_is_told(tmp_path: Path):
    hiding = tmp_path / "hiding"
    hiding.mkdir()
    (hiding / "mpi4py.py").write_text("raise ImportError('it is hidden')")
    path = os.pathsep.join([str(hiding), os.environ.get("PYTHONPATH", "")])
    for extra, message in (
        ({"PYTHONPATH": path}, "a run of 2 MPI processes needs mpi4py"),
        ({}, "mpiexec started 2 processes, and mpi4py finds 1"),
    ):
        result = subprocess.run(
            [sys.executable, *SO3MD, "md", "--steps", "1"],
            cwd=tmp_path,
            env=os.environ | {"MV2_COMM_WORLD_SIZE": "2", "MV2_COMM_WORLD_RANK": "0"} | extra,
            capture_output=True,
            text=True,
            timeout=patience(60),
        )
        assert result.returncode == 1
        assert message in error_line(result.stderr)


def test_alone_nothing_imports_mpi4py():
    code = "import sys, so3md; so3md.So3kratesCalculator(); import so3md.cli.md; print('mpi4py' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "False\n"


def test_the_example_runs(tmp_path: Path):
    example = Path(__file__).parent.parent / "examples" / "ase" / "mpi" / "water_mpi.py"
    output = run(2, example, "4", cwd=tmp_path)
    temperatures = re.findall(r"step \d: (\d+) K", output)
    assert len(temperatures) == 5
    assert all(200 < float(kelvin) < 400 for kelvin in temperatures)
    assert "on 2 processes with [768, 768] atoms" in output
    assert len(read(tmp_path / "water.traj", index=":")) == 5


# --- threads --------------------------------------------------------------------------------------------------------


def test_ranks_share_the_cores_of_a_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)  # of a user who has said how many threads there shall be
    code = """
import sys
from mpi4py import MPI
from so3md.parallel import MPITeam
sys.stdout.write(f"threads {MPITeam(MPI.COMM_WORLD).threads()}\\n")
"""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    for ranks in (1, 2, 3):
        output = run(ranks, "-c", code, cwd=tmp_path)
        assert output.count(f"threads {max(1, cores // ranks)}") == ranks, output


def test_the_launcher_is_found_next_to_python_first():
    assert mpiexec(2, "script.py")[1:] == ["-n", "2", sys.executable, "script.py"]
