"""Every option of a model: the engine agrees with the torch reference model, and forces with finite differences."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tolerances
from toy_models import ETHANOL_LIKE, VARIANTS, VARIANTS_2023, VARIANTS_SO3LR2

from so3md._engine import Engine, Model

torch = pytest.importorskip("torch", reason="the reference model needs torch (extra 'torch')")

from so3md.reference import ReferenceModel  # noqa: E402

EXACT = tolerances.EXACT
EVERY_VARIANT = VARIANTS | VARIANTS_2023 | VARIANTS_SO3LR2


def molecule() -> dict:
    """Ethanol-like, with every element of the toy models, off its equilibrium; a charged doublet."""
    rng = np.random.default_rng(5)
    numbers = np.array([6, 6, 8, 1, 1, 1, 1, 1, 1])
    positions = ETHANOL_LIKE + rng.normal(0, 0.05, ETHANOL_LIKE.shape)
    return {
        "numbers": numbers,
        "positions": positions,
        "cell": np.zeros((3, 3)),
        "pbc": np.zeros(3, bool),
        "charge": 1.0,
        "spin": 0.5,
    }


def crystal() -> dict:
    """A skewed cell thinner than the cutoffs, so that atoms meet their own images."""
    structure = molecule()
    structure["cell"] = np.array([[5.2, 0.0, 0.0], [1.3, 4.6, 0.0], [-0.8, 0.9, 4.9]])
    structure["pbc"] = np.ones(3, bool)
    structure["charge"], structure["spin"] = -1.0, 1.0
    return structure


@pytest.mark.parametrize("structure", [molecule(), crystal()], ids=["molecule", "crystal"])
@pytest.mark.parametrize("variant", EVERY_VARIANT)
def test_double_agrees_with_torch(toy_model: Callable[..., Path], variant: str, structure: dict) -> None:
    path = toy_model(seed=3, **EVERY_VARIANT[variant])
    expected = ReferenceModel.from_file(path).evaluate(**structure, lr_cutoff=7.0, lr_damping=1.5)
    engine = Engine(Model(str(path)), precision="double", lr_cutoff=7.0, lr_damping=1.5)
    result = engine.evaluate(**structure)
    assert abs(result["energy"] - float(expected["energy"])) < EXACT.component
    np.testing.assert_allclose(result["energies"], expected["energies"], rtol=0, atol=EXACT.component)
    np.testing.assert_allclose(result["forces"], expected["forces"], rtol=0, atol=EXACT.forces)
    np.testing.assert_allclose(result["virial"], expected["virial"], rtol=0, atol=EXACT.component)
    for key in ("charges", "hirshfeld_ratios", "c6_ratios"):
        assert (key in result) == (expected.get(key) is not None)
        if key in result:
            np.testing.assert_allclose(result[key], expected[key], rtol=0, atol=EXACT.charges)


@pytest.mark.parametrize("variant", EVERY_VARIANT)
def test_mixed_and_tables_agree_with_double(toy_model: Callable[..., Path], variant: str) -> None:
    """`relu` makes kinks that a spline rounds off: there the tables only have to be as good as they say."""
    model = Model(str(toy_model(seed=3, **EVERY_VARIANT[variant])))
    structure = crystal()
    options = {"lr_cutoff": 7.0, "lr_damping": 1.5}
    exact = Engine(model, precision="double", **options).evaluate(**structure)
    single = Engine(model, precision="mixed", tabulate=False, **options).evaluate(**structure)
    tabulated = Engine(model, precision="double", tabulate=True, **options)
    scale = np.abs(exact["forces"]).max()
    tolerances.assert_within(tolerances.rounding(model, structure, **options), single, exact)
    table_error = tabulated.info()["table_error"]
    bound = tolerances.TABLE_AMPLIFICATION * table_error["derivative"] / table_error["scale"]
    difference = np.abs(tabulated.evaluate(**structure)["forces"] - exact["forces"]).max()
    assert difference < max(bound * scale, EXACT.forces)


@pytest.mark.parametrize("precision_options", [{"tabulate": False}, {"tabulate": True}], ids=["exact", "tabulated"])
@pytest.mark.parametrize("variant", EVERY_VARIANT)
def test_forces_and_virial_are_derivatives_of_the_energy(
    toy_model: Callable[..., Path], variant: str, precision_options: dict
) -> None:
    engine = Engine(
        Model(str(toy_model(seed=4, **EVERY_VARIANT[variant]))),
        precision="double",
        lr_cutoff=6.0,
        lr_damping=1.5,
        **precision_options,
    )
    structure = crystal()
    result = engine.evaluate(**structure)
    step = tolerances.FINITE_DIFFERENCE_STEP

    def energy(positions: np.ndarray, cell: np.ndarray) -> float:
        return engine.evaluate(**structure | {"positions": positions, "cell": cell}, forces=False)["energy"]

    def slope(change: Callable[[float], float]) -> float:
        """Fourth-order central difference."""
        near = (change(step) - change(-step)) / (2 * step)
        far = (change(2 * step) - change(-2 * step)) / (4 * step)
        return (4 * near - far) / 3

    positions, cell = structure["positions"], structure["cell"]
    scale = max(1.0, np.abs(result["forces"]).max())
    for atom, axis in [(0, 0), (2, 1), (5, 2), (8, 0)]:
        shift = np.zeros_like(positions)
        shift[atom, axis] = 1.0
        numeric = -slope(lambda h, shift=shift: energy(positions + h * shift, cell))
        assert abs(numeric - result["forces"][atom, axis]) < tolerances.FINITE_DIFFERENCE_FORCES * scale
    for a, b in [(0, 0), (1, 2), (2, 0)]:
        strain = np.zeros((3, 3))
        strain[a, b] = 1.0

        def strained(h: float, strain: np.ndarray = strain) -> float:
            deformation = np.eye(3) + h * strain
            return energy(positions @ deformation, cell @ deformation)

        volume = abs(np.linalg.det(cell))
        difference = (slope(strained) - result["virial"][a, b]) / volume
        assert abs(difference) < tolerances.FINITE_DIFFERENCE_STRESS * scale
