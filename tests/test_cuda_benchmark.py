"""The benchmark for GPUs runs from end to end, on the emulation of one and a molecule."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from so3md._engine import count_devices

BENCHMARK = Path(__file__).parents[1] / "benchmarks" / "gpu.py"
ETHANOL = "9"


def test_the_benchmark_of_gpus_measures_all_that_is_asked_for(tmp_path: Path) -> None:
    try:
        count_devices("cuda-emulation")
    except RuntimeError as error:
        pytest.skip(str(error))
    file = tmp_path / "gpu.json"
    options = ["--device", "cuda-emulation", "--sizes", ETHANOL, "--seconds", "0", "--parity-atoms", ETHANOL]
    command = [sys.executable, str(BENCHMARK), *options, "--json", str(file)]
    run = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert run.returncode == 0, run.stdout + run.stderr
    record = json.loads(file.read_text())
    assert record["hardware"] == "emulation on the host"
    for precision in ("double", "mixed"):
        assert record["parity"][precision]["ok"]
        assert record["parity"][precision]["two_runs_give_the_same_bits"]
    (speed,) = record["speed"]
    assert "error" not in speed
    assert speed["us_per_atom_and_step"] > speed["floor_us_per_atom_of_operations"] > 0
    assert speed["bytes_per_atom"] > 0
    assert {"edges", "long range", "sums"} <= speed["stage_shares"].keys()
    assert speed["device_work"]["waits"] == 1
    assert speed["device_work"]["kernels"] > 10
    assert speed["device_work"]["replay"]
    assert speed["ms_per_step_without_graphs"] > 0
    assert "skipped" in record["sanitizer"]
