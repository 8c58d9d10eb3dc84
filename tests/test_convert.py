"""The converter: sources are converted exactly or refused by name, and nothing of them is executed."""

from __future__ import annotations

import copy
import io
import json
import os
import pickle
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from foreign_models import (
    Name,
    Object,
    TorchPickler,
    foreign_toy_model,
    jax_parameters,
    module,
    save_torch_archive,
    torch_model,
    write_jax_model,
    write_torch_model,
)
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from so3md.convert import ConversionError, convert, so3lr
from so3md.convert.pickle_reader import Global, Stub, read_pickle
from so3md.convert.pickled_arrays import array_globals
from so3md.convert.torch_archive import read_archive
from so3md.model_file import ModelFile

DATA = Path(__file__).parent / "data"
ELEMENTS = ["H", "C", "O"]

#: Options that both formats have.
SHARED_VARIANTS: dict[str, dict[str, Any]] = {
    "default": {},
    "gaussian": {"radial_basis": {"type": "gaussian", "size": 4}, "cutoff_function": {"type": "cosine"}},
    "bessel": {"radial_basis": {"type": "bessel", "size": 4}, "cutoff_function": {"type": "exponential"}},
    "normalizations": {"attention_normalization": {"type": "sqrt_head_width"}, "query_key_activation": "silu"},
    "no_normalization": {"attention_normalization": {"type": "none"}, "query_key_activation": "tanh"},
    "plain_layers": {"layer_norm_1": False, "layer_norm_2": False, "residual_mlp_1": False},
    "second_residual": {"residual_mlp_2": True, "num_layers": 2},
    "no_embeddings": {"charge_embedding": False, "spin_embedding": False, "activation": "tanh"},
    "spin_embedding": {"charge_embedding": False},
    "local": {"charge_head": None, "hirshfeld_head": None, "zbl": None, "electrostatics": None, "dispersion": None},
    "linear_heads": {
        "energy_head": {"hidden": 0, "activation": "silu"},
        "charge_head": {"hidden": 0},
        "hirshfeld_head": {"hidden": 0, "size": 4},
    },
    "electrostatics": {"hirshfeld_head": None, "dispersion": None, "electrostatics": {"sigma": 3.0}},
    "dispersion": {"charge_head": None, "electrostatics": None, "zbl": None},
}


def with_published_free_atoms(model: ModelFile) -> ModelFile:
    """The free-atom values are the converter's own, in double; those of the toy model are the same numbers."""
    tensors = dict(model.tensors)
    for name, values in (("alpha", [4.5, 12.0, 5.4]), ("c6", [6.5, 46.6, 15.6])):
        if f"dispersion.{name}" in tensors:
            tensors[f"dispersion.{name}"] = np.array(values)
    model.tensors = tensors
    return model


def assert_same_model(path: Path, expected: ModelFile) -> None:
    found = ModelFile.read(path)
    assert found.hyperparameters == expected.hyperparameters
    assert found.elements == expected.elements
    assert found.tensors.keys() == expected.tensors.keys()
    for name, values in expected.tensors.items():
        assert found.tensors[name].dtype == values.dtype, name
        np.testing.assert_array_equal(found.tensors[name], values, err_msg=name)


