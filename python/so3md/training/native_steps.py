"""The network in four sweeps by kernels of the engine's library, on a processor: see csrc/training/sweeps.h.

It does what `layer_steps.NetworkSteps` does in operations of PyTorch, and is tested against it. Threads share the
structures of a batch; results do not depend on their number.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from so3md import _engine
from so3md.present import present
from so3md.reference.network import Embedding, EnergyHead
from so3md.training.batches import Batch
from so3md.training.fast_model import FastLayer

#: Whether to use the kernels where that is possible.
enabled = True


def is_native(parameter: Tensor) -> bool:
    """Whether there are kernels for a model with this parameter: on a processor, in single or double precision."""
    return enabled and parameter.device.type == "cpu" and parameter.dtype in (torch.float32, torch.float64)


class _Places(NamedTuple):
    """Of all tensors of a network, in the order of the engine: address, and place in the vector of gradients; the
    `size` of that vector; and what must not change for them to be right: addresses of `flat` and of the first
    parameter.
    """

    of_tensors: list[tuple[int, int]]
    size: int
    key: tuple[int, int]


class NativeNetwork:
    """What all batches of a network share: threads, memory, and the list of its parameters."""

    def __init__(
        self,
        layers: Sequence[FastLayer],
        final_norm: nn.ParameterDict | None,
        embedding: Embedding,
        head: EnergyHead,
        hyper: dict[str, Any],
    ) -> None:
        self.layers, self.final_norm, self.hyper = layers, final_norm, hyper
        self.embedding, self.head = embedding, head
        self.threads: int | None = None  # that share the structures of a batch; None: as many as PyTorch has
        self._networks: dict[torch.dtype, _engine.TrainingNetwork] = {}
        self._names = _engine.training_tensor_names()
        self._places: _Places | None = None

    def tensors(self) -> list[nn.Parameter | None]:
        """Those of the layers, in the order of the engine; None: the network has none of that name."""
        found = [getattr(layer, name, None) for layer in self.layers for name in self._names]
        norm = self.final_norm
        return found + ([None, None] if norm is None else [norm["scale"], norm["bias"]])

    def tensors_of_energies(self) -> list[nn.Parameter | None]:
        """Those of the embedding and of the energy head, likewise."""
        dense = (self.head.dense1, self.head.dense2)
        maps = [None if one is None else getattr(one, kind) for one in dense for kind in ("weight", "bias")]
        return [self.embedding.element, self.head.scale, *maps]

    def begin(self, batch: Batch, arrays: dict[str, Tensor]) -> tuple[_engine.TrainingSweeps, int]:
        """The four sweeps of a batch, and the length of the vector of gradients, which has those of `tensors`.

        Raises ValueError if parameters are not where the arrays are, or of another precision.
        """
        places, size = self._find(self.tensors(), None, arrays["phi"].dtype)
        return self._sweeps(batch, arrays, places, size), size

    def begin_energies(
        self, batch: Batch, arrays: dict[str, Tensor], flat: Tensor
    ) -> tuple[_engine.TrainingSweeps, int]:
        """The same for energies and forces, with a vector of gradients that begins with those of the parameters in the
        memory of `flat`. Parameters do not move between steps."""
        key = flat.data_ptr(), next(self.layers[0].parameters()).data_ptr()
        if self._places is None or self._places.key != key:
            tensors = [*self.tensors(), *self.tensors_of_energies()]
            self._places = _Places(*self._find(tensors, flat, arrays["phi"].dtype), key)
        places, size, _ = self._places
        return self._sweeps(batch, arrays, places, size), size

    def _sweeps(
        self, batch: Batch, arrays: dict[str, Tensor], places: list[tuple[int, int]], size: int
    ) -> _engine.TrainingSweeps:
        sizes = {"structures": batch.num_structures, "atoms": len(batch.species), "pairs": len(batch.pairs)}
        addresses = {name: array.data_ptr() for name, array in arrays.items()}
        network = self.of_precision(arrays["phi"].dtype)
        return network.begin(sizes | addresses, places, size, self.threads or torch.get_num_threads())

    @staticmethod
    def _find(
        tensors: Sequence[Tensor | None], flat: Tensor | None, dtype: torch.dtype
    ) -> tuple[list[tuple[int, int]], int]:
        """Address and place of the gradient of each tensor, behind those of `flat` unless it lies there; and how many
        numbers the gradients are."""
        places: list[tuple[int, int]] = []
        size = 0 if flat is None else flat.numel()
        for tensor in tensors:
            if tensor is None:
                places.append((0, 0))
                continue
            if tensor.device.type != "cpu" or tensor.dtype != dtype or not tensor.is_contiguous():
                raise ValueError(
                    f"expected the parameters of the model on the CPU, contiguous and of {dtype}, as the batch; found "
                    f"{tensor.dtype} on {tensor.device}. A model must not be moved or converted during a training"
                )
            own = -1 if flat is None else (tensor.data_ptr() - flat.data_ptr()) // tensor.element_size()
            lies_there = flat is not None and 0 <= own < flat.numel()
            places.append((tensor.data_ptr(), own if lies_there else size))
            size += 0 if lies_there else tensor.numel()
        return places, size

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
            "energy_hidden": hyper["energy_head"]["hidden"],
            "energy_activation": hyper["energy_head"]["activation"],
            "start_factor": 1 / start["normalization"] if summed else 0.0,
        }


def _of_pairs(batch: Batch) -> dict[str, Tensor]:
    return {
        "counts": batch.counts.contiguous(),
        "first": batch.pairs.first.contiguous(),
        "second": batch.pairs.second.contiguous(),
    }


class NativeEnergies:
    """Energies of the atoms of a batch, their forces, and gradients of functions of both, for a model whose energy is
    the sum over the atoms."""

    def __init__(self, network: NativeNetwork, batch: Batch, flat: Tensor) -> None:
        """flat: in the memory of which all parameters lie that are trained."""
        geometry = present(batch.geometry)
        # What the engine reads must stay where it is.
        self._arrays = _of_pairs(batch) | {
            "species": batch.species.contiguous(),
            "basis": geometry.basis,
            "phi": geometry.phi,
            "harmonics": geometry.harmonics,
            "unit": geometry.unit,
            "phi_slope": geometry.phi_slope,
            "harmonics_by": geometry.harmonics_gradient,
        }
        self._network = network
        self._sweeps, self._size = network.begin_energies(batch, self._arrays, flat)

    def evaluate(self) -> tuple[Tensor, Tensor]:
        """Energies (n), eV, without the constants of the elements, and forces (n, 3), eV/A."""
        atoms = len(self._arrays["species"])
        energies, forces = self._empty(atoms), self._empty(atoms, 3)
        self._sweeps.evaluate(energies.data_ptr(), forces.data_ptr())
        return energies, forces

    def differentiate(self, by_energies: Tensor, by_forces: Tensor, gradient: Tensor) -> None:
        """Make `gradient`, of `flat`, that of a function with derivatives by_energies (n) and by_forces (n, 3)."""
        whole = gradient if len(gradient) == self._size else self._empty(self._size)
        by_energies, by_forces = by_energies.contiguous(), by_forces.contiguous()
        self._sweeps.differentiate(by_energies.data_ptr(), by_forces.data_ptr(), whole.data_ptr())
        if whole is not gradient:  # behind them are those of frozen parameters
            gradient.copy_(whole[: len(gradient)])

    def _empty(self, *shape: int) -> Tensor:
        return torch.empty(shape, dtype=self._arrays["phi"].dtype)


class NativeSteps:
    """See `layer_steps.NetworkSteps`. basis (2 pairs, K): the radial basis of each pair, then its slope."""

    def __init__(self, network: NativeNetwork, batch: Batch, basis: Tensor, phi: Tensor, harmonics: Tensor) -> None:
        self.parameters = [value for value in network.tensors() if value is not None]
        self.has_adjoints = self.has_tangents = False
        self._by_basis = basis.requires_grad
        self.by_basis: Tensor | None = None
        # What the engine reads must stay where it is.
        self._arrays = _of_pairs(batch) | {
            "basis": basis.detach().contiguous(),
            "phi": phi.detach().contiguous(),
            "harmonics": harmonics.detach().contiguous(),
        }
        self._network = network
        self._sweeps, self._size = network.begin(batch, self._arrays)

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
        parts = self._gradient.split([value.numel() for value in self.parameters])
        return [part.view(value.shape) for part, value in zip(parts, self.parameters, strict=True)]
