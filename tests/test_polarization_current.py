"""The current of polarization is d/dt of the dipole, and in periodic structures does not depend on images."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ase.build import molecule
from lammps_comparison import waters
from parallel_runs import run_checks
from test_heat_flux import EVERY_VARIANT, LOCAL, crystal, derivative, engine_of, ethanol_like, unfolded, velocities_of
from tolerances import EXACT, FINITE_DIFFERENCE_FLUX, RANKS

from so3md import So3kratesCalculator

WITH_CHARGES = {name: options for name, options in EVERY_VARIANT.items() if options.get("charge_head", True)}


@pytest.mark.parametrize("variant", WITH_CHARGES)
def test_current_of_a_molecule(toy_model: Callable[..., Path], variant: str) -> None:
    engine, structure = engine_of(toy_model(seed=1, **WITH_CHARGES[variant])), ethanol_like()
    v = velocities_of(structure)
    flow = derivative(engine, structure, v, "charges") @ structure["positions"]
    expected = engine.evaluate(**structure)["charges"] @ v + flow
    current = engine.polarization_current(**structure, velocities=v)
    np.testing.assert_allclose(current, expected, rtol=0, atol=FINITE_DIFFERENCE_FLUX)
    assert np.abs(flow).max() > 1e4 * FINITE_DIFFERENCE_FLUX


@pytest.mark.parametrize("pbc", [(True, True, True), (True, False, True)], ids=["crystal", "slab"])
def test_current_of_a_crystal_is_that_of_its_unfolded_images(
    toy_model: Callable[..., Path], pbc: tuple[bool, bool, bool]
) -> None:
    """sum_i sum_j (r_i - r_j) dc_i/dr_j . v_j, by moving every image j at once at v_j, and at r_j v_j."""
    overrides = LOCAL | {"cutoff": 2.5, "charge_embedding": False, "spin_embedding": False}
    engine = engine_of(toy_model(seed=6, **overrides), 4.0)
    structure = crystal(pbc)
    v = velocities_of(structure)
    relative = v - v.mean(axis=0)
    cluster, atom = unfolded(structure, 2 * 2.5)
    # An atom far from all, whose charge changes only by the share in what others leave over, shows that share.
    cluster["numbers"] = np.append(cluster["numbers"], 6)
    cluster["positions"] = np.vstack([cluster["positions"], [[90.0, 0, 0]]])
    home = slice(len(v))

    def raw_rates(displacements: np.ndarray) -> np.ndarray:
        rates = derivative(engine, cluster, np.vstack([displacements, np.zeros(3)]), "charges")
        return rates[home] - rates[-1]

    along = raw_rates(relative[atom])
    flow = structure["positions"].T @ along
    for a in range(3):
        flow[a] -= raw_rates(cluster["positions"][:-1, a : a + 1] * relative[atom]).sum()
    if not pbc[1]:  # across the slab, d/dt of the dipole
        normal = np.cross(structure["cell"][2], structure["cell"][0])
        normal /= np.linalg.norm(normal)
        across = (structure["positions"] - structure["positions"].mean(axis=0)) @ normal
        flow += normal * (across @ along - flow @ normal)
    expected = engine.evaluate(**structure)["charges"] @ v + flow
    current = engine.polarization_current(**structure, velocities=v)
    np.testing.assert_allclose(current, expected, rtol=0, atol=FINITE_DIFFERENCE_FLUX)
    assert np.abs(flow).max() > 1e4 * FINITE_DIFFERENCE_FLUX


# --- what symmetry demands --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("structure", [ethanol_like(), crystal()], ids=["molecule", "crystal"])
def test_a_structure_that_moves_as_a_whole(toy_model: Callable[..., Path], structure: dict[str, Any]) -> None:
    """The current is then that of the total charge, which is 1."""
    w = np.array([0.3, -0.7, 0.5])
    current = engine_of(toy_model(seed=2)).polarization_current(**structure, velocities=np.tile(w, (9, 1)))
    np.testing.assert_allclose(current, w, rtol=0, atol=EXACT.component)


@pytest.mark.parametrize("structure", [ethanol_like(), crystal()], ids=["molecule", "crystal"])
def test_rotation(toy_model: Callable[..., Path], structure: dict[str, Any]) -> None:
    engine = engine_of(toy_model(seed=2))
    rotation, _ = np.linalg.qr(np.random.default_rng(0).normal(size=(3, 3)))
    v = velocities_of(structure)
    turned = structure | {key: structure[key] @ rotation for key in ("positions", "cell")}
    current = engine.polarization_current(**structure, velocities=v)
    turned_current = engine.polarization_current(**turned, velocities=v @ rotation)
    np.testing.assert_allclose(turned_current, current @ rotation, rtol=0, atol=EXACT.component)


def test_atoms_may_stand_in_any_cell(toy_model: Callable[..., Path]) -> None:
    engine, structure = engine_of(toy_model(seed=2)), crystal()
    v = velocities_of(structure)
    moved = structure["positions"] + np.random.default_rng(5).integers(-2, 3, size=(9, 3)) @ structure["cell"]
    current = engine.polarization_current(**structure, velocities=v)
    elsewhere = engine.polarization_current(**structure | {"positions": moved}, velocities=v)
    np.testing.assert_allclose(elsewhere, current, rtol=0, atol=EXACT.component)


def test_supercell(toy_model: Callable[..., Path]) -> None:
    """Twice the cell has twice the current."""
    engine, structure = engine_of(toy_model(seed=2, charge_embedding=False, spin_embedding=False)), crystal()
    v = velocities_of(structure)
    double = structure | {
        "numbers": np.tile(structure["numbers"], 2),
        "positions": np.concatenate([structure["positions"], structure["positions"] + structure["cell"][0]]),
        "cell": structure["cell"] * np.array([[2], [1], [1]]),
        "charge": 2 * structure["charge"],
    }
    once = engine.polarization_current(**structure, velocities=v)
    twice = engine.polarization_current(**double, velocities=np.tile(v, (2, 1)))
    np.testing.assert_allclose(twice, 2 * once, rtol=0, atol=EXACT.component)


# --- the calculator ---------------------------------------------------------------------------------------------------


def test_born_charges_are_changes_of_forces_by_a_field() -> None:
    """Of a molecule; two ways to the derivatives of the dipole, with nothing in common but the charges."""
    atoms = molecule("CH3CH2OH")
    atoms.rattle(0.05, seed=2)
    born = So3kratesCalculator(precision="double", threads=1).get_born_charges(atoms)
    for axis in range(3):
        forces = []
        for field in (np.zeros(3), np.eye(3)[axis]):
            atoms.calc = So3kratesCalculator(precision="double", threads=1, electric_field=field)
            forces.append(atoms.get_forces())
        np.testing.assert_allclose(born[:, axis], forces[1] - forces[0], rtol=0, atol=EXACT.forces)
    np.testing.assert_allclose(born.sum(axis=0), np.zeros((3, 3)), rtol=0, atol=EXACT.component)


def test_currents_of_all_sums_of_charges_are_the_same() -> None:
    """Charges do not depend on how they interact."""
    atoms = waters(2, 2, 2)
    kept = So3kratesCalculator(precision="double", threads=1)
    atoms.calc = kept
    atoms.get_forces()
    results = dict(kept.results)
    current = kept.get_polarization_current(atoms)
    assert kept.results == results
    for options in ({"coulomb": "ewald"}, {"dispersion_tail": True}, {"threads": 3}):
        other = So3kratesCalculator(**{"precision": "double", "threads": 1} | options)
        np.testing.assert_array_equal(other.get_polarization_current(atoms), current)


def test_a_molecule_in_a_box_has_nearly_the_current_of_the_molecule() -> None:
    """But for what charges leave over, which in a periodic box comes from everywhere."""
    atoms = molecule("H2O")
    atoms.set_velocities(np.random.default_rng(3).normal(size=(3, 3)) * 0.01)
    alone = So3kratesCalculator(precision="double", threads=1).get_polarization_current(atoms)
    atoms.set_cell([30, 30, 30])
    atoms.pbc = True
    boxed = So3kratesCalculator(precision="double", threads=1).get_polarization_current(atoms)
    assert 0 < np.abs(boxed - alone).max() < 0.01 * np.abs(alone).max()


@pytest.mark.skipif(importlib.util.find_spec("mpi4py") is None, reason="mpi4py is not installed")
@pytest.mark.parametrize("ranks", [1, 2, 3])
def test_ranks_do_not_matter(ranks: int, tmp_path: Path) -> None:
    report = run_checks("parallel_polarization_current.py", ranks, tmp_path)
    assert len(report) > 3
    for key, difference in report.items():
        assert difference < RANKS.component, key


def test_what_has_no_current_is_refused(toy_model: Callable[..., Path]) -> None:
    atoms = molecule("H2O")
    with pytest.raises(ValueError, match="a current of polarization needs velocities, and this structure has none"):
        So3kratesCalculator().get_polarization_current(atoms)
    atoms.set_velocities(np.ones((3, 3)))
    bare = toy_model(charge_head=None, electrostatics=None)
    with pytest.raises(ValueError, match="models with charges, and this one has none"):
        So3kratesCalculator(bare, threads=1).get_polarization_current(atoms)
    with pytest.raises(ValueError, match="so3krates-2022: use another model"):
        So3kratesCalculator(toy_model(architecture="so3krates-2022"), threads=1).get_polarization_current(atoms)
