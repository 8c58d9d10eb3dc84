"""New models with random weights, from which training starts."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from ase.data import atomic_numbers

from so3md.convert import free_atoms, nlh
from so3md.model_file import SO3KRATES, ModelFile, check_hyperparameters, expected_tensors

#: Where the decay of the Bernstein basis starts, 1/A (half a unit per Bohr).
BERNSTEIN_GAMMA = 0.9448630629184640

#: Coefficients of the ZBL potential; the model keeps numbers whose softplus they are.
_ZBL = {
    "a_raw": [3.19980, 0.94229, 0.40290, 0.20162],
    "c_raw": [0.18180, 0.50990, 0.28020, 0.02817],
    "p_raw": [0.23],
    "d_raw": [1 / (0.8854 * 0.5291772105638411)],  # per A
}

#: Standard deviation of the weights of the self-interaction of the coordinates.
_SELF_MIX_DEVIATION = 0.1

#: A normal distribution that is cut off at two standard deviations has this one.
_DEVIATION_OF_TRUNCATED_NORMAL = 0.87962566103423978


def new_model(
    hyperparameters: dict[str, Any],
    elements: Sequence[int | str],
    seed: int = 0,
    architecture: str = SO3KRATES,
    *,
    name: str = "so3krates",
    dtype: type = np.float32,
) -> ModelFile:
    """A model with random weights, the same for the same arguments, ready for `ReferenceModel.from_model_file`.

    hyperparameters: as in docs/model_file.md, keys with a default may be missing; elements: atomic numbers or symbols
    in any order; architecture: "so3krates" or "so3krates-2022". Raises `ModelFileError` for bad hyperparameters.

    Weights are drawn as in the original programs, which leave it to flax: maps from a normal distribution of variance 1
    over the number of inputs, cut off at two standard deviations (LeCun), embeddings from one of variance 1/F, zero
    biases, norms that scale by 1; mixing weights of coordinates from N(0, 0.1). Different from there, what is an offset
    from a physical value starts at that value: charges of elements at 0, Hirshfeld ratios at 1. energy.scale is 1 and
    energy.shift 0; training sets both from its data.
    """
    numbers = sorted({atomic_numbers[e] if isinstance(e, str) else int(e) for e in elements})
    check_hyperparameters(hyperparameters, architecture)
    rng = np.random.default_rng(seed)
    tensors: dict[str, np.ndarray] = {}
    for key, shape in expected_tensors(hyperparameters, len(numbers), architecture).items():
        values = np.broadcast_to(_initial(rng, key, shape, hyperparameters, numbers), shape)
        tensors[key] = values.astype(_precision(key, dtype))
    model = ModelFile(dict(hyperparameters), numbers, tensors, name=name, architecture=architecture)
    model.check()
    return model


def _precision(name: str, dtype: type) -> type:
    """Free-atom values and those of the NLH repulsion are constants and keep all their digits (docs/model_file.md)."""
    return np.float64 if name.startswith(("dispersion.", "nlh.")) else dtype


def _initial(
    rng: np.random.Generator, name: str, shape: tuple[int, ...], hyper: dict[str, Any], numbers: list[int]
) -> np.ndarray | float:
    """The first values of a tensor; a single number fills it."""
    block, kind = name.split(".")[0], name.rsplit(".", 1)[-1]
    if block == "radial_basis":
        return _radial_basis(kind, hyper, shape)
    if block == "zbl":
        return np.log(np.expm1(_ZBL[kind]))  # the inverse of softplus
    if block == "dispersion":
        table = free_atoms.POLARIZABILITIES if kind == "alpha" else free_atoms.C6_COEFFICIENTS
        return np.array(table)[np.array(numbers) - 1]
    if block == "nlh":
        return nlh.coefficients(numbers)
    if kind == "residual_scalars":
        return np.array([1.0, 0.1])
    if kind == "scale" or name in ("hirshfeld.shift", "c6.shift"):
        return 1.0
    if kind in ("bias", "shift") or kind.endswith("_bias") or name == "charge.element":
        return 0.0
    if kind == "coefficients":
        return _SELF_MIX_DEVIATION * rng.standard_normal(shape)
    if name == "embedding.element" or kind in ("query", "key", "value"):
        return rng.standard_normal(shape) / math.sqrt(shape[-1])
    # Dense maps are (out, in), head matrices (head, in, out).
    return _lecun_normal(rng, shape, inputs=shape[1])


def _radial_basis(kind: str, hyper: dict[str, Any], shape: tuple[int, ...]) -> np.ndarray | float:
    if kind == "gamma":
        return BERNSTEIN_GAMMA
    centers = np.linspace(0.0, hyper["cutoff"], shape[0])
    return centers if kind == "centers" else hyper["cutoff"] / max(shape[0] - 1, 1)


def _lecun_normal(rng: np.random.Generator, shape: tuple[int, ...], inputs: int) -> np.ndarray:
    """Normal numbers of variance 1 / inputs, none beyond two standard deviations of the distribution before the cut."""
    values = rng.standard_normal(shape)
    while (outside := np.abs(values) > 2).any():
        values[outside] = rng.standard_normal(np.count_nonzero(outside))
    return values / (_DEVIATION_OF_TRUNCATED_NORMAL * math.sqrt(inputs))
