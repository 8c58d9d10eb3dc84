"""The script for a machine with a GPU keeps what it has reached; what the compiler says of kernels is read right."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from argparse import Namespace
from pathlib import Path
from types import ModuleType

import pytest

from so3md._engine import count_devices

ROOT = Path(__file__).parents[1]
SCRIPTS = ROOT / "scripts"


@pytest.fixture
def on_gpu(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(SCRIPTS))
    import on_gpu

    return on_gpu


@pytest.fixture
def kernel_resources(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(SCRIPTS))
    import kernel_resources

    return kernel_resources


def start(on_gpu: ModuleType, folder: Path) -> object:
    return on_gpu.Run(Namespace(device="cuda-emulation", output=folder, seconds=60.0, parts=["look"]))


def test_what_was_reached_is_kept_and_said(tmp_path: Path) -> None:
    try:
        count_devices("cuda-emulation")
    except RuntimeError as error:
        pytest.skip(str(error))
    command = [
        str(SCRIPTS / "on_gpu"),
        "--device",
        "cuda-emulation",
        "--parts",
        "look",
        "parity",
        "--output",
        str(tmp_path),
    ]
    run = subprocess.run(command, capture_output=True, text=True, timeout=300, env=None)
    assert run.returncode == 0, run.stdout + run.stderr + (tmp_path / "on_gpu.log").read_text()
    record = json.loads((tmp_path / "gpu.json").read_text())
    assert record["on_gpu"]["parts"]["parity"]["outcome"] == "done"
    assert record["on_gpu"]["python"] == sys.version.split()[0]
    assert record["parity"]["double"]["ok"]
    assert "2 parts done, 0 not" in run.stdout


def test_a_part_without_time_is_left_out_and_the_run_fails(tmp_path: Path) -> None:
    command = [
        sys.executable,
        str(SCRIPTS / "on_gpu.py"),
        "--seconds",
        "0",
        "--parts",
        "parity",
        "--output",
        str(tmp_path),
    ]
    run = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert run.returncode == 1
    parts = json.loads((tmp_path / "gpu.json").read_text())["on_gpu"]["parts"]
    assert parts["parity"]["outcome"] == "left out: no time was left"


def test_a_program_that_takes_too_long_ends_with_all_that_it_has_started(on_gpu: ModuleType, tmp_path: Path) -> None:
    run = start(on_gpu, tmp_path)
    alive = tmp_path / "alive"
    script = f"while true; do date +%s%N > {alive}; sleep 0.05; done & wait"
    assert run.start(["sh", "-c", script], 1.5) == "stopped after 2 s"
    last = alive.read_text()
    time.sleep(0.5)
    assert alive.read_text() == last


def test_a_program_that_fails_is_quoted(on_gpu: ModuleType, tmp_path: Path) -> None:
    run = start(on_gpu, tmp_path)
    outcome = run.start(["sh", "-c", "echo what is wrong; exit 3"], 20.0)
    assert outcome == "failed (exit code 3): what is wrong"


def test_results_of_other_parts_stay(on_gpu: ModuleType, tmp_path: Path) -> None:
    (tmp_path / "gpu.json").write_text('{"speed": [1]}')
    run = start(on_gpu, tmp_path)
    run.note("look", "done", 1.0)
    record = json.loads((tmp_path / "gpu.json").read_text())
    assert record["speed"] == [1]
    assert record["on_gpu"]["parts"] == {"look": {"outcome": "done", "seconds": 1.0}}


REPORT = """\
ptxas info    : 0 bytes gmem
ptxas info    : Compiling entry function '_Z3oneIdEvT_' for 'sm_90'
ptxas info    : Function properties for _Z3oneIdEvT_
    160 bytes stack frame, 180 bytes spill stores, 440 bytes spill loads
ptxas info    : Used 255 registers, used 1 barriers, 160 bytes cumulative stack size, 6656 bytes smem
ptxas info    : Compile time = 1557.336 ms
ptxas info    : Function properties for _Z6helperv
    8 bytes stack frame, 9 bytes spill stores, 10 bytes spill loads
ptxas info    : Compiling entry function '_Z3twov' for 'sm_90'
ptxas info    : Function properties for _Z3twov
    0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads
ptxas info    : Used 8 registers, used 0 barriers
"""


def test_registers_and_spills_are_those_of_the_kernel(kernel_resources: ModuleType) -> None:
    assert kernel_resources.parse_report(REPORT) == [
        {
            "symbol": "_Z3oneIdEvT_",
            "stack": 160,
            "spill_stores": 180,
            "spill_loads": 440,
            "registers": 255,
            "shared": 6656,
        },
        {"symbol": "_Z3twov", "stack": 0, "spill_stores": 0, "spill_loads": 0, "registers": 8, "shared": 0},
    ]


def test_the_page_has_the_committed_numbers(kernel_resources: ModuleType) -> None:
    page = kernel_resources.PAGE.read_text(encoding="utf-8")
    record = json.loads(kernel_resources.RESULTS.read_text(encoding="utf-8"))
    assert kernel_resources.replace_section(page, kernel_resources.section(record)) == page
