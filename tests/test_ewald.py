"""Electrostatics of periodic systems without a cutoff: coulomb="ewald"."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ase import Atoms, units
from ase.build import molecule
from ase.md.verlet import VelocityVerlet
from derivatives import assert_atoms_add_up, assert_forces_are_derivatives, assert_stress_is_a_derivative
from ewald_reference import COULOMB, smeared_energy
from lammps_comparison import skewed_waters, waters
from tolerances import (
    EXACT,
    assert_within,
    rounding,
)

from so3md import So3kratesCalculator, evaluate_many
from so3md._engine import Engine, Model
from so3md.long_range import ChargedCellWarning

pytestmark = [
    pytest.mark.filterwarnings("ignore::so3md.long_range.ChargedCellWarning"),
    pytest.mark.filterwarnings("ignore::so3md.charge_and_spin.OddElectronsWarning"),
]

#: Of energies of some 10 eV by two sums of some 1e5 terms that cancel each other.
DIRECT_SUM = 1e-9


def ewald(**parameters: Any) -> So3kratesCalculator:
    return So3kratesCalculator(**{"coulomb": "ewald", "precision": "double", "threads": 1} | parameters)


def evaluated(atoms: Atoms, **parameters: Any) -> Atoms:
    """A copy with its results."""
    atoms = atoms.copy()
    atoms.calc = ewald(**parameters)
    atoms.get_forces()
    return atoms


def structure(atoms: Atoms) -> dict[str, Any]:
    return {"numbers": atoms.numbers, "positions": atoms.positions, "cell": atoms.cell.array, "pbc": atoms.pbc}


def alone_in_a_box(atoms: Atoms, length: float) -> Atoms:
    atoms = atoms.copy()
    atoms.set_cell([length] * 3)
    atoms.pbc = True
    return atoms


def needle() -> Atoms:
    """Two waters in a cell with an obtuse corner, of lengths 4 to 19 A."""
    atoms = waters(1, 1, 2)
    atoms.set_cell([[4.0, 0, 0], [-2.5, 6, 0], [3, -3, 18]], scale_atoms=False)
    return atoms


# --- values ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("charge", [0, 1, -2])
@pytest.mark.parametrize("make", [lambda: waters(2, 2, 2), skewed_waters, needle])
def test_energy_is_that_of_a_direct_sum(make: Callable[[], Atoms], charge: int) -> None:
    atoms = evaluated(make(), charge=charge)
    components = atoms.calc.get_energy_components(atoms)
    expected = smeared_energy(atoms, atoms.get_charges())
    assert components["electrostatics"] == pytest.approx(expected, rel=DIRECT_SUM)

    with_cutoff = evaluated(atoms, charge=charge, coulomb="cutoff")
    np.testing.assert_array_equal(with_cutoff.get_charges(), atoms.get_charges())
    for name in ("nn", "zbl", "dispersion"):
        assert with_cutoff.calc.get_energy_components(with_cutoff)[name] == pytest.approx(
            components[name], rel=0, abs=EXACT.component
        )


@pytest.mark.parametrize("charge", [0, 1])
def test_forces_are_derivatives(charge: int) -> None:
    atoms = evaluated(skewed_waters(), charge=charge)
    assert_forces_are_derivatives(atoms, (0, 5, 23))
    np.testing.assert_allclose(atoms.get_forces().sum(axis=0), 0, rtol=0, atol=EXACT.forces)


@pytest.mark.parametrize("charge", [0, 1])
def test_stress_is_a_derivative(charge: int) -> None:
    def of(atoms: Atoms) -> Atoms:
        return evaluated(atoms, charge=charge)

    assert_stress_is_a_derivative(of(skewed_waters()), of)


def test_energies_and_stresses_of_atoms_add_up() -> None:
    assert_atoms_add_up(evaluated(skewed_waters(), charge=1))


def test_what_a_cell_holds_does_not_depend_on_how_it_is_written() -> None:
    atoms = evaluated(skewed_waters())
    moved = atoms.copy()
    moved.positions += np.random.default_rng(1).integers(-3, 4, size=(len(atoms), 3)) @ atoms.cell.array
    other = atoms.copy()
    other.set_cell(np.array([[1, 1, 0], [0, 1, 0], [-1, 2, 1]]) @ atoms.cell.array)
    mirrored = atoms.copy()
    mirrored.set_cell(atoms.cell.array[[1, 0, 2]])
    for same in (moved, other, mirrored):
        found = evaluated(same)
        assert found.get_potential_energy() == pytest.approx(atoms.get_potential_energy(), rel=0, abs=1e-9)
        np.testing.assert_allclose(found.get_forces(), atoms.get_forces(), rtol=0, atol=EXACT.forces)
        np.testing.assert_allclose(found.get_stress(), atoms.get_stress(), rtol=0, atol=EXACT.stress)
    repeated = evaluated(atoms.repeat((1, 3, 2)))
    assert repeated.get_potential_energy() == pytest.approx(6 * atoms.get_potential_energy(), rel=0, abs=1e-8)
    np.testing.assert_allclose(repeated.get_forces()[: len(atoms)], atoms.get_forces(), rtol=0, atol=EXACT.forces)


def test_a_growing_box_has_the_energy_of_the_molecule() -> None:
    """What is left is that of the dipole in its images' field, -2 pi mu^2 / (3 V), and falls faster."""
    dimer = molecule("H2O")
    dimer += Atoms("OH2", dimer.positions + np.array([0.3, 2.9, 0.2]))
    dimer.calc = So3kratesCalculator(precision="double", threads=1)
    dipole = dimer.get_dipole_moment()
    expected = dimer.calc.get_energy_components(dimer)["electrostatics"]
    apart = []
    for length in (20.0, 40.0, 80.0):
        box = evaluated(alone_in_a_box(dimer, length))
        correction = COULOMB * 2 * np.pi / 3 * dipole @ dipole / length**3
        apart.append(abs(box.calc.get_energy_components(box)["electrostatics"] + correction - expected))
    assert apart[0] < 1e-3
    assert apart[2] < 1e-6
    assert apart[1] < apart[0] / 16
    assert apart[2] < apart[1] / 16


