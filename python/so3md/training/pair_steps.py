"""Steps of the network on pairs of atoms, each differentiated by hand; see `node_steps` for the four sweeps.

Arrays of the size (edges, F) are where the time goes, so these are written for few passes over them. A pair is seen
from both of its atoms: edges come in the order of the pairs in one direction, then in the other.
"""

from __future__ import annotations

import torch
from torch import Tensor

from so3md.present import present
from so3md.training.fast_model import FastLayer
from so3md.training.node_steps import Activation, Gradients


class Edges:
    """What the layers are given of a batch: see `Batch` and `Geometry`.

    Edges have two axes, (2, pairs): the direction first. centre, neighbour (2 pairs); basis (2 pairs, K): the radial
    basis of each pair, then its slope; phi (2, pairs, 1), harmonics and phi_harmonics (2, pairs, M).
    """

    def __init__(
        self, first: Tensor, second: Tensor, atoms: int, basis: Tensor, phi: Tensor, harmonics: Tensor, sign: Tensor
    ) -> None:
        self.first, self.second, self.atoms = first, second, atoms
        self.centre, self.neighbour = torch.cat([first, second]), torch.cat([second, first])
        # Rows of queries, keys and values of features, queries and keys of coordinates (5, n, F), put below each other.
        rows = (self.centre, self.neighbour, self.neighbour, self.centre, self.neighbour)
        self.rows = torch.cat([index + atoms * number for number, index in enumerate(rows)])
        self.basis = basis.detach()
        self.by_basis = torch.zeros_like(self.basis) if basis.requires_grad else None
        self.sign = sign
        self.phi_of_pairs = phi
        self.phi = phi.expand(2, -1).unsqueeze(-1)
        self.harmonics = self.both(harmonics)
        self.phi_harmonics = self.harmonics * self.phi
        self.by_phi, self.by_phi_harmonics = phi.new_zeros(2, len(phi)), torch.zeros_like(self.harmonics)
        self.by_distance = torch.zeros_like(phi)

    def __len__(self) -> int:
        """Number of pairs."""
        return len(self.first)

    def both(self, harmonics: Tensor) -> Tensor:
        """Harmonics of pairs as those of edges: reversing a direction changes the sign of odd degrees."""
        return torch.stack([harmonics, harmonics * self.sign])

    def adjoint(self) -> tuple[Tensor, Tensor, Tensor]:
        """From what the steps have summed up: dE/d(distance) (pairs), dE/d(phi) (pairs), dE/d(harmonics) (pairs, M)."""
        by_harmonics = self.by_phi_harmonics * self.phi
        by_phi = self.by_phi + (self.by_phi_harmonics * self.harmonics).sum(-1)
        by_harmonics = torch.addcmul(by_harmonics[0], by_harmonics[1], self.sign)
        return self.by_distance.clone(), by_phi.sum(0), by_harmonics

    def tangent(self, distance: Tensor, phi: Tensor, harmonics: Tensor) -> None:
        """Derivatives along the direction, (pairs), (pairs) and (pairs, M)."""
        self.distance_tangents, self.phi_tangents_of_pairs = distance, phi
        self.phi_tangents = phi.expand(2, -1).unsqueeze(-1)
        self.phi_harmonics_tangents = self.both(harmonics).mul_(self.phi).addcmul_(self.harmonics, self.phi_tangents)

    def at_centre(self, values: Tensor) -> Tensor:
        """Values of atoms (n, C) at the centre of each edge: (2, pairs, C)."""
        return values.index_select(0, self.centre).view(2, len(self), values.shape[1])

    def sum_at_centre(self, values: Tensor) -> Tensor:
        """Sums of values (2, pairs, ...) over the edges of each atom: (n, C)."""
        values = values.flatten(2).flatten(0, 1)
        return values.new_zeros(self.atoms, values.shape[1]).index_add_(0, self.centre, values)


def signs(degrees: list[int]) -> Tensor:
    """Signs (M) that the harmonics get if the direction is reversed."""
    return torch.tensor([(-1.0) ** degree for degree in degrees for _ in range(2 * degree + 1)])


