"""What tensors of so3krates-torch are called, and what follows from options: the same for whole models and weights."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from so3md.architectures import with_defaults
from so3md.convert.errors import ConversionError
from so3md.convert.source import Place, Tensors, checked_degrees, choose, dense, pair_physics


def shared_hyperparameters(
    options: dict[str, Any], tensors: Tensors, activation: str, query_key_activation: str, epsilon: float
) -> dict[str, Any]:
    """The hyperparameters that follow from options in the same way, but for the energy head.

    options: by the names of the attributes of a model. Takes the numbers of the radial basis out of the tensors.
    """
    features, width = options["num_features"], options["energy_regression_dim"]
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
        "activation": activation,
        "query_key_activation": query_key_activation,
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
        "layer_norm_epsilon": epsilon,
        "residual_mlp_1": options["residual_mlp_1"],
        "residual_mlp_2": options["residual_mlp_2"],
        "charge_embedding": options["use_charge_embed"],
        "spin_embedding": options["use_spin_embed"],
        "charge_head": {"hidden": width or 0} if options["electrostatic_energy_bool"] else None,
        "hirshfeld_head": {"hidden": (width or 0) // 2, "size": features // 2}
        if options["dispersion_energy_bool"]
        else None,
        **pair_physics(options),
    }


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


def drop_derived(hyper: dict[str, Any], tensors: Tensors) -> None:
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


def places(hyper: dict[str, Any]) -> Iterator[Place]:
    """Where every tensor goes. Linear maps are (out, in) already, head matrices (head, in, out)."""
    hyper = with_defaults(hyper)
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
    if hyper["residual_scalars"]:
        yield Place("residual.input", "resid_lambdas")
        yield Place("residual.embedding", "x0_lambdas")
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
        if hyper[f"layer_norm_{number}"] and not hyper["rms_norm"]:
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
        "c6": "c6_ratios_output_block.transform_features",
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
    if hyper["hirshfeld_head"] is not None and "type" not in hyper["hirshfeld_head"]:
        yield Place("hirshfeld.query", "hirshfeld_output_block.q_embedding.weight")
        yield Place("hirshfeld.shift", "hirshfeld_output_block.v_shift_embedding.weight", "one_number_per_row")
    elif hyper["hirshfeld_head"] is not None:
        yield Place("hirshfeld.shift", "hirshfeld_output_block.element_embedding.weight", "one_number_per_row")
    if hyper["c6_head"] is not None:
        yield Place("c6.shift", "c6_ratios_output_block.element_embedding.weight", "one_number_per_row")


def join_zbl(placed: dict[str, np.ndarray]) -> None:
    """One tensor of the four a, and one of the four c."""
    for letter in ("a", "c"):
        if f"zbl.{letter}1_raw" in placed:
            placed[f"zbl.{letter}_raw"] = np.concatenate([placed.pop(f"zbl.{letter}{n}_raw") for n in (1, 2, 3, 4)])
