"""The end of a training: errors of the model file by the engine, and the check that PyTorch says the same."""

from __future__ import annotations

import copy
import itertools
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from so3md.batch import evaluate_many
from so3md.calculator import So3kratesCalculator
from so3md.evaluation import Evaluation, evaluate
from so3md.ignored_states import IgnoredStateWarning
from so3md.last_layer import fit, has_last_layer
from so3md.model_file import ModelFile
from so3md.present import present
from so3md.run_directory import write_json
from so3md.training.batches import join
from so3md.training.model import make_model
from so3md.training.on_demand import AtomsOf
from so3md.training.run import MODEL, SUMMARY, Run, make_model_items
from so3md.training.sample import Sample

#: Largest difference between engine and PyTorch, both in double precision: eV for each atom, eV/A.
TOLERANCE = 1e-7
_COMPARED = 20  # structures
_CALIBRATED = 2000  # structures of the validation set, of which more change nothing


@dataclass
class Assessment:
    """Errors of the final model. part: "test", or "validation" where there are no test structures."""

    part: str
    evaluation: Evaluation
    energy_difference: float
    force_difference: float

    @property
    def agrees(self) -> bool:
        """Whether engine and PyTorch give the same."""
        return max(self.energy_difference, self.force_difference) <= TOLERANCE

    def document(self) -> dict[str, Any]:
        return {
            "part": self.part,
            "errors": {name: asdict(errors) for name, errors in self.evaluation.summary().items()},
            "not_compared": self.evaluation.not_compared(),
            "engine_and_torch": {
                "largest_energy_difference_eV_per_atom": self.energy_difference,
                "largest_force_difference_eV_per_A": self.force_difference,
            },
        }


def assess(run: Run) -> Assessment:
    """Evaluate the model file of a run with the engine on the test structures; writes summary.json."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", IgnoredStateWarning)  # said when the data were read
        return _assess(run)


def _assess(run: Run) -> Assessment:
    part = "test" if run.parts["test"] else "validation"
    path = run.directory / MODEL
    run.write_model()
    file = ModelFile.read(path)
    write_uncertainty(path, file, run.parts)
    samples = run.parts[part]
    calculator = So3kratesCalculator(str(path), precision="double")
    evaluation = evaluate([sample.atoms() for sample in samples], calculator, references=samples, offset="none")
    result = Assessment(part, evaluation, *_differences(path, file, samples[:_COMPARED]))
    trainer = run.trainer
    write_json(
        run.directory / SUMMARY,
        result.document()
        | {
            "parameters": file.num_parameters,
            "epoch": trainer.best_epoch,
            "steps": trainer.step,
            "seconds": round(trainer.seconds, 1),
            "validation_loss": trainer.best_loss,
            "structures": {name: len(part) for name, part in run.parts.items()},
        },
    )
    return result


def write_uncertainty(path: Path, file: ModelFile, parts: Mapping[str, Sequence[Sample]]) -> None:
    """Add the last-layer uncertainty to a model file, where there are validation structures with forces."""
    samples = list(itertools.islice((s for s in parts["validation"] if s.forces is not None), _CALIBRATED))
    if not samples or not has_last_layer(file):
        return
    structures = [sample.atoms() for sample in samples]
    found = evaluate_many(structures, str(path), precision="double")
    errors = [
        present(present(prediction).forces) - present(sample.forces)
        for sample, prediction in zip(samples, found, strict=True)
    ]
    file.uncertainty = fit(file, AtomsOf(parts["train"]), list(zip(structures, errors, strict=True)))
    file.write(path)


def _differences(path: Path, file: ModelFile, samples: Sequence[Sample]) -> tuple[float, float]:
    """Largest difference of energies (eV/atom) and forces (eV/A) between engine and PyTorch in double precision."""
    model = make_model(copy.deepcopy(file))
    items = make_model_items(model, samples)
    batch = join(items, model.hyper if model.takes_geometry else None, torch.device("cpu"), torch.float64)
    prediction = model.predict(batch)
    forces = np.split(present(prediction.forces).numpy(force=True), np.cumsum(batch.counts.numpy())[:-1])
    energies = prediction.energy.numpy(force=True)
    found = evaluate_many([sample.atoms() for sample in samples], str(path), precision="double")
    energy, force = [], []
    for item, other, own_energy, own_forces in zip(items, found, energies, forces, strict=True):
        total = own_energy + model.shift[item.batch.species.numpy()].sum()
        energy.append(abs(total - present(other).energy) / len(own_forces))
        force.append(np.abs(own_forces - present(present(other).forces)).max())
    return float(max(energy)), float(max(force))