def _fold(values: Tensor, out: Tensor) -> None:
    """Sum over both directions, (2, pairs, ...) to (pairs, ...)."""
    torch.add(values[0], values[1], out=out)


class RadialFilters:
    """The radial part of eq. (17) for both blocks, and its slope with respect to the distance."""

    def __init__(self, module: FastLayer, edges: Edges, activation: str, gradients: Gradients) -> None:
        self.module, self.edges, self.gradients = module, edges, gradients
        self.activation = Activation(activation)

    def forward(self, bias: Tensor) -> tuple[Tensor, Tensor]:
        """Values and slopes, (2, pairs, F) each; bias (2, F)."""
        p, basis, pairs = self.module, self.edges.basis, len(self.edges)
        z = torch.bmm(basis.expand(2, *basis.shape), p.radial1_weight.transpose(1, 2))
        values, self.z_slopes = z[:, :pairs].add_(p.radial1_bias[:, None]), z[:, pairs:]
        self.hidden = torch.empty_like(z)
        self.hidden[:, :pairs] = self.activation.forward(values)
        torch.mul(self.activation.slope, self.z_slopes, out=self.hidden[:, pairs:])
        result = torch.bmm(self.hidden, p.radial2_weight.transpose(1, 2))
        return result[:, :pairs].add_(bias[:, None]), result[:, pairs:]

    def gradient(self, m: Tensor, adjoints: Tensor) -> None:
        """From dL/dw and dE/dw, (2, pairs, F) each, to the gradients of the parameters."""
        p, edges, pairs = self.module, self.edges, len(self.edges)
        m = torch.cat([m, adjoints * edges.distance_tangents[:, None]], dim=1)
        self.gradients["radial2_weight"] = torch.bmm(m.transpose(1, 2), self.hidden)
        by_hidden = torch.bmm(m, p.radial2_weight)
        by_value, by_slope = by_hidden[:, :pairs], by_hidden[:, pairs:]
        curvature = self.activation.curvature().mul_(self.z_slopes).mul_(by_slope)
        by_value.mul_(self.activation.slope).add_(curvature)
        by_slope.mul_(self.activation.slope)
        basis = edges.basis.expand(2, *edges.basis.shape)
        self.gradients["radial1_weight"] = torch.bmm(by_hidden.transpose(1, 2), basis)
        self.gradients["radial1_bias"] = by_value.sum(1)
        if edges.by_basis is not None:
            edges.by_basis.add_(torch.bmm(by_hidden, p.radial1_weight).sum(0))