def test_a_growing_box_of_an_ion_lacks_its_madelung_energy() -> None:
    ion = Atoms("OH3", [[0, 0, 0], [0.98, 0, 0.1], [-0.49, 0.85, 0.1], [-0.49, -0.85, 0.1]], info={"charge": 1})
    ion.calc = So3kratesCalculator(precision="double", threads=1)
    expected = ion.calc.get_energy_components(ion)["electrostatics"]
    madelung = 2.837297479480620  # of a simple cubic lattice of charges in a background
    apart = []
    for length in (40.0, 80.0):
        box = evaluated(alone_in_a_box(ion, length))
        apart.append(
            box.calc.get_energy_components(box)["electrostatics"] + COULOMB * madelung / (2 * length) - expected
        )
    assert abs(apart[0]) < 0.02
    assert apart[0] / apart[1] == pytest.approx(8, rel=0.02)  # the next term is of the third order


def test_forces_are_as_accurate_as_was_asked_for() -> None:
    atoms = waters(4, 4, 4)
    exact = evaluated(atoms, ewald_accuracy=1e-12).get_forces()
    errors = []
    for accuracy in (1e-2, 1e-4, 1e-6, 1e-8):
        found = evaluated(atoms, ewald_accuracy=accuracy).get_forces()
        errors.append(np.sqrt(np.mean(np.sum((found - exact) ** 2, axis=1))))
        assert errors[-1] < accuracy
        assert errors[-1] > 1e-3 * accuracy  # and not for nothing
    default = evaluated(atoms).get_forces()
    np.testing.assert_allclose(default, exact, rtol=0, atol=EXACT.forces)


