"""Forces and stresses of a calculator beside finite differences of its energies, and beside what they are of atoms."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np
import pytest
from ase import Atoms
from tolerances import EXACT, FINITE_DIFFERENCE_FORCES, FINITE_DIFFERENCE_STEP, FINITE_DIFFERENCE_STRESS


def assert_forces_are_derivatives(atoms: Atoms, members: Iterable[int]) -> None:
    """Of these atoms, with the calculator that the structure has."""
    forces = atoms.get_forces()
    for atom in members:
        for axis in range(3):
            energies = []
            for sign in (1, -1):
                atoms.positions[atom, axis] += sign * FINITE_DIFFERENCE_STEP
                energies.append(atoms.get_potential_energy())
                atoms.positions[atom, axis] -= sign * FINITE_DIFFERENCE_STEP
            numerical = -(energies[0] - energies[1]) / (2 * FINITE_DIFFERENCE_STEP)
            assert forces[atom, axis] == pytest.approx(numerical, rel=0, abs=FINITE_DIFFERENCE_FORCES)


def assert_stress_is_a_derivative(atoms: Atoms, evaluated: Callable[[Atoms], Atoms]) -> None:
    """evaluated: gives a structure its calculator."""
    numerical = np.zeros((3, 3))
    for a, b in np.ndindex(3, 3):
        energies = []
        for sign in (1, -1):
            strain = np.eye(3)
            strain[a, b] += 0.5 * sign * FINITE_DIFFERENCE_STEP
            strain[b, a] += 0.5 * sign * FINITE_DIFFERENCE_STEP
            strained = atoms.copy()
            strained.set_cell(atoms.cell.array @ strain, scale_atoms=True)
            energies.append(evaluated(strained).get_potential_energy())
        numerical[a, b] = (energies[0] - energies[1]) / (2 * FINITE_DIFFERENCE_STEP * atoms.get_volume())
    np.testing.assert_allclose(atoms.get_stress(voigt=False), numerical, rtol=0, atol=FINITE_DIFFERENCE_STRESS)


def assert_atoms_add_up(atoms: Atoms) -> None:
    """Energies and stresses of atoms; and the energy by itself, without forces, another way through the engine."""
    energy = atoms.get_potential_energy()
    assert atoms.get_potential_energies().sum() == pytest.approx(energy, rel=0, abs=1e-9)
    np.testing.assert_allclose(atoms.get_stresses().sum(axis=0), atoms.get_stress(), rtol=0, atol=EXACT.stress)
    atoms.calc.reset()
    assert atoms.get_potential_energy() == pytest.approx(energy, rel=0, abs=EXACT.component)
