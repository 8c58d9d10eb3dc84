"""What this installation of so3md is, and what it was built with."""

from __future__ import annotations

import os
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import so3md

_PACKAGE = Path(__file__).parent
_CUDA = "so3md_cuda.so"
_PLUGIN = Path("lammps") / "so3kratesplugin.so"


def installed_version(distribution: str) -> str | None:
    """The version of a package, by the name that pip has for it; None where it is not installed."""
    try:
        return version(distribution)
    except PackageNotFoundError:
        return None


def chosen_instruction_set() -> str | None:
    """The one that engines use here; None where SO3MD_INSTRUCTION_SET names one that is not usable."""
    from so3md import _engine

    try:
        return _engine.instruction_set()
    except RuntimeError:
        return None


def has_cuda_library() -> bool:
    """Whether the library of the GPU kernels was built, or SO3MD_DEVICE_LIBRARIES has it."""
    return (Path(os.environ.get("SO3MD_DEVICE_LIBRARIES") or _PACKAGE) / _CUDA).is_file()


def build_facts() -> dict[str, Any]:
    """Version, compiler, instruction sets, parts that were built, and versions of the packages that so3md works with.

    instruction_sets: those that were built, also if this processor lacks them; instruction_set: see
    `chosen_instruction_set`.
    """
    from so3md import _engine

    build = _engine.build_info()
    return {
        "so3md": so3md.__version__,
        "folder": str(_PACKAGE),
        "compiler": build["compiler"],
        "instruction_sets": build["instruction_sets"],
        "instruction_set": chosen_instruction_set(),
        "cuda_library": has_cuda_library(),
        "lammps_plugin": (_PACKAGE / _PLUGIN).is_file(),
        "python": platform.python_version(),
        "ase": installed_version("ase"),
        "numpy": installed_version("numpy"),
        "torch": installed_version("torch"),
        "lammps": installed_version("lammps"),
    }


def version_lines() -> list[str]:
    """The same for people, in a few lines; the first has name and version alone."""
    try:
        facts = build_facts()
    except ImportError as error:
        return [f"so3md {so3md.__version__}", f"the engine cannot be loaded ({error}); `so3md doctor` says more"]
    chosen = facts["instruction_set"] or "none: SO3MD_INSTRUCTION_SET names one that is not usable"
    packages = ", ".join(
        f"{name} {facts[name.lower()] or 'not installed'}" for name in ("ASE", "NumPy", "torch", "LAMMPS")
    )
    return [
        f"so3md {facts['so3md']}",
        f"compiled by {facts['compiler']} for {', '.join(facts['instruction_sets'])}; in use: {chosen}",
        f"CUDA library: {_yes_or_no(facts['cuda_library'])}; LAMMPS plugin: {_yes_or_no(facts['lammps_plugin'])}",
        f"Python {facts['python']}, {packages}",
        f"in {facts['folder']}",
    ]


def _yes_or_no(value: bool) -> str:
    return "yes" if value else "no"
