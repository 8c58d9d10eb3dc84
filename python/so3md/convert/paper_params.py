"""Parameters of the original programs of 2022 and 2023: a tree of arrays with the description of a "stack_net".

Both generations name their modules alike. The network of the paper (2022) is recognised by its self-interaction of the
coordinates, which the later one lacks.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from so3md.convert.errors import ConversionError
from so3md.convert.source import Place, SourceModel, Tensors, checked_degrees, choose, words
from so3md.model_file import PAPER_2022, SO3KRATES, check_hyperparameters

SOURCE_FORMAT_2022 = "JAX parameters of 2022"
SOURCE_FORMAT_2023 = "JAX parameters of 2023"

#: The decay of the Bernstein basis where it is no parameter: a float32 constant.
BERNSTEIN_GAMMA = float(np.float32(0.9448630629184640))

_CUTOFF_FUNCTIONS = {
    "phys_cutoff_fn": {"type": "phys"},
    "cosine_cutoff_fn": {"type": "cosine"},
    "exponential_cutoff_fn": {"type": "exponential"},
    "dimenet_cutoff_fn": {"type": "polynomial", "exponent": 6},
}
_RADIAL_BASES = {"phys": "phys", "bessel": "bessel", "bernstein": "bernstein", "rbf": "gaussian"}

_KNOWN_LAYER_OPTIONS = words(
    "fb_filter fb_rad_filter_features fb_sph_filter_features fb_attention gb_filter gb_rad_filter_features "
    "gb_sph_filter_features gb_attention degrees n_heads chi_cut chi_cut_dynamic parity feature_layer_norm "
    "sphc_layer_norm residual_mlp_1 residual_mlp_2 non_local_sphc non_local_feature fast_attention_kwargs "
    "layer_normalization sphc_normalization neighborhood_normalization final_layer"
)
#: Options of a layer with the only value that so3md supports.
_ONLY = {
    "fb_filter": "radial_spherical",
    "gb_filter": "radial_spherical",
    "fb_attention": "conv_att",
    "gb_attention": "conv_att",
    "non_local_sphc": False,
    "non_local_feature": False,
    "neighborhood_normalization": False,
}
_KNOWN_ENERGY_OPTIONS = words("per_atom_scale per_atom_shift num_embeddings zbl_repulsion prop_keys output_convention")

_FILTERS = {"features": "FeatureBlock_0", "coordinates": "GeometricBlock_0"}
#: The networks of a filter, in the order of the original code.
_NETS = ("radial", "spherical")


def read_paper_params(parameters: dict[str, np.ndarray], config: dict[str, Any], sha256: str = "") -> SourceModel:
    """Read the parameters of a "stack_net" as `SourceModel`.

    parameters: path -> array, as in {"layers_0/LayerNorm_0/scale": ...}; config: the object {"stack_net": ...} that the
    original program writes beside them; sha256: that of the file which holds the parameters. Raises ConversionError.
    """
    net = _section(config, "stack_net", "the hyperparameters")
    tensors = Tensors(parameters)
    of_paper = "layers_0/InteractionBlock_0/selfmix/params" in parameters
    hyper = _hyperparameters(net, parameters, of_paper)
    # The places depend on the numbers of layers and heads, which must make sense first.
    check_hyperparameters(hyper, PAPER_2022 if of_paper else SO3KRATES)
    placed = tensors.place(_places(hyper, of_paper))
    if of_paper and hyper["radial_basis"]["type"] == "bernstein":
        placed["radial_basis.gamma"] = tensors.take("geometry_embeddings_0/rbf_fn/gamma").reshape(-1)
    if hyper.get("zbl"):
        for letter in ("a", "c"):
            raw = [placed.pop(f"zbl.{letter}{n}_raw").reshape(-1) for n in (1, 2, 3, 4)]
            placed[f"zbl.{letter}_raw"] = np.concatenate(raw)
    rows = len(placed["embedding.element"])
    placed["energy.scale"] = _table(net, "per_atom_scale", 1.0, rows)
    placed["energy.shift"] = _table(net, "per_atom_shift", 0.0, rows)
    tensors.refuse_rest()
    return SourceModel(
        SOURCE_FORMAT_2022 if of_paper else SOURCE_FORMAT_2023,
        hyper,
        placed,
        None,
        sha256,
        architecture=PAPER_2022 if of_paper else SO3KRATES,
    )


def _section(tree: Any, name: str, where: str) -> dict[str, Any]:
    value = tree.get(name) if isinstance(tree, dict) else None
    if not isinstance(value, dict):
        raise ConversionError(f"{where} has no section {name!r}")
    return value


def _modules(net: dict[str, Any], kind: str, name: str) -> list[dict[str, Any]]:
    """The options of all modules of a kind, each of which must have the one name that so3md knows."""
    modules = net.get(kind)
    if not isinstance(modules, list) or not modules:
        raise ConversionError(f"stack_net.{kind} is not a list of modules")
    for module in modules:
        if not isinstance(module, dict) or list(module) != [name]:
            found = ", ".join(map(str, module)) if isinstance(module, dict) else repr(module)
            raise ConversionError(f"stack_net.{kind} holds {found}, which so3md does not support; supported: {name}")
    return [_section(module, name, f"stack_net.{kind}") for module in modules]


def _layer_options(net: dict[str, Any]) -> dict[str, Any]:
    """The options that all layers share; only the last may be marked as the final one."""
    layers = _modules(net, "layers", "so3krates_layer")
    for number, layer in enumerate(layers):
        unknown = sorted(layer.keys() - _KNOWN_LAYER_OPTIONS)
        if unknown:
            raise ConversionError(f"so3krates_layer.{unknown[0]} is not known to so3md: refused")
        for name, value in _ONLY.items():
            choose(layer.get(name, value), {value: None}, f"so3krates_layer.{name}")
        if layer.get("final_layer", False) and number < len(layers) - 1:
            raise ConversionError(f"so3krates_layer.final_layer is set for layer {number}, which is not the last")
        if layer | {"final_layer": None} != layers[0] | {"final_layer": None}:
            raise ConversionError(f"layer {number} has other options than layer 0, which so3md does not support")
    return layers[-1] | {"num_layers": len(layers)}


def _hyperparameters(net: dict[str, Any], parameters: dict[str, np.ndarray], of_paper: bool) -> dict[str, Any]:
    geometry = _modules(net, "geometry_embeddings", "geometry_embed")[0]
    layer, energy = _layer_options(net), _energy_options(net)
    degrees = checked_degrees(layer["degrees"])
    if degrees != checked_degrees(geometry["degrees"]):
        raise ConversionError(f"the layers have the degrees {degrees}, the geometry has {geometry['degrees']}")
    kind = choose(geometry["radial_basis_function"], _RADIAL_BASES, "geometry_embed.radial_basis_function")
    hidden = _shape(parameters, "observables_0/MLP_0/layers_0/kernel", 2)[1]
    common = {
        "num_features": _shape(parameters, "feature_embeddings_0/Embed_0/embedding", 2)[1],
        "num_heads": layer["n_heads"],
        "degrees": degrees,
        "num_layers": layer["num_layers"],
        "cutoff": float(geometry["r_cut"]),
        "cutoff_function": choose(geometry["radial_cutoff_fn"], _CUTOFF_FUNCTIONS, "geometry_embed.radial_cutoff_fn"),
        "radial_basis": {"type": kind, "size": geometry["n_rbf"]},
        "radial_hidden": _shape(parameters, "layers_0/FeatureBlock_0/filter_fn/VmapMLP_0/layers_0/kernel", 3)[2],
        "spherical_hidden": _shape(parameters, "layers_0/FeatureBlock_0/filter_fn/VmapMLP_1/layers_0/kernel", 3)[2],
        "layer_norm_epsilon": 1e-6,  # the default of flax, which the original code uses
        "energy_head": {"hidden": hidden, "activation": "silu"},
    }
    if of_paper:
        return common | _options_2022(layer, energy)
    return common | _options_2023(layer, geometry, energy)


def _shape(parameters: dict[str, np.ndarray], name: str, axes: int) -> tuple[int, ...]:
    if name not in parameters or parameters[name].ndim != axes:
        raise ConversionError(f"the source has no tensor {name} with {axes} axes: this kind of model is not supported")
    return parameters[name].shape


def _energy_options(net: dict[str, Any]) -> dict[str, Any]:
    options = _modules(net, "observables", "energy")
    unknown = sorted(options[0].keys() - _KNOWN_ENERGY_OPTIONS)
    if unknown or len(options) > 1:
        what = f"energy.{unknown[0]} is not known to so3md" if unknown else "the model has several observables"
        raise ConversionError(f"{what}: refused")
    return options[0]


def _table(net: dict[str, Any], name: str, default: float, rows: int) -> np.ndarray:
    """One number per atomic number, eV, as the options of the energy give it."""
    values = _energy_options(net).get(name)
    table = np.full(rows, default) if values is None else np.asarray(values, dtype=float)
    if table.shape != (rows,):
        raise ConversionError(f"energy.{name}: expected {rows} numbers, found the shape {table.shape}")
    return table


def _options_2022(layer: dict[str, Any], energy: dict[str, Any]) -> dict[str, Any]:
    for name in ("residual_mlp_1", "residual_mlp_2", "layer_normalization"):
        choose(layer.get(name, False), {False: None}, f"so3krates_layer.{name}")
    choose(energy.get("zbl_repulsion", False), {False: None}, "energy.zbl_repulsion")
    dynamic, static = layer.get("chi_cut_dynamic", False), layer.get("chi_cut")
    if dynamic and static is not None:
        raise ConversionError("so3krates_layer.chi_cut and chi_cut_dynamic exclude each other")
    if max(layer["degrees"]) > 3 and not layer.get("parity", False):
        # Without the filter there are couplings with an odd sum of degrees, whose signs are a table of the original.
        raise ConversionError(
            f"the model has the degrees {layer['degrees']} without parity: so3md knows the signs of the original's "
            "couplings up to degree 3 only"
        )
    nonlocal_attention = {"type": "static", "cutoff": float(static)} if static is not None else None
    return {
        "parity": layer.get("parity", False),
        "layer_norm": layer.get("feature_layer_norm", False),
        "coordinate_norm": layer.get("sphc_layer_norm", False),
        "nonlocal": {"type": "dynamic"} if dynamic else nonlocal_attention,
    }


def _options_2023(layer: dict[str, Any], geometry: dict[str, Any], energy: dict[str, Any]) -> dict[str, Any]:
    # The options "parity" and "sphc_normalization" of a layer have no effect there.
    for name, value in (("chi_cut", None), ("chi_cut_dynamic", False)):
        choose(layer.get(name, value), {value: None}, f"so3krates_layer.{name}")
    normalization = geometry.get("sphc_normalization")
    normalised = layer.get("layer_normalization", False)
    basis = {"type": choose(geometry["radial_basis_function"], _RADIAL_BASES, ""), "size": geometry["n_rbf"]}
    if basis["type"] == "bernstein":
        basis["gamma"] = BERNSTEIN_GAMMA
    return {
        "radial_basis": basis,
        "activation": "silu",
        "query_key_activation": "identity",
        "attention_normalization": {"type": "sqrt_head_width"},
        "layer_norm_1": normalised,
        "layer_norm_2": normalised,
        "layer_norm_position": "pre" if normalised else "post",
        "final_layer_norm": bool(normalised and layer.get("final_layer", False)),
        "residual_mlp_1": layer.get("residual_mlp_1", False),
        "residual_mlp_2": layer.get("residual_mlp_2", False),
        "residual_mlp_kind": "three_layers"
        if layer.get("residual_mlp_1") or layer.get("residual_mlp_2")
        else "two_layers",
        "initial_coordinates": {"type": "zero"}
        if normalization is None
        else {"type": "neighbour_sum", "normalization": float(normalization)},
        "charge_embedding": False,
        "spin_embedding": False,
        "charge_head": None,
        "hirshfeld_head": None,
        "zbl": {"switch_on": 0.0, "switch_off": 1.5} if energy.get("zbl_repulsion", False) else None,
        "electrostatics": None,
        "dispersion": None,
    }


def _dense(target: str, source: str) -> Iterator[Place]:
    yield Place(f"{target}.weight", f"{source}/kernel", "in_out")
    yield Place(f"{target}.bias", f"{source}/bias")


def _places(hyper: dict[str, Any], of_paper: bool) -> Iterator[Place]:
    """Where every tensor goes. Kernels are (in, out), head matrices (head, in, out), tables have a row for each Z."""
    yield Place("embedding.element", "feature_embeddings_0/Embed_0/embedding")
    if not of_paper and hyper["radial_basis"]["type"] == "gaussian":
        for name in ("centers", "widths"):
            yield Place(f"radial_basis.{name}", f"geometry_embeddings_0/rbf_fn/{name}")
    for t in range(hyper["num_layers"]):
        target, source = f"layers.{t}", f"layers_{t}"
        yield from _filter_and_attention_places(target, source, of_paper)
        yield from _dense(f"{target}.exchange", f"{source}/InteractionBlock_0/MLP_0/layers_0")
        yield from (_layer_places_2022 if of_paper else _layer_places_2023)(hyper, target, source)
    if not of_paper and hyper["final_layer_norm"]:
        yield from _norm("final_norm", f"layers_{hyper['num_layers'] - 1}/LayerNorm_2")
    yield from _dense("energy.dense1", "observables_0/MLP_0/layers_0")
    yield from _dense("energy.dense2", "observables_0/MLP_0/layers_1")
    if hyper.get("zbl"):
        for name in ("a1", "a2", "a3", "a4", "c1", "c2", "c3", "c4", "p", "d"):
            yield Place(f"zbl.{name}_raw", f"observables_0/ZBLRepulsion_0/{name}")


def _norm(target: str, source: str) -> Iterator[Place]:
    for name in ("scale", "bias"):
        yield Place(f"{target}.{name}", f"{source}/{name}")


def _filter_and_attention_places(target: str, source: str, biases: bool) -> Iterator[Place]:
    for block, module in _FILTERS.items():
        for index, net in enumerate(_NETS):
            for layer in (1, 2):
                name = f"{source}/{module}/filter_fn/VmapMLP_{index}/layers_{layer - 1}"
                yield Place(f"{target}.filter_{block}.{net}{layer}.weight", f"{name}/kernel", "one_in_out")
                yield Place(f"{target}.filter_{block}.{net}{layer}.bias", f"{name}/bias", "one_row")
        attention = f"{source}/{module}/attention_fn"
        maps = {f"query_{block}": "VmapConvAttentionCoefficients_0/Dense_0"}
        maps[f"key_{block}"] = "VmapConvAttentionCoefficients_0/Dense_1"
        if block == "features":
            maps["value_features"] = "VmapAttentionAggregation_0/Dense_0"
        for name, dense in maps.items():
            yield Place(f"{target}.attention.{name}", f"{attention}/{dense}/kernel")
            if biases:
                yield Place(f"{target}.attention.{name}_bias", f"{attention}/{dense}/bias")


def _layer_places_2022(hyper: dict[str, Any], target: str, source: str) -> Iterator[Place]:
    yield Place(f"{target}.self_mix.coefficients", f"{source}/InteractionBlock_0/selfmix/params")
    yield from _dense(f"{target}.self_mix.gate", f"{source}/InteractionBlock_0/MLP_1/layers_0")
    for number in (1, 2):
        if hyper["layer_norm"]:
            yield from _norm(f"{target}.norm{number}", f"{source}/LayerNorm_{number - 1}")
        if hyper["coordinate_norm"]:
            scale = f"{source}/SPHCLayerNorm_{number - 1}/scale_weight"
            yield Place(f"{target}.coordinate_norm{number}.scale", scale)


def _layer_places_2023(hyper: dict[str, Any], target: str, source: str) -> Iterator[Place]:
    # The original numbers the modules of a kind in the order in which it uses them.
    in_use = [number for number in (1, 2) if hyper[f"residual_mlp_{number}"]]
    for index, number in enumerate(in_use):
        mlp = f"{source}/ResidualMLP_{index}"
        for layer, name in enumerate(("Residual_0/layers_0", "Residual_0/layers_1", "Dense_0"), start=1):
            yield Place(f"{target}.mlp{number}.dense{layer}.weight", f"{mlp}/{name}/kernel", "in_out")
    for number in (1, 2):
        if hyper[f"layer_norm_{number}"]:
            yield from _norm(f"{target}.norm{number}", f"{source}/LayerNorm_{number - 1}")
