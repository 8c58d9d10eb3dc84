"""The engine against numbers of the original code: the architecture of the paper, and the options of 2023."""

from __future__ import annotations

from pathlib import Path

import pytest
from paper_models import (
    NAMES,
    assert_parity,
    assert_parity_of_instruction_set,
    assert_parity_of_layers,
    assert_parity_of_mixed,
)

from so3md._engine import instruction_sets


@pytest.mark.parametrize("name", NAMES)
def test_energy_and_forces(name: str, tmp_path: Path) -> None:
    assert_parity(tmp_path, name)


@pytest.mark.parametrize("name", NAMES)
def test_features_of_every_layer(name: str, tmp_path: Path) -> None:
    assert_parity_of_layers(tmp_path, name)


@pytest.mark.parametrize("name", NAMES)
def test_mixed(name: str, tmp_path: Path) -> None:
    assert_parity_of_mixed(tmp_path, name)


@pytest.mark.parametrize("name", ["dyn_C9H4", "sphcnorm_ln_res_C9H4"])
@pytest.mark.parametrize("instruction_set", instruction_sets())
@pytest.mark.parametrize("precision", ["double", "mixed"])
def test_every_instruction_set(
    instruction_set: str, precision: str, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SO3MD_INSTRUCTION_SET", instruction_set)
    assert_parity_of_instruction_set(tmp_path, name, instruction_set, precision)
