"""A layer and the network of layers in four sweeps, made of the steps on atoms and on pairs; see `node_steps`."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from so3md.present import present
from so3md.training.fast_model import FastLayer
from so3md.training.native_steps import NativeSteps
from so3md.training.node_steps import Exchange, Gradients, LayerNorm, Projections, ResidualMlp
from so3md.training.pair_steps import Edges, EdgeSums, Filters, RadialFilters


class Attention:
    """Eqs. (17) to (22): the changes of x (n, F) and chi (n, M) by the neighbours.

    moves: whether x depends on positions; chi None: it is zero.
    """

    def __init__(self, module: FastLayer, edges: Edges, moves: bool, gradients: Gradients) -> None:
        activation, self.normaliser = module.hyper["activation"], module.factors[0]
        self.edges, self.moves, self.repeat = edges, moves, module.repeat * module.factors[1]
        self.filters = Filters(
            module, edges, RadialFilters(module, edges, activation, gradients), activation, gradients
        )
        self.projections = Projections(module, gradients)
        self.sums = EdgeSums(edges, module.heads, self.normaliser, moves)

    def forward(self, x: Tensor, chi: Tensor | None) -> tuple[Tensor, Tensor]:
        dx, beta = self.sums.forward(self.projections.forward(x), self.filters.forward(chi))
        self.beta = beta @ self.repeat
        return dx, self.edges.sum_at_centre(self.beta * self.edges.phi_harmonics)

    def adjoint(self, by_x: Tensor, by_chi: Tensor) -> tuple[Tensor | None, Tensor | None]:
        """To the derivatives with respect to x, if it moves, and chi, if it is not zero."""
        edges, sums = self.edges, self.sums
        self.at_centre = edges.at_centre(by_chi)
        edges.by_phi_harmonics.addcmul_(self.beta, self.at_centre)
        by_projections, by_w = sums.adjoint(by_x, (self.at_centre * edges.phi_harmonics) @ self.repeat.T)
        edges.by_phi.add_((sums.by_alpha * sums.scores).sum(-1), alpha=self.normaliser)
        by_start = self.filters.adjoint(by_w)
        return (self.projections.adjoint(present(by_projections)) if self.moves else None), by_start

    def tangent(self, x: Tensor | None, chi: Tensor | None) -> tuple[Tensor, Tensor]:
        edges = self.edges
        projections = self.projections.tangent(present(x)) if self.moves else None
        dx, beta = self.sums.tangent(projections, self.filters.tangent(chi))
        along = (beta @ self.repeat).mul_(edges.phi_harmonics).addcmul_(self.beta, edges.phi_harmonics_tangents)
        return dx, edges.sum_at_centre(along)

    def gradient(self, by_x: Tensor, by_chi: Tensor) -> tuple[Tensor, Tensor | None]:
        edges = self.edges
        by_beta = edges.at_centre(by_chi).mul_(edges.phi_harmonics)
        by_beta = by_beta.addcmul_(self.at_centre, edges.phi_harmonics_tangents) @ self.repeat.T
        by_projections, by_w = self.sums.gradient(by_x, by_beta)
        return self.projections.gradient(by_projections), self.filters.gradient(by_w)


class Identity:
    """A step that a layer does not have."""

    def forward(self, x: Tensor) -> Tensor:
        return x

    adjoint = tangent = gradient = forward


class LayerSteps:
    """One layer, eqs. (16) to (25); `gradients` is filled by the last sweep."""

    def __init__(self, module: FastLayer, edges: Edges, moves: bool) -> None:
        hyper = module.hyper
        self.gradients: Gradients = {}
        self.attention = Attention(module, edges, moves, self.gradients)
        self.exchange = Exchange(module, self.gradients)
        self.pre_norm = hyper["layer_norm_position"] == "pre"

        def norm(number: int) -> LayerNorm | Identity:
            if not hyper[f"layer_norm_{number}"]:
                return Identity()
            scale, bias = getattr(module, f"norm{number}_scale"), getattr(module, f"norm{number}_bias")
            return LayerNorm(scale, bias, hyper["layer_norm_epsilon"], f"norm{number}", self.gradients)

        def residual(number: int) -> ResidualMlp | Identity:
            has = hyper[f"residual_mlp_{number}"]
            return ResidualMlp(module, f"mlp{number}", hyper, self.gradients) if has else Identity()

        norms: tuple[LayerNorm | Identity, ...] = norm(1), norm(2)
        nothing: tuple[LayerNorm | Identity, ...] = Identity(), Identity()
        self.before, self.after = (norms, nothing) if self.pre_norm else (nothing, norms)
        self.residuals = residual(1), residual(2)

    def forward(self, x: Tensor, chi: Tensor | None) -> tuple[Tensor, Tensor]:
        """Also the second sweep forward, see `tangent`."""
        return self._upwards("forward", x, chi)

    def tangent(self, x: Tensor | None, chi: Tensor | None) -> tuple[Tensor, Tensor]:
        return self._upwards("tangent", x, chi)

    def adjoint(self, by_x: Tensor, by_chi: Tensor) -> tuple[Tensor | None, Tensor | None]:
        return self._downwards("adjoint", by_x, by_chi)

    def gradient(self, by_x: Tensor, by_chi: Tensor) -> tuple[Tensor, Tensor | None]:
        by_start, by_chi_start = self._downwards("gradient", by_x, by_chi)
        return present(by_start), by_chi_start

    def _upwards(self, sweep: str, x: Tensor | None, chi: Tensor | None) -> tuple[Tensor, Tensor]:
        def go(step: Any, *values: Any) -> Any:
            return getattr(step, sweep)(*values)

        dx, dchi = go(self.attention, None if x is None else go(self.before[0], x), chi)
        x, chi = (dx if x is None else dx.add_(x)), (dchi if chi is None else dchi.add_(chi))
        x = go(self.residuals[0], go(self.after[0], x))
        dx, chi = go(self.exchange, go(self.before[1], x), chi)
        return go(self.after[1], go(self.residuals[1], x + dx)), chi

    def _downwards(self, sweep: str, by_x: Tensor, by_chi: Tensor) -> tuple[Tensor | None, Tensor | None]:
        def go(step: Any, *values: Any) -> Any:
            return getattr(step, sweep)(*values)

        by_x = go(self.residuals[1], go(self.after[1], by_x))
        by_given, by_chi = go(self.exchange, by_x, by_chi)
        by_x = by_x + go(self.before[1], by_given)
        by_x = go(self.after[0], go(self.residuals[0], by_x))
        by_given, by_start = go(self.attention, by_x, by_chi)
        by_first = None if by_given is None else by_x + go(self.before[0], by_given)
        return by_first, (None if by_start is None else by_chi.add_(by_start))


class NetworkSteps:
    """All layers, from features x (n, F) of the embedding to those that the heads take.

    A sweep runs when the one before is done; the last two need the first two. `parameters` and `gradients`, the latter
    after the last sweep, have the same order.
    """

    def __init__(
        self, layers: Iterable[FastLayer], final_norm: nn.ParameterDict | None, edges: Edges, hyper: Any
    ) -> None:
        self.edges, self.start = edges, hyper["initial_coordinates"]
        modules = list(layers)
        self.layers = [LayerSteps(module, edges, moves=number > 0) for number, module in enumerate(modules)]
        self._names = [
            (steps.gradients, name)
            for steps, m in zip(self.layers, modules, strict=True)
            for name, _ in m.named_parameters()
        ]
        self.parameters = [value for module in modules for value in module.parameters()]
        self.final_norm: LayerNorm | Identity = Identity()
        if final_norm is not None:
            scale, bias = final_norm["scale"], final_norm["bias"]
            own: Gradients = {}
            self.final_norm = LayerNorm(scale, bias, hyper["layer_norm_epsilon"], "norm", own)
            self.parameters += [scale, bias]
            self._names += [(own, "norm_scale"), (own, "norm_bias")]
        self.has_adjoints = self.has_tangents = False

    @property
    def gradients(self) -> list[Tensor]:
        return [gradients[name] for gradients, name in self._names]

    @property
    def by_basis(self) -> Tensor | None:
        """dL/d(basis) after the last sweep, None if the basis has no parameters."""
        return self.edges.by_basis

    def forward(self, x: Tensor) -> Tensor:
        chi = None
        if self.start["type"] == "neighbour_sum":
            chi = self._sum_harmonics(self.edges.phi_harmonics)
        for layer in self.layers:
            x, chi = layer.forward(x, chi)
        self.shape = len(x), self.edges.harmonics.shape[-1]
        return self.final_norm.forward(x)

    def adjoint(self, by_x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """From dE/dx to the derivatives with respect to distance, phi and harmonics of the pairs."""
        self.has_adjoints = True
        by_first: Tensor | None = self.final_norm.adjoint(by_x)
        by_chi: Tensor | None = by_x.new_zeros(self.shape)
        for layer in reversed(self.layers):
            by_first, by_chi = layer.adjoint(present(by_first), present(by_chi))
        if by_chi is not None:
            self.edges.by_phi_harmonics.add_(self.edges.at_centre(by_chi), alpha=1 / self.start["normalization"])
        return self.edges.adjoint()

    def tangent(self, distance: Tensor, phi: Tensor, harmonics: Tensor) -> Tensor:
        """From derivatives of distance, phi and harmonics along the direction to that of x."""
        self.has_tangents = True
        self.edges.tangent(distance, phi, harmonics)
        x = chi = None
        if self.start["type"] == "neighbour_sum":
            chi = self._sum_harmonics(self.edges.phi_harmonics_tangents)
        for layer in self.layers:
            x, chi = layer.tangent(x, chi)
        return self.final_norm.tangent(present(x))

    def gradient(self, by_x: Tensor) -> Tensor:
        """From dL/dx to the derivative with respect to the first x; see `gradients` and `by_basis`, too."""
        if not self.has_adjoints:  # the loss does not ask for derivatives of the energy
            self.adjoint(torch.zeros_like(by_x))
        if not self.has_tangents:
            zeros = torch.zeros_like(self.edges.by_distance)
            self.tangent(zeros, zeros, zeros[:, None].expand(-1, self.shape[1]))
        by_chi: Tensor | None = by_x.new_zeros(self.shape)
        by_x = self.final_norm.gradient(by_x)
        for layer in reversed(self.layers):
            by_x, by_chi = layer.gradient(by_x, present(by_chi))
        return by_x

    def _sum_harmonics(self, values: Tensor) -> Tensor:
        return self.edges.sum_at_centre(values) / self.start["normalization"]


#: The sweeps of a batch, in operations of PyTorch or by kernels.
Steps = NetworkSteps | NativeSteps


class _Features(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, steps: Steps, x: Tensor, basis: Tensor, *parameters: Tensor) -> Tensor:
        ctx.steps = steps
        return steps.forward(x.detach())

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, by_x: Tensor) -> tuple[Tensor | None, ...]:
        by_first = ctx.steps.gradient(by_x)
        return None, by_first, ctx.steps.by_basis, *ctx.steps.gradients


class _Slopes(torch.autograd.Function):
    """The derivatives of the energy. Takes the features too, so that its own backward comes before theirs."""

    @staticmethod
    def forward(ctx: Any, steps: NetworkSteps, by_features: Tensor, features: Tensor) -> tuple[Tensor, ...]:
        ctx.steps = steps
        # Detached, since the graph behind it holds the steps, which would then keep each other alive for ever.
        return steps.adjoint(by_features.detach())

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *tangents: Tensor) -> tuple[None, Tensor, None]:
        return None, ctx.steps.tangent(*tangents), None


def features(steps: Steps, x: Tensor, basis: Tensor) -> Tensor:
    """Features (n, F) after all layers, differentiable once; their derivative runs all that is left of the sweeps."""
    return _Features.apply(steps, x, basis, *steps.parameters)


def slopes(steps: Steps, by_features: Tensor, features: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """From dE/d(features) to dE/d(distance) (pairs), dE/d(phi) (pairs) and dE/d(harmonics) (pairs, M), which are
    differentiable once with respect to `by_features` and to everything that `features` depends on."""
    return _Slopes.apply(steps, by_features, features)
