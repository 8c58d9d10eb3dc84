"""The heat flux is d/dt of the sum of r_i e_i, and what symmetry demands of it."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ase import Atoms, units
from ase.build import molecule
from lammps_comparison import waters
from parallel_runs import run_checks
from tolerances import EXACT, FINITE_DIFFERENCE_FLUX, FINITE_DIFFERENCE_STEP, MIXED_RELATIVE_FLUX, RANKS
from toy_models import ETHANOL_LIKE, VARIANTS, VARIANTS_2023, VARIANTS_SO3LR2

from so3md import So3kratesCalculator
from so3md._engine import Engine, Model, moved_charge

EVERY_VARIANT = VARIANTS | VARIANTS_2023 | VARIANTS_SO3LR2

#: Without electrostatics nothing couples atoms at any distance, and everything can be unfolded.
LOCAL = {"electrostatics": None}
LR_CUTOFF = 4.0


def ethanol_like(seed: int = 5) -> dict[str, Any]:
    """With every element of the toy models, off its equilibrium; a charged doublet."""
    rng = np.random.default_rng(seed)
    return {
        "numbers": np.array([6, 6, 8, 1, 1, 1, 1, 1, 1]),
        "positions": ETHANOL_LIKE + rng.normal(0, 0.05, ETHANOL_LIKE.shape),
        "cell": np.zeros((3, 3)),
        "pbc": np.zeros(3, bool),
        "charge": 1.0,
        "spin": 0.5,
    }


def crystal(pbc: tuple[bool, bool, bool] = (True, True, True)) -> dict[str, Any]:
    """A skewed cell thinner than the cutoffs, so that atoms meet their own images."""
    structure = ethanol_like()
    cell = np.array([[5.2, 0.0, 0.0], [1.3, 4.6, 0.0], [-0.8, 0.9, 4.9]])
    return structure | {"cell": cell, "pbc": np.array(pbc)}


def velocities_of(structure: dict[str, Any], seed: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=structure["positions"].shape)


def engine_of(path: Path, lr_cutoff: float | None = 7.0, **options: Any) -> Engine:
    return Engine(
        Model(str(path)), **{"precision": "double", "lr_cutoff": lr_cutoff, "lr_damping": 1.5, "threads": 1} | options
    )


def derivative(
    engine: Engine, structure: dict[str, Any], displacements: np.ndarray, of: str = "energies"
) -> np.ndarray:
    """Of the energies or charges of atoms along a displacement of all, by central differences over five points."""

    def values(steps: float) -> np.ndarray:
        moved = structure["positions"] + steps * FINITE_DIFFERENCE_STEP * displacements
        return engine.evaluate(**structure | {"positions": moved}, forces=False)[of]

    differences = [values(steps) - values(-steps) for steps in (1.0, 2.0)]
    return (8 * differences[0] - differences[1]) / (12 * FINITE_DIFFERENCE_STEP)


def flux_by_differences(engine: Engine, structure: dict[str, Any], v: np.ndarray) -> np.ndarray:
    """Of a molecule: d/dt of the sum of r_i e_i, less what atoms carry."""
    rates = derivative(engine, structure, v) + (engine.evaluate(**structure)["forces"] * v).sum(axis=1)
    return rates @ structure["positions"]


# --- the derivative itself ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("lr_cutoff", [None, 2.5], ids=["no cutoff", "short cutoff"])
@pytest.mark.parametrize("variant", EVERY_VARIANT)
def test_flux_of_a_molecule(toy_model: Callable[..., Path], variant: str, lr_cutoff: float | None) -> None:
    engine = engine_of(toy_model(seed=1, **EVERY_VARIANT[variant]), lr_cutoff)  # relu: no kink between the five points
    structure = ethanol_like()
    v = velocities_of(structure)
    flux = engine.heat_flux(**structure, velocities=v)
    expected = flux_by_differences(engine, structure, v)
    np.testing.assert_allclose(flux["potential"], expected, rtol=0, atol=FINITE_DIFFERENCE_FLUX)
    np.testing.assert_allclose(flux["rates"], derivative(engine, structure, v), rtol=0, atol=FINITE_DIFFERENCE_FLUX)
    assert np.abs(expected).max() > 1e4 * FINITE_DIFFERENCE_FLUX


@pytest.mark.parametrize("structure", [ethanol_like(), crystal(), crystal((True, False, True))])
@pytest.mark.parametrize("variant", EVERY_VARIANT)
def test_energies_and_their_rate_are_those_of_the_engine(
    toy_model: Callable[..., Path], variant: str, structure: dict[str, Any]
) -> None:
    """The same equations, written twice; the rate of the energy is the work of the forces."""
    engine = engine_of(toy_model(seed=4, **EVERY_VARIANT[variant]))
    v = velocities_of(structure)
    results, flux = engine.evaluate(**structure), engine.heat_flux(**structure, velocities=v)
    np.testing.assert_allclose(flux["energies"], results["energies"], rtol=0, atol=EXACT.component)
    assert flux["rates"].sum() == pytest.approx(-(results["forces"] * v).sum(), rel=0, abs=EXACT.forces * v.size)
    np.testing.assert_allclose(flux["moments"].sum(axis=0), flux["potential"], rtol=0, atol=EXACT.component)


def unfolded(structure: dict[str, Any], range_: float) -> tuple[dict[str, Any], np.ndarray]:
    """A cluster of all images within some range of the cell's atoms, which come first; and the atom of each image."""
    cell, pbc = structure["cell"], structure["pbc"]
    atoms = Atoms(structure["numbers"], structure["positions"], cell=cell, pbc=True)
    heights = atoms.get_volume() / np.linalg.norm(np.cross(cell[[1, 2, 0]], cell[[2, 0, 1]]), axis=1)
    extent = np.ptp(atoms.get_scaled_positions(wrap=False), axis=0)
    copies = np.where(pbc, np.ceil(range_ / heights + extent).astype(int), 0)
    shifts = np.array(sorted(np.ndindex(*(2 * copies + 1)), key=lambda n: np.any(n != copies))) - copies
    positions = (structure["positions"][None] + (shifts @ cell)[:, None]).reshape(-1, 3)
    near = np.array([np.linalg.norm(structure["positions"] - r, axis=1).min() < range_ for r in positions])
    n = len(structure["numbers"])
    cluster = structure | {
        "numbers": np.tile(structure["numbers"], len(shifts))[near],
        "positions": positions[near],
        "pbc": np.zeros(3, bool),
    }
    return cluster, np.tile(np.arange(n), len(shifts))[near]