class TestTorchModels:
    @pytest.mark.parametrize("variant", SHARED_VARIANTS)
    def test_every_number_arrives_at_its_place(self, tmp_path: Path, variant: str) -> None:
        model = with_published_free_atoms(foreign_toy_model(seed=1, **SHARED_VARIANTS[variant]))
        source = write_torch_model(tmp_path / "toy.model", model)
        report = convert(source, tmp_path / "toy.safetensors", elements=ELEMENTS)
        assert_same_model(report.target, model)
        assert report.num_parameters == model.num_parameters
        assert report.elements == (1, 6, 8)
        assert "toy.model" in str(report)

    def test_polynomial_cutoff(self, tmp_path: Path) -> None:
        model = foreign_toy_model(cutoff_function={"type": "polynomial", "exponent": 6})
        source = write_torch_model(tmp_path / "toy.model", model)
        convert(source, tmp_path / "toy.safetensors", elements=ELEMENTS)
        found = ModelFile.read(tmp_path / "toy.safetensors")
        assert found.hyperparameters["cutoff_function"] == {"type": "polynomial", "exponent": 6}

    def test_what_a_model_switches_off_is_left_out_and_reported(self, tmp_path: Path) -> None:
        model = foreign_toy_model(**SHARED_VARIANTS["local"])
        source = write_torch_model(tmp_path / "toy.model", model)
        report = convert(source, tmp_path / "toy.safetensors", elements=ELEMENTS)
        assert "zbl_repulsion.a1_raw" in report.unused
        assert "hirshfeld_output_block.q_embedding.weight" in report.unused
        assert not any(name.startswith("euclidean_transformers") for name in report.unused)

    def test_leftovers_of_an_evaluation_are_ignored(self, tmp_path: Path) -> None:
        model = with_published_free_atoms(foreign_toy_model())
        source = write_torch_model(tmp_path / "toy.model", model, lengths=np.ones(3, np.float32), is_lammps=False)
        convert(source, tmp_path / "toy.safetensors", elements=ELEMENTS)
        assert_same_model(tmp_path / "toy.safetensors", model)

    @pytest.mark.parametrize(
        ("changes", "message"),
        [
            ({"use_pme": True}, "use_pme is True"),
            ({"initialize_ev_to_zeros": False}, "initialize_ev_to_zeros is False"),
            ({"interaction_bias": False}, "interaction_bias is False"),
            ({"final_mlp_layers": 3}, "final_mlp_layers is 3"),
            ({"radial_basis_fn": "fourier"}, "radial_basis_fn is 'fourier'"),
            ({"cutoff_fn_name": "tanh"}, "cutoff_fn is 'tanh'"),
            ({"message_normalization": "softmax"}, "message_normalization is 'softmax'"),
            ({"num_output_heads": 8}, "attribute num_output_heads"),
            ({"degrees": [2, 1]}, "decrease"),
            ({"activation_fn": Name("torch.nn.modules.activation.GELU")}, "exact form"),
            ({"energy_activation_fn": Name("torch.nn.modules.activation.Tanh")}, "energy_activation_fn is 'tanh'"),
            ({"num_layers": 2}, r"no tensor euclidean_transformers\.1|no module euclidean_transformers\.1"),
            ({"use_spin_embed": False}, r"spin_embedding.*no place"),
        ],
    )
    def test_unsupported_options_are_refused_by_name(self, tmp_path: Path, changes: dict, message: str) -> None:
        source = write_torch_model(tmp_path / "toy.model", foreign_toy_model(), **changes)
        with pytest.raises(ConversionError, match=message):
            convert(source, tmp_path / "toy.safetensors", elements=ELEMENTS)
        assert not (tmp_path / "toy.safetensors").exists()

    @pytest.mark.parametrize(
        ("name", "message"),
        [
            ("so3krates_torch.modules.models.MultiHeadSO3LR", "several heads"),
            ("so3krates_torch.blocks.euclidean_transformer.EuclideanAttentionBlockLORA", "low-rank adapters"),
            ("so3krates_torch.blocks.euclidean_transformer.EuclideanAttentionBlockVeRA", "low-rank adapters"),
            ("so3krates_torch.blocks.physical_potentials.PMEElectrostaticInteraction", "particle-mesh"),
            ("so3krates_torch.blocks.new.Block", "asks for so3krates_torch.blocks.new.Block"),
        ],
    )
    def test_unsupported_blocks_are_refused_by_name(self, tmp_path: Path, name: str, message: str) -> None:
        root = torch_model(foreign_toy_model())
        root.attributes["_modules"]["extra"] = module(name)
        source = save_torch_archive(tmp_path / "toy.model", root)
        with pytest.raises(ConversionError, match=message):
            convert(source, tmp_path / "toy.safetensors", elements=ELEMENTS)

    def test_a_tensor_without_a_place_is_refused(self, tmp_path: Path) -> None:
        root = torch_model(foreign_toy_model())
        root.attributes["_buffers"]["resid_lambdas"] = np.ones(1, np.float32)
        source = save_torch_archive(tmp_path / "toy.model", root)
        with pytest.raises(ConversionError, match="resid_lambdas, for which so3md has no place"):
            convert(source, tmp_path / "toy.safetensors", elements=ELEMENTS)

    def test_derived_buffers_must_have_the_values_that_follow(self, tmp_path: Path) -> None:
        root = torch_model(foreign_toy_model(radial_basis={"type": "bessel", "size": 4}))
        basis = root.attributes["_modules"]["radial_embedding"].attributes["_modules"]["radial_basis_fn"]
        basis.attributes["_buffers"]["freqs"] = basis.attributes["_buffers"]["freqs"] * np.float32(1.1)
        source = save_torch_archive(tmp_path / "toy.model", root)
        with pytest.raises(ConversionError, match="trained frequencies"):
            convert(source, tmp_path / "toy.safetensors", elements=ELEMENTS)

    def test_wrong_shapes_are_refused(self, tmp_path: Path) -> None:
        root = torch_model(foreign_toy_model())
        head = root.attributes["_modules"]["atomic_energy_output_block"].attributes["_parameters"]
        head["energy_shifts"].values = np.ones((118, 1), np.float32)
        source = save_torch_archive(tmp_path / "toy.model", root)
        with pytest.raises(ConversionError, match="energy_shifts has the shape"):
            convert(source, tmp_path / "toy.safetensors", elements=ELEMENTS)

    @pytest.mark.parametrize(
        "changes",
        [
            {"degrees": {"1": 2}},
            {"degrees": [[1], [2]]},
            {"r_max": None},
            {"num_features": "eight"},
            {"num_layers": 1.5},
            {"_parameters": [1]},
            {"_modules": {"euclidean_transformers": 3}},
            {"avg_num_neighbors": float("nan")},
        ],
    )
    def test_options_of_a_wrong_type_fail_cleanly(self, tmp_path: Path, changes: dict) -> None:
        source = write_torch_model(tmp_path / "toy.model", foreign_toy_model(), **changes)
        with pytest.raises(ConversionError):
            convert(source, tmp_path / "toy.safetensors", elements=ELEMENTS)

    def test_files_that_are_no_models(self, tmp_path: Path) -> None:
        source = tmp_path / "toy.model"
        source.write_bytes(b"hello")
        with pytest.raises(ConversionError, match="not a zip archive"):
            convert(source, tmp_path / "out.safetensors")
        with zipfile.ZipFile(source, "w") as archive:
            archive.writestr("readme.txt", "hello")
        with pytest.raises(ConversionError, match=r"no data\.pkl"):
            convert(source, tmp_path / "out.safetensors")
        save_torch_archive(source, {"weight": np.ones(3, np.float32)})
        with pytest.raises(ConversionError, match="bare weights"):
            convert(source, tmp_path / "out.safetensors")
        save_torch_archive(source, module("torch.nn.modules.linear.Linear"))
        with pytest.raises(ConversionError, match="not a So3krates model"):
            convert(source, tmp_path / "out.safetensors")
        with pytest.raises(FileNotFoundError, match="does not exist"):
            convert(tmp_path / "nowhere.model", tmp_path / "out.safetensors")

    def test_truncated_storage_is_refused(self, tmp_path: Path) -> None:
        whole = write_torch_model(tmp_path / "whole.model", foreign_toy_model())
        with zipfile.ZipFile(whole) as old, zipfile.ZipFile(tmp_path / "cut.model", "w") as new:
            for name in old.namelist():
                new.writestr(name, old.read(name)[: -4 if name == "toy/data/3" else None])
        with pytest.raises(ConversionError, match="beyond its storage"):
            convert(tmp_path / "cut.model", tmp_path / "out.safetensors", elements=ELEMENTS)


