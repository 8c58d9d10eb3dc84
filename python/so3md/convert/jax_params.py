"""Reading the original JAX parameters: params.pkl with hyperparameters.json or .yaml beside it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from so3md.convert.errors import ConversionError
from so3md.convert.paper_params import read_paper_params
from so3md.convert.pickle_reader import read_pickle
from so3md.convert.pickled_arrays import MAX_ARRAY_BYTES, PickledArray, array_globals
from so3md.convert.source import (
    Place,
    SourceModel,
    Tensors,
    checked_degrees,
    choose,
    damping_of,
    dense,
    pair_physics,
    words,
)

SOURCE_FORMAT = "JAX parameters"
PARAMETERS = "params.pkl"
HYPERPARAMETERS = ("hyperparameters.json", "hyperparameters.yaml", "hyperparameters.yml")

#: The float32 number that the original code uses for the Bernstein basis.
BERNSTEIN_GAMMA = float(np.float32(0.9448630629184640))
#: Where the charge head lies: under the electrostatic energy, or, in models without, under what else uses it.
_CHARGE_HEADS = (
    "observables_0/electrostatic_energy/partial_charges/",
    "observables_0/partial_charges/",
    "observables_1/partial_charges/",
)
_HIRSHFELD_HEADS = (
    "observables_2/",
    "observables_0/hirshfeld_ratios/",
    "observables_0/dispersion_energy/hirshfeld_ratios/",
)

_KNOWN_OPTIONS = words(
    "activation_fn cutoff cutoff_fn cutoff_lr degrees dispersion_energy_bool dispersion_energy_cutoff_lr_damping "
    "dispersion_energy_scale electrostatic_energy_bool electrostatic_energy_scale energy_activation_fn "
    "energy_learn_atomic_type_scales energy_learn_atomic_type_shifts energy_regression_dim input_convention "
    "layer_normalization_1 layer_normalization_2 layers_behave_like_identity_fn_at_init message_normalization "
    "num_features num_features_head num_heads num_layers num_radial_basis_fn output_is_zero_at_init qk_non_linearity "
    "radial_basis_fn residual_mlp_1 residual_mlp_2 use_charge_embed use_spin_embed zbl_repulsion_bool "
    "use_rms_norm qk_norm use_residual_scalars use_final_bias_bool predict_forces_directly force_mode "
    "force_regression_dim"
)
#: Options of later generations, with the only value that so3md supports.
_ONLY = {
    "use_rms_norm": False,
    "qk_norm": False,
    "use_residual_scalars": False,
    "predict_forces_directly": False,
    "force_mode": "constrained",
}


def is_jax_source(path: Path) -> bool:
    return path.is_dir() or path.suffix == ".pkl"


def read_jax_params(path: Path) -> SourceModel:
    """Read a directory with params.pkl and its hyperparameters, or a .pkl file with the hyperparameters beside it."""
    pickle_path = path / PARAMETERS if path.is_dir() else path
    if not pickle_path.is_file():
        hint = "; checkpoints of orbax are not read, save the parameters as a pickle" if path.is_dir() else ""
        raise ConversionError(f"{pickle_path} does not exist{hint}")
    config = _read_config(pickle_path.parent)
    if pickle_path.stat().st_size > MAX_ARRAY_BYTES:
        raise ConversionError(f"{pickle_path} is larger than {MAX_ARRAY_BYTES >> 20} MiB, too large for a model")
    data = pickle_path.read_bytes()
    sha256 = hashlib.sha256(data).hexdigest()
    parameters = _flatten(read_pickle(data, array_globals()))
    if "stack_net" in config:
        return read_paper_params(parameters, config, sha256)
    tensors, options = Tensors(parameters), _options(config)
    heads = {
        "charge": _find_head(tensors, _CHARGE_HEADS, "charge_dense_final_vec"),
        "hirshfeld": _find_head(tensors, _HIRSHFELD_HEADS, "hirshfeld_ratios_dense_final"),
    }
    hyper = _hyperparameters(options, config, heads)
    placed = tensors.place(_places(hyper, heads))
    _complete_energy_head(placed, tensors, options, config)
    tensors.refuse_rest()
    for letter in ("a", "c"):
        if hyper["zbl"] is not None:
            placed[f"zbl.{letter}_raw"] = np.concatenate([placed.pop(f"zbl.{letter}{n}_raw") for n in (1, 2, 3, 4)])
    damping = damping_of(options.get("dispersion_energy_cutoff_lr_damping"))
    return SourceModel(SOURCE_FORMAT, hyper, placed, options.get("cutoff_lr"), sha256, long_range_damping=damping)


def _read_config(directory: Path) -> dict[str, Any]:
    paths = [directory / name for name in HYPERPARAMETERS if (directory / name).is_file()]
    if not paths:
        raise ConversionError(f"{directory} lacks hyperparameters.json (or .yaml), which belongs to {PARAMETERS}")
    text = paths[0].read_text(encoding="utf-8")
    if paths[0].suffix == ".json":
        try:
            config = json.loads(text)
        except json.JSONDecodeError as error:
            raise ConversionError(f"{paths[0]} is not valid JSON: {error}") from error
    else:
        try:
            from so3md.bounded_yaml import YamlError, parse_yaml
        except ImportError as error:
            raise ConversionError(
                f"{paths[0]} needs PyYAML: pip install pyyaml, or provide {HYPERPARAMETERS[0]}"
            ) from error
        try:
            config = parse_yaml(text)
        except YamlError as error:
            raise ConversionError(f"{paths[0]} is not plain YAML: {error}") from error
    sections = ("model", "stack_net")  # of the programs from 2024 on, and before
    if not isinstance(config, dict) or not any(isinstance(config.get(name), dict) for name in sections):
        raise ConversionError(f'{paths[0]} has no section "model"')
    return config


def _flatten(tree: Any) -> dict[str, np.ndarray]:
    """{"params": {"a": {"b": array}}} -> {"a/b": array}."""
    if not isinstance(tree, dict) or not isinstance(tree.get("params"), dict) or len(tree) != 1:
        raise ConversionError('the pickle is not a tree of parameters: expected a dictionary with the one key "params"')
    flat: dict[str, np.ndarray] = {}
    todo: list[tuple[str, Any, int]] = [("", tree["params"], 0)]
    while todo:
        path, value, depth = todo.pop()
        if isinstance(value, dict) and depth < 16 and len(flat) + len(todo) < 100_000:
            todo += [(f"{path}/{name}" if path else str(name), child, depth + 1) for name, child in value.items()]
        elif isinstance(value, PickledArray) and value.array is not None:
            flat[path] = value.array.astype(value.array.dtype.newbyteorder("="))
        else:
            raise ConversionError(f"the parameter {path} is not an array, or the tree is too deep or too large")
    return flat


def _options(config: dict[str, Any]) -> dict[str, Any]:
    options = config["model"]
    unknown = sorted(options.keys() - _KNOWN_OPTIONS)
    if unknown:
        raise ConversionError(f"hyperparameters: model.{unknown[0]} is not known to so3md: refused")
    needed: tuple[str, ...] = ("cutoff", "degrees", "num_features", "num_heads", "num_layers")
    needed += ("num_radial_basis_fn", "cutoff_fn")
    needed += ("radial_basis_fn", "message_normalization", "qk_non_linearity", "activation_fn", "energy_regression_dim")
    needed += ("energy_activation_fn", "zbl_repulsion_bool", "electrostatic_energy_bool", "dispersion_energy_bool")
    for name in needed:
        if name not in options:
            raise ConversionError(f"hyperparameters: model.{name} is missing")
    for name, value in _ONLY.items():
        choose(options.get(name, value), {value: None}, f"model.{name}")
    return options


def _activation(name: Any, option: str) -> str:
    names = {kind: kind for kind in ("identity", "silu", "tanh", "gelu", "relu")}
    return choose(name, names | {"swish": "silu"}, f"model.{option}")


def _find_head(tensors: Tensors, places: tuple[str, ...], name: str) -> str | None:
    """The place below which a head lies, None where the source has no such head."""
    found = [place for place in places if f"{place}{name}/kernel" in tensors.left]
    if len(found) > 1:
        raise ConversionError(f"the source has the same head twice, below {found[0]} and {found[1]}")
    return found[0] if found else None


def _hyperparameters(options: dict[str, Any], config: dict[str, Any], heads: dict[str, str | None]) -> dict[str, Any]:
    features, width = options["num_features"], options["energy_regression_dim"]
    activation = _activation(options["activation_fn"], "activation_fn")
    embeddings = [name for name in ("use_charge_embed", "use_spin_embed") if options.get(name, False)]
    if embeddings and activation != "silu":
        # There the embeddings always use silu, whatever the rest of the network does.
        raise ConversionError(
            f"model.activation_fn is {activation!r}; with model.{embeddings[0]} only 'silu' is supported"
        )
    energy_activation = _activation(options["energy_activation_fn"], "energy_activation_fn")
    if any(heads.values()) and width is not None and energy_activation != "silu":
        raise ConversionError(f"model.energy_activation_fn is {energy_activation!r}; charge heads need 'silu'")
    for term, head in (("electrostatic_energy_bool", "charge"), ("dispersion_energy_bool", "hirshfeld")):
        if options[term] and heads[head] is None:
            raise ConversionError(f"model.{term} is on, but the parameters lack its head")
    normalization = {"sqrt_num_features": {"type": "sqrt_head_width"}, "identity": {"type": "none"}}
    neighbours = (config.get("data") or {}).get("avg_num_neighbors")
    if neighbours is not None:
        normalization["avg_num_neighbors"] = {"type": "constant", "value": neighbours}
    return {
        "num_features": features,
        "num_heads": options["num_heads"],
        "degrees": checked_degrees(options["degrees"]),
        "num_layers": options["num_layers"],
        "cutoff": float(options["cutoff"]),
        # Its polynomial cutoff needs an exponent that the hyperparameters do not hold.
        "cutoff_function": {
            "type": choose(options["cutoff_fn"], {n: n for n in ("phys", "cosine", "exponential")}, "model.cutoff_fn")
        },
        "radial_basis": _radial_basis(options),
        "radial_hidden": features,
        "spherical_hidden": features // 4,
        "activation": activation,
        "query_key_activation": _activation(options["qk_non_linearity"], "qk_non_linearity"),
        "attention_normalization": choose(
            options["message_normalization"], normalization, "model.message_normalization (with data.avg_num_neighbors)"
        ),
        "layer_norm_1": options.get("layer_normalization_1", False),
        "layer_norm_2": options.get("layer_normalization_2", False),
        "layer_norm_epsilon": 1e-6,  # the default of flax, which the original code uses
        "residual_mlp_1": options.get("residual_mlp_1", False),
        "residual_mlp_2": options.get("residual_mlp_2", False),
        "charge_embedding": options.get("use_charge_embed", False),
        "spin_embedding": options.get("use_spin_embed", False),
        "energy_head": {"hidden": width or 0, "activation": energy_activation},
        "charge_head": {"hidden": width or 0} if heads["charge"] else None,
        "hirshfeld_head": {"hidden": (width or 0) // 2, "size": features // 2} if heads["hirshfeld"] else None,
        **pair_physics(options),
    }


def _radial_basis(options: dict[str, Any]) -> dict[str, Any]:
    kinds = {"bernstein": "bernstein", "gaussian": "gaussian", "fourier": "bessel", "physnet": "phys"}
    kind = choose(options["radial_basis_fn"], kinds, "model.radial_basis_fn")
    basis = {"type": kind, "size": options["num_radial_basis_fn"]}
    return basis | {"gamma": BERNSTEIN_GAMMA} if kind == "bernstein" else basis


def _complete_energy_head(
    placed: dict[str, np.ndarray], tensors: Tensors, options: dict[str, Any], config: dict[str, Any]
) -> None:
    """Scales, shifts and the last bias, each of which a model may have learned or not.

    The network of a model is trained on energies less data.energy_shifts, so these belong to the shift of the element,
    on top of what was learned.
    """
    rows = len(placed["embedding.element"])
    learned = {}
    for name, option in (
        ("atomic_scales", "energy_learn_atomic_type_scales"),
        ("energy_offset", "energy_learn_atomic_type_shifts"),
    ):
        if options.get(option, False):
            values = tensors.take(f"observables_0/{name}")
            if values.ndim > 1 and values.shape[1:] != (1,):
                raise ConversionError(f"observables_0/{name}: several levels of theory are not supported yet")
            learned[name] = values.reshape(-1)
    placed["energy.scale"] = learned.get("atomic_scales", np.ones(rows, np.float32))
    placed["energy.shift"] = learned.get("energy_offset", np.zeros(rows, np.float32))
    shifts = (config.get("data") or {}).get("energy_shifts") or {}
    if shifts:
        total = placed["energy.shift"].astype(np.float64)
        for number, shift in shifts.items():
            if 0 <= int(number) < rows:
                total[int(number)] += float(shift)
        placed["energy.shift"] = total
    bias = "observables_0/energy_dense_final/bias"
    placed["energy.dense2.bias"] = (
        tensors.take(bias) if options.get("use_final_bias_bool", True) else np.zeros(1, np.float32)
    )


def _dense(target: str, source: str) -> list[Place]:
    return dense(target, f"{source}/", weight="kernel", layout="in_out")


def _places(hyper: dict[str, Any], heads: dict[str, str | None]) -> Iterator[Place]:
    """Where every tensor goes. Kernels are (in, out), head matrices (head, out, in), tables have a row for each Z."""
    yield Place("embedding.element", "feature_embeddings_0/Embed_0/embedding")
    kinds = [kind for kind in ("charge", "spin") if hyper[f"{kind}_embedding"]]
    for number, kind in enumerate(kinds, start=1):
        block = f"feature_embeddings_{number}/ChargeSpinEmbedSparse_0"
        for index, name in enumerate(("query", "key", "value")):
            yield Place(f"embedding.{kind}.{name}", f"{block}/Embed_{index}/embedding")
        for index in (0, 1):
            yield Place(f"embedding.{kind}.mlp{index + 1}", f"{block}/Residual_0/layers_{index}/kernel", "in_out")
    if hyper["radial_basis"]["type"] == "gaussian":
        for name in ("centers", "widths"):
            yield Place(f"radial_basis.{name}", f"geometry_embeddings_0/rbf_fn/{name}")
    for t in range(hyper["num_layers"]):
        yield from _layer_places(hyper, f"layers.{t}", f"layers_{t}")
    yield from _head_places(hyper, heads)
    if hyper["zbl"] is not None:
        for name in ("a1", "a2", "a3", "a4", "c1", "c2", "c3", "c4", "p", "d"):
            yield Place(f"zbl.{name}_raw", f"observables_0/zbl_repulsion/{name}")


def _layer_places(hyper: dict[str, Any], target: str, source: str) -> Iterator[Place]:
    attention = f"{source}/attention_block"
    for number, block in ((1, "features"), (2, "coordinates")):
        for layer in (1, 2):
            for net in ("radial", "spherical"):
                yield from _dense(
                    f"{target}.filter_{block}.{net}{layer}", f"{attention}/{net}_filter{number}_layer_{layer}"
                )
        yield Place(f"{target}.attention.query_{block}", f"{attention}/Wq{number}", "heads_out_in")
        yield Place(f"{target}.attention.key_{block}", f"{attention}/Wk{number}", "heads_out_in")
    yield Place(f"{target}.attention.value_features", f"{attention}/Wv1", "heads_out_in")
    for number in (1, 2):
        if hyper[f"layer_norm_{number}"]:
            for name in ("scale", "bias"):
                yield Place(f"{target}.norm{number}.{name}", f"{source}/layer_normalization_{number}/{name}")
        if hyper[f"residual_mlp_{number}"]:
            for layer in (1, 2):
                yield from _dense(f"{target}.mlp{number}.dense{layer}", f"{source}/res_mlp_{number}_layer_{layer}")
    yield from _dense(f"{target}.exchange", f"{source}/exchange_block/mlp_layer_2")


def _head_places(hyper: dict[str, Any], heads: dict[str, str | None]) -> Iterator[Place]:
    if hyper["energy_head"]["hidden"]:
        yield from _dense("energy.dense1", "observables_0/energy_dense_regression")
    yield Place("energy.dense2.weight", "observables_0/energy_dense_final/kernel", "in_out")
    if hyper["charge_head"] is not None:
        place = heads["charge"]
        if hyper["charge_head"]["hidden"]:
            yield from _dense("charge.dense1", f"{place}charge_dense_regression_vec")
        yield Place("charge.element", f"{place}Embed_0/embedding", "one_number_per_row")
        yield from _dense("charge.dense2", f"{place}charge_dense_final_vec")
    if hyper["hirshfeld_head"] is not None:
        place = heads["hirshfeld"]
        if hyper["hirshfeld_head"]["hidden"]:
            yield from _dense("hirshfeld.dense1", f"{place}hirshfeld_ratios_dense_regression")
        yield Place("hirshfeld.shift", f"{place}Embed_0/embedding", "one_number_per_row")
        yield Place("hirshfeld.query", f"{place}Embed_1/embedding")
        yield from _dense("hirshfeld.dense2", f"{place}hirshfeld_ratios_dense_final")
