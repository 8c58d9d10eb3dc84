"""A training step of a model whose energy is a sum over atoms of what the network says of them, and nothing else.

It does what PyTorch's derivatives of `FastSo3krates.predict` and of the loss do, in the order of the four sweeps
(`node_steps`), and is tested against them. For small molecules that saves PyTorch's records of hundreds of operations,
which take as long as the operations.
"""

from __future__ import annotations

import torch
from torch import Tensor

from so3md.present import present
from so3md.reference.network import EnergyHead
from so3md.training.batches import Batch
from so3md.training.config import LossConfig
from so3md.training.loss import compute_slopes
from so3md.training.model import FastSo3krates, Prediction, TrainableModel
from so3md.training.node_steps import Activation, Dense, Gradients
from so3md.training.pair_forces import along_displacement, by_pair_functions, direction_of_pairs, pair_forces


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


class _HeadSteps:
    """The energy head, in the sweeps of `node_steps`: features (n, F) to energies of atoms over their scales (n, 1)."""

    def __init__(self, head: EnergyHead, activation: str) -> None:
        self.gradients: Gradients = {}
        self._module = head
        dense2 = Dense(head.dense2.weight, head.dense2.bias, "dense2", self.gradients)
        self._chain: list[Dense | Activation] = [dense2]
        if head.dense1 is not None:
            dense1 = Dense(head.dense1.weight, head.dense1.bias, "dense1", self.gradients)
            self._chain = [dense1, Activation(activation), dense2]

    def upwards(self, sweep: str, x: Tensor) -> Tensor:
        for step in self._chain:
            x = getattr(step, sweep)(x)
        return x

    def downwards(self, sweep: str, g: Tensor) -> Tensor:
        for step in reversed(self._chain):
            g = getattr(step, sweep)(g)
        return g

    def add_gradients(self) -> None:
        for name, value in self.gradients.items():
            layer, _, kind = name.partition("_")
            _add(getattr(getattr(self._module, layer), kind), value)


def differentiate(model: FastSo3krates, batch: Batch, config: LossConfig, counts: Tensor | None = None) -> Tensor:
    """Add the gradients of the loss of a batch to those of the parameters; returns its sums of errors. counts: as of
    `loss.compute`.
    """
    geometry, species, structure = present(batch.geometry), batch.species, batch.structure
    with torch.no_grad():
        steps = model.steps(batch, geometry.basis)
        head = _HeadSteps(model.energy, model.hyper["energy_head"]["activation"])
        scale = model.energy.scale.index_select(0, species)
        x = steps.forward(model.embedding.element.index_select(0, species))
        raw = head.upwards("forward", x).squeeze(-1)
        by_x = head.downwards("adjoint", scale[:, None])
        slopes = along_displacement(geometry, *steps.adjoint(by_x))
        forces = pair_forces(len(species), batch.pairs.first, batch.pairs.second, slopes)
        prediction = Prediction(batch.sum_structures(raw * scale), forces=forces)
        by_energy, by_forces, sums = compute_slopes(prediction, batch, config, counts)
        direction = direction_of_pairs(batch.pairs.first, batch.pairs.second, by_forces)
        tangents = steps.tangent(*by_pair_functions(geometry, direction))
        raw_tangents = head.upwards("tangent", tangents).squeeze(-1)
        by_atoms = by_energy.index_select(0, structure)
        by_first = steps.gradient(head.downwards("gradient", (by_atoms * scale)[:, None]))
        for leaf, gradient in zip(steps.parameters, steps.gradients, strict=True):
            _add(leaf, gradient)
        head.add_gradients()
        _add_rows(model.energy.scale, species, torch.addcmul(raw_tangents, by_atoms, raw))
        _add_rows(model.embedding.element, species, by_first)
    return sums


def _add(leaf: Tensor, gradient: Tensor) -> None:
    """Add to the gradient of a parameter, if it is trained."""
    if leaf.requires_grad:
        present(leaf.grad).add_(gradient)


def _add_rows(leaf: Tensor, rows: Tensor, gradient: Tensor) -> None:
    """The same for some rows of a table, which may come several times."""
    if leaf.requires_grad:
        present(leaf.grad).index_add_(0, rows, gradient)
