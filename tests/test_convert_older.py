"""Conversion of the original parameters of 2022 and 2023, as a pickle with hyperparameters.json beside it."""

from __future__ import annotations

import copy
import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from paper_models import ELEMENTS, NAMES, load_parity, parity_model, stack_net

from so3md.convert import ConversionError, convert
from so3md.convert.paper_params import BERNSTEIN_GAMMA
from so3md.model_file import PAPER_2022, SO3KRATES, ModelFile

Tree = dict[str, Any]


def source_of(name: str) -> tuple[Tree, Tree]:
    """The parameters, path -> array, and the hyperparameters of a configuration."""
    data = load_parity(name)
    parameters = {key.removeprefix("param/"): v for key, v in data.arrays.items() if key.startswith("param/")}
    return parameters, copy.deepcopy(stack_net(data.config))


def write_source(directory: Path, parameters: Tree, config: Tree) -> Path:
    """A directory as the original program leaves it."""
    tree: Tree = {}
    for path, values in parameters.items():
        *branches, leaf = path.split("/")
        node = tree
        for branch in branches:
            node = node.setdefault(branch, {})
        node[leaf] = values
    directory.mkdir(exist_ok=True)
    (directory / "params.pkl").write_bytes(pickle.dumps({"params": tree}))
    (directory / "hyperparameters.json").write_text(json.dumps(config))
    return directory


@pytest.mark.parametrize("name", NAMES)
def test_conversion(tmp_path: Path, name: str) -> None:
    source = write_source(tmp_path / "source", *source_of(name))
    report = convert(source, tmp_path / "model.safetensors", elements=["H", "C", "O"], name=name)
    found, expected = ModelFile.read(tmp_path / "model.safetensors"), parity_model(name)
    assert found.hyperparameters == expected.document["hyperparameters"]
    assert found.architecture == expected.architecture
    assert found.tensors.keys() == expected.tensors.keys()
    for key, values in expected.tensors.items():
        np.testing.assert_array_equal(found.tensors[key], values)
    assert report.source_format in ("JAX parameters of 2022", "JAX parameters of 2023")
    assert len(found.provenance["source_sha256"]) == 64


def test_hyperparameters_of_2022() -> None:
    model = parity_model("static_chicut_ethanol")
    hyper = model.hyperparameters
    assert model.architecture == PAPER_2022
    assert (hyper["radial_hidden"], hyper["spherical_hidden"]) == (40, 9)
    assert hyper["cutoff_function"] == {"type": "polynomial", "exponent": 6}
    assert hyper["radial_basis"] == {"type": "gaussian", "size": 16}
    assert hyper["nonlocal"] == {"type": "static", "cutoff": 0.13}
    assert hyper["parity"]
    assert parity_model("dyn_ethanol").hyperparameters["nonlocal"] == {"type": "dynamic"}
    assert parity_model("local_ethanol").hyperparameters["nonlocal"] is None
    scales = load_parity("dyn_ethanol").config["per_atom_scale"]
    assert parity_model("dyn_ethanol").tensors["energy.scale"].tolist() == [scales[z] for z in ELEMENTS]


def test_hyperparameters_of_2023() -> None:
    model = parity_model("sphcnorm_ln_res_ethanol")
    hyper = model.hyperparameters
    assert model.architecture == SO3KRATES
    assert (hyper["layer_norm_position"], hyper["final_layer_norm"]) == ("pre", True)
    assert hyper["residual_mlp_kind"] == "three_layers"
    assert hyper["initial_coordinates"] == {"type": "neighbour_sum", "normalization": 3.5}
    assert hyper["radial_basis"]["gamma"] == BERNSTEIN_GAMMA == 0.9448630809783936
    plain = parity_model("default_ethanol")
    optional = {"layer_norm_position", "final_layer_norm", "residual_mlp_kind", "initial_coordinates"}
    assert not optional & plain.document["hyperparameters"].keys()
    assert plain.tensors["energy.scale"].tolist() == [1.0] * 3
    assert plain.tensors["energy.shift"].tolist() == [0.0] * 3


def layer(config: Tree, number: int = 0) -> Tree:
    return config["stack_net"]["layers"][number]["so3krates_layer"]


def every_layer(name: str, value: Any) -> Callable[[Tree, Tree], None]:
    def change(parameters: Tree, config: Tree) -> None:
        config["stack_net"]["layers"] = [copy.deepcopy(entry) for entry in config["stack_net"]["layers"]]
        for entry in config["stack_net"]["layers"]:
            entry["so3krates_layer"][name] = value

    return change


def only_first_layer(name: str, value: Any) -> Callable[[Tree, Tree], None]:
    def change(parameters: Tree, config: Tree) -> None:
        config["stack_net"]["layers"] = [copy.deepcopy(entry) for entry in config["stack_net"]["layers"]]
        layer(config)[name] = value

    return change


def geometry(name: str, value: Any) -> Callable[[Tree, Tree], None]:
    def change(parameters: Tree, config: Tree) -> None:
        config["stack_net"]["geometry_embeddings"][0]["geometry_embed"][name] = value

    return change


def energy(name: str, value: Any) -> Callable[[Tree, Tree], None]:
    def change(parameters: Tree, config: Tree) -> None:
        config["stack_net"]["observables"][0]["energy"][name] = value

    return change


