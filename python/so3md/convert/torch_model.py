"""Reading the `.model` files of so3krates-torch: which option and which tensor means what."""

from __future__ import annotations

import hashlib
import math
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from so3md.convert.errors import ConversionError
from so3md.convert.source import Place, SourceModel, Tensors, checked_degrees, choose, damping_of, dense, words
from so3md.convert.torch_archive import Module, collect_tensors, read_archive

SOURCE_FORMAT = "so3krates-torch model"

_PACKAGE = "so3krates_torch"
_PLAIN_MODEL, _SO3LR_MODEL = f"{_PACKAGE}.modules.models.So3krates", f"{_PACKAGE}.modules.models.SO3LR"
_CLASSES = frozenset(
    [_PLAIN_MODEL, _SO3LR_MODEL]
    + [f"{_PACKAGE}.modules.cutoff.{n}Cutoff" for n in ("PhysNet", "Cosine", "Polynomial", "Exponential")]
    + [f"{_PACKAGE}.modules.spherical_harmonics.RealSphericalHarmonics"]
    + [f"{_PACKAGE}.blocks.embedding.{n}Embedding" for n in ("Invariant", "Euclidean", "ChargeSpin")]
    + [f"{_PACKAGE}.blocks.radial_basis.{n}" for n in ("ComputeRBF", "BernsteinBasis", "GaussianBasis", "BesselBasis")]
    + [
        f"{_PACKAGE}.blocks.euclidean_transformer.{n}"
        for n in ("EuclideanTransformer", "EuclideanAttentionBlock", "FilterNet", "InteractionBlock")
    ]
    + [f"{_PACKAGE}.blocks.so3_conv_invariants.L0Contraction"]
    + [f"{_PACKAGE}.blocks.output_block.{n}OutputHead" for n in ("AtomicEnergy", "PartialCharges", "DipoleVec")]
    + [f"{_PACKAGE}.blocks.output_block.HirshfeldOutputHead"]
    + [
        f"{_PACKAGE}.blocks.physical_potentials.{n}"
        for n in ("ZBLRepulsion", "ElectrostaticInteraction", "DispersionInteraction")
    ]
    + [f"{_PACKAGE}.data.utils.{n}" for n in ("GraphContext", "InteractionKwargs")]
)
_ADAPTER = "low-rank adapters are not supported; merge them into the weights and save a plain model"
_REFUSED = {
    f"{_PACKAGE}.modules.models.MultiHeadSO3LR": "models with several heads (levels of theory) are not supported yet",
    f"{_PACKAGE}.blocks.output_block.MultiAtomicEnergyOutputHead": "models with several heads are not supported yet",
    f"{_PACKAGE}.blocks.physical_potentials.PMEElectrostaticInteraction": "particle-mesh electrostatics (use_pme) is "
    "not supported yet",
} | {f"{_PACKAGE}.blocks.euclidean_transformer.EuclideanAttentionBlock{n}": _ADAPTER for n in ("LORA", "DoRA", "VeRA")}

#: Attributes of a model that are its options, or follow from them.
_OPTIONS = words(
    "r_max num_radial_basis_fn degrees num_features num_heads num_layers num_elements avg_num_neighbors "
    "avg_num_neighbors_param final_mlp_layers energy_regression_dim message_normalization initialize_ev_to_zeros "
    "radial_basis_fn trainable_rbf atomic_type_shifts energy_learn_atomic_type_shifts energy_learn_atomic_type_scales "
    "layer_normalization_1 layer_normalization_2 residual_mlp_1 residual_mlp_2 use_charge_embed use_spin_embed "
    "interaction_bias qk_non_linearity cutoff_fn_name cutoff_p activation_fn_name energy_activation_fn_name "
    "activation_fn energy_activation_fn num_embeddings embedding_scale num_features_head "
    "zbl_repulsion_bool electrostatic_energy_bool electrostatic_energy_scale dispersion_energy_bool "
    "dispersion_energy_scale dispersion_energy_cutoff_lr_damping neighborlist_format_lr r_max_lr use_lr use_pme "
    "layers_behave_like_identity_fn_at_init output_is_zero_at_init input_convention"
)
#: Attributes that do not change what the model computes: settings of training, leftovers of the last evaluation.
_IRRELEVANT = words(
    "training device dtype seed ctx is_lammps num_atoms_arange num_graphs displacement positions vectors lengths cell "
    "node_heads interaction_kwargs lammps_natoms lammps_class receivers senders head_idxs vectors_unit cutoffs "
    "batch_segments data_ptr receivers_lr senders_lr lengths_lr"
)

_ACTIVATIONS = {
    "torch.nn.modules.activation.SiLU": "silu",
    "torch.nn.modules.activation.Tanh": "tanh",
    "torch.nn.modules.activation.ReLU": "relu",
    "torch.nn.modules.linear.Identity": "identity",
}


