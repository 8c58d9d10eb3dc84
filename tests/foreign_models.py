"""Toy models in the formats of other programs, written from their documentation, for the tests of the converter.

`foreign_toy_model` makes a model that those formats can express; `jax_parameters` gives it as a tree of JAX parameters
with its hyperparameters; `write_torch_model` writes it as a `.model` file of so3krates-torch, opcode by opcode.
"""

from __future__ import annotations

import io
import json
import pickle
import struct
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from toy_models import make_toy_model

from so3md.model_file import ModelFile

JUNK = 7.25  # what tables hold for elements that a model was not trained for


def foreign_toy_model(seed: int = 0, **overrides: Any) -> ModelFile:
    """A small toy model whose widths are tied together as the other programs tie them."""
    features, width = 8, 6
    tied: dict[str, Any] = {
        "num_features": features,
        "num_heads": 2,
        "degrees": [1, 2],
        "num_layers": 1,
        "radial_hidden": features,
        "spherical_hidden": features // 4,
        "radial_basis": {"type": "bernstein", "size": 4, "gamma": float(np.float32(0.9448630629184640))},
        "energy_head": {"hidden": width, "activation": "silu"},
        "charge_head": {"hidden": width},
        "hirshfeld_head": {"hidden": width // 2, "size": features // 2},
    }
    return make_toy_model(seed, **(tied | overrides))


def full_table(model: ModelFile, name: str, rows: int) -> np.ndarray:
    """A table with a row for each atomic number from 0 on, junk where the model has no element."""
    values = model.tensors[name]
    table = np.full((rows, *values.shape[1:]), JUNK, values.dtype)
    table[model.elements] = values
    return table


# ---------------------------------------------------------------------------------------------------------------- JAX


def jax_parameters(model: ModelFile) -> tuple[dict[str, Any], dict[str, Any]]:
    """The tree of parameters, {"params": {...}} with NumPy arrays, and the hyperparameters, of the original program."""
    hyper, tensors = model.hyperparameters, model.tensors
    flat: dict[str, np.ndarray] = {}

    def dense(path: str, name: str) -> None:
        flat[f"{path}/kernel"], flat[f"{path}/bias"] = tensors[f"{name}.weight"].T, tensors[f"{name}.bias"]

    flat["feature_embeddings_0/Embed_0/embedding"] = full_table(model, "embedding.element", 119)
    for number, kind in enumerate([k for k in ("charge", "spin") if hyper[f"{k}_embedding"]], start=1):
        path = f"feature_embeddings_{number}/ChargeSpinEmbedSparse_0"
        flat[f"{path}/Embed_0/embedding"] = full_table(model, f"embedding.{kind}.query", 119)
        flat[f"{path}/Embed_1/embedding"] = tensors[f"embedding.{kind}.key"]
        flat[f"{path}/Embed_2/embedding"] = tensors[f"embedding.{kind}.value"]
        flat[f"{path}/Residual_0/layers_0/kernel"] = tensors[f"embedding.{kind}.mlp1"].T
        flat[f"{path}/Residual_0/layers_1/kernel"] = tensors[f"embedding.{kind}.mlp2"].T
    if hyper["radial_basis"]["type"] == "gaussian":
        flat["geometry_embeddings_0/rbf_fn/centers"] = tensors["radial_basis.centers"]
        flat["geometry_embeddings_0/rbf_fn/widths"] = tensors["radial_basis.widths"]
    for t in range(hyper["num_layers"]):
        here, there = f"layers.{t}", f"layers_{t}"
        for number, block in ((1, "features"), (2, "coordinates")):
            for net in ("radial", "spherical"):
                for layer in (1, 2):
                    name = f"{net}_filter{number}_layer_{layer}"
                    dense(f"{there}/attention_block/{name}", f"{here}.filter_{block}.{net}{layer}")
            for letter, kind in (("q", "query"), ("k", "key"), ("v", "value")):
                if f"{here}.attention.{kind}_{block}" in tensors:
                    matrices = tensors[f"{here}.attention.{kind}_{block}"]
                    flat[f"{there}/attention_block/W{letter}{number}"] = matrices.swapaxes(1, 2)
        for number in (1, 2):
            if hyper[f"layer_norm_{number}"]:
                for name in ("scale", "bias"):
                    flat[f"{there}/layer_normalization_{number}/{name}"] = tensors[f"{here}.norm{number}.{name}"]
            if hyper[f"residual_mlp_{number}"]:
                for layer in (1, 2):
                    dense(f"{there}/res_mlp_{number}_layer_{layer}", f"{here}.mlp{number}.dense{layer}")
        dense(f"{there}/exchange_block/mlp_layer_2", f"{here}.exchange")
    _jax_heads(model, flat, dense)

    tree: dict[str, Any] = {}
    for path, values in flat.items():
        *branches, leaf = path.split("/")
        node = tree
        for branch in branches:
            node = node.setdefault(branch, {})
        node[leaf] = np.ascontiguousarray(values)
    return {"params": tree}, jax_hyperparameters(model)


def _jax_heads(model: ModelFile, flat: dict[str, np.ndarray], dense: Callable[[str, str], None]) -> None:
    hyper, tensors = model.hyperparameters, model.tensors
    if hyper["energy_head"]["hidden"]:
        dense("observables_0/energy_dense_regression", "energy.dense1")
    dense("observables_0/energy_dense_final", "energy.dense2")
    flat["observables_0/atomic_scales"] = full_table(model, "energy.scale", 119)
    flat["observables_0/energy_offset"] = full_table(model, "energy.shift", 119)
    if hyper["zbl"] is not None:
        for letter in "ac":
            for n in range(4):
                flat[f"observables_0/zbl_repulsion/{letter}{n + 1}"] = tensors[f"zbl.{letter}_raw"][n : n + 1]
        for letter in "pd":
            flat[f"observables_0/zbl_repulsion/{letter}"] = tensors[f"zbl.{letter}_raw"]
    if hyper["charge_head"] is not None:
        energy = "electrostatic_energy/" if hyper["electrostatics"] is not None else ""
        path = f"observables_0/{energy}partial_charges" if energy else "observables_1/partial_charges"
        flat[f"{path}/Embed_0/embedding"] = full_table(model, "charge.element", 100)[:, None]
        if hyper["charge_head"]["hidden"]:
            dense(f"{path}/charge_dense_regression_vec", "charge.dense1")
        dense(f"{path}/charge_dense_final_vec", "charge.dense2")
    if hyper["hirshfeld_head"] is not None:
        flat["observables_2/Embed_0/embedding"] = full_table(model, "hirshfeld.shift", 100)[:, None]
        flat["observables_2/Embed_1/embedding"] = full_table(model, "hirshfeld.query", 100)
        if hyper["hirshfeld_head"]["hidden"]:
            dense("observables_2/hirshfeld_ratios_dense_regression", "hirshfeld.dense1")
        dense("observables_2/hirshfeld_ratios_dense_final", "hirshfeld.dense2")


def jax_hyperparameters(model: ModelFile) -> dict[str, Any]:
    """The sections of hyperparameters.json, as the original program writes them."""
    hyper = model.hyperparameters
    normalization = {"constant": "avg_num_neighbors", "sqrt_head_width": "sqrt_num_features", "none": "identity"}
    bases = {"bernstein": "bernstein", "gaussian": "gaussian", "bessel": "fourier", "phys": "physnet"}
    electrostatics, dispersion = hyper["electrostatics"], hyper["dispersion"]
    return {
        "data": {
            "avg_num_neighbors": hyper["attention_normalization"].get("value"),
            "energy_shifts": {},
            "energy_unit": "eV",
            "length_unit": "Angstrom",
        },
        "model": {
            "activation_fn": hyper["activation"],
            "cutoff": hyper["cutoff"],
            "cutoff_fn": hyper["cutoff_function"]["type"],
            "cutoff_lr": None,
            "degrees": hyper["degrees"],
            "dispersion_energy_bool": dispersion is not None,
            "dispersion_energy_cutoff_lr_damping": None,
            "dispersion_energy_scale": dispersion["damping_scale"] if dispersion else 1.0,
            "electrostatic_energy_bool": electrostatics is not None,
            "electrostatic_energy_scale": electrostatics["sigma"] if electrostatics else 1.0,
            "energy_activation_fn": hyper["energy_head"]["activation"],
            "energy_learn_atomic_type_scales": True,
            "energy_learn_atomic_type_shifts": True,
            "energy_regression_dim": hyper["energy_head"]["hidden"] or None,
            "input_convention": "positions",
            "layer_normalization_1": hyper["layer_norm_1"],
            "layer_normalization_2": hyper["layer_norm_2"],
            "layers_behave_like_identity_fn_at_init": False,
            "message_normalization": normalization[hyper["attention_normalization"]["type"]],
            "num_features": hyper["num_features"],
            "num_features_head": 32,
            "num_heads": hyper["num_heads"],
            "num_layers": hyper["num_layers"],
            "num_radial_basis_fn": hyper["radial_basis"]["size"],
            "output_is_zero_at_init": False,
            "qk_non_linearity": hyper["query_key_activation"],
            "radial_basis_fn": bases[hyper["radial_basis"]["type"]],
            "residual_mlp_1": hyper["residual_mlp_1"],
            "residual_mlp_2": hyper["residual_mlp_2"],
            "use_charge_embed": hyper["charge_embedding"],
            "use_spin_embed": hyper["spin_embedding"],
            "zbl_repulsion_bool": hyper["zbl"] is not None,
        },
        "neighborlist_format_lr": "sparse",
    }


def write_jax_model(directory: Path, params: Any, hyperparameters: dict[str, Any], protocol: int = 4) -> Path:
    """Write params.pkl and hyperparameters.json."""
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "params.pkl").write_bytes(pickle.dumps(params, protocol=protocol))
    (directory / "hyperparameters.json").write_text(json.dumps(hyperparameters))
    return directory


