"""What the network sees of the positions, with derivatives, computed once: it has no parameters.

The energy is a function of the radial basis g, the cutoff value phi and the harmonics Y of each pair, so forces are
the network's gradients with respect to these, contracted with what is computed here.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

from so3md.reference import functions
from so3md.training.smooth import value_and_slope


class Geometry(NamedTuple):
    """Of each pair (rows): its vector r_j - r_i, length and direction, and functions of them with their slopes.

    displacement (pairs, 3) A, distance (pairs) A, unit (pairs, 3); phi (pairs) and its slope d phi / d r; radial
    (pairs, K) and slope; harmonics (pairs, M) and their gradients (pairs, M, 3) with respect to the displacement.
    """

    displacement: Tensor
    distance: Tensor
    unit: Tensor
    phi: Tensor
    phi_slope: Tensor
    radial: Tensor
    radial_slope: Tensor
    harmonics: Tensor
    harmonics_gradient: Tensor

    def to(self, device: torch.device, dtype: torch.dtype) -> Geometry:
        """The same elsewhere, in another precision."""
        return Geometry(*(value.to(device=device, dtype=dtype) for value in self))

    def rows(self, start: int, stop: int) -> Geometry:
        """The geometry of some of the pairs."""
        return Geometry(*(value[start:stop] for value in self))


def make_geometry(displacement: Tensor, hyper: dict[str, Any]) -> Geometry:
    """The geometry of pairs (displacement (pairs, 3), A), to be called in double precision.

    Where the radial basis has parameters, `radial` is empty and the network computes the basis itself.
    """
    distance = torch.linalg.vector_norm(displacement, dim=-1)
    unit = displacement / distance[:, None]
    kind = hyper["cutoff_function"]
    phi, phi_slope = value_and_slope(
        lambda r: functions.cutoff_function(kind["type"], r, hyper["cutoff"], kind.get("exponent", 0.0)), distance
    )
    radial, radial_slope = value_and_slope(lambda r: fixed_radial_basis(r, hyper), distance)

    def harmonics_along(d: Tensor) -> Tensor:
        return functions.spherical_harmonics(d / torch.linalg.vector_norm(d, dim=-1, keepdim=True), hyper["degrees"])

    harmonics, by_axis = zip(
        *(
            value_and_slope(harmonics_along, displacement, axis.expand_as(displacement))
            for axis in torch.eye(3, dtype=displacement.dtype)
        ),
        strict=True,
    )
    gradients = torch.stack(by_axis, dim=-1)
    return Geometry(displacement, distance, unit, phi, phi_slope, radial, radial_slope, harmonics[-1], gradients)


def fixed_radial_basis(distance: Tensor, hyper: dict[str, Any]) -> Tensor:
    """The radial basis (pairs, K) if it has no parameters, else (pairs, 0)."""
    kind, size = hyper["radial_basis"]["type"], hyper["radial_basis"]["size"]
    if kind == "bernstein":
        return functions.bernstein_basis(distance, size, hyper["radial_basis"]["gamma"])
    if kind == "bessel":
        return functions.bessel_basis(distance, size, hyper["cutoff"])
    if kind == "phys":
        return functions.phys_basis(distance, size, hyper["cutoff"])
    return distance.new_zeros(len(distance), 0)
