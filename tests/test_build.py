"""The build: what lies in the package, what the engine asks of a machine, and that instruction sets are kept apart."""

from __future__ import annotations

import json
import os
import platform
import re
import runpy
import shutil
import subprocess
import sys
import tarfile
from importlib.metadata import metadata
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest

from so3md import _engine

ROOT = Path(__file__).parents[1]
CHECKER = ROOT / "scripts" / "check_kernel_symbols.py"

FOLDERS_OF_CODE = sorted({path.parent for top in ("csrc", "lammps_plugin") for path in (ROOT / top).rglob("*.cpp")})

COMPILER = shutil.which("c++") or shutil.which("g++") or shutil.which("clang++")
NM = shutil.which("nm")
needs_compiler = pytest.mark.skipif(not (COMPILER and NM), reason="needs a C++ compiler and nm to make object files")


#: A constant at the beginning of a line, and the namespace that a file has code for.
CONSTANT = re.compile(r"^(?:inline |static )?constexpr [^=({]*?\b(k[A-Z]\w*)(?:\[\])? ?[={]", re.MULTILINE)
NAMESPACE = re.compile(r"^namespace ([\w:]+) \{", re.MULTILINE)


def constants(pattern: str) -> set[tuple[str, str]]:
    """Namespaces and names of the constants in files of the engine."""
    return {
        (found[1], name)
        for path in (ROOT / "csrc").rglob(pattern)
        if (found := NAMESPACE.search(text := path.read_text()))
        for name in CONSTANT.findall(text)
    }


def test_no_source_has_a_constant_of_its_own_with_the_name_of_a_common_one() -> None:
    """Compiled together with others, as by pip, they would see the wrong one of both, and the compiler says nothing."""
    common, own = constants("*.h"), constants("*.cpp")
    assert {("so3md", "kActivations"), ("so3md", "kNodeBlock")} <= common
    assert ("so3md", "kWidestVector") in own
    assert not common & own


def check_symbols(instruction_set: str, *objects: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, CHECKER, "--nm", NM, "--instruction-set", instruction_set, *objects]
    return subprocess.run([str(part) for part in command], capture_output=True, text=True)


def compile_kernel(folder: Path, namespace: str) -> Path:
    """An object file with a function template that the compiler emits out of line, in a namespace."""
    source = folder / "kernel.cpp"
    source.write_text(
        f"namespace {namespace} {{ template <class T> T twice(T x) {{ return x + x; }} }}\n"
        f"double kernel(double x) {{ return {namespace}::twice(x); }}\n"
    )
    target = source.with_suffix(".o")
    subprocess.run([COMPILER, "-O0", "-c", str(source), "-o", str(target)], check=True)
    return target


@needs_compiler
def test_a_function_that_other_code_could_be_linked_with_is_found(tmp_path: Path) -> None:
    run = check_symbols("avx2", compile_kernel(tmp_path, "so3md::common"))
    assert run.returncode == 1
    assert "twice" in run.stderr


@needs_compiler
def test_a_function_of_another_instruction_set_is_found(tmp_path: Path) -> None:
    assert check_symbols("avx2", compile_kernel(tmp_path, "so3md::cpu::avx512")).returncode == 1


@needs_compiler
def test_a_function_in_the_namespace_of_its_instruction_set_is_accepted(tmp_path: Path) -> None:
    run = check_symbols("avx2", compile_kernel(tmp_path, "so3md::cpu::avx2"))
    assert (run.returncode, run.stderr) == (0, "")


@needs_compiler
@pytest.mark.parametrize("instruction_set", ["portable", "avx2", "avx512"])
def test_kernels_share_no_symbol_with_other_files(instruction_set: str) -> None:
    builds = [path.parent for path in ROOT.glob("build/*/build.ninja")]
    if not builds:
        pytest.skip("the engine was not built in this source tree, so that there are no object files to look at")
    newest = max(builds, key=lambda build: (build / "build.ninja").stat().st_mtime)
    objects = sorted(newest.glob(f"CMakeFiles/so3md_kernels_{instruction_set}.dir/**/*.o"))
    if not objects and instruction_set != "portable":
        pytest.skip(f"this build has no kernels for {instruction_set}")
    assert objects
    run = check_symbols(instruction_set, *objects)
    assert run.returncode == 0, run.stderr


def test_portable_kernels_are_always_there() -> None:
    assert "portable" in _engine.instruction_sets()


@pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="AVX2 is of x86-64")
@pytest.mark.skipif(not Path("/proc/cpuinfo").exists(), reason="the processor's abilities are read from /proc/cpuinfo")
def test_instruction_sets_are_those_that_the_processor_has() -> None:
    flags = set(Path("/proc/cpuinfo").read_text().split("flags", 1)[1].split("\n", 1)[0].split())
    has_avx2 = {"avx2", "fma"} <= flags
    has_avx512 = has_avx2 and {"avx512f", "avx512bw", "avx512dq", "avx512vl"} <= flags
    found = _engine.processor_instruction_sets()
    assert found == ["portable"] + ["avx2"] * has_avx2 + ["avx512"] * has_avx512
    assert _engine.instruction_sets() == [name for name in _engine.build_info()["instruction_sets"] if name in found]


