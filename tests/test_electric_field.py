"""Charges in a uniform electric field: electric_field; and dipoles, whose derivatives are what it gives."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ase import Atoms
from ase.build import molecule
from ase.optimize import BFGS
from derivatives import assert_atoms_add_up, assert_forces_are_derivatives, assert_stress_is_a_derivative
from lammps_comparison import skewed_waters, waters
from test_engine_variants import crystal
from test_engine_variants import molecule as charged_molecule
from tolerances import (
    EXACT,
    FINITE_DIFFERENCE_FORCES,
    FINITE_DIFFERENCE_STEP,
    FINITE_DIFFERENCE_STRESS,
    assert_within,
    rounding,
)

from so3md import So3kratesCalculator, evaluate_many
from so3md._engine import Engine, Model
from so3md.electric_field import PeriodicFieldWarning, checked_field
from so3md.structures import read_structure

FIELD = (0.08, -0.05, 0.11)  # V/A

#: Models with charges: with and without electrostatics of their own.
WITH_CHARGES: dict[str, dict[str, Any]] = {
    "all terms": {},
    "electrostatics alone": {"hirshfeld_head": None, "zbl": None, "dispersion": None},
    "charges without electrostatics": {"zbl": None, "electrostatics": None, "dispersion": None},
}


@pytest.fixture(autouse=True)
def no_warnings_of_periodic_fields() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", PeriodicFieldWarning)
        yield


def in_field(**parameters: Any) -> So3kratesCalculator:
    return So3kratesCalculator(**{"electric_field": FIELD, "precision": "double", "threads": 1} | parameters)


def evaluated(atoms: Atoms, **parameters: Any) -> Atoms:
    """A copy with its results."""
    atoms = atoms.copy()
    atoms.calc = in_field(**parameters)
    atoms.get_forces()
    return atoms


def unwrapped_waters() -> Atoms:
    """A skewed box whose molecules are whole, and some of them in other images."""
    atoms = skewed_waters()
    for first in range(0, len(atoms), 3):
        apart = atoms.get_distances(first, [first + 1, first + 2], mic=True, vector=True)
        atoms.positions[first + 1 : first + 3] = atoms.positions[first] + apart
    atoms.positions[3:6] += atoms.cell[0] - 2 * atoms.cell[2]
    return atoms


def water_dimer() -> Atoms:
    atoms = molecule("H2O") + molecule("H2O")
    atoms.positions[3:] += [0.3, 2.7, 0.4]
    return atoms


def hydronium() -> Atoms:
    atoms = Atoms("OH3", [(0, 0, 0.08), (0.94, 0, -0.2), (-0.47, 0.81, -0.2), (-0.47, -0.81, -0.2)])
    atoms.info["charge"] = 1
    return atoms


STRUCTURES = {"dimer": water_dimer, "box": unwrapped_waters, "ion": hydronium}


def structure(atoms: Atoms) -> dict[str, Any]:
    return {"numbers": atoms.numbers, "positions": atoms.positions, "cell": atoms.cell.array, "pbc": atoms.pbc}


# --- values ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("variant", WITH_CHARGES)
@pytest.mark.parametrize("made", [charged_molecule(), crystal()], ids=["molecule", "crystal"])
def test_same_as_the_reference(toy_model: Callable[..., Path], variant: str, made: dict[str, Any]) -> None:
    pytest.importorskip("torch", reason="the reference model needs torch (extra 'torch')")
    from so3md.reference import ReferenceModel

    path = toy_model(seed=3, **WITH_CHARGES[variant])
    options: dict[str, Any] = {"lr_cutoff": 7.0, "lr_damping": 1.5}
    made = made | {"positions": made["positions"] + np.outer(np.arange(9) % 3, made["cell"][0])}  # in other images
    expected = ReferenceModel.from_file(path).evaluate(**made, **options, electric_field=FIELD)
    found = Engine(Model(str(path)), precision="double", **options, electric_field=FIELD).evaluate(**made)
    assert found["energy"] == pytest.approx(expected["energy"], rel=0, abs=EXACT.component)
    for name, energy in expected["energy_components"].items():
        assert found["energy_components"][name] == pytest.approx(energy, rel=0, abs=EXACT.component), name
    np.testing.assert_allclose(found["energies"], expected["energies"], rtol=0, atol=EXACT.component)
    np.testing.assert_allclose(found["forces"], expected["forces"], rtol=0, atol=EXACT.forces)
    np.testing.assert_allclose(found["virial"], expected["virial"], rtol=0, atol=EXACT.component)
    without = Engine(Model(str(path)), precision="double", **options).evaluate(**made)
    by_charges = found["forces"] - without["forces"] - np.outer(found["charges"], FIELD)
    assert np.abs(by_charges).max() > 1e-3


@pytest.mark.parametrize("name", STRUCTURES)
def test_energy_is_minus_dipole_times_field(name: str) -> None:
    """At given positions, to rounding: charges are those of the positions, whatever the field."""
    atoms = evaluated(STRUCTURES[name]())
    without = evaluated(STRUCTURES[name](), electric_field=None)
    dipole = without.get_charges() @ atoms.positions
    np.testing.assert_allclose(atoms.get_dipole_moment(), dipole, rtol=0, atol=EXACT.charges * 100)
    difference = atoms.get_potential_energy() - without.get_potential_energy()
    assert difference == pytest.approx(-dipole @ FIELD, rel=0, abs=EXACT.component)
    assert abs(difference) > 1e-3
    parts, others = atoms.calc.get_energy_components(atoms), without.calc.get_energy_components(without)
    assert parts["electrostatics"] - others["electrostatics"] == pytest.approx(difference, rel=0, abs=EXACT.component)


@pytest.mark.parametrize("name", STRUCTURES)
def test_forces_are_derivatives(name: str) -> None:
    atoms = evaluated(STRUCTURES[name]())
    assert_forces_are_derivatives(atoms, (0, 3, len(atoms) - 2))


@pytest.mark.parametrize("charge", [0, 2])
def test_stress_is_a_derivative(charge: int) -> None:
    """With positions that are strained about the origin, those in other images too."""
    atoms = unwrapped_waters()
    atoms.info["charge"] = charge
    atoms = evaluated(atoms)
    assert_stress_is_a_derivative(atoms, evaluated)
    without = evaluated(atoms, electric_field=None)
    assert np.abs(atoms.get_stress() - without.get_stress()).max() > 100 * FINITE_DIFFERENCE_STRESS


def test_energies_and_stresses_of_atoms_add_up() -> None:
    assert_atoms_add_up(evaluated(unwrapped_waters()))


def test_a_molecule_can_be_turned_together_with_the_field() -> None:
    atoms, turned = evaluated(water_dimer()), water_dimer()
    turned.rotate(90, "z")
    x, y, z = FIELD
    turned = evaluated(turned, electric_field=(-y, x, z))
    assert turned.get_potential_energy() == pytest.approx(atoms.get_potential_energy(), rel=0, abs=EXACT.component)


def test_the_origin_matters_for_charged_structures_only() -> None:
    shift = np.array([5.0, -3.0, 11.0])
    for atoms, charge in ((water_dimer(), 0), (hydronium(), 1)):
        moved = atoms.copy()
        moved.translate(shift)
        before, after = evaluated(atoms), evaluated(moved)
        difference = after.get_potential_energy() - before.get_potential_energy()
        assert difference == pytest.approx(-charge * shift @ FIELD, rel=0, abs=EXACT.component)
        np.testing.assert_allclose(after.get_forces(), before.get_forces(), rtol=0, atol=EXACT.forces)
        total = charge * np.array(FIELD)
        np.testing.assert_allclose(after.get_forces().sum(axis=0), total, rtol=0, atol=EXACT.forces * len(atoms))


def test_the_ewald_sum_and_the_tail_go_with_it() -> None:
    options: dict[str, Any] = {"coulomb": "ewald", "dispersion_tail": True}
    atoms, without = (
        evaluated(unwrapped_waters(), **options),
        evaluated(unwrapped_waters(), **options, electric_field=None),
    )
    both = evaluated(unwrapped_waters()), evaluated(unwrapped_waters(), electric_field=None)
    by_field = atoms.get_forces() - without.get_forces()
    np.testing.assert_allclose(by_field, both[0].get_forces() - both[1].get_forces(), rtol=0, atol=EXACT.forces)


def test_mixed_precision_has_rounding_errors_only(so3lr_path: Path) -> None:
    model, atoms = Model(str(so3lr_path)), unwrapped_waters()
    bounds = rounding(model, structure(atoms), electric_field=FIELD)
    options: dict[str, Any] = {"tabulate": False, "electric_field": FIELD}
    expected = Engine(model, precision="double", **options).evaluate(**structure(atoms))
    found = Engine(model, precision="mixed", **options).evaluate(**structure(atoms))
    assert_within(bounds, found, expected)


@pytest.mark.parametrize("precision", ["mixed", "double"])
def test_bits_do_not_depend_on_threads(so3lr_path: Path, precision: str) -> None:
    model, atoms = Model(str(so3lr_path)), waters(4, 4, 5)
    results = [
        Engine(model, precision=precision, threads=threads, electric_field=FIELD).evaluate(**structure(atoms))
        for threads in (1, 3)
    ]
    for name in ("energy", "energies", "forces", "virial"):
        assert np.asarray(results[0][name]).tobytes() == np.asarray(results[1][name]).tobytes(), name


def test_many_structures_are_evaluated_as_one_by_one() -> None:
    structures = [unwrapped_waters(), water_dimer(), waters(1, 2, 2), hydronium(), waters(6, 5, 6)]
    predictions = evaluate_many(structures, electric_field=FIELD, precision="double", stresses=True)
    for prediction, atoms in zip(predictions, structures, strict=True):
        assert prediction is not None
        expected = evaluated(atoms)
        assert prediction.energy == pytest.approx(expected.get_potential_energy(), rel=1e-11)
        np.testing.assert_allclose(prediction.energies, expected.get_potential_energies(), rtol=0, atol=1e-8)
        np.testing.assert_allclose(prediction.forces, expected.get_forces(), rtol=0, atol=EXACT.forces)
        extent = np.abs(atoms.positions).sum()
        np.testing.assert_allclose(
            prediction.dipole, expected.get_dipole_moment(), rtol=0, atol=EXACT.charges * max(1.0, extent)
        )
        if atoms.pbc.any():
            np.testing.assert_allclose(prediction.stress, expected.get_stress(), rtol=0, atol=EXACT.stress)
            np.testing.assert_allclose(prediction.stresses, expected.get_stresses(), rtol=0, atol=EXACT.stress)


def test_a_path_across_the_boundary_is_smooth() -> None:
    """Wrapped positions would make the energy jump where an atom crosses a face; lists are built again on the way."""
    atoms = unwrapped_waters()
    atoms.calc = in_field()
    start = atoms.positions.copy()
    path = atoms.cell[0] / 4
    for step in range(5):
        atoms.positions = start + step * path
        expected = evaluated(unwrapped_waters())  # a neutral box that moves as a whole
        np.testing.assert_allclose(atoms.get_forces(), expected.get_forces(), rtol=0, atol=EXACT.forces)
        assert atoms.get_potential_energy() == pytest.approx(expected.get_potential_energy(), rel=0, abs=1e-9)


# --- response ---------------------------------------------------------------------------------------------------------


def test_forces_by_the_field_are_derivatives_of_the_dipole() -> None:
    """dF/dfield = dmu/dr: atomic polar tensors, by which vibrations absorb light, without differences."""
    atoms = evaluated(water_dimer())
    for axis in range(3):
        field = np.eye(3)[axis]
        tensor = (
            evaluated(atoms, electric_field=tuple(field)).get_forces()
            - evaluated(atoms, electric_field=None).get_forces()
        )
        for atom in (0, 4):
            dipoles = []
            for sign in (1, -1):
                moved = atoms.copy()
                moved.positions[atom, 1] += sign * FINITE_DIFFERENCE_STEP
                dipoles.append(evaluated(moved).get_dipole_moment()[axis])
            numerical = (dipoles[0] - dipoles[1]) / (2 * FINITE_DIFFERENCE_STEP)
            assert tensor[atom, 1] == pytest.approx(numerical, rel=0, abs=FINITE_DIFFERENCE_FORCES)


def whole_molecules(shift: float, images: np.ndarray | None = None) -> Atoms:
    """Liquid water with faces of the cell drawn elsewhere, by a part of the cell, and molecules in these images."""
    atoms = read_structure("water")
    for number, oxygen in enumerate(np.flatnonzero(atoms.numbers == 8)):
        others = atoms.get_distances(oxygen, range(len(atoms)), mic=True, vector=True)
        members = np.flatnonzero(np.linalg.norm(others, axis=1) < 1.3)
        place = atoms.positions[oxygen].copy()
        place -= np.floor(np.linalg.solve(atoms.cell.array.T, place) + shift) @ atoms.cell.array
        if images is not None:
            place += images[number] @ atoms.cell.array
        atoms.positions[members] = place + others[members]
    return atoms


def test_images_matter_in_a_liquid() -> None:
    """They should not: the figures of docs/electrostatics.md, for 1 V/A."""

    def response(atoms: Atoms) -> np.ndarray:
        fields = [evaluated(atoms, electric_field=tuple(field)).get_forces() for field in np.eye(3)]
        return np.array(fields) - evaluated(atoms, electric_field=None).get_forces()

    def rms(values: np.ndarray) -> float:
        return float(np.sqrt(np.mean(values**2)))

    images = np.random.default_rng(0).integers(-1, 2, (64, 3))
    here = response(whole_molecules(0.0))
    elsewhere = response(whole_molecules(0.5))
    diffused = response(whole_molecules(0.0, images))
    assert rms(here) == pytest.approx(0.38, abs=0.01)
    assert rms(elsewhere - here) == pytest.approx(0.52, abs=0.02)
    assert rms(diffused - here) == pytest.approx(1.1, abs=0.1)
    atoms = read_structure("water")
    height = np.linalg.solve(atoms.cell.array.T, atoms.positions.T)[0]
    near = [np.abs(height - face - np.round(height - face)) * atoms.cell.lengths()[0] < 1.5 for face in (0.0, 0.5)]
    assert rms((elsewhere - here)[0][near[0] | near[1]]) == pytest.approx(0.7, abs=0.1)


def test_polarisability_of_a_molecule_that_relaxes() -> None:
    """Second differences of relaxed energies are first differences of relaxed dipoles: that of the vibrations."""
    size = 0.02  # V/A: what falls to higher orders is the square of it
    energies, dipoles = [], []
    for strength in (-size, 0.0, size):
        atoms = molecule("H2O")
        atoms.calc = in_field(electric_field=(0, 0, strength))
        assert BFGS(atoms, logfile=None).run(fmax=1e-6, steps=200)
        energies.append(atoms.get_potential_energy())
        dipoles.append(atoms.get_dipole_moment()[2])
    by_dipoles = (dipoles[2] - dipoles[0]) / (2 * size)
    by_energies = -(energies[2] - 2 * energies[1] + energies[0]) / size**2
    assert by_dipoles > 1e-3  # e^2 A^2 / eV
    assert by_energies == pytest.approx(by_dipoles, rel=1e-2)


# --- what is asked for, and said ------------------------------------------------------------------------------------


@pytest.mark.parametrize("none", [None, (0, 0, 0), [0.0, -0.0, 0.0]])
def test_the_default_is_none(none: Any) -> None:
    atoms, default = unwrapped_waters(), unwrapped_waters()
    atoms.calc = So3kratesCalculator(threads=1, electric_field=none)
    default.calc = So3kratesCalculator(threads=1)
    assert atoms.calc.parameters["electric_field"] is default.calc.parameters["electric_field"] is None
    assert atoms.get_potential_energy() == default.get_potential_energy()


def test_calculator_says_what_it_does() -> None:
    atoms = water_dimer()
    atoms.calc = in_field(electric_field=np.array(FIELD))
    assert atoms.calc.identity(atoms)["electric_field"] == list(FIELD)
    assert atoms.calc.todict()["electric_field"] == FIELD
    energy = atoms.get_potential_energy()
    assert atoms.calc.set(electric_field=list(FIELD)) == {}
    atoms.calc.set(electric_field=None)
    assert atoms.get_potential_energy() != energy


def test_forgotten_neighbours_leave_no_trace() -> None:
    atoms = unwrapped_waters()
    atoms.calc = in_field()
    energy = atoms.get_potential_energy()
    atoms.calc.forget_neighbours()
    atoms.calc.reset()
    assert atoms.get_potential_energy() == energy


@pytest.mark.parametrize(
    "value", [1.0, "xyz", (1, 2), (1, 2, np.nan), (0, 0, 101), (0, "a", 0), [[1, 2, 3]], (0, 0, True)]
)
def test_bad_values_are_refused(value: Any) -> None:
    for make in (lambda: So3kratesCalculator(electric_field=value), lambda: evaluate_many([], electric_field=value)):
        with pytest.raises(ValueError, match="electric_field: expected"):
            make()


def test_the_engine_refuses_them_too(so3lr_path: Path) -> None:
    for field in ((0, 0, np.inf), (0, 200, 0)):
        with pytest.raises(ValueError, match=r"electric field \(electric_field\) is .* expected components from -100"):
            Engine(Model(str(so3lr_path)), electric_field=field)


def test_models_without_charges_are_refused(toy_model: Callable[..., Path]) -> None:
    path = toy_model(charge_head=None, electrostatics=None)
    with pytest.raises(ValueError, match="electric_field: this model predicts no charges"):
        So3kratesCalculator(path, electric_field=FIELD)
    So3kratesCalculator(path)


def test_heat_flux_is_refused() -> None:
    atoms = waters(1, 1, 2)
    atoms.calc = in_field()
    with pytest.raises(ValueError, match=r"heat flux.*electric field"):
        atoms.calc.get_heat_flux(atoms)


def test_periodic_structures_are_warned_of() -> None:
    with pytest.warns(PeriodicFieldWarning, match="wrong by as much as they are large") as caught:
        evaluated(waters(1, 1, 2))
    assert len(caught) == 1
    with pytest.warns(PeriodicFieldWarning):
        list(evaluate_many([waters(1, 1, 2)], electric_field=FIELD))
    with warnings.catch_warnings():
        warnings.simplefilter("error", PeriodicFieldWarning)
        evaluated(water_dimer())
        evaluated(waters(1, 1, 2), electric_field=None)


def test_parameter_forms() -> None:
    assert checked_field(np.array([0, 1, 0])) == (0.0, 1.0, 0.0)
    assert checked_field([0, 0, 0]) is None
