"""benchmarks/finetune_forgetting.py: its errors are those of definitions, and the page says what its result says."""

from __future__ import annotations

import json
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="training needs PyTorch (extra 'torch')")

from ase.io import read  # noqa: E402

from so3md import So3kratesCalculator  # noqa: E402
from so3md.structures import example_path  # noqa: E402

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"


@pytest.fixture
def benchmark(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import finetune_forgetting

    return finetune_forgetting


@pytest.fixture
def committed() -> dict:
    return json.loads((BENCHMARKS / "results" / "finetune_forgetting.json").read_text(encoding="utf-8"))


def test_errors_before_are_those_of_the_engine(benchmark: ModuleType, committed: dict) -> None:
    """Of ethanol against its labels. SO3LR is compared with itself elsewhere."""
    errors = []
    for atoms in read(example_path("ethanol"), benchmark.SPLIT.test):
        labels = atoms.get_forces()
        atoms.calc = So3kratesCalculator(benchmark.BASE, precision="double", threads=1)
        errors.append(np.abs(atoms.get_forces() - labels))
    # To the rounding of the processor that the result is from.
    assert committed["before"]["ethanol"] == pytest.approx(1e3 * np.mean(errors), rel=1e-9)
    assert {name: error for name, error in committed["before"].items() if error} == pytest.approx(
        {"ethanol": committed["before"]["ethanol"]}
    )


def test_forces_on_molecules_are_sums_over_their_atoms(benchmark: ModuleType) -> None:
    forces = np.arange(18.0).reshape(6, 3)
    np.testing.assert_array_equal(benchmark.of_molecules(forces), [[9, 12, 15], [36, 39, 42]])


def test_old_structures_have_forces_and_no_energies(benchmark: ModuleType, tmp_path: Path) -> None:
    benchmark.write_old_structures(tmp_path / "old.xyz", benchmark.QUICK, np.random.default_rng(0))
    clusters = read(tmp_path / "old.xyz", ":")
    assert len(clusters) == benchmark.QUICK.clusters
    for atoms in clusters:
        assert atoms.get_chemical_formula() == "H12O6"
        assert atoms.calc.results.keys() == {"forces"}


def test_the_result_is_of_the_ways_of_the_script(benchmark: ModuleType, committed: dict) -> None:
    found = [(way["way"], way["settings"]) for way in committed["ways"]]
    assert found == [(way.name, way.settings) for way in benchmark.WAYS]
    for way in committed["ways"]:
        best = min(way["runs"], key=lambda run: run["validation_loss"] if run["seed"] == 0 else np.inf)
        assert way["learning_rate"] == best["learning_rate"]
        assert {run["seed"] for run in way["runs"] if run["learning_rate"] == way["learning_rate"]} == {0, 1, 2}


def test_the_page_says_what_protects(committed: dict) -> None:
    """Neither ranks nor the head alone keep the forces of water; old structures do, and only those of their kind."""

    def mean(way: str, domain: str) -> float:
        (found,) = (one for one in committed["ways"] if one["way"] == way)
        chosen = [run for run in found["runs"] if run["learning_rate"] == found["learning_rate"]]
        return float(np.mean([run["force_errors_meV_per_A"][domain] for run in chosen]))

    restricted = ("energy head only", "low rank 4", "low rank 16")
    for way in restricted:
        assert mean(way, "ethanol") < 0.1 * committed["before"]["ethanol"], way
        assert mean(way, "ethanol") <= mean("energy head only", "ethanol"), way
        for domain in ("water", "benzene", "acetamide"):
            assert mean(way, domain) > 0.95 * mean("everything", domain), (way, domain)
    least = min(("everything", *restricted), key=lambda way: mean(way, "molecules of water"))
    assert least == "energy head only"
    for way in ("everything", "low rank 16"):
        replayed = f"{way}, with old structures"
        assert mean(replayed, "ethanol") < mean(way, "ethanol") + 5
        assert mean(replayed, "water") < 0.2 * mean(way, "water"), way
        for domain in ("benzene", "acetamide"):
            assert mean(replayed, domain) > 0.8 * mean(way, domain), (way, domain)
