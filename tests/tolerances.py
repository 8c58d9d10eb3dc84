"""Named tolerances, each with its reason. A test uses a name from here, never a number of its own.

A tolerance is not loosened to make a test pass without the reason, in words, in the commit.

Two kinds of bounds. Those of double precision, and those that we publish for SO3LR, are constants: they lie orders of
magnitude above the rounding errors of any processor. Whatever compares numbers of single precision more closely, or
with models of random weights, is bound by `rounding`, which measures how far rounding can move the results at hand.
No bound is tuned on what one processor happens to give: the order of sums, and with it the last bits, differ between
portable code, AVX2, AVX-512 and GPUs.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Tolerance:
    """Largest allowed absolute differences."""

    energy_per_atom: float  # eV
    component: float  # eV, whole energy component
    forces: float  # eV/A
    charges: float  # e, also Hirshfeld ratios
    stress: float  # eV/A^3
    features: float  # intermediate quantities, O(1)


#: Against the reference data, which were evaluated in float64: what remains is the order of sums over up to 1e6 edges,
#: and the small numbers that the original definitions add to denominators. These are the bounds that we publish.
REFERENCE = Tolerance(energy_per_atom=1e-8, component=1e-7, forces=1e-8, charges=1e-9, stress=1e-9, features=1e-9)

#: Against the small random models of 2022 and 2023 (tests/data): a molecule each, energies of at most 1 keV.
PARITY = Tolerance(energy_per_atom=1e-9, component=1e-9, forces=1e-8, charges=1e-9, stress=1e-9, features=1e-9)

#: Two evaluations of the same equations in double precision: only the order of sums differs, by rounding errors of
#: 1e-16 times some thousand terms. Forces of random models are O(10) eV/A.
EXACT = Tolerance(energy_per_atom=1e-10, component=1e-9, forces=1e-9, charges=1e-11, stress=1e-11, features=1e-11)

#: The same mode, the work divided otherwise (threads, ranks): as EXACT. Relative to the energy of a whole system, which
#: is large and mostly constant, rounding is 1e-16 times the root of the number of atoms.
RANKS = EXACT
RANKS_RELATIVE_ENERGY = 1e-10

#: Positions after some fifty steps of dynamics that began alike: rounding errors of forces, 1e-14 eV/A, and what the
#: motion has made of them in that time, which is too short for chaos.
RANKS_TRAJECTORY = 1e-10  # A

#: Central differences in double precision with this step: the truncation error, step^2 / 6 times the third derivative
#: of the energy, O(100) eV/A^3 for bonds, is about 2e-7 eV/A; the rounding error, 1e-16 times the energy over the step,
#: is far below it.
FINITE_DIFFERENCE_STEP = 1e-4  # A; without a unit for strain
FINITE_DIFFERENCE_FORCES = 2e-6  # eV/A
FINITE_DIFFERENCE_STRESS = 1e-7  # eV/A^3

#: Fluxes by differences over five points with that step: truncation is of the fourth order and far below; rounding,
#: 1e-16 times energies of 1e3 eV over the step, times positions and the number of atoms, is about 1e-8.
FINITE_DIFFERENCE_FLUX = 5e-8  # eV A per unit of time, and eV per unit of time

#: LAMMPS's d/dt of the sum of r_i e_i by central differences over two steps of 1e-6 ps: rounding, 1e-16 times a sum of
#: 1e4 eV A over the step, is some 1e-6 eV A/ps; truncation, a sixth of the square of the step times the frequency of a
#: bond, 600/ps, is 6e-8 of fluxes of 500 eV A/ps that change as fast.
LAMMPS_FLUX_OF_A_STEP = 1e-4  # eV A/ps

#: Heat fluxes with tabulated radial filters against those with networks: as TABLE_DERIVATIVE, times what random models
#: make of it.
MIXED_RELATIVE_FLUX = 1e-4

#: `mixed` against `double`: single precision keeps 24 bits, 6e-8, per operation, and the errors of a network add up
#: over some hundred of them. These are the bounds that we publish.
MIXED_MEDIAN_RELATIVE_FORCE = 1e-5
MIXED_WORST_FORCE = 1e-3  # eV/A
MIXED_ENERGY_PER_ATOM = 1e-5  # eV

#: In a bond at rest the repulsion and the network's attraction, some 20 eV/A each, cancel; rounding them to 24 bits
#: leaves about 1e-6 eV/A whatever the size of the sum. Relative errors of a single system are measured by at least the
#: force of which that is half the tolerance; of the reference systems only ammonium (0.05 eV/A; 2e-5 without this
#: floor) needs it.
MIXED_FORCES_AT_REST = 0.2  # eV/A

#: Tabulated filters against their networks, from the distance of the shortest bonds on: parts of the largest filter
#: value (for derivatives, that over 1 A), and what they make of forces.
TABLE_VALUE = 1e-7
TABLE_DERIVATIVE = 1e-5
TABLE_FORCES = 1e-6  # eV/A

#: The GPU's kernels against those of the CPU, both in double precision: the same equations, with sums in another order
#: and another mathematical library.
DEVICE = Tolerance(energy_per_atom=1e-11, component=1e-9, forces=1e-10, charges=1e-11, stress=1e-11, features=1e-11)

#: How much larger the relative error of forces may be than the relative error of the tabulated derivatives.
TABLE_AMPLIFICATION = 100.0


# --- rounding in single precision -----------------------------------------------------------------------------------

#: Rounding to 24 bits changes a number by at most this part of it.
SINGLE_ROUNDING = 2.0**-24

#: Models with other roundings in every weight, by which `rounding` measures: the root mean square of four largest
#: differences is good to a third.
_SAMPLES = 4

_QUANTITIES = ("energy", "energies", "forces", "virial", "charges", "hirshfeld_ratios")


def rounding(model: Any, structure: Mapping[str, Any], **options: Any) -> dict[str, float]:
    """Largest differences that rounding in single precision explains, for each quantity of an evaluation.

    model: an engine's model or the path of its file; structure, options: of the evaluation (no precision). Both results
    that are compared may be of single precision.

    A rounding error in a product of a weight is the same as a relative error of 2^-24 in this weight (Wilkinson's
    backward analysis), so what the sums of a model make of rounding, layer after layer, is measured on the structure
    itself: by exact evaluations with weights that are wrong in the 24th bit. To that comes the rounding of the result's
    own terms. A sum of n terms has n roundings of random signs, hence sqrt(n), with n the number of features,
    over which most sums of the network go; and two results may lie apart by the errors of both.
    """
    from so3md._engine import Engine, Model
    from so3md.model_file import ModelFile

    path = getattr(model, "path", model)
    file = ModelFile.read(path)
    exact = {"precision": "double", "tabulate": False, "threads": 1} | options
    expected = Engine(Model(str(path)), **exact).evaluate(**structure)
    squares = dict.fromkeys((name for name in _QUANTITIES if name in expected), 0.0)
    with tempfile.TemporaryDirectory() as folder:
        for seed in range(_SAMPLES):
            changed = Path(folder) / f"{seed}.safetensors"
            _with_errors(file, seed).write(changed)
            found = Engine(Model(str(changed)), **exact).evaluate(**structure)
            for name in squares:
                squares[name] += _largest(np.subtract(found[name], expected[name])) ** 2 / _SAMPLES
    factor = 2.0 * np.sqrt(file.hyperparameters["num_features"])
    return {
        name: float(factor * (np.sqrt(square) + SINGLE_ROUNDING * _largest(expected[name])))
        for name, square in squares.items()
    }


def assert_within(bounds: Mapping[str, float], found: Mapping[str, Any], expected: Mapping[str, Any], about: str = ""):
    """Every quantity that has a bound is there in both or in neither, and differs by at most its bound."""
    for name, bound in bounds.items():
        np.testing.assert_allclose(found[name], expected[name], rtol=0, atol=bound, err_msg=f"{about} {name}")


def _with_errors(file: Any, seed: int) -> Any:
    """The model with weights in double precision, each with a random relative error of single precision.

    Constants of a repulsion, which is in double precision always, have none: they are the same from both atoms.
    """
    from dataclasses import replace

    rng = np.random.default_rng(seed)
    tensors = {
        name: values.astype(np.float64) * (1.0 + SINGLE_ROUNDING * rng.standard_normal(values.shape))
        if not name.startswith("nlh.")
        else values
        for name, values in file.tensors.items()
    }
    return replace(file, tensors=tensors)


def _largest(values: Any) -> float:
    return float(np.abs(values).max(initial=0.0))