@pytest.mark.parametrize("pbc", [(True, True, True), (True, False, True)], ids=["crystal", "slab"])
@pytest.mark.parametrize("variant", ["default", "all_of_2023", "c6_head"])
def test_flux_of_a_crystal_is_that_of_its_unfolded_images(
    toy_model: Callable[..., Path], variant: str, pbc: tuple[bool, bool, bool]
) -> None:
    """sum_k sum_j (r_k - r_j) dU_k/dr_j . v_j, by moving every image j at once at v_j, and at r_j v_j."""
    overrides = EVERY_VARIANT[variant] | LOCAL | {"cutoff": 2.5, "charge_embedding": False, "spin_embedding": False}
    engine = engine_of(toy_model(seed=6, **overrides), LR_CUTOFF)
    structure = crystal(pbc)
    v = velocities_of(structure)
    # An energy depends on atoms as far away as the network looks, and on ratios at the other end of a long-range pair.
    cluster, atom = unfolded(structure, 3 * 2.5 if variant == "all_of_2023" else 2 * 2.5 + LR_CUTOFF)
    home = slice(len(v))
    energies = engine.evaluate(**cluster, forces=False)["energies"][home]
    np.testing.assert_allclose(engine.evaluate(**structure)["energies"], energies, rtol=0, atol=EXACT.component)
    expected = structure["positions"].T @ derivative(engine, cluster, v[atom])[home]
    for a in range(3):
        expected[a] -= derivative(engine, cluster, cluster["positions"][:, a : a + 1] * v[atom])[home].sum()
    flux = engine.heat_flux(**structure, velocities=v)["potential"]
    np.testing.assert_allclose(flux, expected, rtol=0, atol=FINITE_DIFFERENCE_FLUX)


def test_tables_of_mixed_precision(toy_model: Callable[..., Path]) -> None:
    path, structure = toy_model(seed=3), crystal()
    v = velocities_of(structure)
    exact, tabulated = (
        engine_of(path, precision=precision).heat_flux(**structure, velocities=v)["potential"]
        for precision in ("double", "mixed")
    )
    assert np.abs(tabulated - exact).max() < MIXED_RELATIVE_FLUX * np.abs(exact).max()
    assert np.any(tabulated != exact)


# --- what symmetry demands --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("structure", [ethanol_like(), crystal()], ids=["molecule", "crystal"])
def test_a_structure_that_moves_as_a_whole(toy_model: Callable[..., Path], structure: dict[str, Any]) -> None:
    """The flux is then the pressure's: minus the virial times the velocity."""
    engine = engine_of(toy_model(seed=2))
    w = np.array([0.3, -0.7, 0.5])
    flux = engine.heat_flux(**structure, velocities=np.tile(w, (9, 1)))
    np.testing.assert_allclose(flux["potential"], -engine.evaluate(**structure)["virial"] @ w, rtol=0, atol=1e-9)
    np.testing.assert_allclose(flux["rates"], 0, atol=EXACT.component)


