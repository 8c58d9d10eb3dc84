"""The models for training give the numbers of the reference model: energies, forces, and gradients of a loss."""

from __future__ import annotations

import gc
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="training needs PyTorch (extra 'torch')")

from ase.build import molecule  # noqa: E402
from toy_models import VARIANTS, VARIANTS_SO3LR2, make_toy_model  # noqa: E402

from so3md.model_file import ModelFile  # noqa: E402
from so3md.reference import ReferenceModel, Structure  # noqa: E402
from so3md.reference.initial import new_model  # noqa: E402
from so3md.training import native_steps  # noqa: E402
from so3md.training.batches import join  # noqa: E402
from so3md.training.layer_steps import NetworkSteps, Steps  # noqa: E402
from so3md.training.model import FastSo3krates, Prediction, ReferenceNetwork, TrainableModel, make_model  # noqa: E402
from so3md.training.run import make_model_items  # noqa: E402
from so3md.training.sample import Sample  # noqa: E402
from so3md.training.smooth import silu  # noqa: E402

LR_CUTOFF = 6.0
OPTIONS_OF_2023 = {
    "pre": {"layer_norm_position": "pre"},
    "three_layers": {"residual_mlp_kind": "three_layers", "residual_mlp_2": True},
    "neighbour_sum": {"initial_coordinates": {"type": "neighbour_sum", "normalization": 3.0}},
    "final_norm": {"final_layer_norm": True},
}


def samples() -> list[Sample]:
    """An ion with a spin, a small crystal with images of its own atoms, and a molecule."""
    rng = np.random.default_rng(0)
    result = []
    for name, cell, charge, spin in (("CH3CH2OH", None, 1, 0.5), ("H2O", 3.5 * np.eye(3), 0, 0), ("CH4", None, 0, 0)):
        atoms = molecule(name)
        positions = atoms.positions + 0.05 * rng.standard_normal(atoms.positions.shape)
        result.append(Sample(Structure(atoms.numbers, positions, cell, cell is not None, charge, spin)))
    return result


def predict(
    model: TrainableModel, structures: list[Sample], create_graph: bool = False, dtype: torch.dtype = torch.float64
) -> Prediction:
    items = make_model_items(model, structures)
    hyper = model.hyper if model.takes_geometry else None
    batch = join(items, hyper, torch.device("cpu"), dtype)
    return model.predict(batch, forces=True, virial=True, create_graph=create_graph)


def predict_steps(model: FastSo3krates) -> Steps:
    """The steps that a prediction goes through."""
    batch = join(make_model_items(model, samples()), model.hyper, torch.device("cpu"), torch.float64)
    return model.energies(batch, track=False)[1].steps


def loss_gradients(model: TrainableModel, prediction: Prediction) -> dict[str, torch.Tensor]:
    """Gradients of a loss in which everything takes part, by the names of the tensors."""
    rng = np.random.default_rng(1)
    loss = 0.0
    for name in ("energy", "forces", "virial", "dipole", "hirshfeld_ratios"):
        value = getattr(prediction, name)
        if value is not None:
            loss = (
                loss + (value**2).sum() + (value * torch.from_numpy(rng.standard_normal(value.shape)).to(value)).sum()
            )
    loss.backward()
    for parameter in model.parameters():
        parameter.data = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
    return {name: value.clone() for name, value in model.views()}


def random_model(overrides: dict[str, Any]) -> ModelFile:
    """A toy model; with options that the toys do not have, a new model whose tensors are all random."""
    known = {key: value for key, value in overrides.items() if key in make_toy_model().hyperparameters}
    toy = make_toy_model(3, dtype=np.float64, **known)
    if known == overrides:
        return toy
    model = new_model(toy.hyperparameters | overrides, toy.elements, 3, dtype=np.float64)
    rng = np.random.default_rng(4)
    for name, value in model.tensors.items():
        if not name.startswith("dispersion."):
            value += 0.1 * rng.standard_normal(value.shape)
    return model


