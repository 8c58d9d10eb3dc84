"""Small systems, one after the other in one engine: what the forward pass keeps for forces belongs to each alone."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tolerances
from ase import Atoms
from ase.build import molecule
from toy_models import VARIANTS, VARIANTS_2023

from so3md._engine import Engine, Model

EXACT = tolerances.EXACT
OPTIONS = {name: (VARIANTS | VARIANTS_2023)[name] for name in ("default", "both_residuals", "all_of_2023")}

#: Fewer atoms than a block of the node kernels, a whole block, one more, two blocks and a part; shorter after longer.
SIZES = (9, 16, 17, 35, 3, 17, 1, 9)


def chain(count: int) -> Atoms:
    """Hydrogen, carbon and oxygen in a row that is not straight."""
    at = np.arange(count)
    positions = np.stack([1.3 * at, 0.4 * np.sin(1.7 * at), 0.5 * np.cos(0.9 * at)], axis=1)
    return Atoms(np.array([6, 1, 8])[at % 3], positions)


def structure_of(atoms: Atoms) -> dict:
    return {"numbers": atoms.numbers, "positions": atoms.positions, "cell": np.zeros((3, 3)), "pbc": [False] * 3}


@pytest.mark.parametrize("variant", OPTIONS)
@pytest.mark.parametrize("threads", [1, 2])
def test_sizes_in_turn(toy_model: Callable[..., Path], variant: str, threads: int) -> None:
    model = Model(toy_model(seed=1, **OPTIONS[variant]))
    engine = Engine(model, precision="double", threads=threads)
    for count in SIZES:
        structure = structure_of(chain(count))
        found = engine.evaluate(**structure)
        alone = Engine(model, precision="double", threads=1).evaluate(**structure)
        np.testing.assert_allclose(found["forces"], alone["forces"], rtol=0, atol=EXACT.forces)
        assert abs(found["energy"] - alone["energy"]) < EXACT.component


@pytest.mark.parametrize("variant", OPTIONS)
def test_forces_after_energies(toy_model: Callable[..., Path], variant: str) -> None:
    """Evaluations without forces between others change nothing, to the last bit."""
    engine = Engine(Model(toy_model(seed=1, **OPTIONS[variant])), threads=1)
    structure, moved = structure_of(molecule("CH3CH2OH")), structure_of(molecule("CH3CH2OH"))
    moved["positions"] = moved["positions"] + 0.01 * np.sin(np.arange(27)).reshape(9, 3)
    expected = engine.evaluate(**structure)
    without = engine.evaluate(**moved, forces=False)
    assert engine.evaluate(**moved)["energy"] == without["energy"]
    again = engine.evaluate(**structure)
    assert np.array_equal(again["forces"], expected["forces"])
    assert again["energy"] == expected["energy"]
