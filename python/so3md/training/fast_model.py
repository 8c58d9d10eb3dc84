"""The network of `so3md.reference` arranged for training: the same parameters and numbers in far fewer operations.

What it makes use of, beside fewer and larger products (equations of docs/theory.md):
- A filter w_ij is the same seen from i and from j, so it is evaluated once for each pair, eq. (17).
- Cutoff, radial basis and harmonics have no parameters: they enter as given numbers, see `geometry`.
- The coordinates chi are zero in the first layer, and so are the invariants of their differences.
- Feature and coordinate blocks go through the same batched products.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from so3md.architectures import with_defaults
from so3md.reference.functions import ACTIVATIONS
from so3md.training.smooth import layer_norm, silu


class Inputs:
    """What the layers are given of a batch: see `Batch` and `Geometry`; every quantity once for each pair.

    radial (pairs, K), phi (pairs), harmonics (pairs, M); centre and neighbour (2 pairs): each pair in both directions,
    all first-to-second edges before all second-to-first ones.
    """

    def __init__(
        self, first: Tensor, second: Tensor, radial: Tensor, phi: Tensor, harmonics: Tensor, hyper: Any
    ) -> None:
        self.first, self.second = first, second
        self.centre, self.neighbour = torch.cat([first, second]), torch.cat([second, first])
        self.radial, self.phi = radial, phi
        degrees = hyper["degrees"]
        self.phi_both = torch.cat([phi, phi])[:, None]
        sign = harmonics.new_tensor([(-1.0) ** degree for degree in degrees for _ in range(2 * degree + 1)])
        self.phi_harmonics = torch.cat([harmonics, harmonics * sign]) * self.phi_both


class FastLayer(nn.Module):
    """One layer, eqs. (16) to (25). Feature and coordinate blocks lie side by side in the first axis of parameters."""

    def __init__(self, hyper: dict[str, Any]) -> None:
        super().__init__()
        features, degrees = hyper["num_features"], hyper["degrees"]
        hidden, spherical = hyper["radial_hidden"], hyper["spherical_hidden"]
        self.features, self.hyper = features, hyper
        self.activation = activation(hyper["activation"])
        self.query_key_activation = hyper["query_key_activation"]

        def new(name: str, *shape: int) -> None:
            self.register_parameter(name, nn.Parameter(torch.zeros(*shape)))

        new("radial1_weight", 2, hidden, hyper["radial_basis"]["size"])
        new("radial1_bias", 2, hidden)
        new("radial2_weight", 2, features, hidden)
        new("radial2_bias", 2, features)
        new("spherical1_weight", 2, spherical, len(degrees))
        new("spherical1_bias", 2, spherical)
        new("spherical2_weight", 2, features, spherical)
        new("spherical2_bias", 2, features)
        heads, width = hyper["num_heads"], features // hyper["num_heads"]
        new("query_key_value", heads, width, 3, width)
        width = features // len(degrees)
        new("query_key_coordinates", len(degrees), width, 2, width)
        self.pre_norm = hyper["layer_norm_position"] == "pre"
        self.three_layers = hyper["residual_mlp_kind"] == "three_layers"
        for number in (1, 2):
            if hyper[f"layer_norm_{number}"]:
                new(f"norm{number}_scale", features)
                new(f"norm{number}_bias", features)
            if hyper[f"residual_mlp_{number}"]:
                for dense in range(1, 4 if self.three_layers else 3):
                    new(f"mlp{number}_dense{dense}_weight", features, features)
                    if not self.three_layers:
                        new(f"mlp{number}_dense{dense}_bias", features)
        new("exchange_weight", features + len(degrees), features + len(degrees))
        new("exchange_bias", features + len(degrees))
        self.register_buffer("sum_features", _sum_over_heads(features, heads, hyper), persistent=False)
        self.register_buffer("sum_coordinates", _sum_over_heads(features, len(degrees), hyper), persistent=False)
        self.register_buffer("spread_features", _sum_over_heads(features, heads, None).T.contiguous(), persistent=False)
        self.register_buffer("repeat", _repeat_degrees(degrees), persistent=False)
        self.register_buffer("invariant", _invariant_sums(degrees), persistent=False)

    def views(self) -> Iterator[tuple[str, Tensor]]:
        """Name in the model file (after "layers.T.") and values of every tensor, sharing memory with the parameters."""
        for block, name in enumerate(("filter_features", "filter_coordinates")):
            for dense in ("radial1", "radial2", "spherical1", "spherical2"):
                for kind in ("weight", "bias"):
                    yield f"{name}.{dense}.{kind}", getattr(self, f"{dense}_{kind}").data[block]
        for index, name in enumerate(("query", "key", "value")):
            yield f"attention.{name}_features", self.query_key_value.data[:, :, index]
        for index, name in enumerate(("query", "key")):
            yield f"attention.{name}_coordinates", self.query_key_coordinates.data[:, :, index]
        for name, value in self.named_parameters():
            if name.startswith(("norm", "mlp", "exchange")):
                yield name.replace("_", "."), value.data

    def forward(self, x: Tensor, chi: Tensor | None, inputs: Inputs) -> tuple[Tensor, Tensor]:
        """x (n, F); chi (n, M), None for zero."""
        given = self._norm(1, x) if self.pre_norm else x
        dx, dchi = self._attend(given, chi, inputs)
        x, chi = x + dx, dchi if chi is None else chi + dchi
        x = self._residual(1, x if self.pre_norm else self._norm(1, x))
        m = (chi * chi) @ self.invariant
        given = self._norm(2, x) if self.pre_norm else x
        exchange = functional.linear(torch.cat([given, m], dim=-1), self.exchange_weight, self.exchange_bias)
        x = x + exchange[:, : self.features]
        chi = chi + (exchange[:, self.features :] @ self.repeat) * chi
        x = self._residual(2, x)
        return (x if self.pre_norm else self._norm(2, x)), chi

    def _filters(self, chi: Tensor | None, inputs: Inputs) -> Tensor:
        """Eq. (17) for each pair and both blocks: (2, pairs, F)."""
        pairs = len(inputs.radial)
        bias = (self.radial2_bias + self.spherical2_bias)[:, None]
        hidden = functional.linear(inputs.radial, self.radial1_weight.flatten(0, 1), self.radial1_bias.flatten())
        hidden = self.activation(hidden).view(pairs, 2, -1).transpose(0, 1)
        if chi is None:  # all invariants are zero, so the spherical part is one vector
            constant = torch.bmm(self.spherical2_weight, self.activation(self.spherical1_bias)[:, :, None])
            return torch.baddbmm(bias + constant.transpose(1, 2), hidden, self.radial2_weight.transpose(1, 2))
        difference = chi[inputs.second] - chi[inputs.first]
        m = (difference * difference) @ self.invariant
        spherical = functional.linear(m, self.spherical1_weight.flatten(0, 1), self.spherical1_bias.flatten())
        spherical = self.activation(spherical).view(pairs, 2, -1).transpose(0, 1)
        w = torch.baddbmm(bias, hidden, self.radial2_weight.transpose(1, 2))
        return torch.baddbmm(w, spherical, self.spherical2_weight.transpose(1, 2))

    def _project(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Eq. (18): queries and keys of both blocks (2, n, F), values (n, F)."""

        def product(matrices: Tensor) -> Tensor:
            heads, width = matrices.shape[:2]
            by_head = x.view(len(x), heads, width).transpose(0, 1)
            result = torch.bmm(by_head, matrices.flatten(2)).view(heads, len(x), -1, width)
            return result.permute(2, 1, 0, 3).reshape(-1, len(x), heads * width)

        q, k, v = product(self.query_key_value).unbind()
        q_coordinates, k_coordinates = product(self.query_key_coordinates).unbind()
        q, k = torch.stack([q, q_coordinates]), torch.stack([k, k_coordinates])
        if self.query_key_activation != "identity":
            act = activation(self.query_key_activation)
            q, k = act(q), act(k)
        return q, k, v

    def _attend(self, x: Tensor, chi: Tensor | None, inputs: Inputs) -> tuple[Tensor, Tensor]:
        """The sums over neighbours in eqs. (20) and (22)."""
        w = self._filters(chi, inputs)
        q, k, v = self._project(x)
        i, j = inputs.centre, inputs.neighbour
        product = q.index_select(1, i) * k.index_select(1, j)
        product = (product.view(2, 2, -1, self.features) * w[:, None]).view(2, -1, self.features)
        alpha = (product[0] @ self.sum_features) * inputs.phi_both
        beta = product[1] @ self.sum_coordinates
        messages = (alpha @ self.spread_features) * v.index_select(0, j)
        dx = torch.zeros_like(x).index_add(0, i, messages)
        dchi = (beta @ self.repeat) * inputs.phi_harmonics
        return dx, dchi.new_zeros(len(x), dchi.shape[1]).index_add(0, i, dchi)

    def _norm(self, number: int, x: Tensor) -> Tensor:
        if not self.hyper[f"layer_norm_{number}"]:
            return x
        scale, bias = getattr(self, f"norm{number}_scale"), getattr(self, f"norm{number}_bias")
        return layer_norm(x, scale, bias, self.hyper["layer_norm_epsilon"])

    def _residual(self, number: int, x: Tensor) -> Tensor:
        if not self.hyper[f"residual_mlp_{number}"]:
            return x

        def dense(index: int, y: Tensor) -> Tensor:
            name = f"mlp{number}_dense{index}"
            return functional.linear(y, getattr(self, f"{name}_weight"), getattr(self, f"{name}_bias", None))

        update = dense(2, self.activation(dense(1, self.activation(x))))
        return dense(3, self.activation(x + update)) if self.three_layers else x + update


