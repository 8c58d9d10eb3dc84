"""benchmarks/training_step.py: its worker takes steps on all of the batch, and sides that differ are not compared."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from ase import Atoms

torch = pytest.importorskip("torch", reason="training needs PyTorch (extra 'torch')")

from toy_models import write_toy_model  # noqa: E402

from so3md.calculator import So3kratesCalculator  # noqa: E402

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"


@pytest.fixture
def of_benchmarks(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import training_step
    import training_worker

    return SimpleNamespace(step=training_step, worker=training_worker)


def test_the_first_loss_is_that_of_all_energies_and_forces(of_benchmarks: SimpleNamespace, tmp_path: Path) -> None:
    of_benchmarks.step.save_batch(tmp_path / "batch.npz")
    model = write_toy_model(tmp_path / "model.safetensors")
    worker = of_benchmarks.worker.Own(tmp_path, threads=1)
    worker.start()
    first, *later = [worker.step() for _ in range(4)]

    data = np.load(tmp_path / "batch.npz")
    errors = []
    calculator = So3kratesCalculator(model, precision="double", lr_cutoff=None)
    for positions, energy, forces in zip(data["positions"], data["energy"], data["forces"], strict=True):
        atoms = Atoms(data["numbers"], positions, calculator=calculator)
        errors.append((atoms.get_potential_energy() - energy, atoms.get_forces() - forces))
    weights = of_benchmarks.worker
    expected = weights.ENERGY_WEIGHT * np.mean([(energy / len(data["numbers"])) ** 2 for energy, _ in errors])
    expected += weights.FORCES_WEIGHT * np.mean([forces**2 for _, forces in errors])
    assert first == pytest.approx(expected, rel=1e-4)
    assert later[-1] < first


@pytest.mark.parametrize("other", [float("nan"), 1.1])
def test_sides_that_differ_are_refused(of_benchmarks: SimpleNamespace, other: float) -> None:
    processes = {
        name: SimpleNamespace(ask=lambda command, count, loss=loss: {"losses": [loss]})
        for name, loss in ((of_benchmarks.step.OWN, other), (of_benchmarks.step.PEER, 1.0))
    }
    with pytest.raises(SystemExit, match="the sides do not do the same work"):
        of_benchmarks.step.compare_losses(processes, 1)
