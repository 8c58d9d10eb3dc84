"""The recipes of the developer guide name every place where a term of the energy, or a step of the layer, has to be."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
GUIDE = ROOT / "docs" / "developer_guide.md"
TERM, STEP = "How to add a pair term", "How to add a step to the layer"

_ROW = re.compile(r"^\| `(?P<file>[^`]+)` \| `(?P<name>[^`]+)` \| .+ \|$", re.MULTILINE)
SOURCES = ("csrc", "include", "lammps_plugin", "python/so3md")
INSTALLED = ROOT / "python" / "so3md" / "include"  # copies that a build leaves
SUFFIXES = (".h", ".cpp", ".cu", ".py")

#: Files that speak of dispersion, or of its cutoff and damping, and that another term leaves as they are.
ONLY_SPEAK = {
    "csrc/bindings/bindings.h": "the tail beyond the cutoff",
    "csrc/bindings/dispersion_tail.cpp": "the tail beyond the cutoff",
    "csrc/bindings/module.cpp": "the tail beyond the cutoff",
    "csrc/cuda/dispersion_tail.cu": "the tail beyond the cutoff",
    "csrc/cuda/dispersion_tail.h": "the tail beyond the cutoff",
    "csrc/engine/create_engine.cpp": "the tail beyond the cutoff",
    "csrc/physics/dispersion_tail.cpp": "the tail beyond the cutoff",
    "csrc/physics/dispersion_tail.h": "the tail beyond the cutoff",
    "lammps_plugin/pair_checks.cpp": "the tail beyond the cutoff",
    "lammps_plugin/pair_sweeps.cpp": "the tail beyond the cutoff",
    "lammps_plugin/pair_settings.cpp": "the tail beyond the cutoff",
    "python/so3md/calculator_parameters.py": "the tail beyond the cutoff",
    "python/so3md/cli/lammps.py": "the tail beyond the cutoff",
    "python/so3md/dynamics/record.py": "the tail beyond the cutoff",
    "python/so3md/lammps_input/script.py": "the tail beyond the cutoff",
    "csrc/bindings/model.cpp": "the damping of the cutoff",
    "lammps_plugin/pair_restart.cpp": "the damping of the cutoff",
    "lammps_plugin/pair_so3krates.cpp": "the damping of the cutoff",
    "python/so3md/cli/bench.py": "help of an option",
    "python/so3md/cli/common.py": "help of an option",
    "python/so3md/convert/free_atoms.py": "tables of the free atoms",
    "python/so3md/convert/so3lr.py": "the description of SO3LR",
    "python/so3md/convert/source.py": "the damping of the cutoff",
    "python/so3md/long_range.py": "what a user is told of cutoffs",
}


def rows_of(heading: str) -> list[tuple[str, str]]:
    """(file, name) of the table under a heading of the guide."""
    text = GUIDE.read_text(encoding="utf-8").split(f"\n## {heading}\n")[1].split("\n## ")[0]
    rows = [(match["file"], match["name"]) for match in _ROW.finditer(text)]
    assert len(rows) == sum(line.startswith("| `") for line in text.splitlines()), "a row of another form"
    return rows


def files_with(word: str) -> set[str]:
    return {
        str(path.relative_to(ROOT))
        for folder in SOURCES
        for path in (ROOT / folder).rglob("*")
        if path.suffix in SUFFIXES
        and not path.is_relative_to(INSTALLED)
        and word in path.read_text(encoding="utf-8").lower()
    }


@pytest.mark.parametrize("heading", [TERM, STEP])
def test_every_file_of_the_list_has_its_name(heading: str) -> None:
    rows = rows_of(heading)
    assert len({file for file, _ in rows}) == len(rows) > 30
    assert [file for file, _ in rows if not (ROOT / file).is_file()] == []
    missing = [f"{file}: {name}" for file, name in rows if name not in (ROOT / file).read_text(encoding="utf-8")]
    assert missing == []


def test_the_list_of_terms_has_every_file_that_knows_dispersion() -> None:
    found = files_with("dispersion")
    assert found - {file for file, _ in rows_of(TERM)} - ONLY_SPEAK.keys() == set()
    assert [file for file in ONLY_SPEAK if not (ROOT / file).is_file()] == []


def test_the_list_of_steps_has_every_file_that_knows_the_residual_mlp() -> None:
    assert files_with("residual_mlp_1") - {file for file, _ in rows_of(STEP)} == set()
