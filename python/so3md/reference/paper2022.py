"""The architecture "so3krates-2022": the network of the paper, with attention in the space of coordinates.

Equation numbers are those of docs/theory.md. Displacements point from the neighbour to the centre here, unlike in
"so3krates".
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from so3md.model_file import PAPER_2022
from so3md.reference import functions
from so3md.reference.clebsch_gordan import real_coefficients
from so3md.reference.graph import Graph
from so3md.reference.model import ReferenceModel, ignore, prefixed
from so3md.reference.network import (
    Attention,
    ChargeSpinEmbedding,
    Embedding,
    EnergyHead,
    Filter,
    LayerNorm,
    Note,
    parameter,
    repeat_degrees,
)

#: The coefficient of the Gaussian radial functions, 1/A^2.
GAUSSIAN_COEFFICIENT = 10.0
#: The exponent of the polynomial that ends the attention between atoms which are not close in the space of chi.
NONLOCAL_EXPONENT = 6.0


def safe_sqrt(values: Tensor) -> Tensor:
    """The square root, with value and derivatives 0 at 0."""
    positive = values > 0
    return torch.where(positive, torch.where(positive, values, torch.ones_like(values)).sqrt(), values.new_zeros(()))


def norms(coordinates: Tensor, degrees: list[int]) -> Tensor:
    """|c_l|, one number per degree: (n, sum of 2l+1) -> (n, degrees)."""
    blocks = coordinates.split([2 * degree + 1 for degree in degrees], dim=-1)
    return safe_sqrt(torch.stack([(block**2).sum(-1) for block in blocks], dim=-1))


class Pairs:
    """The pairs that the network sees, with everything about them that no layer changes.

    centre, neighbour, phi (pairs); radial (pairs, K): e_ij, eq. (57); harmonics (pairs, sum of 2l+1). inside: which
    pairs are closer than the cutoff, all of them (None) where the network is local.
    """

    def __init__(self, graph: Graph, hyper: dict[str, Any], basis: nn.Module, all_pairs: bool) -> None:
        edges, options = graph.short_edges, hyper["cutoff_function"]
        self.centre, self.neighbour = edges.centre, edges.neighbour
        distance = edges.distance
        self.phi = functions.cutoff_function(options["type"], distance, hyper["cutoff"], options.get("exponent", 0.0))
        self.radial = self.phi[:, None] * basis(distance)
        self.harmonics = functions.spherical_harmonics(-edges.displacement / distance[:, None], hyper["degrees"])
        self.inside = torch.nonzero(distance < hyper["cutoff"]).squeeze(-1) if all_pairs else None
        atoms = torch.bincount(graph.batch, minlength=graph.num_structures)
        self.num_atoms_of_structure = atoms[graph.batch[self.centre]]

    def softmax(self, values: Tensor, num_atoms: int) -> Tensor:
        """exp(v_ij) / sum over j' of exp(v_ij') for values (pairs)."""
        largest = values.new_full((num_atoms,), -math.inf)
        largest = largest.scatter_reduce(0, self.centre, values.detach(), "amax")
        powers = torch.exp(values - largest[self.centre])
        return powers / powers.new_zeros(num_atoms).index_add(0, self.centre, powers)[self.centre]


class ChargeSpinEmbedding2022(ChargeSpinEmbedding):
    """Eqs. (14) and (58)."""

    def transform(self, v: Tensor) -> Tensor:
        return self.activation(v @ self.mlp1.T) @ self.mlp2.T


class Embedding2022(Embedding):
    """x_i, eq. (13)."""

    charge_spin_kind = ChargeSpinEmbedding2022


class RadialBasis2022(nn.Module):
    """g_k(r), eqs. (7), (9), (10) and (56)."""

    def __init__(self, hyper: dict[str, Any]) -> None:
        super().__init__()
        self.kind, self.size, self.cutoff = (
            hyper["radial_basis"]["type"],
            hyper["radial_basis"]["size"],
            hyper["cutoff"],
        )
        if self.kind == "bernstein":
            self.gamma = parameter(1)

    def forward(self, distance: Tensor) -> Tensor:
        if self.kind == "bernstein":
            return functions.bernstein_basis(distance, self.size, self.gamma)
        if self.kind == "gaussian":
            centers = torch.linspace(0.0, self.cutoff, self.size, dtype=distance.dtype, device=distance.device)
            return torch.exp(-GAUSSIAN_COEFFICIENT * (distance[:, None] - centers) ** 2)
        if self.kind == "bessel":
            return functions.bessel_basis(distance, self.size, self.cutoff)
        return functions.phys_basis(distance, self.size, self.cutoff)


class Attention2022(Attention):
    """Queries, keys and values with biases, eq. (62)."""

    def __init__(self, hyper: dict[str, Any]) -> None:
        super().__init__(hyper)
        for name, matrices in list(self.named_parameters()):
            setattr(self, f"{name}_bias", parameter(*matrices.shape[:2]))

    def head_values(self, name: str, x: Tensor) -> Tensor:
        """One of the maps of all atoms: (n, F) -> (n, heads, width)."""
        return self.project(x, getattr(self, name)) + getattr(self, f"{name}_bias")

    def edge_weights(self, block: str, x: Tensor, filters: Tensor, centre: Tensor, neighbour: Tensor) -> Tensor:
        """Eqs. (63) and (66) without cutoffs: (pairs, heads)."""
        q, k = self.head_values(f"query_{block}", x), self.head_values(f"key_{block}", x)
        w = filters.unflatten(-1, q.shape[1:])
        return (q[centre] * k[neighbour] * w).sum(-1) / math.sqrt(q.shape[-1])


class CoordinateNorm(nn.Module):
    """chi_l to s_l chi_l / |chi_l|, eq. (67); zero stays zero."""

    def __init__(self, degrees: list[int]) -> None:
        super().__init__()
        self.scale, self.degrees = parameter(len(degrees)), degrees

    def forward(self, chi: Tensor) -> Tensor:
        length = norms(chi, self.degrees)
        factor = torch.where(length > 0, self.scale / torch.where(length > 0, length, torch.ones_like(length)), length)
        return repeat_degrees(factor, self.degrees) * chi


class SelfMix(nn.Module):
    """Coordinates of an atom coupled with each other, eq. (69), and the gate that their norms open, eq. (70)."""

    first: Tensor
    second: Tensor
    couplings: Tensor
    number: Tensor

    def __init__(self, hyper: dict[str, Any]) -> None:
        super().__init__()
        degrees = hyper["degrees"]
        self.coefficients = parameter(len(degrees), len(degrees), len(degrees))
        self.gate = nn.Linear(len(degrees), hyper["num_features"])
        first, second, couplings = _couplings(degrees, hyper["parity"])
        number = torch.tensor([index for index, degree in enumerate(degrees) for _ in range(2 * degree + 1)])
        # Constants and no weights: they follow the precision and the device of the module but are not saved with it.
        for name, value in (
            ("first", first),
            ("second", second),
            ("couplings", couplings),
            ("number", number),
        ):
            self.register_buffer(name, value, persistent=False)

    def forward(self, chi: Tensor) -> Tensor:
        """(n, sum of 2l+1) -> (n, sum of 2l+1)."""
        weights = self.coefficients[:, self.number[self.first], self.number[self.second]][self.number].T
        return (chi[:, self.first] * chi[:, self.second]) @ (weights * self.couplings)


def _couplings(degrees: list[int], parity: bool) -> tuple[Tensor, Tensor, Tensor]:
    """Pairs (first, second) of coordinates with l1 < l2, and their P C (pairs, sum of 2l+1), eqs. (68) and (69)."""
    starts = [sum(2 * degree + 1 for degree in degrees[:index]) for index in range(len(degrees) + 1)]
    blocks = [
        (a, b, first, second)
        for index, (a, first) in enumerate(zip(degrees, starts, strict=False))
        for b, second in zip(degrees[index + 1 :], starts[index + 1 :], strict=False)
    ]
    firsts, seconds, rows = [], [], []
    for l1, l2, first, second in blocks:
        i, j = torch.meshgrid(torch.arange(2 * l1 + 1), torch.arange(2 * l2 + 1), indexing="ij")
        columns = []
        for l3 in degrees:
            allowed = abs(l1 - l2) <= l3 <= l1 + l2 and not (parity and (l1 + l2 + l3) % 2)
            c = torch.from_numpy(real_coefficients(l3, l1, l2)) * float(allowed)
            columns.append(c.flatten(1).T)
        firsts.append(first + i.flatten())
        seconds.append(second + j.flatten())
        rows.append(torch.cat(columns, dim=1))
    if not blocks:
        empty = torch.zeros(0, dtype=torch.long)
        return empty, empty, torch.zeros(0, starts[-1], dtype=torch.float64)
    return torch.cat(firsts), torch.cat(seconds), torch.cat(rows)


class Layer2022(nn.Module):
    """One update of features x (n, F) and coordinates chi (n, sum of 2l+1), eqs. (60) to (71)."""

    def __init__(self, hyper: dict[str, Any]) -> None:
        super().__init__()
        features, self.degrees = hyper["num_features"], hyper["degrees"]
        self.nonlocal_options = hyper["nonlocal"]
        self.filter_features, self.filter_coordinates = Filter(hyper), Filter(hyper)
        self.attention = Attention2022(hyper)
        for number in (1, 2):
            norm = LayerNorm(features, hyper["layer_norm_epsilon"]) if hyper["layer_norm"] else None
            self.add_module(f"norm{number}", norm)
            coordinate_norm = CoordinateNorm(self.degrees) if hyper["coordinate_norm"] else None
            self.add_module(f"coordinate_norm{number}", coordinate_norm)
        self.self_mix = SelfMix(hyper)
        width = features + len(self.degrees)
        self.exchange = nn.Linear(width, 2 * width)

    def nonlocal_cutoff(self, difference: Tensor, pairs: Pairs, num_atoms: int) -> Tensor:
        """f_ij (pairs), eqs. (64) and (65), from chi_i - chi_j."""
        share = pairs.softmax(safe_sqrt((difference**2).sum(-1)), num_atoms)
        if self.nonlocal_options["type"] == "dynamic":
            u = share * pairs.num_atoms_of_structure
        else:
            u = share / self.nonlocal_options["cutoff"]
        return functions.cutoff_function("polynomial", u, 1.0, NONLOCAL_EXPONENT)

    def attend_features(self, x: Tensor, deltas: Tensor, pairs: Pairs, note: Note) -> Tensor:
        """The sum over neighbours in eq. (63)."""
        centre, neighbour, phi, radial = pairs.centre, pairs.neighbour, pairs.phi, pairs.radial
        if pairs.inside is not None:
            parts = (centre, neighbour, phi, radial, deltas)
            centre, neighbour, phi, radial, deltas = (part[pairs.inside] for part in parts)
        w = self.filter_features(radial, deltas)
        alpha = phi[:, None] * self.attention.edge_weights("features", x, w, centre, neighbour)
        note("alpha_features", alpha)
        messages = (alpha[:, :, None] * self.attention.head_values("value_features", x)[neighbour]).flatten(1)
        return torch.zeros_like(x).index_add(0, centre, messages)

    def attend_coordinates(
        self, x: Tensor, chi: Tensor, deltas: Tensor, weight: Tensor, pairs: Pairs, note: Note
    ) -> Tensor:
        """The sum over pairs in eq. (66); weight = phi + f (pairs)."""
        centre, neighbour, radial, harmonics = pairs.centre, pairs.neighbour, pairs.radial, pairs.harmonics
        if pairs.inside is not None:
            active = torch.nonzero(weight).squeeze(-1)
            parts = (centre, neighbour, radial, harmonics, deltas, weight)
            centre, neighbour, radial, harmonics, deltas, weight = (part[active] for part in parts)
        w = self.filter_coordinates(radial, deltas)
        beta = weight[:, None] * self.attention.edge_weights("coordinates", x, w, centre, neighbour)
        note("alpha_coordinates", beta)
        return torch.zeros_like(chi).index_add(0, centre, repeat_degrees(beta, self.degrees) * harmonics)

    def normalise(self, x: Tensor, chi: Tensor, number: int) -> tuple[Tensor, Tensor]:
        norm, coordinate_norm = getattr(self, f"norm{number}"), getattr(self, f"coordinate_norm{number}")
        return x if norm is None else norm(x), chi if coordinate_norm is None else coordinate_norm(chi)

    def interact(self, x: Tensor, chi: Tensor) -> tuple[Tensor, Tensor]:
        """Eqs. (69) to (71)."""
        mixed = self.self_mix(chi)
        degrees = len(self.degrees)
        both = self.exchange(torch.cat([x, norms(chi, self.degrees)], dim=-1))
        a1, a2, b1, b2 = both.split([x.shape[-1], x.shape[-1], degrees, degrees], dim=-1)
        gate = self.self_mix.gate(norms(mixed, self.degrees))
        x = (x + a1 + a2 * gate) / math.sqrt(3)
        return x, chi + repeat_degrees(b1, self.degrees) * chi + repeat_degrees(b2, self.degrees) * mixed

    def forward(self, x: Tensor, chi: Tensor, pairs: Pairs, note: Note) -> tuple[Tensor, Tensor]:
        difference = chi[pairs.centre] - chi[pairs.neighbour]
        deltas = norms(difference, self.degrees)
        weight = pairs.phi
        if self.nonlocal_options is not None:
            f = self.nonlocal_cutoff(difference, pairs, len(x))
            note("nonlocal_cutoff", f)
            weight = weight + f
        dx = self.attend_features(x, deltas, pairs, note)
        chi = chi + self.attend_coordinates(x, chi, deltas, weight, pairs, note)
        x, chi = self.normalise(x + dx, chi, 1)
        x, chi = self.normalise(*self.interact(x, chi), 2)
        note("x_out", x)
        note("chi_out", chi)
        return x, chi


class Paper2022Model(ReferenceModel, architecture=PAPER_2022):
    """Section 9 of docs/theory.md."""

    def __init__(self, hyperparameters: dict[str, Any], elements: Sequence[int]) -> None:
        super().__init__(hyperparameters, elements)
        # The paper has silu everywhere; the shared modules ask for it.
        hyper = self.hyperparameters | {
            "activation": "silu",
            "query_key_activation": "identity",
            "attention_normalization": {"type": "sqrt_head_width"},
        }
        self.sees_all_pairs = hyper["nonlocal"] is not None
        self.embedding = Embedding2022(hyper, len(elements))
        self.radial_basis = RadialBasis2022(hyper)
        self.layers = nn.ModuleList(Layer2022(hyper) for _ in range(hyper["num_layers"]))
        self.energy = EnergyHead(hyper, len(elements))

    def initial_coordinates(self, num_atoms: int, pairs: Pairs) -> Tensor:
        """chi (n, sum of 2l+1), the mean harmonics of the neighbours, eq. (59)."""
        chi = pairs.harmonics.new_zeros(num_atoms, pairs.harmonics.shape[-1])
        chi = chi.index_add(0, pairs.centre, pairs.phi[:, None] * pairs.harmonics)
        total = pairs.phi.new_zeros(num_atoms).index_add(0, pairs.centre, pairs.phi)
        return chi / torch.where(total > 0, total, torch.ones_like(total))[:, None]

    def represent(self, graph: Graph, note: Note = ignore) -> Tensor:
        """Features x (n, F) after the last layer."""
        pairs = Pairs(graph, self.hyperparameters, self.radial_basis, self.sees_all_pairs)
        for name, value in (("ylm", pairs.harmonics), ("cutoff", pairs.phi[:, None]), ("rbf", pairs.radial)):
            note(name, value)
        x = self.embedding(graph, note)
        chi = self.initial_coordinates(len(x), pairs)
        note("x_initial", x)
        note("chi_initial", chi)
        for t, layer in enumerate(self.layers):
            x, chi = layer(x, chi, pairs, prefixed(note, f"layer{t}_"))
        return x

    def forward(
        self, graph: Graph, lr_cutoff: float | None = 12.0, lr_damping: float = 2.0, note: Note = ignore
    ) -> dict[str, Any]:
        """See `ReferenceModel.forward`; the long-range options have no effect."""
        energies = self.energy(self.represent(graph, note), graph)
        return {
            "energy_components": {"nn": energies},
            "energies": energies,
            "energy": graph.sum_structures(energies),
        }
