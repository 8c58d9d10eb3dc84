"""The whole model: one evaluation from a graph to energy, charges and ratios, and from atoms to forces and stress."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from so3md.model_file import ModelFile
from so3md.reference import functions
from so3md.reference.graph import Graph, Structure, make_graph
from so3md.reference.network import (
    ChargeHead,
    Embedding,
    EnergyHead,
    HirshfeldHead,
    Layer,
    Note,
    RadialBasis,
)
from so3md.reference.physics import Dispersion, ZblRepulsion, electrostatic_energy


def _ignore(name: str, value: Tensor) -> None:
    """The default `Note`: keeps nothing."""


def _prefixed(note: Note, prefix: str) -> Note:
    return lambda name, value: note(prefix + name, value)


class ReferenceModel(nn.Module):
    """So3krates with its physical terms. Units eV, A, e.

    Parameters and buffers have the names of the model file's tensors: `state_dict` has exactly its keys.
    """

    def __init__(self, hyperparameters: dict[str, Any], elements: list[int]) -> None:
        super().__init__()
        hyper, num_elements = hyperparameters, len(elements)
        self.hyperparameters, self.elements = hyper, list(elements)
        self.embedding = Embedding(hyper, num_elements)
        self.radial_basis = RadialBasis(hyper)
        self.layers = nn.ModuleList(Layer(hyper) for _ in range(hyper["num_layers"]))
        self.energy = EnergyHead(hyper, num_elements)
        self.charge = ChargeHead(hyper, num_elements) if hyper["charge_head"] else None
        self.hirshfeld = HirshfeldHead(hyper, num_elements) if hyper["hirshfeld_head"] else None
        self.zbl = ZblRepulsion(**hyper["zbl"]) if hyper["zbl"] else None
        self.electrostatics = hyper["electrostatics"]
        damping_scale = hyper["dispersion"] and hyper["dispersion"]["damping_scale"]
        self.dispersion = Dispersion(num_elements, damping_scale) if hyper["dispersion"] else None

    @classmethod
    def from_file(cls, path: str | os.PathLike[str], dtype: torch.dtype = torch.float64) -> ReferenceModel:
        """Build the model of a model file. Raises `ModelFileError` for a bad file."""
        return cls.from_model_file(ModelFile.read(path), dtype)

    @classmethod
    def from_model_file(cls, file: ModelFile, dtype: torch.dtype = torch.float64) -> ReferenceModel:
        model = cls(file.hyperparameters, file.elements).to(dtype)
        model.load_state_dict({name: torch.from_numpy(np.array(value)) for name, value in file.tensors.items()})
        return model

    def tensors(self) -> dict[str, np.ndarray]:
        """The tensors of a model file with the present parameters, in the present precision."""
        return {name: value.detach().cpu().numpy() for name, value in self.state_dict().items()}

    @property
    def has_long_range(self) -> bool:
        return self.electrostatics is not None or self.dispersion is not None

    def represent(self, graph: Graph, note: Note = _ignore) -> tuple[Tensor, Tensor]:
        """Features x (n, F) after the last layer, and phi (edges) of the short edges."""
        edges, hyper = graph.short_edges, self.hyperparameters
        r = edges.distance
        phi = functions.cutoff_function(
            hyper["cutoff_function"]["type"], r, hyper["cutoff"], hyper["cutoff_function"].get("exponent", 0.0)
        )
        radial = self.radial_basis(r)
        harmonics = functions.spherical_harmonics(edges.displacement / r[:, None], hyper["degrees"])
        for name, value in (("ylm", harmonics), ("cutoff", phi[:, None]), ("rbf", radial)):
            note(name, value)
        x = self.embedding(graph, note)
        chi = x.new_zeros(len(x), harmonics.shape[-1])
        for t, layer in enumerate(self.layers):
            x, chi = layer(x, chi, edges, radial, phi, harmonics, _prefixed(note, f"layer{t}_"))
        return x, phi

    def forward(
        self, graph: Graph, lr_cutoff: float | None = 12.0, lr_damping: float = 2.0, note: Note = _ignore
    ) -> dict[str, Any]:
        """Energies of a graph, eq. (31), differentiable.

        Returns energy (structures), energies (n), energy_components (name -> (n)), and charges and hirshfeld_ratios (n)
        where the model has these heads. `note(name, value)` is called with every intermediate quantity.
        """
        x, phi = self.represent(graph, note)
        components = {"nn": self.energy(x, graph)}
        result: dict[str, Any] = {"energy_components": components}
        per_atom = torch.zeros_like(components["nn"])
        if self.zbl is not None:
            numbers = torch.tensor(self.elements, dtype=x.dtype)[graph.species]
            pair = self.zbl(graph.short_edges, phi, numbers)
            components["zbl"] = per_atom.index_add(0, graph.short_edges.centre, pair)
        if self.charge is not None:
            result["charges"] = self.charge(x, graph, note)
        if self.hirshfeld is not None:
            result["hirshfeld_ratios"] = self.hirshfeld(x, graph)
        if self.electrostatics is not None:
            pair = electrostatic_energy(graph.long_edges, result["charges"], self.electrostatics["sigma"], lr_cutoff)
            components["electrostatics"] = per_atom.index_add(0, graph.long_edges.centre, pair)
        if self.dispersion is not None:
            pair = self.dispersion(graph.long_edges, graph.species, result["hirshfeld_ratios"], lr_cutoff, lr_damping)
            components["dispersion"] = per_atom.index_add(0, graph.long_edges.centre, pair)
        result["energies"] = sum(components.values())
        result["energy"] = graph.sum_structures(result["energies"])
        return result

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
    ) -> dict[str, Any]:
        """Everything about one structure, as NumPy arrays and floats; arguments as in `Structure`.

        Returns energy (float, eV), energies (n), forces (n, 3) eV/A, virial (3, 3) = dE/d(strain) eV, stress (3, 3)
        eV/A^3 with ASE's sign (periodic structures only), charges (n) e, dipole (3) e A, hirshfeld_ratios (n),
        energy_components (nn, zbl, electrostatics, dispersion, zero where the model lacks a term), and with
        `intermediates` a dict of every intermediate quantity, edges included.
        """
        structure = Structure(numbers, positions, cell, pbc, charge, spin)
        dtype = self.energy.shift.dtype
        r = torch.tensor(structure.positions, dtype=dtype, requires_grad=True)
        strain = torch.zeros(1, 3, 3, dtype=dtype, requires_grad=True)
        graph = make_graph(
            [structure], self.elements, self.hyperparameters["cutoff"], lr_cutoff, self.has_long_range, r, strain
        )
        notes: dict[str, Tensor] = {}
        out = self(graph, lr_cutoff, lr_damping, notes.__setitem__)
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
        if structure.pbc.any():
            result["stress"] = result["virial"] / abs(np.linalg.det(structure.cell))
        for name in ("charges", "hirshfeld_ratios"):
            if name in out:
                result[name] = _array(out[name])
        if "charges" in result:
            result["dipole"] = result["charges"] @ structure.positions
        if intermediates:
            result["intermediates"] = _intermediates(notes, graph, out)
        return result


def _array(value: Tensor) -> np.ndarray:
    return value.detach().numpy()


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