class Filters:
    """Eq. (17) of the feature and the coordinate block: (2, pairs, F).

    The radial part depends on nothing but the distance: values and slopes with respect to it are computed together,
    and no other derivative with respect to positions is needed. chi None: zero, and so are all invariants.
    """

    def __init__(
        self, module: FastLayer, edges: Edges, radial: RadialFilters, activation: str, gradients: Gradients
    ) -> None:
        self.module, self.edges, self.radial, self.gradients = module, edges, radial, gradients
        self.spherical = Activation(activation)

    def forward(self, chi: Tensor | None) -> Tensor:
        p = self.module
        bias = p.radial2_bias + p.spherical2_bias
        self.chi = chi
        if chi is None:
            self.spherical_hidden = self.spherical.forward(p.spherical1_bias)[:, None]
            bias = torch.baddbmm(bias[:, None], self.spherical_hidden, p.spherical2_weight.transpose(1, 2)).squeeze(1)
        w, self.slopes = self.radial.forward(bias)
        if chi is None:
            return w
        self.difference = self._difference(chi)
        self.m = ((self.difference * self.difference) @ p.invariant).expand(2, -1, -1)
        z = torch.baddbmm(p.spherical1_bias[:, None], self.m, p.spherical1_weight.transpose(1, 2))
        self.spherical_hidden = self.spherical.forward(z)
        return w.baddbmm_(self.spherical_hidden, p.spherical2_weight.transpose(1, 2))

    def adjoint(self, g: Tensor) -> Tensor | None:
        """dE/d(chi), None for None; the derivative with respect to the distance is added to `edges`."""
        self.g = g
        self.edges.by_distance.add_((g * self.slopes).sum((0, 2)))
        if self.chi is None:
            return None
        self.by_z = self.spherical.adjoint(torch.bmm(g, self.module.spherical2_weight))
        self.by_squares = torch.bmm(self.by_z, self.module.spherical1_weight).sum(0) @ self.module.invariant.T
        return self._difference_adjoint((self.difference * self.by_squares).mul_(2))

    def tangent(self, chi: Tensor | None) -> Tensor:
        w = self.slopes * self.edges.distance_tangents[:, None]
        if self.chi is None:
            return w
        p = self.module
        self.difference_tangents = self._difference(present(chi))
        self.m_tangents = (self.difference * self.difference_tangents).mul_(2).matmul(p.invariant).expand(2, -1, -1)
        z = torch.bmm(self.m_tangents, p.spherical1_weight.transpose(1, 2))
        self.spherical_tangents = self.spherical.tangent(z)
        return w.baddbmm_(self.spherical_tangents, p.spherical2_weight.transpose(1, 2))

    def gradient(self, m: Tensor) -> Tensor | None:
        """From dL/dw (2, pairs, F) to dL/d(chi), None for None."""
        self.radial.gradient(m, self.g)
        by_bias = m.sum(1)
        self.gradients["radial2_bias"] = self.gradients["spherical2_bias"] = by_bias
        if self.chi is None:
            self._constant_gradient(by_bias[:, :, None])
            return None
        by_squares = self._spherical_gradient(m) @ self.module.invariant.T
        by_difference = (self.difference * by_squares).addcmul_(self.difference_tangents, self.by_squares)
        return self._difference_adjoint(by_difference.mul_(2))

    def _constant_gradient(self, by_bias: Tensor) -> None:
        """Where all invariants are zero, the spherical part is one vector."""
        p = self.module
        self.gradients["spherical2_weight"] = by_bias * self.spherical_hidden
        by_hidden = torch.bmm(by_bias.transpose(1, 2), p.spherical2_weight).squeeze(1)
        self.gradients["spherical1_bias"] = self.spherical.gradient(by_hidden)
        self.gradients["spherical1_weight"] = torch.zeros_like(p.spherical1_weight)

    def _spherical_gradient(self, m: Tensor) -> Tensor:
        """To the gradient with respect to the invariants."""
        p, gradients = self.module, self.gradients
        weight2 = torch.bmm(m.transpose(1, 2), self.spherical_hidden)
        gradients["spherical2_weight"] = weight2.baddbmm_(self.g.transpose(1, 2), self.spherical_tangents)
        by_z = self.spherical.gradient(torch.bmm(m, p.spherical2_weight))
        weight1 = torch.bmm(by_z.transpose(1, 2), self.m)
        gradients["spherical1_weight"] = weight1.baddbmm_(self.by_z.transpose(1, 2), self.m_tangents)
        gradients["spherical1_bias"] = by_z.sum(1)
        return torch.bmm(by_z, p.spherical1_weight).sum(0)

    def _difference(self, chi: Tensor) -> Tensor:
        return chi.index_select(0, self.edges.second).sub_(chi.index_select(0, self.edges.first))

    def _difference_adjoint(self, g: Tensor) -> Tensor:
        result = g.new_zeros(len(present(self.chi)), g.shape[1]).index_add_(0, self.edges.second, g)
        return result.index_add_(0, self.edges.first, g, alpha=-1)


