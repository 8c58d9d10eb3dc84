"""Derivatives along a direction, and an activation with hand-written first and second derivatives, for the heads.

PyTorch differentiates it twice through long chains of elementary operations; forces need exactly that.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

#: PyTorch counts nested derivatives for the whole process, and batches are made by a thread of their own. Those of one
#: thread may be nested: a curvature is the slope of a slope.
_one_at_a_time = threading.RLock()


class _Silu(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return torch.nn.functional.silu(x)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        (x,) = ctx.saved_tensors
        return _SiluSlope.apply(gradient, x)


class _SiluSlope(torch.autograd.Function):
    """gradient * silu'(x)."""

    @staticmethod
    def forward(ctx: Any, gradient: Tensor, x: Tensor) -> Tensor:
        ctx.save_for_backward(gradient, x)
        return torch.ops.aten.silu_backward(gradient, x)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, outer: Tensor) -> tuple[Tensor | None, Tensor | None]:
        gradient, x = ctx.saved_tensors
        by_gradient = torch.ops.aten.silu_backward(outer, x) if ctx.needs_input_grad[0] else None
        if not ctx.needs_input_grad[1]:
            return by_gradient, None
        # silu'' = s (1 - s) (2 + x (1 - 2 s)) with s = sigmoid(x)
        s = torch.sigmoid(x)
        curvature = torch.addcmul(x, x, s, value=-2).add_(2)
        curvature.mul_(torch.addcmul(s, s, s, value=-1)).mul_(gradient).mul_(outer)
        return by_gradient, curvature


def silu(x: Tensor) -> Tensor:
    """x / (1 + exp(-x)), twice differentiable in few operations."""
    return _Silu.apply(x)


def value_and_slope(
    function: Callable[[Tensor], Tensor], x: Tensor, direction: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """A function and its derivative along a direction at each x, without one that of functions of single numbers."""
    with _one_at_a_time:
        value, slope, *_ = torch.func.jvp(function, (x,), (torch.ones_like(x) if direction is None else direction,))
    return value, slope
