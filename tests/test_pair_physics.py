"""Pair physics of the engine: ZBL, electrostatics and dispersion, against their equations and the reference data."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pair_equations import (
    COULOMB,
    SIGMA,
    FloatArray,
    Pairs,
    System,
    ZblParameters,
    all_pairs,
    equations_dispersion,
    equations_electrostatics,
    equations_switch,
    equations_zbl,
    random_system,
)
from reference_data import ReferenceSystem, load_system
from safetensors.numpy import load_file
from scipy.special import erf

from so3md import _engine

SHORT_CUTOFF = 4.5  # A, of SO3LR

# Per-atom energies in eV against the reference data: rounding, and the 1e-12 or so by which the original definitions
# keep denominators off zero.
REFERENCE_NODE_ENERGY = 1e-10
# Relative to the largest number of an array. Double: sums of some hundred terms, each good to a few units of 2e-16.
EXACT = 1e-13
# Mixed: terms good to some units of 6e-8, of random signs. In water the field of a molecule is a small difference of
# those of its atoms.
MIXED = 1e-6
MIXED_IN_WATER = 6e-6
# Central differences with this step (A, e, Bohr^3): the third derivatives are O(1), and the rounding error is 1e-14.
STEP = 1e-4
FINITE_DIFFERENCE = 1e-7
# Errors of the approximations, rounding included, about twice those that were found. Absolute for erf and the switch
# (both up to 1); relative for a dispersion energy, in which the seventh root has powers up to -10.
ERF_ERROR = {"double": 1e-15, "mixed": 4e-7}
SWITCH_ERROR = {"double": 2e-15, "mixed": 1.2e-6}
ROOT_ERROR = {"double": 1e-14, "mixed": 2.5e-6}

PRECISIONS = ["double", "mixed"]
PER_ATOM_RESULTS = [
    "electrostatics_energy",
    "dispersion_energy",
    "charge_gradient",
    "alpha_gradient",
    "forces",
    "virial",
]


def evaluate(system: System, pairs: Pairs | None = None, **options: Any) -> dict[str, FloatArray]:
    """The engine's kernel. With `pairs`, each displacement becomes a site of its own; without, there is no list."""
    number = len(system)
    arguments: dict[str, Any] = {"positions": system.positions, "slot": np.arange(number), "n_owned": number}
    if pairs is not None:
        arguments["positions"] = np.vstack([system.positions, system.positions[pairs.i] + pairs.d])
        arguments["slot"] = np.concatenate([np.arange(number), pairs.j])
        arguments["offsets"] = np.concatenate([[0], np.cumsum(np.bincount(pairs.i, minlength=number))])
        arguments["sites"] = number + np.arange(len(pairs.i))
    arguments.update(
        charge=system.charge,
        alpha=system.alpha,
        c6_factor=system.c6_factor,
        sigma=SIGMA,
        cutoff=system.cutoff,
        damping=system.damping,
    )
    return _engine.pair_physics(**{**arguments, **options})


def phys_cutoff(r: FloatArray) -> tuple[FloatArray, FloatArray]:
    """The cutoff function of SO3LR and its derivative."""
    t = r / SHORT_CUTOFF
    return 1 - 6 * t**5 + 15 * t**4 - 10 * t**3, (-30 * t**4 + 60 * t**3 - 30 * t**2) / SHORT_CUTOFF


def zbl_edges(
    parameters: ZblParameters, elements: list[int], species_i: Any, species_j: Any, r: FloatArray, **more: Any
):
    phi, slope = phys_cutoff(r)
    return _engine.zbl_edges(
        elements=elements,
        **parameters.__dict__,
        species_i=species_i,
        species_j=species_j,
        r=r,
        phi=phi,
        dphi_dr=slope,
        **more,
    )


@pytest.fixture(scope="module")
def so3lr_tensors(so3lr_path: Path) -> dict[str, FloatArray]:
    return {name: tensor.astype(float) for name, tensor in load_file(so3lr_path).items()}


@pytest.fixture(scope="module")
def so3lr_zbl(so3lr_tensors: dict[str, FloatArray]) -> ZblParameters:
    raw = {name: so3lr_tensors[f"zbl.{name}"] for name in ("a_raw", "c_raw", "p_raw", "d_raw")}
    return ZblParameters(tuple(raw["a_raw"]), tuple(raw["c_raw"]), float(raw["p_raw"][0]), float(raw["d_raw"][0]))


