"""Evaluating many structures at once, such as the molecules of a data set."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
from ase import Atoms
from ase.stress import full_3x3_to_voigt_6_stress

from so3md.calculator_parameters import checked_parameter
from so3md.charge_and_spin import ChargeAndSpin, charge_and_spin_of, check_charge_and_spin
from so3md.committee import checked_models, combined, load_members
from so3md.defined_properties import volume_of
from so3md.electric_field import warn_of_periodic_field
from so3md.ignored_states import StateWatch
from so3md.loading import hyperparameters_of
from so3md.long_range import OF_MODEL, LongRange, chosen_lengths, warn_of_charged_cell

if TYPE_CHECKING:
    from so3md._engine import BatchEngine, Model

#: Structures are taken in until they have this many atoms, or there are this many: enough work for many threads, while
#: inputs and results of a chunk stay at some 10 MB.
CHUNK_ATOMS = 40_000
CHUNK_STRUCTURES = 10_000

#: Columns of the engine's energies after the total.
_COMPONENTS = ("nn", "nn_noshift", "zbl", "electrostatics", "dispersion")


@dataclass
class Prediction:
    """What a model says of one structure of n atoms; None for what was not asked for or is not defined.

    Energies are in eV, forces (n, 3) in eV/Angstrom, stress (6, Voigt order xx yy zz yz xz xy, ASE's sign) in
    eV/Angstrom^3, stresses (n, 6) those of atoms, which add up to it, charges (n) in e, Hirshfeld ratios (n) and ratios
    of C6 (n) have no unit, the dipole (3) is in e Angstrom, of the positions as they are given, forces_uncertainty (n)
    and the largest of it, uncertainty, are in eV/Angstrom: see `So3kratesCalculator`.
    """

    energy: float
    energy_components: dict[str, float]
    energies: np.ndarray
    forces: np.ndarray | None = None
    stress: np.ndarray | None = None
    stresses: np.ndarray | None = None
    charges: np.ndarray | None = None
    hirshfeld_ratios: np.ndarray | None = None
    dipole: np.ndarray | None = None
    c6_ratios: np.ndarray | None = None
    uncertainty: float | None = None
    forces_uncertainty: np.ndarray | None = None


def evaluate_many(
    structures: Iterable[Atoms],
    model: str | os.PathLike[str] | Sequence[str | os.PathLike[str]] = "so3lr",
    *,
    charge: float | None = None,
    spin: float | None = None,
    lr_cutoff: float | str | None = OF_MODEL,
    lr_damping: float | str = OF_MODEL,
    precision: str = "mixed",
    threads: int | None = None,
    device: str = "cpu",
    coulomb: str = "cutoff",
    ewald_accuracy: float | None = None,
    ewald_method: str = "auto",
    dispersion_tail: bool = False,
    electric_field: Sequence[float] | None = None,
    forces: bool = True,
    stresses: bool = False,
    on_error: Callable[[int, ValueError], None] | None = None,
) -> Iterator[Prediction | None]:
    """The predictions for structures, in their order: thousands of small molecules per second.

    Parameters are those of `So3kratesCalculator`, and so are the results but for rounding, without the overhead of
    single evaluations: several small structures are evaluated together on each thread, large ones one after the other
    on all threads. Nothing depends on the number of threads, not even rounding.

    forces: also forces and stress (structures that are periodic and have three cell vectors); stresses: with them also
    those of atoms. Structures are taken from the iterable as needed, in chunks of some ten thousand atoms, so that
    neither they nor the predictions need to fit into memory.

    Raises FileNotFoundError or ValueError at once for bad parameters. A structure that cannot be evaluated raises
    ValueError, with its index and what is wrong, when its turn comes; with on_error, that is called with the index and
    the error instead, and the prediction is None.

    >>> from ase.build import molecule
    >>> from so3md import evaluate_many
    >>> water, methane = evaluate_many([molecule("H2O"), molecule("CH4")])
    >>> water.forces.shape, methane.forces.shape
    ((3, 3), (5, 3))
    >>> water.dipole.shape, water.stress is None
    ((3,), True)
    """
    parameters: dict[str, Any] = {
        "lr_cutoff": lr_cutoff,
        "lr_damping": lr_damping,
        "precision": precision,
        "threads": threads,
        "device": device,
        "coulomb": coulomb,
        "ewald_accuracy": ewald_accuracy,
        "ewald_method": ewald_method,
        "dispersion_tail": dispersion_tail,
        "electric_field": electric_field,
        "charge": charge,
        "spin": spin,
    }
    evaluator = ManyEvaluator(model, **parameters)

    def predictions() -> Iterator[Prediction | None]:
        for index, (atoms, outcome) in enumerate(evaluator.outcomes(structures, forces, stresses=stresses)):
            if isinstance(outcome, ValueError):
                error = ValueError(f"structure {index} ({atoms.get_chemical_formula()}): {outcome}")
                error.__cause__ = outcome
                if on_error is None:
                    raise error
                on_error(index, error)
                yield None
            else:
                yield outcome

    return predictions()


class ManyEvaluator:
    """What evaluates many structures: engines of its own, for parameters of `evaluate_many`."""

    def __init__(
        self,
        model: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
        charge: float | None,
        spin: float | None,
        **parameters: Any,
    ) -> None:
        checked = {key: checked_parameter(key, value) for key, value in parameters.items()}
        self._uses_ewald = checked.get("coulomb") == "ewald"
        self._field = checked.pop("electric_field", None)
        self._totals = checked_parameter("charge", charge), checked_parameter("spin", spin)
        opened = load_members(checked_models(model))
        self._watch = StateWatch(hyperparameters_of(opened[0]))
        self._engines = _Engines(opened, electric_field=self._field or (0.0, 0.0, 0.0), **checked)

    def outcomes(
        self, structures: Iterable[Atoms], forces: bool = True, quiet: bool = False, stresses: bool = False
    ) -> Iterator[tuple[Atoms, Prediction | ValueError]]:
        """Each structure with its prediction, or with what is wrong with it; quiet: without warnings of its state."""
        for chunk in chunks(structures):
            states = self._states(chunk, quiet)
            good = [atoms for atoms, state in zip(chunk, states, strict=True) if not isinstance(state, ValueError)]
            states_of_good = [state for state in states if not isinstance(state, ValueError)]
            evaluated = self._engines.evaluate(good, states_of_good, forces, forces and stresses)
            for atoms, state in zip(chunk, states, strict=True):
                yield atoms, state if isinstance(state, ValueError) else next(evaluated)

    def warn_of_states(self, structures: Iterable[Atoms]) -> None:
        """Give the warnings that `outcomes` gives of charges and spins."""
        self._states(structures, quiet=False)

    def _states(self, structures: Iterable[Atoms], quiet: bool) -> list[ChargeAndSpin | ValueError]:
        structures = list(structures)
        with _no_warnings() if quiet else nullcontext():
            states = [_state_of(atoms, *self._totals) for atoms in structures]
            self._watch.look_at(state for state in states if not isinstance(state, ValueError))
            for atoms, state in zip(structures, states, strict=True):
                if isinstance(state, ValueError):
                    continue
                if self._uses_ewald:
                    warn_of_charged_cell(state.charge, atoms.pbc)
                warn_of_periodic_field(self._field, atoms.pbc)
        return states


class _Engines:
    """The engines for structures with and without a periodic direction, which are one if the lengths are the same."""

    def __init__(
        self,
        models: Sequence[Model],
        lr_cutoff: float | str | None,
        lr_damping: float | str,
        threads: int | None,
        **options: Any,
    ) -> None:
        self._models, self._lengths = models, (lr_cutoff, lr_damping)
        self._options = {"threads": threads or 0} | options
        self._made: dict[LongRange, list[BatchEngine]] = {}
        self._of(self.lengths(periodic=False))  # bad parameters are refused at once

    def lengths(self, periodic: bool) -> LongRange:
        return chosen_lengths(self._models[0], *self._lengths, periodic)

    def _of(self, lengths: LongRange) -> list[BatchEngine]:
        from so3md import _engine

        if lengths not in self._made:
            self._made[lengths] = [
                _engine.BatchEngine(model, lr_cutoff=lengths.cutoff, lr_damping=lengths.damping, **self._options)
                for model in self._models
            ]
        return self._made[lengths]

    def evaluate(
        self, structures: Sequence[Atoms], states: Sequence[ChargeAndSpin], forces: bool, stresses: bool
    ) -> Iterator[Prediction | ValueError]:
        """The outcomes for structures, in their order."""
        lengths = [self._lengths_or_error(bool(atoms.pbc.any())) for atoms in structures]
        outcomes: dict[LongRange, Iterator[Prediction | ValueError]] = {}
        for kind in dict.fromkeys(lengths):
            if isinstance(kind, LongRange):
                chosen = [number for number, other in enumerate(lengths) if other == kind]
                of_kind = [structures[number] for number in chosen], [states[number] for number in chosen]
                outcomes[kind] = _evaluate(self._of(kind), *of_kind, forces, stresses)
        for kind in lengths:
            yield next(outcomes[kind]) if isinstance(kind, LongRange) else kind

    def _lengths_or_error(self, periodic: bool) -> LongRange | ValueError:
        try:
            return self.lengths(periodic)
        except ValueError as error:
            return error


@contextmanager
def _no_warnings() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def chunks(structures: Iterable[Atoms], times: int = 1) -> Iterator[list[Atoms]]:
    """Structures in portions, as large as one call of the engine takes, or some times that."""
    chunk: list[Atoms] = []
    num_atoms = 0
    for atoms in structures:
        chunk.append(atoms)
        num_atoms += len(atoms)
        if num_atoms >= times * CHUNK_ATOMS or len(chunk) >= times * CHUNK_STRUCTURES:
            yield chunk
            chunk, num_atoms = [], 0
    if chunk:
        yield chunk


def _state_of(atoms: Atoms, charge: float | None, spin: float | None) -> ChargeAndSpin | ValueError:
    try:
        state = charge_and_spin_of(atoms, charge, spin)
        check_charge_and_spin(int(atoms.numbers.sum()), state)
    except ValueError as error:
        return error
    return state


def _evaluate(
    engines: Sequence[BatchEngine],
    structures: list[Atoms],
    states: list[ChargeAndSpin],
    forces: bool,
    stresses: bool,
) -> Iterator[Prediction | ValueError]:
    if not structures:
        return
    sizes = [len(atoms) for atoms in structures]
    output = _output(engines, structures, states, forces, stresses)
    of_atoms = ("energies", "forces", "charges", "hirshfeld_ratios", "c6_ratios", "forces_uncertainty")
    by_atom = {key: output[key] for key in of_atoms if key in output}
    bounds = np.concatenate([[0], np.cumsum(sizes)]).tolist()
    for number, (begin, end) in enumerate(pairwise(bounds)):
        if output["errors"][number]:
            yield ValueError(output["errors"][number])
            continue
        atoms = structures[number]
        energy, *components = output["energy"][number].tolist()
        # Copies, so that who keeps one row does not keep those of the whole chunk.
        rows = {key: values[begin:end].copy() for key, values in by_atom.items()}
        prediction = Prediction(energy, dict(zip(_COMPONENTS, components, strict=True)), **rows)
        if forces and (volume := volume_of(atoms)) is not None:
            prediction.stress = full_3x3_to_voigt_6_stress(output["virial"][number]) / volume
            if stresses:
                prediction.stresses = full_3x3_to_voigt_6_stress(output["virials"][begin:end]) / volume
        if prediction.charges is not None:
            prediction.dipole = prediction.charges @ atoms.positions
        if prediction.forces_uncertainty is not None:
            prediction.uncertainty = float(prediction.forces_uncertainty.max(initial=0.0))
        yield prediction


def _output(
    engines: Sequence[BatchEngine],
    structures: list[Atoms],
    states: list[ChargeAndSpin],
    forces: bool,
    stresses: bool,
) -> dict[str, Any]:
    """What the engine says of all structures; of several, what the committee says."""
    joined: dict[str, Any] = {
        "sizes": [len(atoms) for atoms in structures],
        "numbers": np.concatenate([atoms.numbers for atoms in structures]),
        "positions": np.concatenate([atoms.positions for atoms in structures]),
        "cells": np.array([atoms.cell.array for atoms in structures]),
        "pbc": np.array([atoms.pbc for atoms in structures]),
        "charges": [state.charge for state in states],
        "spins": [state.spin for state in states],
    }
    outputs = [engine.evaluate(**joined, forces=forces, virials=stresses) for engine in engines]
    if len(outputs) == 1:
        return outputs[0]
    errors = [next(filter(None, of_one), "") for of_one in zip(*(output["errors"] for output in outputs), strict=True)]
    return combined(outputs, forces) | {"errors": errors}
