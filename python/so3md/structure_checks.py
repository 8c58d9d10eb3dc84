"""Structures that nobody means: placeholder boxes, densities that no substance has, atoms on top of each other.

The engine evaluates them as it evaluates any others, and a relaxation of one may even converge. So the commands say
what is odd before they begin; in a script, `warn_of_odd_structures` does the same.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Sequence

import numpy as np
from ase import Atoms, units
from ase.data import chemical_symbols, covalent_radii

from so3md.defined_properties import spanned_volume

#: Half the sum of covalent radii of two atoms, as a share of their bond, and at least this (Angstrom): bonds in a
#: simulation, even a hot one, are never so short. (H2: 0.74 A long, nearer than 0.5 A never.)
_SHARE_OF_BOND = 0.5
_SHORTEST_DISTANCE = 0.5
#: In what is no gas, some atoms are nearer than this share of their bond; in Bohr, a bond would be 1.9 of its length.
_LONGEST_BOND = 1.5
_NOBLE_GASES = (2, 10, 18, 36, 54, 86)
#: A periodic structure repeats after one bond at least; the shortest known periods are those of chains and metals.
_SHORTEST_PERIOD = 1.2
_THINNEST_BOX = 0.3  # below, only the period is spoken of
#: Room that an atom needs: this many times the sphere of its covalent radius. Diamond, the tightest of the elements of
#: SO3LR, has 3.1, water 21; of the metals, whose covalent radii are wide, uranium has 0.7.
_ROOM_OF_NONMETALS, _ROOM_OF_METALS = 2.0, 0.5
_LEAST_ROOM = 1.5  # Angstrom^3: hydrogen of solids has 3, that of the metallic state 1.7
_NONMETALS = {1, 2, 5, 6, 7, 8, 9, 10, 14, 15, 16, 17, 18, 34, 35, 36, 53, 54}
_GRAM_PER_CM3 = 1e24 / units.mol  # of amu/Angstrom^3

_MOST_PAIRS = 3  # that a message names
_MOST_STRUCTURES = 3  # that are warned about one by one


class OddStructureWarning(UserWarning):
    """A structure with a box, a density or distances that no substance has."""


def oddities(atoms: Atoms) -> list[str]:
    """What no substance has about a structure: texts that name atoms (counted from 0) or the box; empty if all is well.

    What is looked at: periods and volume of the box, pairs of atoms, periodic images included, that are nearer than
    half a bond, and whether there is any bond. Takes time and memory in proportion to the number of atoms.

    >>> oddities(Atoms("H2", [(0, 0, 0), (0, 0, 0.74)]))
    []
    >>> len(oddities(Atoms("H2", [(0, 0, 0), (0, 0, 0.2)])))
    1
    """
    if len(atoms) == 0 or not np.isfinite(atoms.positions).all() or not np.isfinite(atoms.cell.array).all():
        return []  # refused where they are evaluated
    return [text for text in (_odd_box(atoms), _odd_distances(atoms)) if text]


def warn_of_odd_structures(structures: Iterable[Atoms], names: Sequence[str] | None = None) -> None:
    """Warn (`OddStructureWarning`) of structures that are odd; of a data set, the first few and how many more.

    names: what the structures are called in messages; default: their numbers, where there are several.
    """
    structures = list(structures)
    if names is None:
        names = [f"structure {n}: " if len(structures) > 1 else "" for n in range(len(structures))]
    else:
        names = [f"{name}: " for name in names]
    texts = ["; ".join(oddities(atoms)) for atoms in structures]
    found = [(name, text) for name, text in zip(names, texts, strict=True) if text]
    for name, text in found[:_MOST_STRUCTURES]:
        warnings.warn(f"{name}{text}", OddStructureWarning, stacklevel=2)
    if len(found) > _MOST_STRUCTURES:
        more = len(found) - _MOST_STRUCTURES
        warnings.warn(f"{more} more structures are like these", OddStructureWarning, stacklevel=2)


def _odd_box(atoms: Atoms) -> str | None:
    lengths = atoms.cell.lengths()[atoms.pbc]
    if not lengths.size or (lengths == 0).any():
        return None  # refused where it is evaluated
    box = " x ".join(f"{length:.4g}" for length in lengths) + " A"
    remedy = "give the real cell, or write the file without one for a molecule in vacuum"
    if atoms.pbc.all() and np.allclose(atoms.cell.cellpar(), [1, 1, 1, 90, 90, 90], rtol=0, atol=1e-6):
        return f"the box of {box} is a placeholder, as in PDB files without a crystal, but it is periodic; {remedy}"
    if lengths.min() < _SHORTEST_PERIOD:
        return f"the periodic box of {box} repeats atoms after {lengths.min():.4g} A, less than a bond; {remedy}"
    volume = spanned_volume(atoms.cell.array)
    if not atoms.pbc.all() or volume is None or volume >= _least_volume(atoms.numbers):
        return None
    density = atoms.get_masses().sum() / volume * _GRAM_PER_CM3
    return (
        f"{len(atoms)} atoms in the periodic box of {box} are {density:.1f} g/cm^3, denser than any substance of these "
        "elements: look for a box that is too small, or other units than Angstrom"
    )


def _least_volume(numbers: np.ndarray) -> float:
    """Volume (Angstrom^3) below which there is no substance of these atoms."""
    kinds, counts = np.unique(numbers, return_counts=True)
    spheres = 4 / 3 * np.pi * covalent_radii[kinds] ** 3
    room = np.where(np.isin(kinds, list(_NONMETALS)), _ROOM_OF_NONMETALS, _ROOM_OF_METALS)
    return float(np.sum(counts * np.maximum(room * spheres, _LEAST_ROOM)))


def _odd_distances(atoms: Atoms) -> str | None:
    """Names the closest of the pairs that are nearer than half a bond; or says that no atoms are within a bond."""
    radii = covalent_radii[atoms.numbers]
    i, j, distance = _near_pairs(atoms, max(_SHORTEST_DISTANCE, _LONGEST_BOND * 2 * radii.max()))
    bond = radii[i] + radii[j]
    bonded = (distance < _LONGEST_BOND * bond).any() or np.isin(atoms.numbers, _NOBLE_GASES).any()
    if len(atoms) > 2 and not bonded:
        return "no two of its atoms are within a bond of each other: look for other units than Angstrom, such as Bohr"
    close = distance < np.maximum(_SHORTEST_DISTANCE, _SHARE_OF_BOND * bond)
    pairs: dict[tuple[int, int], float] = {}
    for first, second, value in zip(i[close].tolist(), j[close].tolist(), distance[close].tolist(), strict=True):
        pair = (min(first, second), max(first, second))
        pairs[pair] = min(value, pairs.get(pair, np.inf))
    if not pairs:
        return None
    closest = sorted(pairs, key=lambda pair: (pairs[pair], pair))
    named = [
        f"{atom_name(atoms, i)} and {atom_name(atoms, j, i == j)} ({pairs[i, j]:.3f} A)"
        for i, j in closest[:_MOST_PAIRS]
    ]
    more = f" and {len(pairs) - _MOST_PAIRS} more pairs" if len(pairs) > _MOST_PAIRS else ""
    return (
        f"nearer to each other than half a bond are {', '.join(named)}{more}: look for duplicates, alternate "
        "locations, a box that is too small, or other units than Angstrom"
    )


def atom_name(atoms: Atoms, index: int, image: bool = False) -> str:
    """What messages call an atom; image: the periodic image of one that has just been named."""
    return "its periodic image" if image else f"atom {index} ({chemical_symbols[atoms.numbers[index]]})"


def closest_pair(atoms: Atoms, cutoff: float) -> tuple[int, int, float] | None:
    """The two atoms, or an atom twice for its image, that are nearest to each other, and their distance (A); None if
    none are nearer than the cutoff, which is meant to be short."""
    i, j, distance = _near_pairs(atoms, cutoff)
    if not len(distance):
        return None
    nearest = int(np.argmin(distance))
    first, second = sorted((int(i[nearest]), int(j[nearest])))
    return first, second, float(distance[nearest])


def _near_pairs(atoms: Atoms, cutoff: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Atoms i, their nearest atoms j (or images of j) within a short cutoff, and distances; a few for each atom."""
    from scipy.spatial import cKDTree

    points, owners = _with_images(atoms, cutoff)
    count = len(atoms)
    distance, index = cKDTree(points).query(points[:count], k=_MOST_PAIRS + 2, distance_upper_bound=cutoff)
    i, column = np.nonzero(np.isfinite(distance) & (index != np.arange(count)[:, None]))
    return i, owners[index[i, column]], distance[i, column]


