"""Conversion of weights with settings: every number arrives, one level of theory is chosen, and the rest is refused."""

from __future__ import annotations

import pickle
import shutil
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from so3lr2_models import DIRECTORY, ELEMENTS, parity_model, weights_and_settings

from so3md.cli import main
from so3md.convert import ConversionError, convert, nlh
from so3md.convert.torch_state import model_of_weights
from so3md.model_file import ModelFile

SYMBOLS = "H,C,N,O,F,P,S,Cl"


def copy_weights(folder: Path) -> Path:
    """The published form: weights, and the settings beside them."""
    for name in ("all.pt", "all_settings.yaml"):
        shutil.copyfile(DIRECTORY / name, folder / name)
    return folder / "all.pt"


def change_settings(weights: Path, old: str, new: str) -> None:
    path = weights.with_name("all_settings.yaml")
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new), encoding="utf-8")


def changed_model(model: str = "all", level: int | None = 5, **settings: Any) -> None:
    weights, options = weights_and_settings(model)
    model_of_weights(weights, options | settings, level)


class TestWeights:
    def test_every_number_arrives(self, tmp_path: Path) -> None:
        report = convert(
            copy_weights(tmp_path), tmp_path / "all.safetensors", elements=SYMBOLS.split(","), theory_level=5
        )
        found, expected = ModelFile.read(report.target), parity_model("all", 5)
        assert found.hyperparameters == expected.hyperparameters
        assert found.elements == list(ELEMENTS)
        assert found.tensors.keys() == expected.tensors.keys()
        for name, values in expected.tensors.items():
            np.testing.assert_array_equal(found.tensors[name], values, err_msg=name)
        assert found.format_version == 2
        assert found.provenance["theory_level"], found.provenance["theory_levels"] == (5, 16)
        assert (found.long_range_cutoff, found.molecule_cutoff, found.long_range_damping) == (12.0, 12.0, 2.0)

    def test_levels_differ(self) -> None:
        one, other = parity_model("all", 5), parity_model("all", 0)
        names = {name for name in one.tensors if not np.array_equal(one.tensors[name], other.tensors[name])}
        assert names == {"energy.dense2.weight", "energy.scale", "energy.shift"}

    def test_command_lists_levels_and_stops_without_one(self, tmp_path: Path) -> None:
        source, target = copy_weights(tmp_path), tmp_path / "all.safetensors"
        arguments = ["convert", str(source), str(target), "--elements", SYMBOLS]
        stopped = CliRunner().invoke(main, arguments)
        assert stopped.exit_code != 0
        assert "the model has 16 levels of theory" in stopped.output
        assert "--theory-level" in stopped.output
        assert (
            sum(line.split()[:1] == [str(level)] for level in range(16) for line in stopped.output.splitlines()) == 16
        )
        assert not target.exists()
        done = CliRunner().invoke(main, [*arguments, "--theory-level", "3"])
        assert done.exit_code == 0, done.output
        assert ModelFile.read(target).provenance["theory_level"] == 3

    @pytest.mark.parametrize("level", [16, -1])
    def test_level_that_is_not_there(self, level: int) -> None:
        with pytest.raises(ConversionError, match=f"theory level {level}: the model has the levels 0 to 15"):
            changed_model(level=level)

    def test_a_model_with_one_level_needs_no_choice(self) -> None:
        changed_model("all_alt", None)
        changed_model("all_alt", 0)
        with pytest.raises(ConversionError, match="theory level 1: the model has one level"):
            changed_model("all_alt", 1)

    def test_a_cutoff_of_training_data_is_not_taken(self, tmp_path: Path) -> None:
        source = copy_weights(tmp_path)
        change_settings(source, "r_max_lr: 12.0", "r_max_lr: 1000.0")
        convert(source, tmp_path / "all.safetensors", elements=["H", "O"], theory_level=0)
        found = ModelFile.read(tmp_path / "all.safetensors")
        assert found.long_range_cutoff == 12.0
        assert found.provenance["source_long_range_cutoff"] == 1000.0

    def test_second_names_of_filters_must_be_the_same_tensor(self) -> None:
        weights, settings = weights_and_settings("all")
        name = "euclidean_transformers.0.filter_net_inv.mlp_rbf.0.bias"
        second = name.replace("filter_net", "euclidean_attention_block.filter_net")
        model_of_weights(weights | {second: weights[name]}, settings, 5)
        with pytest.raises(ConversionError, match="two names of one tensor, but hold different numbers"):
            model_of_weights(weights | {second: weights[name] + 1}, settings, 5)


