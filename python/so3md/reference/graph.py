"""Structures as graphs: neighbours of every atom, several structures side by side in one graph."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from ase.cell import Cell
from ase.neighborlist import primitive_neighbor_list
from torch import Tensor


class Edges(NamedTuple):
    """Directed edges; displacement = r_neighbour - r_centre with images, shape (edges, 3), A."""

    centre: Tensor
    neighbour: Tensor
    displacement: Tensor

    @property
    def distance(self) -> Tensor:
        return torch.linalg.vector_norm(self.displacement, dim=-1)


class Graph(NamedTuple):
    """One or more structures. `batch` says for each atom which structure it belongs to.

    species (n): position of each atom's element in the model's `elements`; charge, spin (structures): total charge in
    e, total spin S; long_edges is None where no long-range term is wanted.
    """

    species: Tensor
    batch: Tensor
    charge: Tensor
    spin: Tensor
    short_edges: Edges
    long_edges: Edges | None

    @property
    def num_structures(self) -> int:
        return len(self.charge)

    def sum_structures(self, values: Tensor) -> Tensor:
        """Sum of per-atom values (n) in each structure (structures)."""
        return values.new_zeros(self.num_structures).index_add(0, self.batch, values)


@dataclass
class Structure:
    """Atoms in numbers: atomic numbers (n), positions (n, 3) in A, cell rows (3, 3) in A, pbc (3), charge, spin S."""

    numbers: np.ndarray
    positions: np.ndarray
    cell: np.ndarray | None = None
    pbc: np.ndarray | Sequence[bool] | bool | None = None
    charge: float = 0.0
    spin: float = 0.0

    def __post_init__(self) -> None:
        self.numbers = np.asarray(self.numbers, dtype=int)
        self.positions = np.asarray(self.positions, dtype=float).reshape(-1, 3)
        self.cell = np.zeros((3, 3)) if self.cell is None else np.asarray(self.cell, dtype=float)
        self.pbc = np.broadcast_to(np.asarray(False if self.pbc is None else self.pbc, dtype=bool), 3)
        if len(self.numbers) != len(self.positions):
            raise ValueError(f"{len(self.numbers)} atomic numbers, but {len(self.positions)} positions")


def neighbours(structure: Structure, cutoff: float | None) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Centres, neighbours (edges) and cell offsets (edges, 3) of all directed pairs closer than the cutoff.

    cutoff None: all pairs, for structures without periodic directions only.
    """
    if cutoff is None:
        if structure.pbc.any():
            raise ValueError("a periodic structure needs a finite long-range cutoff, found None")
        centre, neighbour = np.nonzero(~np.eye(len(structure.numbers), dtype=bool))
        return centre, neighbour, np.zeros((len(centre), 3))
    cell = Cell(structure.cell).complete().array
    centre, neighbour, offset = primitive_neighbor_list("ijS", structure.pbc, cell, structure.positions, cutoff)
    return centre, neighbour, offset @ structure.cell


def make_graph(
    structures: Sequence[Structure],
    elements: Sequence[int],
    cutoff: float,
    lr_cutoff: float | None,
    long_range: bool,
    positions: Tensor,
    strain: Tensor | None = None,
) -> Graph:
    """Put structures side by side.

    positions (n of all structures, 3) carries the gradient of the forces; strain (structures, 3, 3), where given,
    deforms every displacement d to d (1 + strain), so its gradient is the virial.
    """
    counts = [len(structure.numbers) for structure in structures]
    starts = np.cumsum([0, *counts[:-1]])
    batch = torch.repeat_interleave(torch.tensor(counts))
    numbers = np.concatenate([structure.numbers for structure in structures])
    unknown = sorted(set(numbers.tolist()) - set(elements))
    if unknown:
        raise ValueError(f"the model knows the elements {list(elements)}, not {unknown} (atomic numbers)")

    def edges(edge_cutoff: float | None) -> Edges:
        found = [neighbours(structure, edge_cutoff) for structure in structures]
        centre, neighbour = (
            torch.from_numpy(np.concatenate([part[k] + start for part, start in zip(found, starts, strict=True)]))
            for k in (0, 1)
        )
        offset = torch.from_numpy(np.concatenate([part[2] for part in found])).to(positions)
        displacement = positions[neighbour] - positions[centre] + offset
        if strain is not None:
            displacement = displacement + torch.einsum("ea,eab->eb", displacement, strain[batch[centre]])
        return Edges(centre, neighbour, displacement)

    return Graph(
        species=torch.from_numpy(np.searchsorted(np.asarray(elements), numbers)),
        batch=batch,
        charge=positions.new_tensor([float(structure.charge) for structure in structures]),
        spin=positions.new_tensor([float(structure.spin) for structure in structures]),
        short_edges=edges(cutoff),
        long_edges=edges(lr_cutoff) if long_range else None,
    )
