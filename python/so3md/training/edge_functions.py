"""The sums over pairs with hand-written first and second derivatives.

Forces are gradients, and their errors are differentiated again. PyTorch does both by itself, but with two to three
times as many passes over arrays of the size (edges, F), which is where the time goes. Each function here has an
adjoint, itself a function with a gradient. Edges come in the order of `fast_model.Inputs`: the pairs in one direction,
then in the other.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable


def scores(q: Tensor, k: Tensor, w: Tensor, centre: Tensor, neighbour: Tensor, heads: int) -> Tensor:
    """Sums over the channels of each head of q_i k_j w_ij, eqs. (19) and (21) without their normaliser.

    q, k (n, F); w (pairs, F), the same for both directions; centre, neighbour (2 pairs). Returns (2 pairs, heads).
    """
    return _Scores.apply(q, k, w, centre, neighbour, heads)


def messages(alpha: Tensor, v: Tensor, centre: Tensor, neighbour: Tensor) -> Tensor:
    """Sums over the neighbours of alpha_ij v_j, eq. (20): alpha (2 pairs, heads), v (n, F); returns (n, F)."""
    return _Messages.apply(alpha, v, centre, neighbour)


def _by_head(values: Tensor, heads: int) -> Tensor:
    return values.view(len(values), heads, values.shape[1] // heads)


def _spread(values: Tensor, channels: Tensor) -> Tensor:
    """values (edges, heads) times channels (edges or pairs, F): (edges, F)."""
    edges, heads = values.shape
    rows, features = channels.shape
    directions = edges // rows if rows else 1
    spread = values.view(directions, rows, heads, 1) * channels.view(rows, heads, features // heads)
    return spread.view(edges, features)


def _both(channels: Tensor, w: Tensor) -> Tensor:
    """channels (2 pairs, F), in place, times w (pairs, F)."""
    channels.view(2, *w.shape).mul_(w)
    return channels


def _fold(channels: Tensor) -> Tensor:
    """Sum of both directions: (2 pairs, F) to (pairs, F)."""
    first, second = channels.chunk(2)
    return first + second


def _gather_add(index: Tensor, values: Tensor, rows: int) -> Tensor:
    return values.new_zeros(rows, values.shape[1]).index_add_(0, index, values)


class _Scores(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, q: Tensor, k: Tensor, w: Tensor, centre: Tensor, neighbour: Tensor, heads: int) -> Tensor:
        a, b = q.index_select(0, centre), k.index_select(0, neighbour)
        ctx.save_for_backward(q, k, w, centre, neighbour, a, b)
        ctx.heads = heads
        return _by_head(_both(a * b, w), heads).sum(-1)

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, ...]:
        q, k, w, centre, neighbour, a, b = ctx.saved_tensors
        return *_ScoresAdjoint.apply(
            g, q, k, w, centre, neighbour, a.detach(), b.detach(), ctx.heads, ctx.needs_input_grad[:2]
        ), *(None,) * 3


class _ScoresAdjoint(torch.autograd.Function):
    """From g (2 pairs, heads) to the gradients with respect to q and k (where needed) and w."""

    @staticmethod
    def forward(
        ctx: Any,
        g: Tensor,
        q: Tensor,
        k: Tensor,
        w: Tensor,
        centre: Tensor,
        neighbour: Tensor,
        a: Tensor,
        b: Tensor,
        heads: int,
        needed: tuple[bool, bool],
    ) -> tuple[Tensor | None, Tensor | None, Tensor]:
        ctx.set_materialize_grads(False)
        ctx.heads, ctx.rows = heads, len(q)
        ctx.save_for_backward(g, w, centre, neighbour, a, b)
        by_q = by_k = None
        if needed[0] or needed[1]:
            gw = _spread(g, w)
            by_q = _gather_add(centre, gw * b, len(q)) if needed[0] else None
            by_k = _gather_add(neighbour, gw.mul_(a), len(k)) if needed[1] else None
        return by_q, by_k, _fold(_spread(g, a).mul_(b))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, to_q: Tensor | None, to_k: Tensor | None, to_w: Tensor | None) -> tuple[Any, ...]:
        """The derivative along (to_q, to_k, to_w), and its gradients with respect to q, k and w."""
        g, w, centre, neighbour, a, b = ctx.saved_tensors
        ta = None if to_q is None else to_q.index_select(0, centre)
        tb = None if to_k is None else to_k.index_select(0, neighbour)
        along = torch.zeros_like(a) if ta is None else ta * b  # to_q_i k_j + q_i to_k_j for each edge
        if tb is not None:
            along.addcmul_(a, tb)
        by_w = _fold(_spread(g, along))
        gw = _spread(g, w)
        by_a = torch.zeros_like(a) if tb is None else tb.mul_(gw)
        by_b = torch.zeros_like(a) if ta is None else ta.mul_(gw)
        along = _both(along, w)
        if to_w is not None:
            along.add_(_both(a * b, to_w))
            gt = _spread(g, to_w)
            by_a.addcmul_(gt, b)
            by_b.addcmul_(gt, a)
        by_g = _by_head(along, ctx.heads).sum(-1)
        by_q = _gather_add(centre, by_a, ctx.rows) if ctx.needs_input_grad[1] else None
        by_k = _gather_add(neighbour, by_b, ctx.rows) if ctx.needs_input_grad[2] else None
        return by_g, by_q, by_k, by_w, *(None,) * 6


class _Messages(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, alpha: Tensor, v: Tensor, centre: Tensor, neighbour: Tensor) -> Tensor:
        values = v.index_select(0, neighbour)
        ctx.save_for_backward(alpha, v, centre, neighbour, values)
        return _gather_add(centre, _spread(alpha, values), len(v))

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, ...]:
        alpha, v, centre, neighbour, values = ctx.saved_tensors
        return (
            *_MessagesAdjoint.apply(g, alpha, v, centre, neighbour, values.detach(), ctx.needs_input_grad[1]),
            None,
            None,
        )


class _MessagesAdjoint(torch.autograd.Function):
    """From g (n, F) to the gradients with respect to alpha (2 pairs, heads), and to v (n, F) where needed."""

    @staticmethod
    def forward(
        ctx: Any,
        g: Tensor,
        alpha: Tensor,
        v: Tensor,
        centre: Tensor,
        neighbour: Tensor,
        values: Tensor,
        needed: bool,
    ) -> tuple[Tensor, Tensor | None]:
        ctx.set_materialize_grads(False)
        at_centre = g.index_select(0, centre)
        ctx.save_for_backward(alpha, centre, neighbour, values, at_centre)
        ctx.rows = len(v)
        by_alpha = _by_head(at_centre * values, alpha.shape[1]).sum(-1)
        return by_alpha, _gather_add(neighbour, _spread(alpha, at_centre), len(v)) if needed else None

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, to_alpha: Tensor | None, to_v: Tensor | None) -> tuple[Any, ...]:
        alpha, centre, neighbour, values, at_centre = ctx.saved_tensors
        by_g = by_alpha = by_v = None
        if to_v is not None:
            tv = to_v.index_select(0, neighbour)
            by_alpha = _by_head(tv * at_centre, alpha.shape[1]).sum(-1)
            by_g = _spread(alpha, tv)
        if to_alpha is not None:
            by_v = _gather_add(neighbour, _spread(to_alpha, at_centre), ctx.rows) if ctx.needs_input_grad[2] else None
            direct = _spread(to_alpha, values)
            by_g = direct if by_g is None else by_g.add_(direct)
        if by_g is not None:
            by_g = _gather_add(centre, by_g, ctx.rows)
        return by_g, by_alpha, by_v, *(None,) * 4


class _WithSlope(torch.autograd.Function):
    """`values` as a function of the distance, whose derivative is known."""

    @staticmethod
    def forward(ctx: Any, values: Tensor, slopes: Tensor, distance: Tensor) -> Tensor:
        ctx.save_for_backward(slopes)
        return values.view_as(values)

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor, None, Tensor | None]:
        (slopes,) = ctx.saved_tensors
        return g, None, (g * slopes).sum(-1) if ctx.needs_input_grad[2] else None


def with_slope(values: Tensor, slopes: Tensor, distance: Tensor) -> Tensor:
    """values (pairs, F), with the gradient g . slopes with respect to the distance (pairs)."""
    return _WithSlope.apply(values, slopes, distance)


class _SiluFilter(torch.autograd.Function):
    """silu(g W1 + b1) W2 + b2 and its derivative with respect to the distance, from g and its slope; see `fast_model`.

    Rows of `basis` (2 pairs, K): g, then its slope. weight1 (2, A, K), weight2 (2, F, A), one for each block. Returns
    values and slopes (pairs, F) of the first block, then of the second.
    """

    @staticmethod
    def forward(
        ctx: Any, basis: Tensor, weight1: Tensor, bias1: Tensor, weight2: Tensor, bias2: Tensor
    ) -> tuple[Tensor, ...]:
        pairs, blocks = len(basis) // 2, len(weight1)
        z = torch.bmm(basis.expand(blocks, *basis.shape), weight1.transpose(1, 2))
        z[:, :pairs] += bias1[:, None]
        hidden = torch.empty_like(z)
        torch.ops.aten.silu.out(z[:, :pairs], out=hidden[:, :pairs])
        torch.ops.aten.silu_backward.grad_input(z[:, pairs:], z[:, :pairs], grad_input=hidden[:, pairs:])
        result = torch.bmm(hidden, weight2.transpose(1, 2))
        result[:, :pairs] += bias2[:, None]
        ctx.save_for_backward(basis, weight1, weight2, z, hidden)
        return tuple(part for block in result.unbind() for part in block.chunk(2))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        basis, weight1, weight2, z, hidden = ctx.saved_tensors
        g = torch.cat(gradients).view(2, len(basis), weight2.shape[1])
        pairs = len(basis) // 2
        by_hidden = torch.bmm(g, weight2)
        z, slope = z[:, :pairs], z[:, pairs:]
        by_value, by_slope = by_hidden[:, :pairs], by_hidden[:, pairs:]
        s = torch.sigmoid(z)
        # silu' = s + z s (1 - s), silu'' = s (1 - s) (2 + z (1 - 2 s))
        rest = torch.addcmul(s, s, s, value=-1)
        curvature = torch.addcmul(z, z, s, value=-2).add_(2).mul_(rest).mul_(slope).mul_(by_slope)
        first = s.addcmul_(z, rest)
        by_value.mul_(first).add_(curvature)
        by_slope.mul_(first)
        by_weight1 = torch.bmm(by_hidden.transpose(1, 2), basis.expand(len(weight1), *basis.shape))
        by_basis = torch.bmm(by_hidden, weight1).sum(0) if ctx.needs_input_grad[0] else None
        by_weight2 = torch.bmm(g.transpose(1, 2), hidden)
        return by_basis, by_weight1, by_value.sum(1), by_weight2, g[:, :pairs].sum(1)


def silu_filter(
    basis: Tensor, weight1: Tensor, bias1: Tensor, weight2: Tensor, bias2: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The radial part of eq. (17) and its slope for both blocks, see `_SiluFilter`."""
    return _SiluFilter.apply(basis, weight1, bias1, weight2, bias2)
