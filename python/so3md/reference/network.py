"""The network: embedding, layers and heads. Equation numbers are those of docs/theory.md.

The attributes of the modules are named as the tensors of the model file, so `state_dict` and model file have the
same keys.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from so3md.reference import functions
from so3md.reference.functions import ACTIVATIONS
from so3md.reference.graph import Edges, Graph

Note = Callable[[str, Tensor], None]


def parameter(*shape: int) -> nn.Parameter:
    """An uninitialised parameter; its values come from the model file."""
    return nn.Parameter(torch.empty(*shape))


def invariants(coordinates: Tensor, degrees: list[int]) -> Tensor:
    """Eq. (16): m_l(c) = (2l+1)^(-1/2) sum_m c_lm^2, one number per degree: (n, sum of 2l+1) -> (n, degrees)."""
    blocks = coordinates.split([2 * degree + 1 for degree in degrees], dim=-1)
    parts = [(block**2).sum(-1) / math.sqrt(2 * l + 1) for block, l in zip(blocks, degrees, strict=True)]  # noqa: E741
    return torch.stack(parts, dim=-1)


def repeat_degrees(values: Tensor, degrees: list[int]) -> Tensor:
    """One value per degree to one per spherical harmonic coordinate: (n, degrees) -> (n, sum of 2l+1)."""
    counts = torch.tensor([2 * degree + 1 for degree in degrees], device=values.device)
    return values.repeat_interleave(counts, dim=-1, output_size=int(sum(2 * degree + 1 for degree in degrees)))


class ChargeSpinEmbedding(nn.Module):
    """Embedding of psi, the total charge or the number of unpaired electrons, eqs. (14) and (15)."""

    def __init__(self, num_elements: int, features: int, activation: str) -> None:
        super().__init__()
        self.query = parameter(num_elements, features)
        self.key, self.value = parameter(2, features), parameter(2, features)
        self.mlp1, self.mlp2 = parameter(features, features), parameter(features, features)
        self.activation = ACTIVATIONS[activation]

    def forward(self, graph: Graph, psi: Tensor) -> Tensor:
        sign = (psi < 0).long()[graph.batch]
        q = self.query[graph.species]
        y = functional.softplus((q * self.key[sign]).sum(-1) / math.sqrt(q.shape[-1]))
        a = psi[graph.batch] * y / graph.sum_structures(y)[graph.batch]
        return self.transform(a[:, None] * self.value[sign])

    def transform(self, v: Tensor) -> Tensor:
        return v + self.activation(self.activation(v) @ self.mlp1.T) @ self.mlp2.T


class Embedding(nn.Module):
    """x_i = (E[Z_i] + e^Q_i + e^S_i) / sqrt(number of terms), eq. (13)."""

    charge_spin_kind = ChargeSpinEmbedding
    charge: ChargeSpinEmbedding | None
    spin: ChargeSpinEmbedding | None

    def __init__(self, hyper: dict[str, Any], num_elements: int) -> None:
        super().__init__()
        features, activation = hyper["num_features"], hyper["activation"]
        self.element = parameter(num_elements, features)
        for kind in ("charge", "spin"):
            in_use = hyper[f"{kind}_embedding"]
            self.add_module(kind, self.charge_spin_kind(num_elements, features, activation) if in_use else None)

    def forward(self, graph: Graph, note: Note) -> Tensor:
        terms = [self.element[graph.species]]
        note("embed_type", terms[0])
        for kind, module, psi in (("charge", self.charge, graph.charge), ("spin", self.spin, 2 * graph.spin)):
            if module is not None:
                terms.append(module(graph, psi))
                note(f"embed_{kind}", terms[-1])
        return sum(terms[1:], terms[0]) / math.sqrt(len(terms))


class RadialBasis(nn.Module):
    """g_k(r), eqs. (7) to (10)."""

    def __init__(self, hyper: dict[str, Any]) -> None:
        super().__init__()
        self.options, self.cutoff = hyper["radial_basis"], hyper["cutoff"]
        if self.options["type"] == "gaussian":
            self.centers, self.widths = parameter(self.options["size"]), parameter(self.options["size"])

    def forward(self, distance: Tensor) -> Tensor:
        kind, size = self.options["type"], self.options["size"]
        if kind == "bernstein":
            return functions.bernstein_basis(distance, size, self.options["gamma"])
        if kind == "gaussian":
            return functions.gaussian_basis(distance, self.centers, self.widths)
        if kind == "bessel":
            return functions.bessel_basis(distance, size, self.cutoff)
        return functions.phys_basis(distance, size, self.cutoff)


class Mlp(nn.Module):
    """dense2(act(dense1(x))), or dense2(x) alone where hidden is 0."""

    def __init__(self, into: int, hidden: int, out: int, activation: str = "silu") -> None:
        super().__init__()
        self.dense1 = nn.Linear(into, hidden) if hidden else None
        self.dense2 = nn.Linear(hidden or into, out)
        self.activation = ACTIVATIONS[activation]

    def dense(self, x: Tensor) -> Tensor:
        return self.dense2(x if self.dense1 is None else self.activation(self.dense1(x)))


class ResidualMlp(Mlp):
    """x + M2 act(M1 act(x) + m1) + m2, eq. (24)."""

    def __init__(self, features: int, activation: str) -> None:
        super().__init__(features, features, features, activation)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.dense(self.activation(x))


class ThreeLayerResidualMlp(nn.Module):
    """M3 act(x + M2 act(M1 act(x))), eq. (54)."""

    def __init__(self, features: int, activation: str) -> None:
        super().__init__()
        self.dense1, self.dense2, self.dense3 = (nn.Linear(features, features, bias=False) for _ in range(3))
        self.activation = ACTIVATIONS[activation]

    def forward(self, x: Tensor) -> Tensor:
        inner = self.dense2(self.activation(self.dense1(self.activation(x))))
        return self.dense3(self.activation(x + inner))


RESIDUAL_MLPS = {"two_layers": ResidualMlp, "three_layers": ThreeLayerResidualMlp}


class Filter(nn.Module):
    """w_ij = A2 act(A1 g(r) + a1) + a2 + B2 act(B1 m(chi_j - chi_i) + b1) + b2, eq. (17)."""

    def __init__(self, hyper: dict[str, Any]) -> None:
        super().__init__()
        features = hyper["num_features"]
        self.radial1 = nn.Linear(hyper["radial_basis"]["size"], hyper["radial_hidden"])
        self.radial2 = nn.Linear(hyper["radial_hidden"], features)
        self.spherical1 = nn.Linear(len(hyper["degrees"]), hyper["spherical_hidden"])
        self.spherical2 = nn.Linear(hyper["spherical_hidden"], features)
        self.activation = ACTIVATIONS[hyper["activation"]]

    def forward(self, radial: Tensor, difference_invariants: Tensor) -> Tensor:
        return self.radial2(self.activation(self.radial1(radial))) + self.spherical2(
            self.activation(self.spherical1(difference_invariants))
        )


class Attention(nn.Module):
    """Queries, keys and values, eq. (18): one set of heads for the features, one head per degree for chi."""

    query_features: Tensor
    key_features: Tensor
    value_features: Tensor
    query_coordinates: Tensor
    key_coordinates: Tensor

    def __init__(self, hyper: dict[str, Any]) -> None:
        super().__init__()
        heads, degrees, features = hyper["num_heads"], len(hyper["degrees"]), hyper["num_features"]
        for name in ("query_features", "key_features", "value_features"):
            setattr(self, name, parameter(heads, features // heads, features // heads))
        for name in ("query_coordinates", "key_coordinates"):
            setattr(self, name, parameter(degrees, features // degrees, features // degrees))
        self.activation = ACTIVATIONS[hyper["query_key_activation"]]
        self.normalization = hyper["attention_normalization"]
        self.normalize_query_key = hyper.get("normalize_query_key", False)  # not in the original paper
        self.epsilon = hyper["layer_norm_epsilon"]

    def normalizer(self, head_width: int) -> float:
        if self.normalization["type"] == "constant":
            return self.normalization["value"]
        return math.sqrt(head_width) if self.normalization["type"] == "sqrt_head_width" else 1.0

    @staticmethod
    def project(x: Tensor, matrices: Tensor) -> Tensor:
        """(n, F) -> (n, heads, width), index (head, in, out) of the matrices."""
        return torch.einsum("nhd,hde->nhe", x.unflatten(-1, matrices.shape[:2]), matrices)

    def weights(self, x: Tensor, filters: Tensor, edges: Edges, query: Tensor, key: Tensor) -> Tensor:
        """Eqs. (19) and (21): (1/N) sum_e q_ie k_je w_ije for every edge and head: (edges, heads)."""
        q, k = self.activation(self.project(x, query)), self.activation(self.project(x, key))
        if self.normalize_query_key:  # eq. (93), head by head
            q, k = rms_normalised(q, self.epsilon), rms_normalised(k, self.epsilon)
        w = filters.unflatten(-1, q.shape[1:])
        return (q[edges.centre] * k[edges.neighbour] * w).sum(-1) / self.normalizer(q.shape[-1])


def rms_normalised(x: Tensor, epsilon: float) -> Tensor:
    """Eq. (92): x over the root of the mean of its squares, along the last axis."""
    return x * torch.rsqrt((x**2).mean(-1, keepdim=True) + epsilon)


class RmsNorm(nn.Module):
    """Eq. (92), in the place of eq. (23); without parameters."""

    def __init__(self, features: int, epsilon: float) -> None:
        super().__init__()
        self.epsilon = epsilon

    def forward(self, x: Tensor) -> Tensor:
        return rms_normalised(x, self.epsilon)


class LayerNorm(nn.Module):
    """Eq. (23)."""

    def __init__(self, features: int, epsilon: float) -> None:
        super().__init__()
        self.scale, self.bias, self.epsilon = parameter(features), parameter(features), epsilon

    def forward(self, x: Tensor) -> Tensor:
        return functional.layer_norm(x, x.shape[-1:], self.scale, self.bias, self.epsilon)


class Layer(nn.Module):
    """One update of features x (n, F) and coordinates chi (n, sum of 2l+1), eqs. (16) to (25)."""

    norm1: LayerNorm | RmsNorm | None
    norm2: LayerNorm | RmsNorm | None
    mlp1: nn.Module | None
    mlp2: nn.Module | None

    def __init__(self, hyper: dict[str, Any]) -> None:
        super().__init__()
        features, self.degrees = hyper["num_features"], hyper["degrees"]
        self.filter_features, self.filter_coordinates = Filter(hyper), Filter(hyper)
        self.attention = Attention(hyper)
        self.pre_norm = hyper["layer_norm_position"] == "pre"
        residual_mlp = RESIDUAL_MLPS[hyper["residual_mlp_kind"]]
        self.residual_scalars = parameter(2) if hyper["residual_scalars"] else None
        kind = RmsNorm if hyper["rms_norm"] else LayerNorm
        for number in (1, 2):
            norm = kind(features, hyper["layer_norm_epsilon"]) if hyper[f"layer_norm_{number}"] else None
            mlp = residual_mlp(features, hyper["activation"]) if hyper[f"residual_mlp_{number}"] else None
            self.add_module(f"norm{number}", norm)
            self.add_module(f"mlp{number}", mlp)
        self.exchange = nn.Linear(features + len(self.degrees), features + len(self.degrees))

    def enter(self, x: Tensor, embedded: Tensor) -> Tensor:
        """Eq. (94): lambda x + mu x0, x0 (n, F) the features after the embedding."""
        if self.residual_scalars is None:
            return x
        return self.residual_scalars[0] * x + self.residual_scalars[1] * embedded

    def attend(
        self, x: Tensor, chi: Tensor, edges: Edges, radial: Tensor, phi: Tensor, harmonics: Tensor, note: Note
    ) -> tuple[Tensor, Tensor]:
        """The sums over neighbours in eqs. (20) and (22), from the layer's input."""
        i, j, att = edges.centre, edges.neighbour, self.attention
        m = invariants(chi[j] - chi[i], self.degrees)
        w_features, w_coordinates = self.filter_features(radial, m), self.filter_coordinates(radial, m)
        alpha = att.weights(x, w_features, edges, att.query_features, att.key_features)
        beta = att.weights(x, w_coordinates, edges, att.query_coordinates, att.key_coordinates)
        beta = repeat_degrees(beta, self.degrees)
        values = att.project(x, att.value_features)[j]
        dx = torch.zeros_like(x).index_add(0, i, (phi[:, None, None] * alpha[:, :, None] * values).flatten(1))
        dchi = torch.zeros_like(chi).index_add(0, i, phi[:, None] * beta * harmonics)
        for name, value in (
            ("l0_of_chi_j_minus_chi_i", m),
            ("filter_inv", w_features),
            ("filter_ev", w_coordinates),
            ("alpha_inv", alpha[:, :, None]),
            ("alpha_ev_repeated", beta),
            ("dx_att", dx),
            ("dchi_att", dchi),
        ):
            note(name, value)
        return dx, dchi

    def residual(self, mlp: nn.Module | None, x: Tensor, name: str, note: Note) -> Tensor:
        if mlp is None:
            return x
        updated = mlp(x)
        note(name, updated - x)
        return updated

    def normalise(self, norm: LayerNorm | RmsNorm | None, x: Tensor, before: bool) -> Tensor:
        """Eq. (23), if the norm stands before (else after) its block."""
        return x if norm is None or before != self.pre_norm else norm(x)

    def forward(
        self, x: Tensor, chi: Tensor, edges: Edges, radial: Tensor, phi: Tensor, harmonics: Tensor, note: Note
    ) -> tuple[Tensor, Tensor]:
        note("x_in", x)
        note("chi_in", chi)
        attended = self.normalise(self.norm1, x, before=True)
        dx, dchi = self.attend(attended, chi, edges, radial, phi, harmonics, note)
        x, chi = self.normalise(self.norm1, x + dx, before=False), chi + dchi
        note("x_after_ln1", x)
        x = self.residual(self.mlp1, x, "res_mlp1_out", note)

        m = invariants(chi, self.degrees)  # the exchange, eq. (25)
        inputs = torch.cat([self.normalise(self.norm2, x, before=True), m], dim=-1)
        a, b = self.exchange(inputs).split([x.shape[-1], len(self.degrees)], dim=-1)
        dchi = repeat_degrees(b, self.degrees) * chi
        x, chi = x + a, chi + dchi
        note("l0_of_chi_after_att", m)
        note("dx_int", a)
        note("dchi_int", dchi)

        x = self.normalise(self.norm2, self.residual(self.mlp2, x, "res_mlp2_out", note), before=False)
        note("x_out", x)
        note("chi_out", chi)
        return x, chi


