"""The model file: what is written is read again, and everything that is wrong is refused by name."""

from __future__ import annotations

import copy
import hashlib
import json
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.numpy import save
from toy_models import VARIANTS, VARIANTS_2022, VARIANTS_2023, make_toy_model, write_toy_model

from so3md import load_model, model_file
from so3md.model_file import (
    PAPER_2022,
    SO3KRATES,
    UNSUPPORTED_FEATURES,
    ModelFile,
    ModelFileError,
    expected_tensors,
    with_defaults,
)

#: Every kind of model: architecture and overrides.
EVERY_VARIANT = {
    f"{architecture}: {name}": (architecture, overrides)
    for architecture, variants in ((SO3KRATES, VARIANTS | VARIANTS_2023), (PAPER_2022, VARIANTS_2022))
    for name, overrides in variants.items()
}

#: SHA-256 of the files of the default toy model and of its plainest variant, from before there were optional keys.
OLD_FILES = {
    "default": "bbe13d324183a73d0bd5333805e033f1ce1403c72a9321159e4b603c674daa60",
    "plain_layers": "6309436c47ecafb57ab08b19bd0b1babcb15475dc5a0ff35c3d757ecc8888847",
}


def write_raw(path: Path, document: Any, tensors: dict[str, np.ndarray]) -> Path:
    """Write a file without any check; the document is a text or is made to JSON."""
    text = document if isinstance(document, str) else json.dumps(document)
    path.write_bytes(save(tensors, metadata={"so3md": text}))
    return path


def change(tree: dict[str, Any], path: str, value: Any) -> dict[str, Any]:
    """A copy with one entry replaced, or removed where the value is ..."""
    tree = copy.deepcopy(tree)
    *branches, leaf = path.split(".")
    node = tree
    for branch in branches:
        node = node[branch]
    if value is ...:
        del node[leaf]
    else:
        node[leaf] = value
    return tree


class TestRoundTrip:
    @pytest.mark.parametrize("variant", EVERY_VARIANT)
    def test_every_option(self, tmp_path: Path, variant: str) -> None:
        architecture, overrides = EVERY_VARIANT[variant]
        model = make_toy_model(architecture=architecture, **overrides)
        model.write(tmp_path / "toy.safetensors")
        found = ModelFile.read(tmp_path / "toy.safetensors")
        assert found.document == model.document
        assert found.architecture == architecture
        assert found.tensors.keys() == model.tensors.keys()
        for name, values in model.tensors.items():
            assert found.tensors[name].dtype == values.dtype
            np.testing.assert_array_equal(found.tensors[name], values)

    def test_descriptions_and_double_precision(self, tmp_path: Path) -> None:
        model = make_toy_model(dtype=np.float64)
        model.name, model.description, model.long_range_cutoff = "Ωmega", "line 1\nline 2", 9.5
        model.provenance, model.citation = {"made by": ["hand", 1, None]}, ["A. Müller (2020)"]
        model.license, model.license_text = "MIT", "do what you want"
        model_file.write(tmp_path / "toy.safetensors", model)
        found = model_file.read(tmp_path / "toy.safetensors")
        assert found.document == model.document
        assert all(values.dtype == np.float64 for values in found.tensors.values())
        assert found.num_parameters == model.num_parameters

    def test_arrays_in_any_memory_order(self, tmp_path: Path) -> None:
        model = make_toy_model()
        expected = {name: values.copy() for name, values in model.tensors.items()}
        model.tensors = {name: np.asfortranarray(values) for name, values in model.tensors.items()}
        model.write(tmp_path / "toy.safetensors")
        found = ModelFile.read(tmp_path / "toy.safetensors")
        for name, values in expected.items():
            np.testing.assert_array_equal(found.tensors[name], values)

    def test_an_invalid_model_leaves_the_old_file_alone(self, tmp_path: Path) -> None:
        path = write_toy_model(tmp_path / "toy.safetensors")
        before = path.read_bytes()
        model = make_toy_model(seed=1)
        model.tensors["energy.shift"] = np.full(3, np.inf, np.float32)
        with pytest.raises(ModelFileError, match=r"tensor energy\.shift: .* not finite"):
            model.write(path)
        assert path.read_bytes() == before
        assert list(tmp_path.iterdir()) == [path]

    def test_the_same_model_gives_the_same_bytes(self, tmp_path: Path) -> None:
        first = write_toy_model(tmp_path / "a.safetensors").read_bytes()
        assert write_toy_model(tmp_path / "b.safetensors").read_bytes() == first

    @pytest.mark.parametrize("variant", OLD_FILES)
    def test_models_without_optional_keys_are_written_as_ever(self, tmp_path: Path, variant: str) -> None:
        path = tmp_path / "toy.safetensors"
        make_toy_model(**VARIANTS[variant]).write(path)
        assert hashlib.sha256(path.read_bytes()).hexdigest() == OLD_FILES[variant]


