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

from so3md.architectures import with_defaults
from so3md.reference.functions import ACTIVATIONS
from so3md.training.smooth import silu


class FastLayer(nn.Module):
    """One layer, eqs. (16) to (25). Feature and coordinate blocks lie side by side in the first axis of parameters."""

    radial1_weight: Tensor
    radial1_bias: Tensor
    radial2_weight: Tensor
    radial2_bias: Tensor
    spherical1_weight: Tensor
    spherical1_bias: Tensor
    spherical2_weight: Tensor
    spherical2_bias: Tensor
    query_key_value: Tensor
    query_key_coordinates: Tensor
    exchange_weight: Tensor
    exchange_bias: Tensor
    repeat: Tensor
    invariant: Tensor

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
