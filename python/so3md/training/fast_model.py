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
from so3md.training.edge_functions import messages, scores, silu_filter, with_slope
from so3md.training.smooth import layer_norm, silu


class Inputs:
    """What the layers are given of a batch: see `Batch` and `Geometry`; every quantity once for each pair.

    basis (2 pairs, K): the radial basis, then its slope; distance, phi (pairs) and harmonics (pairs, M) carry the
    gradient of the positions; centre and neighbour (2 pairs): each pair in both directions, all first-to-second edges
    before all second-to-first ones.
    """

    def __init__(
        self, first: Tensor, second: Tensor, basis: Tensor, distance: Tensor, phi: Tensor, harmonics: Tensor, hyper: Any
    ) -> None:
        self.first, self.second = first, second
        self.centre, self.neighbour = torch.cat([first, second]), torch.cat([second, first])
        self.basis, self.distance, self.phi = basis, distance, phi
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
        self.heads = heads, len(degrees)
        self.factors = tuple(1 / _normaliser(features // number, hyper) for number in self.heads)
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

    def _filters(self, chi: Tensor | None, inputs: Inputs) -> tuple[Tensor, Tensor]:
        """Eq. (17) for each pair: of the feature and the coordinate block, (pairs, F) each."""
        bias = self.radial2_bias + self.spherical2_bias
        if chi is None:  # all invariants are zero, so the spherical part is one vector
            constant = torch.bmm(self.spherical2_weight, self.activation(self.spherical1_bias)[:, :, None])
            bias = bias + constant.squeeze(-1)
        values, slopes, *coordinates = self._radial_filters(inputs.basis, bias)
        blocks = with_slope(values, slopes, inputs.distance), with_slope(*coordinates, inputs.distance)
        if chi is None:
            return blocks
        difference = chi.index_select(0, inputs.second) - chi.index_select(0, inputs.first)
        m = (difference * difference) @ self.invariant
        hidden = functional.linear(m, self.spherical1_weight.flatten(0, 1), self.spherical1_bias.flatten())
        hidden = self.activation(hidden).chunk(2, dim=1)
        return tuple(
            torch.addmm(block, part, weight.T)
            for block, part, weight in zip(blocks, hidden, self.spherical2_weight.unbind(), strict=True)
        )

    def _radial_filters(self, basis: Tensor, bias: Tensor) -> tuple[Tensor, ...]:
        """The radial part and its slope, (pairs, F) each, of the feature block, then of the coordinate block."""
        if self.activation is silu:
            return silu_filter(basis, self.radial1_weight, self.radial1_bias, self.radial2_weight, bias)
        pairs = len(basis) // 2
        z = torch.matmul(basis, self.radial1_weight.transpose(1, 2))
        hidden = torch.func.jvp(self.activation, (z[:, :pairs] + self.radial1_bias[:, None],), (z[:, pairs:],))
        values, slopes = (torch.bmm(part, self.radial2_weight.transpose(1, 2)) for part in hidden)
        values = values + bias[:, None]
        return values[0], slopes[0], values[1], slopes[1]

    def _project(self, x: Tensor, matrices: Tensor) -> tuple[Tensor, ...]:
        """Eq. (18): queries, keys and, of the feature block, values, (n, F) each."""
        heads, width = matrices.shape[:2]
        by_head = x.view(len(x), heads, width).transpose(0, 1)
        result = torch.bmm(by_head, matrices.flatten(2)).view(heads, len(x), -1, width)
        return result.permute(2, 1, 0, 3).reshape(-1, len(x), heads * width).unbind()

    def _attend(self, x: Tensor, chi: Tensor | None, inputs: Inputs) -> tuple[Tensor, Tensor]:
        """The sums over neighbours in eqs. (20) and (22)."""
        i, j = inputs.centre, inputs.neighbour
        w, w_coordinates = self._filters(chi, inputs)
        q, k, v = self._project(x, self.query_key_value)
        q_coordinates, k_coordinates = self._project(x, self.query_key_coordinates)
        if self.query_key_activation != "identity":
            act = activation(self.query_key_activation)
            q, k, q_coordinates, k_coordinates = act(q), act(k), act(q_coordinates), act(k_coordinates)
        alpha = scores(q, k, w, i, j, self.heads[0]) * (inputs.phi_both * self.factors[0])
        beta = scores(q_coordinates, k_coordinates, w_coordinates, i, j, self.heads[1])
        dchi = (beta @ (self.repeat * self.factors[1])) * inputs.phi_harmonics
        return messages(alpha, v, i, j), dchi.new_zeros(len(x), dchi.shape[1]).index_add(0, i, dchi)

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


def _normaliser(width: int, hyper: dict[str, Any]) -> float:
    """N and N' of eqs. (19) and (21)."""
    kind = hyper["attention_normalization"]
    return {"constant": kind.get("value"), "sqrt_head_width": math.sqrt(width), "none": 1.0}[kind["type"]]


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
