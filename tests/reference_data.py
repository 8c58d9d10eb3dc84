"""The reference data of tests/data/so3lr as Python objects."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

DIRECTORY = Path(__file__).parent / "data" / "so3lr"

#: Names of all structures but the large ones.
SYSTEMS = sorted(
    path.stem for path in DIRECTORY.glob("*.npz") if not path.stem.startswith(("intermediates_", "water_1536"))
)
LARGE_SYSTEMS = ["water_1536_rattled", "water_1536_ref"]
INTERMEDIATES = sorted(path.stem.removeprefix("intermediates_") for path in DIRECTORY.glob("intermediates_*.npz"))

ENERGY_COMPONENTS = ("nn", "zbl", "electrostatics", "dispersion")


#: Without a cutoff nothing is damped.
UNUSED_DAMPING = 2.0


@dataclass
class ReferenceSystem:
    """A structure with the settings of its evaluation; `expected` holds every array of the file."""

    name: str
    numbers: np.ndarray
    positions: np.ndarray
    cell: np.ndarray
    pbc: np.ndarray
    charge: float
    spin: float
    lr_cutoff: float | None
    lr_damping: float
    expected: dict[str, np.ndarray]

    @property
    def structure(self) -> dict:
        """Arguments of an `evaluate`: numbers, positions, cell, pbc, charge, spin."""
        names = ("numbers", "positions", "cell", "pbc", "charge", "spin")
        return {name: getattr(self, name) for name in names}


def load_system(name: str) -> ReferenceSystem:
    """Read one structure."""
    with np.load(DIRECTORY / f"{name}.npz", allow_pickle=False) as file:
        data = {key: file[key] for key in file.files}
    lr_cutoff = float(data["cutoff_lr"])
    has_cutoff = bool(np.isfinite(lr_cutoff))
    return ReferenceSystem(
        name=name,
        numbers=data["numbers"],
        positions=data["positions"],
        cell=data.get("cell", np.zeros((3, 3))),
        pbc=data.get("pbc", np.zeros(3, dtype=bool)),
        charge=float(data["total_charge"]),
        spin=float(data["total_spin"]),
        lr_cutoff=lr_cutoff if has_cutoff else None,
        lr_damping=float(data["dispersion_damping"]) if has_cutoff else UNUSED_DAMPING,  # NaN in the file
        expected=data,
    )


def load_intermediates(name: str) -> ReferenceSystem:
    """Read the intermediate quantities of one structure (a molecule); `expected` has one array per quantity."""
    return load_system(f"intermediates_{name}")
