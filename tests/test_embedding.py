"""Structures in external potentials and among point charges: so3md.embedding, and get_embedded of the calculator."""

from __future__ import annotations

import copy
import importlib.util
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ase import Atoms
from ase.build import molecule
from ase.calculators.lj import LennardJones
from derivatives import assert_forces_are_derivatives
from lammps_comparison import skewed_waters
from parallel_runs import run_checks
from scipy.special import erf
from tolerances import EXACT, FINITE_DIFFERENCE_FORCES, FINITE_DIFFERENCE_STEP, RANKS, assert_within, rounding

from so3md import So3kratesCalculator
from so3md._engine import Engine, Model
from so3md.electric_field import PeriodicFieldWarning
from so3md.embedding import EmbeddedCalculator, PointCharges
from so3md.structures import read_structure

COULOMB = 14.399645351950548  # k_e, eV A / e^2, as docs/theory.md has it
FIELD = np.array([0.08, -0.05, 0.11])  # V/A

#: In vacuum, and where the cutoff of the model ends its own terms.
LENGTHS: dict[str, dict[str, Any]] = {
    "coulomb": {},
    "width": {"width": 1.3},
    "cutoff": {"cutoff": 6.0},
    "both": {"width": 0.8, "cutoff": 6.0},
}


def calculator(**parameters: Any) -> So3kratesCalculator:
    return So3kratesCalculator(**{"precision": "double", "threads": 1} | parameters)


def hydronium() -> Atoms:
    atoms = Atoms("OH3", [(0, 0, 0.08), (0.94, 0, -0.2), (-0.47, 0.81, -0.2), (-0.47, -0.81, -0.2)])
    atoms.info["charge"] = 1
    return atoms


def around(atoms: Atoms, **options: Any) -> PointCharges:
    """Five charges outside of the atoms, from 2 A on: some where the own switch of a cutoff is, one beyond it."""
    rng = np.random.default_rng(5)
    directions = rng.normal(size=(5, 3))
    directions /= np.linalg.norm(directions, axis=1)[:, None]
    distances = np.array([3.0, 3.5, 4.5, 5.5, 9.0])
    places = atoms.positions.mean(axis=0) + distances[:, None] * directions
    return PointCharges(places, [0.8, -0.4, 0.6, -1.0, 0.5], **options)


def embedded(atoms: Atoms, charges: PointCharges, **parameters: Any) -> Atoms:
    atoms = atoms.copy()
    atoms.calc = EmbeddedCalculator(calculator(**parameters), charges)
    return atoms


def box_and_charges(**options: Any) -> tuple[Atoms, PointCharges]:
    """Two molecules of a skewed box; the charges of the others are points, in any images."""
    whole = skewed_waters()
    part = whole[:6]
    rest = whole[6:]
    rest.positions += np.random.default_rng(2).integers(-2, 3, (len(rest), 3)) @ whole.cell.array
    charges = np.where(rest.numbers == 8, -0.8, 0.4)
    return part, PointCharges(rest.positions, charges, **{"cutoff": half_height(whole)} | options)


def half_height(atoms: Atoms) -> float:
    return 0.5 / np.linalg.norm(np.linalg.inv(atoms.cell.array), axis=0).max()


# --- the potential of charges -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", LENGTHS)
def test_potentials_follow_their_equation(name: str) -> None:
    charges = around(hydronium(), **LENGTHS[name])
    points = np.random.default_rng(1).normal(size=(7, 3))
    potentials, fields = charges.at(points)
    width, cutoff = charges.width, charges.cutoff

    def f(r: np.ndarray) -> np.ndarray:
        return (erf(r / width) if width else 1.0) / r

    def value(r: np.ndarray) -> np.ndarray:
        if cutoff is None:
            return f(r)
        c = np.clip((r - 0.45 * cutoff) / (0.55 * cutoff), 2e-3, 1 - 2e-3)
        switch = 1 / (1 + np.exp(1 / (1 - c) - 1 / c))
        gauss = 2 / (width * np.sqrt(np.pi)) * np.exp(-((cutoff / width) ** 2)) if width else 0.0
        slope = (gauss - f(cutoff)) / cutoff
        return np.where(r < cutoff, f(r) - f(cutoff) - (1 - switch) * slope * (r - cutoff), 0.0)

    r = np.linalg.norm(points[:, None] - charges.positions, axis=2)
    expected = COULOMB * value(r) @ charges.charges
    np.testing.assert_allclose(potentials, expected, rtol=0, atol=EXACT.component)
    for axis in range(3):
        step = FINITE_DIFFERENCE_STEP * np.eye(3)[axis]
        slope = (charges.at(points + step).potentials - charges.at(points - step).potentials) / (
            2 * FINITE_DIFFERENCE_STEP
        )
        np.testing.assert_allclose(fields[:, axis], -slope, rtol=0, atol=FINITE_DIFFERENCE_FORCES)


