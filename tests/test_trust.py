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
    monkeypatch.setattr(trust, "LADDER", [lambda quick: iter(rungs)])
    monkeypatch.setattr(sys, "argv", ["trust.py", "--quick", "--output", str(tmp_path / "trust.json")])
    assert trust.main() == (0 if holds else 1)
    report = json.loads((tmp_path / "trust.json").read_text())
    assert [rung["holds"] for rung in report["rungs"]] == [True, holds]


def test_a_mean_that_is_off_by_a_thousandth_is_found(trust: ModuleType) -> None:
    """Deviations of means are measured by their own scatter."""
    import trust_dynamics

    values = np.random.default_rng(0).normal(1.0, 0.01, 20_000)
    assert trust_dynamics.deviation("right", values, 1.0).holds
    assert not trust_dynamics.deviation("wrong", values, 1.001).holds