class TestOptionalKeys:
    def test_defaults_are_left_out(self, tmp_path: Path) -> None:
        plain = write_toy_model(tmp_path / "plain.safetensors").read_bytes()
        defaults = with_defaults({})
        assert defaults.keys() == {
            "layer_norm_position",
            "residual_mlp_kind",
            "initial_coordinates",
            "final_layer_norm",
            "rms_norm",
            "normalize_query_key",
            "residual_scalars",
            "c6_head",
            "repulsion",
        }
        assert write_toy_model(tmp_path / "spelt_out.safetensors", **defaults).read_bytes() == plain

    def test_defaults_are_left_out_of_models_of_the_paper(self, tmp_path: Path) -> None:
        model = make_toy_model(architecture=PAPER_2022, charge_embedding=False, spin_embedding=False)
        assert model.document == make_toy_model(architecture=PAPER_2022).document
        assert not {"charge_embedding", "spin_embedding"} & model.document["hyperparameters"].keys()

    def test_a_file_that_spells_them_out_is_read(self, tmp_path: Path) -> None:
        model = make_toy_model()
        document = change(model.document, "hyperparameters.layer_norm_position", "post")
        found = ModelFile.read(write_raw(tmp_path / "toy.safetensors", document, model.tensors))
        assert found.document == model.document

    def test_a_default_of_the_wrong_type_is_not_taken_for_it(self, tmp_path: Path) -> None:
        model = make_toy_model(final_layer_norm=False)
        model.hyperparameters["final_layer_norm"] = 0
        with pytest.raises(ModelFileError, match="final_layer_norm: expected true or false, found 0"):
            model.write(tmp_path / "toy.safetensors")

    @pytest.mark.parametrize(
        ("key", "value", "message"),
        [
            ("layer_norm_position", "middle", "one of post, pre"),
            ("layer_norm_position", None, "one of post, pre"),
            ("residual_mlp_kind", "four_layers", "one of two_layers, three_layers"),
            ("initial_coordinates", "zero", 'an object with the key "type"'),
            ("initial_coordinates", {"type": "mean"}, "one of zero, neighbour_sum"),
            ("initial_coordinates", {"type": "zero", "normalization": 1.0}, r"normalization: unknown key"),
            ("initial_coordinates", {"type": "neighbour_sum"}, r"normalization: the key is missing"),
            ("initial_coordinates", {"type": "neighbour_sum", "normalization": 0.0}, "a positive number"),
            ("final_layer_norm", "no", "true or false"),
            ("nonlocal", None, r"hyperparameters\.nonlocal: unknown key"),
            ("residual_mlp_kind", "three_layers", r"tensor layers\.0\.mlp1\.dense3\.weight: missing"),
            ("final_layer_norm", True, r"tensor final_norm\.bias: missing"),
        ],
    )
    def test_bad_values_are_refused_by_name(self, tmp_path: Path, key: str, value: Any, message: str) -> None:
        model = make_toy_model()
        document = change(model.document, f"hyperparameters.{key}", value)
        with pytest.raises(ModelFileError, match=message):
            ModelFile.read(write_raw(tmp_path / "toy.safetensors", document, model.tensors))


