"""The public API: the examples in its docstrings work, and the page of the API has all that the guides import."""

from __future__ import annotations

import doctest
import importlib
import re
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGE = DOCS / "python_api.md"
#: Packages that need a program which may be absent.
NEED = {"so3md.training.": "torch", "so3md.reference.": "torch", "so3md.torchsim.": "torch_sim"}

#: The full names on the page.
API = re.findall(r"^\.\. auto(?:class|function):: ([\w.]+)", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
_IMPORT = re.compile(r"^\s*from (so3md[\w.]*) import ([\w, ]+)$", re.MULTILINE)
_BLOCK = re.compile(r"^```python\n(.*?)^```", re.MULTILINE | re.DOTALL)

#: The objects that everybody begins with must have an example.
WITH_EXAMPLES = (
    "so3md.So3kratesCalculator",
    "so3md.evaluate_many",
    "so3md.load_model",
    "so3md.structures.read_structure",
    "so3md.structure_checks.oddities",
    "so3md.dynamics.Settings",
    "so3md.dynamics.Simulation",
    "so3md.evaluation.evaluate",
    "so3md.model_file.ModelFile",
    "so3md.convert.convert",
    "so3md.training.config.read_config",
    "so3md.training.run.Run",
    "so3md.lammps_input.LammpsStructure",
    "so3md.lammps_input.script",
    "so3md.parallel.team_of",
)


def needed(name: str) -> str | None:
    """The program that an object needs."""
    return next((program for package, program in NEED.items() if name.startswith(package)), None)


def named(name: str) -> Any:
    """The object of a full name; skips the test if that needs a program that is absent."""
    module, _, last = name.rpartition(".")
    if program := needed(name):
        pytest.importorskip(program)
    return getattr(importlib.import_module(module), last)


def examples_of(name: str) -> list[doctest.DocTest]:
    """The docstrings of an object and of its members that have examples."""
    thing = named(name)
    module = sys.modules[thing.__module__]
    found = doctest.DocTestFinder().find(thing, name, module=module, globs=dict(vars(module)))
    return [test for test in found if test.examples]


@pytest.mark.parametrize("name", API)
def test_the_examples_in_docstrings_work(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    report: list[str] = []
    runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS)
    for example in examples_of(name):
        runner.run(example, out=report.append)
    assert not runner.failures, "".join(report)


@pytest.mark.parametrize("name", WITH_EXAMPLES)
def test_the_main_entrances_have_examples(name: str) -> None:
    assert name in API
    assert examples_of(name)


def test_public_objects_have_docstrings() -> None:
    for name in API:
        if needed(name) is None:
            assert named(name).__doc__, name


@pytest.mark.parametrize("page", sorted([ROOT / "README.md", *DOCS.rglob("*.md")]), ids=lambda page: page.name)
def test_the_page_of_the_api_has_what_the_guides_import(page: Path) -> None:
    """By the object: it may be imported from another of its places."""
    blocks = "\n".join(_BLOCK.findall(page.read_text(encoding="utf-8")))
    imported = [f"{module}.{name.strip()}" for module, names in _IMPORT.findall(blocks) for name in names.split(",")]
    programs = {needed(name) for name in imported} | {None}
    public = [named(name) for name in API if needed(name) in programs]
    for name in imported:
        assert named(name) in public, f"{page.name} imports {name}, which {PAGE.name} has not"