def section(name: str, value: Any) -> Callable[[Tree, Tree], None]:
    def change(parameters: Tree, config: Tree) -> None:
        config["stack_net"][name] = value

    return change


def without(name: str) -> Callable[[Tree, Tree], None]:
    return lambda parameters, config: parameters.pop(name)


def with_tensor(name: str) -> Callable[[Tree, Tree], None]:
    return lambda parameters, config: parameters.update({name: np.ones(3, np.float32)})


def two_networks(parameters: Tree, config: Tree) -> None:
    name = "layers_0/FeatureBlock_0/filter_fn/VmapMLP_0/layers_1/kernel"
    parameters[name] = np.concatenate([parameters[name]] * 2)


REFUSED = [
    ("dyn_ethanol", every_layer("fb_filter", "radial"), "so3krates_layer.fb_filter is 'radial'"),
    ("dyn_ethanol", every_layer("gb_attention", "self_att"), "so3krates_layer.gb_attention is 'self_att'"),
    ("dyn_ethanol", every_layer("colour", 1), "so3krates_layer.colour is not known to so3md: refused"),
    ("dyn_ethanol", every_layer("chi_cut", 0.1), "chi_cut and chi_cut_dynamic exclude each other"),
    ("dyn_ethanol", every_layer("residual_mlp_1", True), "so3krates_layer.residual_mlp_1 is True"),
    (
        "dyn_ethanol",
        every_layer("degrees", [1, 2]),
        r"the layers have the degrees \[1, 2\], the geometry has",
    ),
    ("dyn_ethanol", only_first_layer("chi_cut_dynamic", False), "layer 1 has other options than layer 0"),
    ("dyn_ethanol", only_first_layer("final_layer", True), "final_layer is set for layer 0, which is not the last"),
    ("dyn_ethanol", geometry("radial_cutoff_fn", "step"), "geometry_embed.radial_cutoff_fn is 'step'"),
    ("dyn_ethanol", geometry("radial_basis_function", "fourier"), "radial_basis_function is 'fourier'"),
    ("dyn_ethanol", energy("zbl_repulsion", True), "energy.zbl_repulsion is True"),
    ("dyn_ethanol", energy("per_atom_scale", [1.0]), "energy.per_atom_scale: expected 20 numbers, found the shape"),
    ("dyn_ethanol", section("layers", []), "stack_net.layers is not a list of modules"),
    ("dyn_ethanol", section("layers", [{"schnet_layer": {}}]), "stack_net.layers holds schnet_layer"),
    ("dyn_ethanol", section("observables", [{"dipole": {}}]), "stack_net.observables holds dipole"),
    ("dyn_ethanol", section("observables", [{"energy": {}}] * 2), "the model has several observables"),
    (
        "dyn_ethanol",
        without("layers_1/InteractionBlock_0/selfmix/params"),
        "no tensor layers_1/InteractionBlock_0",
    ),
    ("dyn_ethanol", without("observables_0/MLP_0/layers_0/kernel"), "no tensor observables_0/MLP_0/layers_0/kernel"),
    ("dyn_ethanol", with_tensor("layers_1/Gate_0/kernel"), "the tensor layers_1/Gate_0/kernel, for which so3md has no"),
    ("dyn_ethanol", two_networks, "expected one network of its kind"),
    ("default_ethanol", every_layer("chi_cut_dynamic", True), "so3krates_layer.chi_cut_dynamic is True"),
    ("default_ethanol", every_layer("non_local_sphc", True), "so3krates_layer.non_local_sphc is True"),
    ("default_ethanol", every_layer("neighborhood_normalization", True), "neighborhood_normalization is True"),
    ("default_ethanol", every_layer("layer_normalization", True), "no tensor layers_0/LayerNorm_0/scale"),
    ("default_ethanol", every_layer("n_heads", 5), "36 features cannot be split into 5 equal heads"),
]


@pytest.mark.parametrize(("name", "change", "message"), REFUSED, ids=[message for _, _, message in REFUSED])
def test_what_is_not_supported_is_refused_by_name(
    tmp_path: Path, name: str, change: Callable[[Tree, Tree], None], message: str
) -> None:
    parameters, config = source_of(name)
    change(parameters, config)
    source = write_source(tmp_path / "source", parameters, config)
    with pytest.raises(ConversionError, match=message):
        convert(source, tmp_path / "model.safetensors", elements=["H", "C", "O"])
    assert not (tmp_path / "model.safetensors").exists()


def test_high_degrees_without_parity_are_refused(tmp_path: Path) -> None:
    """The signs of their couplings are a table of the original that the data do not determine."""
    parameters, config = source_of("dyn_ethanol")
    for change in (every_layer("degrees", [1, 2, 4]), geometry("degrees", [1, 2, 4])):
        change(parameters, config)
    source = write_source(tmp_path / "source", parameters, config)
    with pytest.raises(ConversionError, match="signs of the original's couplings up to degree 3 only"):
        convert(source, tmp_path / "model.safetensors", elements=[1])


def test_elements_beyond_the_tables(tmp_path: Path) -> None:
    source = write_source(tmp_path / "source", *source_of("dyn_ethanol"))
    with pytest.raises(ConversionError, match="no numbers for Br, only up to Z = 19"):
        convert(source, tmp_path / "model.safetensors", elements=["Br"])
    with pytest.raises(ConversionError, match="does not say which elements"):
        convert(source, tmp_path / "model.safetensors")
