"""The reference model against the original programs of 2022 and 2023: energies, forces and what happens on the way."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from paper_models import NAMES, NAMES_2022, NAMES_2023, ParityData, load_parity, parity_model, write_parity_model
from tolerances import PARITY

pytest.importorskip("torch", reason="the reference model needs PyTorch (extra 'torch')")

from so3md.model_file import PAPER_2022, SO3KRATES
from so3md.reference import Paper2022Model, ReferenceModel, So3kratesModel, reference_model


def evaluate(name: str) -> tuple[ParityData, ReferenceModel, dict[str, Any]]:
    data, model = load_parity(name), reference_model(parity_model(name))
    return data, model, model.evaluate(**data.structure, intermediates=True)


def assert_close(found: Any, expected: Any, tolerance: float) -> None:
    np.testing.assert_allclose(found, expected, rtol=0.0, atol=tolerance)


def order_of_pairs(data: ParityData, found: dict[str, np.ndarray]) -> np.ndarray:
    """For each pair of the model, which pair of the data it is; the sets must be the same."""
    number = {tuple(pair): k for k, pair in enumerate(data.pairs.T.tolist())}
    pairs = list(zip(found["edge_i"].tolist(), found["edge_j"].tolist(), strict=True))
    assert sorted(pairs) == sorted(number)
    return np.array([number[pair] for pair in pairs])


def test_all_configurations_are_there() -> None:
    molecules = ("ethanol", "C9H4")
    of_2022 = ("dyn", "dyn_parity", "dyn_parity_ln", "local", "static_chicut")
    of_2023 = ("bessel_zbl", "default", "rbf", "sphcnorm_ln_res")
    assert sorted(f"{c}_{m}" for c in of_2022 for m in molecules) == NAMES_2022
    assert sorted(f"{c}_{m}" for c in of_2023 for m in molecules) == NAMES_2023


@pytest.mark.parametrize("name", NAMES)
def test_energy_and_forces(name: str) -> None:
    data, _, found = evaluate(name)
    assert_close(found["energy"], data.energy, PARITY.component)
    assert_close(found["forces"], data.forces, PARITY.forces)
    assert np.abs(data.forces).max() > 100 * PARITY.forces


@pytest.mark.parametrize("name", NAMES)
def test_features_and_coordinates(name: str) -> None:
    data, _, result = evaluate(name)
    found = result["intermediates"]
    initial = {"x": "inter/feature_embeddings_0", "chi": "inter/geometry_embeddings_0/chi"}
    for kind, expected in initial.items():
        start = found[f"{kind}_initial" if name in NAMES_2022 else f"layer0_{kind}_in"]
        assert_close(start, data.arrays[expected], PARITY.features)
    for t in (0, 1):
        x = found["x_final"] if (t == 1 and name in NAMES_2023) else found[f"layer{t}_x_out"]
        assert_close(x, data.arrays[f"inter/layers_{t}/x"], PARITY.features)
        assert_close(found[f"layer{t}_chi_out"], data.arrays[f"inter/layers_{t}/chi"], PARITY.features)


@pytest.mark.parametrize("name", NAMES_2022)
def test_nonlocal_cutoffs(name: str) -> None:
    data, model, result = evaluate(name)
    found = result["intermediates"]
    order = order_of_pairs(data, found)
    for t in (0, 1):
        expected = data.arrays[f"record/layers_{t}/phi_chi_cut"][order]
        if model.hyperparameters["nonlocal"] is None:
            assert f"layer{t}_nonlocal_cutoff" not in found
            assert (expected == 0).all()
        else:
            assert expected.any()
            assert_close(found[f"layer{t}_nonlocal_cutoff"], expected, PARITY.features)


@pytest.mark.parametrize("name", NAMES_2022)
def test_attention_weights_of_2022(name: str) -> None:
    data, model, result = evaluate(name)
    found = result["intermediates"]
    order, phi = order_of_pairs(data, found), found["cutoff"][:, 0]
    inside = found["lengths"] < model.hyperparameters["cutoff"]
    for t in (0, 1):
        alpha = data.arrays[f"record/layers_{t}/FeatureBlock_0/attention_fn/alpha"][order]
        assert_close(found[f"layer{t}_alpha_features"], alpha[inside], PARITY.features)
        assert (alpha[~inside] == 0).all()
        beta = data.arrays[f"record/layers_{t}/GeometricBlock_0/attention_fn/alpha"][order]
        active = phi + found.get(f"layer{t}_nonlocal_cutoff", 0.0) != 0
        assert_close(found[f"layer{t}_alpha_coordinates"], beta[active], PARITY.features)
        assert (beta[~active] == 0).all()


@pytest.mark.parametrize("name", NAMES_2023)
def test_attention_weights_of_2023(name: str) -> None:
    data, _, result = evaluate(name)
    found = result["intermediates"]
    order, phi = order_of_pairs(data, found), found["cutoff"]
    first_of_degree = [0, 3, 8]
    for t in (0, 1):
        alpha = data.arrays[f"record/layers_{t}/FeatureBlock_0/attention_fn/alpha"][order]
        assert_close(phi * found[f"layer{t}_alpha_inv"][..., 0], alpha, PARITY.features)
        beta = data.arrays[f"record/layers_{t}/GeometricBlock_0/attention_fn/alpha"][order]
        assert_close(phi * found[f"layer{t}_alpha_ev_repeated"][:, first_of_degree], beta, PARITY.features)


@pytest.mark.parametrize(
    ("name", "architecture", "kind"),
    [("dyn_parity_ln_ethanol", PAPER_2022, Paper2022Model), ("sphcnorm_ln_res_ethanol", SO3KRATES, So3kratesModel)],
)
def test_model_files(tmp_path: Path, name: str, architecture: str, kind: type) -> None:
    """The file says which model it is, and one function reads either."""
    model = ReferenceModel.from_file(write_parity_model(tmp_path / "model.safetensors", name))
    assert type(model) is kind
    assert model.architecture == architecture
    data = load_parity(name)
    assert_close(model.evaluate(**data.structure)["energy"], data.energy, PARITY.component)
