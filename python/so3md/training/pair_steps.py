"""Steps of the network on pairs of atoms, each differentiated by hand; see `node_steps` for the four sweeps.

Arrays of the size (edges, F) are where the time goes, so these are written for few passes over them. A pair is seen
from both of its atoms: edges come in the order of the pairs in one direction, then in the other.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from so3md.training.node_steps import Activation, Gradients


class Edges:
    """What the layers are given of a batch: see `Batch` and `Geometry`.

    first, second (pairs); centre, neighbour (2 pairs); basis (2 pairs, K): the radial basis of each pair, then its
    slope; phi (2 pairs, 1) and phi_harmonics (2 pairs, M): of each edge.
    """

    def __init__(
        self, first: Tensor, second: Tensor, basis: Tensor, phi: Tensor, harmonics: Tensor, degrees: list[int]
    ) -> None:
        self.first, self.second = first, second
        self.centre, self.neighbour = torch.cat([first, second]), torch.cat([second, first])
        self.basis, self.basis_is_trained = basis.detach(), basis.requires_grad
        self.by_basis = torch.zeros_like(self.basis) if self.basis_is_trained else None
        self.phi = torch.cat([phi, phi])[:, None]
        sign = torch.tensor([(-1.0) ** degree for degree in degrees for _ in range(2 * degree + 1)])
        self.sign = sign.to(harmonics)
        self.harmonics = self.both(harmonics)
        self.phi_harmonics = self.harmonics * self.phi
        self.by_phi, self.by_phi_harmonics = torch.zeros_like(self.phi), torch.zeros_like(self.harmonics)
        self.by_distance = torch.zeros_like(phi)

    def __len__(self) -> int:
        return len(self.centre)

    def both(self, harmonics: Tensor) -> Tensor:
        """Harmonics of pairs as those of edges: reversing a direction changes the sign of odd degrees."""
        return torch.cat([harmonics, harmonics * self.sign])

    def adjoint(self) -> tuple[Tensor, Tensor, Tensor]:
        """From what the steps have summed up: dE/d(distance) (pairs), dE/d(phi) (pairs), dE/d(harmonics) (pairs, M)."""
        by_harmonics = (self.by_phi_harmonics * self.phi).view(2, len(self.first), len(self.sign))
        by_phi = self.by_phi.squeeze(-1) + (self.by_phi_harmonics * self.harmonics).sum(-1)
        return (
            self.by_distance.clone(),
            by_phi.view(2, len(self.first)).sum(0),
            torch.addcmul(by_harmonics[0], by_harmonics[1], self.sign),
        )

    def tangent(self, distance: Tensor, phi: Tensor, harmonics: Tensor) -> None:
        """Derivatives along the direction, (pairs), (pairs) and (pairs, M)."""
        self.distance_tangents = distance[:, None]
        self.phi_tangents = torch.cat([phi, phi])[:, None]
        self.phi_harmonics_tangents = self.both(harmonics).mul_(self.phi).addcmul_(self.harmonics, self.phi_tangents)

    def sum_at(self, index: Tensor, values: Tensor, atoms: int) -> Tensor:
        """Sums of values (edges, ...) over the edges of each atom."""
        return values.new_zeros(atoms, *values.shape[1:]).index_add_(0, index, values)


def _fold(values: Tensor, out: Tensor | None = None) -> Tensor:
    """Sum over both directions: (2 pairs, F) to (pairs, F)."""
    first, second = values.chunk(2)
    return torch.add(first, second, out=out)


class Filters:
    """Eq. (17) of the feature and the coordinate block: (2, pairs, F).

    The radial part depends on nothing but the distance: values and slopes with respect to it are computed together,
    and no other derivative with respect to positions is needed. chi None: zero, and so are all invariants.
    """

    def __init__(self, module: nn.Module, edges: Edges, activation: str, gradients: Gradients) -> None:
        self.module, self.edges, self.gradients = module, edges, gradients
        self.radial, self.spherical = Activation(activation), Activation(activation)

    def forward(self, chi: Tensor | None) -> Tensor:
        p, basis = self.module, self.edges.basis
        pairs = len(self.edges.first)
        z = torch.bmm(basis.expand(2, *basis.shape), p.radial1_weight.transpose(1, 2))
        values, self.z_slopes = z[:, :pairs].add_(p.radial1_bias[:, None]), z[:, pairs:]
        self.hidden = torch.empty_like(z)
        self.hidden[:, :pairs] = self.radial.forward(values)
        torch.mul(self.radial.slope, self.z_slopes, out=self.hidden[:, pairs:])
        result = torch.bmm(self.hidden, p.radial2_weight.transpose(1, 2))
        w, self.slopes = result[:, :pairs], result[:, pairs:]
        w.add_((p.radial2_bias + p.spherical2_bias)[:, None])
        self.chi = chi
        if chi is None:
            self.spherical_hidden = self.spherical.forward(p.spherical1_bias)[:, None]
            return w.add_(torch.bmm(self.spherical_hidden, p.spherical2_weight.transpose(1, 2)))
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
        w = self.slopes * self.edges.distance_tangents
        if self.chi is None:
            return w
        p = self.module
        self.difference_tangents = self._difference(chi)
        self.m_tangents = (self.difference * self.difference_tangents).mul_(2).matmul(p.invariant).expand(2, -1, -1)
        z = torch.bmm(self.m_tangents, p.spherical1_weight.transpose(1, 2))
        self.spherical_tangents = self.spherical.tangent(z)
        return w.baddbmm_(self.spherical_tangents, p.spherical2_weight.transpose(1, 2))

    def gradient(self, m: Tensor) -> Tensor | None:
        """m (2, 2 pairs, F): dL/dw in the first half of the rows, room in the second. Returns dL/d(chi) or None."""
        pairs = len(self.edges.first)
        torch.mul(self.g, self.edges.distance_tangents, out=m[:, pairs:])
        self._radial_gradient(m)
        m = m[:, :pairs]
        by_bias = m.sum(1)
        self.gradients["radial2_bias"] = self.gradients["spherical2_bias"] = by_bias
        if self.chi is None:
            self._constant_gradient(by_bias[:, :, None])
            return None
        by_squares = self._spherical_gradient(m) @ self.module.invariant.T
        by_difference = (self.difference * by_squares).addcmul_(self.difference_tangents, self.by_squares)
        return self._difference_adjoint(by_difference.mul_(2))

    def _radial_gradient(self, m: Tensor) -> None:
        p, edges = self.module, self.edges
        pairs = len(edges.first)
        self.gradients["radial2_weight"] = torch.bmm(m.transpose(1, 2), self.hidden)
        by_hidden = torch.bmm(m, p.radial2_weight)
        by_value, by_slope = by_hidden[:, :pairs], by_hidden[:, pairs:]
        curvature = self.radial.curvature().mul_(self.z_slopes).mul_(by_slope)
        by_value.mul_(self.radial.slope).add_(curvature)
        by_slope.mul_(self.radial.slope)
        basis = edges.basis.expand(2, *edges.basis.shape)
        self.gradients["radial1_weight"] = torch.bmm(by_hidden.transpose(1, 2), basis)
        self.gradients["radial1_bias"] = by_value.sum(1)
        if edges.basis_is_trained:
            edges.by_basis.add_(torch.bmm(by_hidden, p.radial1_weight).sum(0))

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
        result = g.new_zeros(len(self.chi), g.shape[1]).index_add_(0, self.edges.second, g)
        return result.index_add_(0, self.edges.first, g, alpha=-1)


class Scores:
    """Sums over the channels of each head of q_i k_j w_ij, eqs. (19) and (21) without their normaliser: (edges, heads).

    q and k (n, F), w (pairs, F).
    """

    def __init__(self, edges: Edges, heads: int) -> None:
        self.edges, self.heads = edges, heads
        self.moves = False

    def forward(self, q: Tensor, k: Tensor, w: Tensor) -> Tensor:
        self.a, self.b, self.w = q.index_select(0, self.edges.centre), k.index_select(0, self.edges.neighbour), w
        self.atoms = len(q)
        self.products = self.a * self.b
        return self._by_head(self._pairs(self.products) * w).sum(-1)

    def adjoint(self, g: Tensor, by_w: Tensor, atoms: bool = True) -> tuple[Tensor, Tensor] | None:
        """Writes dE/dw to `by_w`; returns dE/dq and dE/dk if atoms."""
        self.g = g[:, :, None]
        _fold(self._times(self.products, self.g), out=by_w)
        if not atoms:
            return None
        self.moves = True
        self.weighted = self._weighted(self.w, self.g)
        return self._sum(self.weighted * self.b, self.weighted * self.a)

    def tangent(self, q: Tensor | None, k: Tensor | None, w: Tensor) -> Tensor:
        self.w_tangents = w
        along = self._pairs(self.products) * w
        if self.moves:
            self.a_tangents = q.index_select(0, self.edges.centre)
            self.b_tangents = k.index_select(0, self.edges.neighbour)
            self.products_tangents = (self.a_tangents * self.b).addcmul_(self.a, self.b_tangents)
            along.addcmul_(self._pairs(self.products_tangents), self.w)
        return self._by_head(along).sum(-1)

    def gradient(self, m: Tensor, by_w: Tensor) -> tuple[Tensor, Tensor]:
        """Writes dL/dw to `by_w`; returns dL/dq and dL/dk."""
        m = m[:, :, None]
        by_products = self._times(self.products, m)
        weighted = self._weighted(self.w, m).add_(self._weighted(self.w_tangents, self.g))
        by_a, by_b = weighted * self.b, weighted.mul_(self.a)
        if self.moves:
            by_products.add_(self._times(self.products_tangents, self.g))
            by_a.addcmul_(self.weighted, self.b_tangents)
            by_b.addcmul_(self.weighted, self.a_tangents)
        _fold(by_products, out=by_w)
        return self._sum(by_a, by_b)

    def _sum(self, by_a: Tensor, by_b: Tensor) -> tuple[Tensor, Tensor]:
        edges = self.edges
        return edges.sum_at(edges.centre, by_a, self.atoms), edges.sum_at(edges.neighbour, by_b, self.atoms)

    def _pairs(self, values: Tensor) -> Tensor:
        """(2 pairs, F) to (2, pairs, F)."""
        return values.view(2, len(self.edges) // 2, values.shape[1])

    def _by_head(self, values: Tensor) -> Tensor:
        return values.view(len(self.edges), self.heads, self.w.shape[1] // self.heads)

    def _times(self, channels: Tensor, g: Tensor) -> Tensor:
        """channels (edges, F) times g (edges, heads, 1)."""
        return (self._by_head(channels) * g).view(channels.shape)

    def _weighted(self, w: Tensor, g: Tensor) -> Tensor:
        """w (pairs, F) times g (edges, heads, 1): (edges, F)."""
        pairs, features = w.shape
        spread = w.view(1, pairs, self.heads, features // self.heads) * g.view(2, pairs, self.heads, 1)
        return spread.view(2 * pairs, features)


class Messages:
    """Sums over the neighbours of alpha_ij v_j, eq. (20): alpha (edges, heads), v (n, F); (n, F)."""

    def __init__(self, edges: Edges) -> None:
        self.edges = edges
        self.v_tangents: Tensor | None = None

    def forward(self, alpha: Tensor, v: Tensor) -> Tensor:
        self.alpha, self.atoms = alpha[:, :, None], len(v)
        self.v = self._gather(v, self.edges.neighbour)
        return self._sum(self.edges.centre, self.alpha * self.v)

    def adjoint(self, g: Tensor, atoms: bool = True) -> tuple[Tensor, Tensor | None]:
        """dE/d(alpha), and dE/dv if atoms."""
        self.g = self._gather(g, self.edges.centre)
        by_v = self._sum(self.edges.neighbour, self.alpha * self.g) if atoms else None
        return (self.g * self.v).sum(-1), by_v

    def tangent(self, alpha: Tensor, v: Tensor | None) -> Tensor:
        self.alpha_tangents = alpha[:, :, None]
        along = self.alpha_tangents * self.v
        if v is not None:
            self.v_tangents = self._gather(v, self.edges.neighbour)
            along.addcmul_(self.alpha, self.v_tangents)
        return self._sum(self.edges.centre, along)

    def gradient(self, m: Tensor) -> tuple[Tensor, Tensor]:
        m = self._gather(m, self.edges.centre)
        by_alpha = m * self.v
        if self.v_tangents is not None:
            by_alpha.addcmul_(self.g, self.v_tangents)
        by_v = m.mul_(self.alpha).addcmul_(self.g, self.alpha_tangents)
        return by_alpha.sum(-1), self._sum(self.edges.neighbour, by_v)

    def _gather(self, values: Tensor, index: Tensor) -> Tensor:
        heads = self.alpha.shape[1]
        return values.index_select(0, index).view(len(index), heads, values.shape[1] // heads)

    def _sum(self, index: Tensor, values: Tensor) -> Tensor:
        return self.edges.sum_at(index, values.flatten(1), self.atoms)
