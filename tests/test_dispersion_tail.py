"""Dispersion beyond its cutoff in periodic systems: dispersion_tail."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ase import Atoms
from ase.build import molecule
from ase.spacegroup import crystal as space_group
from derivatives import assert_atoms_add_up, assert_forces_are_derivatives, assert_stress_is_a_derivative
from lammps_comparison import skewed_waters, waters
from pair_equations import Pairs, System, equations_dispersion, equations_switch
from test_engine_variants import crystal
from tolerances import (
    EXACT,
    assert_within,
    rounding,
)
from toy_models import VARIANTS, VARIANTS_SO3LR2

from so3md import So3kratesCalculator, evaluate_many
from so3md._engine import Engine, Model, dispersion_tail
from so3md.structures import read_structure

EVERY_VARIANT = VARIANTS | VARIANTS_SO3LR2

#: How far the tail of atoms with the mean polarisability of their element may be from that of all pairs: the square of
#: the spread of polarisabilities, some 5 %, times what the bracket of eq. (40) depends on them: by a few per cent at
#: 12 A, and by some ten per cent where damping sets in.
MEAN_POLARISABILITY = {12.0: 1e-4, 6.0: 1e-3, 4.5: 1e-3}


def tail(**parameters: Any) -> So3kratesCalculator:
    return So3kratesCalculator(**{"dispersion_tail": True, "precision": "double", "threads": 1} | parameters)


def evaluated(atoms: Atoms, **parameters: Any) -> Atoms:
    """A copy with its results."""
    atoms = atoms.copy()
    atoms.calc = tail(**parameters)
    atoms.get_forces()
    return atoms


def structure(atoms: Atoms) -> dict[str, Any]:
    return {"numbers": atoms.numbers, "positions": atoms.positions, "cell": atoms.cell.array, "pbc": atoms.pbc}


def urea() -> Atoms:
    places = [
        (0.0, 0.5, 0.3260),
        (0.0, 0.5, 0.5953),
        (0.1459, 0.6459, 0.1766),
        (0.2575, 0.7575, 0.2827),
        (0.1441, 0.6441, -0.0380),
    ]
    return space_group("CONHH", places, spacegroup=113, cellpar=[5.565, 5.565, 4.684, 90, 90, 90])


def free_atoms(model: Model, numbers: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Polarisability and C6 of the free atoms of a model."""
    from so3md.model_file import ModelFile

    file = ModelFile.read(model.path)
    species = np.searchsorted(file.elements, numbers)
    alpha, c6 = (file.tensors[f"dispersion.{name}"].astype(float)[species] for name in ("alpha", "c6"))
    return alpha, c6


def tail_of_all_pairs(
    atoms: Atoms,
    model: Model,
    ratios: np.ndarray,
    cutoff: float,
    damping: float,
    c6_ratios: np.ndarray | None = None,
) -> float:
    """Eq. (85) with the polarisabilities, and C6, of both atoms of each pair."""
    alpha, c6 = free_atoms(model, atoms.numbers)
    quotients = 1.0 if c6_ratios is None else c6_ratios / ratios**2
    system = System(atoms.positions, np.zeros(len(atoms)), alpha * ratios, c6 / alpha**2 * quotients)
    x, w = np.polynomial.legendre.leggauss(120)
    x, w = (x + 1) / 2, w / 2
    near, far = cutoff - damping * x, cutoff / x
    left_out = 1 - equations_switch(near, cutoff - damping, cutoff)
    r = np.concatenate([near, far])
    weights = 4 * np.pi * r**2 * np.concatenate([damping * w * left_out, far**2 * w / cutoff])
    i, j = (index.ravel() for index in np.indices((len(atoms), len(atoms))))
    displacement = np.zeros((len(i), 3))
    total = 0.0
    for distance, weight in zip(r, weights, strict=True):
        displacement[:, 0] = distance
        total += weight * equations_dispersion(system, Pairs(i, j, displacement)).sum()
    return total / atoms.get_volume()