def test_the_package_holds_model_licence_and_structure() -> None:
    package = files("so3md")
    assert (package / "models" / "so3lr.safetensors").is_file()
    assert "MIT" in (package / "models" / "LICENSE.so3lr").read_text()
    assert (package / "structures" / "water_64.xyz").is_file()
    assert metadata("so3md")["License-Expression"] == "MIT"


def test_an_evaluation_needs_none_of_the_extras() -> None:
    code = (
        "import json, sys\n"
        "from ase.build import molecule\n"
        "from so3md import So3kratesCalculator\n"
        "atoms = molecule('H2O', calculator=So3kratesCalculator())\n"
        "assert atoms.get_forces().shape == (3, 3)\n"
        "print(json.dumps(sorted({'torch', 'jax', 'mpi4py', 'lammps'} & set(sys.modules))))\n"
    )
    run = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert json.loads(run.stdout) == []


# --- setup.py ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def setup_script(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What setup.py defines, without building anything."""
    for needed in ("cmake", "ninja", "setuptools"):
        pytest.importorskip(needed)
    import setuptools

    monkeypatch.setattr(setuptools, "setup", lambda **_: None)
    return runpy.run_path(str(ROOT / "setup.py"))


def environment_of_a_build(root: Path, version: str, files: dict[str, str]) -> Path:
    """Packages installed where pip builds, as the two whose headers lie in and outside of the package do."""
    site = root / "lib" / "python3" / "site-packages"
    for name in ("pybind11", "mpich", "cmeel-eigen"):
        info = site / f"{name.replace('-', '_')}-{version}.dist-info"
        info.mkdir(parents=True)
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
        own = [path for path in files if name.partition("-")[0] in path]
        own += [f"{info.name}/METADATA", f"{info.name}/RECORD"]
        (info / "RECORD").write_text("".join(f"{path},,\n" for path in own))
    for path, text in files.items():
        (site / path).parent.mkdir(parents=True, exist_ok=True)
        (site / path).write_text(text)
    return site


def test_headers_stay_where_they_are_from_build_to_build(
    setup_script: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """pip builds in a new place each time; what the compiler sees must not move, or everything is compiled again."""
    files = {"pybind11/include/p.h": "p", "pybind11/library.so": "big", "../../../include/mpich.h": "m"}
    files |= {"cmeel.prefix/include/unsupported/Eigen/FFT": "f", "cmeel.prefix/bin/tool": "big"}
    headers, seen = tmp_path / "headers", []
    for number, version in enumerate(("1.0", "1.0", "2.0")):
        site = environment_of_a_build(tmp_path / f"env{number}", version, files)
        monkeypatch.setattr(sys, "path", [str(site)])
        environment = setup_script["environment_with_headers"](headers)
        assert environment["PYTHONPATH"].split(":")[0] == str(headers / "lib" / "python" / "site-packages")
        seen.append({path: path.stat().st_mtime_ns for path in headers.rglob("*") if path.is_file()})
    names = {str(path.relative_to(headers)) for path in seen[0]}
    assert {"lib/python/site-packages/pybind11/include/p.h", "include/mpich.h"} <= names
    assert "lib/python/site-packages/cmeel.prefix/include/unsupported/Eigen/FFT" in names
    assert not any(name.endswith((".so", "tool")) for name in names)
    assert seen[1] == seen[0]  # untouched
    assert not any("1.0" in str(path) for path in headers.rglob("*"))  # of an old version, nothing is left


@pytest.mark.parametrize(
    ("environment", "expected"),
    [({}, "OFF"), ({"SO3MD_CUDA": "ON"}, "ON"), ({"SO3MD_CUDA": "ON", "CMAKE_ARGS": "-DSO3MD_CUDA=OFF"}, "OFF")],
)
def test_the_gpu_library_is_built_when_it_is_asked_for(
    setup_script: dict[str, Any], monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], expected: str
) -> None:
    for name in ("SO3MD_CUDA", "CMAKE_ARGS"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    given = [option for option in setup_script["options"](in_place=False) if option.startswith("-DSO3MD_CUDA=")]
    assert given[-1] == f"-DSO3MD_CUDA={expected}"  # of several, CMake takes the last


@pytest.mark.parametrize(("in_place", "expected"), [(False, "native"), (True, "all")])
def test_installs_are_for_this_processor_and_builds_in_place_for_all(
    setup_script: dict[str, Any], monkeypatch: pytest.MonkeyPatch, in_place: bool, expected: str
) -> None:
    monkeypatch.delenv("CMAKE_ARGS", raising=False)
    assert f"-DSO3MD_INSTRUCTION_SETS={expected}" in setup_script["options"](in_place=in_place)


def test_libraries_of_an_earlier_build_are_removed(setup_script: dict[str, Any], tmp_path: Path) -> None:
    """An engine must not find kernels of other sources beside it."""
    kept, gone = tmp_path / "_engine.so", [tmp_path / "so3md_cuda.so", tmp_path / "lammps" / "so3kratesplugin.so"]
    (tmp_path / "lammps").mkdir()
    for path in (kept, *gone):
        path.write_text("")
    setup_script["remove_optional_libraries"](tmp_path)
    assert kept.exists()
    assert not any(path.exists() for path in gone)


# --- source archive ---------------------------------------------------------------------------------------------------

#: What a build reads.
BUILT_FROM = ("CMakeLists.txt", "cmake", "csrc", "include", "lammps_plugin", "pyproject.toml", "python", "setup.py")


def make_archive(source: Path, target: Path, seconds: str) -> Path:
    environment = os.environ | {"SOURCE_DATE_EPOCH": seconds}
    command = [sys.executable, "setup.py", "-q", "sdist", "--dist-dir", str(target)]
    subprocess.run(command, cwd=source, env=environment, check=True, capture_output=True)
    (archive,) = target.glob("*.tar.gz")
    return archive


def test_source_archives_are_the_same_bytes_and_have_all_that_a_build_reads(tmp_path: Path) -> None:
    for needed in ("cmake", "ninja", "setuptools"):
        pytest.importorskip(needed)
    if not (ROOT / ".git").exists():
        pytest.skip("needs a checkout, with git, to know which files belong to it")
    names = subprocess.run(
        ["git", "ls-files"], cwd=ROOT, check=True, capture_output=True, text=True
    ).stdout.splitlines()
    archives = []
    for number in range(2):  # copies in other folders, made at other times, files in another order
        source = tmp_path / f"source{number}"
        for name in names if number else reversed(names):
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / name, source / name)
            (source / name).chmod((ROOT / name).stat().st_mode)
            os.utime(source / name, (1e9 + 1e6 * number,) * 2)
        archives.append(make_archive(source, tmp_path / f"dist{number}", "1700000000"))
    assert archives[0].read_bytes() == archives[1].read_bytes()
    with tarfile.open(archives[0]) as archive:
        assert {member.mtime for member in archive} == {1_700_000_000}
        top = archives[0].name.removesuffix(".tar.gz")
        for name in names:
            if name.split("/")[0] in BUILT_FROM:
                assert archive.extractfile(f"{top}/{name}").read() == (ROOT / name).read_bytes(), name
    other = make_archive(tmp_path / "source0", tmp_path / "later", "1700000001")
    assert other.read_bytes() != archives[0].read_bytes()


