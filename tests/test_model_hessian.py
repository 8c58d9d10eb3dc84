"""The model Hessian: against differences of ASE's distances, angles and torsions, and for what is straight."""

from __future__ import annotations

from collections.abc import Callable
from itertools import combinations, pairwise

import numpy as np
import pytest
from ase import Atoms
from ase.build import molecule
from ase.units import Bohr, Hartree

from so3md.model_hessian import model_hessian

_UNIT = Hartree / Bohr**2


def gradient(atoms: Atoms, value: Callable[[Atoms], float]) -> np.ndarray:
    """By positions (Bohr), by central differences; angles in radians."""
    step, result = 1e-4, np.zeros(3 * len(atoms))
    for place in range(len(result)):
        ends = []
        for sign in (1, -1):
            moved = atoms.copy()
            moved.positions.flat[place] += sign * step
            ends.append(value(moved))
        result[place] = (ends[0] - ends[1]) / (2 * step / Bohr)
    return result


def weight(atoms: Atoms, i: int, j: int) -> float:
    """Of hydrogen and elements of the second row (Lindh et al. 1995)."""
    heavy = int(atoms.numbers[i] > 2) + int(atoms.numbers[j] > 2)
    decay, reference = ((1.0, 1.35), (0.3949, 2.10), (0.28, 2.87))[heavy]
    return float(np.exp(decay * (reference**2 - (atoms.get_distance(i, j) / Bohr) ** 2)))


def test_it_is_the_sum_over_internal_coordinates() -> None:
    atoms = molecule("H2O2")  # O O H H
    atoms.rattle(0.05, seed=2)
    expected = np.zeros((12, 12))

    def add(constant: float, value: Callable[[Atoms], float]) -> None:
        slope = gradient(atoms, value)
        expected[:] += constant * np.outer(slope, slope)

    bonds = {frozenset(pair) for pair in combinations(range(4), 2) if weight(atoms, *pair) > 0.1}
    assert len(bonds) == 3
    for i, j in combinations(range(4), 2):
        if weight(atoms, i, j) > 1e-4:
            add(0.45 * weight(atoms, i, j), lambda moved, i=i, j=j: moved.get_distance(i, j) / Bohr)
    ends = {oxygen: next(h for h in (2, 3) if frozenset((oxygen, h)) in bonds) for oxygen in (0, 1)}
    for j, k in ((0, 1), (1, 0)):
        i = ends[j]
        constant = 0.15 * weight(atoms, i, j) * weight(atoms, j, k)
        add(constant, lambda moved, i=i, j=j, k=k: np.radians(moved.get_angle(i, j, k)))
    chain = ends[0], 0, 1, ends[1]
    constant = 0.005 * np.prod([weight(atoms, *pair) for pair in pairwise(chain)])
    add(constant, lambda moved: np.radians(moved.get_dihedral(*chain)))
    # Differences over 1e-4 A have an error of 1e-8 of a slope.
    assert model_hessian(atoms.numbers, atoms.positions) == pytest.approx(expected * _UNIT, abs=1e-6)


@pytest.mark.parametrize("name", ["H2O", "C2H2", "HCN", "C6H6", "SiH4", "CH3CH2OH", "PH3", "H2", "CO2"])
def test_only_rotations_and_translations_cost_nothing(name: str) -> None:
    atoms = molecule(name)
    hessian = model_hessian(atoms.numbers, atoms.positions)
    assert hessian == pytest.approx(hessian.T, abs=1e-12)
    values = np.linalg.eigvalsh(hessian)
    straight = np.linalg.matrix_rank(atoms.positions - atoms.get_center_of_mass(), tol=1e-6) < 2
    free = 5 if straight else 6
    assert np.abs(values[:free]).max() < 1e-9
    assert 0.02 < values[free] <= values[-1] < 500  # eV/A^2: a torsion, and the stretches of CO2, by both of its bonds


def test_a_straight_molecule_bends_alike_in_all_directions() -> None:
    atoms = molecule("HCN")
    atoms.rotate(37, (1, 2, 3))
    hessian = model_hessian(atoms.numbers, atoms.positions)
    bends = np.linalg.eigvalsh(hessian)[5:7]
    assert bends[0] == pytest.approx(bends[1], rel=1e-9)


def test_far_atoms_and_single_ones_have_none() -> None:
    assert not model_hessian(np.array([8]), np.zeros((1, 3))).any()
    assert not model_hessian(np.array([8, 8]), np.array([[0, 0, 0], [0, 0, 20.0]])).any()
