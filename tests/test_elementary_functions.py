"""Errors of the elementary functions that the kernels approximate, in value and derivative, for every instruction set.

exp, and the activation functions that are made of it. The approximations of the pair physics (error function, switch,
seventh root) are measured in test_pair_physics.py, tabulated filters in test_engine.py.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable

import numpy as np
import pytest
from scipy.special import expit

from so3md import _engine

PRECISIONS = {"double": np.float64, "mixed": np.float32}
#: Arguments: activations of a network are O(1); at the ends functions are constant or linear.
ARGUMENTS = np.concatenate([np.linspace(-30, 30, 60001), np.geomspace(1e-6, 700, 2000), -np.geomspace(1e-6, 700, 2000)])

#: Units in the last place (of the type; half of one is unavoidable), about twice what was found: of exp relative to its
#: value, of activations relative to what they are made of, 1 + |x|.
EXP_ULP = 2.0
ACTIVATION_ULP = {
    "silu": {"value": 2.5, "slope": 2.0},
    "tanh": {"value": 2.0, "slope": 3.5},
    "gelu": {"value": 2.0, "slope": 11.0},  # the slope is a sum of terms up to five times as large
}

Values = tuple[np.ndarray, np.ndarray]


def silu(x: np.ndarray) -> Values:
    s = expit(x)
    return x * s, s * (1 + x * expit(-x))


def tanh(x: np.ndarray) -> Values:
    return np.tanh(x), 1 / np.cosh(np.clip(x, -350, 350)) ** 2


def gelu(x: np.ndarray) -> Values:
    """The form with tanh: x/2 (1 + tanh u) = x logistic(2u), u = sqrt(2/pi) (x + 0.044715 x^3)."""
    u, du = np.sqrt(2 / np.pi) * (x + 0.044715 * x**3), np.sqrt(2 / np.pi) * (1 + 3 * 0.044715 * x**2)
    return x * expit(2 * u), expit(2 * u) + 2 * x * du * expit(2 * u) * expit(-2 * u)


EXACT: dict[str, Callable[[np.ndarray], Values]] = {"silu": silu, "tanh": tanh, "gelu": gelu}

PROGRAM = """
import json, sys
import numpy as np
from so3md import _engine
request = json.load(sys.stdin)
results = _engine.elementary_function(request["name"], np.array(request["x"]), request["precision"])
print(json.dumps([values.tolist() for values in results]))
"""


def evaluate(name: str, x: np.ndarray, precision: str, instruction_set: str) -> Values:
    environment = {**os.environ, "SO3MD_INSTRUCTION_SET": instruction_set}
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, sys.path))
    request = json.dumps({"name": name, "x": x.tolist(), "precision": precision})
    run = subprocess.run(
        [sys.executable, "-c", PROGRAM], input=request, env=environment, capture_output=True, text=True
    )
    assert run.returncode == 0, run.stderr
    values, slopes = json.loads(run.stdout)
    return np.array(values), np.array(slopes)


def rounded(x: np.ndarray, precision: str) -> np.ndarray:
    """Numbers that the precision holds exactly: the error of the input is not the function's."""
    return x.astype(PRECISIONS[precision]).astype(np.float64)


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("instruction_set", _engine.instruction_sets())
def test_exp(instruction_set: str, precision: str) -> None:
    ulp, limit = np.finfo(PRECISIONS[precision]).eps, {"double": 708.0, "mixed": 87.0}[precision]
    x = rounded(np.concatenate([np.linspace(-limit, limit, 80001), np.geomspace(1e-12, 1, 1000)]), precision)
    found, slope = evaluate("exp", x, precision, instruction_set)
    assert np.abs(found / np.exp(x) - 1).max() < EXP_ULP * ulp
    np.testing.assert_array_equal(slope, found)


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("instruction_set", _engine.instruction_sets())
def test_exp_beyond_normal_numbers_ends_at_the_smallest_and_largest(instruction_set: str, precision: str) -> None:
    tiny, huge = {"double": (1e-307, 1e307), "mixed": (2e-38, 5e37)}[precision]
    x = np.array([-1e30, -1e4, 1e4, 1e30]) if precision == "mixed" else np.array([-1e300, -1e4, 1e4, 1e300])
    found, _ = evaluate("exp", x, precision, instruction_set)
    assert np.isfinite(found).all()
    assert (found[:2] < tiny).all()
    assert (found[2:] > huge).all()


@pytest.mark.parametrize("name", EXACT)
@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("instruction_set", _engine.instruction_sets())
def test_activations_and_their_derivatives(instruction_set: str, precision: str, name: str) -> None:
    ulp = np.finfo(PRECISIONS[precision]).eps
    x = rounded(ARGUMENTS, precision)
    found, expected = evaluate(name, x, precision, instruction_set), EXACT[name](x)
    scale = 1 + np.abs(x)
    for what, values, exact in zip(("value", "slope"), found, expected, strict=True):
        error = np.abs(values - exact) / scale
        worst = error.argmax()
        assert error[worst] < ACTIVATION_ULP[name][what] * ulp, (
            f"{what} at x = {x[worst]}: {error[worst] / ulp:.1f} ulp"
        )


def test_another_function_is_refused() -> None:
    with pytest.raises(ValueError, match="there is no activation 'sin': expected one of identity, silu"):
        _engine.elementary_function("sin", [0.0], "double")
