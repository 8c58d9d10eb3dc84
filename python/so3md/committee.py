"""Several models that are evaluated together: their mean, and how far they are apart."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from so3md.loading import hyperparameters_of, load_model, model_path, names_of_models

if TYPE_CHECKING:
    from so3md._engine import Model

#: Heads and terms of the energy: members that differ in them have another physics.
_TERMS = ("charge_head", "hirshfeld_head", "c6_head", "electrostatics", "dispersion")
_LENGTHS = ("long_range_cutoff", "long_range_cutoff_molecules", "long_range_damping")


def checked_models(value: Any) -> str | list[str]:
    """The parameter `model`: one name or path, or several in a list. Raises FileNotFoundError or ValueError.

    A list of one is that one.
    """
    if isinstance(value, str | os.PathLike):
        model_path(value)  # raises for an unknown one
        return os.fspath(value)
    several = list(value) if isinstance(value, list | tuple) else []
    if not several or not all(isinstance(item, str | os.PathLike) for item in several):
        raise ValueError(f"model: expected a name, or the path of a model file, or a list of them, found {value!r}")
    paths = [model_path(item).resolve() for item in several]
    for number, path in enumerate(paths):
        if path in paths[:number]:
            raise ValueError(
                f"model: expected different files, found {several[number]!r} as models {paths.index(path) + 1} and "
                f"{number + 1}, which agree about everything"
            )
    names = [os.fspath(item) for item in several]
    return names if len(names) > 1 else names[0]


def load_members(value: str | Sequence[str]) -> list[Model]:
    """Open the models of a parameter. Raises as `load_model`, and ValueError where they do not predict the same."""
    names = names_of_models(value)
    members = [load_model(name) for name in names]
    first = _what_it_predicts(members[0])
    for name, member in zip(names[1:], members[1:], strict=True):
        for key, found in _what_it_predicts(member).items():
            if found != first[key]:
                raise ValueError(
                    f"model: expected members that predict the same, found {key} {first[key]} of {names[0]} and "
                    f"{found} of {name}; take models that were trained with the same configuration"
                )
    return members


def _what_it_predicts(model: Model) -> dict[str, Any]:
    hyper = hyperparameters_of(model)
    terms = [name for name in _TERMS if hyper.get(name) is not None]
    lengths = {name: getattr(model, name) if model.has_long_range else None for name in _LENGTHS}
    return {"elements": model.elements, "heads and long-range terms": terms, **lengths}


def identity_of_files(value: str | Sequence[str]) -> dict[str, str]:
    """Names and a checksum (16 hexadecimal digits) of the files of a parameter `model`."""
    paths = [model_path(name) for name in names_of_models(value)]
    sums = [hashlib.sha256(Path(path).read_bytes()).hexdigest() for path in paths]
    whole = sums[0] if len(sums) == 1 else hashlib.sha256("".join(sums).encode()).hexdigest()
    return {"model": ", ".join(path.stem for path in paths), "model_checksum": whole[:16]}


def deviation(forces: Sequence[np.ndarray]) -> np.ndarray:
    """sqrt(mean over members of |F - mean F|^2), (n,), of forces (n, 3) of members: eV/Angstrom."""
    stacked = np.asarray(forces)
    return np.sqrt(np.square(stacked - stacked.mean(axis=0)).sum(axis=2).mean(axis=0))


def mean_of(members: Sequence[Any]) -> Any:
    """The mean of what members say: numbers, arrays, or mappings of these."""
    if isinstance(members[0], Mapping):
        return {key: mean_of([member[key] for member in members]) for key in members[0]}
    mean = np.mean(members, axis=0)
    return float(mean) if mean.ndim == 0 else mean


def combined(outputs: Sequence[Mapping[str, Any]], forces: bool) -> dict[str, Any]:
    """What the engine of a committee would give, from the results of the members' engines for all atoms."""
    own = ("forces_uncertainty", "errors")  # what a member thinks of itself has no part in it
    result = mean_of([{key: value for key, value in output.items() if key not in own} for output in outputs])
    if forces:
        result["forces_uncertainty"] = deviation([output["forces"] for output in outputs])
    return result