class TestJaxParameters:
    @pytest.mark.parametrize("variant", SHARED_VARIANTS)
    def test_every_number_arrives_at_its_place(self, tmp_path: Path, variant: str) -> None:
        model = with_published_free_atoms(foreign_toy_model(seed=2, **SHARED_VARIANTS[variant]))
        source = write_jax_model(tmp_path / "model", *jax_parameters(model))
        report = convert(source, tmp_path / "toy.safetensors", elements=ELEMENTS)
        assert_same_model(report.target, model)

    @pytest.mark.parametrize("kind", ["jax", "frozen", "numpy"])
    @pytest.mark.parametrize("versions", ["jax0.4_numpy1", "jax0.10_numpy2"])
    def test_pickles_of_real_libraries(self, tmp_path: Path, versions: str, kind: str) -> None:
        (tmp_path / "params.pkl").write_bytes((DATA / "jax_pickles" / f"{versions}_{kind}.pkl").read_bytes())
        (tmp_path / "hyperparameters.json").write_bytes((DATA / "jax_pickles" / "hyperparameters.json").read_bytes())
        convert(tmp_path, tmp_path / "toy.safetensors", elements=ELEMENTS)
        expected = with_published_free_atoms(ModelFile.read(DATA / "jax_pickles" / "expected.safetensors"))
        assert_same_model(tmp_path / "toy.safetensors", expected)

    @pytest.mark.parametrize("protocol", [2, 3, 4, 5])
    def test_all_binary_pickle_protocols(self, tmp_path: Path, protocol: int) -> None:
        model = with_published_free_atoms(foreign_toy_model())
        params, hyperparameters = jax_parameters(model)
        params["params"]["layers_0"]["exchange_block"]["mlp_layer_2"]["kernel"] = np.asfortranarray(
            params["params"]["layers_0"]["exchange_block"]["mlp_layer_2"]["kernel"]
        )
        source = write_jax_model(tmp_path / "model", params, hyperparameters, protocol)
        convert(source / "params.pkl", tmp_path / "toy.safetensors", elements=ELEMENTS)
        assert_same_model(tmp_path / "toy.safetensors", model)

    def test_hyperparameters_as_yaml(self, tmp_path: Path) -> None:
        yaml = pytest.importorskip("yaml", reason="reading hyperparameters.yaml needs PyYAML")
        model = with_published_free_atoms(foreign_toy_model())
        params, hyperparameters = jax_parameters(model)
        source = write_jax_model(tmp_path / "model", params, hyperparameters)
        (source / "hyperparameters.json").unlink()
        (source / "hyperparameters.yaml").write_text(yaml.dump(hyperparameters))
        convert(source, tmp_path / "toy.safetensors", elements=ELEMENTS)
        assert_same_model(tmp_path / "toy.safetensors", model)
        (source / "hyperparameters.yaml").write_text("model: !!python/object/apply:os.getcwd []\n")
        with pytest.raises(ConversionError, match="not plain YAML"):
            convert(source, tmp_path / "toy.safetensors", elements=ELEMENTS)

    def test_shifts_of_the_training_data_add_to_the_learned_ones(self, tmp_path: Path) -> None:
        model = foreign_toy_model()
        params, hyperparameters = jax_parameters(model)
        hyperparameters["data"]["energy_shifts"] = {str(number): -163.6181213551537 for number in range(119)}
        source = write_jax_model(tmp_path / "model", params, hyperparameters)
        convert(source, tmp_path / "toy.safetensors", elements=ELEMENTS)
        found = ModelFile.read(tmp_path / "toy.safetensors").tensors["energy.shift"]
        np.testing.assert_array_equal(found, model.tensors["energy.shift"].astype(float) - 163.6181213551537)

    def test_scales_and_shifts_that_were_not_learned(self, tmp_path: Path) -> None:
        model = foreign_toy_model()
        params, hyperparameters = jax_parameters(model)
        for name in ("atomic_scales", "energy_offset"):
            del params["params"]["observables_0"][name]
        for name in ("energy_learn_atomic_type_scales", "energy_learn_atomic_type_shifts"):
            hyperparameters["model"][name] = False
        del params["params"]["observables_0"]["energy_dense_final"]["bias"]
        hyperparameters["model"]["use_final_bias_bool"] = False
        source = write_jax_model(tmp_path / "model", params, hyperparameters)
        convert(source, tmp_path / "toy.safetensors", elements=ELEMENTS)
        found = ModelFile.read(tmp_path / "toy.safetensors").tensors
        np.testing.assert_array_equal(found["energy.scale"], np.ones(3))
        np.testing.assert_array_equal(found["energy.shift"], np.zeros(3))
        np.testing.assert_array_equal(found["energy.dense2.bias"], np.zeros(1))

    @pytest.mark.parametrize(
        ("changes", "message"),
        [
            ({"use_rms_norm": True}, "use_rms_norm is True"),
            ({"qk_norm": True}, "qk_norm is True"),
            ({"use_residual_scalars": True}, "use_residual_scalars is True"),
            ({"predict_forces_directly": True}, "predict_forces_directly is True"),
            ({"a_new_option": True}, "model.a_new_option is not known"),
            ({"cutoff_fn": "polynomial"}, "cutoff_fn is 'polynomial'"),
            ({"radial_basis_fn": "wavelet"}, "radial_basis_fn is 'wavelet'"),
            ({"qk_non_linearity": "elu"}, "qk_non_linearity is 'elu'"),
            ({"activation_fn": "gelu"}, "activation_fn is 'gelu'; with model.use_charge_embed"),
            ({"energy_activation_fn": "tanh"}, "charge heads need 'silu'"),
            ({"degrees": [2, 1]}, "decrease"),
            ({"residual_mlp_2": True}, "no tensor layers_0/res_mlp_2_layer_1/kernel"),
            ({"layer_normalization_1": False}, "layer_normalization_1/.*no place"),
            ({"num_features": 16}, "shape"),
        ],
    )
    def test_unsupported_options_are_refused_by_name(self, tmp_path: Path, changes: dict, message: str) -> None:
        params, hyperparameters = jax_parameters(foreign_toy_model())
        hyperparameters["model"] |= changes
        source = write_jax_model(tmp_path / "model", params, hyperparameters)
        with pytest.raises(ConversionError, match=message):
            convert(source, tmp_path / "toy.safetensors", elements=ELEMENTS)
        assert not (tmp_path / "toy.safetensors").exists()

    def test_several_levels_of_theory_are_refused(self, tmp_path: Path) -> None:
        params, hyperparameters = jax_parameters(foreign_toy_model())
        params["params"]["observables_0"]["energy_offset"] = np.zeros((119, 16), np.float32)
        source = write_jax_model(tmp_path / "model", params, hyperparameters)
        with pytest.raises(ConversionError, match="several levels of theory"):
            convert(source, tmp_path / "toy.safetensors", elements=ELEMENTS)

    def test_missing_files_and_wrong_trees(self, tmp_path: Path) -> None:
        params, hyperparameters = jax_parameters(foreign_toy_model())
        with pytest.raises(ConversionError, match=r"params\.pkl does not exist"):
            convert(tmp_path, tmp_path / "out.safetensors")
        source = write_jax_model(tmp_path / "model", params, hyperparameters)
        (source / "hyperparameters.json").write_text("{")
        with pytest.raises(ConversionError, match="not valid JSON"):
            convert(source, tmp_path / "out.safetensors")
        (source / "hyperparameters.json").unlink()
        with pytest.raises(ConversionError, match=r"lacks hyperparameters\.json"):
            convert(source, tmp_path / "out.safetensors")
        for tree in ([1, 2], params["params"], {"params": {"a": "text"}}):
            write_jax_model(source, tree, hyperparameters)
            with pytest.raises(ConversionError, match=r"tree|no array"):
                convert(source, tmp_path / "out.safetensors", elements=ELEMENTS)