class EnergyHead(Mlp):
    """e_i = (o . act(O x_i + o1) + o2) scale[Z_i] + shift[Z_i], eq. (26), eV."""

    def __init__(self, hyper: dict[str, Any], num_elements: int) -> None:
        super().__init__(hyper["num_features"], hyper["energy_head"]["hidden"], 1, hyper["energy_head"]["activation"])
        self.scale, self.shift = parameter(num_elements), parameter(num_elements)

    def forward(self, x: Tensor, graph: Graph) -> Tensor:
        return self.dense(x).squeeze(-1) * self.scale[graph.species] + self.shift[graph.species]


class ChargeHead(Mlp):
    """Partial charges that sum to the total charge, eqs. (27) and (28), e."""

    def __init__(self, hyper: dict[str, Any], num_elements: int) -> None:
        super().__init__(hyper["num_features"], hyper["charge_head"]["hidden"], 1)
        self.element = parameter(num_elements)

    def forward(self, x: Tensor, graph: Graph, note: Note) -> Tensor:
        output = self.dense(x)
        note("charge_head_mlp_out", output)
        raw = output.squeeze(-1) + self.element[graph.species]
        missing = (graph.charge - graph.sum_structures(raw)) / graph.sum_structures(torch.ones_like(raw))
        return raw + missing[graph.batch]


class HirshfeldHead(Mlp):
    """h_i = |shift[Z_i] + query[Z_i] . u_i / sqrt(size)|, eq. (30)."""

    def __init__(self, hyper: dict[str, Any], num_elements: int) -> None:
        size = hyper["hirshfeld_head"]["size"]
        super().__init__(hyper["num_features"], hyper["hirshfeld_head"]["hidden"], size)
        self.query, self.shift = parameter(num_elements, size), parameter(num_elements)

    def forward(self, x: Tensor, graph: Graph) -> Tensor:
        u, query = self.dense(x), self.query[graph.species]
        return (self.shift[graph.species] + (query * u).sum(-1) / math.sqrt(u.shape[-1])).abs()


class SimpleRatioHead(Mlp):
    """|shift[Z_i] + U2 silu(U1 x_i + u1) + u2|, eq. (95): of the Hirshfeld ratio and of C6."""

    def __init__(self, features: int, hidden: int, num_elements: int) -> None:
        super().__init__(features, hidden, 1)
        self.shift = parameter(num_elements)

    def forward(self, x: Tensor, graph: Graph) -> Tensor:
        return (self.shift[graph.species] + self.dense(x).squeeze(-1)).abs()