# --- values ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("variant", "seed"), [("default", 3), ("default", 4), ("c6_head", 3), ("linear_ratios", 3), ("all_of_so3lr2", 4)]
)
def test_same_as_the_reference(toy_model: Callable[..., Path], variant: str, seed: int) -> None:
    pytest.importorskip("torch", reason="the reference model needs torch (extra 'torch')")
    from so3md.reference import ReferenceModel

    path, options = (
        toy_model(seed=seed, **EVERY_VARIANT[variant]),
        {"lr_cutoff": 7.0, "lr_damping": 1.5, "dispersion_tail": True},
    )
    expected = ReferenceModel.from_file(path).evaluate(**crystal(), **options)
    found = Engine(Model(str(path)), precision="double", **options).evaluate(**crystal())
    assert found["energy"] == pytest.approx(expected["energy"], rel=0, abs=EXACT.component)
    assert found["energy_components"]["dispersion"] == pytest.approx(
        expected["energy_components"]["dispersion"], rel=0, abs=EXACT.component
    )
    np.testing.assert_allclose(found["energies"], expected["energies"], rtol=0, atol=EXACT.component)
    np.testing.assert_allclose(found["forces"], expected["forces"], rtol=0, atol=EXACT.forces)
    np.testing.assert_allclose(found["virial"], expected["virial"], rtol=0, atol=EXACT.component)
    without = Engine(Model(str(path)), precision="double", **options | {"dispersion_tail": False}).evaluate(**crystal())
    assert without["energy"] - found["energy"] > 1e-3
    assert np.abs(without["forces"] - found["forces"]).max() > 1e-5  # by way of the ratios alone


@pytest.mark.parametrize(("cutoff", "damping"), [(12.0, 2.0), (6.0, 3.0), (4.5, 0.1)])
@pytest.mark.parametrize("make", [skewed_waters, urea])
def test_energy_is_that_of_all_pairs(
    so3lr_path: Path, make: Callable[[], Atoms], cutoff: float, damping: float
) -> None:
    options = {"lr_cutoff": cutoff, "lr_damping": damping}
    atoms = evaluated(make(), **options)
    without = evaluated(make(), **options, dispersion_tail=False)
    found = (
        atoms.calc.get_energy_components(atoms)["dispersion"]
        - without.calc.get_energy_components(without)["dispersion"]
    )
    ratios = atoms.calc.get_hirshfeld_ratios(atoms)
    expected = tail_of_all_pairs(atoms, Model(str(so3lr_path)), ratios, cutoff, damping)
    assert found == pytest.approx(expected, rel=MEAN_POLARISABILITY[cutoff])
    for calculator in (atoms.calc, without.calc):
        assert calculator.get_dispersion_tail(atoms) == pytest.approx(found, rel=1e-9)


def means_and_variance(weights: np.ndarray, values: np.ndarray) -> tuple[float, float]:
    mean = np.average(values, weights=weights)
    return float(mean), float(np.average((values - mean) ** 2, weights=weights))


@pytest.mark.parametrize("spread", [0.0, 0.02, 0.1, 0.3])
def test_mean_c6_is_as_near_as_was_proven(toy_model: Callable[..., Path], spread: float) -> None:
    """Eq. (99): never too little, and too much by no more than the variances say. Polarisabilities do not vary."""
    path, atoms, cutoff, damping = toy_model(seed=1, **VARIANTS_SO3LR2["c6_head"]), waters(2, 2, 2), 6.0, 2.0
    rng = np.random.default_rng(3)
    ratios = np.where(atoms.numbers == 1, 0.7, 0.9)
    c6_ratios = np.where(atoms.numbers == 1, 0.5, 0.8) * (1 + spread * rng.uniform(-1, 1, len(atoms)))
    structure_ = atoms.numbers, ratios, atoms.cell.array, atoms.pbc
    model = Model(str(path))
    found = dispersion_tail(model, *structure_, lr_cutoff=cutoff, lr_damping=damping, c6_ratios=c6_ratios)
    of_pairs = tail_of_all_pairs(atoms, model, ratios, cutoff, damping, c6_ratios)
    alpha, c6 = free_atoms(model, atoms.numbers)
    kappa = c6 * c6_ratios / (alpha * ratios) ** 2
    largest = 0.0
    for s, t in ((1, 1), (1, 8), (8, 8)):
        (a, var_a), (b, var_b) = (
            means_and_variance(ratios[atoms.numbers == z], kappa[atoms.numbers == z]) for z in (s, t)
        )
        smallest = kappa[atoms.numbers == s].min() + kappa[atoms.numbers == t].min()
        excess = 2 * (b**2 * var_a + a**2 * var_b) / ((a + b) ** 2 * smallest)
        largest = max(largest, excess / (2 * a * b / (a + b) - excess))
    too_much = found / of_pairs - 1
    assert -1e-12 < too_much < largest + 1e-12
    if spread >= 0.1:
        assert too_much > 0.1 * largest  # the bound is of the size of what it bounds


