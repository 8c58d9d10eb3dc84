"""Reading weights of so3krates-torch: `<stem>.pt`, a state_dict, with `<stem>_settings.yaml` beside it.

What the settings mean is told in docs/so3lr2.md.
"""

from __future__ import annotations

import hashlib
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from so3md.convert import nlh
from so3md.convert.errors import ConversionError, TheoryLevelMissing
from so3md.convert.source import SourceModel, Tensors, choose, damping_of, words
from so3md.convert.torch_archive import read_weights
from so3md.convert.torch_names import drop_derived, join_zbl, places, shared_hyperparameters

SOURCE_FORMAT = "so3krates-torch weights"

#: The value of gamma (1/A) in all models of the package, whose basis is not trained.
GAMMA = float(np.float32(0.9448630629184640))

#: Settings that shape the model, and must be there.
_NEEDED = words(
    "r_max r_max_lr avg_num_neighbors degrees num_features num_heads num_layers num_radial_basis_fn num_elements "
    "cutoff_fn radial_basis_fn message_normalization qk_non_linearity activation_fn energy_activation_fn "
    "energy_regression_dim layer_normalization_1 layer_normalization_2 residual_mlp_1 residual_mlp_2 "
    "use_charge_embed use_spin_embed zbl_repulsion_bool electrostatic_energy_bool electrostatic_energy_scale "
    "dispersion_energy_bool dispersion_energy_scale dispersion_energy_cutoff_lr_damping"
)
#: Settings that came with the second generation; absent ones mean the first.
_SECOND_GENERATION: dict[str, Any] = {
    "use_rms_norm": False,
    "qk_norm": False,
    "use_residual_scalars": False,
    "num_theory_levels": 1,
    "final_layer_bias": True,
    "use_simple_hirshfeld": False,
    "c6_ratios_bool": False,
    "legacy_dispersion_bool": True,
    "nhl_repulsion_bool": False,
}
#: Settings with one value that so3md has a counterpart for, and why others are refused.
_ONLY: dict[str, tuple[tuple[Any, ...], str]] = {
    "use_pme": ((False, None), "electrostatics on a mesh; the same charges interact without a mesh (coulomb ewald)"),
    "use_pme_dispersion": ((False, None), "dispersion on a mesh is another energy than pairs with a cutoff"),
    "input_convention": (("positions",), "displacements as input"),
    "layers_behave_like_identity_fn_at_init": ((False,), "an option of so3krates that changes the layers"),
    "output_is_zero_at_init": ((False,), "an option of so3krates that changes the readouts"),
}
#: Settings that do not change what the model computes.
_IRRELEVANT = words(
    "atomic_type_shifts device dtype seed num_features_head trainable_rbf energy_learn_atomic_type_scales "
    "energy_learn_atomic_type_shifts pme_mesh_spacing pme_smearing pme_dispersion_mesh_spacing pme_dispersion_smearing"
)
_ACTIVATIONS = {name: name for name in ("silu", "tanh", "relu", "identity")}
_SECOND_NAMES = "euclidean_attention_block.filter_net_"  # of the filters of a layer


def settings_path(path: Path) -> Path:
    """Where the settings of weights are."""
    return path.with_name(f"{path.stem}_settings.yaml")


def is_torch_weights(path: Path) -> bool:
    return path.suffix == ".pt"


def read_torch_weights(path: Path, theory_level: int | None) -> SourceModel:
    """Read weights and settings. Raises ConversionError for anything that so3md could not reproduce.

    theory_level: which of several levels of theory the energies are of, from 0.
    """
    settings = _read_settings(settings_path(path))
    try:
        with zipfile.ZipFile(path) as archive:
            weights = read_weights(archive)
    except zipfile.BadZipFile as error:
        raise ConversionError(f"{path} is not a zip archive of torch.save") from error
    source = model_of_weights(weights, settings, theory_level)
    source.sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    return source


