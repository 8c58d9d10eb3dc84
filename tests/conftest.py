"""Fixtures that several test modules share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import sanitizers
from reference_data import SYSTEMS, ReferenceSystem, load_system
from toy_models import write_toy_model

from so3md.loading import model_path

#: The numerical part of the tests, which .ci/run repeats under every instruction set of the machine: modules in which
#: kernels meet reference data, other precisions, other divisions of the work, and derivatives.
NUMERICAL = (
    "test_dispersion_tail.py",
    "test_elementary_functions.py",
    "test_embedding.py",
    "test_engine.py",
    "test_engine_local2023.py",
    "test_engine_paper2022.py",
    "test_engine_parity.py",
    "test_engine_so3lr2.py",
    "test_engine_paper2022_parallel.py",
    "test_engine_symmetry.py",
    "test_engine_variants.py",
    "test_ewald.py",
    "test_ewald_mesh.py",
    "test_forces_after_energy.py",
    "test_heat_flux.py",
    "test_last_layer.py",
    "test_local_domain.py",
    "test_pair_physics.py",
    "test_polarization_current.py",
    "test_small_systems.py",
    "test_tables.py",
    "test_tolerances.py",
    "test_training_geometry.py",
    "test_training_groups.py",
    "test_training_model.py",
)


def pytest_configure(config: pytest.Config) -> None:
    """Markers."""
    config.addinivalue_line("markers", "numerical: compares numbers that kernels of every instruction set must give")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the numerical part, and leave out what sanitizers cannot run."""
    for item in items:
        if item.path.name in NUMERICAL:
            item.add_marker(pytest.mark.numerical)
    sanitizers.leave_out(items)


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
