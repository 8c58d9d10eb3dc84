"""Which atoms are a molecule: those that covalent bonds of the first frame join."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from ase import Atoms

from so3md.analysis.results import Unavailable
from so3md.analysis.trajectory import Trajectory, nearest_image

#: Bonds are up to so many times the sum of covalent radii.
_REACH = 1.2


def bonds_of(atoms: Atoms) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Pairs i, j (each twice) that covalent radii call bonded, and (pairs, 3) the cells between them."""
    from ase.neighborlist import natural_cutoffs, neighbor_list

    first, second, shifts = neighbor_list("ijS", atoms, natural_cutoffs(atoms, mult=_REACH))
    return first, second, shifts


@dataclass(frozen=True)
class Molecules:
    """label (n): the molecule of each atom, numbered from 0. levels: atoms in the order in which a molecule is put
    together, as pairs of arrays (atoms, the bonded atoms that come before them). formulas: of each molecule."""

    label: np.ndarray
    levels: list[tuple[np.ndarray, np.ndarray]]
    formulas: np.ndarray

    def __len__(self) -> int:
        return len(self.formulas)

    def species(self) -> dict[str, np.ndarray]:
        """Formula -> the numbers of its molecules, the most frequent first."""
        names, counts = np.unique(self.formulas, return_counts=True)
        return {str(name): np.flatnonzero(self.formulas == name) for name in names[np.argsort(-counts, kind="stable")]}

    def whole(self, positions: np.ndarray, cells: np.ndarray, pbc: np.ndarray) -> np.ndarray:
        """Positions (f, n, 3) with each molecule in one piece."""
        result = positions.copy()
        for atoms, before in self.levels:
            result[:, atoms] = result[:, before] + nearest_image(positions[:, atoms] - positions[:, before], cells, pbc)
        return result

    def centres(self, trajectory: Trajectory) -> np.ndarray:
        """Centres of mass, each in the image of its first atom: (f, molecules, 3)."""
        whole = self.whole(trajectory.positions, trajectory.cells, trajectory.pbc)
        return self.sums(whole * trajectory.masses[:, None]) / self.masses(trajectory)[:, None]

    def masses(self, trajectory: Trajectory) -> np.ndarray:
        """(molecules,) in amu."""
        return np.bincount(self.label, trajectory.masses, len(self))

    def sums(self, values: np.ndarray) -> np.ndarray:
        """Values (f, n, 3) added up over the atoms of each molecule: (f, molecules, 3)."""
        order = np.argsort(self.label, kind="stable")
        starts = np.searchsorted(self.label[order], np.arange(len(self)))
        return np.add.reduceat(values[:, order], starts, axis=1)


def find_molecules(trajectory: Trajectory) -> Molecules:
    """The molecules of the first frame. Raises Unavailable for networks that reach through the whole system."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    atoms = trajectory.atoms(0)
    first, second, shifts = bonds_of(atoms)
    count = len(atoms)
    graph = coo_array((np.ones(len(first), dtype=np.int8), (first, second)), shape=(count, count))
    number, label = connected_components(graph, directed=False)
    levels, offsets = _levels(count, first, second, shifts)
    if (offsets[first] + shifts != offsets[second]).any():
        raise Unavailable("bonds reach through the cell without an end, so that there are no molecules")
    formulas = _formulas(trajectory.symbols, label, number)
    return Molecules(label, levels, formulas)


def _levels(
    count: int, first: np.ndarray, second: np.ndarray, shifts: np.ndarray
) -> tuple[list[tuple[np.ndarray, np.ndarray]], np.ndarray]:
    """Breadth first along bonds: levels as in Molecules; (count, 3) cells of atoms beside that of the first one."""
    neighbours: list[list[int]] = [[] for _ in range(count)]
    for bond, atom in enumerate(first.tolist()):
        neighbours[atom].append(bond)
    offsets = np.zeros((count, 3), dtype=int)
    seen = np.zeros(count, dtype=bool)
    levels: list[tuple[list[int], list[int]]] = []
    for root in range(count):
        if seen[root]:
            continue
        seen[root], front, depth = True, [root], 0
        while front:
            following = []
            for atom in front:
                for bond in neighbours[atom]:
                    other = int(second[bond])
                    if seen[other]:
                        continue
                    seen[other] = True
                    offsets[other] = offsets[atom] + shifts[bond]
                    following.append(other)
                    if depth == len(levels):
                        levels.append(([], []))
                    levels[depth][0].append(other)
                    levels[depth][1].append(atom)
            front, depth = following, depth + 1
    return [(np.array(atoms), np.array(before)) for atoms, before in levels], offsets


def _formulas(symbols: np.ndarray, label: np.ndarray, number: int) -> np.ndarray:
    from ase.formula import Formula

    order = np.argsort(label, kind="stable")
    groups = np.split(order, np.searchsorted(label[order], np.arange(1, number)))
    known: dict[tuple[str, ...], str] = {}
    names = []
    for group in groups:
        key = tuple(sorted(symbols[group]))
        if key not in known:
            known[key] = Formula.from_list(list(key)).format("hill")
        names.append(known[key])
    return np.array(names)