def activation(name: str) -> Any:
    """The activation function; silu in a form whose second derivative is cheap."""
    return silu if name == "silu" else ACTIVATIONS[name]


def _sum_over_heads(features: int, heads: int, hyper: dict[str, Any] | None) -> Tensor:
    """(features, heads): sums the channels of each head, divided by the normaliser of eqs. (19) and (21) if wanted."""
    width = features // heads
    result = torch.eye(heads).repeat_interleave(width, dim=0)
    kind = {"type": "none"} if hyper is None else hyper["attention_normalization"]
    value = {"constant": kind.get("value"), "sqrt_head_width": math.sqrt(width), "none": 1.0}[kind["type"]]
    return result.double() / value


def _repeat_degrees(degrees: list[int]) -> Tensor:
    """(degrees, M): one value per degree to one per coordinate."""
    return torch.eye(len(degrees)).repeat_interleave(torch.tensor([2 * d + 1 for d in degrees]), dim=1)


def _invariant_sums(degrees: list[int]) -> Tensor:
    """(M, degrees): squares of coordinates to the invariants of eq. (16)."""
    norms = torch.tensor([math.sqrt(2 * degree + 1) for degree in degrees], dtype=torch.float64)
    return _repeat_degrees(degrees).double().T / norms


def complete_hyperparameters(hyper: dict[str, Any]) -> dict[str, Any]:
    """Hyperparameters of architecture so3krates with every optional key."""
    return with_defaults(hyper)
