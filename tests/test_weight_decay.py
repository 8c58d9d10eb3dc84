"""Which tensors weight decay acts on, and checkpoints of versions that took others."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="training needs PyTorch (extra 'torch')")

from test_low_rank import ARCHITECTURES, start, trainer_of  # noqa: E402
from toy_models import make_toy_model  # noqa: E402
from training_tools import write_molecules  # noqa: E402

from so3md.run_directory import CheckpointError  # noqa: E402
from so3md.training.checkpoint import TrainingCheckpoint  # noqa: E402
from so3md.training.model import make_model  # noqa: E402
from so3md.training.run import CHECKPOINT, PREVIOUS, Run  # noqa: E402

#: Tensors without matrices, by ends and beginnings of their names (docs/model_file.md): biases, norms, and tables with
#: a row for each element, sign of the charge, or degree.
ENDS = (".bias", "_bias", ".scale", ".shift", ".element", ".query", ".key", ".value", ".coefficients")
BEGINNINGS = ("zbl.", "dispersion.", "nlh.")


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_decay_acts_on_matrices_alone(architecture: str) -> None:
    """Filters and heads of the attention too, which lie in stacks; no table of the elements, no bias, no norm."""
    file = make_toy_model(dtype=np.float64, **ARCHITECTURES[architecture])
    trainer = trainer_of(make_model(file, None), None)
    trainer.optimiser.adam.param_groups[0]["weight_decay"] = 10.0
    before = {name: value.copy() for name, value in trainer.model.tensors().items()}
    trainer.parameters.zero_gradient()
    trainer.optimiser.step()
    after = trainer.model.tensors()
    factor = 1 - 10.0 * trainer.config.training.learning_rate
    decayed = {name for name, value in after.items() if not np.array_equal(value, before[name])}
    for name in decayed:
        np.testing.assert_allclose(after[name], factor * before[name], rtol=1e-12, err_msg=name)
    expected = {
        name
        for name, value in before.items()
        if value.ndim > 1 and not name.endswith(ENDS) and not name.startswith(BEGINNINGS)
    }
    assert decayed == expected
    assert any("radial1.weight" in name or "query" in name for name in decayed)


def test_a_checkpoint_of_an_earlier_version_is_refused(tmp_path: Path) -> None:
    """Its vectors had the same length and another order."""
    write_molecules(tmp_path / "molecules.xyz")
    run = start(tmp_path, rank=None)
    run.train(should_stop=lambda: True)
    for name in (CHECKPOINT, PREVIOUS):
        if (file := tmp_path / "run" / name).exists():
            whole = TrainingCheckpoint.read(file, torch.device("cpu"))
            old = {key: value for key, value in whole.state.items() if key != "decayed_size"}
            replace(whole, state=old).write(file)
    with pytest.raises(CheckpointError, match="of an earlier version of so3md, which kept the parameters in another"):
        Run.resume(tmp_path / "run")