def test_the_nearest_images_count() -> None:
    """Of a skewed cell, beside all images that can be near."""
    part, charges = box_and_charges()
    cell = part.cell.array
    wrapped = charges.positions - np.floor(charges.positions @ np.linalg.inv(cell)) @ cell
    images = np.array(list(np.ndindex(5, 5, 5))) - 2
    everywhere = (wrapped[None] + (images @ cell)[:, None]).reshape(-1, 3)
    all_of_them = PointCharges(everywhere, np.tile(charges.charges, len(images)), cutoff=charges.cutoff)
    inside = part.positions - np.floor(part.positions @ np.linalg.inv(cell)) @ cell
    expected = all_of_them.at(inside)
    found = charges.at(part.positions, cell, part.pbc)
    np.testing.assert_allclose(found.potentials, expected.potentials, rtol=0, atol=EXACT.component)
    np.testing.assert_allclose(found.fields, expected.fields, rtol=0, atol=EXACT.forces)
    assert np.abs(found.potentials).max() > 0.1


def test_threads_do_not_matter() -> None:
    part, charges = box_and_charges()
    others = PointCharges(charges.positions, charges.charges, cutoff=charges.cutoff, threads=3)
    for one, several in zip(
        charges.at(part.positions, part.cell, part.pbc),
        others.at(part.positions, part.cell, part.pbc),
        strict=True,
    ):
        assert one.tobytes() == several.tobytes()


# --- energies and forces ----------------------------------------------------------------------------------------------


def assert_charges_feel_derivatives(atoms: Atoms, members: range) -> None:
    """The forces on these point charges of the structure's calculator."""
    calc = atoms.calc
    charges, forces = calc.point_charges, calc.get_point_charge_forces(atoms)
    options = {"width": charges.width, "cutoff": charges.cutoff}
    for member in members:
        for axis in range(3):
            energies = []
            for sign in (1, -1):
                places = charges.positions.copy()
                places[member, axis] += sign * FINITE_DIFFERENCE_STEP
                calc.point_charges = PointCharges(places, charges.charges, **options)
                energies.append(atoms.get_potential_energy())
            numerical = -(energies[0] - energies[1]) / (2 * FINITE_DIFFERENCE_STEP)
            assert forces[member, axis] == pytest.approx(numerical, rel=0, abs=FINITE_DIFFERENCE_FORCES)
    calc.point_charges = charges


@pytest.mark.parametrize("name", LENGTHS)
def test_forces_are_derivatives(name: str) -> None:
    atoms = embedded(hydronium(), around(hydronium(), **LENGTHS[name]))
    assert_forces_are_derivatives(atoms, range(4))
    assert_charges_feel_derivatives(atoms, range(5))
    changed = atoms.get_forces() - calculator().get_forces(atoms)
    around_ = atoms.calc.point_charges.at(atoms.positions)
    by_charges = changed - atoms.get_charges()[:, None] * around_.fields  # what the charges' own derivatives bring
    assert np.abs(by_charges).max() > 0.01


def test_forces_in_a_periodic_box_are_derivatives() -> None:
    part, charges = box_and_charges()
    atoms = embedded(part, charges, lr_cutoff=6.0)
    assert_forces_are_derivatives(atoms, (0, 1, 5))
    assert_charges_feel_derivatives(atoms, range(0, 18, 7))


@pytest.mark.parametrize("periodic", [False, True])
def test_forces_on_everything_add_up_to_zero(periodic: bool) -> None:
    part, charges = box_and_charges() if periodic else (hydronium(), around(hydronium()))
    atoms = embedded(part, charges)
    total = atoms.get_forces().sum(axis=0) + atoms.calc.get_point_charge_forces(atoms).sum(axis=0)
    np.testing.assert_allclose(total, 0, rtol=0, atol=EXACT.forces)