class TestElements:
    def test_they_must_be_given_for_an_unknown_model(self, tmp_path: Path) -> None:
        source = write_torch_model(tmp_path / "toy.model", foreign_toy_model())
        with pytest.raises(ConversionError, match="which elements it was trained for"):
            convert(source, tmp_path / "toy.safetensors")

    def test_symbols_and_numbers_in_any_order(self, tmp_path: Path) -> None:
        model = with_published_free_atoms(foreign_toy_model())
        source = write_torch_model(tmp_path / "toy.model", model)
        convert(source, tmp_path / "toy.safetensors", elements=["O", 1, "6", "H"])
        assert_same_model(tmp_path / "toy.safetensors", model)

    @pytest.mark.parametrize("elements", [["Xx"], ["X"], [0], [119], []])
    def test_what_is_no_element(self, tmp_path: Path, elements: list) -> None:
        source = write_torch_model(tmp_path / "toy.model", foreign_toy_model())
        with pytest.raises(ConversionError, match=r"not a chemical symbol|not an atomic number|empty"):
            convert(source, tmp_path / "toy.safetensors", elements=elements)

    def test_elements_beyond_the_tables(self, tmp_path: Path) -> None:
        source = write_torch_model(tmp_path / "toy.model", foreign_toy_model())
        with pytest.raises(ConversionError, match="no numbers for Fm, only up to Z = 99"):
            convert(source, tmp_path / "toy.safetensors", elements=["H", "Fm"])


