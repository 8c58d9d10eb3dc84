"""The loss, and sums of errors from which the logs are made."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from so3md.present import present
from so3md.training.batches import Batch
from so3md.training.config import QUANTITIES, LossConfig
from so3md.training.model import Prediction, TrainableModel

#: Columns of `Errors.sums`: for each quantity the sums of absolute and squared errors, and how many there are.
_COLUMNS = 3
#: How many these are.
SUMS = _COLUMNS * len(QUANTITIES)
#: What a model predicts that has nothing but energies.
_PLAIN = ("energy", "forces")


class Errors:
    """Sums of errors of all quantities over many batches; kept as numbers, so that they can go into a checkpoint."""

    def __init__(self, sums: list[list[float]] | None = None) -> None:
        self.sums = torch.tensor(sums or [[0.0] * _COLUMNS for _ in QUANTITIES], dtype=torch.float64)

    def add(self, sums: Tensor) -> None:
        """Add the sums of a batch, as `compute` returns them."""
        self.sums += sums.cpu()

    def mean(self, quantity: str, power: int) -> float | None:
        """Mean absolute (power 1) or mean squared (power 2) error; None where there were no reference values."""
        row = self.sums[QUANTITIES.index(quantity)]
        return (row[power - 1] / row[2]).item() if row[2] else None

    def mae(self, quantity: str) -> float | None:
        """Mean absolute error."""
        return self.mean(quantity, 1)

    def rmse(self, quantity: str) -> float | None:
        """Root mean square error."""
        square = self.mean(quantity, 2)
        return None if square is None else square**0.5

    def loss(self, config: LossConfig) -> float:
        """The loss over everything that was added."""
        return sum(weight * (self.mean(name, 2) or 0.0) for name, weight in config.weights.items() if weight)


def compute(
    prediction: Prediction, batch: Batch, config: LossConfig, counts: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """The loss of a batch, differentiable, and its sums of errors for `Errors.add`.

    Each quantity adds its weight times the mean of the squared errors of its components; energies are those per atom,
    or of whole structures, as the configuration says. counts: numbers of components, as of `count_known`, of a larger
    batch that this one is a share of; the losses of the shares add up to that of the larger one.
    """
    loss = prediction.energy.new_zeros(())
    rows = []
    for number, name in enumerate(QUANTITIES):
        term = _term(number, prediction, batch, config, counts)
        rows.append(term.sums)
        if config.weights[name] and term.difference is not None:
            loss = loss + term.factor * term.difference.square().sum()
    return loss, torch.stack(rows)


def compute_slopes(
    prediction: Prediction, batch: Batch, config: LossConfig, counts: Tensor | None = None
) -> tuple[Tensor, Tensor, Tensor]:
    """Of a prediction of energies and forces alone: the derivatives of the loss with respect to them, (structures) and
    (n, 3), and the sums of errors. Arguments as of `compute`."""
    terms = [_term(number, prediction, batch, config, counts) for number in range(len(QUANTITIES))]
    by_energy, by_forces = (
        2 * term.factor * present(term.difference) for term in (terms[QUANTITIES.index(name)] for name in _PLAIN)
    )
    if config.energy_per == "atom":
        by_energy = by_energy / batch.counts
    return by_energy, by_forces, torch.stack([term.sums for term in terms])


class _Term(NamedTuple):
    """What a quantity adds to a loss: the factor times the sum of the squares of `difference`, which is zero where
    there is no reference, and None where there is no prediction; and its sums of errors."""

    difference: Tensor | None
    factor: Tensor | float
    sums: Tensor


def _term(number: int, prediction: Prediction, batch: Batch, config: LossConfig, counts: Tensor | None) -> _Term:
    name = QUANTITIES[number]
    difference = _difference(name, prediction, batch, config)
    if difference is None:
        return _Term(None, 0.0, prediction.energy.new_zeros(_COLUMNS, dtype=torch.float64))
    missing = torch.isnan(getattr(batch.targets, name))  # and not of the difference: a prediction may not be NaN
    difference = difference.masked_fill(missing, 0.0)
    errors = difference.detach()
    count = (errors.numel() - missing.sum()).to(errors)
    sums = torch.stack([errors.abs().sum(), errors.square().sum(), count]).double()
    of_all = count if counts is None else counts[number].to(errors)
    return _Term(difference, config.weights[name] / of_all.clamp(min=1), sums)


def count_known(batch: Batch | None) -> Tensor:
    """How many components of each quantity a batch has reference values of (quantities); None: an empty batch."""
    if batch is None:
        return torch.zeros(len(QUANTITIES), dtype=torch.float64)
    return torch.stack([(~torch.isnan(getattr(batch.targets, name))).sum().double().cpu() for name in QUANTITIES])


def predict(model: TrainableModel, batch: Batch, config: LossConfig, create_graph: bool) -> Prediction:
    """The prediction with the derivatives that the loss needs, and forces to log their errors."""
    virial = config.stress > 0
    forces = config.forces > 0 or virial or not create_graph
    return model.predict(batch, forces=forces, virial=virial, create_graph=create_graph)


def _difference(name: str, prediction: Prediction, batch: Batch, config: LossConfig) -> Tensor | None:
    """Predicted less reference values, NaN where there is no reference; None if the model does not predict it."""
    target = getattr(batch.targets, name)
    if name == "energy":
        difference = prediction.energy - target
        return difference / batch.counts if config.energy_per == "atom" else difference
    if name == "stress":
        if prediction.virial is None:
            return None
        # Molecules, whose target is NaN, have no volume: zero times an infinite derivative would be none.
        volume = torch.where(batch.volume > 0, batch.volume, 1)
        return prediction.virial / volume[:, None, None] - target
    value = getattr(prediction, name)
    return None if value is None else value - target