def model_of_weights(weights: dict[str, np.ndarray], settings: dict[str, Any], theory_level: int | None) -> SourceModel:
    """The model of tensors by the names of the package, and of the map ARCHITECTURE of its settings."""
    options = _options(settings)
    for name, values in weights.items():
        if not np.isfinite(values).all():
            raise ConversionError(f"{name} holds a number that is not finite")
    tensors = Tensors(weights)
    _drop_second_names(tensors)
    unused = _drop_unused(options, tensors)
    hyper = _hyperparameters(options, tensors)
    _check_tables(options, tensors)
    _choose_level(options, tensors, theory_level)
    drop_derived(hyper, tensors)
    _check_nlh(options, tensors)
    placed = tensors.place(places(hyper))
    tensors.refuse_rest()
    join_zbl(placed)
    if options["use_residual_scalars"]:
        both = (placed.pop("residual.input"), placed.pop("residual.embedding"))
        for t, scalars in enumerate(np.stack(both, axis=-1)):
            placed[f"layers.{t}.residual_scalars"] = scalars
    cutoff, stored = _long_range_cutoff(options)
    provenance: dict[str, Any] = {} if stored is None else {"source_long_range_cutoff": stored}
    if options["num_theory_levels"] > 1:
        provenance |= {"theory_level": theory_level, "theory_levels": options["num_theory_levels"]}
    return SourceModel(
        SOURCE_FORMAT,
        hyper,
        placed,
        cutoff,
        "",
        unused,
        long_range_damping=damping_of(options["dispersion_energy_cutoff_lr_damping"]),
        refitted_free_atoms=not options["legacy_dispersion_bool"],
        provenance=provenance,
    )


