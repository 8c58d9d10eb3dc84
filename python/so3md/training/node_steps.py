"""Steps of the network on atoms, each differentiated by hand as training needs it.

A training step goes through the network four times, and every class here has a method for each:

- `forward`: values y of inputs x;
- `adjoint`: backward, from g = dE/dy to dE/dx, of which forces are made;
- `tangent`: forward, from the derivative x' along a direction v in the space of positions to y'. v = dL/dF is the
  direction in which the errors of the forces pull, so that dL_F/dtheta is the derivative of g along it;
- `gradient`: backward, from m = dL/dy to dL/dx. Besides what `adjoint` does with g, it adds how g changes with x along
  v, and leaves the gradients of the parameters in `gradients`.

An object stands for one step of one batch and keeps in between what the next sweep needs. Tangents are None where
nothing before depends on positions; `adjoint` is then not called, or its result not used.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from so3md.reference.functions import ACTIVATIONS
from so3md.training.fast_model import FastLayer
from so3md.training.smooth import value_and_slope

Gradients = dict[str, Tensor]


class Activation:
    """One of the functions of eq. (1), with its first and second derivative."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.tangents: Tensor | None = None
        self._parts: tuple[Tensor, ...] = ()

    def forward(self, x: Tensor) -> Tensor:
        if self.name == "silu":
            s = torch.sigmoid(x)
            rest = torch.addcmul(s, s, s, value=-1)  # s' = s (1 - s)
            y = x * s
            self.slope = s.addcmul_(x, rest)
            self._parts = x, y, rest
            return y
        y, self.slope = value_and_slope(ACTIVATIONS[self.name], x)
        self._parts = (x,)
        return y

    def curvature(self) -> Tensor:
        """The second derivative."""
        if self.name == "silu":
            x, y, rest = self._parts
            return torch.add(x, y, alpha=-2).add_(2).mul_(rest)
        function = ACTIVATIONS[self.name]
        return value_and_slope(lambda t: value_and_slope(function, t)[1], self._parts[0])[1]

    def adjoint(self, g: Tensor) -> Tensor:
        self.adjoints = g
        return g * self.slope

    def tangent(self, x: Tensor) -> Tensor:
        self.tangents = x
        return x * self.slope

    def gradient(self, m: Tensor) -> Tensor:
        if self.tangents is None:
            return m * self.slope
        return self.curvature().mul_(self.adjoints).mul_(self.tangents).addcmul_(m, self.slope)


class Dense:
    """x W^T + b, parameters NAME_weight and NAME_bias (optional) of a module."""

    def __init__(self, module: nn.Module, name: str, gradients: Gradients) -> None:
        self.name, self.gradients = name, gradients
        self.weight, self.bias = getattr(module, f"{name}_weight"), getattr(module, f"{name}_bias", None)

    def forward(self, x: Tensor) -> Tensor:
        self.x = x
        return functional.linear(x, self.weight, self.bias)

    def adjoint(self, g: Tensor) -> Tensor:
        self.g = g
        return g @ self.weight

    def tangent(self, x: Tensor) -> Tensor:
        self.tangents = x
        return x @ self.weight.T

    def gradient(self, m: Tensor) -> Tensor:
        self.gradients[f"{self.name}_weight"] = (m.T @ self.x).addmm_(self.g.T, self.tangents)
        if self.bias is not None:
            self.gradients[f"{self.name}_bias"] = m.sum(0)
        return m @ self.weight