@pytest.mark.parametrize("structure", [ethanol_like(), crystal()], ids=["molecule", "crystal"])
def test_rotation(toy_model: Callable[..., Path], structure: dict[str, Any]) -> None:
    engine = engine_of(toy_model(seed=2))
    rotation, _ = np.linalg.qr(np.random.default_rng(0).normal(size=(3, 3)))
    v = velocities_of(structure)
    turned = structure | {key: structure[key] @ rotation for key in ("positions", "cell")}
    flux = engine.heat_flux(**structure, velocities=v)["potential"]
    turned_flux = engine.heat_flux(**turned, velocities=v @ rotation)["potential"]
    np.testing.assert_allclose(turned_flux, flux @ rotation, rtol=0, atol=EXACT.component)


def test_atoms_may_stand_in_any_cell(toy_model: Callable[..., Path]) -> None:
    """Only relative positions count, and charges go to nearest images."""
    engine, structure = engine_of(toy_model(seed=2)), crystal()
    v = velocities_of(structure)
    moved = structure["positions"] + np.random.default_rng(5).integers(-2, 3, size=(9, 3)) @ structure["cell"]
    flux = engine.heat_flux(**structure, velocities=v)["potential"]
    elsewhere = engine.heat_flux(**structure | {"positions": moved}, velocities=v)["potential"]
    np.testing.assert_allclose(elsewhere, flux, rtol=0, atol=EXACT.component)


def test_supercell(toy_model: Callable[..., Path]) -> None:
    """Twice the cell has twice the flux, where no charge is shared among all atoms."""
    engine = engine_of(toy_model(seed=2, charge_embedding=False, spin_embedding=False, **LOCAL))
    structure = crystal()
    v = velocities_of(structure)
    double = structure | {
        "numbers": np.tile(structure["numbers"], 2),
        "positions": np.concatenate([structure["positions"], structure["positions"] + structure["cell"][0]]),
        "cell": structure["cell"] * np.array([[2], [1], [1]]),
    }
    once = engine.heat_flux(**structure, velocities=v)["potential"]
    twice = engine.heat_flux(**double, velocities=np.tile(v, (2, 1)))["potential"]
    np.testing.assert_allclose(twice, 2 * once, rtol=0, atol=EXACT.component)


@pytest.mark.parametrize("pbc", [(True, True, True), (False, True, False)], ids=["box", "wire"])
def test_a_molecule_alone_in_a_box(toy_model: Callable[..., Path], pbc: tuple[bool, bool, bool]) -> None:
    """It has the flux of the molecule, charges included, also where the box cuts it in two."""
    engine = engine_of(toy_model(seed=2))
    alone = ethanol_like()
    v = velocities_of(alone)
    expected = engine.heat_flux(**alone, velocities=v)["potential"]
    boxed = alone | {"cell": np.diag([25.0, 26.0, 27.0]) + np.eye(3)[[1, 2, 0]], "pbc": np.array(pbc)}
    for shift in ([0, 0, 0], [0.3, 13.1, 0.2], [12.6, 12.9, 13.4]):
        atoms = Atoms(boxed["numbers"], boxed["positions"] + shift, cell=boxed["cell"], pbc=pbc)
        atoms.wrap()
        flux = engine.heat_flux(**boxed | {"positions": atoms.positions}, velocities=v)["potential"]
        np.testing.assert_allclose(flux, expected, rtol=0, atol=EXACT.component)


@pytest.mark.parametrize("pbc", [(True, True, True), (True, False, True), (False, False, False)])
def test_moved_charge_is_a_sum_over_nearest_images(pbc: tuple[bool, bool, bool]) -> None:
    rng = np.random.default_rng(3)
    cell = np.array([[5.2, 0.0, 0.0], [1.3, 4.6, 0.0], [-0.8, 0.9, 4.9]])
    positions, rates, moments = rng.normal(size=(20, 3), scale=9), rng.normal(size=20), rng.normal(size=(20, 3))
    positions[7] = positions[3] + 0.5 * cell[0]  # as far in both directions
    if pbc == (True, False, True):
        across = np.cross(cell[2], cell[0])  # the vector that does not repeat does not count
        cell[1] = across / np.linalg.norm(across)
    fractional = (positions[:, None] - positions[None]) @ np.linalg.inv(cell)
    nearest = fractional - np.round(fractional)
    nearest[np.abs(np.abs(nearest) - 0.5) < 1e-12] = 0.0
    differences = np.where(pbc, nearest, fractional) @ cell
    expected = moments.sum(axis=0) + np.einsum("ija,j->ia", differences, rates)
    found = moved_charge(positions, rates, moments, cell, np.array(pbc))
    np.testing.assert_allclose(found, expected, rtol=0, atol=EXACT.component)


# --- the calculator ---------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def calculator() -> So3kratesCalculator:
    return So3kratesCalculator(precision="double", threads=1)