@pytest.fixture(scope="module")
def so3lr_elements(so3lr_path: Path) -> list[int]:
    return _engine.Model(str(so3lr_path)).elements


def system_of(reference: ReferenceSystem, elements: list[int], tensors: dict[str, FloatArray]) -> System:
    """The reference's own charges and Hirshfeld ratios, with the free-atom values of the model."""
    species = np.searchsorted(elements, reference.numbers)
    alpha, c6 = tensors["dispersion.alpha"][species], tensors["dispersion.c6"][species]
    return System(
        positions=reference.positions,
        charge=reference.expected["partial_charges"],
        alpha=alpha * reference.expected["hirshfeld_ratios"],
        c6_factor=c6 / alpha**2,
        cutoff=np.inf if reference.lr_cutoff is None else reference.lr_cutoff,
        damping=2.0 if reference.lr_cutoff is None else reference.lr_damping,
    )


def largest(values: FloatArray) -> float:
    return float(np.max(np.abs(values), initial=0.0))


# --- Agreement with the reference data and with the equations


def test_long_range_energies_agree_with_the_reference_data(
    reference_system: ReferenceSystem, so3lr_elements: list[int], so3lr_tensors: dict[str, FloatArray]
) -> None:
    system = system_of(reference_system, so3lr_elements, so3lr_tensors)
    pairs = all_pairs(system.positions, system.cutoff, reference_system.cell, reference_system.pbc)
    assert len(pairs.i) == reference_system.expected["n_edges_lr"]
    result = evaluate(system, pairs)
    for term in ("electrostatics", "dispersion"):
        expected = reference_system.expected[f"node_energy_{term}"]
        np.testing.assert_allclose(result[f"{term}_energy"], expected, rtol=0, atol=REFERENCE_NODE_ENERGY)


def test_zbl_energies_agree_with_the_reference_data(
    reference_system: ReferenceSystem, so3lr_elements: list[int], so3lr_zbl: ZblParameters
) -> None:
    number = len(reference_system.numbers)
    pairs = all_pairs(reference_system.positions, SHORT_CUTOFF, reference_system.cell, reference_system.pbc)
    species = np.searchsorted(so3lr_elements, reference_system.numbers)
    energy, _ = zbl_edges(so3lr_zbl, so3lr_elements, species[pairs.i], species[pairs.j], pairs.r)
    expected = reference_system.expected["node_energy_zbl"]
    np.testing.assert_allclose(pairs.per_atom(energy, number), expected, rtol=0, atol=REFERENCE_NODE_ENERGY)


@pytest.mark.parametrize("cutoff", [np.inf, 12.0, 5.0])
@pytest.mark.parametrize("precision", PRECISIONS)
def test_energies_follow_the_equations(cutoff: float, precision: str) -> None:
    system = random_system(120, cutoff=cutoff)
    pairs = all_pairs(system.positions, cutoff)
    result = evaluate(system, pairs, precision=precision)
    bound = EXACT if precision == "double" else MIXED
    for term, equations in (("electrostatics", equations_electrostatics), ("dispersion", equations_dispersion)):
        expected = pairs.per_atom(equations(system, pairs), len(system))
        assert largest(result[f"{term}_energy"] - expected) < bound * largest(expected)


@pytest.mark.parametrize("instruction_set", _engine.instruction_sets())
def test_every_instruction_set_gives_the_same_numbers(instruction_set: str) -> None:
    system = random_system(60, cutoff=9.0)
    program = (
        "import json, sys, numpy as np; from so3md import _engine; "
        "arguments = json.load(sys.stdin); "
        "print(json.dumps({precision: {name: value.tolist() for name, value in "
        "_engine.pair_physics(**arguments, precision=precision).items()} for precision in ('double', 'mixed')}))"
    )
    arguments = {
        "positions": system.positions.tolist(),
        "slot": list(range(60)),
        "n_owned": 60,
        "charge": system.charge.tolist(),
        "alpha": system.alpha.tolist(),
        "c6_factor": system.c6_factor.tolist(),
        "cutoff": system.cutoff,
    }
    environment = {**os.environ, "SO3MD_INSTRUCTION_SET": instruction_set}
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, sys.path))
    process = subprocess.run(
        [sys.executable, "-c", program], input=json.dumps(arguments), env=environment, capture_output=True, text=True
    )
    assert process.returncode == 0, process.stderr
    found = json.loads(process.stdout)
    expected = evaluate(system)
    for precision, bound in (("double", EXACT), ("mixed", MIXED)):
        for name in PER_ATOM_RESULTS:
            assert largest(np.array(found[precision][name]) - expected[name]) < bound * largest(expected[name])


