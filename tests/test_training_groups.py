"""Structures of a batch are divided into groups that threads share: results do not depend on the number of threads."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="training needs PyTorch (extra 'torch')")

from test_training_model import loss_gradients  # noqa: E402
from toy_models import ETHANOL_LIKE, make_toy_model  # noqa: E402

from so3md import _engine  # noqa: E402
from so3md.reference import Structure  # noqa: E402
from so3md.training import native_steps  # noqa: E402
from so3md.training.batches import join  # noqa: E402
from so3md.training.model import FastSo3krates  # noqa: E402
from so3md.training.run import make_model_items  # noqa: E402
from so3md.training.sample import Sample  # noqa: E402

NUMBERS = [6, 6, 8, 1, 1, 1, 1, 1, 1]


def molecules(count: int) -> list[Sample]:
    """Molecules, some of which have lost an atom, and one atom alone."""
    rng = np.random.default_rng(2)
    result = [Sample(Structure([8], np.zeros((1, 3))))]
    for number in range(count):
        kept = slice(number % 3, None)
        positions = ETHANOL_LIKE[kept] + 0.1 * rng.standard_normal(ETHANOL_LIKE[kept].shape)
        result.append(Sample(Structure(NUMBERS[kept], positions)))
    return result


def step(samples: list[Sample], dtype: torch.dtype, threads: int = 1) -> dict[str, torch.Tensor]:
    """Energies, forces and the gradients of a loss of a batch."""
    model = FastSo3krates(make_toy_model(3, dtype=np.float64), None).to(dtype)
    model.native.threads = threads  # those of PyTorch stay as they are
    batch = join(make_model_items(model, samples), model.hyper, torch.device("cpu"), dtype)
    prediction = model.predict(batch, create_graph=True)
    own = {"energy": prediction.energy.detach(), "forces": prediction.forces.detach()}
    return own | loss_gradients(model, prediction)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_threads_change_no_bit(dtype: torch.dtype) -> None:
    results = [step(molecules(12), dtype, threads) for threads in (1, 2, 3)]
    for other in results[1:]:
        for name, value in results[0].items():
            assert torch.equal(value, other[name]), name


def test_groups_give_what_operations_of_pytorch_give(monkeypatch: pytest.MonkeyPatch) -> None:
    own = step(molecules(12), torch.float64)
    monkeypatch.setattr(native_steps, "enabled", False)
    for name, value in step(molecules(12), torch.float64).items():
        scale = max(1.0, value.abs().max().item())
        np.testing.assert_allclose(own[name], value, rtol=0, atol=1e-10 * scale, err_msg=name)


@pytest.mark.parametrize(
    ("atoms", "pairs", "expected"),
    [
        ([9] * 10, [36] * 10, [0, 2, 5, 7, 10]),  # four groups, none of fewer than 64 pairs
        ([9], [36], [0, 1]),
        ([192, 192], [6000, 6000], [0, 1, 2]),
        ([1, 192, 1], [0, 6000, 0], [0, 1, 3]),
        ([1, 1], [0, 0], [0, 2]),
    ],
)
def test_groups_are_balanced(atoms: list[int], pairs: list[int], expected: list[int]) -> None:
    assert _engine.training_groups(atoms, pairs) == expected


def test_there_are_at_most_sixteen_groups() -> None:
    starts = _engine.training_groups([50] * 100, [900] * 100)
    assert len(starts) == 17
    assert starts[0] == 0
    assert starts[-1] == 100
    assert set(np.diff(starts)) <= {6, 7}


def test_pairs_must_come_in_the_order_of_their_structures() -> None:
    model = FastSo3krates(make_toy_model(3, dtype=np.float64), None).double()
    batch = join(make_model_items(model, molecules(2)), model.hyper, torch.device("cpu"), torch.float64)
    batch.pairs.first = batch.pairs.first.flip(0)
    batch.pairs.second = batch.pairs.second.flip(0)
    with pytest.raises(ValueError, match="pairs of a batch are not in the order"):
        model.predict(batch)


def test_two_batches_may_be_under_way_together() -> None:
    """A batch keeps its own memory until its last sweep, whatever is evaluated in between."""
    model = FastSo3krates(make_toy_model(3, dtype=np.float64), None).double()

    def gradient(in_between: bool) -> torch.Tensor:
        batch = join(make_model_items(model, molecules(3)), model.hyper, torch.device("cpu"), torch.float64)
        prediction = model.predict(batch, create_graph=True)
        if in_between:
            model.predict(join(make_model_items(model, molecules(5)), model.hyper, torch.device("cpu"), torch.float64))
        weight = next(layer.query_key_value for layer in model.layers)
        return torch.autograd.grad((prediction.forces**2).sum(), weight)[0]

    assert torch.equal(gradient(True), gradient(False))
