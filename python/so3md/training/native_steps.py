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


class Addresses(NamedTuple):
    """Where the tensors of a network lie.

    `places`, in the order of the engine: the address, and the place in the vector of gradients, which begins with those
    of `NativeNetwork.parameters`; the `size` of that vector; the address of the `first` parameter.
    """

    places: list[tuple[int, int]]
    size: int
    first: int


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
        self.threads = torch.get_num_threads()  # that share the structures of a batch
        self._flat: Tensor | None = None
        self._found: Addresses | None = None  # those of the parameters in `flat`
        self._networks: dict[torch.dtype, _engine.TrainingNetwork] = {}
        self._names = _engine.training_tensor_names()

    @property
    def flat(self) -> Tensor | None:
        """A leaf in whose memory all trained parameters lie; gradients are then those of it, in one piece."""
        return self._flat

    @flat.setter
    def flat(self, leaf: Tensor | None) -> None:
        self._flat, self._found = leaf, None

    def tensors(self) -> list[nn.Parameter | None]:
        """In the order of the engine; None: the network has none of that name."""
        found = [getattr(layer, name, None) for layer in self.layers for name in self._names]
        norm = self.final_norm
        return found + ([None, None] if norm is None else [norm["scale"], norm["bias"]])

    def tensors_of_energies(self) -> list[nn.Parameter | None]:
        """Those of the embedding and of the energy head, likewise."""
        dense = (self.head.dense1, self.head.dense2)
        maps = [None if one is None else getattr(one, kind) for one in dense for kind in ("weight", "bias")]
        return [self.embedding.element, self.head.scale, *maps]

    def begin(self, batch: Batch, arrays: dict[str, Tensor]) -> tuple[_engine.TrainingSweeps, int]:
        """The sweeps of a batch, for energies if the arrays have the species of its atoms; and the length of the vector
        of gradients."""
        places, size, _ = self.addresses()
        if "species" not in arrays:
            places = places[: -len(self.tensors_of_energies())]
        sizes = {"structures": batch.num_structures, "atoms": len(batch.species), "pairs": len(batch.pairs)}
        sweeps = self.of_precision(arrays["phi"].dtype).begin(
            sizes | {name: array.data_ptr() for name, array in arrays.items()}, places, size, self.threads
        )
        return sweeps, size

    def parameters(self) -> list[Tensor]:
        """The leaves that the gradients of the layers belong to."""
        return [value for value in self.tensors() if value is not None] if self.flat is None else [self.flat]

    def addresses(self) -> Addresses:
        """Of all tensors. Parameters do not move while they are used."""
        if self._found is not None and self._found.first == self._first().data_ptr():
            return self._found
        found = self._find_addresses()
        self._found = None if self.flat is None else found
        return found

    def _first(self) -> Tensor:
        return next(self.layers[0].parameters())

    def _find_addresses(self) -> Addresses:
        places: list[tuple[int, int]] = []
        size = 0 if self.flat is None else self.flat.numel()
        for tensor in (*self.tensors(), *self.tensors_of_energies()):
            if tensor is None:
                places.append((0, 0))
                continue
            if not tensor.is_contiguous():
                raise ValueError("expected parameters that are contiguous in memory")
            place = self._place_in_flat(tensor)
            places.append((tensor.data_ptr(), size if place is None else place))
            size += tensor.numel() if place is None else 0
        return Addresses(places, size, self._first().data_ptr())

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

    def __init__(self, network: NativeNetwork, batch: Batch) -> None:
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
        self._sweeps, self._size = network.begin(batch, self._arrays)

    def evaluate(self) -> tuple[Tensor, Tensor]:
        """Energies (n), eV, without the constants of the elements, and forces (n, 3), eV/A."""
        atoms = len(self._arrays["species"])
        energies, forces = self._empty(atoms), self._empty(atoms, 3)
        self._sweeps.evaluate(energies.data_ptr(), forces.data_ptr())
        return energies, forces

    def differentiate(self, by_energies: Tensor, by_forces: Tensor, gradient: Tensor) -> None:
        """Make `gradient`, of the parameters in `NativeNetwork.flat`, that of a function with derivatives by_energies
        (n) and by_forces (n, 3)."""
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
        self.parameters = network.parameters()
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
        sizes = [value.numel() for value in self.parameters]
        parts = self._gradient[: sum(sizes)].split(sizes)
        return [part.view(value.shape) for part, value in zip(parts, self.parameters, strict=True)]
