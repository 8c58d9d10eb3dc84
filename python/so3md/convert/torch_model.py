"""Reading the `.model` files of so3krates-torch: which option and which tensor means what."""

from __future__ import annotations

import hashlib
import zipfile
from pathlib import Path
from typing import Any

from so3md.convert.errors import ConversionError
from so3md.convert.source import SourceModel, Tensors, choose, damping_of, words
from so3md.convert.torch_archive import Module, collect_tensors, read_archive
from so3md.convert.torch_names import drop_derived, join_zbl, places, shared_hyperparameters

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
    drop_derived(hyper, tensors)
    placed = tensors.place(places(hyper))
    tensors.refuse_rest()
    join_zbl(placed)
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
    hyper = shared_hyperparameters(
        options,
        tensors,
        _activation(options["activation_fn"], "activation_fn"),
        _activation(qk, "qk_non_linearity"),
        _layer_norm_epsilon(root, options),
    )
    return hyper | {"energy_head": {"hidden": layers * (width or features), "activation": energy_activation}}


def _activation(kind: Any, option: str) -> str:
    name = getattr(kind, "class_name", getattr(kind, "name", kind))
    if name == "torch.nn.modules.activation.GELU":
        raise ConversionError(f"{option} is GELU in its exact form; so3md has only its tanh form")
    return choose(name, _ACTIVATIONS, option)


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
