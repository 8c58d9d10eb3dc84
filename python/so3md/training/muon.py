"""Muon: a step of a matrix is its momentum made orthogonal, so that all directions move by the same length.

A gradient is dominated by few directions, and so is a step of Adam. With its singular values replaced by ones, the rare
directions are learned as well. (Jordan et al. 2024, kellerjordan.github.io/posts/muon; scaled as by Liu et al.,
arXiv 2502.16982.) PyTorch has torch.optim.Muon, but for single matrices and in bfloat16; here, matrices lie in stacks.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch
from torch import Tensor

#: The part of the momentum that stays in a step.
MOMENTUM = 0.95
#: Of x -> a x + b x^3 + c x^5 for the singular values, after Jordan: five times bring 0.002 to 1 into 0.65 to 1.25.
_COEFFICIENTS = (3.4445, -4.7750, 2.0315)
_ITERATIONS = 5
#: The root of the mean square of the elements of a step of Adam, about, in units of the learning rate (Liu et al.).
_STEP_OF_ADAM = 0.2


class Muon:
    """Steps of all matrices that lie in a vector. State: `momentum`, a vector like it."""

    def __init__(self, values: Tensor, gradient: Tensor, matrices: Iterable[Tensor]) -> None:
        """values, gradient (n,): the trained numbers and their gradient. matrices (..., rows, columns): views that have
        each number of `values` once."""
        self._values, self._gradient = values, gradient
        self.momentum = torch.zeros_like(values)
        self._step = torch.empty_like(values)
        groups: dict[tuple[int, int], list[Tensor]] = {}
        for matrix in matrices:
            offset = matrix.storage_offset() - values.storage_offset()
            view = self._step.as_strided(matrix.shape, matrix.stride(), offset)
            view = view.mT if view.shape[-2] > view.shape[-1] else view
            groups.setdefault((view.shape[-2], view.shape[-1]), []).append(view)
        self._groups = [_stacked(views) for views in groups.values()]

    def step(self, learning_rate: float, weight_decay: float) -> None:
        """Change `values` by the present `gradient`; a decay draws them to zero by this part of the learning rate."""
        self.momentum.lerp_(self._gradient, 1 - MOMENTUM)
        torch.lerp(self._gradient, self.momentum, MOMENTUM, out=self._step)
        for stack, places in self._groups:
            for view, place in places:
                place.copy_(view)
            stack.copy_(orthogonal(stack)).mul_(_STEP_OF_ADAM * math.sqrt(stack.shape[-1]))
            for view, place in places:
                view.copy_(place)
        self._values.mul_(1 - learning_rate * weight_decay).sub_(self._step, alpha=learning_rate)


def orthogonal(matrices: Tensor) -> Tensor:
    """For M = U S V^T, nearly U V^T: singular values within 0.65 to 1.25, for those above 0.002 of the norm of M.

    matrices (n, r, c), r <= c; one that is zero stays so.
    """
    a, b, c = _COEFFICIENTS
    norms = torch.linalg.vector_norm(matrices, dim=(-2, -1), keepdim=True)
    x = matrices / norms.clamp_min(torch.finfo(matrices.dtype).tiny)
    for _ in range(_ITERATIONS):
        gram = x @ x.mT
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x


def _stacked(views: list[Tensor]) -> tuple[Tensor, list[tuple[Tensor, Tensor]]]:
    """Room for matrices of one shape as one stack (n, r, c), and each view with its place there."""
    counts = [math.prod(view.shape[:-2]) for view in views]
    stack = views[0].new_empty(sum(counts), *views[0].shape[-2:])
    return stack, [(view, part.view(view.shape)) for view, part in zip(views, stack.split(counts), strict=True)]