def _with_images(atoms: Atoms, cutoff: float) -> tuple[np.ndarray, np.ndarray]:
    """Positions of the atoms, then of the images that are within the cutoff of the cell; and whose they are.

    Of a box that is thinner than any period, whose images would be many, there are the atoms alone.
    """
    owners = np.arange(len(atoms))
    heights = _heights(atoms)
    if heights is None:
        return atoms.positions, owners
    cell = atoms.cell.complete().array
    scaled = np.linalg.solve(cell.T, atoms.positions.T).T
    scaled -= np.where(atoms.pbc, np.floor(scaled), 0)
    moved = np.zeros(len(atoms), dtype=bool)
    for axis in np.flatnonzero(atoms.pbc):
        margin = cutoff / heights[axis]  # in periods
        reach = int(np.ceil(margin))
        parts = [(scaled, owners, moved)]
        for shift in [*range(-reach, 0), *range(1, reach + 1)]:
            shifted = scaled + shift * np.eye(3)[axis]
            near = (shifted[:, axis] >= -margin) & (shifted[:, axis] <= 1 + margin)
            parts.append((shifted[near], owners[near], np.ones(np.count_nonzero(near), dtype=bool)))
        scaled, owners, moved = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
    order = np.argsort(moved, kind="stable")  # the atoms themselves first
    return scaled[order] @ cell, owners[order]


def _heights(atoms: Atoms) -> np.ndarray | None:
    """Thickness of the cell along its periodic directions, inf along others; None if images are not looked at."""
    if not atoms.pbc.any() or not atoms.cell.array[atoms.pbc].any(axis=1).all():
        return None
    cell = atoms.cell.complete()
    if cell.volume == 0:
        return None
    with np.errstate(all="ignore"):  # cells of 1e-200 and the like
        heights = np.where(atoms.pbc, 1 / np.linalg.norm(cell.reciprocal().array, axis=1), np.inf)
    return heights if heights.min() >= _THINNEST_BOX else None
