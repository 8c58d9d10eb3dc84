"""Hyperparameters of a new model: defaults for what the configuration leaves open."""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from typing import Any

from so3md.architectures import (
    ARCHITECTURES,
    SO3KRATES,
    check_hyperparameters,
    expected_tensors,
    with_defaults,
    without_defaults,
)
from so3md.model_file import ModelFileError
from so3md.nearest_name import closest
from so3md.reference.graph import neighbours
from so3md.training.sample import Sample
from so3md.training.schema import ConfigError

_MOST_LAYERS, _MOST_PARAMETERS = 100, 10**9
_BERNSTEIN_GAMMA = 0.9448630629184640  # 1/A, of SO3LR
_COMMON = {
    "num_features": 132,
    "num_heads": 4,
    "degrees": [1, 2, 3],
    "num_layers": 3,
    "cutoff": 5.0,
    "cutoff_function": {"type": "phys"},
    "radial_hidden": 128,
    "spherical_hidden": 32,
    "layer_norm_epsilon": 1e-6,
}
_DEFAULTS: dict[str, dict[str, Any]] = {
    "so3krates": _COMMON
    | {
        "radial_basis": {"type": "bernstein", "size": 32, "gamma": _BERNSTEIN_GAMMA},
        "activation": "silu",
        "query_key_activation": "identity",
        "attention_normalization": {"type": "sqrt_head_width"},
        "layer_norm_1": True,
        "layer_norm_2": True,
        "residual_mlp_1": True,
        "residual_mlp_2": False,
        "charge_embedding": False,
        "spin_embedding": False,
        "energy_head": {"hidden": 132, "activation": "silu"},
        "charge_head": None,
        "hirshfeld_head": None,
        "zbl": None,
        "electrostatics": None,
        "dispersion": None,
    },
    "so3krates-2022": _COMMON
    | {
        "radial_basis": {"type": "bernstein", "size": 32},
        "parity": True,
        "layer_norm": False,
        "coordinate_norm": False,
        "nonlocal": None,
        "energy_head": {"hidden": 132, "activation": "silu"},
    },
}
#: Keys of the section `model` for the long-range terms, which fine-tuning may set, too.
LONG_RANGE_KEYS = ("long_range_cutoff", "long_range_cutoff_molecules")
#: Keys of the section `model` that are not hyperparameters.
_OTHER = ("architecture", "elements", *LONG_RANGE_KEYS)


def complete(given: dict[str, Any], samples: Sequence[Sample]) -> tuple[str, dict[str, Any]]:
    """Architecture and all hyperparameters of the section `model`.

    A constant attention normalisation without a value gets the mean number of neighbours in the training structures.
    Raises ConfigError, naming the key.
    """
    architecture = given.get("architecture", SO3KRATES)
    if architecture not in ARCHITECTURES:
        raise ConfigError(f"model.architecture: unknown {architecture!r}; {closest(architecture, ARCHITECTURES)}")
    known = with_defaults(_DEFAULTS[architecture], architecture)
    for key in given:
        if key not in known and key not in _OTHER:
            raise ConfigError(f"model.{key}: unknown key; {closest(key, [*known, *_OTHER])}")
    hyper = copy.deepcopy(known | {key: value for key, value in given.items() if key not in _OTHER})
    if "num_features" in given and "energy_head" not in given:
        hyper["energy_head"]["hidden"] = given["num_features"]
    basis = hyper["radial_basis"]
    if architecture == SO3KRATES and isinstance(basis, dict) and basis.get("type") == "bernstein":
        basis.setdefault("gamma", _BERNSTEIN_GAMMA)
    normalization = hyper.get("attention_normalization")
    if isinstance(normalization, dict) and normalization.get("type") == "constant" and "value" not in normalization:
        normalization["value"] = mean_neighbours(samples, hyper["cutoff"])
    hyper = without_defaults(hyper, architecture)
    try:
        check_hyperparameters(hyper, architecture)
    except ModelFileError as error:
        raise ConfigError(str(error).replace("hyperparameters.", "model.", 1)) from error
    return architecture, hyper


def check_size(hyper: dict[str, Any], num_elements: int, architecture: str) -> None:
    """Raise ConfigError for a model that no computer trains; a hundred layers are more than any has."""
    layers = hyper["num_layers"]
    if layers > _MOST_LAYERS:
        raise ConfigError(f"model.num_layers: expected at most {_MOST_LAYERS}, found {layers}")
    numbers = sum(math.prod(shape) for shape in expected_tensors(hyper, num_elements, architecture).values())
    if numbers > _MOST_PARAMETERS:
        raise ConfigError(
            f"model: expected at most {_MOST_PARAMETERS:.0e} parameters (SO3LR has half a million), found "
            f"{numbers:.1e}; make num_features ({hyper['num_features']}) or the hidden layers smaller"
        )


def mean_neighbours(samples: Sequence[Sample], cutoff: float) -> float:
    """Mean number of neighbours of an atom within a cutoff (A), at least 1, over (at most 200 of) the structures."""
    some = samples[:: max(1, len(samples) // 200)]
    edges = sum(len(neighbours(sample.structure, cutoff)[0]) for sample in some)
    return max(1.0, edges / sum(len(sample.structure.numbers) for sample in some))
