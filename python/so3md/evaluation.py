"""Errors of a calculator's energies and forces against the reference values of a data set."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from ase import Atoms
from ase.calculators.calculator import Calculator
from ase.data import chemical_symbols

from so3md.batch import evaluate_many
from so3md.calculator import So3kratesCalculator

#: Where reference values are looked for, the first that is there counting; then in what ASE itself has read.
ENERGY_KEYS = ("REF_energy", "ref_energy", "energy_ref", "DFT_energy", "dft_energy")
FORCES_KEYS = ("REF_forces", "ref_forces", "forces_ref", "DFT_forces", "dft_forces")
OFFSETS = ("elements", "none")


@dataclass
class Errors:
    """Errors of a quantity: mean absolute, root mean square and largest absolute one, and the number of values."""

    mae: float
    rmse: float
    largest: float
    count: int

    @classmethod
    def of(cls, differences: np.ndarray) -> Errors:
        """The errors of an array of differences, which must not be empty."""
        absolute = np.abs(differences)
        rmse = float(np.sqrt(np.mean(np.square(differences))))
        return cls(float(absolute.mean()), rmse, float(absolute.max()), int(absolute.size))


@dataclass
class Configuration:
    """One structure of the data set: what the reference says and what the model says; None where there is nothing.

    Energies in eV, forces (n, 3) in eV/Angstrom.
    """

    formula: str
    numbers: np.ndarray
    reference_energy: float | None
    reference_forces: np.ndarray | None
    energy: float
    forces: np.ndarray


@dataclass
class Evaluation:
    """The results for a data set. offsets: atomic number -> energy (eV) added to the model for each such atom."""

    configurations: list[Configuration]
    offsets: dict[int, float] = field(default_factory=dict)
    independent_offsets: int = 0

    def energy(self, configuration: Configuration) -> float:
        """The energy of the model with the offsets, in eV."""
        return configuration.energy + sum(self.offsets.get(int(z), 0.0) for z in configuration.numbers)

    def energy_pairs(self, per_atom: bool) -> tuple[np.ndarray, np.ndarray]:
        """Energies (reference, model with offsets) of the structures that have a reference, in eV or eV/atom."""
        chosen = [item for item in self.configurations if item.reference_energy is not None]
        sizes = np.array([len(item.numbers) if per_atom else 1 for item in chosen])
        reference = np.array([item.reference_energy for item in chosen], dtype=float)
        return reference / sizes, np.array([self.energy(item) for item in chosen]) / sizes

    def force_pairs(self, element: int | None = None) -> tuple[np.ndarray, np.ndarray]:
        """Force components (reference, model), flat, in eV/Angstrom; of all atoms or those of an element."""
        chosen = [item for item in self.configurations if item.reference_forces is not None]
        masks = [np.ones(len(c.numbers), dtype=bool) if element is None else c.numbers == element for c in chosen]
        pairs = [(c.reference_forces[mask], c.forces[mask]) for c, mask in zip(chosen, masks, strict=True)]
        empty = np.empty((0, 3))
        reference = np.concatenate([empty, *(pair[0] for pair in pairs)])
        return reference.ravel(), np.concatenate([empty, *(pair[1] for pair in pairs)]).ravel()

    def summary(self) -> dict[str, Errors]:
        """Quantity (with its unit) -> errors, for what the data set has reference values of."""
        result = {}
        quantities = {
            "energy (eV)": self.energy_pairs(per_atom=False),
            "energy (eV/atom)": self.energy_pairs(per_atom=True),
            "forces (eV/A)": self.force_pairs(),
        }
        for z in sorted({int(z) for item in self.configurations for z in item.numbers}):
            quantities[f"forces on {chemical_symbols[z]} (eV/A)"] = self.force_pairs(z)
        for name, (reference, model) in quantities.items():
            if reference.size:
                result[name] = Errors.of(model - reference)
        return result


def evaluate(
    structures: Iterable[Atoms],
    calculator: Calculator,
    *,
    energy_key: str | None = None,
    forces_key: str | None = None,
    offset: str = "elements",
    on_structure: Callable[[], None] = lambda: None,
) -> Evaluation:
    """Compare a calculator with the reference values that structures carry.

    energy_key, forces_key: entries of atoms.info and atoms.arrays with the reference (default: the first of
    ENERGY_KEYS and FORCES_KEYS that is there, else what ASE has read as energy and forces). offset "elements": the zero
    of the energy differs between methods, so an energy for each atom of each element, found by least squares of the
    energies per atom, is added to the model; "none" compares the energies as they are. on_structure is called for
    each structure once it is evaluated. A `So3kratesCalculator` on one process lends its parameters to `evaluate_many`,
    which is quicker than one structure after the other. Raises ValueError, with the number of the structure, if a value
    is missing or cannot be evaluated, and if there are no reference values at all.
    """
    if offset not in OFFSETS:
        raise ValueError(f"energy offset {offset!r}: expected one of {', '.join(OFFSETS)}")
    references: deque[_Reference] = deque()  # of the structures that were taken in and are not yet evaluated

    def taken_in() -> Iterator[Atoms]:
        for number, atoms in enumerate(structures):
            with _named(number, atoms):
                references.append(_reference_of(atoms, energy_key, forces_key))
            yield atoms

    configurations = []
    for energy, forces in _predictions(taken_in(), calculator):
        reference = references.popleft()
        configurations.append(Configuration(**vars(reference), energy=energy, forces=forces))
        on_structure()
    if all(item.reference_energy is None and item.reference_forces is None for item in configurations):
        raise ValueError(
            "the data set has no reference energies or forces; name their entries if they have other names"
        )
    result = Evaluation(configurations)
    if offset == "elements":
        result.offsets, result.independent_offsets = _fit_offsets(configurations)
    return result


@dataclass
class _Reference:
    """The first fields of a `Configuration`."""

    formula: str
    numbers: np.ndarray
    reference_energy: float | None
    reference_forces: np.ndarray | None


def _reference_of(atoms: Atoms, energy_key: str | None, forces_key: str | None) -> _Reference:
    energy = _reference(atoms, atoms.info, energy_key, ENERGY_KEYS, "energy")
    forces = _reference(atoms, atoms.arrays, forces_key, FORCES_KEYS, "forces")
    if forces is not None and np.shape(forces) != (len(atoms), 3):
        raise ValueError(f"reference forces: expected the shape {(len(atoms), 3)}, found {np.shape(forces)}")
    return _Reference(atoms.get_chemical_formula(), atoms.numbers, None if energy is None else float(energy), forces)


def _predictions(structures: Iterable[Atoms], calculator: Calculator) -> Iterator[tuple[float, np.ndarray]]:
    """Energy and forces of the model for each structure, in their order."""
    if isinstance(calculator, So3kratesCalculator) and calculator.team.size == 1:
        parameters = {key: value for key, value in calculator.parameters.items() if key != "device"}
        for prediction in evaluate_many(structures, **parameters):
            yield prediction.energy, prediction.forces
        return
    for number, atoms in enumerate(structures):
        probe = atoms.copy()
        probe.calc = calculator
        with _named(number, atoms):
            forces = probe.get_forces()  # first, since it gives the energy as well
            energy = probe.get_potential_energy()
        yield energy, forces


@contextmanager
def _named(number: int, atoms: Atoms) -> Iterator[None]:
    try:
        yield
    except ValueError as error:
        raise ValueError(f"structure {number} ({atoms.get_chemical_formula()}): {error}") from error


def _reference(atoms: Atoms, entries: dict[str, Any], key: str | None, known: tuple[str, ...], name: str) -> Any:
    read_by_ase = atoms.calc.results if atoms.calc else {}
    if key is not None:
        if key in entries:
            return entries[key]
        if key in read_by_ase:
            return read_by_ase[key]
        raise ValueError(f"there is no entry {key!r} for the reference {name}")
    for candidate in known:
        if candidate in entries:
            return entries[candidate]
    return read_by_ase.get(name)


def _fit_offsets(configurations: list[Configuration]) -> tuple[dict[int, float], int]:
    """Energy per atom of each element that, added to the model, brings it closest to the reference (squared errors of
    the energies per atom), and how many combinations of them the data set determines; the rest are left zero."""
    chosen = [item for item in configurations if item.reference_energy is not None]
    if not chosen:
        return {}, 0
    elements = sorted({int(z) for item in chosen for z in item.numbers})
    fractions = np.array([[np.mean(item.numbers == z) for z in elements] for item in chosen])
    missing = np.array([(item.reference_energy - item.energy) / len(item.numbers) for item in chosen])
    solution, _, rank, _ = np.linalg.lstsq(fractions, missing, rcond=None)
    return dict(zip(elements, solution.tolist(), strict=True)), int(rank)