def test_flux_of_the_calculator(calculator: So3kratesCalculator) -> None:
    """d/dt of the sum of r_i e_i, in dynamics of a molecule; both parts, and with or without shifts."""
    atoms = molecule("CH3CH2OH")
    atoms.rattle(0.05, seed=2)
    rng = np.random.default_rng(3)
    atoms.set_velocities(rng.normal(size=(9, 3)) * 0.02)
    calc = So3kratesCalculator(lr_cutoff=None, precision="double", threads=1)
    atoms.calc = calc

    def moment(time: float) -> np.ndarray:
        moved = atoms.copy()
        acceleration = atoms.get_forces() / atoms.get_masses()[:, None]
        moved.positions += time * atoms.get_velocities() + 0.5 * time**2 * acceleration
        moved.set_velocities(atoms.get_velocities() + time * acceleration)
        kinetic = 0.5 * moved.get_masses() * (moved.get_velocities() ** 2).sum(axis=1)
        moved.calc = calc
        return (moved.get_potential_energies() + kinetic) @ moved.positions

    step = 1e-3
    expected = (8 * (moment(step) - moment(-step)) - moment(2 * step) + moment(-2 * step)) / (12 * step)
    flux = calc.get_heat_flux(atoms)
    np.testing.assert_allclose(flux, expected, rtol=0, atol=FINITE_DIFFERENCE_FLUX)
    parts = calc.get_heat_flux_parts(atoms)
    np.testing.assert_array_equal(flux, parts["convective"] + parts["potential"])
    without = calc.get_heat_flux_parts(atoms, shifts=False)
    shift = (parts["convective"] - without["convective"]) / atoms.get_velocities().sum(axis=0)
    np.testing.assert_allclose(shift, shift[0], rtol=1e-9)  # one number for all atoms of SO3LR
    assert -200 < shift[0] < -100
    np.testing.assert_array_equal(without["potential"], parts["potential"])


def test_results_of_the_calculator_stay(calculator: So3kratesCalculator) -> None:
    atoms = waters(2, 2, 2)
    atoms.calc = calculator
    atoms.get_forces()
    results, evaluations = dict(calculator.results), calculator.engine_info()["evaluations"]
    calculator.get_heat_flux(atoms)
    assert calculator.results == results
    atoms.get_forces()
    assert calculator.engine_info()["evaluations"] == evaluations


@pytest.mark.skipif(importlib.util.find_spec("mpi4py") is None, reason="mpi4py is not installed")
@pytest.mark.parametrize("ranks", [1, 2, 3])
def test_ranks_do_not_matter(ranks: int, tmp_path: Path) -> None:
    for key, difference in run_checks("parallel_heat_flux.py", ranks, tmp_path).items():
        assert difference < RANKS.component, key


def test_threads_do_not_matter() -> None:
    atoms = waters(2, 2, 2)
    fluxes = [So3kratesCalculator(threads=threads).get_heat_flux(atoms) for threads in (1, 3)]
    np.testing.assert_array_equal(fluxes[0], fluxes[1])


def test_devices_leave_it_to_the_processor(device: str) -> None:
    atoms = waters(2, 2, 2)
    on_device = So3kratesCalculator(precision="double", threads=1, device=device)
    atoms.calc = on_device
    forces = atoms.get_forces()
    expected = So3kratesCalculator(precision="double", threads=1).get_heat_flux(atoms)
    np.testing.assert_array_equal(on_device.get_heat_flux(atoms), expected)
    on_device.reset()
    np.testing.assert_allclose(atoms.get_forces(), forces, rtol=0, atol=EXACT.forces)


def test_a_structure_without_velocities_is_refused(calculator: So3kratesCalculator) -> None:
    with pytest.raises(ValueError, match="this structure has none"):
        calculator.get_heat_flux(molecule("H2O"))
    atoms = waters(1, 1, 1)
    atoms.arrays["momenta"][2, 1] = np.nan
    with pytest.raises(ValueError, match=r"velocity of atom 2 is .*: expected finite numbers below 1e\+08"):
        calculator.get_heat_flux(atoms)


def test_models_of_the_paper_are_refused(toy_model: Callable[..., Path]) -> None:
    atoms = molecule("H2O")
    atoms.set_velocities(np.ones((3, 3)) * units.fs)
    calc = So3kratesCalculator(toy_model(architecture="so3krates-2022"), threads=1)
    with pytest.raises(ValueError, match="so3krates-2022: use another model"):
        calc.get_heat_flux(atoms)


def test_bad_structures_are_refused(calculator: So3kratesCalculator) -> None:
    atoms = waters(1, 1, 2)
    atoms.positions[4] = atoms.positions[0]
    with pytest.raises(ValueError, match="are at the same place"):
        calculator.get_heat_flux(atoms)
