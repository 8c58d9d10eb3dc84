"""How many threads an evaluation has: what users and containers say, and what the system lets start."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import lammps_runs
import pytest
from lammps_runs import needs_lammps
from sanitizers import patience

from so3md._engine import cpu_quota, default_threads

CORES = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
LINUX = pytest.mark.skipif(sys.platform != "linux", reason="limits of Linux")


def run(code: str, **environment: str) -> str:
    """What a program prints in a process of its own, which must end within a minute."""
    variables = {key: value for key, value in os.environ.items() if key != "OMP_NUM_THREADS"} | environment
    result = subprocess.run(
        [sys.executable, "-c", code], env=variables, capture_output=True, text=True, timeout=patience(60), check=False
    )
    assert result.returncode == 0, result.stderr
    return result.stdout


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A folder that stands before /proc and /sys, to be filled."""
    (tmp_path / "proc" / "self").mkdir(parents=True)
    return tmp_path


def lay(root: Path, groups: str, **limits: str) -> None:
    """Lay out control groups: the lines of /proc/self/cgroup, and files below /sys/fs/cgroup, "__" for "/"."""
    (root / "proc" / "self" / "cgroup").write_text(groups)
    for name, text in limits.items():
        path = root / "sys" / "fs" / "cgroup" / name.replace("__", "/").replace("_max", ".max").replace("_cfs", ".cfs")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text + "\n")


def test_no_control_groups_no_limit(root: Path) -> None:
    assert cpu_quota(str(root)) is None
    lay(root, "0::/\n", cpu_max="max 100000")
    assert cpu_quota(str(root)) is None


def test_quota_of_version_2(root: Path) -> None:
    lay(root, "0::/job/step\n", job__step__cpu_max="400000 100000", job__cpu_max="150000 100000")
    assert cpu_quota(str(root)) == 1.5  # the smallest of the groups around the process


def test_quota_of_a_container_that_sees_its_own_group_as_the_outermost(root: Path) -> None:
    lay(root, "0::/docker/0123abcd\n", cpu_max="200000 100000")
    assert cpu_quota(str(root)) == 2.0


def test_quota_of_version_1(root: Path) -> None:
    groups = "12:memory:/a\n4:cpu,cpuacct:/docker/01\n3:cpuset:/\n0::/\n"
    lay(root, groups, **{"cpu,cpuacct__cpu_cfs_quota_us": "300000", "cpu,cpuacct__cpu_cfs_period_us": "100000"})
    assert cpu_quota(str(root)) == 3.0
    lay(root, groups, **{"cpu,cpuacct__cpu_cfs_quota_us": "-1", "cpu,cpuacct__cpu_cfs_period_us": "100000"})
    assert cpu_quota(str(root)) is None


def test_files_that_hold_no_numbers_are_no_limit(root: Path) -> None:
    lay(root, "0::/a:b/c\nnonsense\n", cpu_max="", **{"a:b__cpu_max": "many 100000", "a:b__c__cpu_max": "100000 0"})
    assert cpu_quota(str(root)) is None


SAY_THREADS = """
from so3md import So3kratesCalculator, evaluate_many, _engine, load_model
print(So3kratesCalculator().engine_info()["threads"], _engine.Engine(load_model("so3lr")).info()["threads"],
      _engine.BatchEngine(load_model("so3lr")).threads, _engine.default_threads())
"""


@pytest.mark.parametrize("given", ["3", "3,2", " 3 "])
def test_the_number_that_users_give_to_all_programs(given: str) -> None:
    assert run(SAY_THREADS, OMP_NUM_THREADS=given).split() == ["3"] * 4


@pytest.mark.parametrize("given", ["", "0", "-2", "many", "2.5", "9" * 30 + "x"])
def test_a_number_that_is_none_is_none(given: str) -> None:
    quota = cpu_quota()
    expected = CORES if quota is None else max(1, min(CORES, int(quota)))
    assert run(SAY_THREADS, OMP_NUM_THREADS=given).split() == [str(expected)] * 4


def test_the_parameter_comes_first() -> None:
    code = "from so3md import So3kratesCalculator as C; print(C(threads=2).engine_info()['threads'])"
    assert run(code, OMP_NUM_THREADS="5") == "2\n"


@LINUX
def test_cores_that_the_process_may_use() -> None:
    core = min(os.sched_getaffinity(0))
    assert run(f"import os; os.sched_setaffinity(0, {{{core}}})" + SAY_THREADS).split() == ["1"] * 4
    assert default_threads() >= 1


#: An evaluation with more threads than the system lets start, twice; then with half as many as it says it lets.
PROGRAM = """
import re, resource
from ase.build import molecule
from so3md import So3kratesCalculator

atoms = molecule("H2O")
atoms.set_cell([3.2, 3.2, 3.2])
atoms.pbc = True
atoms = atoms.repeat(4)  # the atoms of a small molecule are not shared among threads
atoms.calc = So3kratesCalculator(threads=1)
energy = atoms.get_potential_energy()
atoms.calc.set(threads=64)
{limit}
for _ in range(2):  # the second time must not wait for threads that are not there
    try:
        atoms.get_forces()
    except RuntimeError as found:
        message = str(found)
        print(message)
allowed = int(re.search(r"lets only (\\d+) run", message).group(1))
atoms.calc.set(threads=max(1, allowed // 2))
assert atoms.get_potential_energy() == energy
print("and goes on")
"""


def check_refusal(output: str) -> None:
    lines = output.splitlines()
    assert len(lines) == 3, output
    for line in lines[:2]:
        assert line.startswith("64 threads were asked for, and the system lets only "), line
        assert "set threads to" in line
    assert lines[2] == "and goes on"


@LINUX
def test_too_little_memory_for_the_stacks_of_threads() -> None:
    limit = """
used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + 120_000_000, resource.RLIM_INFINITY))
"""
    check_refusal(run(PROGRAM.format(limit=limit)))


@LINUX
@pytest.mark.skipif(not hasattr(os, "getuid") or os.getuid() != 0, reason="only root may become another user")
def test_a_limit_on_the_processes_of_a_user() -> None:
    """The limit does not hold for root, so that the process becomes another user first.

    It keeps root's right to read files, because the folder of the package may be root's alone.
    """
    limit = """
import ctypes, os
libc = ctypes.CDLL(None)
PR_SET_KEEPCAPS, CAPABILITY_VERSION_3, read = 8, 0x20080522, 1 << 1 | 1 << 2  # CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH
assert libc.prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0) == 0
os.setresuid(54321, 54321, 54321)
assert libc.capset((ctypes.c_uint32 * 2)(CAPABILITY_VERSION_3, 0), (ctypes.c_uint32 * 6)(read, read)) == 0
resource.setrlimit(resource.RLIMIT_NPROC, (6, 6))
"""
    check_refusal(run(PROGRAM.format(limit=limit)))


LAMMPS = """
units metal
region box block 0 10 0 10 0 10
create_box 1 box
create_atoms 1 single 5 5 5
mass 1 1.008
pair_style so3krates so3lr threads 1000
pair_coeff * * H
run 0
"""


@LINUX
@needs_lammps
def test_lammps_says_so_too(tmp_path: Path) -> None:
    (tmp_path / "in.lammps").write_text(LAMMPS)
    limited = "ulimit -v 4000000 && exec lmp -in in.lammps"  # kB: 1000 stacks of 8 MB do not fit
    result = lammps_runs.run(["sh", "-c", limited], tmp_path)
    output = result.stdout + result.stderr
    assert result.returncode == 1, output
    assert "ERROR" in output
    assert "1000 threads were asked for, and the system lets only " in output
