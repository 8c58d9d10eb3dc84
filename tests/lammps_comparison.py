"""Small boxes of water, and what the ASE calculator says of them, for tests of the LAMMPS pair style."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
from ase import Atoms
from ase.build import molecule
from lammps_tools import Report
from tolerances import (
    EXACT,
    Tolerance,
)

from so3md import So3kratesCalculator


def waters(*grid: int, spacing: float = 3.1, seed: int = 0) -> Atoms:
    """Water molecules on a grid, turned and displaced at random, with velocities of 300 K."""
    random = np.random.default_rng(seed)
    atoms = Atoms(cell=spacing * np.array(grid), pbc=True)
    for site in np.ndindex(*grid):
        water = molecule("H2O")
        water.rotate(random.uniform(0, 360), random.normal(size=3))
        water.positions += spacing * (np.array(site) + 0.5) + random.normal(scale=0.1, size=(3, 3))
        atoms += water
    speed = np.sqrt(0.02585 / atoms.get_masses())[:, None]
    atoms.set_velocities(speed * random.normal(size=(len(atoms), 3)))
    atoms.wrap()
    return atoms


def skewed_waters() -> Atoms:
    atoms = waters(2, 2, 2)
    atoms.set_cell(atoms.cell.array @ np.array([[1, 0, 0], [0.3, 1, 0], [-0.2, 0.4, 1]]), scale_atoms=True)
    return atoms


@cache
def calculator(**parameters: object) -> So3kratesCalculator:
    return So3kratesCalculator(**{"precision": "double", "threads": 1, **parameters})


def of_ase(atoms: Atoms, **parameters: object) -> Atoms:
    """A copy of the structure with its results."""
    atoms = atoms.copy()
    atoms.calc = calculator(**parameters)
    atoms.get_forces()
    return atoms


def assert_equal_to_ase(report: Report, atoms: Atoms, tolerance: Tolerance = EXACT, **parameters: object) -> None:
    expected = of_ase(atoms, **parameters)
    n = len(atoms)
    assert report.energy == pytest.approx(expected.get_potential_energy(), rel=0, abs=tolerance.energy_per_atom * n)
    np.testing.assert_allclose(report.forces, expected.get_forces(), rtol=0, atol=tolerance.forces)
    np.testing.assert_allclose(report.charges, expected.get_charges(), rtol=0, atol=tolerance.charges)
    ratios = expected.calc.get_hirshfeld_ratios(expected)
    np.testing.assert_allclose(report.hirshfeld_ratios, ratios, rtol=0, atol=tolerance.charges)
    energies = expected.get_potential_energies()
    np.testing.assert_allclose(report.energies, energies, rtol=0, atol=tolerance.energy_per_atom)
    components = expected.calc.get_energy_components(expected)
    for name, energy in report.components.items():
        assert energy == pytest.approx(components[name], rel=0, abs=tolerance.component)
    assert report.coulomb == pytest.approx(components["electrostatics"], rel=0, abs=tolerance.component)
    if atoms.pbc.all():
        np.testing.assert_allclose(report.stress, expected.get_stress(voigt=False), rtol=0, atol=tolerance.stress)


def moved(atoms: Atoms, report: Report) -> Atoms:
    """The structure with the positions of a report (periodic images do not matter)."""
    atoms = atoms.copy()
    atoms.positions = report.positions
    return atoms