def read_torch_model(path: Path) -> SourceModel:
    """Read a `.model` file. Raises ConversionError for anything that so3md could not reproduce."""
    try:
        with zipfile.ZipFile(path) as archive:
            root = read_archive(archive, _CLASSES, _REFUSED)
    except zipfile.BadZipFile as error:
        raise ConversionError(
            f"{path} is not a zip archive of torch.save (one of torch before 1.6: load and save it with a later one)"
        ) from error
    if root.class_name not in (_PLAIN_MODEL, _SO3LR_MODEL):
        raise ConversionError(f"{path} holds a {root.class_name}, not a So3krates model")
    options = _options(root)
    tensors = Tensors(collect_tensors(root))
    unused = _drop_unused(options, tensors)
    hyper = _hyperparameters(root, options, tensors)
    _drop_derived(hyper, tensors)
    placed = tensors.place(_places(hyper))
    tensors.refuse_rest()
    for letter in ("a", "c"):
        if hyper["zbl"] is not None:
            placed[f"zbl.{letter}_raw"] = np.concatenate([placed.pop(f"zbl.{letter}{n}_raw") for n in (1, 2, 3, 4)])
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    damping = damping_of(options.get("dispersion_energy_cutoff_lr_damping"))
    return SourceModel(SOURCE_FORMAT, hyper, placed, options["r_max_lr"], sha256, unused, long_range_damping=damping)


def _options(root: Module) -> dict[str, Any]:
    """The options of the model; those that so3md has no counterpart for must have their default."""
    found = {name: value for name, value in root.attributes.items() if not name.startswith("_")}
    unknown = sorted(found.keys() - _OPTIONS - _IRRELEVANT)
    if unknown:
        raise ConversionError(f"the model has the attribute {unknown[0]}, which so3md does not know: refused")
    is_so3lr = root.class_name == _SO3LR_MODEL
    terms = ("zbl_repulsion_bool", "electrostatic_energy_bool", "dispersion_energy_bool")
    options = dict.fromkeys(terms, False) | {"use_pme": False, "r_max_lr": None} | found
    missing = sorted(_OPTIONS - options.keys()) if is_so3lr else []
    if missing:
        raise ConversionError(f"the model lacks the attribute {missing[0]}")
    required = {
        "use_pme": False,
        "initialize_ev_to_zeros": True,
        "interaction_bias": True,
        "input_convention": "positions",
        "layers_behave_like_identity_fn_at_init": False,
        "output_is_zero_at_init": False,
    }
    for name, value in required.items():
        choose(options.get(name, value), {value: None}, name)
    return options


