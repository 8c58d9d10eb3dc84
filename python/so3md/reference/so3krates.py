"""The architecture "so3krates": the local networks from 2023 on, SO3LR among them, with their physical terms."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn

from so3md.model_file import SO3KRATES
from so3md.reference import functions
from so3md.reference.graph import Edges, Graph
from so3md.reference.model import ReferenceModel, ignore, prefixed
from so3md.reference.network import (
    ChargeHead,
    Embedding,
    EnergyHead,
    HirshfeldHead,
    Layer,
    LayerNorm,
    Note,
    RadialBasis,
    SimpleRatioHead,
)
from so3md.reference.physics import Dispersion, NlhRepulsion, ZblRepulsion, electrostatic_energy


class So3kratesModel(ReferenceModel, architecture=SO3KRATES):
    """Sections 1 to 5 and 8 of docs/theory.md."""

    def __init__(self, hyperparameters: dict[str, Any], elements: Sequence[int]) -> None:
        super().__init__(hyperparameters, elements)
        hyper, num_elements = self.hyperparameters, len(elements)
        self.embedding = Embedding(hyper, num_elements)
        self.radial_basis = RadialBasis(hyper)
        self.layers = nn.ModuleList(Layer(hyper) for _ in range(hyper["num_layers"]))
        norm = LayerNorm(hyper["num_features"], hyper["layer_norm_epsilon"]) if hyper["final_layer_norm"] else None
        self.final_norm = norm
        self.energy = EnergyHead(hyper, num_elements)
        self.charge = ChargeHead(hyper, num_elements) if hyper["charge_head"] else None
        self.hirshfeld = _hirshfeld_head(hyper, num_elements)
        c6_head = hyper["c6_head"]
        self.c6 = SimpleRatioHead(hyper["num_features"], c6_head["hidden"], num_elements) if c6_head else None
        self.zbl = ZblRepulsion(**hyper["zbl"]) if hyper["zbl"] else None
        nlh = hyper["repulsion"]  # the one type that there is
        self.nlh = NlhRepulsion(num_elements, nlh["switch_on"], nlh["switch_off"]) if nlh else None
        self.electrostatics = hyper["electrostatics"]
        damping_scale = hyper["dispersion"] and hyper["dispersion"]["damping_scale"]
        self.dispersion = Dispersion(num_elements, damping_scale) if hyper["dispersion"] else None

    @property
    def has_long_range(self) -> bool:
        return self.electrostatics is not None or self.dispersion is not None

    def represent(self, graph: Graph, note: Note = ignore) -> tuple[Tensor, Tensor]:
        """Features x (n, F) after the last layer, and phi (edges) of the short edges."""
        edges, hyper = graph.short_edges, self.hyperparameters
        r = edges.distance
        phi = functions.cutoff_function(
            hyper["cutoff_function"]["type"], r, hyper["cutoff"], hyper["cutoff_function"].get("exponent", 0.0)
        )
        radial = self.radial_basis(r)
        harmonics = functions.spherical_harmonics(edges.displacement / r[:, None], hyper["degrees"])
        for name, value in (("ylm", harmonics), ("cutoff", phi[:, None]), ("rbf", radial)):
            note(name, value)
        x = self.embedding(graph, note)
        chi = self.initial_coordinates(len(x), edges, phi, harmonics)
        embedded = x
        for t, layer in enumerate(cast("Iterable[Layer]", self.layers)):
            x, chi = layer(layer.enter(x, embedded), chi, edges, radial, phi, harmonics, prefixed(note, f"layer{t}_"))
        x = x if self.final_norm is None else self.final_norm(x)
        note("x_final", x)
        return x, phi

    def initial_coordinates(self, num_atoms: int, edges: Edges, phi: Tensor, harmonics: Tensor) -> Tensor:
        """chi (n, sum of 2l+1) before the first layer, eq. (13) or (53)."""
        chi, options = harmonics.new_zeros(num_atoms, harmonics.shape[-1]), self.hyperparameters["initial_coordinates"]
        if options["type"] == "zero":
            return chi
        return chi.index_add(0, edges.centre, phi[:, None] * harmonics) / options["normalization"]

    def forward(
        self, graph: Graph, lr_cutoff: float | None = 12.0, lr_damping: float = 2.0, note: Note = ignore
    ) -> dict[str, Any]:
        """Eq. (31), see `ReferenceModel.forward`."""
        x, phi = self.represent(graph, note)
        components = {"nn": self.energy(x, graph)}
        result: dict[str, Any] = {"energy_components": components}
        per_atom = torch.zeros_like(components["nn"])
        if self.zbl is not None:
            pair = self.zbl(graph.short_edges, phi, self._numbers(graph, x))
            components["zbl"] = per_atom.index_add(0, graph.short_edges.centre, pair)
        if self.nlh is not None:  # the component keeps the name of the other repulsion
            pair = self.nlh(graph.short_edges, phi, self._numbers(graph, x), graph.species)
            components["zbl"] = per_atom.index_add(0, graph.short_edges.centre, pair)
        if self.charge is not None:
            result["charges"] = self.charge(x, graph, note)
        if self.hirshfeld is not None:
            result["hirshfeld_ratios"] = self.hirshfeld(x, graph)
        if self.c6 is not None:
            result["c6_ratios"] = self.c6(x, graph)
        far = _long_edges(graph) if self.has_long_range else None
        if self.electrostatics is not None and far is not None:
            pair = electrostatic_energy(far, result["charges"], self.electrostatics["sigma"], lr_cutoff)
            components["electrostatics"] = per_atom.index_add(0, far.centre, pair)
        if self.dispersion is not None and far is not None:
            ratios, c6_ratios = result["hirshfeld_ratios"], result.get("c6_ratios")
            pair = self.dispersion(far, graph.species, ratios, lr_cutoff, lr_damping, c6_ratios)
            components["dispersion"] = per_atom.index_add(0, far.centre, pair)
        result["energies"] = sum(components.values())
        result["energy"] = graph.sum_structures(result["energies"])
        return result

    def _numbers(self, graph: Graph, like: Tensor) -> Tensor:
        """Atomic numbers (n)."""
        return torch.tensor(self.elements, dtype=like.dtype, device=like.device)[graph.species]

    def tail(self, graph: Graph, result: dict[str, Any], volume: Tensor, lr_cutoff: float, lr_damping: float) -> Tensor:
        if self.dispersion is None:
            return super().tail(graph, result, volume, lr_cutoff, lr_damping)
        ratios, c6_ratios = result["hirshfeld_ratios"], result.get("c6_ratios")
        return self.dispersion.tail(graph.species, ratios, volume, lr_cutoff, lr_damping, c6_ratios)


def _hirshfeld_head(hyper: dict[str, Any], num_elements: int) -> HirshfeldHead | SimpleRatioHead | None:
    head = hyper["hirshfeld_head"]
    if head is None:
        return None
    if "type" not in head:
        return HirshfeldHead(hyper, num_elements)
    return SimpleRatioHead(hyper["num_features"], head["hidden"], num_elements)


def _long_edges(graph: Graph) -> Edges:
    if graph.long_edges is None:
        raise ValueError("the model has long-range terms: expected a graph with long edges, found one without")
    return graph.long_edges
