"""The example that learns from uncertain structures: errors and the share of uncertain steps fall."""

from __future__ import annotations

import csv
import subprocess
import sys
from pathlib import Path

import pytest
from sanitizers import patience

pytest.importorskip("torch", reason="training needs PyTorch (extra 'torch')")
pytest.importorskip("matplotlib", reason="the plot needs matplotlib (extra 'plot')")

EXAMPLE = Path(__file__).parent.parent / "examples" / "learning" / "learn_from_uncertainty.py"
#: A smaller molecule, and fewer epochs and steps, than the example has on its own.
SHORT = ["--molecule", "H2O", "--epochs", "60", "--steps", "400", "--add", "20", "--threshold", "0.3"]


def test_rounds_make_a_better_model(tmp_path: Path) -> None:
    command = [sys.executable, EXAMPLE, *SHORT, "--directory", "learning"]
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=patience(600))
    assert result.returncode == 0, result.stderr
    with (tmp_path / "learning/rounds.csv").open() as file:
        rows = [{name: float(value) for name, value in row.items()} for row in csv.DictReader(file)]
    assert rows[0]["structures"] == 20
    assert rows[-1]["structures"] > 20
    assert len(rows) > 1
    # Far beyond what another seed changes: the first model knows 300 K, the last 500 K.
    assert rows[-1]["force_mae_eV_per_A"] < 0.7 * rows[0]["force_mae_eV_per_A"]
    assert rows[-1]["uncertain_share"] < rows[0]["uncertain_share"]
    assert (tmp_path / "learning/rounds.png").stat().st_size > 0