# --- Gradients


def total_energy(system: System) -> float:
    result = evaluate(system)
    return float(result["electrostatics_energy"].sum() + result["dispersion_energy"].sum())


def central_difference(system: System, **change: FloatArray) -> float:
    """Derivative of the energy along a change of one array of the system."""
    ((name, direction),) = change.items()
    moved = [replace(system, **{name: getattr(system, name) + sign * STEP * direction}) for sign in (1, -1)]
    return (total_energy(moved[0]) - total_energy(moved[1])) / (2 * STEP)


@pytest.mark.parametrize("cutoff", [np.inf, 7.0])
def test_gradients_are_derivatives_of_the_energy(cutoff: float) -> None:
    system = random_system(25, seed=3, cutoff=cutoff)
    result = evaluate(system)
    for atom in range(0, len(system), 4):
        unit = np.eye(len(system))[atom]
        assert central_difference(system, charge=unit) == pytest.approx(
            result["charge_gradient"][atom], abs=FINITE_DIFFERENCE
        )
        assert central_difference(system, alpha=unit) == pytest.approx(
            result["alpha_gradient"][atom], abs=FINITE_DIFFERENCE
        )
        for axis in range(3):
            shift = np.outer(unit, np.eye(3)[axis])
            assert -central_difference(system, positions=shift) == pytest.approx(
                result["forces"][atom, axis], abs=FINITE_DIFFERENCE
            )


@pytest.mark.parametrize("cutoff", [np.inf, 7.0])
def test_virial_is_the_derivative_by_a_strain(cutoff: float) -> None:
    system = random_system(25, seed=4, cutoff=cutoff)
    virial = evaluate(system)["virial"].sum(axis=0)
    for a, b in np.ndindex(3, 3):
        strain = np.zeros((3, 3))
        strain[a, b] = 1.0
        derivative = central_difference(system, positions=system.positions @ strain)
        assert derivative == pytest.approx(virial[a, b], abs=100 * FINITE_DIFFERENCE)  # positions reach 10 A


@pytest.mark.parametrize("precision", PRECISIONS)
def test_mixed_gradients_agree_with_double(precision: str) -> None:
    system = random_system(300, seed=5, cutoff=12.0)
    pairs = all_pairs(system.positions, system.cutoff)
    exact, found = evaluate(system), evaluate(system, pairs, precision=precision)
    for name in PER_ATOM_RESULTS:
        bound = EXACT if precision == "double" else MIXED
        assert largest(found[name] - exact[name]) < bound * largest(exact[name]), name


def test_mixed_agrees_with_double_in_water(so3lr_elements: list[int], so3lr_tensors: dict[str, FloatArray]) -> None:
    reference = load_system("water_64")
    system = system_of(reference, so3lr_elements, so3lr_tensors)
    pairs = all_pairs(system.positions, system.cutoff, reference.cell, reference.pbc)
    exact, found = (evaluate(system, pairs, precision=precision) for precision in PRECISIONS)
    for name in PER_ATOM_RESULTS:
        assert largest(found[name] - exact[name]) < MIXED_IN_WATER * largest(exact[name]), name


@pytest.mark.parametrize(("precision", "bound"), [("double", 1e-13), ("mixed", 1e-5)])
def test_forces_sum_to_zero(precision: str, bound: float) -> None:
    system = random_system(300, seed=6, cutoff=12.0)
    assert largest(evaluate(system, precision=precision)["forces"].sum(axis=0)) < bound


# --- Neighbour lists and switches of the terms


