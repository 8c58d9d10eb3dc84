"""The network in four sweeps by kernels of the engine's library, on a processor: see csrc/training/sweeps.h.

It does what `layer_steps.NetworkSteps` does in operations of PyTorch, and is tested against it. Threads share the
structures of a batch; results do not depend on their number.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from so3md import _engine
from so3md.training.batches import Batch
from so3md.training.fast_model import FastLayer

#: Whether to use the kernels where that is possible.
enabled = True


def is_native(parameter: Tensor) -> bool:
    """Whether there are kernels for a model with this parameter: on a processor, in single or double precision."""
    return enabled and parameter.device.type == "cpu" and parameter.dtype in (torch.float32, torch.float64)


class NativeNetwork:
    """What all batches of a network share: threads, memory, and the list of its parameters."""

    def __init__(self, layers: Sequence[FastLayer], final_norm: nn.ParameterDict | None, hyper: dict[str, Any]) -> None:
        self.layers, self.final_norm, self.hyper = layers, final_norm, hyper
        self.threads = torch.get_num_threads()  # that share the structures of a batch
        #: A leaf in whose memory all trained parameters lie; gradients are then those of it, in one piece.
        self.flat: Tensor | None = None
        self._networks: dict[torch.dtype, _engine.TrainingNetwork] = {}
        self._names = _engine.training_tensor_names()

    def tensors(self) -> list[nn.Parameter | None]:
        """In the order of the engine; None: the network has none of that name."""
        found = [getattr(layer, name, None) for layer in self.layers for name in self._names]
        norm = self.final_norm
        return found + ([None, None] if norm is None else [norm["scale"], norm["bias"]])

    def parameters(self) -> list[Tensor]:
        """The leaves that gradients belong to."""
        return [value for value in self.tensors() if value is not None] if self.flat is None else [self.flat]

    def addresses(self) -> tuple[list[tuple[int, int]], int]:
        """Of all tensors, in the order of the engine: the address, and the place in the vector of gradients, which
        begins with those of `parameters`; and the length of that vector. Parameters do not move while they are used.
        """
        result, size = [], 0 if self.flat is None else self.flat.numel()
        for tensor in self.tensors():
            if tensor is None:
                result.append((0, 0))
                continue
            if not tensor.is_contiguous():
                raise ValueError("expected parameters that are contiguous in memory")
            place = self._place_in_flat(tensor)
            result.append((tensor.data_ptr(), size if place is None else place))
            size += tensor.numel() if place is None else 0
        return result, size

    def _place_in_flat(self, tensor: Tensor) -> int | None:
        """Where a parameter begins in `flat`; None: it does not lie there, as it is not trained."""
        if self.flat is None:
            return None
        place = (tensor.data_ptr() - self.flat.data_ptr()) // tensor.element_size()
        return place if 0 <= place < self.flat.numel() else None

    def of_precision(self, dtype: torch.dtype) -> _engine.TrainingNetwork:
        """The network of the engine."""
        if dtype not in self._networks:
            self._networks[dtype] = _engine.TrainingNetwork(
                self._options() | {"double_precision": dtype == torch.float64}
            )
        return self._networks[dtype]

    def _options(self) -> dict[str, Any]:
        hyper, first = self.hyper, self.layers[0]
        start = hyper["initial_coordinates"]
        summed = start["type"] == "neighbour_sum"
        return {
            "features": hyper["num_features"],
            "heads": hyper["num_heads"],
            "degrees": hyper["degrees"],
            "basis": hyper["radial_basis"]["size"],
            "radial_hidden": hyper["radial_hidden"],
            "spherical_hidden": hyper["spherical_hidden"],
            "layers": len(self.layers),
            "activation": hyper["activation"],
            "query_key_activation": hyper["query_key_activation"],
            "norm_1": hyper["layer_norm_1"],
            "norm_2": hyper["layer_norm_2"],
            "residual_1": hyper["residual_mlp_1"],
            "residual_2": hyper["residual_mlp_2"],
            "three_layers": first.three_layers,
            "pre_norm": first.pre_norm,
            "final_norm": self.final_norm is not None,
            "neighbour_sum": summed,
            "norm_epsilon": hyper["layer_norm_epsilon"],
            "score_factor": first.factors[0],
            "coordinate_score_factor": first.factors[1],
            "start_factor": 1 / start["normalization"] if summed else 0.0,
        }


class NativeSteps:
    """See `layer_steps.NetworkSteps`. basis (2 pairs, K): the radial basis of each pair, then its slope."""

    def __init__(self, network: NativeNetwork, batch: Batch, basis: Tensor, phi: Tensor, harmonics: Tensor) -> None:
        self.parameters = network.parameters()
        self.has_adjoints = self.has_tangents = False
        self._by_basis = basis.requires_grad
        self.by_basis: Tensor | None = None
        # What the engine reads must stay where it is.
        self._arrays = {
            "counts": batch.counts.contiguous(),
            "first": batch.pairs.first.contiguous(),
            "second": batch.pairs.second.contiguous(),
            "basis": basis.detach().contiguous(),
            "phi": phi.detach().contiguous(),
            "harmonics": harmonics.detach().contiguous(),
        }
        self._addresses, self._size = network.addresses()
        sizes = {"structures": batch.num_structures, "atoms": len(batch.species), "pairs": len(batch.pairs)}
        self._sweeps = network.of_precision(basis.dtype).begin(
            sizes | {name: array.data_ptr() for name, array in self._arrays.items()},
            self._addresses,
            self._size,
            network.threads,
        )

    def forward(self, x: Tensor) -> Tensor:
        """From features x (n, F) of the embedding to those after all layers."""
        self._x = x.contiguous()
        result = torch.empty_like(self._x)
        self._sweeps.forward(self._x.data_ptr(), result.data_ptr())
        return result

    def adjoint(self, by_x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """From dE/dx to the derivatives with respect to distance, phi and harmonics of the pairs."""
        self.has_adjoints = True
        by_x = by_x.contiguous()
        phi, harmonics = self._arrays["phi"], self._arrays["harmonics"]
        result = torch.empty_like(phi), torch.empty_like(phi), torch.empty_like(harmonics)
        self._sweeps.adjoint(by_x.data_ptr(), *(array.data_ptr() for array in result))
        return result

    def tangent(self, distance: Tensor, phi: Tensor, harmonics: Tensor) -> Tensor:
        """Derivatives of the features along a direction."""
        self.has_tangents = True
        self._direction = [value.contiguous() for value in (distance, phi, harmonics)]
        result = torch.empty_like(self._x)
        along, along_phi, along_harmonics = (value.data_ptr() for value in self._direction)
        self._sweeps.tangent(along, along_phi, along_harmonics, result.data_ptr())
        return result

    def gradient(self, by_x: Tensor) -> Tensor:
        """From dL/dx to the derivative with respect to the first x; see `gradients` and `by_basis`, too."""
        if not self.has_adjoints:  # the loss does not ask for derivatives of the energy
            self.adjoint(torch.zeros_like(by_x))
        if not self.has_tangents:
            self.tangent(*(torch.zeros_like(self._arrays[name]) for name in ("phi", "phi", "harmonics")))
        by_x = by_x.contiguous()
        result = torch.empty_like(by_x)
        self._gradient = by_x.new_empty(self._size)
        by_basis = torch.zeros_like(self._arrays["basis"]) if self._by_basis else None
        address = 0 if by_basis is None else by_basis.data_ptr()
        self._sweeps.gradient(by_x.data_ptr(), result.data_ptr(), address, self._gradient.data_ptr())
        self.by_basis = by_basis
        return result

    @property
    def gradients(self) -> list[Tensor]:
        """In the order of `parameters`."""
        sizes = [value.numel() for value in self.parameters]
        parts = self._gradient[: sum(sizes)].split(sizes)
        return [part.view(value.shape) for part, value in zip(parts, self.parameters, strict=True)]