def _hyperparameters(root: Module, options: dict[str, Any], tensors: Tensors) -> dict[str, Any]:
    head = root["atomic_energy_output_block"]
    choose(head.attributes.get("use_non_linearity"), {True: None}, "use_non_linearity of the energy head")
    choose(head.attributes.get("final_non_linearity"), {False: None}, "final_non_linearity of the energy head")
    features, width = options["num_features"], options["energy_regression_dim"]
    layers = choose(options["final_mlp_layers"], {1: 0, 2: 1}, "final_mlp_layers")
    energy_activation = _activation(options["energy_activation_fn"], "energy_activation_fn")
    heads = [name for name in ("electrostatic_energy_bool", "dispersion_energy_bool") if options[name]]
    if heads and width is not None and energy_activation != "silu":
        raise ConversionError(
            f"energy_activation_fn is {energy_activation!r}; with {heads[0]} only 'silu' is supported"
        )
    qk = root["euclidean_transformers.0.euclidean_attention_block.qk_non_linearity"]
    return {
        "num_features": features,
        "num_heads": options["num_heads"],
        "degrees": checked_degrees(options["degrees"]),
        "num_layers": options["num_layers"],
        "cutoff": float(options["r_max"]),
        "cutoff_function": _cutoff_function(options),
        "radial_basis": _radial_basis(options, tensors),
        "radial_hidden": features,
        "spherical_hidden": features // 4,
        "activation": _activation(options["activation_fn"], "activation_fn"),
        "query_key_activation": _activation(qk, "qk_non_linearity"),
        "attention_normalization": choose(
            options["message_normalization"],
            {
                "avg_num_neighbors": {"type": "constant", "value": options["avg_num_neighbors"]},
                "sqrt_num_features": {"type": "sqrt_head_width"},
                "identity": {"type": "none"},
            },
            "message_normalization",
        ),
        "layer_norm_1": options["layer_normalization_1"],
        "layer_norm_2": options["layer_normalization_2"],
        "layer_norm_epsilon": _layer_norm_epsilon(root, options),
        "residual_mlp_1": options["residual_mlp_1"],
        "residual_mlp_2": options["residual_mlp_2"],
        "charge_embedding": options["use_charge_embed"],
        "spin_embedding": options["use_spin_embed"],
        "energy_head": {"hidden": layers * (width or features), "activation": energy_activation},
        "charge_head": {"hidden": width or 0} if options["electrostatic_energy_bool"] else None,
        "hirshfeld_head": {"hidden": (width or 0) // 2, "size": features // 2}
        if options["dispersion_energy_bool"]
        else None,
        # The switch of the repulsion is the same in all models of the package.
        "zbl": {"switch_on": 0.0, "switch_off": 1.5} if options["zbl_repulsion_bool"] else None,
        "electrostatics": {"sigma": float(options["electrostatic_energy_scale"])}
        if options["electrostatic_energy_bool"]
        else None,
        "dispersion": {"type": "vdw_qdo", "damping_scale": float(options["dispersion_energy_scale"])}
        if options["dispersion_energy_bool"]
        else None,
    }


def _activation(kind: Any, option: str) -> str:
    name = getattr(kind, "class_name", getattr(kind, "name", kind))
    if name == "torch.nn.modules.activation.GELU":
        raise ConversionError(f"{option} is GELU in its exact form; so3md has only its tanh form")
    return choose(name, _ACTIVATIONS, option)


def _cutoff_function(options: dict[str, Any]) -> dict[str, Any]:
    kinds = {name: name for name in ("phys", "cosine", "exponential", "polynomial")}
    kind = choose(options["cutoff_fn_name"], kinds, "cutoff_fn")
    return {"type": kind, "exponent": options["cutoff_p"]} if kind == "polynomial" else {"type": kind}


def _radial_basis(options: dict[str, Any], tensors: Tensors) -> dict[str, Any]:
    """The basis; of a Bernstein basis the trained gamma, of a Bessel basis only untrained frequencies are possible."""
    kinds = {name: name for name in ("bernstein", "gaussian", "bessel")}
    kind, size = choose(options["radial_basis_fn"], kinds, "radial_basis_fn"), options["num_radial_basis_fn"]
    basis = {"type": kind, "size": size}
    if kind == "bernstein":
        basis["gamma"] = float(tensors.take("radial_embedding.radial_basis_fn.gamma"))
    if kind == "bessel":
        frequencies = tensors.take("radial_embedding.radial_basis_fn.freqs")
        if not np.allclose(frequencies, np.arange(size) * math.pi / options["r_max"], rtol=1e-6, atol=0.0):
            raise ConversionError("radial_embedding.radial_basis_fn.freqs: trained frequencies are not supported")
    return basis


def _layer_norm_epsilon(root: Module, options: dict[str, Any]) -> float:
    norms = [
        root[f"euclidean_transformers.{t}.layer_norm_inv_{number}"].attributes
        for t in range(options["num_layers"])
        for number in (1, 2)
        if options[f"layer_normalization_{number}"]
    ]
    epsilons = {norm["eps"] for norm in norms} or {1e-6}
    if len(epsilons) > 1 or any(norm.get("elementwise_affine") is not True for norm in norms):
        raise ConversionError("the layer norms differ in epsilon or lack scale and bias: not supported")
    return epsilons.pop()


def _drop_unused(options: dict[str, Any], tensors: Tensors) -> list[str]:
    """The package makes every head and term of SO3LR, in use or not; leave out those that are switched off."""
    switches = {
        "zbl_repulsion_bool": "zbl_repulsion.",
        "electrostatic_energy_bool": "partial_charges_output_block.",
        "dispersion_energy_bool": "hirshfeld_output_block.",
    }
    return [name for option, prefix in switches.items() if not options[option] for name in tensors.drop(prefix)]


def _drop_derived(hyper: dict[str, Any], tensors: Tensors) -> None:
    """Buffers that follow from the hyperparameters, and must have the values that follow."""
    degrees = hyper["degrees"]
    repeats = np.array([2 * degree + 1 for degree in degrees])
    size = hyper["radial_basis"]["size"]
    expected = {
        "degree_repeats": repeats,
        "cg_rep": np.repeat(1 / np.sqrt(repeats), repeats),
        "segment_ids": np.repeat(np.arange(len(degrees)), repeats),
        "segment_sum_matrix": np.repeat(np.eye(len(degrees)), repeats, axis=0),
        "b": np.array([math.log(math.comb(size - 1, k)) for k in range(size)]),
        "k": np.arange(size),
        "k_rev": np.arange(size)[::-1],
    }
    for path in list(tensors.left):
        name = path.rsplit(".", 1)[-1]
        if name in expected and (
            "so3_conv_invariants" in path or "radial_basis_fn" in path or name == "degree_repeats"
        ):
            value = tensors.take(path)
            if value.shape != expected[name].shape or not np.allclose(value, expected[name], rtol=1e-5, atol=1e-6):
                raise ConversionError(
                    f"{path} does not have the values that the hyperparameters give it: not supported"
                )


def _places(hyper: dict[str, Any]) -> Iterator[Place]:
    """Where every tensor goes. Linear maps are (out, in) already, head matrices (head, in, out)."""
    yield Place("embedding.element", "inv_feature_embedding.embedding.weight", "column_per_element")
    for kind in ("charge", "spin"):
        if hyper[f"{kind}_embedding"]:
            yield Place(f"embedding.{kind}.query", f"{kind}_embedding.Wq.weight", "column_per_element")
            yield Place(f"embedding.{kind}.key", f"{kind}_embedding.Wk")
            yield Place(f"embedding.{kind}.value", f"{kind}_embedding.Wv")
            yield Place(f"embedding.{kind}.mlp1", f"{kind}_embedding.mlp.1.weight")
            yield Place(f"embedding.{kind}.mlp2", f"{kind}_embedding.mlp.3.weight")
    if hyper["radial_basis"]["type"] == "gaussian":
        for name in ("centers", "widths"):
            yield Place(f"radial_basis.{name}", f"radial_embedding.radial_basis_fn.{name}")
    for t in range(hyper["num_layers"]):
        yield from _layer_places(hyper, f"layers.{t}", f"euclidean_transformers.{t}")
    yield from _head_places(hyper)
    if hyper["zbl"] is not None:
        for name in ("a1", "a2", "a3", "a4", "c1", "c2", "c3", "c4", "p", "d"):
            yield Place(f"zbl.{name}_raw", f"zbl_repulsion.{name}_raw")


def _layer_places(hyper: dict[str, Any], target: str, source: str) -> Iterator[Place]:
    for block, suffix in (("features", "inv"), ("coordinates", "ev")):
        net = f"{source}.filter_net_{suffix}"
        yield from dense(f"{target}.filter_{block}.radial1", f"{net}.mlp_rbf.0.")
        yield from dense(f"{target}.filter_{block}.radial2", f"{net}.mlp_rbf.mlp_rbf_layer_1.0.")
        yield from dense(f"{target}.filter_{block}.spherical1", f"{net}.mlp_ev.0.")
        yield from dense(f"{target}.filter_{block}.spherical2", f"{net}.mlp_ev.mlp_ev_layer_1.0.")
        attention = f"{source}.euclidean_attention_block"
        yield Place(f"{target}.attention.query_{block}", f"{attention}.W_q_{suffix}")
        yield Place(f"{target}.attention.key_{block}", f"{attention}.W_k_{suffix}")
    yield Place(f"{target}.attention.value_features", f"{source}.euclidean_attention_block.W_v_inv")
    for number in (1, 2):
        if hyper[f"layer_norm_{number}"]:
            yield Place(f"{target}.norm{number}.scale", f"{source}.layer_norm_inv_{number}.weight")
            yield Place(f"{target}.norm{number}.bias", f"{source}.layer_norm_inv_{number}.bias")
        if hyper[f"residual_mlp_{number}"]:
            yield from dense(f"{target}.mlp{number}.dense1", f"{source}.mlp_{number}.1.")
            yield from dense(f"{target}.mlp{number}.dense2", f"{source}.mlp_{number}.3.")
    yield from dense(f"{target}.exchange", f"{source}.interaction_block.linear_layer.")


def _head_places(hyper: dict[str, Any]) -> Iterator[Place]:
    energy = "atomic_energy_output_block"
    if hyper["energy_head"]["hidden"]:
        yield from dense("energy.dense1", f"{energy}.layers.0.")
    yield from dense("energy.dense2", f"{energy}.final_layer.")
    yield Place("energy.scale", f"{energy}.energy_scales.weight", "only_row_of_elements")
    yield Place("energy.shift", f"{energy}.energy_shifts", "entry_per_element")
    heads = {
        "charge": "partial_charges_output_block.transform_inv_features",
        "hirshfeld": "hirshfeld_output_block.transform_features",
    }
    for head, source in heads.items():
        if hyper[f"{head}_head"] is None:
            continue
        if hyper[f"{head}_head"]["hidden"]:
            yield from dense(f"{head}.dense1", f"{source}.0.")
            yield from dense(f"{head}.dense2", f"{source}.2.")
        else:
            yield from dense(f"{head}.dense2", f"{source}.")
    if hyper["charge_head"] is not None:
        yield Place("charge.element", "partial_charges_output_block.atomic_embedding.weight", "one_number_per_row")
    if hyper["hirshfeld_head"] is not None:
        yield Place("hirshfeld.query", "hirshfeld_output_block.q_embedding.weight")
        yield Place("hirshfeld.shift", "hirshfeld_output_block.v_shift_embedding.weight", "one_number_per_row")
