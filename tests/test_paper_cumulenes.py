"""The cumulene data of benchmarks/paper: geometries are what they say, and energies and forces belong together."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.io import read

sys.path.insert(0, str(Path(__file__).parent.parent / "benchmarks" / "paper"))

import cumulene_data


@pytest.fixture(scope="module")
def profiles() -> dict[int, list[Atoms]]:
    return cumulene_data.read_profiles()


@pytest.mark.parametrize("angle", [0.0, 10.0, 90.0, 133.0, 179.0])
@pytest.mark.parametrize("n", [3, 6])
def test_turning_an_end_changes_the_torsion_and_no_bond(n: int, angle: float) -> None:
    straight = cumulene_data.chain(n)
    turned = cumulene_data.turned(straight, angle)
    assert cumulene_data.measured_torsion(turned) == pytest.approx(angle, abs=1e-9)
    assert turned.get_distance(n - 1, n + 3) == pytest.approx(straight.get_distance(n - 1, n + 3))
    np.testing.assert_array_equal(turned.positions[: n + 2], straight.positions[: n + 2])


@pytest.mark.parametrize("n", cumulene_data.LENGTHS)
def test_training_files_hold_what_they_say(n: int) -> None:
    configurations = read(cumulene_data.training_file(n), ":")
    assert len(configurations) == cumulene_data.CONFIGURATIONS
    for atoms in configurations:
        assert atoms.get_chemical_formula() == f"C{n}H4"
        difference = cumulene_data.measured_torsion(atoms) - atoms.info["torsion"]
        assert abs((difference + 90) % 180 - 90) < 0.01
        # Forces of an isolated molecule: no net force, no net torque.
        forces = atoms.get_forces()
        np.testing.assert_allclose(forces.sum(axis=0), 0.0, atol=2e-3)
        np.testing.assert_allclose(np.cross(atoms.positions, forces).sum(axis=0), 0.0, atol=1e-2)
    torsions = np.array([atoms.info["torsion"] for atoms in configurations])
    assert np.histogram(torsions, bins=6, range=(0, 180))[0].min() > 0.12 * len(torsions)


@pytest.mark.parametrize("n", cumulene_data.LENGTHS)
def test_forces_are_the_slope_of_the_energy_along_the_profile(n: int, profiles: dict[int, list[Atoms]]) -> None:
    profile = profiles[n]
    energies = np.array([atoms.get_potential_energy() for atoms in profile])
    # Torque about z on the last CH2, which is what turns: -dE/d(torsion).
    torques = np.array([np.cross(a.positions[-2:], a.get_forces()[-2:]).sum(axis=0)[2] for a in profile])
    step = np.radians(cumulene_data.PROFILE[1])
    slopes = (energies[2:] - energies[:-2]) / (2 * step)
    # Away from the rounded cusp a central difference over 10 degrees is good to a few per cent of the largest slope.
    smooth = np.abs(np.diff(energies, 2)) < np.percentile(np.abs(np.diff(energies, 2)), 80)
    np.testing.assert_allclose(-torques[1:-1][smooth], slopes[smooth], atol=0.05 * np.abs(slopes).max())


@pytest.mark.parametrize("n", cumulene_data.LENGTHS)
def test_even_chains_are_planar_and_odd_ones_perpendicular(n: int, profiles: dict[int, list[Atoms]]) -> None:
    energies = np.array([atoms.get_potential_energy() for atoms in profiles[n]])
    middle = len(energies) // 2
    np.testing.assert_allclose(energies, energies[::-1], atol=1e-4)  # torsions t and 180 - t are the same molecule
    lowest = middle if n % 2 else 0
    assert np.argmin(energies) in (lowest, len(energies) - 1 - lowest)
    assert 0.4 < np.ptp(energies) < 2.5


def test_profile_is_recalculated_by_xtb(profiles: dict[int, list[Atoms]]) -> None:
    pytest.importorskip("tblite", reason="tblite makes the data; it is needed to make them again, not to use them")
    atoms = profiles[5][7]
    again = cumulene_data.labelled(atoms)
    assert again.get_potential_energy() == pytest.approx(atoms.get_potential_energy(), abs=1e-4)
    np.testing.assert_allclose(again.get_forces(), atoms.get_forces(), atol=1e-3)
