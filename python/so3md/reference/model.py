"""What the networks of all architectures share: from a model file to a model, from atoms to forces and stress."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from so3md.architectures import with_defaults
from so3md.model_file import ModelFile
from so3md.reference.graph import Graph, Structure, make_graph
from so3md.reference.network import EnergyHead, Note
from so3md.reference.physics import field_energy


def ignore(name: str, value: Tensor) -> None:
    """The default `Note`: keeps nothing."""


def prefixed(note: Note, prefix: str) -> Note:
    return lambda name, value: note(prefix + name, value)


class ReferenceModel(nn.Module, ABC):
    """A model of a model file, of any architecture. Units eV, A, e.

    Parameters and buffers have the names of the model file's tensors: `state_dict` has exactly its keys. In double
    precision it is the oracle of the tests; training may use single precision and other devices.
    """

    architecture: ClassVar[str]
    _kinds: ClassVar[dict[str, type[ReferenceModel]]] = {}

    energy: EnergyHead
    #: Whether the network looks at all pairs of atoms and not only at those closer than the cutoff.
    sees_all_pairs = False

    def __init_subclass__(cls, architecture: str, **options: Any) -> None:
        super().__init_subclass__(**options)
        cls.architecture = architecture
        cls._kinds[architecture] = cls

    def __init__(self, hyperparameters: dict[str, Any], elements: Sequence[int]) -> None:
        super().__init__()
        self.hyperparameters = with_defaults(hyperparameters, self.architecture)
        self.elements = list(elements)

    @staticmethod
    def from_file(path: str | os.PathLike[str], dtype: torch.dtype = torch.float64) -> ReferenceModel:
        """Build the model of a model file. Raises `ModelFileError` for a bad file."""
        return ReferenceModel.from_model_file(ModelFile.read(path), dtype)

    @staticmethod
    def from_model_file(file: ModelFile, dtype: torch.dtype = torch.float64) -> ReferenceModel:
        """The model with the file's architecture and weights."""
        model = ReferenceModel._kinds[file.architecture](file.hyperparameters, file.elements).to(dtype)
        model.load_state_dict({name: torch.from_numpy(np.array(value)) for name, value in file.tensors.items()})
        return model

    @property
    def has_long_range(self) -> bool:
        """Whether there are terms with a range of their own, beyond the cutoff of the network."""
        return False

    def tensors(self) -> dict[str, np.ndarray]:
        """The tensors of a model file with the present parameters, in the present precision."""
        return {name: value.detach().cpu().numpy() for name, value in self.state_dict().items()}

    def make_graph(
        self,
        structures: Sequence[Structure],
        positions: Tensor,
        strain: Tensor | None = None,
        lr_cutoff: float | None = 12.0,
    ) -> Graph:
        """The graph that this model evaluates; arguments as in `so3md.reference.make_graph`."""
        cutoff, long_range = self.hyperparameters["cutoff"], self.has_long_range
        return make_graph(
            structures, self.elements, cutoff, lr_cutoff, long_range, positions, strain, all_pairs=self.sees_all_pairs
        )

    @abstractmethod
    def forward(
        self, graph: Graph, lr_cutoff: float | None = 12.0, lr_damping: float = 2.0, note: Note = ignore
    ) -> dict[str, Any]:
        """Energies of a graph, differentiable, twice if need be.

        Returns energy (structures), energies (n), energy_components (name -> (n)), and charges, hirshfeld_ratios and
        c6_ratios (n) where the model has these heads. `note(name, value)` is called with every intermediate quantity.
        """

    def tail(self, graph: Graph, result: dict[str, Any], volume: Tensor, lr_cutoff: float, lr_damping: float) -> Tensor:
        """Energies (n) of the dispersion beyond its cutoff, in the cell of the only structure of a graph (A^3).

        result: what `forward` returned.
        """
        raise ValueError("dispersion_tail: this model has no dispersion")

    def evaluate(
        self,
        numbers: np.ndarray,
        positions: np.ndarray,
        cell: np.ndarray | None = None,
        pbc: np.ndarray | None = None,
        charge: float = 0.0,
        spin: float = 0.0,
        lr_cutoff: float | None = 12.0,
        lr_damping: float = 2.0,
        intermediates: bool = False,
        dispersion_tail: bool = False,
        electric_field: Sequence[float] | None = None,
    ) -> dict[str, Any]:
        """Everything about one structure, as NumPy arrays and floats; arguments as in `Structure`.

        dispersion_tail: whether dispersion beyond lr_cutoff counts, in a cell that is periodic along all directions.
        electric_field: a uniform field (3) in V/A, in which charges are at the positions as they are given.

        Returns energy (float, eV), energies (n), forces (n, 3) eV/A, virial (3, 3) = dE/d(strain) eV, stress (3, 3)
        eV/A^3 with ASE's sign (periodic with a volume only), charges (n) e, dipole (3) e A, hirshfeld_ratios (n),
        c6_ratios (n), energy_components (nn, zbl, electrostatics, dispersion, zero where the model lacks a term), and
        with `intermediates` a dict of every intermediate quantity, edges included.
        """
        structure = Structure(numbers, positions, cell, pbc, charge, spin)
        like = self.energy.shift
        r = torch.tensor(structure.positions, dtype=like.dtype, device=like.device, requires_grad=True)
        strain = torch.zeros(1, 3, 3, dtype=like.dtype, device=like.device, requires_grad=True)
        graph = self.make_graph([structure], r, strain, lr_cutoff)
        notes: dict[str, Tensor] = {}
        out = self(graph, lr_cutoff, lr_damping, notes.__setitem__)
        if dispersion_tail:
            if lr_cutoff is None:
                raise ValueError("dispersion_tail: expected a cutoff, found lr_cutoff=None")
            vectors = torch.tensor(structure.cell).to(like) @ (torch.eye(3).to(like) + strain[0])
            volume = torch.linalg.det(vectors).abs()
            tail = self.tail(graph, out, volume, lr_cutoff, lr_damping)
            out["energy_components"]["dispersion"] = out["energy_components"]["dispersion"] + tail
            out["energies"] = out["energies"] + tail
            out["energy"] = out["energy"] + tail.sum()
        if electric_field is not None:
            if "charges" not in out:
                raise ValueError("electric_field: this model predicts no charges")
            strained = r @ (torch.eye(3).to(like) + strain[0])
            in_field = field_energy(
                out["charges"], strained, torch.tensor(electric_field, dtype=r.dtype, device=r.device)
            )
            parts = out["energy_components"]
            parts["electrostatics"] = parts.get("electrostatics", torch.zeros_like(in_field)) + in_field
            out["energies"] = out["energies"] + in_field
            out["energy"] = out["energy"] + in_field.sum()
        # An isolated atom has no edges, hence no gradient.
        gradient, virial = torch.autograd.grad(
            out["energy"].sum() + 0.0 * (r.sum() + strain.sum()), (r, strain), retain_graph=intermediates
        )
        terms = ("nn", "zbl", "electrostatics", "dispersion")
        sums = {name: value.sum().item() for name, value in out["energy_components"].items()}
        result = {
            "energy": out["energy"].item(),
            "energies": _array(out["energies"]),
            "forces": -_array(gradient),
            "virial": _array(virial[0]),
            "energy_components": {name: sums.get(name, 0.0) for name in terms},
        }
        volume = abs(np.linalg.det(structure.cell))
        if structure.pbc.any() and volume > 0:
            result["stress"] = result["virial"] / volume
        for name in ("charges", "hirshfeld_ratios", "c6_ratios"):
            if name in out:
                result[name] = _array(out[name])
        if "charges" in result:
            result["dipole"] = result["charges"] @ structure.positions
        if intermediates:
            result["intermediates"] = _intermediates(notes, graph, out)
        return result


def _array(value: Tensor) -> np.ndarray:
    return value.detach().cpu().numpy()


def _intermediates(notes: dict[str, Tensor], graph: Graph, out: dict[str, Any]) -> dict[str, np.ndarray]:
    """All intermediate quantities by name, with the edges that they belong to."""
    edges = {"edge_i": graph.short_edges.centre, "edge_j": graph.short_edges.neighbour}
    edges |= {"vectors": graph.short_edges.displacement, "lengths": graph.short_edges.distance}
    if graph.long_edges is not None:
        edges |= {"edge_i_lr": graph.long_edges.centre, "edge_j_lr": graph.long_edges.neighbour}
        edges |= {"lengths_lr": graph.long_edges.distance}
    energies = {f"node_energy_{name}": value[:, None] for name, value in out["energy_components"].items()}
    heads = {"partial_charges": out.get("charges"), "hirshfeld_ratios": out.get("hirshfeld_ratios")}
    found = notes | edges | energies | {name: value for name, value in heads.items() if value is not None}
    return {name: _array(value) for name, value in found.items()}
