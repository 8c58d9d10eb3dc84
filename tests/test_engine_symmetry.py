"""Physics that must hold: symmetries, cells, and independence of threads, instruction sets and history."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tolerances
from reference_data import load_system
from sanitizers import patience
from scipy.spatial.transform import Rotation

from so3md import _engine
from so3md._engine import Engine, Model

EXACT, RANKS = tolerances.EXACT, tolerances.RANKS


@pytest.fixture(scope="module")
def so3lr(so3lr_path: Path) -> Model:
    return Model(str(so3lr_path))


def water() -> dict:
    return load_system("water_64").structure


def assert_same(found: dict, expected: dict, tolerance: tolerances.Tolerance = EXACT) -> None:
    atoms = max(1, len(expected["energies"]))
    assert abs(found["energy"] - expected["energy"]) / atoms < tolerance.energy_per_atom
    np.testing.assert_allclose(found["forces"], expected["forces"], rtol=0, atol=tolerance.forces)
    np.testing.assert_allclose(found["virial"], expected["virial"], rtol=0, atol=tolerance.component)
    np.testing.assert_allclose(found["charges"], expected["charges"], rtol=0, atol=tolerance.charges)


def test_translation_and_wrapping(so3lr: Model) -> None:
    structure = water()
    engine = Engine(so3lr, precision="double")
    expected = engine.evaluate(**structure)
    moved = structure["positions"] + [3.7, -41.2, 8.9]
    assert_same(engine.evaluate(**structure | {"positions": moved}), expected)
    images = np.random.default_rng(0).integers(-3, 4, moved.shape)
    scattered = moved + images @ structure["cell"]
    assert_same(engine.evaluate(**structure | {"positions": scattered}), expected)


def test_rotation(so3lr: Model) -> None:
    structure = water()
    engine = Engine(so3lr, precision="double")
    expected = engine.evaluate(**structure)
    turn = Rotation.from_rotvec([0.3, -1.1, 0.7]).as_matrix()
    turned = structure | {"positions": structure["positions"] @ turn.T, "cell": structure["cell"] @ turn.T}
    found = engine.evaluate(**turned)
    found["forces"] = found["forces"] @ turn
    found["virial"] = turn.T @ found["virial"] @ turn
    assert_same(found, expected)


def test_inversion(so3lr: Model) -> None:
    structure = load_system("dha").structure
    engine = Engine(so3lr, precision="double", lr_cutoff=None)
    expected = engine.evaluate(**structure)
    found = engine.evaluate(**structure | {"positions": -structure["positions"]})
    found["forces"] = -found["forces"]
    assert_same(found, expected)


def test_permutation(so3lr: Model) -> None:
    structure = water()
    engine = Engine(so3lr, precision="double")
    expected = engine.evaluate(**structure)
    order = np.random.default_rng(1).permutation(len(structure["numbers"]))
    shuffled = structure | {"positions": structure["positions"][order], "numbers": structure["numbers"][order]}
    found = engine.evaluate(**shuffled)
    back = np.argsort(order)
    for key in ("forces", "charges", "energies"):
        found[key] = found[key][back]
    assert_same(found, expected)


def test_supercell(so3lr: Model) -> None:
    structure = water()
    engine = Engine(so3lr, precision="double")
    expected = engine.evaluate(**structure)
    shifts = [np.array([a, 0, c]) @ structure["cell"] for a in range(2) for c in range(2)]
    doubled = structure | {
        "numbers": np.tile(structure["numbers"], 4),
        "positions": np.concatenate([structure["positions"] + shift for shift in shifts]),
        "cell": structure["cell"] * [[2], [1], [2]],
    }
    found = engine.evaluate(**doubled)
    assert abs(found["energy"] / 4 - expected["energy"]) / 192 < EXACT.energy_per_atom
    np.testing.assert_allclose(found["forces"], np.tile(expected["forces"], (4, 1)), rtol=0, atol=EXACT.forces)
    np.testing.assert_allclose(found["virial"] / 4, expected["virial"], rtol=0, atol=EXACT.component)


def test_forces_add_up_to_zero_and_charges_to_the_total(so3lr: Model) -> None:
    system = load_system("water_64_charged_p1")
    for precision, tolerance in [("double", EXACT.component), ("mixed", tolerances.MIXED_WORST_FORCE)]:
        result = Engine(so3lr, precision=precision).evaluate(**system.structure)
        assert np.abs(result["forces"].sum(axis=0)).max() < tolerance
        assert abs(result["charges"].sum() - 1.0) < EXACT.charges


@pytest.mark.parametrize("precision", ["double", "mixed"])
def test_same_bits_for_any_number_of_threads(so3lr: Model, precision: str) -> None:
    """Every atom gathers what lands on it in a fixed order, so threads cannot change a result."""
    results = [Engine(so3lr, precision=precision, threads=threads).evaluate(**water()) for threads in (1, 2, 3, 7)]
    for result in results[1:]:
        assert result["energy"] == results[0]["energy"]
        np.testing.assert_array_equal(result["forces"], results[0]["forces"])
        np.testing.assert_array_equal(result["virial"], results[0]["virial"])


def test_a_used_engine_agrees_with_a_new_one(so3lr: Model) -> None:
    """Moves, another cell, other atoms, and back: nothing of an earlier call shines through."""
    used = Engine(so3lr, precision="double")
    rng = np.random.default_rng(2)
    structure = water()
    for step in range(6):
        structure["positions"] = structure["positions"] + rng.normal(0, 0.05, structure["positions"].shape)
        structure["cell"] = structure["cell"] * (1 + 0.002 * step)
        new = Engine(so3lr, precision="double").evaluate(**structure)
        assert_same(used.evaluate(**structure), new, RANKS)
        if step == 3:
            used.evaluate(**load_system("ethanol").structure)
    info = used.info()
    assert info["neighbour_rebuilds"] < info["evaluations"]


SCRIPT = """
import sys
import numpy as np
sys.path.insert(0, sys.argv[1])
from reference_data import load_system
from so3md._engine import Engine, Model
model = Model(sys.argv[2])
engine = Engine(model, precision=sys.argv[3])
assert engine.info()["instruction_set"] == sys.argv[4], engine.info()
np.save(sys.argv[5], engine.evaluate(**load_system("water_64").structure)["forces"])
"""


@pytest.mark.parametrize("precision", ["double", "mixed"])
@pytest.mark.parametrize("instruction_set", _engine.instruction_sets())
def test_instruction_sets_agree(so3lr_path: Path, tmp_path: Path, instruction_set: str, precision: str) -> None:
    output = tmp_path / "forces.npy"
    command = [sys.executable, "-c", SCRIPT, str(Path(__file__).parent), str(so3lr_path), precision, instruction_set]
    environment = os.environ | {"SO3MD_INSTRUCTION_SET": instruction_set}
    subprocess.run([*command, str(output)], check=True, env=environment)
    expected = load_system("water_64").expected["forces"]
    bound = tolerances.REFERENCE.forces if precision == "double" else tolerances.MIXED_WORST_FORCE
    np.testing.assert_allclose(np.load(output), expected, rtol=0, atol=bound)


def test_unknown_instruction_set_is_refused(so3lr_path: Path) -> None:
    code = "import sys; from so3md._engine import Engine, Model; Engine(Model(sys.argv[1]))"
    environment = os.environ | {"SO3MD_INSTRUCTION_SET": "avx1024"}
    run = subprocess.run([sys.executable, "-c", code, str(so3lr_path)], env=environment, capture_output=True, text=True)
    assert run.returncode != 0
    assert "avx1024" in run.stderr
    assert "portable" in run.stderr


def test_evaluations_survive_a_fork(so3lr: Model) -> None:
    """A child process starts threads of its own; with OpenMP it would wait for those of its parent for ever."""
    code = """
import os, sys, time
sys.path.insert(0, sys.argv[1])
from reference_data import load_system
from so3md._engine import Engine, Model
engine = Engine(Model(sys.argv[2]), threads=2)
structure = load_system("water_64").structure
first = engine.evaluate(**structure)["energy"]
time.sleep(0.1)  # until the threads sleep
child = os.fork()
if child == 0:
    same = engine.evaluate(**structure)["energy"] == first
    del engine
    os._exit(0 if same else 1)
assert engine.evaluate(**structure)["energy"] == first
sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""
    run = subprocess.run([sys.executable, "-c", code, str(Path(__file__).parent), so3lr.path], timeout=patience(60))
    assert run.returncode == 0
