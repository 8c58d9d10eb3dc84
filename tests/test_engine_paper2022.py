"""The architecture of the original paper in the engine: the torch reference model, attention in the space of
coordinates. The original's numbers are in `test_engine_parity.py`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tolerances
from ase import Atoms
from ase.build import molecule
from paper_models import (
    assert_same_bits_for_any_number_of_threads,
    random_gas,
    structure_of,
    water,
)
from toy_models import VARIANTS_2022, make_toy_model, write_toy_model

from so3md import evaluate_many
from so3md._engine import Engine, Model
from so3md.model_file import PAPER_2022

EXACT = tolerances.EXACT

#: A layer goes four times through all pairs: for the normalisers, for the attention, and for both in reverse.
SEARCHES = 4


def toy(folder: Path, seed: int = 0, **overrides: Any) -> Model:
    return Model(write_toy_model(folder / "toy.safetensors", seed, architecture=PAPER_2022, **overrides))


def assert_same(found: dict[str, Any], expected: dict[str, Any], tolerance: tolerances.Tolerance) -> None:
    """Energies, forces and virial; the virial with the tolerance of forces times 10 A, for each atom."""
    atoms = len(expected["forces"])
    np.testing.assert_allclose(found["energies"], expected["energies"], rtol=0, atol=tolerance.energy_per_atom)
    np.testing.assert_allclose(found["forces"], expected["forces"], rtol=0, atol=tolerance.forces)
    np.testing.assert_allclose(found["virial"], expected["virial"], rtol=0, atol=10.0 * atoms * tolerance.forces)


class TestAgainstReferenceModel:
    """The torch model differentiates by itself, and knows nothing of blocks and tiles."""

    @staticmethod
    def reference(seed: int, **overrides: Any) -> Any:
        torch = pytest.importorskip("torch", reason="the reference model needs PyTorch (extra 'torch')")
        from so3md.reference import reference_model

        return reference_model(make_toy_model(seed, architecture=PAPER_2022, **overrides), torch.float64)

    @pytest.mark.parametrize("variant", VARIANTS_2022)
    @pytest.mark.parametrize("periodic", [False, True])
    def test_every_option(self, variant: str, periodic: bool, tmp_path: Path) -> None:
        atoms = molecule("CH3COOH")
        atoms.rattle(0.1, seed=1)
        atoms.positions += np.repeat([[0.0, 0.0, 0.0], [4.0, 3.0, 1.0]], 4, axis=0)  # some pairs beyond the cutoff
        if periodic:
            atoms.set_cell([[9.9, 0.3, 0.0], [4.2, 9.6, -0.4], [0.5, 4.1, 9.0]])
            atoms.pbc = (True, True, False)
        structure = structure_of(atoms, charge=-1.0, spin=0.5)
        options = VARIANTS_2022[variant]
        expected = self.reference(3, **options).evaluate(**structure)
        found = Engine(toy(tmp_path, 3, **options), precision="double").evaluate(**structure)
        assert_same(found, expected, EXACT)

    def test_two_hundred_atoms(self, tmp_path: Path) -> None:
        structure = structure_of(random_gas(200, 14.0))
        engine = Engine(toy(tmp_path, 1), precision="double")
        assert_same(engine.evaluate(**structure), self.reference(1).evaluate(**structure), EXACT)
        # There is something to test: distant pairs with weight, and pairs without.
        pairs = engine.info()["nonlocal_pairs"]
        assert 0 < pairs["evaluated"] < pairs["all"] / 2

    @pytest.mark.parametrize("skew", [0.0, 4.0])
    def test_periodic_water(self, skew: float, tmp_path: Path) -> None:
        structure = structure_of(water(4, skew))
        found = Engine(toy(tmp_path, 2), precision="double").evaluate(**structure)
        assert_same(found, self.reference(2).evaluate(**structure), EXACT)


class TestDerivatives:
    @pytest.mark.parametrize("variant", ["default", "static", "norms", "local"])
    def test_forces_and_stress(self, variant: str, tmp_path: Path) -> None:
        atoms = water(3, 1.0)
        engine = Engine(toy(tmp_path, 4, **VARIANTS_2022[variant]), precision="double")
        rng = np.random.default_rng(6)
        direction, strain = rng.standard_normal(atoms.positions.shape), rng.standard_normal((3, 3))
        direction, strain = direction / np.linalg.norm(direction), strain / np.linalg.norm(strain)
        found = engine.evaluate(**structure_of(atoms))

        def energy(displacement: float, strained: float) -> float:
            moved = atoms.copy()
            moved.positions += displacement * direction
            moved.set_cell(moved.cell.array @ (np.eye(3) + strained * strain), scale_atoms=True)
            return engine.evaluate(**structure_of(moved))["energy"]

        step = tolerances.FINITE_DIFFERENCE_STEP
        slope = (energy(step, 0.0) - energy(-step, 0.0)) / (2 * step)
        assert abs(slope + (found["forces"] * direction).sum()) < tolerances.FINITE_DIFFERENCE_FORCES
        slope = (energy(0.0, step) - energy(0.0, -step)) / (2 * step)
        difference = (slope - (found["virial"] * strain).sum()) / atoms.get_volume()
        assert abs(difference) < tolerances.FINITE_DIFFERENCE_STRESS


class TestNonlocalSearch:
    @pytest.mark.parametrize(
        "cutoff", [{"type": "dynamic"}, {"type": "static", "cutoff": 0.003}], ids=["1/n", "static"]
    )
    @pytest.mark.parametrize("precision", ["double", "mixed"])
    def test_skipping_changes_nothing(self, cutoff: dict, precision: str, tmp_path: Path) -> None:
        """Pairs left out by bounds have no weight: with and without them, only the order of sums differs."""
        structure = structure_of(random_gas(300, 17.0))
        model = toy(tmp_path, 1, **{"nonlocal": cutoff})
        skipping = Engine(model, precision=precision)
        everything = Engine(model, precision=precision, skip_nonlocal=False)
        found, expected = skipping.evaluate(**structure), everything.evaluate(**structure)
        if precision == "double":
            assert_same(found, expected, EXACT)
        else:
            tolerances.assert_within(tolerances.rounding(model, structure), found, expected)
        few, all_ = skipping.info()["nonlocal_pairs"], everything.info()["nonlocal_pairs"]
        assert few["evaluated"] < all_["evaluated"]
        assert few["measured"] <= all_["measured"]

    def test_counters(self, tmp_path: Path) -> None:
        structure = structure_of(random_gas(50, 10.0))
        engine = Engine(toy(tmp_path, 1), precision="double", skip_nonlocal=False)
        engine.evaluate(**structure)
        pairs = engine.info()["nonlocal_pairs"]
        assert pairs["all"] == 50 * 49 * SEARCHES * 2  # layers
        apart = np.linalg.norm(structure["positions"][:, None] - structure["positions"], axis=-1)
        beyond = int((apart >= 4.0).sum())
        assert pairs["evaluated"] == 2 * 2 * beyond  # forward and adjoint, layers

    def test_local_models_have_no_counters(self, tmp_path: Path) -> None:
        assert "nonlocal_pairs" not in Engine(toy(tmp_path, **VARIANTS_2022["local"])).info()

    @pytest.mark.parametrize("count", [1, 2])
    def test_one_and_two_atoms(self, count: int, tmp_path: Path) -> None:
        atoms = Atoms([6, 8][:count], [[0.0, 0.0, 0.0], [7.0, 1.0, 0.0]][:count])
        found = Engine(toy(tmp_path), precision="double").evaluate(**structure_of(atoms))
        expected = TestAgainstReferenceModel.reference(0).evaluate(**structure_of(atoms))
        assert_same(found, expected, EXACT)

    def test_atoms_at_the_cutoff(self, tmp_path: Path) -> None:
        """Of a cube with an edge that is the cutoff, and its images, no pair may be lost or counted twice."""
        atoms = Atoms("CO" * 13 + "C", positions=4.0 * np.array(list(np.ndindex(3, 3, 3))), cell=[12.5] * 3, pbc=True)
        found = Engine(toy(tmp_path), precision="double").evaluate(**structure_of(atoms))
        atoms.positions += 5.3  # other roundings
        again = Engine(toy(tmp_path), precision="double").evaluate(**structure_of(atoms))
        assert_same(again, found, EXACT)

    @pytest.mark.parametrize("edge", [5.0, 7.99])
    def test_cell_with_several_images_in_reach(self, edge: float, tmp_path: Path) -> None:
        atoms = Atoms("CO", [[0, 0, 0], [1.2, 0, 0]], cell=[20.0, edge, 20.0], pbc=True)
        message = "sees only the nearest image of every atom, so that it needs more than twice the cutoff, which is 8 A"
        with pytest.raises(ValueError, match=message):
            Engine(toy(tmp_path)).evaluate(**structure_of(atoms))
        atoms.pbc = (True, False, True)
        Engine(toy(tmp_path)).evaluate(**structure_of(atoms))
        atoms.pbc = True
        Engine(toy(tmp_path, **VARIANTS_2022["local"])).evaluate(**structure_of(atoms))


def test_tables_stand_for_radial_networks(tmp_path: Path) -> None:
    model, structure = toy(tmp_path, 1), structure_of(random_gas(400, 20.0))
    found = Engine(model, precision="mixed", tabulate=True)
    networks = Engine(model, precision="mixed", tabulate=False)
    assert found.info()["tabulated"]
    assert not networks.info()["tabulated"]
    assert networks.info()["table_error"] is None
    error = found.info()["table_error"]
    assert 0 < error["value"] < 1e-6 * error["scale"]
    bounds = tolerances.rounding(model, structure)
    tolerances.assert_within(bounds, found.evaluate(**structure), networks.evaluate(**structure))


def test_networks_where_tables_are_not_good_enough(tmp_path: Path) -> None:
    fast = {"radial_basis": {"type": "phys", "size": 400}}
    model, structure = toy(tmp_path, 1, **fast), structure_of(random_gas(60, 9.0))
    with pytest.warns(UserWarning, match="change too fast for tables"):
        engine = Engine(model, precision="mixed")
    assert not engine.info()["tabulated"]
    exact = Engine(model, precision="double").evaluate(**structure)
    tolerances.assert_within(tolerances.rounding(model, structure), engine.evaluate(**structure), exact)


def test_the_first_layer_does_not_ask_which_elements_are_there(tmp_path: Path) -> None:
    """Rows of pairs of elements are made for those that a structure has, in whatever order they come."""
    model = toy(tmp_path, 2)
    apart = random_gas(120, 12.0)
    engine = Engine(model, precision="double")
    together = engine.evaluate(**structure_of(apart))
    order = np.random.default_rng(5).permutation(len(apart))
    mixed_up = engine.evaluate(**structure_of(apart[order]))
    np.testing.assert_allclose(mixed_up["forces"], together["forces"][order], rtol=0, atol=EXACT.forces)
    for number in sorted(set(apart.numbers)):  # one element alone, as the last of several and as the only one
        alone = apart[apart.numbers == number]
        expected = Engine(model, precision="double").evaluate(**structure_of(alone))
        found = engine.evaluate(**structure_of(alone))
        np.testing.assert_array_equal(found["forces"], expected["forces"])


@pytest.mark.parametrize("precision", ["double", "mixed"])
def test_same_bits_for_any_number_of_threads(precision: str, tmp_path: Path) -> None:
    assert_same_bits_for_any_number_of_threads(toy(tmp_path, 1), precision)


def test_mixed_agrees_with_double(tmp_path: Path) -> None:
    model, structure = toy(tmp_path, 1), structure_of(random_gas(400, 20.0))
    expected = Engine(model, precision="double").evaluate(**structure)
    found = Engine(model, precision="mixed").evaluate(**structure)
    tolerances.assert_within(tolerances.rounding(model, structure), found, expected)


@pytest.mark.filterwarnings("ignore::so3md.charge_and_spin.OddElectronsWarning")
@pytest.mark.parametrize("variant", ["default", "static", "charge_and_spin"])
def test_batches_are_separate_systems(variant: str, tmp_path: Path) -> None:
    """No pair of two systems, and n of each system: as if each were alone."""
    path = write_toy_model(tmp_path / "toy.safetensors", 1, architecture=PAPER_2022, **VARIANTS_2022[variant])
    structures = [random_gas(count, 8.0, seed) for seed, count in enumerate((1, 5, 40, 12, 30))]
    structures.append(water(3, 1.0))
    small = water(2)
    engine = Engine(Model(path), precision="double")
    for atoms, found in zip(structures, evaluate_many(structures, path, precision="double"), strict=True):
        alone = engine.evaluate(**structure_of(atoms))
        np.testing.assert_allclose(found.forces, alone["forces"], rtol=0, atol=EXACT.forces)
        assert abs(found.energy - alone["energy"]) < EXACT.component
    errors: dict[int, str] = {}
    outcome = list(evaluate_many([small, *structures], path, on_error=lambda at, e: errors.update({at: str(e)})))
    assert outcome[0] is None
    assert all(one is not None for one in outcome[1:])
    assert "nearest image" in errors[0]
