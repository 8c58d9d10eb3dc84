"""The bounds that are derived from the scale of what is summed: no rounding error exceeds them, and small faults do."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from paper_models import random_gas, structure_of, water
from reference_data import load_system
from tolerances import SINGLE_ROUNDING, assert_within, rounding
from toy_models import VARIANTS, VARIANTS_2022

from so3md._engine import Engine, Model
from so3md.model_file import PAPER_2022, ModelFile

#: A fault of this relative size in the weights of one layer: a hundred of its roundings, and nothing that anybody sees.
FAULT = 1e-3

MODELS = {
    "default": VARIANTS["default"],
    "linear_heads": VARIANTS["linear_heads"],
    "paper": VARIANTS_2022["default"] | {"architecture": PAPER_2022},
    "large forces": VARIANTS_2022["static"] | {"architecture": PAPER_2022},
}
STRUCTURES = {"gas": random_gas(60, 10.0), "water": water(3, 1.0)}
OPTIONS = {"lr_cutoff": 6.0}


@pytest.mark.parametrize("structure", STRUCTURES)
@pytest.mark.parametrize("name", MODELS)
def test_rounding_is_within_and_a_fault_is_not(toy_model: Callable[..., Path], name: str, structure: str) -> None:
    """Models whose energies and forces differ by many orders of magnitude; sums in three orders, those of the atoms."""
    path, arguments = toy_model(seed=1, **MODELS[name]), structure_of(STRUCTURES[structure])
    bounds = rounding(path, arguments, **OPTIONS)
    exact = Engine(Model(path), precision="double", **OPTIONS).evaluate(**arguments)
    for shift in (0, 7, 23):
        turned = arguments | {key: np.roll(arguments[key], shift, axis=0) for key in ("numbers", "positions")}
        found = Engine(Model(path), precision="mixed", **OPTIONS).evaluate(**turned)
        for key in bounds.keys() - {"energy", "virial"}:
            found[key] = np.roll(found[key], -shift, axis=0)
        assert_within(bounds, found, exact, f"{shift=}")

    faulty = path.with_name("faulty.safetensors")
    with_a_fault(ModelFile.read(path)).write(faulty)
    found = Engine(Model(faulty), precision="mixed", **OPTIONS).evaluate(**arguments)
    for key in ("energies", "forces"):
        with pytest.raises(AssertionError, match=key):
            assert_within({key: bounds[key]}, found, exact)


def test_ten_times_the_bound_fails(so3lr_path: Path) -> None:
    """On one number of one atom."""
    system = load_system("ethanol")
    bounds = rounding(so3lr_path, system.structure, lr_cutoff=None)
    exact = Engine(Model(so3lr_path), precision="double", lr_cutoff=None).evaluate(**system.structure)
    assert_within(bounds, exact, exact)
    for key, bound in bounds.items():
        changed = np.array(exact[key], dtype=float, ndmin=1)
        changed.flat[-1] += 10 * bound
        with pytest.raises(AssertionError, match=key):
            assert_within(bounds, exact | {key: changed}, exact)


def test_bounds_follow_the_scale_of_the_energies(toy_model: Callable[..., Path]) -> None:
    """A model in other units, in which all energies are larger by a factor, has bounds that are larger by that."""
    path, structure = toy_model(seed=1, **VARIANTS["network_only"]), structure_of(STRUCTURES["gas"])
    model = ModelFile.read(path)
    larger = path.with_name("larger.safetensors")
    tensors = {key: values * (1024.0 if key in ENERGY_UNITS else 1.0) for key, values in model.tensors.items()}
    replace(model, tensors=tensors).write(larger)
    small, large = rounding(path, structure, **OPTIONS), rounding(larger, structure, **OPTIONS)
    for key in ("energy", "energies", "forces", "virial"):
        assert large[key] == pytest.approx(1024.0 * small[key], rel=1e-3), key
    assert small["energies"] > SINGLE_ROUNDING


#: What energies are multiplied with, and what is added to them afterwards.
ENERGY_UNITS = ("energy.scale", "energy.shift")


def with_a_fault(model: ModelFile) -> ModelFile:
    """The weights of one map of the first layer, somewhat too large."""
    name = next(key for key in sorted(model.tensors) if ".0." in key and key.endswith("weight"))
    return replace(model, tensors=model.tensors | {name: model.tensors[name] * np.float32(1.0 + FAULT)})
