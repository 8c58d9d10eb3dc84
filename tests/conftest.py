"""Fixtures that several test modules share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from reference_data import SYSTEMS, ReferenceSystem, load_system
from toy_models import write_toy_model

from so3md.loading import model_path


@pytest.fixture(scope="session")
def so3lr_path() -> Path:
    """The model file of SO3LR that ships with the package."""
    return model_path("so3lr")


@pytest.fixture(params=SYSTEMS)
def reference_system(request: pytest.FixtureRequest) -> ReferenceSystem:
    """Every structure of the reference data but the large ones, one after the other."""
    return load_system(request.param)


@pytest.fixture
def toy_model(tmp_path: Path) -> Callable[..., Path]:
    """A function that writes a small model with random weights, see `toy_models`, and returns its path."""
    counter = iter(range(1000))

    def make(seed: int = 0, **overrides: Any) -> Path:
        return write_toy_model(tmp_path / f"toy{next(counter)}.safetensors", seed, **overrides)

    return make


def _why_unusable(device: str) -> str | None:
    """Why a device cannot be used here; None if it can."""
    from so3md._engine import count_devices

    try:
        count_devices(device)
    except RuntimeError as error:
        return str(error)
    return None


@pytest.fixture(scope="session", params=["cuda-emulation", "cuda"])
def device(request: pytest.FixtureRequest) -> str:
    """A device other than the CPU: GPUs where there are any, and their kernels run by the processor everywhere."""
    reason = _why_unusable(request.param)
    if reason is not None:
        pytest.skip(f"no test on the device {request.param}: {reason}")
    return request.param
