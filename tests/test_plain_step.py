"""The training step that is differentiated by hand, against the derivatives of PyTorch."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="training needs PyTorch (extra 'torch')")

from ase.build import molecule  # noqa: E402
from training_tools import TINY_MODEL  # noqa: E402

from so3md import _engine  # noqa: E402
from so3md.reference.graph import Structure  # noqa: E402
from so3md.reference.initial import new_model  # noqa: E402
from so3md.structures import read_structure  # noqa: E402
from so3md.training import native_steps  # noqa: E402
from so3md.training.config import Config, DataConfig, LossConfig, TrainingConfig  # noqa: E402
from so3md.training.hyperparameters import complete  # noqa: E402
from so3md.training.loss import Errors, compute, predict  # noqa: E402
from so3md.training.model import make_model  # noqa: E402
from so3md.training.run import make_model_items  # noqa: E402
from so3md.training.sample import Sample  # noqa: E402
from so3md.training.trainer import Trainer  # noqa: E402

NAMES = ("CH3CH2OH", "H2O", "CH4", "H2CO")
MODELS: dict[str, dict[str, Any]] = {
    "default": {},
    "no hidden layer in the head": {"energy_head": {"hidden": 0, "activation": "silu"}},
    "tanh in the head": {"energy_head": {"hidden": 8, "activation": "tanh"}},
    "one layer": {"num_layers": 1},
    "bessel": {"radial_basis": {"type": "bessel", "size": 8}},
}
LOSSES = {
    "default": LossConfig(),
    "forces alone": LossConfig(energy=0.0),
    "energies of structures": LossConfig(energy=3.0, forces=0.5, energy_per="structure"),
}


def samples(missing: bool = False) -> list[Sample]:
    """Molecules with made-up reference values; some of them missing if wanted."""
    rng = np.random.default_rng(3)
    result = []
    for number, name in enumerate(NAMES):
        atoms = molecule(name)
        forces = rng.standard_normal((len(atoms), 3))
        positions = atoms.positions + 0.05 * rng.standard_normal(forces.shape)
        if missing and number == 1:
            forces[1] = np.nan
        energy = None if missing and number == 2 else float(rng.standard_normal())
        result.append(Sample(Structure(atoms.numbers, positions), energy=energy, forces=forces))
    return result


def water() -> list[Sample]:
    """A periodic structure and an atom alone."""
    rng = np.random.default_rng(4)
    atoms = read_structure("water")[:60]
    atoms.set_cell([9.0, 8.0, 7.5])
    forces = rng.standard_normal((60, 3))
    alone = Sample(Structure([8], np.zeros((1, 3))), energy=0.3, forces=np.zeros((1, 3)))
    return [
        Sample(Structure(atoms.numbers, atoms.positions, atoms.cell.array, [True] * 3), energy=0.2, forces=forces),
        alone,
    ]


def trainer(
    given: list[Sample],
    model: dict[str, Any] | None = None,
    loss: LossConfig | None = None,
    dtype: Any = torch.float64,
    **training: Any,
) -> Trainer:
    architecture, hyper = complete(TINY_MODEL | (model or {}), given)
    network = make_model(new_model(hyper, [1, 6, 8], 0, architecture, dtype=np.float64)).to(dtype)
    config = Config(DataConfig("none"), loss=loss or LossConfig(), training=TrainingConfig(**training))
    items = make_model_items(network, given)
    return Trainer(network, items, items, config)


def gradient_and_sums(of: Trainer) -> tuple[Any, Any]:
    sums = of.differentiate(of.join(of.first_items()))
    return of.parameters.gradient.clone(), sums


def of_pytorch(of: Trainer, monkeypatch: pytest.MonkeyPatch) -> tuple[Any, Any]:
    """The same in operations of PyTorch, differentiated by it, without the kernels of the engine."""
    assert of._is_plain
    with monkeypatch.context() as patch:
        patch.setattr(of, "_is_plain", False)
        patch.setattr(native_steps, "enabled", False)
        return gradient_and_sums(of)


def check(of: Trainer, monkeypatch: pytest.MonkeyPatch) -> None:
    (found, sums), (expected, expected_sums) = gradient_and_sums(of), of_pytorch(of, monkeypatch)
    assert expected.abs().max() > 0
    # Products of the same numbers, in another order: rounding of the largest, with room for the depth of the network.
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-10 * max(1.0, float(expected.abs().max())))
    np.testing.assert_allclose(sums, expected_sums, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("model", MODELS.values(), ids=MODELS.keys())
def test_gradients_are_those_of_pytorch(model: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    check(trainer(samples(), model), monkeypatch)


def test_periodic_structures_and_single_atoms(monkeypatch: pytest.MonkeyPatch) -> None:
    check(trainer([*water(), *samples()]), monkeypatch)


def test_single_precision(monkeypatch: pytest.MonkeyPatch) -> None:
    of = trainer(samples(), dtype=torch.float32)
    (found, _), (exact, _) = gradient_and_sums(of), of_pytorch(trainer(samples()), monkeypatch)
    assert found.dtype == torch.float32
    # Both have the same parameters but for the last bit; sums over pairs, features and layers have some 1000 terms.
    bound = 1000 * float(np.finfo(np.float32).eps) * float(exact.abs().max())
    np.testing.assert_allclose(found, exact, rtol=0, atol=bound)
    assert bound < 1e-3 * float(exact.abs().max())


@pytest.mark.parametrize("loss", LOSSES.values(), ids=LOSSES.keys())
def test_losses_and_missing_values(loss: LossConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    check(trainer(samples(missing=True), loss=loss), monkeypatch)


def test_a_prediction_that_is_no_number_is_not_taken_for_a_missing_value() -> None:
    of = trainer(samples(missing=True))
    batch = of.join(of.first_items())
    prediction = predict(of.model, batch, of.config.loss, False)
    assert torch.isfinite(compute(prediction, batch, of.config.loss)[0])
    for name in ("energy", "forces"):
        changed = dataclasses.replace(prediction, **{name: torch.full_like(getattr(prediction, name), float("nan"))})
        loss, sums = compute(changed, batch, of.config.loss)
        assert torch.isnan(loss)
        assert not math.isfinite(Errors(sums.tolist()).loss(of.config.loss))


@pytest.mark.parametrize("frozen", ["embedding", "energy", "layers.0", "layers"])
def test_frozen_parameters_have_no_gradient(frozen: str, monkeypatch: pytest.MonkeyPatch) -> None:
    check(trainer(samples(), freeze=(frozen,)), monkeypatch)


def test_threads_change_no_bit() -> None:
    of = trainer(6 * samples(), batch_size=24)
    batch = of.join(of.first_items())
    sizes = batch.counts.tolist()
    pairs = np.bincount(batch.structure[batch.pairs.first], minlength=len(sizes)).tolist()
    assert len(_engine.training_groups(sizes, pairs)) > 4  # there is something to share
    results = []
    for threads in (1, 2, 3):
        of.model.use_threads(threads)
        assert of.model.threads == threads
        results.append(gradient_and_sums(of)[0])
    assert torch.equal(results[0], results[1])
    assert torch.equal(results[0], results[2])


def test_gradients_are_finite_differences_of_the_loss() -> None:
    of = trainer(samples(), loss=LossConfig(energy_per="structure"))
    batch = of.join(of.first_items())
    gradient, _ = gradient_and_sums(of)
    direction = gradient / gradient.norm()
    values, step = of.parameters.values.clone(), 1e-5
    losses = []
    for sign in (1, -1):
        with of.using(values + sign * step * direction), torch.no_grad():
            losses.append(float(compute(predict(of.model, batch, of.config.loss, False), batch, of.config.loss)[0]))
    assert (losses[0] - losses[1]) / (2 * step) == pytest.approx(float(gradient.norm()), rel=1e-6)


def test_a_model_that_was_moved_is_refused() -> None:
    for change in (lambda model: model.float(), lambda model: model.to("meta")):
        of = trainer(samples())
        gradient_and_sums(of)
        batch = of.join(of.first_items())
        change(of.model)
        with pytest.raises(ValueError, match="must not be moved or converted during a training"):
            of.differentiate(batch)


def test_a_model_stays_an_ordinary_module() -> None:
    of = trainer(samples())
    batch = of.join(of.first_items())
    gradient_and_sums(of)
    gradients = torch.autograd.grad(
        compute(predict(of.model, batch, of.config.loss, True), batch, of.config.loss)[0],
        [parameter for parameter in of.model.parameters() if parameter.requires_grad],
    )
    assert sum(float(one.norm() ** 2) for one in gradients) == pytest.approx(float(of.parameters.gradient.norm() ** 2))
    other = trainer(samples(), low_rank=2)  # and one that was in a training may go into another
    of_low_rank = Trainer(of.model, other._train, other._train, other.config)
    assert float(of_low_rank.differentiate(batch).sum()) > 0
    assert float(of_low_rank.parameters.gradient.norm()) > 0


def test_other_models_and_losses_are_left_to_pytorch(monkeypatch: pytest.MonkeyPatch) -> None:
    assert trainer(samples())._is_plain
    assert not trainer(samples(), loss=LossConfig(forces=0.0))._is_plain
    assert not trainer(samples(), loss=LossConfig(stress=1.0))._is_plain
    assert not trainer(samples(), {"radial_basis": {"type": "gaussian", "size": 8}})._is_plain
    assert not trainer(samples(), {"charge_embedding": True})._is_plain
    assert not trainer(samples(), {"zbl": {"switch_on": 0.0, "switch_off": 1.0}})._is_plain
    assert not trainer(samples(), low_rank=2)._is_plain
    monkeypatch.setattr(native_steps, "enabled", False)
    assert not trainer(samples())._is_plain