class LayerNorm:
    """Eq. (23). Its gradients are NAME_scale and NAME_bias.

    With u = (x - <x>) d, where <> is the mean over the channels and d = (<(x - <x>)^2> + epsilon)^(-1/2), and
    P(t) = d (t - <t> - u <t u>): u' = P(x'), and dE/dx = P(g scale).
    """

    def __init__(self, scale: Tensor, bias: Tensor, epsilon: float, name: str, gradients: Gradients) -> None:
        self.scale, self.bias, self.epsilon = scale, bias, epsilon
        self.name, self.gradients = name, gradients
        self.tangents: Tensor | None = None

    def forward(self, x: Tensor) -> Tensor:
        self.x = x
        y, self.mean, self.inverse = torch.native_layer_norm(x, x.shape[-1:], self.scale, self.bias, self.epsilon)
        return y

    def adjoint(self, g: Tensor) -> Tensor:
        self.g = g
        self.by_x = self._backward(g, self.scale, parameters=False)[0]
        return self.by_x

    def tangent(self, x: Tensor) -> Tensor:
        self.tangents = x
        self.change = self._backward(x, None, parameters=False)[0]
        return self.change * self.scale

    def gradient(self, m: Tensor) -> Tensor:
        by_x, by_scale, by_bias = self._backward(m, self.scale, parameters=True)
        if self.tangents is not None:
            u = (self.x - self.mean) * self.inverse
            t = self.g * self.scale
            # d' = -d^2 <u x'>, u' = change: the derivative of P along x'
            by_x.addcmul_(self.by_x, (u * self.tangents).mean(-1, keepdim=True).mul_(self.inverse), value=-1)
            by_x.addcmul_(self.change, (u * t).mean(-1, keepdim=True).mul_(self.inverse), value=-1)
            by_x.addcmul_(u, t.mul_(self.change).mean(-1, keepdim=True).mul_(self.inverse), value=-1)
            by_scale.add_((self.g * self.change).sum(0))
        self.gradients[f"{self.name}_scale"], self.gradients[f"{self.name}_bias"] = by_scale, by_bias
        return by_x

    def _backward(self, g: Tensor, scale: Tensor | None, parameters: bool) -> tuple[Tensor, Tensor, Tensor]:
        mask = [True, parameters, parameters]
        return torch.ops.aten.native_layer_norm_backward(
            g, self.x, self.x.shape[-1:], self.mean, self.inverse, scale, self.bias if parameters else None, mask
        )


class ResidualMlp:
    """Eqs. (24) and (54), parameters NAME_dense1_weight and so on of a module."""

    def __init__(self, module: nn.Module, name: str, hyper: dict[str, Any], gradients: Gradients) -> None:
        def chain(*numbers: int) -> list[Activation | Dense]:
            return [
                step
                for number in numbers
                for step in (Activation(hyper["activation"]), Dense(module, f"{name}_dense{number}", gradients))
            ]

        self.inner = chain(1, 2)
        self.outer = chain(3) if hyper["residual_mlp_kind"] == "three_layers" else []

    def forward(self, x: Tensor) -> Tensor:
        return self._upwards("forward", x)

    def tangent(self, x: Tensor) -> Tensor:
        return self._upwards("tangent", x)

    def adjoint(self, g: Tensor) -> Tensor:
        return self._downwards("adjoint", g)

    def gradient(self, m: Tensor) -> Tensor:
        return self._downwards("gradient", m)

    def _upwards(self, sweep: str, x: Tensor) -> Tensor:
        y = x
        for step in self.inner:
            y = getattr(step, sweep)(y)
        y = y.add_(x)
        for step in self.outer:
            y = getattr(step, sweep)(y)
        return y

    def _downwards(self, sweep: str, g: Tensor) -> Tensor:
        for step in reversed(self.outer):
            g = getattr(step, sweep)(g)
        by_inner = g
        for step in reversed(self.inner):
            by_inner = getattr(step, sweep)(by_inner)
        return by_inner.add_(g)