@pytest.mark.parametrize("number", [2, 3, 16, 17, 33, 129, 256, 257, 258, 513, 600])
@pytest.mark.parametrize("precision", PRECISIONS)
def test_any_number_of_neighbours(number: int, precision: str) -> None:
    """One atom sees all others: blocks of neighbours that are empty, full, or end anywhere."""
    system = random_system(number, seed=number, cutoff=40.0, density=0.1)
    pairs = all_pairs(system.positions, system.cutoff)
    first = pairs.i == 0
    expected = sum(
        equations(system, pairs)[first].sum() for equations in (equations_electrostatics, equations_dispersion)
    )
    for result in (evaluate(system, precision=precision), evaluate(system, pairs, precision=precision)):
        found = result["electrostatics_energy"][0] + result["dispersion_energy"][0]
        scale = np.abs(equations_electrostatics(system, pairs)[first]).sum()
        assert abs(found - expected) < (EXACT if precision == "double" else MIXED) * scale


@pytest.mark.parametrize("precision", PRECISIONS)
def test_neighbours_beyond_the_cutoff_change_nothing(precision: str) -> None:
    system = random_system(200, seed=7, cutoff=5.0)
    within, beyond = all_pairs(system.positions, 5.0), all_pairs(system.positions, 30.0)
    result, expected = (evaluate(system, pairs, precision=precision) for pairs in (beyond, within))
    for name in PER_ATOM_RESULTS:
        np.testing.assert_array_equal(result[name], expected[name])


@pytest.mark.parametrize("precision", PRECISIONS)
def test_energy_and_force_vanish_at_the_cutoff(precision: str) -> None:
    apart = System(np.array([[0, 0, 0], [0, 0, 5.9999]]), np.ones(2), np.full(2, 9.0), np.full(2, 0.4), cutoff=6.0)
    near = evaluate(apart, precision=precision)
    # Electrostatics falls off with the square of the distance to the cutoff; single precision leaves 6e-8 of f(R).
    bound = 1e-8 if precision == "double" else 1e-6
    assert largest(near["electrostatics_energy"]) < bound
    assert largest(near["dispersion_energy"]) < 1e-30
    assert largest(near["forces"]) < 1e-5
    far = evaluate(replace(apart, positions=np.array([[0, 0, 0], [0, 0, 6.0]])), precision=precision)
    assert all(largest(far[name]) == 0 for name in PER_ATOM_RESULTS)


def test_images_of_an_atom_are_its_neighbours() -> None:
    """One ion in a cubic box: its energy is quadratic in its charge, and no force acts on it."""
    system = System(np.zeros((1, 3)), np.array([0.7]), np.array([9.0]), np.array([0.4]), cutoff=9.0)
    pairs = all_pairs(system.positions, system.cutoff, 4.0 * np.eye(3), np.ones(3, dtype=bool))
    result = evaluate(system, pairs)
    expected = equations_electrostatics(system, pairs).sum()
    assert result["electrostatics_energy"][0] == pytest.approx(expected, rel=EXACT)
    assert result["charge_gradient"][0] == pytest.approx(2 * expected / 0.7, rel=EXACT)
    assert largest(result["forces"]) < 1e-15


def test_only_owned_atoms_get_results() -> None:
    """Atoms of another process have slots of their own; both halves together give the whole."""
    system = random_system(40, seed=8, cutoff=8.0)
    whole = evaluate(system)
    parts = []
    for order in (np.arange(40), np.roll(np.arange(40), 20)):
        halves = System(*(getattr(system, name)[order] for name in ("positions", "charge", "alpha", "c6_factor")), 8.0)
        parts.append(evaluate(halves, n_owned=20))
    for name in PER_ATOM_RESULTS:
        joined = np.concatenate([part[name] for part in parts])
        assert joined.shape == whole[name].shape
        assert largest(joined - whole[name]) < EXACT * largest(whole[name])


@pytest.mark.parametrize("precision", PRECISIONS)
def test_terms_can_be_switched_off(precision: str) -> None:
    system = random_system(50, seed=9, cutoff=8.0)
    both = evaluate(system, precision=precision)
    electrostatics = evaluate(system, precision=precision, dispersion=False)
    dispersion = evaluate(system, precision=precision, electrostatics=False)
    for name in ("electrostatics_energy", "charge_gradient"):
        np.testing.assert_array_equal(electrostatics[name], both[name])
        assert largest(dispersion[name]) == 0
    for name in ("dispersion_energy", "alpha_gradient"):
        np.testing.assert_array_equal(dispersion[name], both[name])
        assert largest(electrostatics[name]) == 0
    for name in ("forces", "virial"):
        assert largest(electrostatics[name] + dispersion[name] - both[name]) < MIXED * largest(both[name])
    neither = evaluate(system, precision=precision, electrostatics=False, dispersion=False)
    assert all(largest(neither[name]) == 0 for name in PER_ATOM_RESULTS)


