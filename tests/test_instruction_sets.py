"""Every instruction set, forced by SO3MD_INSTRUCTION_SET: the numbers of the exact arithmetic, whatever the widths.

Of the kernels for processors other than this one, nothing can be said here: those tests are skipped.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tolerances
from reference_data import load_system
from toy_models import VARIANTS

from so3md import _engine

KNOWN_SETS = ("portable", "avx2", "avx512")
#: Models in which vectors of all lengths have tails, and every activation function takes part.
TOY_VARIANTS = ("default", "other_widths", "four_degrees", "one_degree", "gelu", "no_normalization", "linear_heads")
NUMBERS = ("energy", "energies", "forces", "virial", "charges", "hirshfeld_ratios")

#: In a process of its own, because the variable is read when an engine is made and must not leak into other tests.
PROGRAM = """
import json, sys
import numpy as np
from so3md._engine import Engine, Model

request = json.load(sys.stdin)
structure = request["structure"]
found = {}
for precision in ("double", "mixed"):
    engine = Engine(Model(request["model"]), precision=precision, lr_cutoff=request["lr_cutoff"])
    assert engine.info()["instruction_set"] == request["instruction_set"], engine.info()
    result = engine.evaluate(**{name: np.array(value) for name, value in structure.items()})
    found[precision] = {name: np.asarray(result[name]).tolist() for name in request["numbers"] if name in result}
print(json.dumps(found))
"""


def run(program: str, instruction_set: str, request: dict) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "SO3MD_INSTRUCTION_SET": instruction_set}
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, sys.path))
    return subprocess.run(
        [sys.executable, "-c", program], input=json.dumps(request), env=environment, capture_output=True, text=True
    )


def evaluate_with(instruction_set: str, model: Path, structure: dict, lr_cutoff: float) -> dict[str, dict]:
    """Results by precision and name."""
    if instruction_set not in _engine.instruction_sets():
        pytest.skip(f"this processor, or this build, has no {instruction_set}")
    request = {
        "model": str(model),
        "structure": {name: np.asarray(value).tolist() for name, value in structure.items()},
        "lr_cutoff": lr_cutoff,
        "instruction_set": instruction_set,
        "numbers": NUMBERS,
    }
    process = run(PROGRAM, instruction_set, request)
    assert process.returncode == 0, process.stderr
    return json.loads(process.stdout)


def crystal() -> dict:
    """A skewed cell with 40 atoms at random, none of them close to each other, of the elements of the toy models."""
    rng = np.random.default_rng(11)
    grid = np.array([(x, y, z) for x in range(4) for y in range(5) for z in range(2)]) + rng.uniform(-0.2, 0.2, (40, 3))
    cell = np.array([[7.2, 0.0, 0.0], [1.3, 8.1, 0.0], [-0.8, 0.9, 3.9]])
    numbers = rng.choice([1, 6, 8], 40)
    positions = (grid / [4, 5, 2]) @ cell
    return {"numbers": numbers, "positions": positions, "cell": cell, "pbc": [True] * 3, "charge": -1.0, "spin": 1.0}


def exact_bounds(expected: dict) -> dict[str, float]:
    """Relative to the largest force, energy of an atom or the like, as random models have any scale."""
    return {name: tolerances.EXACT.component * max(1.0, np.abs(value).max()) for name, value in expected.items()}


@pytest.mark.parametrize("variant", TOY_VARIANTS)
@pytest.mark.parametrize("instruction_set", KNOWN_SETS)
def test_models_of_all_widths_give_the_same_numbers(
    toy_model: Callable[..., Path], instruction_set: str, variant: str
) -> None:
    model, structure = toy_model(seed=6, **VARIANTS[variant]), crystal()
    found = evaluate_with(instruction_set, model, structure, lr_cutoff=6.0)
    here = _engine.Engine(_engine.Model(str(model)), precision="double", lr_cutoff=6.0).evaluate(**structure)
    expected = {name: here[name] for name in NUMBERS if name in here}
    mixed_bounds = tolerances.rounding(model, structure, lr_cutoff=6.0)
    for precision, bounds in (("double", exact_bounds(expected)), ("mixed", mixed_bounds)):
        assert set(found[precision]) == set(expected)
        tolerances.assert_within(bounds, found[precision], expected, precision)


@pytest.mark.parametrize("instruction_set", KNOWN_SETS)
def test_so3lr_agrees_with_the_reference_data(so3lr_path: Path, instruction_set: str) -> None:
    system = load_system("water_64")
    expected, atoms = system.expected, len(system.structure["numbers"])
    found = evaluate_with(instruction_set, so3lr_path, system.structure, lr_cutoff=12.0)
    for precision, per_atom, forces in (
        ("double", tolerances.REFERENCE.energy_per_atom, tolerances.REFERENCE.forces),
        ("mixed", tolerances.MIXED_ENERGY_PER_ATOM, tolerances.MIXED_WORST_FORCE),
    ):
        assert abs(found[precision]["energy"] - expected["energy"]) / atoms < per_atom
        np.testing.assert_allclose(found[precision]["forces"], expected["forces"], rtol=0, atol=forces)


def test_the_widest_set_is_chosen_unless_another_is_forced(toy_model: Callable[..., Path]) -> None:
    program = (
        "import json, sys; from so3md._engine import Engine, Model; "
        "print(Engine(Model(json.load(sys.stdin))).info()['instruction_set'])"
    )
    model = str(toy_model())
    for forced in ("", *_engine.instruction_sets()):
        process = run(program, forced, model)
        assert process.returncode == 0, process.stderr
        assert process.stdout.strip() == (forced or _engine.instruction_sets()[-1])


def test_a_set_that_is_not_there_is_refused_with_those_that_are(toy_model: Callable[..., Path]) -> None:
    program = "import json, sys; from so3md._engine import Engine, Model; Engine(Model(json.load(sys.stdin)))"
    absent = [name for name in KNOWN_SETS if name not in _engine.instruction_sets()]
    for name in ("avx1024", *absent):
        process = run(program, name, str(toy_model()))
        assert process.returncode != 0
        assert f"SO3MD_INSTRUCTION_SET is '{name}'" in process.stderr
        assert ", ".join(_engine.instruction_sets()) in process.stderr
