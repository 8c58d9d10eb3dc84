"""Structures as graphs: neighbours of every atom, several structures side by side in one graph."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import numpy as np
import torch
from ase.cell import Cell
from ase.data import chemical_symbols
from ase.geometry import find_mic
from numpy.typing import ArrayLike
from torch import Tensor

from so3md._engine import NeighbourList


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

    short_edges are what the network sees: pairs closer than its cutoff, or all pairs of a structure where it has
    non-local attention. species (n): position of each atom's element in the model's `elements`; charge, spin
    (structures): total charge in e, total spin S; long_edges is None where no long-range term is wanted.
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


@dataclass(init=False)
class Structure:
    """Atoms in numbers: atomic numbers (n), positions (n, 3) in A, cell rows (3, 3) in A, pbc (3), charge, spin S."""

    numbers: np.ndarray
    positions: np.ndarray
    cell: np.ndarray
    pbc: np.ndarray
    charge: float
    spin: float

    def __init__(
        self,
        numbers: ArrayLike,
        positions: ArrayLike,
        cell: ArrayLike | None = None,
        pbc: ArrayLike | None = None,
        charge: float = 0.0,
        spin: float = 0.0,
    ) -> None:
        self.numbers = np.asarray(numbers, dtype=int)
        self.positions = np.asarray(positions, dtype=float).reshape(-1, 3)
        self.cell = np.zeros((3, 3)) if cell is None else np.asarray(cell, dtype=float)
        self.pbc = np.broadcast_to(np.asarray(False if pbc is None else pbc, dtype=bool), (3,))
        self.charge, self.spin = charge, spin
        if len(self.numbers) != len(self.positions):
            raise ValueError(f"{len(self.numbers)} atomic numbers, but {len(self.positions)} positions")


def neighbours(structure: Structure, cutoff: float | None) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Centres, neighbours (edges) and cell offsets (edges, 3) of all directed pairs closer than the cutoff.

    By centre, neighbour and offset. cutoff None: all pairs, for structures without periodic directions only. The search
    is the engine's: its memory does not grow with the cell, as that of ASE's does.
    """
    if cutoff is None:
        if structure.pbc.any():
            raise ValueError("a periodic structure needs a finite long-range cutoff, found None")
        centre, neighbour = np.nonzero(~np.eye(len(structure.numbers), dtype=bool))
        return centre, neighbour, np.zeros((len(centre), 3))
    search = NeighbourList(cutoff, skin=0.0)
    search.update(structure.positions, structure.cell, structure.pbc)
    found = search.short_pairs()
    # The search works in single precision and leaves a margin.
    near = np.linalg.norm(found[2], axis=1) < cutoff
    centre, neighbour, displacement = (values[near] for values in found)
    # Whole numbers of cell vectors, so that the offsets of a pair are opposite to the bit from either end.
    offset = displacement - (structure.positions[neighbour] - structure.positions[centre])
    shift = np.rint(offset @ np.linalg.inv(_repeating_cell(structure))).astype(int) * structure.pbc
    order = np.lexsort((*shift.T[::-1], neighbour, centre))
    return centre[order].astype(int), neighbour[order].astype(int), shift[order] @ structure.cell


def _repeating_cell(structure: Structure) -> np.ndarray:
    """Cell vectors; those that repeat nothing are replaced by unit vectors at right angles to the others."""
    return Cell(np.where(structure.pbc[:, None], structure.cell, 0.0)).complete().array


def nearest_images(structure: Structure, cutoff: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Centres, neighbours (pairs) and cell offsets (pairs, 3) of all directed pairs, each with the nearest image.

    So that every pair within the cutoff is its own nearest image, the cutoff must be below half the smallest height of
    the cell; a ValueError says so.
    """
    centre, neighbour = np.nonzero(~np.eye(len(structure.numbers), dtype=bool))
    offset = np.zeros((len(centre), 3))
    if not structure.pbc.any():
        return centre, neighbour, offset
    cell = _repeating_cell(structure)  # which image is nearest does not depend on vectors that repeat nothing
    height = (1 / np.linalg.norm(np.linalg.inv(cell), axis=0))[structure.pbc].min()
    if cutoff >= height / 2:
        raise ValueError(
            "non-local attention needs a cell in which only the nearest image of an atom is within the cutoff: "
            f"expected heights above {2 * cutoff:g} A along periodic directions, found {height:g} A; repeat the cell"
        )
    difference = structure.positions[neighbour] - structure.positions[centre]
    if len(difference):
        nearest, _ = find_mic(difference, cell, structure.pbc)
        offset = np.rint(np.linalg.solve(cell.T, (nearest - difference).T).T) @ cell
    return centre, neighbour, offset


def make_graph(
    structures: Sequence[Structure],
    elements: Sequence[int],
    cutoff: float,
    lr_cutoff: float | None,
    long_range: bool,
    positions: Tensor,
    strain: Tensor | None = None,
    all_pairs: bool = False,
) -> Graph:
    """Put structures side by side; `ReferenceModel.make_graph` does it with what a model needs.

    cutoff (A) is that of the network, lr_cutoff that of the long-range terms (None: all pairs), long_range says whether
    there are any; all_pairs: the network sees all pairs of a structure, not only those within the cutoff.

    positions (n of all structures, 3) carries the gradient of the forces; strain (structures, 3, 3), where given,
    deforms every displacement d to d (1 + strain), so its gradient is the virial.
    """
    counts = [len(structure.numbers) for structure in structures]
    starts = np.cumsum([0, *counts[:-1]])
    device = positions.device
    batch = torch.repeat_interleave(torch.tensor(counts)).to(device)
    numbers = np.concatenate([structure.numbers for structure in structures])
    unknown = sorted(set(numbers.tolist()) - set(elements))
    if unknown:
        known, other = (" ".join(chemical_symbols[z] for z in group) for group in (elements, unknown))
        raise ValueError(f"the model knows the elements {known}, not {other}")

    def edges(find: Callable[[Structure], tuple[np.ndarray, ...]]) -> Edges:
        found = [find(structure) for structure in structures]
        centre, neighbour = (
            torch.from_numpy(np.concatenate([part[k] + start for part, start in zip(found, starts, strict=True)]))
            for k in (0, 1)
        )
        centre, neighbour = centre.to(device), neighbour.to(device)
        offset = torch.from_numpy(np.concatenate([part[2] for part in found])).to(positions)
        displacement = positions[neighbour] - positions[centre] + offset
        if strain is not None:
            displacement = displacement + torch.einsum("ea,eab->eb", displacement, strain[batch[centre]])
        return Edges(centre, neighbour, displacement)

    return Graph(
        species=torch.from_numpy(np.searchsorted(np.asarray(elements), numbers)).to(device),
        batch=batch,
        charge=positions.new_tensor([float(structure.charge) for structure in structures]),
        spin=positions.new_tensor([float(structure.spin) for structure in structures]),
        short_edges=edges(partial(nearest_images if all_pairs else neighbours, cutoff=cutoff)),
        long_edges=edges(partial(neighbours, cutoff=lr_cutoff)) if long_range else None,
    )
