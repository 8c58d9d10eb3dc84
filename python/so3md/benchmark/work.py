"""The work of a step, counted: the floating-point operations that energy and forces ask for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from so3md.architectures import PAPER_2022, SO3KRATES, with_defaults

#: Filters are evaluated forward, once more in the adjoint, and backward.
_FILTER_PASSES = 3
_FILTERS_PER_LAYER = 2  # w and w' of eq. (17)
_ROWS_PER_TABLE_VALUE = 6  # quintic B-splines, eq. (51)
#: A table is read forward for the value, and in the adjoint for value and derivative.
_TABLE_READS = 3
_MULTIPLY_ADD = 2  # operations

#: Operations on vectors of all features, for each directed edge: (19), (20), (21) forward (3 + 2 + 3); in the adjoint
#: (44) to (46): a (2), dE/dv (2), and for each of the two filters weights and gradients of queries and keys (8), and
#: dE/dw, once for each pair (2.5).
_ATTENTION_PER_FEATURE = 8 + 2 + 2 + 2 * (8 + 2.5)
#: Operations on all (l, m), for each directed edge: harmonics (11) and their gradients (7.5), invariants (16) and the
#: sum (22) forward (3.5), and (16), (44), (47), (49), (50) in the adjoint (11).
_HARMONICS_PER_COMPONENT = 7.5 + 3.5 + 11


@dataclass(frozen=True)
class Work:
    """Million floating-point operations of energy and forces, per atom and step."""

    filters: float
    """networks on pairs, eq. (17), each pair once"""
    edges: float
    """the rest of what is done on edges: tables, attention, harmonics"""
    nodes: float
    """projections, steps of the layers and readouts"""

    @property
    def total(self) -> float:
        return self.filters + self.edges + self.nodes


def count_work(
    hyperparameters: dict[str, Any], neighbours: float, tables: bool = True, architecture: str = SO3KRATES
) -> Work:
    """Count the operations of a model (hyperparameters as in the model file) per atom and step.

    neighbours: mean number of neighbours within the cutoff of the model. tables: whether radial filters are read from
    tables (precision `mixed`), rather than evaluated (`double`).

    The count is that of the algorithm that the engine uses (docs/performance.md), done without waste: the first layer
    by species where coordinates start as zero, filters once for each pair, adjoint by recomputation; a multiply-add is
    two operations. What grows only as features times neighbours, without a matrix, is counted by the formulas of
    docs/theory.md. Activations, norms, products of harmonics, the neighbour list, the long-range pairs and attention
    beyond the cutoff are left out: most are cheap in operations, if not in time. What is measured includes them.
    """
    hyperparameters = with_defaults(hyperparameters, architecture)
    width, heads, degrees = (hyperparameters[key] for key in ("num_features", "num_heads", "degrees"))
    layers, components = hyperparameters["num_layers"], sum(2 * degree + 1 for degree in degrees)
    general = _general_layers(hyperparameters, architecture)
    pairs = neighbours / 2

    spherical_hidden, radial_hidden = hyperparameters["spherical_hidden"], hyperparameters["radial_hidden"]
    network = general * (len(degrees) + width) * spherical_hidden
    if not tables:
        network += layers * (hyperparameters["radial_basis"]["size"] + width) * radial_hidden
    filters = pairs * _FILTER_PASSES * _FILTERS_PER_LAYER * _MULTIPLY_ADD * network

    attention = general * _ATTENTION_PER_FEATURE * width + layers * _HARMONICS_PER_COMPONENT * components
    table_read = _TABLE_READS * _ROWS_PER_TABLE_VALUE * _MULTIPLY_ADD
    # General layers: F channels of two filters for each pair; others: a weight per head and degree for each edge.
    channels = general * _FILTERS_PER_LAYER * width / 2 + (layers - general) * (heads + len(degrees))
    edges = neighbours * (attention + (table_read * channels if tables else 0.0))

    nodes = 2 * _MULTIPLY_ADD * _node_products(hyperparameters, architecture)  # forward and backward
    return Work(filters / 1e6, edges / 1e6, nodes / 1e6)


def _general_layers(hyperparameters: dict[str, Any], architecture: str) -> int:
    """All layers, or all but the first, if that is made of functions of the distance, eq. (52)."""
    from_zero = architecture == SO3KRATES and hyperparameters["initial_coordinates"]["type"] == "zero"
    return hyperparameters["num_layers"] - (1 if from_zero else 0)


def _node_products(hyperparameters: dict[str, Any], architecture: str) -> int:
    """Multiply-adds of the dense maps of one atom, forward."""
    width, heads, layers = (hyperparameters[key] for key in ("num_features", "num_heads", "num_layers"))
    degrees = len(hyperparameters["degrees"])
    projections = 3 * width * (width // heads) + 2 * width * (width // degrees)  # (18), and q', k' of (21)
    if architecture == PAPER_2022:
        steps = 2 * (width + degrees) ** 2 + degrees * width  # the exchange of four parts, and its gate
    else:
        maps = 3 if hyperparameters["residual_mlp_kind"] == "three_layers" else 2
        mlps = sum(maps * width**2 for key in ("residual_mlp_1", "residual_mlp_2") if hyperparameters[key])
        steps = mlps + (width + degrees) ** 2
    general = _general_layers(hyperparameters, architecture)
    return general * projections + layers * steps + _readout_products(hyperparameters)


def _readout_products(hyperparameters: dict[str, Any]) -> int:
    width, products = hyperparameters["num_features"], 0
    for head in ("energy_head", "charge_head", "c6_head"):
        if hyperparameters.get(head) is not None:
            hidden = hyperparameters[head]["hidden"]
            products += (width + 1) * hidden if hidden else width
    if (ratios := hyperparameters.get("hirshfeld_head")) is not None:
        size = ratios.get("size", 1)
        products += width * ratios["hidden"] + ratios["hidden"] * size + size
    return products