class TestPaper2022:
    @pytest.mark.parametrize(
        ("key", "value", "message"),
        [
            ("degrees", [0, 1, 2], "increasing integers from 1 to 8"),
            ("num_features", 35, "35 features cannot be split into 4 equal heads"),
            ("radial_basis", {"type": "bernstein", "size": 8, "gamma": 1.0}, r"radial_basis\.gamma: unknown key"),
            ("radial_basis", {"type": "gaussian"}, r"radial_basis\.size: the key is missing"),
            ("radial_basis", {"type": "fourier", "size": 8}, "one of bernstein, gaussian, bessel, phys"),
            ("parity", None, "true or false"),
            ("layer_norm", 1, "true or false"),
            ("coordinate_norm", "yes", "true or false"),
            ("layer_norm_epsilon", 0, "a positive number"),
            ("nonlocal", "dynamic", 'an object with the key "type"'),
            ("nonlocal", {"type": "learned"}, "one of dynamic, static"),
            ("nonlocal", {"type": "dynamic", "cutoff": 0.1}, r"nonlocal\.cutoff: unknown key"),
            ("nonlocal", {"type": "static"}, r"nonlocal\.cutoff: the key is missing"),
            ("nonlocal", {"type": "static", "cutoff": 0.0}, "a positive number"),
            ("nonlocal", ..., "the key is missing"),
            ("energy_head", None, "an object with the keys hidden, activation"),
            ("activation", "silu", r"hyperparameters\.activation: unknown key"),
            ("zbl", None, r"hyperparameters\.zbl: unknown key"),
            ("charge_embedding", 0, "true or false"),
        ],
    )
    def test_bad_values_are_refused_by_name(self, tmp_path: Path, key: str, value: Any, message: str) -> None:
        model = make_toy_model(architecture=PAPER_2022)
        document = change(model.document, f"hyperparameters.{key}", value)
        with pytest.raises(ModelFileError, match=message):
            ModelFile.read(write_raw(tmp_path / "toy.safetensors", document, model.tensors))
        model.hyperparameters = document["hyperparameters"]
        with pytest.raises(ModelFileError, match=message):
            model.write(tmp_path / "new.safetensors")

    def test_tensors(self) -> None:
        model = make_toy_model(architecture=PAPER_2022, **VARIANTS_2022["norms"])
        shapes = expected_tensors(model.hyperparameters, 3, PAPER_2022)
        assert shapes["layers.1.attention.query_features_bias"] == (4, 9)
        assert shapes["layers.1.attention.key_coordinates_bias"] == (3, 12)
        assert "layers.1.attention.value_coordinates_bias" not in shapes
        assert shapes["layers.0.self_mix.coefficients"] == (3, 3, 3)
        assert shapes["layers.0.self_mix.gate.weight"] == (36, 3)
        assert shapes["layers.0.exchange.weight"] == (78, 39)
        assert shapes["layers.0.norm2.scale"] == (36,)
        assert shapes["layers.0.coordinate_norm1.scale"] == (3,)
        assert "layers.0.coordinate_norm1.bias" not in shapes
        assert "radial_basis.gamma" not in shapes
        bernstein = make_toy_model(architecture=PAPER_2022, **VARIANTS_2022["bernstein_exponential"])
        assert bernstein.tensors["radial_basis.gamma"].shape == (1,)

    @pytest.mark.parametrize("name", ["layers.0.self_mix.coefficients", "layers.1.attention.value_features_bias"])
    def test_a_missing_tensor_is_named(self, tmp_path: Path, name: str) -> None:
        model = make_toy_model(architecture=PAPER_2022)
        del model.tensors[name]
        with pytest.raises(ModelFileError, match=f"tensor {name}: missing"):
            ModelFile.read(write_raw(tmp_path / "toy.safetensors", model.document, model.tensors))

    @pytest.mark.parametrize("architecture", [PAPER_2022, SO3KRATES])
    def test_a_model_under_the_name_of_the_other_architecture(self, tmp_path: Path, architecture: str) -> None:
        model = make_toy_model(architecture=architecture)
        document = model.document | {"architecture": {PAPER_2022: SO3KRATES, SO3KRATES: PAPER_2022}[architecture]}
        with pytest.raises(ModelFileError, match=r"hyperparameters\.\w+: unknown key"):
            ModelFile.read(write_raw(tmp_path / "toy.safetensors", document, model.tensors))


class TestSo3lr:
    def test_what_the_file_says(self, so3lr_path: Path) -> None:
        model = ModelFile.read(so3lr_path)
        hyper = model.hyperparameters
        assert model.name == "SO3LR"
        assert model.elements == [1, 6, 7, 8, 9, 15, 16, 17]
        assert (hyper["num_features"], hyper["num_layers"], hyper["degrees"]) == (128, 3, [1, 2, 3, 4])
        assert hyper["radial_basis"]["gamma"] == float(np.float32(0.9448630629184640)) == 0.9448630809783936
        assert (model.long_range_cutoff, model.molecule_cutoff, model.long_range_damping) == (12.0, None, 2.0)
        assert "10.1021/jacs.5c09558" in " ".join(model.citation)
        assert "arXiv:2205.14276" in " ".join(model.citation)
        assert "10.1038/s41467-024-50620-6" in " ".join(model.citation)
        assert model.license == "MIT"
        assert "THE SOFTWARE IS PROVIDED" in model.license_text
        assert {"converter", "source_file", "source_sha256", "origin"} <= model.provenance.keys()

    def test_size(self, so3lr_path: Path) -> None:
        """Eight rows of every table instead of the whole periodic table; counted alike by Python and the engine."""
        model = ModelFile.read(so3lr_path)
        assert model.num_parameters == load_model(so3lr_path).num_parameters == 481_320
        assert so3lr_path.stat().st_size < 2_000_000