@pytest.mark.parametrize("make", [lambda: waters(3, 3, 4), needle])
def test_mixed_precision_has_rounding_errors_only(so3lr_path: Path, make: Callable[[], Atoms]) -> None:
    model, atoms = Model(str(so3lr_path)), make()
    bounds = rounding(model, structure(atoms), coulomb="ewald")
    expected = Engine(model, precision="double", tabulate=False, coulomb="ewald").evaluate(**structure(atoms))
    found = Engine(model, precision="mixed", tabulate=False, coulomb="ewald").evaluate(**structure(atoms))
    assert_within(bounds, found, expected)


@pytest.mark.parametrize("precision", ["mixed", "double"])
def test_bits_do_not_depend_on_threads(so3lr_path: Path, precision: str) -> None:
    model, atoms = Model(str(so3lr_path)), waters(4, 4, 5)
    results = [
        Engine(model, precision=precision, threads=threads, coulomb="ewald").evaluate(**structure(atoms), charge=1)
        for threads in (1, 2, 3, 8)
    ]
    for name in ("energy", "energies", "forces", "virial", "charges"):
        for other in results[1:]:
            assert np.asarray(results[0][name]).tobytes() == np.asarray(other[name]).tobytes(), name


def test_many_structures_are_evaluated_as_one_by_one() -> None:
    structures = [skewed_waters(), waters(1, 1, 2), needle(), waters(1, 2, 2), waters(6, 5, 6)]
    structures[1].info["charge"] = 1
    for prediction, atoms in zip(
        evaluate_many(structures, coulomb="ewald", precision="double", stresses=True), structures, strict=True
    ):
        expected = evaluated(atoms)
        assert prediction.energy == pytest.approx(expected.get_potential_energy(), rel=1e-11)
        np.testing.assert_allclose(prediction.energies, expected.get_potential_energies(), rtol=0, atol=1e-8)
        np.testing.assert_allclose(prediction.forces, expected.get_forces(), rtol=0, atol=EXACT.forces)
        np.testing.assert_allclose(prediction.stress, expected.get_stress(), rtol=0, atol=EXACT.stress)
        np.testing.assert_allclose(prediction.stresses, expected.get_stresses(), rtol=0, atol=EXACT.stress)


def test_one_calculator_for_cells_that_change() -> None:
    shared = ewald()
    for atoms in (waters(2, 2, 2), skewed_waters(), waters(1, 1, 2), waters(2, 2, 2)):
        atoms.calc = shared
        expected = evaluated(atoms)
        np.testing.assert_allclose(atoms.get_forces(), expected.get_forces(), rtol=0, atol=EXACT.forces)
        assert atoms.get_potential_energy() == pytest.approx(expected.get_potential_energy(), rel=0, abs=1e-9)


def test_energy_is_conserved_better_with_the_square_of_the_time_step() -> None:
    errors = []
    for timestep in (0.2, 0.1):
        atoms = waters(2, 2, 2, spacing=3.2)
        atoms.calc = ewald()
        energies = []
        for _ in VelocityVerlet(atoms, timestep * units.fs).irun(round(16 / timestep)):
            energies.append(atoms.get_total_energy())
        errors.append(np.ptp(energies))
    assert errors[0] / errors[1] == pytest.approx(4, rel=0.1)


def test_forgotten_neighbours_leave_no_trace() -> None:
    atoms = waters(2, 2, 2)
    atoms.calc = ewald()
    energy = atoms.get_potential_energy()
    atoms.calc.forget_neighbours()
    atoms.calc.reset()
    assert atoms.get_potential_energy() == energy


# --- what is asked for, and said ------------------------------------------------------------------------------------


def test_the_default_is_the_cutoff() -> None:
    atoms, default = skewed_waters(), skewed_waters()
    atoms.calc = So3kratesCalculator(threads=1, coulomb="cutoff")
    default.calc = So3kratesCalculator(threads=1)
    assert default.calc.parameters["coulomb"] == "cutoff"
    assert atoms.get_potential_energy() == default.get_potential_energy()