class Scores:
    """Sums over the channels of each head of q_i k_j w_ij, eqs. (19) and (21) without their normaliser.

    a and b (2, pairs, heads, width): q at the centre and k at the neighbour of each edge; w (pairs, heads, width).
    Returns (2, pairs, heads). moves: whether a and b depend on positions.
    """

    def __init__(self, moves: bool) -> None:
        self.moves = moves

    def forward(self, a: Tensor, b: Tensor, w: Tensor) -> Tensor:
        self.a, self.b, self.w = a, b, w
        self.products = a * b
        return (self.products * w).sum(-1)

    def adjoint(self, g: Tensor, by_a: Tensor | None, by_b: Tensor | None, by_w: Tensor) -> None:
        """Writes dE/dw to `by_w`, and dE/da and dE/db, if they move."""
        self.g = g.unsqueeze(-1)
        _fold(self.products * self.g, by_w)
        if self.moves:
            self.weighted = self.w * self.g
            torch.mul(self.weighted, self.b, out=by_a)
            torch.mul(self.weighted, self.a, out=by_b)

    def tangent(self, a: Tensor | None, b: Tensor | None, w: Tensor) -> Tensor:
        self.w_tangents = w
        along = self.products * w
        if self.moves:
            self.a_tangents, self.b_tangents = present(a), present(b)
            self.products_tangents = (self.a_tangents * self.b).addcmul_(self.a, self.b_tangents)
            along.addcmul_(self.products_tangents, self.w)
        return along.sum(-1)

    def gradient(self, m: Tensor, by_a: Tensor, by_b: Tensor, by_w: Tensor) -> None:
        """Writes dL/da, dL/db and dL/dw."""
        m = m.unsqueeze(-1)
        by_products = self.products * m
        weighted = (self.w * m).addcmul_(self.w_tangents, self.g)
        torch.mul(weighted, self.b, out=by_a)
        torch.mul(weighted, self.a, out=by_b)
        if self.moves:
            by_products.addcmul_(self.products_tangents, self.g)
            by_a.addcmul_(self.weighted, self.b_tangents)
            by_b.addcmul_(self.weighted, self.a_tangents)
        _fold(by_products, by_w)


class Messages:
    """Sums over the neighbours of alpha_ij v_j, eq. (20).

    alpha (2, pairs, heads), v (2, pairs, heads, width) of the neighbour of each edge; returns (n, F). moves: whether v
    depends on positions.
    """

    def __init__(self, edges: Edges, moves: bool) -> None:
        self.edges, self.moves = edges, moves

    def forward(self, alpha: Tensor, v: Tensor) -> Tensor:
        self.alpha, self.v = alpha.unsqueeze(-1), v
        return self.edges.sum_at_centre(self.alpha * v)

    def adjoint(self, g: Tensor, by_v: Tensor | None) -> Tensor:
        """dE/d(alpha); writes dE/dv to `by_v`, if it moves."""
        self.g = self.edges.at_centre(g).view(self.v.shape)
        if self.moves:
            torch.mul(self.alpha, self.g, out=by_v)
        return (self.g * self.v).sum(-1)

    def tangent(self, alpha: Tensor, v: Tensor | None) -> Tensor:
        self.alpha_tangents = alpha.unsqueeze(-1)
        along = self.alpha_tangents * self.v
        if self.moves:
            self.v_tangents = present(v)
            along.addcmul_(self.alpha, self.v_tangents)
        return self.edges.sum_at_centre(along)

    def gradient(self, m: Tensor, by_v: Tensor) -> Tensor:
        """dL/d(alpha); writes dL/dv."""
        m = self.edges.at_centre(m).view(self.v.shape)
        torch.mul(m, self.alpha, out=by_v).addcmul_(self.g, self.alpha_tangents)
        by_alpha = m.mul_(self.v)
        if self.moves:
            by_alpha.addcmul_(self.g, self.v_tangents)
        return by_alpha.sum(-1)


