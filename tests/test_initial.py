"""New models: complete, reproducible, distributed as they should be."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from ase.build import molecule
from toy_models import VARIANTS, VARIANTS_2022, VARIANTS_2023, toy_hyperparameters

pytest.importorskip("torch", reason="the reference model needs PyTorch (extra 'torch')")

from so3md.model_file import PAPER_2022, SO3KRATES, ModelFileError
from so3md.reference import reference_model
from so3md.reference.initial import new_model


def wide(architecture: str, **overrides: Any) -> dict[str, Any]:
    """Hyperparameters wide enough for statistics."""
    return toy_hyperparameters(architecture, num_features=192, radial_hidden=160, **overrides)


@pytest.mark.parametrize(
    ("architecture", "overrides"),
    [(SO3KRATES, v) for v in (VARIANTS | VARIANTS_2023).values()] + [(PAPER_2022, v) for v in VARIANTS_2022.values()],
)
def test_every_option_gives_finite_forces(architecture: str, overrides: dict[str, Any]) -> None:
    model = new_model(toy_hyperparameters(architecture, **overrides), ["O", "H", "C"], 1, architecture)
    assert model.elements == [1, 6, 8]
    atoms = molecule("CH3CH2OH")
    found = reference_model(model).evaluate(atoms.numbers, atoms.positions)
    assert np.isfinite(found["energy"])
    assert 1e-4 < np.abs(found["forces"]).max() < 1e4


@pytest.mark.parametrize("architecture", [SO3KRATES, PAPER_2022])
def test_seeds(architecture: str) -> None:
    def tensors(seed: int) -> dict[str, np.ndarray]:
        return new_model(toy_hyperparameters(architecture), [1, 6], seed, architecture).tensors

    first, again, other = tensors(0), tensors(0), tensors(1)
    assert all((first[name] == again[name]).all() for name in first)
    assert any((first[name] != other[name]).any() for name in first)


@pytest.mark.parametrize("architecture", [SO3KRATES, PAPER_2022])
def test_distributions(architecture: str) -> None:
    """Means within four standard errors, deviations within five per cent, nothing beyond the cut."""
    tensors = new_model(wide(architecture), list(range(1, 60)), 3, architecture).tensors
    inputs = {
        "layers.0.filter_features.radial2.weight": 160,
        "layers.1.attention.query_features": 48,
        "layers.1.attention.key_coordinates": 64,
        "layers.0.exchange.weight": 195,
    }
    for name, fan_in in inputs.items():
        values = tensors[name] * np.sqrt(fan_in)
        assert abs(values.mean()) < 4 / np.sqrt(values.size), name
        assert values.std() == pytest.approx(1, rel=0.05), name
        assert np.abs(values).max() <= 2 / 0.8796, name
        assert np.abs(values).max() > 2, name
    assert tensors["embedding.element"].std() == pytest.approx(1 / np.sqrt(192), rel=0.05)
    for name, values in tensors.items():
        if name.endswith("bias"):
            assert not values.any(), name
    if architecture == PAPER_2022:
        coefficients = np.stack([new_model(wide(architecture), [1], seed, architecture).tensors for seed in range(20)])
        assert np.std([t["layers.0.self_mix.coefficients"] for t in coefficients]) == pytest.approx(0.1, rel=0.15)


def test_physical_values() -> None:
    hyper = toy_hyperparameters(radial_basis={"type": "gaussian", "size": 9})
    tensors = new_model(hyper, ["H", "C", "O"]).tensors
    assert np.log1p(np.exp(tensors["zbl.a_raw"])) == pytest.approx([3.1998, 0.94229, 0.4029, 0.20162], rel=1e-6)
    assert np.log1p(np.exp(tensors["zbl.d_raw"])) == pytest.approx(1 / (0.8854 * 0.52917721), rel=1e-6)
    assert tensors["dispersion.alpha"].tolist() == [4.5, 12.0, 5.4]
    assert tensors["dispersion.c6"].dtype == np.float64
    assert tensors["radial_basis.centers"].tolist() == [0.5 * k for k in range(9)]
    assert tensors["radial_basis.widths"].tolist() == [0.5] * 9
    assert tensors["hirshfeld.shift"].tolist() == [1.0] * 3
    assert tensors["energy.scale"].tolist() == [1.0] * 3
    assert not tensors["charge.element"].any()


def test_bad_hyperparameters_are_refused() -> None:
    with pytest.raises(ModelFileError, match="35 features cannot be split"):
        new_model(toy_hyperparameters(num_features=35), [1])