def test_calculator_says_what_it_does() -> None:
    atoms = skewed_waters()
    atoms.calc = ewald(ewald_accuracy=1e-6)
    assert atoms.calc.long_range_text(atoms).startswith(
        "electrostatics by Ewald summation without a cutoff; dispersion cut"
    )
    identity = atoms.calc.identity(atoms)
    assert (identity["coulomb"], identity["ewald_accuracy"]) == ("ewald", 1e-6)
    energy = atoms.get_potential_energy()
    atoms.calc.set(coulomb="cutoff")
    assert atoms.get_potential_energy() != energy


@pytest.mark.parametrize(
    ("pbc", "message"),
    [
        (False, "this one is a molecule"),
        ([True, True, False], "periodic in 2"),
        ([False, False, True], "periodic in 1"),
    ],
)
def test_other_boundaries_are_refused(pbc: Any, message: str) -> None:
    atoms = waters(2, 2, 2)
    atoms.pbc = pbc
    with pytest.raises(ValueError, match=message):
        evaluated(atoms)
    errors: list[ValueError] = []
    predictions = list(evaluate_many([atoms, waters(1, 1, 2)], coulomb="ewald", on_error=lambda _, e: errors.append(e)))
    assert predictions[0] is None
    assert predictions[1] is not None
    assert message in str(errors[0])


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"coulomb": "pme"}, "coulomb: expected one of cutoff, ewald, found 'pme'"),
        ({"coulomb": None}, "coulomb: expected"),
        ({"coulomb": "ewald", "ewald_accuracy": 0.0}, "ewald_accuracy: expected an error of forces from 1e-12 to 1"),
        ({"coulomb": "ewald", "ewald_accuracy": 2}, "ewald_accuracy: expected"),
        ({"coulomb": "ewald", "ewald_accuracy": "small"}, "ewald_accuracy"),
    ],
)
def test_bad_parameters_are_refused(parameters: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        So3kratesCalculator(**parameters)
    with pytest.raises(ValueError, match=message):
        evaluate_many([], **parameters)


def test_models_without_charges_are_refused(toy_model: Callable[..., Path]) -> None:
    with pytest.raises(ValueError, match="this model has no electrostatics"):
        So3kratesCalculator(toy_model(electrostatics=None), coulomb="ewald")


def test_a_cell_beyond_memory_is_refused() -> None:
    for method, needed in (("auto", "million points of a mesh"), ("sum", "million wave vectors.*ewald_method 'mesh'")):
        with pytest.raises(ValueError, match=needed):
            evaluated(alone_in_a_box(molecule("H2O"), 2000.0), ewald_method=method)


def test_a_sum_that_takes_longer_than_the_rest_is_warned_of() -> None:
    box = alone_in_a_box(molecule("H2O"), 300.0)
    box.calc = ewald(precision="mixed")
    with pytest.warns(UserWarning, match="times as long as the rest of a step.*pppm"):
        box.get_potential_energy()


def test_heat_flux_is_refused() -> None:
    atoms = waters(1, 1, 2)
    atoms.calc = ewald()
    with pytest.raises(ValueError, match=r"heat flux.*coulomb 'cutoff'"):
        atoms.calc.get_heat_flux(atoms)


def test_a_charged_cell_is_warned_of() -> None:
    atoms = skewed_waters()
    with warnings.catch_warnings():
        warnings.simplefilter("error", ChargedCellWarning)
        evaluated(atoms)
        evaluated(atoms, charge=1, coulomb="cutoff")
        with pytest.raises(ChargedCellWarning, match="total charge of 1 e"):
            evaluated(atoms, charge=1)
        with pytest.raises(ChargedCellWarning, match="total charge of -1 e"):
            list(evaluate_many([atoms], charge=-1, coulomb="ewald"))