def _read_settings(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise ConversionError(
            f"{path} does not exist: weights (a state_dict) do not say what model they are of; "
            "give the settings beside them, or save the whole model (torch.save(model, path)) with the suffix .model"
        )
    try:
        from so3md.bounded_yaml import YamlError, parse_yaml
    except ImportError as error:
        raise ConversionError(f"{path} needs PyYAML: pip install pyyaml") from error
    try:
        settings = parse_yaml(path.read_text(encoding="utf-8"))
    except YamlError as error:
        raise ConversionError(f"{path} is not plain YAML: {error}") from error
    if not isinstance(settings, dict) or list(settings) != ["ARCHITECTURE"]:
        raise ConversionError(f"{path}: expected one map ARCHITECTURE and nothing else")
    if not isinstance(settings["ARCHITECTURE"], dict):
        raise ConversionError(f"{path}: ARCHITECTURE is not a map")
    return settings["ARCHITECTURE"]


def _options(settings: dict[str, Any]) -> dict[str, Any]:
    """The settings, complete, by the names that attributes of a model have."""
    known = _NEEDED | _SECOND_GENERATION.keys() | _ONLY.keys() | _IRRELEVANT | {"cutoff_p"}
    unknown = sorted(str(name) for name in settings.keys() - known)
    if unknown:
        raise ConversionError(f"settings: {unknown[0]} is not known to so3md: refused")
    missing = sorted(_NEEDED - settings.keys())
    if missing:
        raise ConversionError(f"settings: {missing[0]} is missing")
    for name, (values, why) in _ONLY.items():
        if name in settings and settings[name] not in values:
            raise ConversionError(f"settings: {name} is {settings[name]!r}, which so3md does not support: {why}")
    options = _SECOND_GENERATION | settings
    flags = [name for name, value in _SECOND_GENERATION.items() if isinstance(value, bool)]
    flags += [name for name in _NEEDED if name.endswith("_bool") or name.startswith("use_")]
    for name in flags:
        choose(options[name], {False: None, True: None}, f"settings: {name}")
    levels = options["num_theory_levels"]
    if type(levels) is not int or levels < 1:
        raise ConversionError(f"settings: num_theory_levels is {levels!r}; expected a positive integer")
    if options["energy_regression_dim"] is None:
        raise ConversionError(
            "settings: energy_regression_dim is null, so heads have no hidden layer: so3md does not read such weights"
        )
    return options | {"cutoff_fn_name": options["cutoff_fn"], "cutoff_p": options.get("cutoff_p")}


def _hyperparameters(options: dict[str, Any], tensors: Tensors) -> dict[str, Any]:
    activation, query_key, energy = (
        choose(options[name], _ACTIVATIONS, f"settings: {name}")
        for name in ("activation_fn", "qk_non_linearity", "energy_activation_fn")
    )
    width = options["energy_regression_dim"]
    if energy != "silu":
        raise ConversionError(f"settings: energy_activation_fn is {energy!r}; only 'silu' is supported")
    gamma = "radial_embedding.radial_basis_fn.gamma"
    if options["radial_basis_fn"] == "bernstein" and gamma not in tensors.left:
        tensors.left[gamma] = np.array(GAMMA)
    hyper = shared_hyperparameters(options, tensors, activation, query_key, epsilon=1e-6)
    if not options.get("trainable_rbf") and abs(hyper["radial_basis"].get("gamma", GAMMA) / GAMMA - 1) > 1e-6:
        raise ConversionError(f"{gamma} is {hyper['radial_basis']['gamma']}; expected {GAMMA}, as it is not trained")
    hyper["energy_head"] = {"hidden": width, "activation": energy}
    for target, name in (("rms_norm", "use_rms_norm"), ("normalize_query_key", "qk_norm")):
        if options[name]:
            hyper[target] = True
    if options["use_residual_scalars"]:
        hyper["residual_scalars"] = True
    if options["dispersion_energy_bool"]:
        if options["use_simple_hirshfeld"]:
            hyper["hirshfeld_head"] = {"type": "simple", "hidden": width // 2}
        if options["c6_ratios_bool"]:
            hyper["c6_head"] = {"hidden": width // 2}
    if options["nhl_repulsion_bool"] and hyper["zbl"] is not None:  # without the other flag it is left out of the sum
        hyper["repulsion"] = {"type": "nlh", **nlh.SWITCH}
        hyper["zbl"] = None
    return hyper


def _drop_second_names(tensors: Tensors) -> None:
    """The filters of a layer are saved twice, under two names; both must hold the same numbers."""
    for name in [name for name in tensors.left if _SECOND_NAMES in name]:
        first = name.replace(_SECOND_NAMES, "filter_net_")
        if first not in tensors.left or not np.array_equal(tensors.take(name), tensors.left[first]):
            raise ConversionError(f"{name} and {first} are two names of one tensor, but hold different numbers")


def _drop_unused(options: dict[str, Any], tensors: Tensors) -> list[str]:
    """Heads and terms that the settings switch off."""
    dispersion = options["dispersion_energy_bool"]
    switches = {
        "zbl_repulsion.": options["zbl_repulsion_bool"] and not options["nhl_repulsion_bool"],
        "nhl_repulsion.": options["zbl_repulsion_bool"] and options["nhl_repulsion_bool"],
        "partial_charges_output_block.": options["electrostatic_energy_bool"],
        "hirshfeld_output_block.": dispersion,
        "c6_ratios_output_block.": dispersion and options["c6_ratios_bool"],
    }
    return [name for prefix, used in switches.items() if not used for name in tensors.drop(prefix)]


def _check_tables(options: dict[str, Any], tensors: Tensors) -> None:
    """Shapes that no longer show once rows of elements and of one level are picked."""
    rows, levels = options["num_elements"], options["num_theory_levels"]
    head = "atomic_energy_output_block"
    expected: dict[str, tuple[int, ...]] = {
        "inv_feature_embedding.embedding.weight": (options["num_features"], rows),
        f"{head}.energy_scales.weight": (levels, rows),
        f"{head}.energy_shifts": (rows, levels) if levels > 1 else (rows,),
        f"{head}.final_layer.weight": (levels, options["energy_regression_dim"]),
    }
    if options["final_layer_bias"]:
        expected[f"{head}.final_layer.bias"] = (levels,)
    if options["use_residual_scalars"]:
        expected |= dict.fromkeys(("resid_lambdas", "x0_lambdas"), (options["num_layers"],))
    for name, shape in expected.items():
        if name not in tensors.left:
            raise ConversionError(f"the source has no tensor {name}, which its settings ask for")
        if tensors.left[name].shape != shape:
            raise ConversionError(f"{name} has the shape {tensors.left[name].shape}; expected {shape}")


def _choose_level(options: dict[str, Any], tensors: Tensors, level: int | None) -> None:
    """Leave one level of theory; a model with one level stays as it is."""
    count, head = options["num_theory_levels"], "atomic_energy_output_block"
    if count == 1 and level not in (None, 0):
        raise ConversionError(f"theory level {level}: the model has one level of theory, level 0")
    if not options["final_layer_bias"]:
        tensors.left[f"{head}.final_layer.bias"] = np.zeros(count, np.float32)
    if count == 1:
        return
    if level is None:
        raise TheoryLevelMissing(count, _levels(count, tensors.left[f"{head}.energy_shifts"]))
    if not 0 <= level < count:
        raise ConversionError(f"theory level {level}: the model has the levels 0 to {count - 1}")
    for name in ("final_layer.weight", "final_layer.bias", "energy_scales.weight"):
        tensors.left[f"{head}.{name}"] = tensors.left[f"{head}.{name}"][level : level + 1]
    tensors.left[f"{head}.energy_shifts"] = tensors.left[f"{head}.energy_shifts"][:, level]


def _levels(count: int, shifts: np.ndarray) -> str:
    """What is known of the levels: their numbers, and the energy shifts of atoms by which they may be told apart."""
    lines = ["level" + "".join(f"{f'shift of {symbol}':>14}" for symbol in ("H", "C", "N", "O")) + "  (eV)"]
    for level in range(count):
        lines.append(f"{level:>5}" + "".join(f"{shifts[number - 1, level]:>14.5f}" for number in (1, 6, 7, 8)))
    return "\n".join(lines)


def _check_nlh(options: dict[str, Any], tensors: Tensors) -> None:
    """Tables of the NLH repulsion are constants; where weights hold them, they must be ours."""
    elements = [1, 6, 7, 8, 9, 15, 16, 17]
    if "nhl_repulsion.nhl_aa" not in tensors.left:
        return
    a, b = (tensors.take(f"nhl_repulsion.nhl_{letter}") for letter in ("aa", "bb"))
    if a.shape != (92, 92, 3) or b.shape != (92, 92, 3):
        raise ConversionError(f"nhl_repulsion.nhl_aa has the shape {a.shape}; expected (92, 92, 3)")
    rows = np.ix_([number - 1 for number in elements], [number - 1 for number in elements])
    ours = nlh.coefficients(elements)
    expected_a = np.stack([ours[..., 0], 1 - ours[..., 0], np.zeros_like(ours[..., 0])], axis=-1)
    used = np.abs(expected_a) > 0  # exponents of terms that are zero do not matter
    expected_b = np.concatenate([ours[..., 1:], np.zeros_like(ours[..., :1])], axis=-1)
    if not np.allclose(a[rows], expected_a, rtol=0, atol=1e-12) or not np.allclose(
        b[rows][used], expected_b[used], rtol=0, atol=1e-12
    ):
        raise ConversionError("nhl_repulsion: the constants differ from those of the publication: not supported")


#: A cutoff (A) beyond which none is meant for a calculation in a cell: data for training are prepared with 1000.
_LONGEST_CUTOFF = 100.0
#: What the calculators of the package use, A.
_CALCULATOR_CUTOFF = 12.0


def _long_range_cutoff(options: dict[str, Any]) -> tuple[float | None, float | None]:
    """The cutoff (A) for the model file, and that of the source where it is another."""
    stored = options["r_max_lr"]
    if stored is not None and float(stored) > _LONGEST_CUTOFF:
        return _CALCULATOR_CUTOFF, float(stored)
    return (None if stored is None else float(stored)), None
