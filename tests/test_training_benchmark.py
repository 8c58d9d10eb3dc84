"""benchmarks/training_step.py: its worker takes steps on all of the batch, and sides that differ are not compared."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from ase.build import molecule

torch = pytest.importorskip("torch", reason="training needs PyTorch (extra 'torch')")

from toy_models import write_toy_model  # noqa: E402

from so3md.calculator import So3kratesCalculator  # noqa: E402

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"


@pytest.fixture
def of_benchmarks(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import training_batch_file
    import training_batches
    import training_step
    import training_worker

    return SimpleNamespace(
        step=training_step, worker=training_worker, batches=training_batches, read=training_batch_file.read_batch
    )


def test_the_first_loss_is_that_of_all_energies_and_forces(of_benchmarks: SimpleNamespace, tmp_path: Path) -> None:
    structures = [of_benchmarks.batches.alkane(2), molecule("CH3CH2OH"), molecule("H2O")]
    of_benchmarks.batches.save_batch(tmp_path / "batch.npz", structures)
    model = write_toy_model(tmp_path / "model.safetensors")
    worker = of_benchmarks.worker.Own(tmp_path, threads=1)
    worker.start()
    first, *later = [worker.step() for _ in range(4)]

    energies, forces = [], []
    for atoms, energy, given in of_benchmarks.read(tmp_path / "batch.npz"):
        atoms.calc = So3kratesCalculator(model, precision="double", lr_cutoff=None)
        energies.append((atoms.get_potential_energy() - energy) / len(atoms))
        forces.append(atoms.get_forces() - given)
    weights = of_benchmarks.worker
    expected = weights.ENERGY_WEIGHT * np.mean(np.square(energies))
    expected += weights.FORCES_WEIGHT * np.mean(np.concatenate(forces) ** 2)
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


def test_alkanes_are_those_of_their_formula(of_benchmarks: SimpleNamespace) -> None:
    for carbons in (1, 2, 7):
        atoms = of_benchmarks.batches.alkane(carbons)
        assert atoms.get_chemical_formula() == f"C{carbons}H{2 * carbons + 2}".replace("C1H", "CH")
        distances = atoms.get_all_distances()[np.triu_indices(len(atoms), 1)]
        assert (distances < 1.2).sum() == 2 * carbons + 2  # C-H
        assert ((distances > 1.5) & (distances < 1.6)).sum() >= carbons - 1  # C-C
        assert distances.min() > 1.0