class TestHyperparameters:
    @pytest.mark.parametrize(
        ("key", "value", "message"),
        [
            ("num_features", 0, "an integer from 1"),
            ("num_features", 36.0, "an integer from 1"),
            ("num_features", True, "an integer from 1"),
            ("num_features", 1 << 40, "an integer from 1"),
            ("num_features", 35, "35 features cannot be split into 4 equal heads"),
            ("num_heads", 5, r"36 features cannot be split into 5 equal heads .*num_heads"),
            ("degrees", [1, 2, 3, 4, 5], r"36 features cannot be split into 5 equal heads .*degrees"),
            ("degrees", [], "at most 9 integers"),
            ("degrees", [2, 1], "integers from 0 to 8 that do not decrease"),
            ("degrees", [1] * 10, "at most 9 integers"),
            ("degrees", [1, 9], "integers from 0 to 8"),
            ("degrees", 3, "at most 9 integers"),
            ("num_layers", 0, "an integer from 1"),
            ("cutoff", -1.0, "a positive number"),
            ("cutoff", "4.5", "a positive number"),
            ("cutoff_function", "phys", 'an object with the key "type"'),
            ("cutoff_function", {"type": "tanh"}, "one of phys, cosine, exponential, polynomial"),
            ("cutoff_function", {"type": "polynomial"}, r"cutoff_function\.exponent: the key is missing"),
            ("cutoff_function", {"type": "phys", "exponent": 5}, r"cutoff_function\.exponent: unknown key"),
            ("radial_basis", {"type": "bernstein", "size": 8}, r"radial_basis\.gamma: the key is missing"),
            ("radial_basis", {"type": "bessel", "size": 8, "gamma": 1.0}, r"radial_basis\.gamma: unknown key"),
            ("radial_basis", {"type": "bessel", "size": 0}, r"radial_basis\.size: expected an integer"),
            ("activation", "elu", "one of identity, silu, tanh, gelu, relu"),
            ("activation", ["silu"], "one of identity"),
            ("query_key_activation", None, "one of identity"),
            ("attention_normalization", {"type": "constant"}, r"attention_normalization\.value: the key is missing"),
            ("attention_normalization", {"type": "softmax"}, "one of constant, sqrt_head_width, none"),
            ("layer_norm_1", 1, "true or false"),
            ("layer_norm_epsilon", 0.0, "a positive number"),
            ("energy_head", None, "an object with the keys hidden, activation"),
            ("energy_head", {"hidden": -1, "activation": "silu"}, r"energy_head\.hidden: expected an integer from 0"),
            ("charge_head", None, r"electrostatics: needs hyperparameters\.charge_head"),
            ("hirshfeld_head", None, r"dispersion: needs hyperparameters\.hirshfeld_head"),
            ("hirshfeld_head", {"hidden": 4, "size": 0}, r"hirshfeld_head\.size"),
            ("zbl", {"switch_on": 1.5, "switch_off": 1.5}, r"switch_off: expected a number above switch_on = 1\.5"),
            ("zbl", {"switch_on": -1.0, "switch_off": 1.5}, r"zbl\.switch_on"),
            ("electrostatics", {"sigma": 0}, r"electrostatics\.sigma"),
            ("dispersion", {"type": "d3", "damping_scale": 1.2}, "one of vdw_qdo"),
            ("num_layers", ..., "the key is missing"),
            ("temperature", 300, r"hyperparameters\.temperature: unknown key"),
        ],
    )
    def test_bad_values_are_refused_by_name(self, tmp_path: Path, key: str, value: Any, message: str) -> None:
        model = make_toy_model()
        document = change(model.document, f"hyperparameters.{key}", value)
        path = write_raw(tmp_path / "toy.safetensors", document, model.tensors)
        with pytest.raises(ModelFileError, match=message) as caught:
            ModelFile.read(path)
        assert str(path) in str(caught.value)
        assert f"hyperparameters.{key}" in str(caught.value) or "num_features" in str(caught.value)
        model.hyperparameters = document["hyperparameters"]
        with pytest.raises(ModelFileError, match=message):
            model.write(tmp_path / "new.safetensors")

    @pytest.mark.parametrize("name", UNSUPPORTED_FEATURES)
    def test_features_of_the_next_generation(self, tmp_path: Path, name: str) -> None:
        model = make_toy_model()
        for place in (name, f"hyperparameters.{name}"):
            path = write_raw(tmp_path / "toy.safetensors", change(model.document, place, True), model.tensors)
            with pytest.raises(ModelFileError, match=rf"{name}: .* does not support yet"):
                ModelFile.read(path)

    def test_expected_tensors_of_so3lr(self, so3lr_path: Path) -> None:
        model = ModelFile.read(so3lr_path)
        shapes = expected_tensors(model.hyperparameters, len(model.elements))
        assert shapes["layers.2.filter_coordinates.spherical1.weight"] == (32, 4)
        assert shapes["layers.0.attention.query_coordinates"] == (4, 32, 32)
        assert shapes["layers.1.exchange.weight"] == (132, 132)
        assert shapes["hirshfeld.query"] == (8, 64)
        assert shapes["zbl.a_raw"] == (4,)
        assert "layers.0.mlp2.dense1.weight" not in shapes
        assert "radial_basis.centers" not in shapes