def test_the_whole_can_be_moved_and_turned() -> None:
    atoms, charges = hydronium(), around(hydronium())
    first = embedded(atoms, charges)
    places = Atoms("He5", charges.positions)
    for both in (atoms, places):
        both.rotate(77, (1, 2, -1))
        both.translate((3, -4, 5))
    second = embedded(atoms, PointCharges(places.positions, charges.charges))
    assert second.get_potential_energy() == pytest.approx(first.get_potential_energy(), rel=0, abs=EXACT.component)
    turned = Atoms("He4", first.get_forces())
    turned.rotate(77, (1, 2, -1))
    np.testing.assert_allclose(second.get_forces(), turned.positions, rtol=0, atol=EXACT.forces)


@pytest.mark.parametrize("precision", ["mixed", "double"])
def test_charges_of_zero_change_no_bit(precision: str) -> None:
    none = PointCharges(around(hydronium()).positions, np.zeros(5))
    atoms = embedded(hydronium(), none, precision=precision)
    alone = calculator(precision=precision)
    assert atoms.get_forces().tobytes() == alone.get_forces(hydronium()).tobytes()
    assert atoms.get_potential_energy() == alone.get_potential_energy(hydronium())
    assert not atoms.calc.get_point_charge_forces(atoms).any()


@pytest.mark.parametrize("made", [hydronium, lambda: read_structure("water")[:48]], ids=["ion", "liquid"])
def test_the_potential_of_a_uniform_field_is_the_field(made: Any) -> None:
    atoms = made()
    found = calculator().get_embedded(atoms, -atoms.positions @ FIELD, np.tile(FIELD, (len(atoms), 1)))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", PeriodicFieldWarning)
        expected = calculator(electric_field=FIELD).get_forces(atoms)
    np.testing.assert_allclose(found["forces"], expected, rtol=0, atol=EXACT.forces)


def test_a_distant_charge_follows_coulombs_law() -> None:
    """On an ion as a whole: by its charge, up to the dipole, which falls faster."""
    distance = 1e4
    atoms = embedded(hydronium(), PointCharges([(0, 0, distance)], [0.7]))
    energy = atoms.get_potential_energy() - calculator().get_potential_energy(hydronium())
    dipole = calculator().get_property("dipole", hydronium())[2]
    expected = 0.7 * COULOMB * (1 / distance + dipole / distance**2)
    quadrupole = COULOMB / distance**3 * np.abs(hydronium().positions).max() ** 2 * 4
    assert energy == pytest.approx(expected, rel=0, abs=quadrupole + EXACT.component)
    force = atoms.calc.get_point_charge_forces(atoms)[0, 2]
    assert force == pytest.approx(0.7 * COULOMB * (1 / distance**2 + 2 * dipole / distance**3), rel=1e-6)


def test_mixed_precision_has_rounding_errors_only(so3lr_path: Path) -> None:
    atoms = hydronium()
    potentials, fields = around(atoms).at(atoms.positions)
    structure = {"numbers": atoms.numbers, "positions": atoms.positions, "cell": np.zeros((3, 3)), "pbc": [False] * 3}
    structure |= {"charge": 1.0, "potentials": potentials, "fields": fields}
    model = Model(str(so3lr_path))
    bounds = rounding(model, structure)
    expected = Engine(model, precision="double", tabulate=False).evaluate(**structure)
    assert_within(bounds, Engine(model, precision="mixed", tabulate=False).evaluate(**structure), expected)


def test_bits_do_not_depend_on_threads_nor_numbers_on_the_order() -> None:
    atoms = read_structure("water")
    rng = np.random.default_rng(4)
    external = rng.normal(size=len(atoms)), rng.normal(size=(len(atoms), 3))
    one, three = (calculator(precision="mixed", threads=n).get_embedded(atoms, *external) for n in (1, 3))
    for key, values in one.items():
        assert np.asarray(values).tobytes() == np.asarray(three[key]).tobytes(), key
    order = rng.permutation(len(atoms))
    other = calculator().get_embedded(atoms[order], *(values[order] for values in external))
    plain = calculator().get_embedded(atoms, *external)
    np.testing.assert_allclose(other["forces"], plain["forces"][order], rtol=0, atol=EXACT.forces)