class TestSo3lr:
    def test_shipped_tensors_are_the_published_ones(self, so3lr_path: Path) -> None:
        import hashlib

        published = json.loads((DATA / "so3lr_tensors.json").read_text())
        shipped = ModelFile.read(so3lr_path).tensors
        found = {
            name: hashlib.sha256(np.ascontiguousarray(values, "<f8").tobytes()).hexdigest()
            for name, values in shipped.items()
        }
        assert found == published

    def test_it_is_recognised(self, so3lr_path: Path, tmp_path: Path) -> None:
        """The shipped numbers in the original format convert to the shipped file, elements and description included."""
        shipped = ModelFile.read(so3lr_path)
        params, hyperparameters = jax_parameters(shipped)
        source = write_jax_model(tmp_path / "model", params, hyperparameters)
        report = convert(source, tmp_path / "so3lr.safetensors")
        assert report.name == "SO3LR"
        assert_same_model(report.target, shipped)
        found = ModelFile.read(report.target)
        assert (found.citation, found.license_text) == (shipped.citation, shipped.license_text)
        assert (found.long_range_cutoff, found.molecule_cutoff, found.long_range_damping) == (12.0, None, 2.0)
        with pytest.raises(ConversionError, match="not trained for Na"):
            convert(source, tmp_path / "so3lr.safetensors", elements=["H", "Na"])

    def test_licence_file_agrees(self, so3lr_path: Path) -> None:
        assert so3lr.LICENSE_TEXT in (so3lr_path.parent / "LICENSE.so3lr").read_text()