def test_virial_may_be_left_out() -> None:
    system = random_system(20, seed=10)
    with_virial, without = evaluate(system), evaluate(system, virial=False)
    assert "virial" not in without
    np.testing.assert_array_equal(with_virial["forces"], without["forces"])


def test_lone_atom_has_no_energy() -> None:
    system = random_system(1)
    result = evaluate(system)
    assert all(largest(result[name]) == 0 for name in PER_ATOM_RESULTS)


# --- Approximations, measured through pairs of atoms that see nobody else


def isolated_pairs(r: FloatArray, alpha: FloatArray, **options: Any) -> dict[str, FloatArray]:
    """Pair k: an owned atom at the origin and another one at distance r[k], charges 1. One row of results a pair."""
    number = len(r)
    positions = np.zeros((2 * number, 3))
    positions[number:, 0] = r
    return _engine.pair_physics(
        positions=positions,
        slot=np.arange(2 * number),
        n_owned=number,
        offsets=np.arange(number + 1),
        sites=number + np.arange(number),
        charge=np.ones(2 * number),
        alpha=np.concatenate([alpha, alpha]),
        c6_factor=np.full(2 * number, 0.4),
        **options,
    )


@pytest.mark.parametrize("precision", PRECISIONS)
def test_error_function(precision: str) -> None:
    """erf(t) = r f(r) and the slope of f, which has an error of 1/r^2 times that of erf, for t = r/s in 0.01 .. 8."""
    # Distances that single precision holds exactly: the error of the input is not the function's.
    r = (SIGMA * np.linspace(0.01, 8, 20000)).astype(np.float32).astype(float)
    result = isolated_pairs(r, np.ones_like(r), dispersion=False, sigma=SIGMA, cutoff=np.inf, precision=precision)
    f = 2 * result["electrostatics_energy"] / COULOMB
    assert largest(r * f - erf(r / SIGMA)) < ERF_ERROR[precision]
    slope = result["forces"][:, 0] / COULOMB
    exact = 2 / (np.sqrt(np.pi) * SIGMA) * np.exp(-((r / SIGMA) ** 2)) / r - erf(r / SIGMA) / r**2
    assert largest(r**2 * (slope - exact)) < ERF_ERROR[precision]


@pytest.mark.parametrize("precision", PRECISIONS)
def test_switch(precision: str) -> None:
    """The dispersion with cutoff over that without is the switch; the force has its slope."""
    r = np.linspace(9.5, 12.0, 20001)[:-1].astype(np.float32).astype(float)
    alpha = np.full_like(r, 9.0)
    options: dict[str, Any] = {"electrostatics": False, "damping": 2.0}
    plain = isolated_pairs(r, alpha, cutoff=np.inf, **options)
    switched = isolated_pairs(r, alpha, cutoff=12.0, precision=precision, **options)
    found = switched["dispersion_energy"] / plain["dispersion_energy"]
    assert largest(found - equations_switch(r, 10.0, 12.0)) < SWITCH_ERROR[precision]
    assert largest((found - 1)[r < 10.0]) < ROOT_ERROR[precision]
    c = np.clip((r - 10) / 2, 1e-12, 1 - 1e-12)
    s, one_minus_s = equations_switch(r, 10.0, 12.0), equations_switch(22.0 - r, 10.0, 12.0)
    exact = -0.5 * s * one_minus_s * (1 / c**2 + 1 / (1 - c) ** 2)
    slope = (switched["forces"][:, 0] - s * plain["forces"][:, 0]) / (2 * plain["dispersion_energy"])
    assert largest(slope - exact) < 2 * SWITCH_ERROR[precision]