# -------------------------------------------------------------------------------------------------------------- torch


@dataclass
class Name:
    """A global, such as torch.nn.modules.activation.SiLU."""

    full: str


@dataclass
class Call:
    """What a function returns that is called without arguments."""

    full: str


@dataclass
class Parameter:
    """A trainable tensor; plain arrays are buffers."""

    values: np.ndarray


@dataclass
class Object:
    """An object that a pickle makes from a class without arguments and gives its attributes."""

    name: str
    attributes: dict[str, Any] = field(default_factory=dict)


def module(
    name: str,
    parameters: dict[str, np.ndarray] | None = None,
    buffers: dict[str, np.ndarray] | None = None,
    modules: dict[str, Any] | None = None,
    **attributes: Any,
) -> Object:
    """A torch.nn.Module as torch.save pickles it."""
    state: dict[str, Any] = {
        "training": True,
        "_parameters": {key: Parameter(value) for key, value in (parameters or {}).items()},
        "_buffers": dict(buffers or {}),
        "_forward_hooks": Call("collections.OrderedDict"),
        "_modules": dict(modules or {}),
    }
    return Object(name, state | attributes)


class TorchPickler:
    """Writes the opcodes of protocol 2 for plain data, `module` and tensors; collects the storages of the tensors."""

    STORAGES = {"float32": "FloatStorage", "float64": "DoubleStorage", "int64": "LongStorage"}  # noqa: RUF012

    def __init__(self) -> None:
        self.out = io.BytesIO()
        self.storages: list[bytes] = []
        self.memo: dict[int, int] = {}

    def dumps(self, value: Any) -> bytes:
        self.out.write(b"\x80\x02")
        self.write(value)
        self.out.write(b".")
        return self.out.getvalue()

    def call(self, name: str, *arguments: Any) -> None:
        self.write(Name(name))
        self.write(arguments)
        self.out.write(b"R")

    def write(self, value: Any) -> None:
        put = self.out.write
        if value is None or isinstance(value, bool):
            put({None: b"N", True: b"\x88", False: b"\x89"}[value])
        elif isinstance(value, int):
            put(b"J" + struct.pack("<i", value))
        elif isinstance(value, float):
            put(b"G" + struct.pack(">d", value))
        elif isinstance(value, str):
            put(b"X" + struct.pack("<I", len(value.encode())) + value.encode())
        elif isinstance(value, tuple | list):
            put(b"(" if isinstance(value, tuple) else b"](")
            for item in value:
                self.write(item)
            put(b"t" if isinstance(value, tuple) else b"e")
        elif isinstance(value, dict):
            put(b"}(")
            for key, item in value.items():
                self.write(key)
                self.write(item)
            put(b"u")
        elif isinstance(value, Name):
            head, _, tail = value.full.rpartition(".")
            put(f"c{head}\n{tail}\n".encode())
        elif isinstance(value, Call):
            self.call(value.full)
        elif isinstance(value, Parameter):
            self.write(Name("torch._utils._rebuild_parameter"))
            put(b"(")
            self.write(value.values)
            self.write(True)
            self.call("collections.OrderedDict")
            put(b"tR")
        elif isinstance(value, np.ndarray):
            self.write_tensor(value)
        elif isinstance(value, Object):
            self.write_object(value)
        else:
            raise TypeError(type(value))

    def write_object(self, value: Object) -> None:
        if id(value) in self.memo:
            self.out.write(b"j" + struct.pack("<I", self.memo[id(value)]))
            return
        self.memo[id(value)] = len(self.memo)
        self.write(Name(value.name))
        self.out.write(b")\x81r" + struct.pack("<I", self.memo[id(value)]))
        self.write(value.attributes)
        self.out.write(b"b")

    def write_tensor(self, values: np.ndarray) -> None:
        values = np.array(values, order="C")
        self.storages.append(values.tobytes())
        self.write(Name("torch._utils._rebuild_tensor_v2"))
        self.out.write(b"(")
        kind = Name("torch." + self.STORAGES[str(values.dtype)])
        self.write(("storage", kind, str(len(self.storages) - 1), "cpu", values.size))
        self.out.write(b"Q")
        self.write(0)
        self.write(values.shape)
        self.write(tuple(stride // values.itemsize for stride in values.strides))
        self.write(False)
        self.call("collections.OrderedDict")
        self.out.write(b"tR")


def save_torch_archive(path: Path, root: Any) -> Path:
    """Write what torch.save(root, path) writes."""
    pickler = TorchPickler()
    data = pickler.dumps(root)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("toy/data.pkl", data)
        archive.writestr("toy/byteorder", "little")
        for number, storage in enumerate(pickler.storages):
            archive.writestr(f"toy/data/{number}", storage)
        archive.writestr("toy/version", "3\n")
    return path


_NN = "torch.nn.modules"
_ACTIVATION_CLASSES = {
    "silu": f"{_NN}.activation.SiLU",
    "tanh": f"{_NN}.activation.Tanh",
    "relu": f"{_NN}.activation.ReLU",
    "gelu": f"{_NN}.activation.GELU",
    "identity": f"{_NN}.linear.Identity",
}


def _linear(model: ModelFile, name: str) -> Object:
    parameters = {"weight": model.tensors[f"{name}.weight"], "bias": model.tensors[f"{name}.bias"]}
    return module(f"{_NN}.linear.Linear", parameters)


def _sequential(**modules: Object) -> Object:
    return module(f"{_NN}.container.Sequential", modules={key.lstrip("_"): value for key, value in modules.items()})


def _table(values: np.ndarray) -> np.ndarray:
    """A table by atomic number as a linear map of one-hot vectors, which has no column for Z = 0."""
    return np.ascontiguousarray(values[1:].T)


def torch_model(model: ModelFile, class_name: str = "SO3LR", **changes: Any) -> Object:
    """The model as the module of so3krates-torch; `changes` replaces attributes of the root."""
    hyper = model.hyperparameters
    package, activation = "so3krates_torch", Name(_ACTIVATION_CLASSES[hyper["activation"]])
    modules: dict[str, Any] = {
        "inv_feature_embedding": module(
            f"{package}.blocks.embedding.InvariantEmbedding",
            modules={
                "embedding": module(
                    f"{_NN}.linear.Linear", {"weight": _table(full_table(model, "embedding.element", 119))}
                )
            },
        )
    }
    for kind in ("charge", "spin"):
        if hyper[f"{kind}_embedding"]:
            modules[f"{kind}_embedding"] = _torch_charge_spin(model, kind)
    modules["radial_embedding"] = module(
        f"{package}.blocks.radial_basis.ComputeRBF", modules={"radial_basis_fn": _torch_radial_basis(model)}
    )
    layers = {str(t): _torch_layer(model, t) for t in range(hyper["num_layers"])}
    modules["euclidean_transformers"] = module(f"{_NN}.container.ModuleList", modules=layers)
    modules |= _torch_heads(model)

    electrostatics, dispersion = hyper["electrostatics"], hyper["dispersion"]
    normalization = {"constant": "avg_num_neighbors", "sqrt_head_width": "sqrt_num_features", "none": "identity"}
    options = {
        "device": "cpu",
        "r_max": hyper["cutoff"],
        "num_radial_basis_fn": hyper["radial_basis"]["size"],
        "degrees": hyper["degrees"],
        "num_features": hyper["num_features"],
        "num_heads": hyper["num_heads"],
        "num_layers": hyper["num_layers"],
        "num_elements": 118,
        "avg_num_neighbors_param": hyper["attention_normalization"].get("value"),
        "final_mlp_layers": 2 if hyper["energy_head"]["hidden"] else 1,
        "energy_regression_dim": hyper["energy_head"]["hidden"] or None,
        "message_normalization": normalization[hyper["attention_normalization"]["type"]],
        "initialize_ev_to_zeros": True,
        "radial_basis_fn": hyper["radial_basis"]["type"],
        "trainable_rbf": False,
        "atomic_type_shifts": None,
        "energy_learn_atomic_type_shifts": True,
        "energy_learn_atomic_type_scales": True,
        "layer_normalization_1": hyper["layer_norm_1"],
        "layer_normalization_2": hyper["layer_norm_2"],
        "residual_mlp_1": hyper["residual_mlp_1"],
        "residual_mlp_2": hyper["residual_mlp_2"],
        "use_charge_embed": hyper["charge_embedding"],
        "use_spin_embed": hyper["spin_embedding"],
        "interaction_bias": True,
        "qk_non_linearity": hyper["query_key_activation"],
        "cutoff_fn_name": hyper["cutoff_function"]["type"],
        "cutoff_p": hyper["cutoff_function"].get("exponent", 5),
        "activation_fn_name": hyper["activation"],
        "energy_activation_fn_name": hyper["energy_head"]["activation"],
        "seed": 42,
        "dtype": Name("torch.float32"),
        "layers_behave_like_identity_fn_at_init": False,
        "output_is_zero_at_init": False,
        "input_convention": "positions",
        "num_features_head": 32,
        "activation_fn": activation,
        "energy_activation_fn": Name(_ACTIVATION_CLASSES[hyper["energy_head"]["activation"]]),
        "num_embeddings": 3,
        "embedding_scale": 1.7320508075688772,
        "avg_num_neighbors": hyper["attention_normalization"].get("value", 1.0),
        "zbl_repulsion_bool": hyper["zbl"] is not None,
        "electrostatic_energy_bool": electrostatics is not None,
        "electrostatic_energy_scale": electrostatics["sigma"] if electrostatics else 4.0,
        "dispersion_energy_bool": dispersion is not None,
        "dispersion_energy_scale": dispersion["damping_scale"] if dispersion else 1.2,
        "dispersion_energy_cutoff_lr_damping": None,
        "neighborlist_format_lr": "sparse",
        "r_max_lr": None,
        "use_lr": True,
    }
    return module(f"{package}.modules.models.{class_name}", modules=modules, **(options | changes))


def _torch_charge_spin(model: ModelFile, kind: str) -> Object:
    tensors = model.tensors
    maps = {
        str(2 * n - 1): module(f"{_NN}.linear.Linear", {"weight": tensors[f"embedding.{kind}.mlp{n}"]}) for n in (1, 2)
    }
    query = _table(full_table(model, f"embedding.{kind}.query", 119))
    return module(
        "so3krates_torch.blocks.embedding.ChargeSpinEmbedding",
        {"Wk": tensors[f"embedding.{kind}.key"], "Wv": tensors[f"embedding.{kind}.value"]},
        modules={"Wq": module(f"{_NN}.linear.Linear", {"weight": query}), "mlp": _sequential(**maps)},
    )


def _torch_radial_basis(model: ModelFile) -> Object:
    basis, size = model.hyperparameters["radial_basis"], model.hyperparameters["radial_basis"]["size"]
    if basis["type"] == "gaussian":
        buffers = {name: model.tensors[f"radial_basis.{name}"] for name in ("centers", "widths")}
    elif basis["type"] == "bessel":
        buffers = {"freqs": (np.arange(size) * np.pi / model.hyperparameters["cutoff"]).astype(np.float32)}
    else:
        binomials = np.cumprod([1.0, *((size - k) / k for k in range(1, size))])
        buffers = {"b": np.log(binomials).astype(np.float32), "gamma": np.array(basis["gamma"], np.float32)}
        buffers |= {"k": np.arange(size), "k_rev": np.arange(size)[::-1].copy()}
    name = {"gaussian": "GaussianBasis", "bessel": "BesselBasis", "bernstein": "BernsteinBasis"}[basis["type"]]
    return module(f"so3krates_torch.blocks.radial_basis.{name}", buffers=buffers)


def _torch_layer(model: ModelFile, t: int) -> Object:
    hyper, tensors, blocks = model.hyperparameters, model.tensors, "so3krates_torch.blocks"
    repeats = np.array([2 * degree + 1 for degree in hyper["degrees"]])
    contraction = module(
        f"{blocks}.so3_conv_invariants.L0Contraction",
        buffers={
            "cg_rep": np.repeat(1 / np.sqrt(repeats), repeats).astype(np.float32),
            "segment_ids": np.repeat(np.arange(len(repeats)), repeats),
            "segment_sum_matrix": np.repeat(np.eye(len(repeats), dtype=np.float32), repeats, axis=0),
        },
    )

    def filter_net(block: str) -> Object:
        name = f"layers.{t}.filter_{block}"
        radial, spherical = (
            _sequential(_0=_linear(model, f"{name}.radial2")),
            _sequential(_0=_linear(model, f"{name}.spherical2")),
        )
        return module(
            f"{blocks}.euclidean_transformer.FilterNet",
            modules={
                "mlp_rbf": _sequential(_0=_linear(model, f"{name}.radial1"), mlp_rbf_layer_1=radial),
                "mlp_ev": _sequential(_0=_linear(model, f"{name}.spherical1"), mlp_ev_layer_1=spherical),
            },
        )

    # The attention block holds the filter networks of the layer once more: the same objects.
    filters = {"filter_net_inv": filter_net("features"), "filter_net_ev": filter_net("coordinates")}
    attention = f"layers.{t}.attention"
    weights = {
        "W_q_inv": tensors[f"{attention}.query_features"],
        "W_k_inv": tensors[f"{attention}.key_features"],
        "W_v_inv": tensors[f"{attention}.value_features"],
        "W_q_ev": tensors[f"{attention}.query_coordinates"],
        "W_k_ev": tensors[f"{attention}.key_coordinates"],
    }
    modules: dict[str, Any] = filters | {
        "euclidean_attention_block": module(
            f"{blocks}.euclidean_transformer.EuclideanAttentionBlock",
            weights,
            {"degree_repeats": repeats},
            {"so3_conv_invariants": contraction}
            | filters
            | {"qk_non_linearity": module(_ACTIVATION_CLASSES[hyper["query_key_activation"]])},
        ),
        "interaction_block": module(
            f"{blocks}.euclidean_transformer.InteractionBlock",
            buffers={"degree_repeats": repeats},
            modules={"linear_layer": _linear(model, f"layers.{t}.exchange"), "so3_conv_invariants": contraction},
        ),
    }
    for n in (1, 2):
        if hyper[f"layer_norm_{n}"]:
            norm = {"weight": tensors[f"layers.{t}.norm{n}.scale"], "bias": tensors[f"layers.{t}.norm{n}.bias"]}
            modules[f"layer_norm_inv_{n}"] = module(
                f"{_NN}.normalization.LayerNorm", norm, eps=1e-6, elementwise_affine=True
            )
        if hyper[f"residual_mlp_{n}"]:
            name = f"layers.{t}.mlp{n}"
            modules[f"mlp_{n}"] = _sequential(_1=_linear(model, f"{name}.dense1"), _3=_linear(model, f"{name}.dense2"))
    return module(f"{blocks}.euclidean_transformer.EuclideanTransformer", modules=modules)


def _torch_heads(model: ModelFile) -> dict[str, Object]:
    """All heads and terms; those that the model lacks are there too, untrained, as the package makes them."""
    hyper, tensors, blocks = model.hyperparameters, model.tensors, "so3krates_torch.blocks"
    width = hyper["energy_head"]["hidden"]
    scale = module(f"{_NN}.linear.Linear", {"weight": _table(full_table(model, "energy.scale", 119)[:, None])})
    layers = {"0": _linear(model, "energy.dense1")} if width else {}
    heads = {
        "atomic_energy_output_block": module(
            f"{blocks}.output_block.AtomicEnergyOutputHead",
            {"energy_shifts": full_table(model, "energy.shift", 119)[1:]},
            modules={
                "layers": module(f"{_NN}.container.ModuleList", modules=layers),
                "final_layer": _linear(model, "energy.dense2"),
                "energy_scales": scale,
            },
            use_non_linearity=True,
            final_non_linearity=False,
        )
    }
    raw = {f"{letter}{n + 1}_raw": np.zeros(1, np.float32) for letter in "ac" for n in range(4)}
    raw |= {"p_raw": np.zeros(1, np.float32), "d_raw": np.zeros(1, np.float32)}
    if hyper["zbl"] is not None:
        raw |= {f"{letter}{n + 1}_raw": tensors[f"zbl.{letter}_raw"][n : n + 1] for letter in "ac" for n in range(4)}
        raw |= {f"{letter}_raw": tensors[f"zbl.{letter}_raw"] for letter in "pd"}
    heads["zbl_repulsion"] = module(f"{blocks}.physical_potentials.ZBLRepulsion", raw)

    untrained = foreign_toy_model(99)
    donor = model if hyper["electrostatics"] is not None else untrained
    heads["partial_charges_output_block"] = module(
        f"{blocks}.output_block.PartialChargesOutputHead",
        modules={
            "atomic_embedding": module(
                f"{_NN}.sparse.Embedding", {"weight": full_table(donor, "charge.element", 100)[:, None]}
            ),
            "transform_inv_features": _head_network(donor, "charge"),
        },
    )
    donor = model if hyper["dispersion"] is not None else untrained
    heads["hirshfeld_output_block"] = module(
        f"{blocks}.output_block.HirshfeldOutputHead",
        modules={
            "v_shift_embedding": module(
                f"{_NN}.sparse.Embedding", {"weight": full_table(donor, "hirshfeld.shift", 100)[:, None]}
            ),
            "q_embedding": module(f"{_NN}.sparse.Embedding", {"weight": full_table(donor, "hirshfeld.query", 100)}),
            "transform_features": _head_network(donor, "hirshfeld"),
        },
    )
    return heads


def _head_network(model: ModelFile, head: str) -> Object:
    if model.hyperparameters[f"{head}_head"]["hidden"]:
        return _sequential(_0=_linear(model, f"{head}.dense1"), _2=_linear(model, f"{head}.dense2"))
    return _linear(model, f"{head}.dense2")


def write_torch_model(path: Path, model: ModelFile, class_name: str = "SO3LR", **changes: Any) -> Path:
    """Write a `.model` file."""
    return save_torch_archive(path, torch_model(model, class_name, **changes))