@pytest.mark.skipif(importlib.util.find_spec("mpi4py") is None, reason="mpi4py is not installed")
@pytest.mark.parametrize("ranks", [1, 3])
def test_ranks_share_the_work(ranks: int, tmp_path: Path) -> None:
    report = run_checks("parallel_embedding.py", ranks, tmp_path)
    disagreement = report.pop("disagreement", "")
    assert ("external potential and field of 1 of 1 differ" in disagreement) == (ranks > 1), disagreement
    for key, difference in report.items():
        bound = RANKS.energy_per_atom if "energy" in key else RANKS.forces
        assert difference <= bound, key


def test_an_energy_asked_for_before_is_not_taken_up() -> None:
    """Forces after the energy alone take the adjoint of that energy: in a potential, it would be another one."""
    atoms, calc = hydronium(), calculator()
    potentials, fields = around(atoms).at(atoms.positions)
    expected = calculator().get_embedded(atoms, potentials, fields)
    calc.get_potential_energy(atoms)
    found = calc.get_embedded(atoms, potentials, fields)
    assert found["forces"].tobytes() == expected["forces"].tobytes()
    assert calc.get_forces(atoms).tobytes() == calculator().get_forces(atoms).tobytes()


# --- the calculator ---------------------------------------------------------------------------------------------------


def test_results_are_kept_and_forgotten() -> None:
    atoms = embedded(hydronium(), around(hydronium()))
    calc = atoms.calc
    first = atoms.get_potential_energy()
    count = calc.calculator.engine_info()["evaluations"]
    atoms.get_forces()
    assert calc.calculator.engine_info()["evaluations"] == count
    calc.point_charges = PointCharges(calc.point_charges.positions, -calc.point_charges.charges)
    assert atoms.get_potential_energy() != first
    calc.point_charges = around(hydronium())
    assert atoms.get_potential_energy() == first
    calc.calculator.set(precision="mixed")
    assert atoms.get_potential_energy() != first
    calc.calculator.set(precision="double")
    atoms.info["charge"] = 3
    assert abs(atoms.get_potential_energy() - first) > 0.1
    with pytest.raises(ValueError, match="read-only"):
        calc.point_charges.charges[0] = 2


def test_copies_and_other_calculators() -> None:
    atoms = embedded(hydronium(), around(hydronium()))
    assert copy.deepcopy(atoms.calc).get_potential_energy(atoms) == atoms.get_potential_energy()
    from ase.calculators.mixing import SumCalculator

    others = SumCalculator([atoms.calc, LennardJones()])
    total = atoms.get_potential_energy() + LennardJones().get_potential_energy(atoms)
    assert others.get_potential_energy(atoms) == pytest.approx(total)


def test_what_cannot_be_is_refused(toy_model: Any) -> None:
    for arguments, message in (
        (([(0, 0, 0)], [1, 2]), r"positions of point charges: expected \(2, 3\)"),
        (([(0, 0)], [1]), r"expected \(1, 3\)"),
        (([(0, 0, np.nan)], [1]), "expected finite numbers"),
        (([(0, 0, 0)], [1], -1.0), "the width of point charges is -1 A"),
        (([(0, 0, 0)], [1], 0.0, 0.0), "the cutoff of point charges is 0 A"),
    ):
        with pytest.raises(ValueError, match=message):
            PointCharges(*arguments)
    atoms = hydronium()
    with pytest.raises(ValueError, match=r"at atom 2 is no number.*no point charge at the place of an atom"):
        embedded(atoms, PointCharges(atoms.positions[2:3], [1])).get_potential_energy()
    part, charges = box_and_charges()
    for cutoff, text in ((None, "none"), (half_height(part) * 1.01, "A")):
        with pytest.raises(ValueError, match=f"cutoff of point charges is .*{text}: in a periodic cell"):
            embedded(part, PointCharges(charges.positions, charges.charges, cutoff=cutoff)).get_potential_energy()
    with pytest.raises(ValueError, match=r"potentials: expected \(4,\) in V"):
        calculator().get_embedded(atoms, np.zeros(3), np.zeros((4, 3)))
    with pytest.raises(ValueError, match="fields: expected finite"):
        calculator().get_embedded(atoms, np.zeros(4), np.full((4, 3), np.inf))
    uncharged = toy_model(seed=3, charge_head=None, electrostatics=None, dispersion=None, hirshfeld_head=None, zbl=None)
    with pytest.raises(ValueError, match="this model predicts none"):
        So3kratesCalculator(uncharged).get_embedded(molecule("H2O"), np.zeros(3), np.zeros((3, 3)))
