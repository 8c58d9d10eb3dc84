"""What a training starts from: a new model with reference energies and scale, or an existing model to go on with."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
from ase.data import atomic_numbers, chemical_symbols

from so3md.long_range import LARGEST_LENGTH
from so3md.model_checks import is_number
from so3md.model_file import SAME, ModelFile
from so3md.nearest_name import closest
from so3md.reference.initial import new_model
from so3md.training.checks import check_model
from so3md.training.config import Config
from so3md.training.data import elements_of
from so3md.training.hyperparameters import LONG_RANGE_KEYS, check_size, complete
from so3md.training.on_demand import taken
from so3md.training.sample import Parts, Sample, all_of
from so3md.training.schema import ConfigError

#: Of long-range terms in periodic structures where nothing else is asked for: that of SO3LR (A).
DEFAULT_CUTOFF = 12.0

#: Energies (eV) of structures by a model whose shifts are zero.
Evaluate = Callable[[ModelFile, Sequence[Sample]], np.ndarray]


def check_low_rank(config: Config, model: ModelFile | None) -> None:
    """Raise ConfigError for a training from random numbers that is to have a low rank. model: to go on with, if any."""
    if model is None and config.training.low_rank is not None:
        raise ConfigError(
            "training.low_rank: only for so3md finetune; a network of random numbers has to learn all of its matrices"
        )


def start_new(config: Config, parts: Parts) -> ModelFile:
    """A new model for the elements of the data (or `model.elements`), with its zero of energy and its scale set."""
    architecture, hyper = complete(config.model, parts["train"])
    elements = _elements(config.model.get("elements"), parts)
    dtype = np.float32 if config.precision == "float32" else np.float64
    check_size(hyper, len(elements), architecture)
    file = new_model(hyper, elements, config.seed, architecture, name=config.name or "so3krates", dtype=dtype)
    set_long_range(file, config, parts, of_file=False)
    file.tensors["energy.scale"] = np.full(len(elements), _scale(config, parts["train"]), dtype)
    file.tensors["energy.shift"] = _shifts(config.reference_energies or "fit", parts["train"], file, None)
    check_model(file, config.loss, parts)
    return file


def start_from(file: ModelFile, config: Config, parts: Parts, evaluate: Evaluate) -> ModelFile:
    """A copy of an existing model to go on with; its zero of energy becomes that of the data unless told otherwise.

    Raises ConfigError for settings that would make it another network, ValueError for elements that it does not have.
    """
    for key in config.model:
        if key not in LONG_RANGE_KEYS:
            known = " and ".join(LONG_RANGE_KEYS)
            raise ConfigError(f"model.{key}: fine-tuning keeps the network; only {known} may be given")
    missing = sorted(set(elements_of(all_of(parts))) - set(file.elements))
    if missing:
        names = ", ".join(chemical_symbols[z] for z in missing)
        raise ValueError(f"the model {file.name!r} does not have these elements of the data: {names}")
    result = copy.deepcopy(file)
    result.name = config.name or f"{file.name}-finetuned"
    set_long_range(result, config, parts, of_file=True)
    check_model(result, config.loss, parts)
    if isinstance(config.scale, float):
        result.tensors["energy.scale"] = np.full_like(file.tensors["energy.scale"], config.scale)
    result.tensors["energy.shift"] = _shifts(config.reference_energies or "fit", parts["train"], file, evaluate)
    return result


def set_long_range(file: ModelFile, config: Config, parts: Parts, of_file: bool) -> None:
    """Give a model the long-range cutoffs that it is trained with, which are then those that it is evaluated with.

    Those of the configuration, else (of_file) the file's own, else 12 A for periodic structures and none for molecules;
    what the data of a new model have nothing of, it is not made for. Raises ConfigError for periodic structures without
    a cutoff.
    """
    origins = (sample.origin for sample in all_of(parts) if sample.structure.pbc.any())
    periodic = next(origins, None)
    only_periodic = all(sample.structure.pbc.any() for sample in all_of(parts))
    has_terms = any(file.hyperparameters.get(term) is not None for term in ("electrostatics", "dispersion"))
    if not of_file and has_terms:
        file.long_range_cutoff = DEFAULT_CUTOFF if periodic else None
        file.long_range_cutoff_molecules = SAME if only_periodic else None
    if "long_range_cutoff" in config.model:
        file.long_range_cutoff = _cutoff(config, "long_range_cutoff", file, has_terms)
        file.long_range_cutoff_molecules = SAME
    if "long_range_cutoff_molecules" in config.model:
        file.long_range_cutoff_molecules = _cutoff(config, "long_range_cutoff_molecules", file, has_terms)
    if periodic and has_terms and file.long_range_cutoff is None:
        raise ConfigError(
            f"model.long_range_cutoff: {periodic} is periodic, and electrostatics and dispersion need a "
            f"cutoff there: give one in A ({DEFAULT_CUTOFF:g} is that of SO3LR)"
        )


def _cutoff(config: Config, key: str, file: ModelFile, has_terms: bool) -> float | None:
    value = config.model[key]
    if value is None:
        return None
    least, what = file.long_range_damping, "that over which dispersion is switched off"
    network = file.hyperparameters["cutoff"]
    if has_terms and network > least:  # a shorter one would take from the model what its network sees
        least, what = network, "the cutoff of the network"
    if not is_number(value) or not least <= value <= LARGEST_LENGTH:
        raise ConfigError(
            f"model.{key}: expected a length (A), at least {what}, {least:g}, and at most {LARGEST_LENGTH:g}, "
            f"or null for none, found {value!r}"
        )
    return float(value)


def composition(samples: Iterable[Sample], elements: Sequence[int]) -> np.ndarray:
    """Number of atoms of each element in each structure, (structures, elements)."""
    return np.array([[np.count_nonzero(sample.structure.numbers == z) for z in elements] for sample in samples], float)


def _elements(given: Any, parts: Parts) -> list[int]:
    found = elements_of(all_of(parts))
    if given is None:
        return found
    if not isinstance(given, list):
        raise ConfigError(f"model.elements: expected a list of symbols, found {given!r}")
    elements = sorted({_number(item, "model.elements") for item in given})
    missing = ", ".join(chemical_symbols[z] for z in found if z not in elements)
    if missing:
        raise ConfigError(f"model.elements: the data have {missing} as well")
    return elements


def _number(symbol: Any, key: str) -> int:
    if not isinstance(symbol, str) or symbol not in atomic_numbers or symbol == "X":
        raise ConfigError(f"{key}: unknown element {symbol!r}; {closest(str(symbol), list(atomic_numbers)[1:])}")
    return atomic_numbers[symbol]


def _scale(config: Config, samples: Sequence[Sample]) -> float:
    if isinstance(config.scale, float):
        return config.scale
    squares, count = 0.0, 0
    for sample in samples:
        if sample.forces is not None:
            squares, count = squares + float(np.sum(sample.forces**2)), count + sample.forces.size
    return float(np.sqrt(squares / count)) or 1.0 if count else 1.0


def _shifts(
    wanted: str | dict[str, float], samples: Sequence[Sample], file: ModelFile, evaluate: Evaluate | None
) -> np.ndarray:
    """energy.shift (elements), eV, double precision."""
    own = np.asarray(file.tensors["energy.shift"], dtype=float)
    if wanted == "none" or (wanted == "model" and evaluate is None):
        return np.zeros(len(file.elements))
    if wanted == "model":
        return own
    if isinstance(wanted, dict):
        given = {_number(symbol, "reference_energies"): value for symbol, value in wanted.items()}
        missing = ", ".join(chemical_symbols[z] for z in file.elements if z not in given)
        if missing:
            raise ConfigError(f"reference_energies: the value for {missing} is missing (eV per atom)")
        return np.array([given[z] for z in file.elements], dtype=float)
    energies = [sample.energy for sample in samples]
    places = np.array([place for place, energy in enumerate(energies) if energy is not None], int)
    if not len(places):
        return own
    chosen = samples if len(places) == len(samples) else taken(samples, places)
    counts = composition(chosen, file.elements)
    residual = np.array([energy for energy in energies if energy is not None])
    if evaluate is not None:
        residual = residual - evaluate(file, chosen) - counts @ own
    # Where the data do not tell elements apart (a single molecule), this is the smallest change that does it.
    change, *_ = np.linalg.lstsq(counts, residual, rcond=None)
    return own + change
