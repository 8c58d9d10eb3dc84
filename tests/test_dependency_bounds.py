"""Every dependency in pyproject.toml is bounded at both ends, and what the tests run with is within the bounds."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import pytest

tomllib = pytest.importorskip("tomllib", reason="Python 3.11 reads pyproject.toml")
requirements = pytest.importorskip("packaging.requirements", reason="pytest brings packaging")

ROOT = Path(__file__).parents[1]


def all_requirements() -> list[str]:
    """Of the build, of the package and of its extras, which name each other, too."""
    document = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    project = document["project"]
    extras = [line for lines in project["optional-dependencies"].values() for line in lines]
    found = sorted({*document["build-system"]["requires"], *project["dependencies"], *extras})
    return [line for line in found if not line.startswith("so3md[")]


def ends(specifier: str) -> set[str]:
    """Which ends a specifier such as ">=1.23,<3" has."""
    signs = {part.rstrip("0123456789.") for part in specifier.split(",") if part}
    return {end for end, those in {"lowest": {">=", "=="}, "highest": {"<", "=="}}.items() if signs & those}


def test_ends_of_specifiers() -> None:
    assert ends(">=1.23") == {"lowest"}
    assert ends("<3") == {"highest"}
    assert ends(">=1.23,<3") == ends("==2025.7.22.4.0") == {"lowest", "highest"}
    assert ends("") == set()


@pytest.mark.parametrize("line", all_requirements())
def test_it_is_bounded_at_both_ends(line: str) -> None:
    requirement = requirements.Requirement(line)
    assert ends(str(requirement.specifier)) == {"lowest", "highest"}, line


@pytest.mark.parametrize("line", all_requirements())
def test_what_is_installed_is_within_the_bounds(line: str) -> None:
    requirement = requirements.Requirement(line)
    if requirement.marker is not None and not requirement.marker.evaluate({"extra": ""}):
        pytest.skip(f"not for this system: {requirement.marker}")
    try:
        installed = version(requirement.name)
    except PackageNotFoundError:
        pytest.skip(f"{requirement.name} is not installed")
    assert requirement.specifier.contains(installed, prereleases=True)
