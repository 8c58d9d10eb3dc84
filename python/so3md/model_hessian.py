"""A Hessian that bonds, angles and torsions have by their lengths and elements alone: a start for optimizers.

Curvatures of a molecule differ by a factor of a thousand, from bonds to torsions. A quasi-Newton optimizer has to learn
them from steps, unless it is told.
"""

from __future__ import annotations

from itertools import combinations

import numpy as np
from ase.data import atomic_numbers
from ase.units import Bohr, Hartree

# R. Lindh, A. Bernhardsson, G. Karlström, P.-Å. Malmqvist, Chem. Phys. Lett. 241, 423 (1995), in atomic units: force
# constants of distances, angles and torsions; decay and reference distance by the rows of two elements, where elements
# below the third row count as those of the third.
_DISTANCE, _ANGLE, _TORSION = 0.45, 0.15, 0.005
_DECAY = np.array([[1.0, 0.3949, 0.3949], [0.3949, 0.28, 0.28], [0.3949, 0.28, 0.28]])
_REFERENCE = np.array([[1.35, 2.10, 2.53], [2.10, 2.87, 3.40], [2.53, 3.40, 3.40]])

_LEAST_PAIR = 1e-4  # of the weight, which is 1 for a bond; below it a distance does not count
_LEAST_BOND = 0.1  # for angles and torsions
_LINEAR = 0.2  # sine of an angle, below which it bends along two directions, and has no torsion

_UNIT = Hartree / Bohr**2  # eV/Angstrom^2

#: Atoms (m, k) of internal coordinates, derivatives (m, k, 3) by their positions, and force constants (m).
_Coordinates = tuple[np.ndarray, np.ndarray, np.ndarray]


def model_hessian(numbers: np.ndarray, positions: np.ndarray) -> np.ndarray:
    """(3 n, 3 n) in eV/Angstrom^2, positive semidefinite, of n atoms in vacuum with positions (n, 3) in Angstrom.

    A sum over internal coordinates q of k grad q grad q: as if each were at its minimum.
    """
    places = np.asarray(positions) / Bohr
    weights = _weights(np.asarray(numbers), places)
    bonded = weights > _LEAST_BOND
    hessian = np.zeros((3 * len(places), 3 * len(places)))
    for atoms, derivatives, constants in (
        _distances(places, weights),
        *_angles(places, weights, bonded),
        _torsions(places, weights, bonded),
    ):
        shape = len(atoms), 3 * atoms.shape[1]
        rows, gradients = (3 * atoms[:, :, None] + np.arange(3)).reshape(shape), derivatives.reshape(shape)
        blocks = constants[:, None, None] * gradients[:, :, None] * gradients[:, None, :]
        np.add.at(hessian, (rows[:, :, None], rows[:, None, :]), blocks)
    return hessian * _UNIT


def _weights(numbers: np.ndarray, places: np.ndarray) -> np.ndarray:
    """(n, n): 1 for pairs at the distance of a bond, falling off beyond it; no atom has one with itself."""
    rows = np.searchsorted([atomic_numbers["He"], atomic_numbers["Ne"]], numbers)
    squares = np.square(places[:, None] - places).sum(axis=2)
    weights = np.exp(_DECAY[rows[:, None], rows] * (np.square(_REFERENCE[rows[:, None], rows]) - squares))
    np.fill_diagonal(weights, 0.0)
    return weights


def _distances(places: np.ndarray, weights: np.ndarray) -> _Coordinates:
    i, j = np.nonzero(np.triu(weights > _LEAST_PAIR))
    along = _unit(places[i] - places[j])
    return np.stack([i, j], axis=1), np.stack([along, -along], axis=1), _DISTANCE * weights[i, j]


def _angles(places: np.ndarray, weights: np.ndarray, bonded: np.ndarray) -> list[_Coordinates]:
    """Angles at j, and those that are straight, each bending along two directions."""
    ends_of = [(j, ends) for j in range(len(places)) for ends in combinations(_neighbours(bonded, j), 2)]
    triples = np.array([(i, j, k) for j, (i, k) in ends_of], dtype=int).reshape(-1, 3)
    i, j, k = triples.T
    constants = _ANGLE * weights[i, j] * weights[j, k]
    first, second = places[i] - places[j], places[k] - places[j]
    lengths = np.linalg.norm(first, axis=1)[:, None], np.linalg.norm(second, axis=1)[:, None]
    u, v = first / lengths[0], second / lengths[1]
    cosine = (u * v).sum(axis=1)[:, None]
    sine = np.sqrt(np.maximum(1 - cosine**2, 0))
    bent, straight = sine[:, 0] >= _LINEAR, sine[:, 0] < _LINEAR
    with np.errstate(divide="ignore", invalid="ignore"):  # of straight ones, which are left out
        ends = (cosine * u - v) / (lengths[0] * sine), (cosine * v - u) / (lengths[1] * sine)
    found = [(triples[bent], _with_middle(*ends)[bent], constants[bent])]
    for normal in _normals(u[straight]):
        ends = normal / lengths[0][straight], -np.sign(cosine[straight]) * normal / lengths[1][straight]
        found.append((triples[straight], _with_middle(*ends), constants[straight]))
    return found


def _with_middle(first: np.ndarray, last: np.ndarray) -> np.ndarray:
    """Derivatives by three atoms, which a translation leaves as they are."""
    return np.stack([first, -first - last, last], axis=1)


def _torsions(places: np.ndarray, weights: np.ndarray, bonded: np.ndarray) -> _Coordinates:
    """About the bonds j k, where neither angle is straight."""
    quadruples = np.array(
        [
            (i, j, k, l)
            for j, k in zip(*np.nonzero(np.triu(bonded)), strict=True)
            for i in _neighbours(bonded, j)
            for l in _neighbours(bonded, k)  # noqa: E741 - the four atoms of a torsion
            if len({i, j, k, l}) == 4
        ],
        dtype=int,
    ).reshape(-1, 4)
    i, j, k, l = quadruples.T  # noqa: E741
    f, g, h = places[i] - places[j], places[j] - places[k], places[l] - places[k]
    straight = np.minimum(_sine(f, g), _sine(h, g)) < _LINEAR
    quadruples, f, g, h = quadruples[~straight], f[~straight], g[~straight], h[~straight]
    i, j, k, l = quadruples.T  # noqa: E741
    a, b = np.cross(f, g), np.cross(h, g)
    length = np.linalg.norm(g, axis=1)[:, None]
    a, b = a / np.square(a).sum(axis=1)[:, None], b / np.square(b).sum(axis=1)[:, None]
    shift = ((f * g).sum(axis=1)[:, None] * a - (h * g).sum(axis=1)[:, None] * b) / length
    derivatives = np.stack([-length * a, length * a + shift, -length * b - shift, length * b], axis=1)
    return quadruples, derivatives, _TORSION * weights[i, j] * weights[j, k] * weights[k, l]


def _neighbours(bonded: np.ndarray, atom: int) -> list[int]:
    return np.flatnonzero(bonded[atom]).tolist()


def _unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)


def _sine(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    return np.linalg.norm(np.cross(_unit(first), _unit(second)), axis=1)


def _normals(directions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Two unit vectors across each direction (m, 3)."""
    axes = np.eye(3)[np.abs(directions).argmin(axis=1)]
    first = _unit(np.cross(directions, axes))
    return first, np.cross(directions, first)