class TestDocument:
    @pytest.mark.parametrize(
        ("key", "value", "message"),
        [
            ("format_version", 3, "format_version: expected 1 or 2, found 3; this file needs another version of so3md"),
            ("format_version", "1", "format_version: expected 1 or 2"),
            ("format_version", True, "format_version: expected 1 or 2, found true"),
            ("format_version", ..., "format_version: the key is missing"),
            ("architecture", "mace", 'architecture: expected one of so3krates, so3krates-2022, found "mace"'),
            ("architecture", ["so3krates"], r"architecture: expected one of so3krates, .* found \["),
            ("units", {"energy": "Hartree", "length": "Angstrom", "charge": "e"}, "units: expected"),
            ("elements", [6, 1], "elements: expected a list of increasing integers from 1 to 118"),
            ("elements", [0, 1], "elements: expected"),
            ("elements", [1, 1, 6], "elements: expected"),
            ("elements", [1.0, 6.0, 8.0], "elements: expected"),
            ("elements", [1, 6, 8, 9], r"tensor embedding\.element: expected the shape \(4, 36\), found \(3, 36\)"),
            ("name", 3, "name: expected a text"),
            ("long_range_cutoff", 0, "long_range_cutoff: expected a positive number"),
            ("long_range_cutoff", ..., "long_range_cutoff: the key is missing"),
            ("long_range_cutoff_molecules", -1, "long_range_cutoff_molecules: expected a positive number"),
            ("long_range_cutoff_molecules", "same", "long_range_cutoff_molecules: expected a positive number"),
            ("long_range_damping", None, "long_range_damping: expected a positive number"),
            ("citation", "me", "citation: expected a list of texts"),
            ("provenance", [], "provenance: expected an object"),
            ("hyperparameters", [], "hyperparameters: expected an object"),
            ("colour", "red", "colour: unknown key"),
        ],
    )
    def test_bad_values_are_refused_by_name(self, tmp_path: Path, key: str, value: Any, message: str) -> None:
        model = make_toy_model()
        path = write_raw(tmp_path / "toy.safetensors", change(model.document, key, value), model.tensors)
        with pytest.raises(ModelFileError, match=message):
            ModelFile.read(path)

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("", "not valid JSON"),
            ("{", "not valid JSON"),
            ("[" * 100_000, "not valid JSON"),
            ("[]", "expected an object"),
            ('{"format_version": 1, "format_version": 1}', "format_version: the key occurs twice"),
            ('{"format_version": NaN}', "NaN, which is not a JSON number"),
            ('{"format_version": Infinity}', "Infinity, which is not a JSON number"),
        ],
    )
    def test_documents_that_readers_disagree_about(self, tmp_path: Path, text: str, message: str) -> None:
        path = write_raw(tmp_path / "toy.safetensors", text, make_toy_model().tensors)
        with pytest.raises(ModelFileError, match=message):
            ModelFile.read(path)

    def test_other_metadata_is_ignored(self, tmp_path: Path) -> None:
        model = make_toy_model()
        path = tmp_path / "toy.safetensors"
        path.write_bytes(save(model.tensors, metadata={"so3md": json.dumps(model.document), "format": "np"}))
        assert ModelFile.read(path).document == model.document