class TestRefusals:
    @pytest.mark.parametrize(
        ("settings", "message"),
        [
            ({"use_pme": True}, "use_pme is True, which so3md does not support: electrostatics on a mesh"),
            ({"use_pme_dispersion": True}, "use_pme_dispersion is True, .*: dispersion on a mesh is another energy"),
            ({"predict_forces_directly": True}, "settings: predict_forces_directly is not known to so3md"),
            ({"energy_regression_dim": None}, "energy_regression_dim is null"),
            ({"degrees": [4, 3, 2, 1]}, "decrease: with these the original program breaks the symmetry"),
            ({"degrees": [1, 2, 3, 4, 1, 2, 3, 4]}, "decrease"),
            ({"num_theory_levels": 0}, "num_theory_levels is 0"),
            ({"num_theory_levels": True}, "num_theory_levels is True"),
            ({"num_theory_levels": 15}, r"energy_scales.weight has the shape \(16, 118\); expected \(15, 118\)"),
            ({"use_rms_norm": 1.5}, "use_rms_norm is 1.5"),
            ({"use_rms_norm": False}, "layer_norm_inv_1"),
            ({"use_residual_scalars": False}, "resid_lambdas"),
            ({"c6_ratios_bool": False}, None),
            ({"use_simple_hirshfeld": False}, "q_embedding"),
            ({"final_layer_bias": True}, "final_layer.bias"),
            ({"activation_fn": "gelu"}, "activation_fn is 'gelu'"),
            ({"energy_activation_fn": "tanh"}, "energy_activation_fn is 'tanh'"),
            ({"message_normalization": "softmax"}, "message_normalization is 'softmax'"),
        ],
    )
    def test_settings(self, settings: dict[str, Any], message: str | None) -> None:
        if message is None:  # a head that is switched off is left out, and said so
            weights, options = weights_and_settings("all")
            source = model_of_weights(weights, options | settings, 5)
            assert all(name.startswith("c6_ratios_output_block.") for name in source.unused)
            assert source.unused
            return
        with pytest.raises(ConversionError, match=message):
            changed_model(**settings)

    def test_missing_setting(self) -> None:
        weights, options = weights_and_settings("all")
        del options["r_max"]
        with pytest.raises(ConversionError, match="settings: r_max is missing"):
            model_of_weights(weights, options, 5)

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            ({"another.weight": np.zeros(3, np.float32)}, "another.weight, for which so3md has no place"),
            ({"x0_lambdas": np.zeros(3, np.float32)}, r"x0_lambdas has the shape \(3,\); expected \(2,\)"),
            ({"x0_lambdas": np.array([0.1, np.nan], np.float32)}, "x0_lambdas holds a number that is not finite"),
            ({"radial_embedding.radial_basis_fn.gamma": np.array(0.9)}, "gamma is 0.9; expected 0.944"),
            (
                {"nhl_repulsion.nhl_aa": np.zeros((92, 92, 3)), "nhl_repulsion.nhl_bb": np.zeros((92, 92, 3))},
                "the constants differ from those of the publication",
            ),
        ],
    )
    def test_tensors(self, change: dict[str, np.ndarray], message: str) -> None:
        weights, settings = weights_and_settings("all")
        with pytest.raises(ConversionError, match=message):
            model_of_weights(weights | change, settings, 5)

    def test_missing_tensor(self) -> None:
        weights, settings = weights_and_settings("all")
        del weights["c6_ratios_output_block.transform_features.2.bias"]
        with pytest.raises(ConversionError, match=r"c6_ratios_output_block\.transform_features\.2\.bias"):
            model_of_weights(weights, settings, 5)

    @pytest.mark.parametrize("element", ["Br", "Na"])
    def test_elements_without_constants(self, tmp_path: Path, element: str) -> None:
        source = copy_weights(tmp_path)
        with pytest.raises(ConversionError, match=f"free-atom values are not known here for {element}"):
            convert(source, tmp_path / "all.safetensors", elements=["H", element], theory_level=0)
        with pytest.raises(ConversionError, match="NLH repulsion has no constants here for Br, only for H C N"):
            nlh.coefficients([1, 35])

    def test_elements_must_be_given(self, tmp_path: Path) -> None:
        with pytest.raises(ConversionError, match="does not say which elements it was trained"):
            convert(copy_weights(tmp_path), tmp_path / "all.safetensors", theory_level=0)

    def test_settings_beside_the_weights(self, tmp_path: Path) -> None:
        source = copy_weights(tmp_path)
        source.with_name("all_settings.yaml").unlink()
        with pytest.raises(ConversionError, match=r"all_settings.yaml does not exist: weights \(a state_dict\) do not"):
            convert(source, tmp_path / "all.safetensors", elements=["H"], theory_level=0)

    def test_theory_level_of_other_sources(self, tmp_path: Path) -> None:
        (tmp_path / "some.model").write_bytes(b"")
        with pytest.raises(ConversionError, match="theory_level does not apply"):
            convert(tmp_path / "some.model", tmp_path / "t.safetensors", elements=["H"], theory_level=0)


