"""What is left out under sanitizers: with a reason, only there, and nothing that does not exist."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from sanitizers import LEFT_OUT, why_left_out

ADDRESS = ("address", "undefined")


@pytest.mark.parametrize(
    ("test", "sanitizers", "left_out"),
    [
        ("test_engine.py::test_double_agrees_with_reference", ADDRESS, False),
        ("test_lammps.py::test_start", (), False),
        ("test_lammps.py::test_start", ADDRESS, True),
        ("test_lammps_input.py::test_data_file", ADDRESS, False),
        ("test_cuda_network.py::test_mixed", ADDRESS, True),
        ("test_engine_symmetry.py::test_evaluations_survive_a_fork", ADDRESS, False),
        ("test_engine_symmetry.py::test_evaluations_survive_a_fork", ("thread",), True),
        ("test_batch.py::test_memory_does_not_grow", ADDRESS, True),
        ("test_batch.py::test_memory_does_not_grow", ("undefined",), False),
    ],
)
def test_by_test_and_sanitizer(test: str, sanitizers: tuple[str, ...], left_out: bool) -> None:
    assert (why_left_out(test, sanitizers) is not None) == left_out


def test_every_rule_matches_a_test() -> None:
    names = [
        f"{path.name}::{name}"
        for path in Path(__file__).parent.glob("test_*.py")
        for name in re.findall(r"def (test_\w+)", path.read_text(encoding="utf-8"))
    ]
    for rule in LEFT_OUT:
        assert any(re.search(rule.pattern, name) for name in names), rule.pattern