class EdgeSums:
    """Scores of both blocks and the sums of messages, eqs. (19) to (21).

    Takes projections (5, n, F), see `node_steps.Projections`, and filters (2, pairs, F). Coordinate scores are (2,
    pairs, degrees), sums (n, F). `scores` and `by_alpha` (2, pairs, heads) are left for the derivative with respect to
    phi. moves: whether projections depend on positions.
    """

    def __init__(self, edges: Edges, heads: tuple[int, int], normaliser: float, moves: bool) -> None:
        self.edges, self.heads, self.normaliser, self.moves = edges, heads, normaliser, moves
        self.blocks = Scores(moves), Scores(moves)
        self.messages = Messages(edges, moves)
        self.factor = edges.phi * normaliser

    def forward(self, projections: Tensor, w: Tensor) -> tuple[Tensor, Tensor]:
        """Sums and coordinate scores."""
        w, w_coordinates = self._filter_blocks(w)
        q, k, v, q_coordinates, k_coordinates = self._gather(projections)
        self.scores = self.blocks[0].forward(q, k, w)
        coordinate_scores = self.blocks[1].forward(q_coordinates, k_coordinates, w_coordinates)
        return self.messages.forward(self.scores * self.factor, v), coordinate_scores

    def adjoint(self, by_sums: Tensor, by_coordinate_scores: Tensor) -> tuple[Tensor | None, Tensor]:
        """To the derivatives with respect to projections, if they move, and filters."""
        room = self._room(by_sums) if self.moves else None
        by_q, by_k, by_v, by_q_coordinates, by_k_coordinates = (None,) * 5 if room is None else self._edge_blocks(room)
        self.by_alpha = self.messages.adjoint(by_sums, by_v)
        by_w = by_sums.new_empty(2, len(self.edges), by_sums.shape[1])
        block, coordinate_block = self._filter_blocks(by_w)
        self.blocks[0].adjoint(self.by_alpha * self.factor, by_q, by_k, block)
        self.blocks[1].adjoint(by_coordinate_scores, by_q_coordinates, by_k_coordinates, coordinate_block)
        return (None if room is None else self._scatter(room)), by_w

    def tangent(self, projections: Tensor | None, w: Tensor) -> tuple[Tensor, Tensor]:
        w, w_coordinates = self._filter_blocks(w)
        q, k, v, q_coordinates, k_coordinates = self._gather(present(projections)) if self.moves else (None,) * 5
        self.factor_tangents = self.edges.phi_tangents * self.normaliser
        alpha = (self.blocks[0].tangent(q, k, w) * self.factor).addcmul_(self.scores, self.factor_tangents)
        return self.messages.tangent(alpha, v), self.blocks[1].tangent(q_coordinates, k_coordinates, w_coordinates)

    def gradient(self, by_sums: Tensor, by_coordinate_scores: Tensor) -> tuple[Tensor, Tensor]:
        room = self._room(by_sums)
        by_q, by_k, by_v, by_q_coordinates, by_k_coordinates = self._edge_blocks(room)
        by_alpha = self.messages.gradient(by_sums, by_v)
        by_scores = by_alpha.mul_(self.factor).addcmul_(self.by_alpha, self.factor_tangents)
        by_w = by_sums.new_empty(2, len(self.edges), by_sums.shape[1])
        block, coordinate_block = self._filter_blocks(by_w)
        self.blocks[0].gradient(by_scores, by_q, by_k, block)
        self.blocks[1].gradient(by_coordinate_scores, by_q_coordinates, by_k_coordinates, coordinate_block)
        return self._scatter(room), by_w

    def _filter_blocks(self, w: Tensor) -> tuple[Tensor, ...]:
        """(2, pairs, F) to (pairs, heads, width) of features and coordinates."""
        pairs, features = w.shape[1:]
        return tuple(b.view(pairs, heads, features // heads) for b, heads in zip(w.unbind(), self.heads, strict=True))

    def _edge_blocks(self, values: Tensor) -> tuple[Tensor, ...]:
        """(5, 2 pairs, F) to (2, pairs, heads, width): three of features, two of coordinates."""
        pairs, features = len(self.edges), values.shape[-1]
        heads, degrees = self.heads
        return (
            *values[:3].view(3, 2, pairs, heads, features // heads).unbind(),
            *values[3:].view(2, 2, pairs, degrees, features // degrees).unbind(),
        )

    def _gather(self, values: Tensor) -> tuple[Tensor, ...]:
        """Queries at the centre, keys and values at the neighbour of each edge, of (5, n, F)."""
        rows = values.view(-1, values.shape[-1]).index_select(0, self.edges.rows)
        return self._edge_blocks(rows.view(5, 2 * len(self.edges), values.shape[-1]))

    def _room(self, like: Tensor) -> Tensor:
        """An array for what `_scatter` takes; `_edge_blocks` makes of it what `_gather` gives."""
        return like.new_empty(5, 2 * len(self.edges), like.shape[1])

    def _scatter(self, values: Tensor) -> Tensor:
        """The opposite of `_gather`: sums at the atoms, (5, n, F)."""
        values = values.flatten(0, 1)
        result = values.new_zeros(5 * self.edges.atoms, values.shape[1]).index_add_(0, self.edges.rows, values)
        return result.view(5, self.edges.atoms, values.shape[1])
