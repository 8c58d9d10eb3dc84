"""Bad input to the engine gets an error that says what is wrong."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from reference_data import load_system

from so3md._engine import Engine, Model


@pytest.fixture(scope="module")
def so3lr(so3lr_path: Path) -> Model:
    return Model(str(so3lr_path))


@pytest.fixture
def ethanol() -> dict:
    return load_system("ethanol").structure


def test_unknown_element(so3lr: Model, ethanol: dict) -> None:
    ethanol["numbers"] = ethanol["numbers"].copy()
    ethanol["numbers"][4] = 26
    with pytest.raises(ValueError, match=r"atom 4 is Fe \(atomic number 26\), for which .*knows H C N O F P S Cl\."):
        Engine(so3lr).evaluate(**ethanol)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e300])
def test_positions_that_are_no_positions(so3lr: Model, ethanol: dict, value: float) -> None:
    engine = Engine(so3lr)
    expected = engine.evaluate(**ethanol)["energy"]
    broken = ethanol["positions"].copy()
    broken[3, 1] = value
    with pytest.raises(ValueError, match="atom 3"):
        engine.evaluate(**ethanol | {"positions": broken})
    assert engine.evaluate(**ethanol)["energy"] == expected


@pytest.mark.parametrize("distance", [0.0, 1e-9, 1e-4])
def test_two_atoms_at_the_same_place(so3lr: Model, ethanol: dict, distance: float) -> None:
    positions = ethanol["positions"].copy()
    positions[7] = positions[2] + [0.0, distance, 0.0]
    with pytest.raises(ValueError, match=r"atoms (2 and 7|7 and 2) are at the same place"):
        Engine(so3lr).evaluate(**ethanol | {"positions": positions})


def test_atom_on_an_image_of_another(so3lr: Model) -> None:
    water = load_system("water_64").structure
    positions = water["positions"].copy()
    positions[9] = positions[5] + water["cell"][1] - 2 * water["cell"][2]
    with pytest.raises(ValueError, match="same place"):
        Engine(so3lr).evaluate(**water | {"positions": positions})


def test_periodic_direction_without_length(so3lr: Model, ethanol: dict) -> None:
    with pytest.raises(ValueError, match="periodic"):
        Engine(so3lr).evaluate(**ethanol | {"pbc": [True, False, False]})


def test_periodic_system_without_long_range_cutoff(so3lr: Model) -> None:
    with pytest.raises(ValueError, match="needs a long-range cutoff"):
        Engine(so3lr, lr_cutoff=None).evaluate(**load_system("water_64").structure)


@pytest.mark.parametrize("charge", [np.nan, np.inf])
def test_charge_that_is_no_number(so3lr: Model, ethanol: dict, charge: float) -> None:
    with pytest.raises(ValueError, match="total charge"):
        Engine(so3lr).evaluate(**ethanol | {"charge": charge})


@pytest.mark.parametrize("spin", [np.nan, -0.5])
def test_spin_that_is_no_spin(so3lr: Model, ethanol: dict, spin: float) -> None:
    with pytest.raises(ValueError, match="total spin"):
        Engine(so3lr).evaluate(**ethanol | {"spin": spin})


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"precision": "half"}, "unknown precision 'half'"),
        ({"lr_cutoff": -1.0}, "long-range cutoff"),
        ({"lr_cutoff": float("nan")}, "long-range cutoff"),
        ({"lr_damping": 0.0}, "damping"),
        ({"lr_damping": 13.0}, "damping"),
        ({"skin": -0.1}, "skin"),
        ({"threads": -2}, "threads"),
    ],
)
def test_impossible_options(so3lr: Model, options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Engine(so3lr, **options)


def test_arrays_of_the_wrong_shape(so3lr: Model, ethanol: dict) -> None:
    engine = Engine(so3lr)
    with pytest.raises(ValueError, match="positions has shape"):
        engine.evaluate(**ethanol | {"positions": ethanol["positions"][:5]})
    with pytest.raises(ValueError, match="cell has shape"):
        engine.evaluate(**ethanol | {"cell": np.eye(2)})
    with pytest.raises(ValueError, match="numbers"):
        engine.evaluate(**ethanol | {"numbers": ethanol["numbers"][:, None]})
