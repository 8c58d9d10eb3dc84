"""What the tests of dynamics share."""

from __future__ import annotations

import json
from itertools import product
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from ase import Atoms
from ase.calculators.calculator import Calculator, all_changes
from ase.stress import full_3x3_to_voigt_6_stress

from so3md.dynamics.checkpoint import Checkpoint
from so3md.dynamics.outputs import read_log
from so3md.dynamics.record import CHECKPOINT, RUN


class SoftSpheres(Calculator):
    """Gaussian repulsion, A exp(-r^2 / 2 s^2), of all pairs and their nearest images (Stillinger 1976).

    A true many-body system, in microseconds: what sampling over many steps needs.
    """

    name = "softspheres"
    implemented_properties: ClassVar[list[str]] = ["energy", "free_energy", "forces", "stress"]
    default_parameters: ClassVar[dict[str, Any]] = {"strength": 0.05, "width": 1.2}  # eV, A
    _IMAGES = np.array(list(product((-1, 0, 1), repeat=3)))

    def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes):
        self.atoms = atoms.copy()
        shifts = (self._IMAGES * atoms.pbc) @ atoms.cell.array if atoms.pbc.any() else np.zeros((1, 3))
        apart = atoms.positions[None, :, None] - atoms.positions[:, None, None] + shifts
        width_squared = self.parameters["width"] ** 2
        energies = self.parameters["strength"] * np.exp(-np.square(apart).sum(axis=3) / 2 / width_squared)
        derivative = -apart * (energies / width_squared)[..., None]  # of each energy by apart
        energy = energies.sum() / 2
        self.results = {"energy": energy, "free_energy": energy, "forces": derivative.sum(axis=(1, 2))}
        if atoms.cell.rank == 3:
            virial = np.einsum("ijka,ijkb->ab", apart, derivative) / 2
            self.results["stress"] = full_3x3_to_voigt_6_stress(virial) / atoms.get_volume()

    def check_state(self, atoms, tol=1e-15):
        last = self.atoms
        same = last is not None and np.array_equal(last.positions, atoms.positions)
        return [] if same and np.array_equal(last.cell.array, atoms.cell.array) else list(all_changes)


def soft_spheres() -> Atoms:
    """Four atoms in a box."""
    corners = [[0, 0, 0], [0, 0.5, 0.5], [0.5, 0, 0.5], [0.5, 0.5, 0]]
    atoms = Atoms("Ar4", cell=[5.3] * 3, pbc=True, scaled_positions=corners)
    atoms.calc = SoftSpheres()
    return atoms


def read_rows(directory: Path) -> dict[str, np.ndarray]:
    """The log of a run."""
    return read_log(directory / "log.csv")


def forget_choices(directory: str, *keys: str) -> None:
    """Leave a run as one was before the calculator had these parameters."""
    record = json.loads(Path(directory, RUN).read_text())
    path = Path(directory, CHECKPOINT)
    state = Checkpoint.read(path)
    for key in keys:
        del record["identity"][key], state.identity[key]
    Path(directory, RUN).write_text(json.dumps(record))
    state.write(path)