class TestHostileFiles:
    """Nothing of a pickle is executed; only the few names of a state_dict are known."""

    def rewritten(self, folder: Path, data: bytes) -> Path:
        source = copy_weights(folder)
        with zipfile.ZipFile(DIRECTORY / "all.pt") as archive, zipfile.ZipFile(source, "w") as changed:
            for name in archive.namelist():
                changed.writestr(name, data if name.endswith("/data.pkl") else archive.read(name))
        return source

    def refused(self, folder: Path, data: bytes, message: str) -> None:
        with pytest.raises(ConversionError, match=message):
            convert(self.rewritten(folder, data), folder / "t.safetensors", elements=["H"], theory_level=0)

    def original(self) -> bytes:
        with zipfile.ZipFile(DIRECTORY / "all.pt") as archive:
            return archive.read("all/data.pkl")

    def test_function(self, tmp_path: Path) -> None:
        self.refused(tmp_path, pickle.dumps(shutil.rmtree, protocol=2), "asks for shutil.rmtree.* nothing was executed")

    def test_whole_model(self, tmp_path: Path) -> None:
        name = b"ccollections\nOrderedDict\n"
        assert self.original().count(name) >= 1
        data = self.original().replace(name, b"cso3krates_torch.modules.models\nSO3LR\n", 1)
        self.refused(tmp_path, data, "asks for so3krates_torch.modules.models.SO3LR")

    def test_no_dictionary(self, tmp_path: Path) -> None:
        self.refused(tmp_path, pickle.dumps([1, 2], protocol=2), r"does not hold weights \(a state_dict\)")

    def test_state_of_the_dictionary(self, tmp_path: Path) -> None:
        data = self.original()
        assert b"_metadata" in data
        self.refused(tmp_path, data.replace(b"_metadata", b"__class__"), "a dictionary with a state that is not known")

    def test_tensor_beyond_its_storage(self, tmp_path: Path) -> None:
        source = copy_weights(tmp_path)
        with zipfile.ZipFile(DIRECTORY / "all.pt") as archive, zipfile.ZipFile(source, "w") as changed:
            for name in archive.namelist():
                values = archive.read(name)
                changed.writestr(name, values[:-4] if name.endswith("/data/0") else values)
        with pytest.raises(ConversionError, match=r"a tensor reaches beyond its storage|cannot be read"):
            convert(source, tmp_path / "t.safetensors", elements=["H"], theory_level=0)

    @pytest.mark.parametrize("text", ["- 1", "ARCHITECTURE: 3", "ARCHITECTURE: {}\nMORE: {}", "{", "a: &a [*a]"])
    def test_settings_of_another_kind(self, tmp_path: Path, text: str) -> None:
        source = copy_weights(tmp_path)
        source.with_name("all_settings.yaml").write_text(text, encoding="utf-8")
        with pytest.raises(ConversionError):
            convert(source, tmp_path / "t.safetensors", elements=["H"], theory_level=0)
