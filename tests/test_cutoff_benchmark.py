"""benchmarks/electrostatics.py: its committed energies are those that the engine gives."""

from __future__ import annotations

import json
from pathlib import Path
from types import ModuleType

import pytest

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"
#: kcal/mol: energies of thousands of eV in double, by another processor.
ROUNDING = 1e-6
#: kcal/mol and degrees: minima are found to forces of 1e-4 eV/A.
MINIMUM = 1e-3


@pytest.fixture
def benchmark(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import electrostatics

    return electrostatics


@pytest.fixture
def committed() -> dict:
    return json.loads((BENCHMARKS / "results" / "electrostatics.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize("number", [1, 10, 21])
def test_energies_of_dimers(number: int, benchmark: ModuleType, committed: dict) -> None:
    expected = committed["s22"][number]
    found = benchmark.s22_of(benchmark.s22[number])
    assert found["dimer"] == expected["dimer"]
    for cutoff, energy in expected["by_cutoff"].items():
        assert found["by_cutoff"][cutoff] == pytest.approx(energy, abs=ROUNDING)


def test_water_at_its_minimum(benchmark: ModuleType, committed: dict, tmp_path: Path) -> None:
    found = benchmark.water_of(None, tmp_path)
    expected = committed["water"][-1]
    for name in ("dimer_kcal_per_mol", "angle_degrees", "bond_A"):
        assert found[name] == pytest.approx(expected[name], abs=MINIMUM)


def test_deviations_are_those_of_the_dimers(benchmark: ModuleType, committed: dict) -> None:
    assert benchmark.deviations(committed["s22"]) == committed["s22_deviations"]


def test_the_crystal_is_whole(benchmark: ModuleType) -> None:
    assert benchmark.urea().get_chemical_formula() == "C2H8N4O2"
    assert benchmark.molecule_of_urea().get_chemical_formula() == "CH4N2O"
