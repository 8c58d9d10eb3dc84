"""Low-rank adaptation: of a matrix W0 of the model to go on with, W = W0 + A B is trained, A (m, r) and B (r, n).

The network has W alone, and leaves dL/dW; then dL/dA = dL/dW B^T and dL/dB = A^T dL/dW. (Hu et al., arXiv 2106.09685)
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from so3md.present import present
from so3md.training.model import TrainableModel
from so3md.training.schema import ConfigError


class LowRankChange:
    """The change A B of a stack of matrices in the memory of the model. A begins at random and B at zero, so that the
    model begins as it was.

    The elements of A have the variance 1/r. While B grows by the learning rate with each step, so do the elements of
    A B then, whatever the rank.
    """

    def __init__(self, parameter: nn.Parameter, values: Tensor, rank: int, random: np.random.Generator) -> None:
        """values (..., m, n): matrices in the memory of the parameter, which has a gradient."""
        *stack, m, n = values.shape
        self._values, self._start = values, values.clone()
        offset = values.storage_offset() - parameter.data.storage_offset()
        self._gradient = present(parameter.grad).as_strided(values.shape, values.stride(), offset)
        first = random.standard_normal((*stack, m, rank)) / math.sqrt(rank)
        self.a = nn.Parameter(torch.from_numpy(first).to(values))
        self.b = nn.Parameter(values.new_zeros(*stack, rank, n))

    def merge(self) -> None:
        """Give the model W0 + A B."""
        self._values.copy_(self._start + self.a.data @ self.b.data)

    def differentiate(self) -> None:
        """Gradients of A and B from that of W."""
        present(self.a.grad).copy_(self._gradient @ self.b.data.mT)
        present(self.b.grad).copy_(self.a.data.mT @ self._gradient)


class LowRank:
    """The low-rank changes of all matrices of a model that are trained, whose sides are both longer than the rank.

    changes: by the name of the tensor; rest: trained parameters without one. Raises ConfigError if there is no matrix.
    """

    def __init__(self, model: TrainableModel, trained: Sequence[nn.Parameter], rank: int, seed: int) -> None:
        self.changes: dict[str, LowRankChange] = {}
        self.rest: list[nn.Parameter] = []
        self._gradients: list[Tensor] = []
        random = np.random.default_rng(seed)
        for parameter in trained:
            own = model.views_of(parameter)
            if model.is_of_matrices(parameter) and all(min(value.shape[-2:]) > rank for value in own.values()):
                parameter.grad = torch.zeros_like(parameter)
                self._gradients.append(parameter.grad)
                for name, value in own.items():
                    self.changes[name] = LowRankChange(parameter, value, rank, random)
            else:
                self.rest.append(parameter)
        if not self.changes:
            raise ConfigError(
                f"training.low_rank: no matrix to train has more than {rank} rows and columns; take a lower rank, or "
                "null to train all of each matrix"
            )

    @property
    def factors(self) -> list[nn.Parameter]:
        return [factor for change in self.changes.values() for factor in (change.a, change.b)]

    def zero_gradient(self) -> None:
        for gradient in self._gradients:
            gradient.zero_()

    def merge(self) -> None:
        """Give the model the matrices of the present factors."""
        for change in self.changes.values():
            change.merge()

    def differentiate(self) -> None:
        """Gradients of the factors, from those that the network has left."""
        for change in self.changes.values():
            change.differentiate()
