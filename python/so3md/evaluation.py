"""Errors of a calculator against the reference values of a data set."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
from ase import Atoms
from ase.calculators.calculator import Calculator
from ase.data import chemical_symbols
from ase.stress import voigt_6_to_full_3x3_stress

from so3md.batch import ManyEvaluator, Prediction, chunks
from so3md.calculator import UNCERTAINTIES, So3kratesCalculator
from so3md.defined_properties import volume_of
from so3md.devices import device_of_rank
from so3md.parallel import Team
from so3md.reference_values import (
    QUANTITIES,
    UNITS,
    Reference,
    find_in_atoms,
    make_reference,
    names_in_atoms,
    what_looks_like,
)

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
    """One structure of the data set: what the reference says and what the model says.

    number: by which the structure is called. model: quantity -> prediction, in the shapes and units of `Reference`, for
    the quantities that the model gives, with its uncertainties.
    """

    number: int
    formula: str
    numbers: np.ndarray
    reference: Reference
    model: dict[str, Any]


@dataclass
class Evaluation:
    """The results for a data set. offsets: atomic number -> energy (eV) added to the model for each such atom."""

    configurations: list[Configuration]
    offsets: dict[int, float] = field(default_factory=dict)
    independent_offsets: int = 0

    def energy(self, configuration: Configuration) -> float:
        """The energy of the model with the offsets, in eV."""
        return configuration.model["energy"] + sum(self.offsets.get(int(z), 0.0) for z in configuration.numbers)

    def energy_pairs(self, per_atom: bool) -> tuple[np.ndarray, np.ndarray]:
        """Energies (reference, model with offsets) of the structures that have a reference, in eV or eV/atom."""
        chosen = [item for item in self.configurations if item.reference.energy is not None]
        sizes = np.array([len(item.numbers) if per_atom else 1 for item in chosen])
        reference = np.array([item.reference.energy for item in chosen], dtype=float)
        return reference / sizes, np.array([self.energy(item) for item in chosen]) / sizes

    def force_pairs(self, element: int | None = None) -> tuple[np.ndarray, np.ndarray]:
        """Force components (reference, model), flat, in eV/Angstrom; of all atoms or those of an element."""
        parts = []
        for item in self.configurations:
            forces = item.reference.forces
            if forces is not None and "forces" in item.model:
                mask = np.ones(len(item.numbers), dtype=bool) if element is None else item.numbers == element
                parts.append((forces[mask], item.model["forces"][mask]))
        return _flat(parts)

    def pairs(self, quantity: str) -> tuple[np.ndarray, np.ndarray]:
        """Components (reference, model), flat, of a quantity that is no energy, where there are both."""
        return _flat([(getattr(item.reference, quantity), item.model[quantity]) for item in self._with_both(quantity)])

    def not_compared(self) -> dict[str, int]:
        """Quantity -> number of structures with a reference value that the model has no prediction for."""
        found = {
            name: sum(
                getattr(item.reference, name) is not None and name not in item.model for item in self.configurations
            )
            for name in QUANTITIES
        }
        return {name: count for name, count in found.items() if count}

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
        for name in QUANTITIES[2:]:
            quantities[f"{name.replace('_', ' ')} ({UNITS[name]})"] = self.pairs(name)
        for name, (reference, model) in quantities.items():
            if reference.size:
                result[name] = Errors.of(model - reference)
        return result

    def _with_both(self, quantity: str) -> list[Configuration]:
        return [
            item
            for item in self.configurations
            if getattr(item.reference, quantity) is not None and quantity in item.model
        ]


def _flat(parts: list[tuple[np.ndarray, np.ndarray]]) -> tuple[np.ndarray, np.ndarray]:
    first, second = ([np.ravel(pair[k]) for pair in parts] for k in (0, 1))
    return np.concatenate([np.empty(0), *first]), np.concatenate([np.empty(0), *second])


def read_references(
    frames: Iterable[tuple[int, Atoms]],
    keys: Mapping[str, str] | None = None,
    source: str = "the data set",
    required: bool = True,
) -> list[Reference]:
    """The reference values of numbered structures. keys: quantity -> the name of its entry, instead of the usual ones.

    Raises ValueError for a value of another shape, with the number of the structure; if a quantity of `keys` is
    nowhere; and, if they are required, if no structure has a value of anything. Values that are not finite are left
    out.
    """
    keys = keys or {}
    references: list[Reference] = []
    names: set[str] = set()
    quantities: set[str] = set()
    for number, atoms in frames:
        with named(number, atoms):
            found = find_in_atoms(atoms, keys)
            references.append(make_reference(found, len(atoms), volume_of(atoms), named=keys))
        names |= names_in_atoms(atoms)
        quantities |= found.keys()
    for quantity, key in keys.items():
        if quantity not in quantities:
            raise ValueError(
                f"{source}: there is no entry {key!r} for the reference {quantity}; {what_looks_like(quantity, names)}"
            )
    if required and not quantities:
        similar = "; ".join(f"{name}: {what_looks_like(name, names)}" for name in ("energy", "forces"))
        raise ValueError(
            f"{source} has no reference values; name their entries, with --energy-key and --forces-key for example "
            f"({similar}); --predictions FILE writes what the model says of structures without any"
        )
    return references


def evaluate(
    structures: Sequence[Atoms],
    calculator: Calculator,
    *,
    references: Sequence[Reference] | None = None,
    numbers: Sequence[int] | None = None,
    offset: str = "elements",
    on_structure: Callable[[], None] = lambda: None,
    on_error: Callable[[ValueError], None] | None = None,
) -> Evaluation:
    """Compare a calculator with the reference values of structures (default: those of `read_references`).

    numbers: by which messages call the structures (default: from 0 on). offset "elements": the zero of the energy
    differs between methods, so an energy for each atom of each element, found by least squares of the energies per
    atom, is added to the model; "none" compares the energies as they are. on_structure is called for each structure
    once it is evaluated. A `So3kratesCalculator` lends its parameters to `evaluate_many`, on every rank for a part of
    the structures; results are the same for any number of ranks. Forces are those of the model, whatever constraints
    the structures carry. Raises ValueError, with the number of the structure, for one that cannot be evaluated; with
    on_error, that is called instead, and the structure is left out.

    >>> from so3md import So3kratesCalculator
    >>> from so3md.structures import example_path, read_structures
    >>> frames = read_structures(example_path("ethanol"), ":5")
    >>> errors = evaluate(frames, So3kratesCalculator()).summary()
    >>> 0 < errors["forces (eV/A)"].mae < 0.2
    True
    """
    if offset not in OFFSETS:
        raise ValueError(f"energy offset {offset!r}: expected one of {', '.join(OFFSETS)}")
    numbers = range(len(structures)) if numbers is None else numbers
    if references is None:
        references = read_references(zip(numbers, structures, strict=True))
    configurations = []
    outcomes = _outcomes(structures, calculator)
    for number, atoms, reference, outcome in zip(numbers, structures, references, outcomes, strict=True):
        if isinstance(outcome, ValueError):
            error = ValueError(f"structure {number} ({atoms.get_chemical_formula()}): {outcome}")
            if on_error is None:
                raise error from outcome
            on_error(error)
        else:
            formula = atoms.get_chemical_formula()
            configurations.append(Configuration(number, formula, atoms.numbers, reference, outcome))
        on_structure()
    result = Evaluation(configurations)
    if offset == "elements":
        result.offsets, result.independent_offsets = _fit_offsets(configurations)
    return result


# --- predictions ----------------------------------------------------------------------------------------------------

#: Quantity -> prediction in the shape of `Reference`, or why there is none.
_Outcome = dict[str, Any] | ValueError


def _outcomes(structures: Sequence[Atoms], calculator: Calculator) -> Iterator[_Outcome]:
    """What the model says of each structure, in their order."""
    if not isinstance(calculator, So3kratesCalculator):
        return (_of_calculator(atoms, calculator) for atoms in structures)
    team = calculator.team
    parameters = dict(calculator.parameters)
    parameters["threads"] = parameters["threads"] or team.threads() or None
    parameters["device"] = device_of_rank(parameters["device"], team)
    evaluator = team.together(lambda: ManyEvaluator(**parameters))
    if team.leads:  # of all structures, since the other ranks' warnings are not shown
        evaluator.warn_of_states(structures)
    return _of_all_ranks(structures, evaluator, team)


def _of_all_ranks(structures: Sequence[Atoms], evaluator: ManyEvaluator, team: Team) -> Iterator[_Outcome]:
    """Rank r evaluates structures r, r + size, ... of each portion; all ranks get all outcomes."""

    def own_part(portion: list[Atoms]) -> list[_Outcome]:
        outcomes = evaluator.outcomes(portion[team.rank :: team.size], quiet=True)
        return [
            outcome if isinstance(outcome, ValueError) else _as_model(atoms, outcome) for atoms, outcome in outcomes
        ]

    for portion in chunks(structures, team.size):
        own = team.together(partial(own_part, portion))
        parts = [own] if team.several is None else team.several.messages.allgather(own)
        for number in range(len(portion)):
            yield parts[number % team.size][number // team.size]


def _as_model(atoms: Atoms, prediction: Prediction) -> dict[str, Any]:
    found = {name: getattr(prediction, name) for name in (*QUANTITIES, *UNCERTAINTIES)}
    if atoms.pbc.any():
        found["dipole"] = None  # another choice of images has another one
    if prediction.stress is not None:
        found["stress"] = voigt_6_to_full_3x3_stress(prediction.stress)
    return {name: value for name, value in found.items() if value is not None}


def _of_calculator(atoms: Atoms, calculator: Calculator) -> _Outcome:
    """By a calculator of another kind, one structure after the other."""
    probe = atoms.copy()
    probe.set_constraint()  # they would set forces to zero
    probe.calc = calculator
    try:
        found = {"forces": probe.get_forces(), "energy": probe.get_potential_energy()}
    except ValueError as error:
        return error
    if volume_of(atoms) is not None and "stress" in calculator.implemented_properties:
        found["stress"] = probe.get_stress(voigt=False)
    return found


@contextmanager
def named(number: int, atoms: Atoms) -> Iterator[None]:
    """Let errors name the structure."""
    try:
        yield
    except ValueError as error:
        raise ValueError(f"structure {number} ({atoms.get_chemical_formula()}): {error}") from error


def _fit_offsets(configurations: list[Configuration]) -> tuple[dict[int, float], int]:
    """Energy per atom of each element that, added to the model, brings it closest to the reference (squared errors of
    the energies per atom), and how many combinations of them the data set determines; the rest are left zero."""
    chosen = [item for item in configurations if item.reference.energy is not None]
    if not chosen:
        return {}, 0
    elements = sorted({int(z) for item in chosen for z in item.numbers})
    fractions = np.array([[np.mean(item.numbers == z) for z in elements] for item in chosen])
    missing = np.array([(item.reference.energy - item.model["energy"]) / len(item.numbers) for item in chosen])
    solution, _, rank, _ = np.linalg.lstsq(fractions, missing, rcond=None)
    return dict(zip(elements, solution.tolist(), strict=True)), int(rank)
