"""A So3krates model as a driver of i-PI: `python -m so3md.ipi` prints the file that i-PI is to load.

i-PI loads drivers of others from a file, by its path (mode "custom"), and makes a module of it that has the name of the
file; hence a file of its own, `ipi_pes.py`: a module `ipi` would take the place of i-PI's.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from ase import Atoms
from ase.stress import voigt_6_to_full_3x3_stress

from so3md.batch import ManyEvaluator, Prediction
from so3md.calculator import So3kratesCalculator
from so3md.missing_packages import needed
from so3md.structures import read_structure

#: Energy, forces (n, 3), virial (3, 3), and other quantities as JSON, all in atomic units.
Answer = tuple[float, np.ndarray, np.ndarray, str]


class _Units(NamedTuple):
    """Atomic units in one Angstrom and one eV."""

    length: float
    energy: float


class Driver:
    """What i-PI calls with cells and positions.

    Parameters:
        template: a file with the atoms, in i-PI's order; its periodicity, charge and spin count, its cell and positions
            do not.
        verbose, verbosity: what i-PI passes; without effect.
        parameters: of So3kratesCalculator, as values or as text (i-PI's files have text): "lr_cutoff": "none".

    Structures that come together (i-PI's batch_size, such as all beads of a ring polymer) are evaluated together; a
    single one keeps its neighbour list. Structures without volume have no virial: zeros. The extra quantity is the
    dipole (e times Bohr), of positions as they come.

    Raises ImportError without i-PI, and FileNotFoundError or ValueError for bad parameters and structures.
    """

    def __init__(self, template: str, verbose: bool = False, verbosity: Any = None, **parameters: Any) -> None:
        with needed("so3md.ipi", "i-PI (3.3.1 is tested)", "ipi"):
            from ipi.utils.units import unit_to_internal

        self._units = _Units(
            unit_to_internal("length", "angstrom", 1.0), unit_to_internal("energy", "electronvolt", 1.0)
        )
        self._atoms = read_structure(template)
        self._calculator = So3kratesCalculator(**{key: _value_of(value) for key, value in parameters.items()})
        self._many = ManyEvaluator(**self._calculator.parameters)

    def __call__(self, cell: Any, positions: Any) -> Answer | list[Answer]:
        """The answer for a cell (3, 3), with vectors as columns, and positions (n, 3); for lists of them, a list."""
        if not isinstance(cell, list):
            return self._one(cell, positions)
        if len(cell) == 1:
            return [self._one(cell[0], positions[0])]
        return self._several(cell, positions)

    def _one(self, cell: np.ndarray, positions: np.ndarray) -> Answer:
        atoms = self._structure(cell, positions)
        self._calculator.calculate(atoms, ["forces"])
        results = self._calculator.results
        dipole = self._calculator.get_property("dipole", atoms) if "charges" in results else None
        stress = results.get("stress")
        return self._answer(atoms, results["energy"], results["forces"], stress, dipole)

    def _several(self, cells: Sequence[np.ndarray], positions: Sequence[np.ndarray]) -> list[Answer]:
        structures = [self._structure(*pair) for pair in zip(cells, positions, strict=True)]
        answers = []
        for atoms, outcome in self._many.outcomes(structures):
            if not isinstance(outcome, Prediction):
                raise outcome
            answers.append(self._answer(atoms, outcome.energy, outcome.forces, outcome.stress, outcome.dipole))
        return answers

    def _structure(self, cell: np.ndarray, positions: np.ndarray) -> Atoms:
        if len(positions) != len(self._atoms):
            raise ValueError(
                f"i-PI has {len(positions)} atoms and the template {len(self._atoms)}: expected the same atoms, in the "
                "same order"
            )
        atoms = self._atoms.copy()
        atoms.positions = np.asarray(positions) / self._units.length
        atoms.cell = np.asarray(cell).T / self._units.length
        return atoms

    def _answer(
        self,
        atoms: Atoms,
        energy: float,
        forces: Any,
        stress: np.ndarray | None,
        dipole: np.ndarray | None,
    ) -> Answer:
        units = self._units
        virial = np.zeros((3, 3))
        if stress is not None:
            virial = -voigt_6_to_full_3x3_stress(stress) * atoms.get_volume() * units.energy
        extras = "" if dipole is None else json.dumps({"dipole": (dipole * units.length).tolist()})
        return energy * units.energy, forces * (units.energy / units.length), virial, extras


def driver_path() -> Path:
    """The file that i-PI is to load: `<pes_path>`, or the option -P of i-pi-driver-py."""
    return Path(__file__).with_name("ipi_pes.py")


def _value_of(value: Any) -> Any:
    """What a parameter means that may be text."""
    if not isinstance(value, str):
        return value
    words = {"none": None, "true": True, "false": False}
    if value.lower() in words:
        return words[value.lower()]
    for kind in (int, float):
        try:
            return kind(value)
        except ValueError:
            continue
    return value


if __name__ == "__main__":
    print(driver_path())
