"""Activation and layer norm with hand-written first and second derivatives.

PyTorch differentiates these twice through long chains of elementary operations; forces need exactly that.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable


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


class _LayerNorm(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, scale: Tensor, bias: Tensor, epsilon: float) -> Tensor:
        y, mean, inverse = torch.native_layer_norm(x, x.shape[-1:], scale, bias, epsilon)
        ctx.save_for_backward(x, scale, mean, inverse)
        return y

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, ...]:
        x, scale, mean, inverse = ctx.saved_tensors
        return *_LayerNormAdjoint.apply(g, x, scale, mean.detach(), inverse.detach()), None


class _LayerNormAdjoint(torch.autograd.Function):
    """The gradients with respect to x, scale and bias.

    With y = (x - mean) inverse and P(t) = t - <t> - y <t y>, where <> is the mean over the channels, the first is
    inverse P(g scale).
    """

    @staticmethod
    def forward(
        ctx: Any, g: Tensor, x: Tensor, scale: Tensor, mean: Tensor, inverse: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(g, x, scale, mean, inverse)
        return torch.ops.aten.native_layer_norm_backward(
            g, x, x.shape[-1:], mean, inverse, scale, scale, [True, True, True]
        )

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, to_x: Tensor | None, to_scale: Tensor | None, to_bias: Tensor | None) -> tuple[Any, ...]:
        if to_scale is not None or to_bias is not None:
            raise NotImplementedError("forces need no second derivatives along scale and bias of a layer norm")
        if to_x is None:
            return (None,) * 5
        g, x, scale, mean, inverse = ctx.saved_tensors
        y = (x - mean) * inverse
        t = g * scale
        mean_t, mean_ty = t.mean(-1, keepdim=True), (t * y).mean(-1, keepdim=True)
        mean_u, mean_uy = to_x.mean(-1, keepdim=True), (to_x * y).mean(-1, keepdim=True)
        projected_t = (t - mean_t).addcmul_(y, mean_ty, value=-1)
        projected_u = (to_x - mean_u).addcmul_(y, mean_uy, value=-1)
        both = (t * to_x).mean(-1, keepdim=True).addcmul_(mean_t, mean_u, value=-1).addcmul_(mean_ty, mean_uy, value=-1)
        by_x = (y * both).addcmul_(projected_t, mean_uy).addcmul_(projected_u, mean_ty).mul_(-inverse * inverse)
        projected_u.mul_(inverse)
        return projected_u * scale, by_x, (projected_u * g).sum(0), None, None


def layer_norm(x: Tensor, scale: Tensor, bias: Tensor, epsilon: float) -> Tensor:
    """Eq. (23) over the last axis of x (n, F)."""
    return _LayerNorm.apply(x, scale, bias, epsilon)
