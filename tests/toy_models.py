"""Small models with random weights for tests, covering every option of the model file.

    path = write_toy_model(tmp_path / "toy.safetensors", seed=1, activation="tanh", zbl=None)

The weights are scaled so that energies (eV), forces (eV/A) and charges of a molecule are of order one.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from so3md.convert import nlh
from so3md.model_file import PAPER_2022, SO3KRATES, ModelFile, expected_tensors

ELEMENTS = (1, 6, 8)

#: Positions (A) of C C O and six H, as in ethanol but off its equilibrium.
ETHANOL_LIKE = np.array(
    [
        [0.01, -0.57, 0.0],
        [-1.29, 0.25, 0.0],
        [1.13, 0.31, 0.0],
        [0.04, -1.22, 0.89],
        [0.04, -1.22, -0.89],
        [-1.35, 0.89, 0.88],
        [-1.35, 0.89, -0.88],
        [-2.15, -0.42, 0.0],
        [1.98, -0.15, 0.0],
    ]
)

#: Free-atom polarisability (Bohr^3) and C6 (Hartree Bohr^6) of the elements in test models.
FREE_ATOMS = {1: (4.5, 6.5), 6: (12.0, 46.6), 7: (7.4, 24.2), 8: (5.4, 15.6)}

#: ln(exp(a) - 1) of the four a and four c, p and d of the original ZBL potential.
ZBL_RAW = {
    "a_raw": [3.1584, 0.4488, -0.7009, -1.4995],
    "c_raw": [-1.6119, -0.4063, -1.1285, -3.5553],
    "p_raw": [-1.3525],
    "d_raw": [2.0079],
}

_DEFAULTS: dict[str, Any] = {
    "num_features": 36,
    "num_heads": 4,
    "degrees": [1, 2, 3],
    "num_layers": 2,
    "cutoff": 4.0,
    "cutoff_function": {"type": "phys"},
    "radial_basis": {"type": "bernstein", "size": 16, "gamma": 0.9448630629184640},
    "radial_hidden": 36,
    "spherical_hidden": 9,
    "activation": "silu",
    "query_key_activation": "identity",
    "attention_normalization": {"type": "constant", "value": 5.0},
    "layer_norm_1": True,
    "layer_norm_2": True,
    "layer_norm_epsilon": 1e-6,
    "residual_mlp_1": True,
    "residual_mlp_2": False,
    "charge_embedding": True,
    "spin_embedding": True,
    "energy_head": {"hidden": 20, "activation": "silu"},
    "charge_head": {"hidden": 20},
    "hirshfeld_head": {"hidden": 12, "size": 10},
    "zbl": {"switch_on": 0.0, "switch_off": 1.5},
    "electrostatics": {"sigma": 4.0},
    "dispersion": {"type": "vdw_qdo", "damping_scale": 1.2},
}

_NO_PHYSICS = {"charge_head": None, "hirshfeld_head": None, "zbl": None, "electrostatics": None, "dispersion": None}

#: Named sets of overrides; together they use every value of every option.
VARIANTS: dict[str, dict[str, Any]] = {
    "default": {},
    "cosine_gaussian": {"cutoff_function": {"type": "cosine"}, "radial_basis": {"type": "gaussian", "size": 12}},
    "exponential_bessel": {"cutoff_function": {"type": "exponential"}, "radial_basis": {"type": "bessel", "size": 12}},
    "polynomial_phys": {
        "cutoff_function": {"type": "polynomial", "exponent": 6},
        "radial_basis": {"type": "phys", "size": 12},
    },
    "sqrt_head_width": {"attention_normalization": {"type": "sqrt_head_width"}, "query_key_activation": "silu"},
    "no_normalization": {"attention_normalization": {"type": "none"}, "query_key_activation": "tanh"},
    "tanh": {"activation": "tanh", "energy_head": {"hidden": 20, "activation": "tanh"}},
    "gelu": {"activation": "gelu", "energy_head": {"hidden": 20, "activation": "gelu"}, "query_key_activation": "gelu"},
    "relu": {"activation": "relu", "energy_head": {"hidden": 20, "activation": "relu"}, "query_key_activation": "relu"},
    "identity": {"activation": "identity", "energy_head": {"hidden": 20, "activation": "identity"}},
    "plain_layers": {"layer_norm_1": False, "layer_norm_2": False, "residual_mlp_1": False},
    "second_residual": {"residual_mlp_1": False, "residual_mlp_2": True, "layer_norm_1": False},
    "both_residuals": {"residual_mlp_2": True, "layer_norm_2": False},
    "charge_embedding_only": {"spin_embedding": False},
    "spin_embedding_only": {"charge_embedding": False},
    "no_embeddings": {"charge_embedding": False, "spin_embedding": False},
    "network_only": _NO_PHYSICS,
    "zbl_only": _NO_PHYSICS | {"zbl": {"switch_on": 0.3, "switch_off": 2.0}},
    "heads_without_terms": {"zbl": None, "electrostatics": None, "dispersion": None},
    "electrostatics_only": {"hirshfeld_head": None, "zbl": None, "dispersion": None},
    "dispersion_only": {"charge_head": None, "zbl": None, "electrostatics": None},
    "linear_heads": {
        "energy_head": {"hidden": 0, "activation": "silu"},
        "charge_head": {"hidden": 0},
        "hirshfeld_head": {"hidden": 0, "size": 10},
    },
    "one_degree": {"degrees": [1], "num_heads": 1},
    "four_degrees": {"degrees": [1, 2, 3, 4], "num_heads": 9},
    "even_degrees": {"degrees": [2, 4], "num_heads": 6},
    "one_layer": {"num_layers": 1},
    "heads_of_students": {"degrees": [1, 2], "num_features": 32, "num_heads": 2},  # kernels know this shape
    "other_widths": {"radial_hidden": 24, "spherical_hidden": 7, "num_features": 24, "num_heads": 2},
}

#: The options of 2023, which "so3krates" has beside those of VARIANTS.
VARIANTS_2023: dict[str, dict[str, Any]] = {
    "pre_norm": {"layer_norm_position": "pre"},
    "pre_norm_exchange_only": {"layer_norm_position": "pre", "layer_norm_1": False},
    "pre_norm_attention_only": {"layer_norm_position": "pre", "layer_norm_2": False, "final_layer_norm": True},
    "three_layers": {"residual_mlp_kind": "three_layers"},
    "three_layers_twice": {"residual_mlp_kind": "three_layers", "residual_mlp_2": True, "layer_norm_1": False},
    "neighbour_sum": {"initial_coordinates": {"type": "neighbour_sum", "normalization": 3.5}},
    "final_norm": {"final_layer_norm": True, "num_layers": 1},
    "all_of_2023": _NO_PHYSICS
    | {
        "layer_norm_position": "pre",
        "residual_mlp_kind": "three_layers",
        "residual_mlp_2": True,
        "initial_coordinates": {"type": "neighbour_sum", "normalization": 2.0},
        "final_layer_norm": True,
        "attention_normalization": {"type": "sqrt_head_width"},
        "charge_embedding": False,
        "spin_embedding": False,
    },
}

_NLH = {"zbl": None, "repulsion": {"type": "nlh", "switch_on": 0.0, "switch_off": 1.5}}

#: The options of the second generation of SO3LR, which "so3krates" has beside those of VARIANTS and VARIANTS_2023.
VARIANTS_SO3LR2: dict[str, dict[str, Any]] = {
    "rms_norm": {"rms_norm": True},
    "rms_norm_before": {"rms_norm": True, "layer_norm_position": "pre", "layer_norm_2": False},
    "query_key_norm": {"normalize_query_key": True},
    "query_key_norm_silu": {"normalize_query_key": True, "query_key_activation": "silu", "layer_norm_position": "pre"},
    "residual_scalars": {"residual_scalars": True, "num_layers": 3},
    "residual_scalars_alone": {
        "residual_scalars": True,
        "layer_norm_2": False,
        "initial_coordinates": {"type": "neighbour_sum", "normalization": 3.5},
    },
    "simple_hirshfeld": {"hirshfeld_head": {"type": "simple", "hidden": 12}},
    "c6_head": {"c6_head": {"hidden": 12}},
    "linear_ratios": {"c6_head": {"hidden": 0}, "hirshfeld_head": {"type": "simple", "hidden": 0}},
    "nlh": _NLH,
    "nlh_only": _NO_PHYSICS | _NLH,
    "repeated_degrees": {"degrees": [1, 1, 2, 2, 3, 3]},
    "all_of_so3lr2": _NLH
    | {
        "rms_norm": True,
        "normalize_query_key": True,
        "residual_scalars": True,
        "hirshfeld_head": {"type": "simple", "hidden": 12},
        "c6_head": {"hidden": 12},
        "degrees": [1, 1, 2, 3],
        "num_layers": 3,
    },
}

_DEFAULTS_2022: dict[str, Any] = {
    "num_features": 36,
    "num_heads": 4,
    "degrees": [1, 2, 3],
    "num_layers": 2,
    "cutoff": 4.0,
    "cutoff_function": {"type": "cosine"},
    "radial_basis": {"type": "phys", "size": 16},
    "radial_hidden": 40,
    "spherical_hidden": 9,
    "parity": False,
    "layer_norm": False,
    "coordinate_norm": False,
    "layer_norm_epsilon": 1e-6,
    "nonlocal": {"type": "dynamic"},
    "energy_head": {"hidden": 36, "activation": "silu"},
}

#: Options of the architecture of the paper.
VARIANTS_2022: dict[str, dict[str, Any]] = {
    "default": {},
    "local": {"nonlocal": None},
    "static": {"nonlocal": {"type": "static", "cutoff": 0.4}},
    "parity": {"parity": True, "cutoff_function": {"type": "phys"}},
    "norms": {"layer_norm": True, "coordinate_norm": True, "radial_basis": {"type": "bessel", "size": 12}},
    "coordinate_norm": {"coordinate_norm": True, "parity": True},
    "bernstein_exponential": {
        "radial_basis": {"type": "bernstein", "size": 12},
        "cutoff_function": {"type": "exponential"},
    },
    "gaussian_polynomial": {
        "radial_basis": {"type": "gaussian", "size": 12},
        "cutoff_function": {"type": "polynomial", "exponent": 6},
    },
    "charge_and_spin": {"charge_embedding": True, "spin_embedding": True},
    "one_degree": {"degrees": [1], "num_heads": 9},
    "four_degrees": {"degrees": [1, 2, 3, 4], "num_layers": 3},
    "even_degrees": {"degrees": [2, 4], "parity": True},
    "linear_head": {"energy_head": {"hidden": 0, "activation": "silu"}, "num_layers": 1},
}

#: Steep radial filters make forces of order one; the spherical filters see chi squared and would make it explode.
_WEIGHT_SCALES = {"radial1": 3.0, "radial2": 3.0, "spherical1": 0.3, "spherical2": 0.3}

#: The network of the paper multiplies coordinates with each other in every layer, so that its weights must be smaller.
_WEIGHT_SCALES_2022 = {"spherical1": 0.5, "spherical2": 0.5, "exchange": 0.5}


#: Keys that a model may have and the default toy model has not.
_OPTIONAL = {
    SO3KRATES: {"layer_norm_position", "residual_mlp_kind", "initial_coordinates", "final_layer_norm"}
    | {"rms_norm", "normalize_query_key", "residual_scalars", "c6_head", "repulsion"},
    PAPER_2022: {"charge_embedding", "spin_embedding"},
}


def toy_hyperparameters(architecture: str = SO3KRATES, **overrides: Any) -> dict[str, Any]:
    """Hyperparameters of the default toy model with some replaced; a misspelt name is an error."""
    defaults = {SO3KRATES: _DEFAULTS, PAPER_2022: _DEFAULTS_2022}[architecture]
    unknown = overrides.keys() - defaults.keys() - _OPTIONAL[architecture]
    if unknown:
        raise ValueError(f"no such hyperparameter: {sorted(unknown)}")
    return copy.deepcopy(defaults | overrides)


def make_toy_model(
    seed: int = 0,
    elements: Sequence[int] = ELEMENTS,
    dtype: type = np.float32,
    architecture: str = SO3KRATES,
    **overrides: Any,
) -> ModelFile:
    """A model with random weights, the same for the same arguments."""
    hyper = toy_hyperparameters(architecture, **overrides)
    rng = np.random.default_rng(seed)
    tensors = {
        name: _random_tensor(rng, name, shape, hyper, elements).astype(dtype)
        for name, shape in expected_tensors(hyper, len(elements), architecture).items()
    }
    about = {"name": "toy", "description": "random weights, for tests only", "architecture": architecture}
    model = ModelFile(hyper, list(elements), tensors, **about)
    model.check()
    return model


def write_toy_model(path: Path, seed: int = 0, elements: Sequence[int] = ELEMENTS, **overrides: Any) -> Path:
    """Write the model file of `make_toy_model`, made for a long-range cutoff of 12 A, and return its path."""
    model = make_toy_model(seed, elements, **overrides)
    model.long_range_cutoff = 12.0
    model.write(path)
    return path


def _random_tensor(
    rng: np.random.Generator, name: str, shape: tuple[int, ...], hyper: dict[str, Any], elements: Sequence[int]
) -> np.ndarray:
    """Values whose size suits the place: maps keep the size of their input, tables are O(1), ratios stay near one."""
    kind = name.rsplit(".", 1)[-1]
    normal = rng.standard_normal(shape)
    if name == "radial_basis.centers":
        return np.linspace(0.0, hyper["cutoff"], shape[0]) + 0.02 * normal
    if name == "radial_basis.gamma":
        return 0.9448630629184640 + 0.05 * normal
    if name == "radial_basis.widths":
        return hyper["cutoff"] / (shape[0] - 1) * (1 + 0.1 * normal)
    if name.startswith("zbl."):
        return np.array(ZBL_RAW[kind]) + 0.1 * normal
    if name.startswith("dispersion."):
        return np.array([FREE_ATOMS[number][0 if kind == "alpha" else 1] for number in elements])
    if name == "nlh.coefficients":
        return nlh.coefficients(elements)
    if name in ("energy.scale", "hirshfeld.shift", "c6.shift") or kind == "scale":
        return 1 + 0.1 * normal
    if kind == "residual_scalars":
        return np.array([1.0, 0.5]) + 0.1 * normal
    if name in ("hirshfeld.dense2.weight", "c6.dense2.weight") and shape[0] == 1:
        return 0.2 * normal / np.sqrt(shape[-1])
    if kind == "coefficients":
        return 0.2 * normal
    if kind in ("bias", "shift") or kind.endswith("_bias") or name == "charge.element":
        return 0.2 * normal
    if name == "hirshfeld.query":
        return 0.1 * normal
    if ".attention." in name:
        return normal / np.sqrt(shape[1])
    if kind == "weight":
        scales = _WEIGHT_SCALES_2022 if "nonlocal" in hyper else _WEIGHT_SCALES
        return scales.get(name.split(".")[-2], 1.0) * normal / np.sqrt(shape[-1])
    if kind.startswith("mlp"):
        return normal / np.sqrt(shape[-1])
    return normal