class Projections:
    """Eq. (18): x (n, F) to queries, keys and values of features, queries and keys of coordinates: (5, n, F)."""

    blocks = (("query_key_value", slice(0, 3)), ("query_key_coordinates", slice(3, 5)))

    def __init__(self, module: FastLayer, gradients: Gradients) -> None:
        self.gradients = gradients
        self.matrices = [getattr(module, name) for name, _ in self.blocks]  # (heads, in, kinds, out)
        identity = module.hyper["query_key_activation"] == "identity"
        self.activation = None if identity else Activation(module.hyper["query_key_activation"])
        self.tangents: Tensor | None = None

    def forward(self, x: Tensor) -> Tensor:
        self.x = x
        return self._activate("forward", self._multiply(x))

    def tangent(self, x: Tensor) -> Tensor:
        self.tangents = x
        return self._activate("tangent", self._multiply(x))

    def adjoint(self, g: Tensor) -> Tensor:
        self.g = self._by_head(self._activate("adjoint", g))
        return self._multiply_back(self.g)

    def gradient(self, m: Tensor) -> Tensor:
        by_head = self._by_head(self._activate("gradient", m))
        for block, (name, _) in enumerate(self.blocks):
            matrices = self.matrices[block]
            gradient = torch.bmm(self._split(self.x, matrices).transpose(1, 2), by_head[block])
            if self.tangents is not None:
                gradient.baddbmm_(self._split(self.tangents, matrices).transpose(1, 2), self.g[block])
            self.gradients[name] = gradient.view(matrices.shape)
        return self._multiply_back(by_head)

    def _activate(self, sweep: str, values: Tensor) -> Tensor:
        if self.activation is None:
            return values
        some = torch.tensor([0, 1, 3, 4], device=values.device)  # all but the values
        return values.index_copy(0, some, getattr(self.activation, sweep)(values.index_select(0, some)))

    def _multiply(self, x: Tensor) -> Tensor:
        result = x.new_empty(5, *x.shape)
        for (_, kinds), matrices in zip(self.blocks, self.matrices, strict=True):
            heads, width, count, _ = matrices.shape
            product = torch.bmm(self._split(x, matrices), matrices.flatten(2)).view(heads, len(x), count, width)
            result[kinds].view(count, len(x), heads, width).copy_(product.permute(2, 1, 0, 3))
        return result

    def _multiply_back(self, values: list[Tensor]) -> Tensor:
        features, coordinates = (
            torch.bmm(value, matrices.flatten(2).transpose(1, 2)).transpose(0, 1)
            for value, matrices in zip(values, self.matrices, strict=True)
        )
        result = features.flatten(1)
        result.view(coordinates.shape).add_(coordinates)
        return result

    def _by_head(self, values: Tensor) -> list[Tensor]:
        """(5, n, F) to (heads, n, kinds width) of either block."""
        result = []
        for (_, kinds), matrices in zip(self.blocks, self.matrices, strict=True):
            heads, width, count, _ = matrices.shape
            block = values[kinds].view(count, values.shape[1], heads, width).permute(2, 1, 0, 3)
            result.append(block.reshape(heads, values.shape[1], count * width))
        return result

    @staticmethod
    def _split(x: Tensor, matrices: Tensor) -> Tensor:
        """(n, F) to (heads, n, width)."""
        return x.view(len(x), *matrices.shape[:2]).transpose(0, 1)


class Exchange:
    """Eq. (25): a change of x (n, F) and new chi (n, M) from `given`, which is x or its norm, and chi."""

    def __init__(self, module: FastLayer, gradients: Gradients) -> None:
        self.gradients, self.features = gradients, module.features
        self.weight, self.bias = module.exchange_weight, module.exchange_bias
        self.repeat, self.invariant = module.repeat, module.invariant

    def forward(self, given: Tensor, chi: Tensor) -> tuple[Tensor, Tensor]:
        self.chi = chi
        self.inputs = torch.cat([given, (chi * chi) @ self.invariant], dim=-1)
        out = functional.linear(self.inputs, self.weight, self.bias)
        self.factor = (out[:, self.features :] @ self.repeat).add_(1)
        return out[:, : self.features], chi * self.factor

    def adjoint(self, by_x: Tensor, by_chi: Tensor) -> tuple[Tensor, Tensor]:
        """To dE/d(given) and dE/d(chi)."""
        self.by_chi = by_chi
        self.g = torch.cat([by_x, (by_chi * self.chi) @ self.repeat.T], dim=-1)
        by_inputs = self.g @ self.weight
        self.spread = by_inputs[:, self.features :] @ self.invariant.T
        return by_inputs[:, : self.features], (by_chi * self.factor).addcmul_(self.chi, self.spread, value=2)

    def tangent(self, given: Tensor, chi: Tensor) -> tuple[Tensor, Tensor]:
        self.chi_tangents = chi
        self.tangents = torch.cat([given, (self.chi * chi).mul_(2) @ self.invariant], dim=-1)
        out = self.tangents @ self.weight.T
        self.factor_tangents = out[:, self.features :] @ self.repeat
        return out[:, : self.features], (chi * self.factor).addcmul_(self.chi, self.factor_tangents)

    def gradient(self, by_x: Tensor, by_chi: Tensor) -> tuple[Tensor, Tensor]:
        by_factor = (by_chi * self.chi).addcmul_(self.by_chi, self.chi_tangents)
        m = torch.cat([by_x, by_factor @ self.repeat.T], dim=-1)
        self.gradients["exchange_weight"] = (m.T @ self.inputs).addmm_(self.g.T, self.tangents)
        self.gradients["exchange_bias"] = m.sum(0)
        by_inputs = m @ self.weight
        result = (by_chi * self.factor).addcmul_(self.by_chi, self.factor_tangents)
        result.addcmul_(self.chi, by_inputs[:, self.features :] @ self.invariant.T, value=2)
        result.addcmul_(self.chi_tangents, self.spread, value=2)
        return by_inputs[:, : self.features], result
