"""A training step of a model whose energy is a sum over atoms of what the network says of them, and nothing else.

The engine does all but the loss, in two calls. For small molecules that saves PyTorch's records of hundreds of
operations, which take as long as the operations.
"""

from __future__ import annotations

import torch
from torch import Tensor

from so3md.training.batches import Batch
from so3md.training.config import LossConfig
from so3md.training.loss import compute_slopes
from so3md.training.model import FastSo3krates, Prediction, TrainableModel
from so3md.training.native_steps import NativeEnergies
from so3md.training.optimiser import FlatParameters


def is_plain(model: TrainableModel, loss: LossConfig) -> bool:
    """Whether `differentiate` knows all parts of the model and of the loss."""
    if not isinstance(model, FastSo3krates):
        return False
    others = model.charge, model.hirshfeld, model.zbl, model.embedding.charge, model.embedding.spin
    return (
        model.takes_native_steps
        and all(part is None for part in others)
        and not model.has_long_range
        and model.hyper["radial_basis"]["type"] != "gaussian"
        and loss.forces > 0
        and loss.stress == 0
    )


def differentiate(
    model: FastSo3krates,
    parameters: FlatParameters,
    batch: Batch,
    config: LossConfig,
    counts: Tensor | None = None,
) -> Tensor:
    """Make the gradient of the parameters that of the loss of a batch; returns its sums of errors. counts: as of
    `loss.compute`.

    Raises ValueError if the model was moved or converted after its parameters were put in one vector.
    """
    with torch.no_grad():
        steps = NativeEnergies(model.native, batch, parameters.values)
        energies, forces = steps.evaluate()
        prediction = Prediction(batch.sum_structures(energies), forces=forces)
        by_energy, by_forces, sums = compute_slopes(prediction, batch, config, counts)
        steps.differentiate(by_energy.index_select(0, batch.structure), by_forces, parameters.gradient)
    return sums
