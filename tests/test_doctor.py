"""`so3md doctor` and `so3md --version`: what is said of this machine is true, and what is broken is found."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from lammps_runs import needs_lammps
from tolerances import MIXED_ENERGY_PER_ATOM, MIXED_WORST_FORCE, REFERENCE

import so3md
from so3md import _engine, load_model
from so3md.build_facts import build_facts
from so3md.cli import main
from so3md.doctor import machine, numbers, programs, software
from so3md.doctor.finding import BROKEN, DOUBT, OFF, OK, Finding
from so3md.lammps import PLUGIN_NAME

if sys.version_info >= (3, 11):
    import tomllib
else:
    tomllib = None


def doctor(*arguments: str, **environment: str) -> tuple[int, dict[str, dict]]:
    """Exit code and findings by topic, in a process of its own."""
    command = [sys.executable, "-m", "so3md", "doctor", "--json", *arguments]
    paths = {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    run = subprocess.run(command, env={**os.environ, **paths, **environment}, capture_output=True, text=True)
    assert "Traceback" not in run.stderr, run.stderr
    return run.returncode, {item["topic"]: item for item in json.loads(run.stdout)["findings"]}


def test_what_is_needed_works_here() -> None:
    code, found = doctor("--no-programs")
    assert code == 0, found
    for topic in ("Python", "ase", "numpy", "instruction set", "numbers, double", "numbers, mixed"):
        assert found[topic]["state"] == OK, found[topic]
    assert found["threads"]["text"].startswith(f"{_engine.default_threads()} by default")


def test_a_line_each_and_what_to_do() -> None:
    result = CliRunner().invoke(main, ["doctor", "--no-programs"], env={"OMP_NUM_THREADS": "none"})
    assert result.exit_code == 0, result.output
    lines = result.output.splitlines()
    assert all(re.match(r"(ok|--|\?\?|!!)  [^:]+: .", line) for line in lines), result.output
    (threads,) = [line for line in lines if line.startswith("??  threads: ")]
    assert " -> OMP_NUM_THREADS is no number above 0" in threads


def test_too_many_threads_are_doubted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1000")
    (found,) = [item for item in machine.findings() if item.topic == "threads"]
    assert found.state == DOUBT
    assert "are slower: export OMP_NUM_THREADS=" in found.advice


def test_an_instruction_set_that_is_none_is_broken_and_so_are_the_numbers() -> None:
    code, found = doctor("--no-programs", SO3MD_INSTRUCTION_SET="mmx")
    assert code == 1
    assert found["instruction set"]["state"] == BROKEN
    assert "unset SO3MD_INSTRUCTION_SET" in found["instruction set"]["advice"]
    assert found["numbers, mixed"]["state"] == BROKEN
    assert (
        CliRunner().invoke(main, ["--version"], env={"SO3MD_INSTRUCTION_SET": "mmx"}).output.count("in use: none") == 1
    )


@pytest.mark.parametrize(
    ("nvcc", "driver", "expected"),
    [
        (True, False, "for GPUs, with {nvcc}: SO3MD_CUDA=ON pip install . in a checkout"),
        (False, True, "install the CUDA toolkit, then SO3MD_CUDA=ON pip install ."),
        (False, False, "none is needed"),
    ],
    ids=["nvcc", "a driver without nvcc", "nothing"],
)
def test_without_the_gpu_library_it_says_what_to_type(tmp_path: Path, nvcc: bool, driver: bool, expected: str) -> None:
    if nvcc:
        write_program(tmp_path / "nvcc", "exit 0")
    found = gpu_in_a_new_process(tmp_path, driver)
    assert found["state"] == OFF
    assert "SO3MD_CUDA=ON pip install ." in found["text"]
    assert expected.format(nvcc=tmp_path / "nvcc") in found["advice"]
    write_program(tmp_path / "of_others", "exit 0")
    others = gpu_in_a_new_process(tmp_path, driver, CUDACXX=str(tmp_path / "of_others"))
    assert f"with {tmp_path / 'of_others'}: " in others["advice"]


def test_a_build_for_a_lesser_processor_is_doubted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SO3MD_INSTRUCTION_SET", raising=False)
    assert machine._instruction_set().state == OK
    monkeypatch.setattr(_engine, "processor_instruction_sets", lambda: [*_engine.instruction_sets(), "avx1024"])
    found = machine._instruction_set()
    assert found.state == DOUBT
    assert found.text.endswith("and avx1024")
    assert found.advice.startswith("install so3md again on this machine")


def gpu_in_a_new_process(folder: Path, driver: bool, **environment: str) -> dict[str, str]:
    """What is found of a GPU where the only programs are those of a folder, and there is no library of the kernels.

    A process that has loaded the library once keeps it.
    """
    program = (
        "import json, sys; from pathlib import Path; from so3md.doctor import machine\n"
        "machine._CUDA_PROGRAMS, machine._NVIDIA_DRIVER = sys.argv[1], Path(sys.argv[2])\n"
        "found = machine._gpu(); print(json.dumps({'state': found.state, 'text': found.text, 'advice': found.advice}))"
    )
    command = [sys.executable, "-c", program, str(folder / "none"), str(folder if driver else folder / "none")]
    inherited = {key: value for key, value in os.environ.items() if key != "CUDACXX"}
    paths = {"PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "PATH": str(folder)}
    places = {"SO3MD_DEVICE_LIBRARIES": str(folder)}
    run = subprocess.run(command, env=inherited | paths | places | environment, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    return json.loads(run.stdout)


def test_numpy_that_is_missing_is_named(tmp_path: Path) -> None:
    (tmp_path / "numpy.py").write_text("raise ImportError('broken on purpose')")
    code, found = doctor("--no-programs", PYTHONPATH=os.pathsep.join([str(tmp_path), *filter(None, sys.path)]))
    assert code == 1
    assert "cannot be imported (broken on purpose)" in found["numpy"]["text"]


def test_other_numbers_are_broken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(numbers, "FORCES", numbers.FORCES + 2 * MIXED_WORST_FORCE)
    assert [item.state for item in numbers.findings()] == [BROKEN, BROKEN]
    monkeypatch.setattr(numbers, "FORCES", float("nan"))
    found = list(numbers.findings())
    assert all(item.fails for item in found)
    assert all("do not use it" in item.advice for item in found)


def test_the_bounds_are_the_published_ones() -> None:
    assert numbers.BOUNDS["double"] == (REFERENCE.energy_per_atom, REFERENCE.forces)
    assert numbers.BOUNDS["mixed"] == (MIXED_ENERGY_PER_ATOM, MIXED_WORST_FORCE)


def test_the_stored_numbers_are_those_of_the_reference_model(so3lr_path: Path) -> None:
    pytest.importorskip("torch", reason="the reference model needs PyTorch (extra 'torch')")
    from so3md.reference import ReferenceModel
    from so3md.structures import read_structure

    atoms = read_structure("water")
    found = ReferenceModel.from_file(so3lr_path).evaluate(atoms.numbers, atoms.positions, atoms.cell.array, atoms.pbc)
    assert abs(found["energy"] - numbers.ENERGY) / len(atoms) < REFERENCE.energy_per_atom
    assert abs(np.sqrt(np.mean(found["forces"] ** 2)) - numbers.FORCES) < REFERENCE.forces


@pytest.mark.skipif(tomllib is None, reason="Python 3.10 has no reader of pyproject.toml")
def test_versions_are_those_of_the_package() -> None:
    project = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    wanted = [
        *project["dependencies"],
        *(line for extra in project["optional-dependencies"].values() for line in extra),
    ]
    bounds = {}
    for line in wanted:
        name, _, versions = line.partition(">=")
        bounds.setdefault(re.split(r"[\[=<; ]", name)[0].lower(), versions.split(";")[0].strip())
    for package in (*software.NEEDED, *software.OPTIONAL):
        lowest, _, below = bounds[package.name.lower()].partition(",<")
        assert package.lowest == tuple(map(int, lowest.split("."))), package
        assert package.below == tuple(map(int, below.split("."))), package
    assert {package.name for package in software.NEEDED} == {line.split(">=")[0] for line in project["dependencies"]}


@pytest.mark.parametrize(("version", "state"), [("3.26.0", BROKEN), ("3.27.0", OK), ("3.30.1", BROKEN), (None, BROKEN)])
def test_versions_that_do_not_fit_are_broken(version: str | None, state: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(software, "installed_version", lambda name: version)
    found = software._package(software.NEEDED[0], needed=True)
    assert found.state == state
    assert ("pip install 'ase>=3.27,<3.30'" in found.advice) == (state == BROKEN)


# --- programs -------------------------------------------------------------------------------------------------------


@needs_lammps
def test_lammps_loads_the_plugin() -> None:
    from lammps_runs import _environment

    environment = {key: value for key, value in _environment().items() if key == "LAMMPS_PLUGIN_PATH"}
    _, found = doctor(**environment)
    assert found["LAMMPS"]["state"] == OK
    assert found["LAMMPS plugin"]["state"] == OK, found["LAMMPS plugin"]
    assert found["MPI"]["state"] in (OK, OFF), found["MPI"]


def write_program(path: Path, text: str) -> None:
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)


def with_programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, **texts: str) -> dict[str, Finding]:
    """The findings where these programs are found first."""
    for name, text in texts.items():
        write_program(tmp_path / name, text)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setattr(programs, "installed_version", lambda name: "4.1.0" if name == "mpi4py" else None)
    monkeypatch.setattr("so3md.lammps.plugin_path", lambda: tmp_path)
    return {item.topic: item for item in programs.findings()}


def test_programs_that_do_not_do_their_work_are_broken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = with_programs(
        tmp_path, monkeypatch, lmp="echo 'LAMMPS (29 Aug 2024)'", mpiexec="echo rank of 1; echo rank of 1"
    )
    assert found["LAMMPS plugin"].state == BROKEN
    assert "LAMMPS (29 Aug 2024) does not load pair_style so3krates" in found["LAMMPS plugin"].text
    assert found["MPI"].state == BROKEN
    assert found["MPI"].advice == "use the mpiexec of the MPI library that mpi4py was built with"


def test_what_failing_programs_say_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = with_programs(
        tmp_path,
        monkeypatch,
        lmp="echo 'ERROR: so3krates plugin is for another'; exit 1",
        mpiexec="echo no slots >&2; exit 3",
    )
    assert "(ERROR: so3krates plugin is for another)" in found["LAMMPS plugin"].text
    assert "(no slots)" in found["MPI"].text
    assert not any(item.fails for item in found.values())


# --- version --------------------------------------------------------------------------------------------------------


def test_the_version_tells_of_the_build() -> None:
    output = CliRunner().invoke(main, ["--version"]).output
    facts = build_facts()
    assert output.splitlines()[0] == f"so3md {so3md.__version__}"
    assert facts["instruction_set"] == _engine.Engine(load_model("so3lr"), threads=1).info()["instruction_set"]
    assert set(_engine.instruction_sets()) <= set(facts["instruction_sets"])
    assert re.match(r"(GCC|Clang) \d+\.", facts["compiler"])
    assert facts["lammps_plugin"] == (Path(so3md.__file__).parent / "lammps" / PLUGIN_NAME).is_file()
    for text in (facts["compiler"], f"in use: {facts['instruction_set']}", f"ASE {facts['ase']}", "LAMMPS plugin: "):
        assert text in output
