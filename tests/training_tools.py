"""Small data sets and configurations for the tests of training."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import yaml
from ase import Atoms
from ase.build import molecule
from ase.calculators.calculator import Calculator
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io import write

from so3md import So3kratesCalculator

TINY_MODEL = {
    "num_features": 12,
    "num_heads": 2,
    "degrees": [1, 2],
    "num_layers": 2,
    "cutoff": 4.0,
    "radial_basis": {"type": "bernstein", "size": 8},
    "radial_hidden": 12,
    "spherical_hidden": 4,
    "energy_head": {"hidden": 8, "activation": "silu"},
}
MOLECULES = ("H2O", "CH3OH", "CH4", "H2CO")


def rattled(name: str, rng: np.random.Generator, displacement: float = 0.05) -> Atoms:
    """A molecule with its atoms displaced at random (standard deviation in A)."""
    atoms = molecule(name)
    atoms.positions += displacement * rng.standard_normal(atoms.positions.shape)
    return atoms


def labelled(atoms: Atoms, calculator: Calculator) -> Atoms:
    """A copy with energy and forces of a calculator as reference values."""
    probe = atoms.copy()
    probe.calc = calculator
    forces, energy = probe.get_forces(), probe.get_potential_energy()
    result = atoms.copy()
    result.calc = SinglePointCalculator(result, energy=energy, forces=forces)
    return result


def write_molecules(path: Path, count: int = 16, seed: int = 0) -> Path:
    """Rattled molecules of different sizes with energies (eV) and forces (eV/A) of SO3LR, as extended XYZ."""
    rng = np.random.default_rng(seed)
    calculator = So3kratesCalculator("so3lr", lr_cutoff=None, precision="double", threads=1)
    names = [MOLECULES[number % len(MOLECULES)] for number in range(count)]
    write(path, [labelled(rattled(name, rng), calculator) for name in names], format="extxyz")
    return path


def write_config(path: Path, **sections: Any) -> Path:
    """A configuration for `write_molecules`, with sections or their keys replaced."""
    config: dict[str, Any] = {
        "data": {"files": "molecules.xyz", "split": {"train": 8, "validation": 4, "test": 4}},
        "model": dict(TINY_MODEL),
        "training": {"epochs": 4, "batch_size": 3, "learning_rate": 1e-2},
        "output": str(path.parent / "run"),
        "threads": 1,
    }
    for name, value in sections.items():
        both = isinstance(config.get(name), dict) and isinstance(value, dict)
        config[name] = config[name] | value if both else value
    if config["model"] is None:  # for fine-tuning, and without a long-range cutoff as the reference values
        config["model"] = {"long_range_cutoff": None}
    path.write_text(yaml.safe_dump(config), encoding="utf-8")
    return path
