"""The GPU engine gives the numbers of the CPU engine: the same tests for GPUs and for the emulation of its kernels."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tolerances
from parallel_threads import ThreadedEngines
from reference_data import ENERGY_COMPONENTS, load_intermediates, load_system
from scipy.spatial.transform import Rotation
from toy_models import VARIANTS, VARIANTS_SO3LR2

from so3md._engine import Engine, Model

DEVICE = tolerances.DEVICE

#: Molecules with and without cutoff, charged ones, an atom alone, and pairs at several distances.
MOLECULES = ["ethanol", "ethanol_nocut", "ammonium_p1", "acetate_m1_spin1", "nh4cl_m1", "atom_C", "h2_0.25", "h2_13"]


@pytest.fixture(scope="module")
def so3lr(so3lr_path: Path) -> Model:
    return Model(str(so3lr_path))


def crystal(copies: tuple[int, int, int] = (1, 1, 1)) -> dict[str, Any]:
    """Six atoms in a skewed cell that is thinner than the cutoffs, so that atoms meet their own images."""
    rng = np.random.default_rng(11)
    cell = np.array([[4.9, 0.0, 0.0], [1.3, 4.6, 0.0], [-0.8, 0.9, 5.1]])
    fractions = np.array(
        [[0.1, 0.1, 0.1], [0.3, 0.15, 0.12], [0.55, 0.5, 0.4], [0.72, 0.61, 0.45], [0.4, 0.8, 0.8], [0.2, 0.6, 0.7]]
    )
    positions = fractions @ cell + rng.normal(0, 0.03, (6, 3))
    shifts = [np.array([a, b, c]) @ cell for a in range(copies[0]) for b in range(copies[1]) for c in range(copies[2])]
    return {
        "numbers": np.tile([6, 1, 8, 1, 6, 1], len(shifts)),
        "positions": np.concatenate([positions + shift for shift in shifts]),
        "cell": cell * np.array(copies)[:, None],
        "pbc": np.ones(3, bool),
        "charge": 0.0,
        "spin": 0.0,
    }


def assert_same(found: dict, expected: dict, tolerance: tolerances.Tolerance = DEVICE, scale: float = 1.0) -> None:
    """`scale`: size of the largest force, eV/A, where it is above one."""
    atoms = max(1, len(expected["energies"]))
    assert abs(found["energy"] - expected["energy"]) / atoms < tolerance.energy_per_atom * scale
    for component, value in expected["energy_components"].items():
        assert abs(found["energy_components"][component] - value) < tolerance.component * scale, component
    np.testing.assert_allclose(found["energies"], expected["energies"], rtol=0, atol=tolerance.component * scale)
    np.testing.assert_allclose(found["forces"], expected["forces"], rtol=0, atol=tolerance.forces * scale)
    np.testing.assert_allclose(found["virial"], expected["virial"], rtol=0, atol=tolerance.component * scale)
    for key in ("charges", "hirshfeld_ratios"):
        assert (key in found) == (key in expected)
        if key in expected:
            np.testing.assert_allclose(found[key], expected[key], rtol=0, atol=tolerance.charges * scale)


def force_scale(result: dict) -> float:
    return max(1.0, float(np.abs(result["forces"]).max(initial=0.0)))


# --- numbers --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", MOLECULES)
def test_double_agrees_with_the_cpu_and_the_reference(so3lr: Model, device: str, name: str) -> None:
    system = load_system(name)
    options = {"precision": "double", "lr_cutoff": system.lr_cutoff, "lr_damping": system.lr_damping}
    found = Engine(so3lr, device=device, **options).evaluate(**system.structure)
    assert_same(found, Engine(so3lr, **options).evaluate(**system.structure))
    np.testing.assert_allclose(found["forces"], system.expected["forces"], rtol=0, atol=tolerances.REFERENCE.forces)
    for component in ENERGY_COMPONENTS:
        difference = found["energy_components"][component] - system.expected[f"energy_{component}"]
        assert abs(difference) < tolerances.REFERENCE.component, component


@pytest.mark.parametrize("name", MOLECULES)
def test_mixed_agrees_with_the_cpu(so3lr: Model, device: str, name: str) -> None:
    system = load_system(name)
    options = {"lr_cutoff": system.lr_cutoff, "lr_damping": system.lr_damping}
    found = Engine(so3lr, device=device, **options).evaluate(**system.structure)
    expected = Engine(so3lr, **options).evaluate(**system.structure)
    tolerances.assert_within(tolerances.rounding(so3lr, system.structure, **options), found, expected)


@pytest.mark.parametrize("precision", ["double", "mixed"])
def test_so3lr_in_a_crystal_agrees_with_the_cpu(so3lr: Model, device: str, precision: str) -> None:
    options = {"precision": precision, "lr_cutoff": 6.0}
    found = Engine(so3lr, device=device, **options).evaluate(**crystal())
    expected = Engine(so3lr, **options).evaluate(**crystal())
    if precision == "double":
        assert_same(found, expected, scale=force_scale(expected))
    else:
        tolerances.assert_within(tolerances.rounding(so3lr, crystal(), lr_cutoff=6.0), found, expected)


@pytest.mark.parametrize("variant", VARIANTS | VARIANTS_SO3LR2)
def test_every_option_of_a_model_agrees_with_the_cpu(toy_model: Callable[..., Path], device: str, variant: str) -> None:
    model = Model(str(toy_model(seed=3, **(VARIANTS | VARIANTS_SO3LR2)[variant])))
    structure = crystal() | {"charge": -1.0, "spin": 1.0}
    options = {"precision": "double", "lr_cutoff": 6.0, "lr_damping": 1.5}
    found = Engine(model, device=device, **options).evaluate(**structure)
    expected = Engine(model, **options).evaluate(**structure)
    assert_same(found, expected, scale=force_scale(expected))


def test_features_of_every_layer_agree_with_the_cpu(so3lr: Model, device: str) -> None:
    structure = load_intermediates("ethanol").structure
    found = Engine(so3lr, precision="double", device=device).intermediates(**structure)
    expected = Engine(so3lr, precision="double").intermediates(**structure)
    assert found.keys() == expected.keys()
    for key, value in expected.items():
        np.testing.assert_allclose(found[key], value, rtol=0, atol=DEVICE.features, err_msg=key)


def test_energies_without_forces(so3lr: Model, device: str) -> None:
    structure = load_system("ethanol").structure
    engine = Engine(so3lr, precision="double", device=device)
    assert engine.evaluate(**structure, forces=False)["energy"] == engine.evaluate(**structure)["energy"]


def test_empty_system(so3lr: Model, device: str) -> None:
    result = Engine(so3lr, device=device).evaluate(np.zeros(0, int), np.zeros((0, 3)), np.zeros((3, 3)), [False] * 3)
    assert result["energy"] == 0.0


# --- physics --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("tabulate", [False, True], ids=["exact", "tabulated"])
def test_forces_and_virial_are_derivatives_of_the_energy(
    toy_model: Callable[..., Path], device: str, tabulate: bool
) -> None:
    """Along a random direction of all coordinates and along a random strain."""
    model = Model(str(toy_model(seed=4)))
    engine = Engine(model, precision="double", lr_cutoff=5.0, lr_damping=1.5, tabulate=tabulate, device=device)
    structure = crystal()
    result = engine.evaluate(**structure)
    rng = np.random.default_rng(2)
    moves, strain = rng.normal(0, 1, structure["positions"].shape), rng.normal(0, 1, (3, 3))
    moves /= np.linalg.norm(moves)
    step = tolerances.FINITE_DIFFERENCE_STEP

    def energy(displacement: np.ndarray, deformation: np.ndarray) -> float:
        matrix = np.eye(3) + deformation
        changed = {"positions": structure["positions"] @ matrix + displacement, "cell": structure["cell"] @ matrix}
        return engine.evaluate(**structure | changed, forces=False)["energy"]

    def slope(change: Callable[[float], float]) -> float:
        near = (change(step) - change(-step)) / (2 * step)
        far = (change(2 * step) - change(-2 * step)) / (4 * step)
        return (4 * near - far) / 3

    scale = force_scale(result)
    along_moves = slope(lambda t: energy(t * moves, np.zeros((3, 3))))
    assert abs(along_moves + np.sum(result["forces"] * moves)) < tolerances.FINITE_DIFFERENCE_FORCES * scale
    along_strain = slope(lambda t: energy(np.zeros(3), t * strain))
    volume = abs(np.linalg.det(structure["cell"]))
    difference = abs(along_strain - np.sum(result["virial"] * strain)) / volume
    assert difference < tolerances.FINITE_DIFFERENCE_STRESS * scale


def test_rotation_inversion_translation_and_permutation(so3lr: Model, device: str) -> None:
    structure = crystal()
    engine = Engine(so3lr, precision="double", lr_cutoff=5.0, device=device)
    expected = engine.evaluate(**structure)
    turn = -Rotation.from_rotvec([0.3, -1.1, 0.7]).as_matrix()
    order = np.random.default_rng(1).permutation(len(structure["numbers"]))
    changed = {
        "numbers": structure["numbers"][order],
        "positions": (structure["positions"] @ turn.T + [3.7, -41.2, 8.9])[order],
        "cell": structure["cell"] @ turn.T,
    }
    found = engine.evaluate(**structure | changed)
    back = np.argsort(order)
    for key in ("charges", "energies", "hirshfeld_ratios"):
        found[key] = found[key][back]
    found["forces"] = (found["forces"] @ turn)[back]
    found["virial"] = turn.T @ found["virial"] @ turn
    assert_same(found, expected, tolerances.EXACT, force_scale(expected))


@pytest.mark.parametrize("precision", ["double", "mixed"])
def test_two_runs_give_the_same_bits(
    so3lr: Model, device: str, precision: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also if the emulation runs blocks and threads in the opposite order: no result depends on who comes first."""
    structure = crystal()
    first = Engine(so3lr, precision=precision, lr_cutoff=5.0, device=device).evaluate(**structure)
    monkeypatch.setenv("SO3MD_EMULATION_ORDER", "reverse")
    second = Engine(so3lr, precision=precision, lr_cutoff=5.0, device=device).evaluate(**structure)
    assert first["energy"] == second["energy"]
    for key in ("forces", "virial", "energies", "charges", "hirshfeld_ratios"):
        np.testing.assert_array_equal(first[key], second[key], err_msg=key)


