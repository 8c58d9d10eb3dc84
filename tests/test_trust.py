"""The ladder of proof: a broken rung is reported, and decides the exit status."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"


@pytest.fixture
def trust(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import trust as module

    return module


@pytest.mark.parametrize(
    ("value", "holds"), [(0.5, True), (1.0, True), (1.5, False), (float("nan"), False), (float("inf"), False)]
)
def test_a_broken_rung_is_said(
    trust: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, value: float, holds: bool
) -> None:
    rungs = [trust.Rung("good", 0.0, 0.0), trust.Rung("another", value, 1.0, "eV")]

    def two(quick):
        yield from rungs

    monkeypatch.setattr(trust, "LADDER", (two,))
    monkeypatch.setattr(sys, "argv", ["trust.py", "--quick", "--output", str(tmp_path / "trust.json")])
    assert trust.main() == (0 if holds else 1)
    report = json.loads((tmp_path / "trust.json").read_text())
    (part,) = report["parts"]
    assert [rung["holds"] for rung in part["rungs"]] == [True, holds]


def test_a_mean_that_is_off_by_a_thousandth_is_found(trust: ModuleType) -> None:
    """Deviations of means are measured by their own scatter."""
    import trust_dynamics

    values = np.random.default_rng(0).normal(1.0, 0.01, 20_000)
    assert trust_dynamics.deviation("right", values, 1.0).holds
    assert not trust_dynamics.deviation("wrong", values, 1.001).holds


def test_parts_are_measured_one_by_one(trust: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """One that is measured again takes its old place, the others stay, and a broken one is not forgotten."""

    def first(quick):
        yield trust.Rung("of the first", 1.0 if quick else 0.5, 0.7)

    def second(quick):
        yield trust.Rung("of the second", 0.0, 0.0)

    output = tmp_path / "trust.json"
    monkeypatch.setattr(trust, "LADDER", (first, second))

    def climb(*words: str) -> tuple[int, list[tuple[str, bool]], list[str]]:
        monkeypatch.setattr(sys, "argv", ["trust.py", "--output", str(output), *words])
        status = trust.main()
        report = json.loads(output.read_text())
        return status, [(part["part"], part["quick"]) for part in report["parts"]], report["not_yet"]

    assert climb("--only", "second") == (0, [("second", False)], ["first"])
    assert climb("--only", "first", "--quick") == (1, [("first", True), ("second", False)], [])
    assert climb("--only", "second") == (1, [("first", True), ("second", False)], [])
    assert climb("--only", "first") == (0, [("first", False), ("second", False)], [])
    assert climb("--quick") == (1, [("first", True), ("second", True)], [])