@pytest.mark.parametrize(
    ("make", "energy", "pressure"),
    [(lambda: read_structure("water"), 2e-3, 5e-2), (urea, 5e-3, 5e-2)],
    ids=["water", "urea"],
)
def test_what_a_larger_cutoff_adds(make: Callable[[], Atoms], energy: float, pressure: float) -> None:
    """Energy and pressure at 12 A with the tail are those at 40 A, but for a small part of what the tail adds.

    The part is what the structure of the liquid or crystal beyond 12 A, and the spread of ratios, leave.
    """

    def parts(**parameters: Any) -> np.ndarray:
        atoms = evaluated(make(), coulomb="ewald", **parameters)
        return np.array([atoms.get_potential_energy(), np.trace(atoms.get_stress(voigt=False))])

    at_12, corrected = parts(dispersion_tail=False), parts()
    at_40 = parts(lr_cutoff=40.0)
    left, added = np.abs(corrected - at_40), np.abs(at_12 - at_40)
    assert left[0] < energy * added[0]
    assert left[1] < pressure * added[1]


@pytest.fixture(params=["first generation", "second generation"])
def model(request: pytest.FixtureRequest, toy_model: Callable[..., Path]) -> str | Path:
    """SO3LR, and a model with ratios of C6 of its own."""
    return "so3lr" if request.param == "first generation" else toy_model(seed=1, **VARIANTS_SO3LR2["all_of_so3lr2"])


def test_forces_are_derivatives(model: str | Path) -> None:
    assert_forces_are_derivatives(evaluated(skewed_waters(), model=model, lr_cutoff=5.0), (0, 5, 23))


def test_stress_is_a_derivative(model: str | Path) -> None:
    def of(atoms: Atoms) -> Atoms:
        return evaluated(atoms, model=model, lr_cutoff=5.0)

    assert_stress_is_a_derivative(of(skewed_waters()), of)


def test_energies_and_stresses_of_atoms_add_up(model: str | Path) -> None:
    assert_atoms_add_up(evaluated(skewed_waters(), model=model))


def test_a_supercell_has_as_much_of_it(toy_model: Callable[..., Path], model: str | Path) -> None:
    if model != "so3lr":  # what its embedding makes of the total charge depends on the number of atoms
        model = toy_model(seed=1, **VARIANTS_SO3LR2["all_of_so3lr2"], charge_embedding=False, spin_embedding=False)
    atoms = evaluated(skewed_waters(), model=model)
    repeated = evaluated(atoms.repeat((1, 3, 2)), model=model)
    assert repeated.get_potential_energy() == pytest.approx(6 * atoms.get_potential_energy(), rel=0, abs=1e-8)
    np.testing.assert_allclose(repeated.get_forces()[: len(atoms)], atoms.get_forces(), rtol=0, atol=EXACT.forces)


@pytest.mark.parametrize("make", [lambda: waters(3, 3, 4), urea])
def test_mixed_precision_has_rounding_errors_only(so3lr_path: Path, make: Callable[[], Atoms]) -> None:
    model, atoms = Model(str(so3lr_path)), make()
    bounds = rounding(model, structure(atoms), dispersion_tail=True)
    expected = Engine(model, precision="double", tabulate=False, dispersion_tail=True).evaluate(**structure(atoms))
    found = Engine(model, precision="mixed", tabulate=False, dispersion_tail=True).evaluate(**structure(atoms))
    assert_within(bounds, found, expected)


@pytest.mark.parametrize("precision", ["mixed", "double"])
def test_bits_do_not_depend_on_threads(so3lr_path: Path, precision: str) -> None:
    model, atoms = Model(str(so3lr_path)), waters(4, 4, 5)
    results = [
        Engine(model, precision=precision, threads=threads, dispersion_tail=True).evaluate(**structure(atoms))
        for threads in (1, 2, 3, 8)
    ]
    for name in ("energy", "energies", "forces", "virial"):
        for other in results[1:]:
            assert np.asarray(results[0][name]).tobytes() == np.asarray(other[name]).tobytes(), name


def test_many_structures_are_evaluated_as_one_by_one() -> None:
    structures = [skewed_waters(), waters(1, 1, 2), urea(), waters(1, 2, 2), waters(6, 5, 6)]
    predictions = evaluate_many(structures, dispersion_tail=True, precision="double", stresses=True)
    for prediction, atoms in zip(predictions, structures, strict=True):
        expected = evaluated(atoms)
        assert prediction.energy == pytest.approx(expected.get_potential_energy(), rel=1e-11)
        np.testing.assert_allclose(prediction.energies, expected.get_potential_energies(), rtol=0, atol=1e-8)
        np.testing.assert_allclose(prediction.forces, expected.get_forces(), rtol=0, atol=EXACT.forces)
        np.testing.assert_allclose(prediction.stress, expected.get_stress(), rtol=0, atol=EXACT.stress)
        np.testing.assert_allclose(prediction.stresses, expected.get_stresses(), rtol=0, atol=EXACT.stress)


