"""The engine agrees with the reference data in `double`, and `mixed` agrees with `double`."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tolerances
from reference_data import (
    ENERGY_COMPONENTS,
    INTERMEDIATES,
    LARGE_SYSTEMS,
    SYSTEMS,
    ReferenceSystem,
    load_intermediates,
    load_system,
)

from so3md._engine import Engine, Model
from so3md.loading import load_model

REFERENCE = tolerances.REFERENCE


def evaluate(model: Model, system: ReferenceSystem, **options) -> dict:
    engine = Engine(model, lr_cutoff=system.lr_cutoff, lr_damping=system.lr_damping, **options)
    return engine.evaluate(**system.structure)


@pytest.fixture(scope="module")
def so3lr(so3lr_path: Path) -> Model:
    return Model(str(so3lr_path))


@pytest.mark.parametrize("name", SYSTEMS + LARGE_SYSTEMS)
def test_double_agrees_with_reference(so3lr: Model, name: str) -> None:
    system = load_system(name)
    expected = system.expected
    result = evaluate(so3lr, system, precision="double")
    atoms = len(system.numbers)

    assert abs(result["energy"] - expected["energy"]) / atoms < REFERENCE.energy_per_atom
    for component in ENERGY_COMPONENTS:
        difference = result["energy_components"][component] - expected[f"energy_{component}"]
        assert abs(difference) < REFERENCE.component, component
    np.testing.assert_allclose(result["forces"], expected["forces"], rtol=0, atol=REFERENCE.forces)
    if "node_energies" in expected:
        np.testing.assert_allclose(result["energies"], expected["node_energies"], rtol=0, atol=REFERENCE.component)
    if "partial_charges" in expected:
        np.testing.assert_allclose(result["charges"], expected["partial_charges"], rtol=0, atol=REFERENCE.charges)
        np.testing.assert_allclose(
            result["hirshfeld_ratios"], expected["hirshfeld_ratios"], rtol=0, atol=REFERENCE.charges
        )
    if "stress" in expected:
        stress = result["virial"] / abs(np.linalg.det(system.cell))
        np.testing.assert_allclose(stress, expected["stress"], rtol=0, atol=REFERENCE.stress)


@pytest.mark.parametrize("name", INTERMEDIATES)
def test_features_of_every_layer_agree_with_reference(so3lr: Model, name: str) -> None:
    system = load_intermediates(name)
    expected = system.expected
    engine = Engine(so3lr, precision="double", lr_cutoff=system.lr_cutoff, lr_damping=system.lr_damping)
    found = engine.intermediates(**system.structure)
    # The reference may point displacements the other way; that turns the sign of coordinates of odd degree.
    i, j = expected["edge_i"], expected["edge_j"]
    forward = np.allclose(expected["vectors"], system.positions[j] - system.positions[i])
    parity = np.concatenate([np.full(2 * degree + 1, 1.0 if forward else (-1.0) ** degree) for degree in (1, 2, 3, 4)])
    for layer in range(3):
        prefix = f"layer{layer}_"
        pairs = {
            "x_in": expected[prefix + "x_in"],
            "chi_in": expected[prefix + "chi_in"] * parity,
            "x_attended": expected[prefix + "x_in"] + expected[prefix + "dx_att"],
            "chi_attended": (expected[prefix + "chi_in"] + expected[prefix + "dchi_att"]) * parity,
            "x_out": expected[prefix + "x_out"],
            "chi_out": expected[prefix + "chi_out"] * parity,
        }
        for key, value in pairs.items():
            np.testing.assert_allclose(
                found[prefix + key], value, rtol=0, atol=REFERENCE.features, err_msg=prefix + key
            )


def relative_force_errors(found: np.ndarray, expected: np.ndarray, floor: float = 0.0) -> np.ndarray:
    """Of every atom on which a force acts; forces below `floor` (eV/A) are measured by the floor."""
    size = np.linalg.norm(expected, axis=1)
    moved = size > 0
    return np.linalg.norm(found - expected, axis=1)[moved] / np.maximum(size[moved], floor)


@pytest.mark.parametrize("name", SYSTEMS + LARGE_SYSTEMS)
def test_mixed_agrees_with_double(so3lr: Model, name: str) -> None:
    system = load_system(name)
    mixed = evaluate(so3lr, system, precision="mixed")
    atoms = len(system.numbers)
    assert abs(mixed["energy"] - system.expected["energy"]) / atoms < tolerances.MIXED_ENERGY_PER_ATOM
    worst = np.linalg.norm(mixed["forces"] - system.expected["forces"], axis=1).max()
    assert worst < tolerances.MIXED_WORST_FORCE


def test_median_relative_force_error_of_mixed(so3lr: Model) -> None:
    """Over all atoms of all systems as it is; of each system with forces at rest measured by the floor."""
    errors = []
    for name in SYSTEMS + LARGE_SYSTEMS:
        system = load_system(name)
        found, expected = evaluate(so3lr, system, precision="mixed")["forces"], system.expected["forces"]
        errors.append(relative_force_errors(found, expected))
        if len(errors[-1]):
            median = np.median(relative_force_errors(found, expected, tolerances.MIXED_FORCES_AT_REST))
            assert median < tolerances.MIXED_MEDIAN_RELATIVE_FORCE, name
    assert np.median(np.concatenate(errors)) < tolerances.MIXED_MEDIAN_RELATIVE_FORCE


def test_tabulated_filters_agree_with_their_networks(so3lr: Model) -> None:
    """In double precision, so that only the tables differ; the bound is that of the error which the engine reports."""
    system = load_system("water_64")
    exact = evaluate(so3lr, system, precision="double", tabulate=False)
    tabulated = evaluate(so3lr, system, precision="double", tabulate=True)
    np.testing.assert_allclose(tabulated["forces"], exact["forces"], rtol=0, atol=tolerances.TABLE_FORCES)
    error = Engine(so3lr).info()["table_error"]
    assert error["value"] < tolerances.TABLE_VALUE * error["scale"]
    assert error["derivative"] < tolerances.TABLE_DERIVATIVE * error["scale"]
    assert Engine(so3lr, precision="double").info()["table_error"] is None


@pytest.mark.parametrize("name", ["so3lr", "so3lr-fast"])
@pytest.mark.parametrize("threads", [1, 2])
def test_filters_that_are_kept_for_the_adjoint_are_those_that_are_worked_out_again(name: str, threads: int) -> None:
    """To the bit, so that a run may go on where there is more, or less, memory for them."""
    model, system = load_model(name), load_system("water_64")
    kept, again = (evaluate(model, system, threads=threads, keep_filters=keep) for keep in (True, False))
    for quantity in ("energy", "forces", "virial"):
        np.testing.assert_array_equal(kept[quantity], again[quantity])


def test_filters_of_networks_without_tables_are_never_kept(so3lr: Model) -> None:
    system = load_system("ethanol")
    kept, again = (evaluate(so3lr, system, tabulate=False, keep_filters=keep) for keep in (True, False))
    np.testing.assert_array_equal(kept["forces"], again["forces"])


def test_empty_system(so3lr: Model) -> None:
    result = Engine(so3lr).evaluate(np.zeros(0, int), np.zeros((0, 3)), np.zeros((3, 3)), [False] * 3)
    assert result["energy"] == 0.0
    assert result["forces"].shape == (0, 3)


def test_info_counts(so3lr: Model) -> None:
    system = load_system("ethanol")
    engine = Engine(so3lr, threads=1)
    for _ in range(3):
        engine.evaluate(**system.structure)
    info = engine.info()
    assert info["evaluations"] == 3
    assert info["neighbour_rebuilds"] == 1
    assert info["threads"] == 1
    assert set(info["stage_seconds"]) >= {"neighbours", "attention", "attention adjoint", "long range"}
