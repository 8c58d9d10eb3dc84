"""Builds so3md._engine by driving CMake; everything else about the package is in pyproject.toml."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from pathlib import Path

import cmake
import ninja
from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

ROOT = Path(__file__).parent.resolve()


class CMakeBuild(build_ext):
    """Configures and builds the CMake target of each extension.

    Environment: CMAKE_ARGS is added to the configuration, CMAKE_BUILD_PARALLEL_LEVEL is the number of jobs (default 2).
    """

    def build_extension(self, ext: Extension) -> None:
        module_path = Path(self.get_ext_fullpath(ext.name)).resolve()
        # A fixed place, unlike setuptools' temporary one, so that a second build compiles only what changed.
        build_dir = ROOT / "build" / f"cmake-{sys.implementation.cache_tag}"
        program = os.path.join(cmake.CMAKE_BIN_DIR, "cmake")
        configure = [
            program,
            *("-S", str(ROOT), "-B", str(build_dir), "-G", "Ninja"),
            f"-DCMAKE_MAKE_PROGRAM={os.path.join(ninja.BIN_DIR, 'ninja')}",
            f"-DPython_EXECUTABLE={sys.executable}",
            f"-DSO3MD_MODULE_DIR={module_path.parent}",
            *shlex.split(os.environ.get("CMAKE_ARGS", "")),
        ]
        jobs = os.environ.get("CMAKE_BUILD_PARALLEL_LEVEL", "2")
        subprocess.run(configure, check=True)
        subprocess.run([program, "--build", str(build_dir), "--target", "_engine", "--parallel", jobs], check=True)
        if not module_path.exists():
            raise RuntimeError(f"the CMake build ended without making {module_path}")


setup(ext_modules=[Extension("so3md._engine", sources=[])], cmdclass={"build_ext": CMakeBuild})
