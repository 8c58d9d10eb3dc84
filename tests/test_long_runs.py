"""What benchmarks/long_runs.py and scripts/fuzz say of a run is so: a leak, a lost row and a finding are seen."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture(autouse=True)
def importable(monkeypatch: pytest.MonkeyPatch) -> None:
    for folder in ("benchmarks", "tests/fuzz"):
        monkeypatch.syspath_prepend(str(ROOT / folder))


def memory(leak: float) -> list[tuple[int, int]]:
    """A sample each hundred steps: 100 MB that fluctuate, and kB for each thousand steps."""
    noise = np.random.default_rng(1).normal(0, 50, 1000)
    return [(100 * k, round(100_000 + leak * k / 10 + noise[k])) for k in range(1000)]


def test_a_leak_is_seen() -> None:
    from long_runs import growth_of_memory

    tight, leaking = (growth_of_memory(memory(leak), 100_000) for leak in (0.0, 10.0))
    assert abs(tight["kb_per_1000_steps"]) < 5 * tight["standard_error"]
    assert leaking["kb_per_1000_steps"] == pytest.approx(10.0, abs=5 * leaking["standard_error"])
    assert leaking["standard_error"] < 0.5


def test_the_last_whole_row_counts(tmp_path: Path) -> None:
    from long_run_processes import last_step

    log = tmp_path / "log"
    assert last_step(log) == -1
    log.write_text("step,temperature_K\n0,300\n10,301\n20,3")
    assert last_step(log) == 10
    log.write_text("   Step   Temp\n    0   300.0\n   10   -1.5e-3\n   2")
    assert last_step(log) == 10


def test_a_process_is_killed_and_a_failure_is_told(tmp_path: Path) -> None:
    from long_run_processes import watch

    log = tmp_path / "log.csv"
    program = (
        "import time\n"
        "with open('log.csv', 'a', buffering=1) as log:\n"
        "    for step in range(9999):\n"
        "        log.write(f'{step},1\\n')\n"
        "        time.sleep(0.01)\n"
    )
    seen = watch([sys.executable, "-c", program], tmp_path, log, environment={}, kill_at=20)
    assert seen.killed
    assert all(kb > 1000 for _, kb in seen.memory[:-1])
    with pytest.raises(RuntimeError, match="ended with status 3"):
        watch([sys.executable, "-c", "raise SystemExit(3)"], tmp_path, log, environment={})


def thermo(*steps: int, potential: float = -1.0) -> str:
    return "".join(f"   {step}   0.0   300.0   {potential}   1   1   1   1   1   1\n" for step in steps)


def test_rows_of_parts_are_joined_and_compared_where_they_meet(tmp_path: Path) -> None:
    from long_run_hosts import _joined_rows

    (tmp_path / "run1.log").write_text(thermo(0, 10, 20, 30))
    (tmp_path / "run2.log").write_text(thermo(20, 30, 40))
    rows, agreement = _joined_rows(tmp_path)
    assert [row[0] for row in rows] == [0, 10, 20, 30, 40]
    assert agreement
    (tmp_path / "run2.log").write_text(thermo(20, 30, 40, potential=-1.1))
    assert not _joined_rows(tmp_path)[1]
    (tmp_path / "run2.log").write_text(thermo(50, 60))
    rows, agreement = _joined_rows(tmp_path)
    assert [row[0] for row in rows] == [0, 10, 20, 30, 50, 60]  # which long_runs.py compares with what must be there
    assert not agreement


def test_kills_come_at_the_same_steps_each_time() -> None:
    from long_runs import moments

    host = SimpleNamespace(steps=1000, checkpoint=100)
    kills = moments(host, 5, seed=1)
    assert kills == moments(host, 5, seed=1) != moments(host, 5, seed=2)
    assert [step for step, _ in kills] == sorted(step for step, _ in kills)
    assert all(50 <= step < 950 for step, _ in kills)


def test_cases_that_are_not_run_again_are_kept(tmp_path: Path) -> None:
    from long_runs import kept

    output = tmp_path / "long_runs.json"
    assert kept(output, ["one"], quick=False) == []
    output.write_text('{"quick": false, "cases": [{"case": "one"}, {"case": "other"}]}')
    assert kept(output, ["one"], quick=False) == [{"case": "other"}]
    assert kept(output, ["one", "other"], quick=False) == []
    assert kept(output, ["one"], quick=True) == []


LOG = """#2\tINITED cov: 20 ft: 30 corp: 1/1b exec/s: 0 rss: 40Mb
#400\tNEW    cov: 90 ft: 95 corp: 7/70b lim: 512 exec/s: 9 rss: 40Mb L: 3/330 MS: 1 Custom-
#800\tREDUCE cov: 99 ft: 120 corp: 9/90b lim: 512 exec/s: 9 rss: 40Mb L: 3/330 MS: 1 Custom-
"""


def test_the_record_of_a_fuzzer_has_its_findings() -> None:
    from record import campaign

    done = campaign(
        LOG + "#1000\tDONE   cov: 100 ft: 123 corp: 9/90b lim: 512 exec/s: 9 rss: 47Mb\nDone 1000 runs in 7 second(s)\n"
    )
    assert done["inputs"] == 1000
    assert done["seconds"] == 7
    assert (done["edges"], done["features"], done["kept_inputs"]) == (100, 123, 9)
    assert done["at_half"] == {"edges": 90, "features": 95}
    assert done["findings"] == []
    assert campaign(LOG + "SUMMARY: AddressSanitizer: heap-buffer-overflow\n")["findings"] == [
        "AddressSanitizer: heap-buffer-overflow"
    ]
    assert campaign("Done 300 runs in 12 second(s): {'refused': 200}, seed 1\n") == {
        "inputs": 300,
        "seconds": 12,
        "findings": [],
    }