def test_a_used_engine_agrees_with_a_new_one(toy_model: Callable[..., Path], device: str) -> None:
    """Moves, another cell, other atoms, and back: nothing of an earlier call shines through."""
    model = Model(str(toy_model(seed=1)))
    options = {"precision": "double", "lr_cutoff": 5.0, "lr_damping": 1.5}
    used = Engine(model, device=device, **options)
    rng = np.random.default_rng(2)
    structure = crystal()
    for step in range(4):
        structure["positions"] = structure["positions"] + rng.normal(0, 0.03, structure["positions"].shape)
        structure["cell"] = structure["cell"] * (1 + 0.002 * step)
        expected = Engine(model, **options).evaluate(**structure)
        assert_same(used.evaluate(**structure), expected, scale=force_scale(expected))
        if step == 1:
            used.evaluate(**crystal((2, 1, 1)))
    info = used.info()
    assert info["neighbour_rebuilds"] < info["evaluations"]
    assert info["device"] == device


# --- several processes ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ranks", [2, 3])
@pytest.mark.parametrize("precision", ["double", "mixed"])
@pytest.mark.parametrize("variant", ["default", "all_of_so3lr2"])
def test_ranks_agree_with_one_process(
    toy_model: Callable[..., Path], device: str, variant: str, precision: str, ranks: int
) -> None:
    model = Model(str(toy_model(seed=1, **(VARIANTS | VARIANTS_SO3LR2)[variant])))
    structure = crystal((2, 2, 1))
    options = {"precision": precision, "lr_cutoff": 5.0, "lr_damping": 1.5, "device": device}
    expected = Engine(model, **options).evaluate(**structure)
    engines = ThreadedEngines(ranks, model, **options)
    found = engines.evaluate(structure)
    assert engines.job.messages_left() == 0
    if precision == "double":
        assert_same(found, expected, tolerances.RANKS, force_scale(expected))
    else:
        bounds = tolerances.rounding(model, structure, lr_cutoff=5.0, lr_damping=1.5)
        tolerances.assert_within(bounds, found, expected)


def test_overlapping_atoms_are_named_on_one_process_and_on_several(toy_model: Callable[..., Path], device: str) -> None:
    model = Model(str(toy_model()))
    structure = crystal((2, 1, 1))
    structure["positions"][7] = structure["positions"][2] + structure["cell"][1]
    engine = Engine(model, lr_cutoff=5.0, device=device)
    with pytest.raises(ValueError, match=r"atoms (2 and 7|7 and 2) are at the same place \(\S+ A apart"):
        engine.evaluate(**structure)
    engine.evaluate(**crystal())  # and it works on
    errors = ThreadedEngines(2, model, lr_cutoff=5.0, device=device).parts(structure)
    assert all(isinstance(error, Exception) for error in errors)
    assert any("are at the same place" in str(error) for error in errors)