@pytest.mark.parametrize("precision", PRECISIONS)
def test_seventh_root(precision: str) -> None:
    """At r << p the energy is a function of the root alone: relative errors over six orders of polarisability."""
    alpha = np.geomspace(1e-3, 1e3, 20000).astype(np.float32).astype(float)
    r = np.full_like(alpha, 2.0**-6)
    result = isolated_pairs(r, alpha, electrostatics=False, cutoff=np.inf, precision=precision)
    number = len(r)
    system = System(np.zeros((2 * number, 3)), np.ones(2 * number), np.tile(alpha, 2), np.full(2 * number, 0.4))
    pairs = Pairs(np.arange(number), number + np.arange(number), np.outer(r, [1, 0, 0]))
    assert largest(result["dispersion_energy"] / equations_dispersion(system, pairs) - 1) < ROOT_ERROR[precision]

    # The derivative of the equations by alpha_i, by an imaginary step: no difference of large numbers.
    complex_alpha = np.concatenate([alpha * (1 + 1e-30j), alpha + 0j])
    slope = 2 * equations_dispersion(replace(system, alpha=complex_alpha), pairs).imag / (1e-30 * alpha)
    assert largest(result["alpha_gradient"] / slope - 1) < ROOT_ERROR[precision]


def test_distant_fragments_without_cutoff_stay_finite() -> None:
    system = System(np.array([[0, 0, 0], [1e6, 0, 0]]), np.ones(2), np.full(2, 9.0), np.full(2, 0.4))
    for precision in PRECISIONS:
        result = evaluate(system, precision=precision)
        assert result["electrostatics_energy"].sum() == pytest.approx(COULOMB / 1e6, rel=1e-6)
        assert largest(result["dispersion_energy"]) < 1e-30
        assert all(np.isfinite(result[name]).all() for name in PER_ATOM_RESULTS)


# --- ZBL


ZBL = ZblParameters(a_raw=(0.7, 0.5, -0.5, -1.3), c_raw=(-1.5, -0.3, -1.2, -3.7), p_raw=-1.2, d_raw=2.1, switch_on=0.2)


def test_zbl_follows_its_equation() -> None:
    elements = [1, 6, 8, 17]
    species_i, species_j = (index.ravel() for index in np.indices((4, 4)))
    for r in np.linspace(0.05, 1.6, 40):
        distances = np.full(16, r)
        phi, _ = phys_cutoff(distances)
        energy, _ = zbl_edges(ZBL, elements, species_i, species_j, distances)
        z_i, z_j = np.array(elements)[species_i], np.array(elements)[species_j]
        np.testing.assert_allclose(energy, equations_zbl(ZBL, z_i, z_j, distances, phi), rtol=1e-12, atol=1e-30)


def test_zbl_derivative() -> None:
    r = np.linspace(0.1, 1.6, 300)
    species = np.zeros(300, dtype=int), np.ones(300, dtype=int)
    _, derivative = zbl_edges(ZBL, [1, 8], *species, r)
    step = 1e-5
    above, below = (zbl_edges(ZBL, [1, 8], *species, r + sign * step)[0] for sign in (1, -1))
    np.testing.assert_allclose(derivative, (above - below) / (2 * step), rtol=1e-6, atol=1e-8)


def test_zbl_vanishes_exactly_from_switch_off_on() -> None:
    r = np.array([1.4999, 1.5, 2.0, 4.4])
    zero = np.zeros(4, dtype=int)
    energy, derivative = zbl_edges(ZBL, [8], zero, zero, r)
    assert energy[0] < 1e-30
    np.testing.assert_array_equal(energy[1:], 0.0)
    np.testing.assert_array_equal(derivative[1:], 0.0)


# --- Bad input


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"positions": np.zeros((3, 2))}, "positions has the shape"),
        ({"slot": np.array([0, 1, 3])}, r"slot\[2\] is 3"),
        ({"slot": np.array([0, 1])}, "slot has the shape"),
        ({"n_owned": 4}, "n_owned is 4"),
        ({"alpha": np.ones(2)}, "alpha has the shape"),
        ({"offsets": np.array([0, 0, 0, 0])}, "offsets and sites belong together"),
        ({"offsets": np.array([0, 1, 0, 1]), "sites": np.array([1])}, "offsets"),
        ({"offsets": np.array([0, 1, 1, 2]), "sites": np.array([1])}, "offsets"),
        ({"offsets": np.array([0, 1, 1, 1]), "sites": np.array([3])}, r"sites\[0\] is 3"),
        ({"precision": "half"}, "precision is 'half'"),
    ],
)
def test_arrays_that_do_not_fit_together_are_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        evaluate(random_system(3), **change)


def test_zbl_refuses_unknown_species() -> None:
    zero = np.zeros(1, dtype=int)
    with pytest.raises(ValueError, match=r"species_j\[0\] is 1: expected 0 to 0"):
        zbl_edges(ZBL, [8], zero, zero + 1, np.ones(1))