def test_one_calculator_for_cells_that_change() -> None:
    shared = tail()
    for atoms in (waters(2, 2, 2), skewed_waters(), urea(), waters(2, 2, 2)):
        atoms.calc = shared
        expected = evaluated(atoms)
        np.testing.assert_allclose(atoms.get_forces(), expected.get_forces(), rtol=0, atol=EXACT.forces)
        assert atoms.get_potential_energy() == pytest.approx(expected.get_potential_energy(), rel=0, abs=1e-9)


def test_forgotten_neighbours_leave_no_trace() -> None:
    atoms = waters(2, 2, 2)
    atoms.calc = tail()
    energy = atoms.get_potential_energy()
    atoms.calc.forget_neighbours()
    atoms.calc.reset()
    assert atoms.get_potential_energy() == energy


# --- what is asked for, and said ------------------------------------------------------------------------------------


def test_the_default_is_none() -> None:
    atoms, default = skewed_waters(), skewed_waters()
    atoms.calc = So3kratesCalculator(threads=1, dispersion_tail=False)
    default.calc = So3kratesCalculator(threads=1)
    assert default.calc.parameters["dispersion_tail"] is False
    assert atoms.get_potential_energy() == default.get_potential_energy()


def test_calculator_says_what_it_does() -> None:
    atoms = skewed_waters()
    atoms.calc = tail()
    assert atoms.calc.identity(atoms)["dispersion_tail"] is True
    assert atoms.calc.todict()["dispersion_tail"] is True
    energy = atoms.get_potential_energy()
    atoms.calc.set(dispersion_tail=False)
    assert atoms.get_potential_energy() > energy


@pytest.mark.parametrize(
    ("pbc", "message"),
    [
        (False, "dispersion_tail .* this one is a molecule"),
        ([True, True, False], "periodic in 2"),
        ([False, False, True], "periodic in 1"),
    ],
)
@pytest.mark.parametrize("lr_cutoff", [12.0, "model"])
def test_other_boundaries_are_refused(pbc: Any, message: str, lr_cutoff: Any) -> None:
    atoms = waters(2, 2, 2)
    atoms.pbc = pbc
    with pytest.raises(ValueError, match=message):
        evaluated(atoms, lr_cutoff=lr_cutoff)
    with pytest.raises(ValueError, match=message):
        So3kratesCalculator(lr_cutoff=lr_cutoff).get_dispersion_tail(atoms)
    errors: list[ValueError] = []
    structures = [atoms, waters(1, 1, 2)]
    options = {"dispersion_tail": True, "lr_cutoff": lr_cutoff}
    predictions = list(evaluate_many(structures, **options, on_error=lambda _, error: errors.append(error)))
    assert predictions[0] is None
    assert predictions[1] is not None
    with pytest.raises(ValueError, match=message):
        raise errors[0]


@pytest.mark.parametrize("value", [None, 1, "yes", 0.0])
def test_bad_values_are_refused(value: Any) -> None:
    with pytest.raises(ValueError, match="dispersion_tail: expected True or False"):
        So3kratesCalculator(dispersion_tail=value)
    with pytest.raises(ValueError, match="dispersion_tail: expected True or False"):
        evaluate_many([], dispersion_tail=value)


def test_models_without_dispersion_are_refused(toy_model: Callable[..., Path]) -> None:
    path = toy_model(dispersion=None)
    with pytest.raises(ValueError, match="dispersion_tail: this model has no dispersion"):
        So3kratesCalculator(path, dispersion_tail=True)
    calculator = So3kratesCalculator(path)
    assert not calculator.has_dispersion_tail(skewed_waters())
    with pytest.raises(ValueError, match="dispersion_tail: this model has no dispersion"):
        calculator.get_dispersion_tail(skewed_waters())


def test_only_periodic_structures_have_it() -> None:
    calculator = So3kratesCalculator()
    assert calculator.has_dispersion_tail(skewed_waters())
    assert not calculator.has_dispersion_tail(molecule("H2O"))


def test_heat_flux_is_refused() -> None:
    atoms = waters(1, 1, 2)
    atoms.calc = tail()
    with pytest.raises(ValueError, match=r"heat flux.*dispersion_tail"):
        atoms.calc.get_heat_flux(atoms)