def configure(build: Path, *options: str) -> str:
    """What CMake says when it configures the engine alone."""
    if shutil.which("cmake") is None or COMPILER is None:
        pytest.skip("needs cmake and a C++ compiler")
    options = ("-DSO3MD_LAMMPS_PLUGIN=OFF", "-DSO3MD_PYTHON=OFF", f"-DPython_EXECUTABLE={sys.executable}", *options)
    run = subprocess.run(["cmake", "-S", str(ROOT), "-B", str(build), *options], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    return run.stdout


def test_a_build_without_gpu_kernels_says_how_to_get_them_where_nvcc_is(tmp_path: Path) -> None:
    nvcc = tmp_path / "nvcc"
    nvcc.write_text("#!/bin/sh\nexit 1\n")
    nvcc.chmod(0o755)
    said = configure(tmp_path / "build", f"-DSO3MD_NVCC={nvcc}")
    assert f"GPU kernels: not built (SO3MD_CUDA=OFF); to build them with {nvcc}: SO3MD_CUDA=ON pip install ." in said


def test_kernels_that_are_native_are_those_of_this_processor(tmp_path: Path) -> None:
    def sets(wanted: str) -> set[str]:
        log = configure(tmp_path / "build", f"-DSO3MD_INSTRUCTION_SETS={wanted}")
        (line,) = [line for line in log.splitlines() if line.startswith("-- Instruction sets of the kernels: ")]
        return set(line.removeprefix("-- Instruction sets of the kernels: ").split(", "))

    assert sets("native") == set(_engine.processor_instruction_sets())
    assert sets("all") >= sets("native")
    assert sets("") == {"portable"}


def test_builds_use_all_cores_that_the_memory_can_feed(
    setup_script: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    for gib, expected in ((1000, cores), (2, 1), (0.5, 1)):
        monkeypatch.setattr(os, "sysconf", lambda name, gib=gib: 1 if name == "SC_PAGE_SIZE" else int(gib * 2**30))
        assert setup_script["default_jobs"]() == expected


@pytest.mark.parametrize("folder", FOLDERS_OF_CODE, ids=lambda folder: folder.name)
def test_files_that_may_be_joined_share_no_constant(folder: Path) -> None:
    """pip compiles a folder as one file (cmake/Together.cmake), in which one name cannot stand for two constants."""
    places: dict[str, set[str]] = {}
    for path in folder.glob("*.cpp"):
        text = path.read_text(encoding="utf-8")
        for line in re.findall(r"^(?:inline |static )*(?:constexpr|const) .*", text, re.MULTILINE):
            for name in re.findall(r"\b(k[A-Z]\w*)(?= *(?:=|\{|\[))", line):
                places.setdefault(name, set()).add(path.name)
    assert {name: files for name, files in places.items() if len(files) > 1} == {}
