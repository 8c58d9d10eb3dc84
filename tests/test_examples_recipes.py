"""The recipes run as they are, in shortened form, with the real programs, and say what they should."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from optional_programs import needs
from sanitizers import patience

ROOT = Path(__file__).parent.parent
RECIPES = ROOT / "examples" / "recipes"
PAGES = ROOT / "docs" / "recipes"
TESTED = {
    "openmm_mixed.py",
}


def python(name: str, directory: Path, *arguments: str) -> str:
    """Run a recipe in a directory; returns what it printed. Fails if it does."""
    result = subprocess.run(
        [sys.executable, RECIPES / name, *arguments],
        cwd=directory,
        capture_output=True,
        text=True,
        timeout=patience(300),
    )
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


def numbers(pattern: str, output: str) -> list[float]:
    """The numbers in the groups of a pattern, which the output must have."""
    match = re.search(pattern, output)
    assert match, output
    return [float(text) for text in match.groups()]


def test_every_recipe_is_tested_and_has_its_page() -> None:
    files = {path.name for path in RECIPES.iterdir() if path.is_file()} - {"README.md"}
    assert files == TESTED
    listed = (RECIPES / "README.md").read_text(encoding="utf-8")
    pages = "\n".join(page.read_text(encoding="utf-8") for page in PAGES.glob("*.md"))
    for name in TESTED:
        assert f"`{name}" in listed
        assert f"examples/recipes/{name}" in pages


@needs("openmm", "openmmml")
def test_openmm_mixed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENMM_CPU_THREADS", "1")
    output = python("openmm_mixed.py", tmp_path, "4")
    assert numbers(r"(\d+) atoms by SO3LR, (\d+) by TIP3P", output)[0] == 22
    rows = [row.split(",") for row in output.splitlines() if re.match(r"\d+,", row)]
    assert int(rows[-1][0]) == 4
    assert 100 < float(rows[-1][2]) < 500  # K, from 300
