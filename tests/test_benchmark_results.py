"""Committed results of benchmarks hold numbers, and sides of a comparison that differ are refused."""

from __future__ import annotations

import json
from pathlib import Path
from types import ModuleType

import pytest

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"
RESULTS = sorted(BENCHMARKS.glob("**/results/**/*.json"))


def refuse(constant: str) -> float:
    raise ValueError(f"expected a number, found {constant}")


def test_there_are_results() -> None:
    assert len(RESULTS) > 20


@pytest.mark.parametrize("path", RESULTS, ids=lambda path: path.name)
def test_every_number_is_one(path: Path) -> None:
    json.loads(path.read_text(encoding="utf-8"), parse_constant=refuse)


@pytest.fixture
def sides(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import sides

    return sides


@pytest.mark.parametrize("difference", [1e-3, -2e-3, float("nan"), float("inf")])
def test_sides_that_differ_end_a_benchmark(sides: ModuleType, difference: float) -> None:
    with pytest.raises(SystemExit, match=r"forces: expected less than 0\.001, found"):
        sides.must_agree(difference, 1e-3, "forces")
    sides.must_agree(-9e-4, 1e-3, "forces")
