"""The heaviest steps on pairs by kernels of the engine's library, on a processor: see csrc/training/kernels.h.

They do what the classes of the same names without "Native" in `pair_steps` do, in fewer passes over the arrays.
"""

from __future__ import annotations

import ctypes
from functools import cache

import torch
from torch import Tensor

from so3md import _engine
from so3md.training.fast_model import FastLayer
from so3md.training.node_steps import Gradients
from so3md.training.pair_steps import Edges

_NAMES = {torch.float32: "float", torch.float64: "double"}
#: Whether to use the kernels where that is possible.
enabled = True


def is_native(edges: Edges, activation: str = "silu") -> bool:
    """Whether there are kernels for a batch, and for an activation."""
    return enabled and edges.basis.device.type == "cpu" and edges.basis.dtype in _NAMES and activation == "silu"


@cache
def _library() -> ctypes.CDLL:
    library = ctypes.CDLL(_engine.__file__)
    library.so3md_training_fields.restype = ctypes.c_char_p
    return library


@cache
def _struct(name: str) -> type[ctypes.Structure]:
    """A struct of csrc/training/kernels.h, with the fields that the library says it has."""
    kinds = {"number": ctypes.c_int64, "address": ctypes.c_void_p}
    lines = [line.split() for line in _library().so3md_training_fields(name.encode()).decode().splitlines()]
    struct = type(name, (ctypes.Structure,), {"_fields_": [(field, kinds[kind]) for field, _, kind in lines]})
    offsets = {field: getattr(struct, field).offset for field, *_ in lines}
    expected = {field: int(offset) for field, offset, _ in lines}
    if offsets != expected:
        raise ImportError(f"{name} of the engine has fields at {expected}, and Python would put them at {offsets}")
    return struct


class _Step:
    """A struct and the arrays that it points to."""

    def __init__(self, struct: str, dtype: torch.dtype, **sizes: int) -> None:
        self.step = _struct(struct)(**sizes)
        self.suffix = _NAMES[dtype]
        self.arrays: dict[str, Tensor | None] = {}

    def put(self, **arrays: Tensor | None) -> None:
        for name, array in arrays.items():
            self.arrays[name] = array
            setattr(self.step, name, None if array is None else array.data_ptr())

    def call(self, name: str) -> None:
        getattr(_library(), f"so3md_{name}_{self.suffix}")(ctypes.byref(self.step))


class NativeRadialFilters:
    """See `RadialFilters`."""

    def __init__(self, module: FastLayer, edges: Edges, activation: str, gradients: Gradients) -> None:
        self.module, self.edges, self.gradients = module, edges, gradients
        _, hidden, size = module.radial1_weight.shape
        self.shape = len(edges), hidden, module.features
        self.step = _Step(
            "RadialFilterStep",
            edges.basis.dtype,
            pairs=len(edges),
            basis_size=size,
            hidden=hidden,
            features=module.features,
        )

    def forward(self, bias: Tensor) -> tuple[Tensor, Tensor]:
        p, (pairs, hidden, features) = self.module, self.shape
        result = bias.new_empty(2, 2 * pairs, features)
        self.step.put(
            basis=self.edges.basis,
            weight1=p.radial1_weight,
            bias1=p.radial1_bias,
            weight2=p.radial2_weight,
            bias2=bias,
            values=bias.new_empty(2, 2 * pairs, hidden),
            slope=bias.new_empty(2, pairs, hidden),
            bend=bias.new_empty(2, pairs, hidden),
            result=result,
        )
        self.step.call("filter_forward")
        return result[:, :pairs], result[:, pairs:]

    def gradient(self, m: Tensor, adjoints: Tensor) -> None:
        p = self.module
        parameters = {"weight1": "radial1_weight", "bias1": "radial1_bias", "weight2": "radial2_weight"}
        gradients = {name: torch.zeros_like(getattr(p, name)) for name in parameters.values()}
        self.step.put(
            gradient=m,
            adjoints=adjoints,
            distances=self.edges.distance_tangents.contiguous(),
            by_basis=self.edges.by_basis,
            **{f"by_{short}": gradients[name] for short, name in parameters.items()},
        )
        self.step.call("filter_gradient")
        self.gradients.update(gradients)


class NativeEdgeSums:
    """See `EdgeSums`."""

    def __init__(self, edges: Edges, heads: tuple[int, int], normaliser: float, moves: bool) -> None:
        self.edges, self.heads, self.normaliser, self.moves = edges, heads, normaliser, moves

    def forward(self, projections: Tensor, w: Tensor) -> tuple[Tensor, Tensor]:
        edges, (_, atoms, features) = self.edges, projections.shape
        self.step = _Step(
            "EdgeSumStep",
            w.dtype,
            pairs=len(edges),
            atoms=atoms,
            features=features,
            heads=self.heads[0],
            coordinate_heads=self.heads[1],
            filter_stride=w.stride(0),
        )
        self.scores, coordinate_scores = (w.new_empty(2, len(edges), heads) for heads in self.heads)
        sums = w.new_zeros(atoms, features)
        self.step.put(
            first=edges.first,
            second=edges.second,
            projections=projections,
            filters=w,
            factor=edges.phi_of_pairs * self.normaliser,
            scores=self.scores,
            coordinate_scores=coordinate_scores,
            sums=sums,
        )
        self.step.call("sums_forward")
        return sums, coordinate_scores

    def adjoint(self, by_sums: Tensor, by_coordinate_scores: Tensor) -> tuple[Tensor | None, Tensor]:
        by_projections = by_sums.new_zeros(5, *by_sums.shape) if self.moves else None
        by_w = by_sums.new_empty(2, len(self.edges), by_sums.shape[1])
        self.by_alpha = torch.empty_like(self.scores)
        self.step.put(
            by_sums=by_sums.contiguous(),
            by_coordinate_scores=by_coordinate_scores,
            by_alpha=self.by_alpha,
            by_projections=by_projections,
            by_filters=by_w,
        )
        self.step.call("sums_adjoint")
        return by_projections, by_w

    def tangent(self, projections: Tensor | None, w: Tensor) -> tuple[Tensor, Tensor]:
        sums = w.new_zeros(self.edges.atoms, w.shape[2])
        coordinate_scores = w.new_empty(2, len(self.edges), self.heads[1])
        self.step.put(
            projection_tangents=projections,
            filter_tangents=w,
            factor_tangents=self.edges.phi_tangents_of_pairs * self.normaliser,
            alpha_tangents=torch.empty_like(self.scores),
            coordinate_score_tangents=coordinate_scores,
            sum_tangents=sums,
        )
        self.step.call("sums_tangent")
        return sums, coordinate_scores

    def gradient(self, by_sums: Tensor, by_coordinate_scores: Tensor) -> tuple[Tensor, Tensor]:
        by_projections = by_sums.new_zeros(5, *by_sums.shape)
        by_w = by_sums.new_empty(2, len(self.edges), by_sums.shape[1])
        self.step.put(
            gradient=by_sums.contiguous(),
            coordinate_gradient=by_coordinate_scores,
            projection_gradient=by_projections,
            filter_gradient=by_w,
        )
        self.step.call("sums_gradient")
        return by_projections, by_w
