"""From derivatives of the energy with respect to functions of pairs to forces, differentiable once.

Both maps are linear. Each is one operation for PyTorch, which would otherwise spend longer on the many small ones, and
on those of their derivatives, than on what they compute.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from so3md.training.geometry import Geometry


class _AlongDisplacement(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, geometry: Geometry, by_distance: Tensor, by_phi: Tensor, by_harmonics: Tensor) -> Tensor:
        ctx.geometry = geometry
        along = torch.addcmul(by_distance, by_phi, geometry.phi_slope)
        turned = torch.bmm(by_harmonics[:, None], geometry.harmonics_gradient).squeeze(1)
        return turned.addcmul_(along[:, None], geometry.unit)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, direction: Tensor) -> tuple[None, Tensor, Tensor, Tensor]:
        geometry = ctx.geometry
        along = (direction * geometry.unit).sum(-1)
        turned = torch.bmm(geometry.harmonics_gradient, direction[:, :, None]).squeeze(-1)
        return None, along, along * geometry.phi_slope, turned


class _PairForces(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, atoms: int, first: Tensor, second: Tensor, gradient: Tensor) -> Tensor:
        ctx.save_for_backward(first, second)
        forces = gradient.new_zeros(atoms, 3)
        return forces.index_add_(0, first, gradient).index_add_(0, second, gradient, alpha=-1)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, by_forces: Tensor) -> tuple[None, None, None, Tensor]:
        first, second = ctx.saved_tensors
        return None, None, None, by_forces.index_select(0, first) - by_forces.index_select(0, second)


def along_displacement(geometry: Geometry, by_distance: Tensor, by_phi: Tensor, by_harmonics: Tensor) -> Tensor:
    """dE/d(displacement) (pairs, 3) from dE/d(distance) and dE/d(phi) (pairs) and dE/d(harmonics) (pairs, M)."""
    return _AlongDisplacement.apply(geometry, by_distance, by_phi, by_harmonics)


def pair_forces(atoms: int, first: Tensor, second: Tensor, gradient: Tensor) -> Tensor:
    """Forces (atoms, 3) from dE/d(displacement) (pairs, 3), where the displacement is r_second - r_first."""
    return _PairForces.apply(atoms, first, second, gradient)
