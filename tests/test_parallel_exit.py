"""A rank that ends early, however it does, does not leave the others waiting under mpiexec."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from parallel_runs import finish, start
from sanitizers import SANITIZERS

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("mpi4py") is None, reason="mpi4py is not installed (pip install '.[mpi]')"
)

#: Seconds within which all ranks must have ended; they start in some five on a busy machine.
LIMIT = 60

#: A program of two ranks: {first} happens on the last rank before the calculator, {last} at the end of it.
PROGRAM = """
import os, sys, time
{imports}
from ase.build import molecule
rank = MPI.COMM_WORLD.rank
{before}
atoms = molecule("H2O")
atoms.calc = so3md.So3kratesCalculator(threads=1, comm=MPI.COMM_WORLD)
atoms.get_potential_energy()
{between}
atoms.positions[0] += 0.01
atoms.get_potential_energy()
print("reached", flush=True)
{after}
"""
IMPORTS = "import so3md\nfrom mpi4py import MPI"


def run(directory: Path, imports: str = IMPORTS, by: tuple[str, ...] = (), **parts: str) -> tuple[int, str]:
    """The exit code and the output of the program on two ranks; `by`: of Python, before the script."""
    script = directory / "program.py"
    script.write_text(PROGRAM.format(**{"before": "", "between": "", "after": "", "imports": imports} | parts))
    process = start(2, *by, script, cwd=directory)
    output = finish(process, LIMIT)
    return process.returncode, output


WAYS = {
    "exception": "if rank == 1: raise KeyError('a mistake in the script')",
    "sys.exit(3)": "if rank == 1: sys.exit(3)",
    "sys.exit(0)": "if rank == 1: sys.exit(0)",
    "SystemExit": "if rank == 1: raise SystemExit('no more')",
    "os._exit(0)": "if rank == 1: os._exit(0)",
    "os._exit(3)": "if rank == 1: os._exit(3)",
}


@pytest.mark.parametrize(
    ("how", "place"),
    [*((how, "between") for how in WAYS), *((how, "before") for how in ("exception", "os._exit(0)", "os._exit(3)"))],
)
def test_the_others_end_as_well(how: str, place: str, tmp_path: Path) -> None:
    code, output = run(tmp_path, **{place: WAYS[how]})
    assert "reached" not in output
    if how == "os._exit(0)":  # Python has no part in it; which code mpiexec makes of it is its own affair
        return
    assert code != 0, output
    ended = "so3md: rank 0 of 2: rank 1 has ended, and the others wait for it to" in output
    if how == "exception":
        assert output.count("KeyError: 'a mistake in the script'") == 1, output
        assert ended or "all ranks are stopped" in output  # who says it first
    elif "_exit" not in how and not SANITIZERS:  # there, a rank may come to wait only when the launcher has ended all
        assert ended, output


@pytest.mark.parametrize("how", ["sys.exit(3)", "SystemExit"])
def test_before_there_is_a_calculator_mpi4py_ends_the_others(how: str, tmp_path: Path) -> None:
    code, output = run(tmp_path, by=("-m", "mpi4py"), before=WAYS[how])
    assert code != 0
    assert "reached" not in output


def test_a_manager_gets_no_messages_but_those_of_its_workers(tmp_path: Path) -> None:
    """Workers end one after the other, while the manager waits for results of any of them with any tag."""
    script = tmp_path / "program.py"
    script.write_text(
        f"{IMPORTS}\nimport time\n"
        "world = MPI.COMM_WORLD\n"
        "if world.rank == 0:\n"
        "    for _ in range(2):\n"
        "        print('got', world.recv(source=MPI.ANY_SOURCE))\n"
        "else:\n"
        "    time.sleep(2.0 * (world.rank - 1))\n"
        "    world.send(world.rank, dest=0)\n"
    )
    process = start(3, script, cwd=tmp_path)
    output = finish(process, LIMIT)
    assert process.returncode == 0, output
    assert sorted(output.split("\n")) == ["", "got 1", "got 2"]


def test_an_exception_where_the_others_wait_for_messages_of_the_script(tmp_path: Path) -> None:
    before = WAYS["exception"] + "\nMPI.COMM_WORLD.Barrier()"
    code, output = run(tmp_path, before=before)
    assert code != 0
    assert output.count("Traceback") == 1, output


def test_an_exception_that_all_ranks_have_is_theirs(tmp_path: Path) -> None:
    code, output = run(tmp_path, before="raise KeyError('a mistake in the script')")
    assert code == 1
    assert "all ranks are stopped" not in output


@pytest.mark.parametrize("imports", [IMPORTS, "from mpi4py import MPI\nimport so3md"])
@pytest.mark.parametrize(
    "after",
    [
        "",
        "sys.exit(0)",
        "time.sleep(4.0 * rank)",  # one rank has work to do when the other has ended
        "if rank == 1: time.sleep(4.0)\nsys.exit(0)",
        "MPI.Finalize()",
        "if rank == 0: MPI.Finalize()\nelse: time.sleep(2.0)",
        "import mpi4py; mpi4py.rc.finalize = False; MPI.COMM_WORLD.Barrier(); MPI.Finalize()",
        "try: sys.exit(3)\nexcept SystemExit: time.sleep(4.0 * rank)",
    ],
)
def test_a_program_that_ends_well_ends_well(after: str, imports: str, tmp_path: Path) -> None:
    code, output = run(tmp_path, imports, after=after)
    assert code == 0, output
    assert output.replace("\n", "") == "reached" * 2  # and nothing else


def test_a_program_of_which_one_rank_alone_uses_so3md_ends_well(tmp_path: Path) -> None:
    script = tmp_path / "program.py"
    script.write_text(
        "from mpi4py import MPI\n"
        "if MPI.COMM_WORLD.rank == 0:\n"
        "    import so3md\n"
        "    so3md.So3kratesCalculator(threads=1)\n"
        "print('reached')\n"
    )
    process = start(2, script, cwd=tmp_path)
    output = finish(process, LIMIT)
    assert process.returncode == 0, output
    assert output.replace("\n", "") == "reached" * 2  # and nothing else


def test_programs_that_do_not_speak_to_each_other_end_well(tmp_path: Path) -> None:
    """Without mpi4py: mpiexec only starts the same program twice. None of them may start MPI."""
    code = "import sys, so3md; so3md.So3kratesCalculator(threads=1); print('mpi4py' in sys.modules)"
    process = start(2, "-c", code, cwd=tmp_path)
    output = finish(process, LIMIT)
    assert process.returncode == 0, output
    assert output.replace("\n", "") == "False" * 2


def test_without_a_launcher_nothing_is_watched(tmp_path: Path) -> None:
    code = "import sys; hook = sys.excepthook; import so3md; print(sys.excepthook is hook, 'mpi4py' in sys.modules)"
    names = ("PMI", "OMPI_COMM", "MV2_COMM", "PMIX")
    environment = {key: value for key, value in os.environ.items() if not key.startswith(names)}
    begin = time.monotonic()
    result = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert result.stdout == "True False\n"
    assert time.monotonic() - begin < LIMIT
