"""Tests that a build with sanitizers cannot run, by kind and with the reason; `conftest.py` leaves them out there.

scripts/test_with_sanitizers sets SO3MD_SANITIZE, for its build and for the tests. What is left out is counted and
named with its reason by `pytest -rs`.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from typing import NamedTuple

import pytest

#: Those that the engine was built with, such as ("address", "undefined"); none in a usual build.
SANITIZERS = tuple(filter(None, os.environ.get("SO3MD_SANITIZE", "").split(";")))


#: Why nothing runs LAMMPS there; `needs_lammps` (lammps_runs.py) says it too.
WITHOUT_LAMMPS = "LAMMPS loads a plugin, which is not built with sanitizers"


class LeftOut(NamedTuple):
    """Tests whose "module.py::function" the pattern matches, under one of some sanitizers (none named: under any)."""

    pattern: str
    reason: str
    sanitizers: tuple[str, ...] = ()


LEFT_OUT = (
    LeftOut(
        r"test_(lammps(?!_input)\w*|examples_lammps|cuda_lammps)\.py::",
        WITHOUT_LAMMPS,
    ),
    LeftOut(
        r"test_cuda\w*\.py::",
        "the emulation of a GPU is not built with sanitizers, which do not know the stacks of its fibers",
    ),
    LeftOut(r"test_library\.py::", "programs that link the C library are not built with sanitizers"),
    LeftOut(r"::test_kernels_share_no_symbol_with_other_files", "sanitizers add symbols of their own to object files"),
    LeftOut(
        r"::test_memory_does_not_grow|::test_memory_is_what_comes_on_top_of_the_loaded_model",
        "sanitizers keep freed memory for a while",
        ("address",),
    ),
    LeftOut(
        r"::test_the_package_holds_model_licence_and_structure",
        "it reads the metadata of an installed package, and this one need not be installed",
    ),
    LeftOut(
        r"::test_evaluations_survive_a_fork",
        "the thread sanitizer ends a process that starts threads after a fork",
        ("thread",),
    ),
    LeftOut(
        r"test_parallel_ase\.py::|::test_\w*(ranks|several_processes)\b|test_engine_paper2022_parallel\.py::",
        "the thread sanitizer does not know how MPI's libraries, which are built without it, hand over memory",
        ("thread",),
    ),
    LeftOut(
        r"test_(training(?!_kernels)\w*|reference\w*)\.py::",
        "the thread sanitizer does not know how PyTorch's threads, which are built without it, wait for each other",
        ("thread",),
    ),
)


def patience(seconds: float) -> float:
    """The limit on the time of something that takes far less than these seconds in a usual build."""
    return 10 * seconds if SANITIZERS else seconds


def why_left_out(test: str, sanitizers: Iterable[str] = SANITIZERS) -> str | None:
    """The reason why a test ("module.py::function") is not run under sanitizers; None if it is."""
    here = set(sanitizers)
    for rule in LEFT_OUT:
        if here and (not rule.sanitizers or here & set(rule.sanitizers)) and re.search(rule.pattern, test):
            return rule.reason
    return None


def leave_out(items: Iterable[pytest.Item]) -> None:
    """Mark tests that cannot run here as skipped."""
    for item in items:
        reason = why_left_out(f"{item.path.name}::{getattr(item, 'originalname', item.name)}")
        if reason:
            item.add_marker(pytest.mark.skip(reason=f"left out under {', '.join(SANITIZERS)}: {reason}"))