class Attack:
    """Pickles to a call of a function of the machine that loads it."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.call = (function, arguments)

    def __reduce__(self) -> tuple:
        return self.call


def attacks(marker: Path) -> dict[str, Any]:
    """Objects whose unpickling would make a file."""
    command = f"{sys.executable} -c \"open({str(marker)!r}, 'w')\""
    return {
        "os.system": Attack(os.system, command),
        "eval": Attack(eval, f"open({str(marker)!r}, 'w')"),
        "exec": Attack(exec, f"open({str(marker)!r}, 'w')"),
        "nested": {"params": {"a": [{"b": Attack(os.system, command)}]}},
        "subprocess": Attack(subprocess.check_call, [sys.executable, "-c", f"open({str(marker)!r}, 'w')"]),
    }


class TestNothingIsExecuted:
    @pytest.mark.parametrize("name", ["os.system", "eval", "exec", "nested", "subprocess"])
    @pytest.mark.parametrize("protocol", [0, 2, 4, 5])
    def test_attacks_are_refused(self, tmp_path: Path, name: str, protocol: int) -> None:
        marker = tmp_path / "executed"
        data = pickle.dumps(attacks(marker)[name], protocol=protocol)
        pickle.loads(data)
        assert marker.exists(), "the attack must work on pickle itself, or this test shows nothing"
        marker.unlink()

        jax_source = tmp_path / "jax"
        params, hyperparameters = jax_parameters(foreign_toy_model())
        write_jax_model(jax_source, params, hyperparameters)
        (jax_source / "params.pkl").write_bytes(data)
        torch_source = tmp_path / "attack.model"
        with zipfile.ZipFile(torch_source, "w") as archive:
            archive.writestr("toy/data.pkl", data)
        for source in (jax_source, torch_source):
            with pytest.raises(ConversionError, match="refused"):
                convert(source, tmp_path / "out.safetensors", elements=ELEMENTS)
            assert not marker.exists()
            assert not (tmp_path / "out.safetensors").exists()

    @pytest.mark.parametrize(
        "name",
        [
            "builtins.getattr",
            "builtins.__import__",
            "operator.attrgetter",
            "functools.partial",
            "copyreg._reconstructor",
        ],
    )
    def test_gadgets_are_refused_by_name(self, name: str) -> None:
        head, _, tail = name.rpartition(".")
        with pytest.raises(ConversionError, match=f"asks for {name}"):
            read_pickle(f"c{head}\n{tail}\n.".encode(), array_globals())

    def test_dotted_names_reach_nothing(self) -> None:
        """Protocol 4 lets a name be a path of attributes: numpy -> core.os.system."""
        data = b"\x80\x04\x8c\x05numpy\x8c\x11ndarray.__class__\x93."
        with pytest.raises(ConversionError, match=r"asks for numpy\.ndarray\.__class__"):
            read_pickle(data, array_globals())

    @pytest.mark.parametrize(
        ("data", "message"),
        [
            (b"(S'ls'\nios\nsystem\n.", "instruction STRING"),
            (b"(ios\nsystem\n.", "instruction INST"),
            (b"(cnumpy\nndarray\no.", "instruction OBJ"),
            (b"\x80\x02\x82\x01.", "instruction EXT1"),
            (b"\x80\x05\x97.", "instruction NEXT_BUFFER"),
            (b"Phello\n.", "instruction PERSID"),
            (b"X\x01\x00\x00\x00aQ.", "data outside itself"),
            (b"K\x01)R.", "not a known function"),
            (b"}}b.", "malformed"),
            (b"K\x01K\x02.", "does not end with one value"),
            (b".", "does not end with one value"),
            (b"R.", "malformed"),
            (b"h\x07.", "malformed"),
            (b"t.", "malformed"),
            (b"}]K\x01s.", "malformed"),
            (b"\x80\x09N.", "protocol 9"),
            (b"N", "truncated"),
            (b"", "truncated"),
            (b"\x8e\xff\xff\xff\xff\xff\xff\xff\x7fabc.", "truncated"),
        ],
    )
    def test_odd_programs_are_refused(self, data: bytes, message: str) -> None:
        with pytest.raises(ConversionError, match=message):
            read_pickle(data, array_globals())

    def test_a_state_cannot_reach_a_real_object(self) -> None:
        """BUILD gives a state to stand-ins only; a dictionary or list has no __dict__ to write to."""
        with pytest.raises(ConversionError, match="malformed"):
            read_pickle(b"](K\x01ee}(X\x01\x00\x00\x00aK\x02ub.", array_globals())

    def test_arrays_must_have_as_many_bytes_as_their_shape_says(self) -> None:
        good = pickle.dumps({"a": np.arange(4, dtype=np.float32)}, protocol=4)
        bad = good.replace(b"K\x04\x85", b"K\x05\x85")
        assert bad != good
        read_pickle(good, array_globals())
        with pytest.raises(ConversionError, match="has 16 bytes"):
            read_pickle(bad, array_globals())

    def test_object_arrays_are_refused(self) -> None:
        with pytest.raises(ConversionError, match="data type 'O8'"):
            read_pickle(pickle.dumps(np.array([os.system], dtype=object)), array_globals())

    def test_control_characters_of_a_source_are_written_out(self) -> None:
        with pytest.raises(ConversionError) as caught:
            read_pickle(b"cnumpy\nnd\x1b[2Jarray\n.", array_globals())
        assert str(caught.value).isprintable()
        assert r"nd\x1b[2Jarray" in str(caught.value)

    def test_a_huge_shape_is_refused_before_anything_is_allocated(self, tmp_path: Path) -> None:
        root = torch_model(foreign_toy_model())
        pickler = TorchPickler()
        data = pickler.dumps(root)
        # The strides of the first tensor, (8, 1) for (8, 118): a shape of 2^30 x 118.
        huge = data.replace(b"(J\x08\x00\x00\x00J\x76\x00\x00\x00t", b"(J\x00\x00\x00\x40J\x76\x00\x00\x00t", 1)
        assert huge != data
        with zipfile.ZipFile(tmp_path / "toy.model", "w") as archive:
            archive.writestr("toy/data.pkl", huge)
            for number, storage in enumerate(pickler.storages):
                archive.writestr(f"toy/data/{number}", storage)
        with pytest.raises(ConversionError, match="too large"):
            convert(tmp_path / "toy.model", tmp_path / "out.safetensors", elements=ELEMENTS)

    @settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
    @given(st.data())
    def test_altered_pickles_fail_cleanly(self, choose: st.DataObject) -> None:
        """Whatever is done to a parameter pickle: it reads as inert data or is refused."""
        tree = {"params": {"a": np.arange(4, dtype=np.float32), "b": {"c": np.float64(2.0)}}}
        data = bytearray(pickle.dumps(tree, protocol=choose.draw(st.sampled_from([2, 4, 5]))))
        for _ in range(choose.draw(st.integers(1, 4))):
            data[choose.draw(st.integers(0, len(data) - 1))] = choose.draw(st.integers(0, 255))
        try:
            found = read_pickle(bytes(data), array_globals())
        except ConversionError:
            return
        assert isinstance(
            found, dict | list | tuple | set | str | int | float | bytes | bytearray | Stub | Global | None
        )

    @settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
    @given(st.binary(max_size=60))
    def test_random_bytes_fail_cleanly(self, data: bytes) -> None:
        archive = io.BytesIO()
        with zipfile.ZipFile(archive, "w") as file:
            file.writestr("toy/data.pkl", data)
        with zipfile.ZipFile(archive) as file, pytest.raises(ConversionError):
            read_archive(file, frozenset(), {})

    def test_altered_sources_are_converted_or_refused_with_one_line(self, tmp_path: Path) -> None:
        """In a process of its own, whose audit hook sees what the interpreter does."""
        program = Path(__file__).parent / "converter_fuzzing.py"
        options = ("--runs", "300", "--seconds", "600", "--seed", "1", "--folder", str(tmp_path))
        environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
        result = subprocess.run([sys.executable, program, *options], capture_output=True, text=True, env=environment)
        assert result.returncode == 0, result.stdout + result.stderr
        assert "Done 300 runs" in result.stdout
        assert "'converted': " in result.stdout  # some alterations change nothing that is read

    def test_the_audit_hook_sees_what_a_pickle_would_do(self, tmp_path: Path) -> None:
        program = (
            "import os, pickle, sys\n"
            "from pathlib import Path\n"
            "from converter_fuzzing import Faults, Watch\n"
            "class Attack:\n"
            "    def __reduce__(self): return os.system, ('true',)\n"
            "data, watch = pickle.dumps(Attack()), Watch()\n"
            "for act in (lambda: pickle.loads(data), lambda: open('/etc/hostname'), lambda: exec('1')):\n"
            "    try:\n"
            "        with watch.over(Path(sys.argv[1])): act()\n"
            "    except Faults as fault: print(fault)\n"
        )
        environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(Path(__file__).parent), *sys.path])}
        command = [sys.executable, "-c", program, str(tmp_path)]
        output = subprocess.run(command, capture_output=True, text=True, env=environment, check=True).stdout
        assert len(output.splitlines()) == 3, output
        assert "os.system" in output

    def test_neither_torch_nor_jax_is_imported(self, tmp_path: Path) -> None:
        write_torch_model(tmp_path / "toy.model", foreign_toy_model())
        write_jax_model(tmp_path / "jax", *jax_parameters(foreign_toy_model()))
        program = (
            "import sys\n"
            "for name in ('torch', 'jax', 'flax'): sys.modules[name] = None\n"
            "from so3md.convert import convert\n"
            "for source in ('toy.model', 'jax'): convert(source, 'out.safetensors', elements=['H', 'C', 'O'])\n"
        )
        environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
        subprocess.run([sys.executable, "-c", program], check=True, cwd=tmp_path, env=environment)


def test_a_failed_conversion_leaves_the_target_alone(tmp_path: Path) -> None:
    target = tmp_path / "toy.safetensors"
    model = with_published_free_atoms(foreign_toy_model())
    convert(write_torch_model(tmp_path / "good.model", model), target, elements=ELEMENTS)
    bad = copy.deepcopy(torch_model(model))
    assert isinstance(bad, Object)
    bad.attributes["_modules"]["zbl_repulsion"].attributes["_parameters"]["p_raw"].values[:] = np.nan
    with pytest.raises(ConversionError, match="not finite"):
        convert(save_torch_archive(tmp_path / "bad.model", bad), target, elements=ELEMENTS)
    assert_same_model(target, model)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bad.model", "good.model", "toy.safetensors"]
