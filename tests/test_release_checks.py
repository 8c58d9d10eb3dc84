"""scripts/release_checks: a vulnerable package is named, and one that no service knows does not count as checked."""

from __future__ import annotations

import sys
from importlib.machinery import SourceFileLoader
from importlib.util import module_from_spec, spec_from_loader
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

SCRIPT = Path(__file__).parents[1] / "scripts" / "release_checks"
PACKAGES = {"one": "1.0", "two": "2.0"}
FINDING = {"id": "CVE-1", "fix_versions": ["1.1"]}


@pytest.fixture
def checks(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    loader = SourceFileLoader("release_checks", str(SCRIPT))
    module = module_from_spec(spec_from_loader("release_checks", loader))
    monkeypatch.setitem(sys.modules, "release_checks", module)  # dataclasses look there
    loader.exec_module(module)
    return module


def service(known: dict[str, list[dict[str, Any]]]):
    """What pip-audit says with a service that knows some packages, name -> findings."""

    def answer(packages: dict[str, str]) -> dict[str, Any]:
        entries = [{"name": name, "vulns": known[name]} for name in packages if name in known]
        skipped = [{"name": name, "skip_reason": "not found"} for name in packages if name not in known]
        return {"dependencies": [*entries, *skipped], "fixes": []}

    return answer


def asking(**services):
    """A service that is not named cannot be reached."""

    def ask(name: str, packages: dict[str, str]) -> dict[str, Any] | str:
        return services[name](packages) if name in services else "no connection"

    return ask


def test_a_vulnerable_package_is_named_with_its_remedy(checks: ModuleType) -> None:
    known = {"jinja2": [FINDING], "one": [FINDING], "two": []}
    found = checks.audit(PACKAGES, asking(osv=service(known)))
    assert found.vulnerable == {"one": "1.0: CVE-1, mended in 1.1"}
    assert found.clean == ["two"]
    assert found.unknown == {}


def test_what_no_service_knows_is_not_checked(checks: ModuleType) -> None:
    """pip-audit itself ends well then."""
    found = checks.audit(PACKAGES, asking())
    assert found.unknown == PACKAGES
    assert found.clean == []
    assert found.reasons == ["pypi: no connection", "osv: no connection", "esms: no connection"]


def test_the_next_service_is_asked_for_what_is_left(checks: ModuleType) -> None:
    pypi = service({"jinja2": [FINDING], "one": []})
    osv = service({"jinja2": [FINDING], "two": [FINDING]})
    found = checks.audit(PACKAGES, asking(pypi=pypi, osv=osv))
    assert found.clean == ["one"]
    assert list(found.vulnerable) == ["two"]
    assert found.reasons == ["pypi: does not know two"]


def test_a_service_that_finds_nothing_in_a_vulnerable_package_is_not_believed(checks: ModuleType) -> None:
    found = checks.audit(PACKAGES, asking(pypi=service({"jinja2": [], "one": [], "two": []})))
    assert found.unknown == PACKAGES
    assert found.reasons[0] == "pypi: does not know that jinja2 2.10 is vulnerable"