class TestTensors:
    @pytest.mark.parametrize(
        ("name", "values", "message"),
        [
            ("energy.shift", None, r"tensor energy\.shift: missing"),
            ("energy.slope", np.ones(3, np.float32), r"tensor energy\.slope: not one of a model"),
            ("energy.shift", np.ones(3, np.float16), r"expected float32 or float64.*found '?(F16|float16)"),
            ("energy.shift", np.ones(3, np.int64), r"expected float32 or float64.*found '?(I64|int64)"),
            ("energy.shift", np.ones((3, 1), np.float32), r"expected the shape \(3,\), found \(3, 1\)"),
            ("energy.shift", np.array([1, np.nan, 1], np.float32), "not finite"),
            ("energy.shift", np.array([1, np.inf, 1], np.float64), "not finite"),
        ],
    )
    def test_bad_tensors_are_refused_by_name(
        self, tmp_path: Path, name: str, values: np.ndarray | None, message: str
    ) -> None:
        model = make_toy_model()
        tensors = {key: value for key, value in model.tensors.items() if key != name}
        if values is not None:
            tensors[name] = values
        path = write_raw(tmp_path / "toy.safetensors", model.document, tensors)
        with pytest.raises(ModelFileError, match=message):
            ModelFile.read(path)
        model.tensors = tensors
        with pytest.raises(ModelFileError, match=message):
            model.write(tmp_path / "new.safetensors")


class TestBrokenFiles:
    def test_missing_file_and_directory(self, tmp_path: Path) -> None:
        with pytest.raises(FileNotFoundError):
            ModelFile.read(tmp_path / "nowhere.safetensors")
        with pytest.raises(OSError, match="directory"):
            ModelFile.read(tmp_path)

    @pytest.mark.parametrize("content", [b"", b"hello", b"\xff" * 100, struct.pack("<Q", 1 << 60) + b"{}", b"\0" * 64])
    def test_something_else(self, tmp_path: Path, content: bytes) -> None:
        path = tmp_path / "toy.safetensors"
        path.write_bytes(content)
        with pytest.raises(ModelFileError, match="truncated, altered or not a model file"):
            ModelFile.read(path)

    def test_safetensors_of_another_program(self, tmp_path: Path) -> None:
        path = tmp_path / "toy.safetensors"
        for metadata in (None, {"format": "pt"}):
            path.write_bytes(save({"weight": np.ones(3, np.float32)}, metadata=metadata))
            with pytest.raises(ModelFileError, match="not a so3md model file"):
                ModelFile.read(path)

    def test_truncation_anywhere(self, tmp_path: Path) -> None:
        whole = write_toy_model(tmp_path / "whole.safetensors").read_bytes()
        path = tmp_path / "cut.safetensors"
        for length in [*range(0, len(whole), len(whole) // 50), len(whole) - 1]:
            path.write_bytes(whole[:length])
            with pytest.raises(ModelFileError, match="truncated, altered or not a model file"):
                ModelFile.read(path)

    def test_bytes_too_many(self, tmp_path: Path) -> None:
        path = write_toy_model(tmp_path / "toy.safetensors")
        path.write_bytes(path.read_bytes() + b"\0\0\0\0")
        with pytest.raises(ModelFileError, match="truncated, altered or not a model file"):
            ModelFile.read(path)

    @pytest.mark.parametrize("architecture", [SO3KRATES, PAPER_2022])
    @settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(choose=st.data())
    def test_altered_headers_fail_cleanly(self, tmp_path: Path, architecture: str, choose: st.DataObject) -> None:
        """Whatever happens to the header: a valid model is read, or the file is refused with a message."""
        path, whole = tmp_path / "altered.safetensors", tmp_path / "whole.safetensors"
        if not whole.exists():
            make_toy_model(architecture=architecture).write(whole)
        data = bytearray(whole.read_bytes())
        header = struct.unpack("<Q", data[:8])[0]
        for _ in range(choose.draw(st.integers(1, 3))):
            data[choose.draw(st.integers(0, header + 7))] = choose.draw(st.integers(0, 255))
        path.write_bytes(data)
        try:
            found = ModelFile.read(path)
        except ModelFileError:
            return
        found.check()