@pytest.fixture
def without_kernels(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(native_steps, "enabled", False)


#: Options of both forms of the sweeps, by kernels and in operations of PyTorch.
OPTIONS = (
    VARIANTS
    | OPTIONS_OF_2023
    | {
        "pre_three_layers": OPTIONS_OF_2023["pre"] | OPTIONS_OF_2023["three_layers"] | {"query_key_activation": "silu"},
        "all_of_2023": {key: value for options in OPTIONS_OF_2023.values() for key, value in options.items()},
    }
)


@pytest.mark.parametrize("overrides", OPTIONS.values(), ids=OPTIONS.keys())
def test_the_same_in_operations_of_pytorch(overrides: dict[str, Any], without_kernels: None) -> None:
    test_the_fast_model_is_the_reference_model(overrides)


@pytest.mark.parametrize("name", ["default", "cosine_gaussian"])
def test_kernels_and_pytorch_agree_in_single_precision(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    results = []
    for enabled in (True, False):
        monkeypatch.setattr(native_steps, "enabled", enabled)
        model = FastSo3krates(random_model(VARIANTS[name]), LR_CUTOFF).float()
        prediction = predict(model, samples(), create_graph=True, dtype=torch.float32)
        results.append((prediction.forces.detach(), loss_gradients(model, prediction)))
    (forces, gradients), (expected_forces, expected) = results
    assert forces.dtype == torch.float32
    np.testing.assert_allclose(forces, expected_forces, rtol=0, atol=1e-4 * expected_forces.abs().max())
    for key, value in expected.items():
        np.testing.assert_allclose(gradients[key], value, rtol=0, atol=1e-3 * max(1.0, value.abs().max()), err_msg=key)


def test_kernels_are_used_where_they_can_be() -> None:
    model = make_model(make_toy_model(3, dtype=np.float64), LR_CUTOFF)
    assert type(predict_steps(model)) is native_steps.NativeSteps


@pytest.mark.parametrize("overrides", OPTIONS.values(), ids=OPTIONS.keys())
def test_the_fast_model_is_the_reference_model(overrides: dict[str, Any]) -> None:
    file = random_model(overrides)
    fast, plain = FastSo3krates(file, LR_CUTOFF).double(), ReferenceNetwork(file, LR_CUTOFF).double()
    fast.load(file)
    plain.load(file)
    results = [predict(model, samples(), create_graph=True) for model in (fast, plain)]
    for name in ("energy", "forces", "virial", "charges", "dipole", "hirshfeld_ratios"):
        own, other = (getattr(result, name) for result in results)
        assert (own is None) == (other is None)
        if own is not None:
            np.testing.assert_allclose(own.detach(), other.detach(), rtol=1e-10, atol=1e-10, err_msg=name)
    assert results[0].forces.abs().max() > 0.01
    gradients, expected = loss_gradients(fast, results[0]), loss_gradients(plain, results[1])
    assert gradients.keys() == expected.keys()
    for name, value in expected.items():
        tolerance = 1e-10 * max(1.0, value.abs().max().item())
        np.testing.assert_allclose(gradients[name], value, rtol=0, atol=tolerance, err_msg=name)
    assert gradients["layers.0.filter_coordinates.radial1.weight"].abs().max() > 0


@pytest.mark.parametrize("variant", VARIANTS_SO3LR2)
def test_the_second_generation_trains_as_it_is(variant: str) -> None:
    """Forces of a batch are those of the reference model, and every trained tensor has its gradient."""
    file = make_toy_model(3, dtype=np.float64, **VARIANTS_SO3LR2[variant])
    model = make_model(file, None)
    structures = [samples()[0], samples()[2]]
    prediction = predict(model, structures, create_graph=True)
    reference = ReferenceModel.from_model_file(file)
    for part, sample in zip(np.split(prediction.forces.detach().numpy(), [9]), structures, strict=True):
        item = sample.structure
        alone = reference.evaluate(item.numbers, item.positions, None, None, item.charge, item.spin, lr_cutoff=None)
        np.testing.assert_allclose(part, alone["forces"], atol=1e-10)
    gradients = loss_gradients(model, prediction)
    for name in ("residual_scalars", "c6.shift", "c6.dense2.weight", "hirshfeld.shift"):
        for key in (key for key in gradients if key.endswith(name)):
            assert gradients[key].abs().max() > 0, key
    if "nlh.coefficients" in file.tensors:
        np.testing.assert_array_equal(model.tensors()["nlh.coefficients"], file.tensors["nlh.coefficients"])


def test_a_batch_gives_what_its_structures_give_alone() -> None:
    file = make_toy_model(3, dtype=np.float64)
    model = make_model(file, None)
    reference = ReferenceModel.from_model_file(file)
    structures = [samples()[0], samples()[2]]
    together = predict(model, structures)
    forces = np.split(together.forces.numpy(force=True), [9])
    for number, sample in enumerate(structures):
        item = sample.structure
        alone = reference.evaluate(item.numbers, item.positions, None, None, item.charge, item.spin, lr_cutoff=None)
        shift = model.shift[np.searchsorted(file.elements, item.numbers)].sum()
        assert together.energy[number].item() + shift == pytest.approx(alone["energy"], abs=1e-10)
        np.testing.assert_allclose(forces[number], alone["forces"], atol=1e-10)
        np.testing.assert_allclose(together.dipole[number].detach(), alone["dipole"], atol=1e-10)


def test_an_atom_alone_has_no_force() -> None:
    file = make_toy_model(3, dtype=np.float64)
    prediction = predict(make_model(file, None), [Sample(Structure([6], np.zeros((1, 3))))])
    assert prediction.forces.abs().max() == 0
    alone = ReferenceModel.from_model_file(file).evaluate([6], np.zeros((1, 3)), lr_cutoff=None)
    assert prediction.energy.item() + file.tensors["energy.shift"][1] == pytest.approx(alone["energy"], abs=1e-10)


@pytest.mark.parametrize("nonlocal_options", [None, {"type": "dynamic"}], ids=["local", "nonlocal"])
def test_the_network_of_the_paper_trains_as_it_is(nonlocal_options: dict[str, Any] | None) -> None:
    hyper = {
        "num_features": 12,
        "num_heads": 2,
        "degrees": [1, 2],
        "num_layers": 2,
        "cutoff": 2.0,
        "cutoff_function": {"type": "cosine"},
        "radial_basis": {"type": "bernstein", "size": 6},
        "radial_hidden": 8,
        "spherical_hidden": 4,
        "parity": True,
        "layer_norm": False,
        "coordinate_norm": False,
        "layer_norm_epsilon": 1e-6,
        "nonlocal": nonlocal_options,
        "energy_head": {"hidden": 8, "activation": "silu"},
    }
    file = new_model(hyper, ["H", "C", "O"], 0, "so3krates-2022", dtype=np.float64)
    model = make_model(file, None)
    structures = [samples()[0], samples()[2]]
    prediction = predict(model, structures, create_graph=True)
    reference = ReferenceModel.from_model_file(file)
    for part, sample in zip(np.split(prediction.forces.detach().numpy(), [9]), structures, strict=True):
        alone = reference.evaluate(sample.structure.numbers, sample.structure.positions)
        np.testing.assert_allclose(part, alone["forces"], atol=1e-10)
    gradients = loss_gradients(model, prediction)
    assert torch.isfinite(gradients["layers.0.self_mix.coefficients"]).all()
    assert gradients["layers.0.self_mix.coefficients"].abs().max() > 0


def test_the_written_derivatives_of_silu_are_its_own() -> None:
    torch.manual_seed(0)
    x = torch.randn(4, 6).double().requires_grad_()
    assert torch.autograd.gradcheck(silu, (x,))
    assert torch.autograd.gradgradcheck(silu, (x,))


def test_a_step_leaves_no_memory_behind() -> None:
    model = make_model(make_toy_model(3, dtype=np.float64), None)
    kinds = NetworkSteps, native_steps.NativeSteps
    gc.collect()
    before = sum(type(item) in kinds for item in gc.get_objects())
    for _ in range(2):
        loss_gradients(model, predict(model, samples()[:1], create_graph=True))
    predict(model, samples()[:1])
    assert sum(type(item) in kinds for item in gc.get_objects()) == before
