"""What the network sees of the positions, with derivatives, computed once: it has no parameters.

The energy is a function of the radial basis g, the cutoff value phi and the harmonics Y of each pair, so forces are
the network's gradients with respect to these, contracted with what is computed here, by the engine.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

from so3md import _engine


class Geometry(NamedTuple):
    """Of each pair (rows): its vector r_j - r_i, length and direction, and functions of them with their slopes.

    displacement (pairs, 3) A, distance (pairs) A, unit (pairs, 3); phi (pairs) and its slope d phi / d r; basis
    (2 pairs, K), the radial basis of each pair and then its slope, or (2 pairs, 0) if it has parameters, so that the
    network computes it; harmonics (pairs, M) and their gradients (pairs, M, 3) with respect to the displacement.
    """

    displacement: Tensor
    distance: Tensor
    unit: Tensor
    phi: Tensor
    phi_slope: Tensor
    basis: Tensor
    harmonics: Tensor
    harmonics_gradient: Tensor

    def to(self, device: torch.device) -> Geometry:
        """The same elsewhere."""
        return Geometry(*(value.to(device) for value in self))


def make_geometry(displacement: Tensor, hyper: dict[str, Any], dtype: torch.dtype) -> Geometry:
    """The geometry of pairs (displacement (pairs, 3), A, float64, on the CPU), computed in float64 and kept in `dtype`,
    which is float32 or float64.
    """
    displacement = displacement.contiguous()
    pairs, basis = len(displacement), hyper["radial_basis"]
    size = 0 if basis["type"] == "gaussian" else basis["size"]
    coordinates = sum(2 * degree + 1 for degree in hyper["degrees"])

    def empty(*shape: int) -> Tensor:
        return torch.empty(shape, dtype=dtype)

    distance, unit, phi, phi_slope = empty(pairs), empty(pairs, 3), empty(pairs), empty(pairs)
    radial = empty(2, pairs, size)
    harmonics, gradient = empty(pairs, coordinates), empty(pairs, coordinates, 3)
    arrays = (distance, unit, phi, phi_slope, *radial, harmonics, gradient)
    _engine.TrainingGeometry(
        {
            "cutoff": hyper["cutoff"],
            "cutoff_function": hyper["cutoff_function"]["type"],
            "cutoff_exponent": hyper["cutoff_function"].get("exponent", 0.0),
            "radial_basis": basis["type"],
            "num_radial": size,
            "gamma": basis.get("gamma", 0.0),
            "degrees": hyper["degrees"],
        }
    ).compute(pairs, displacement.data_ptr(), [array.data_ptr() for array in arrays], dtype == torch.float64)
    return Geometry(
        displacement.to(dtype), distance, unit, phi, phi_slope, radial.view(2 * pairs, size), harmonics, gradient
    )
