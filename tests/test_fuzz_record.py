"""Records of scripts/fuzz: two runs from the same source are added up, others are not."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

PROGRAM = Path(__file__).parent / "fuzz" / "record.py"


def write(path: Path, commit: str, **campaigns: Any) -> Path:
    inputs = sum(one["inputs"] for one in campaigns.values())
    path.write_text(json.dumps({"machine": {"commit": commit}, "seed": 1, "inputs": inputs, "campaigns": campaigns}))
    return path


def run(*arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, PROGRAM, *map(str, arguments)], capture_output=True, text=True)


def test_a_later_run_is_added(tmp_path: Path) -> None:
    first = write(
        tmp_path / "first.json",
        "abc",
        tables={"inputs": 5, "seconds": 2, "edges": 7, "findings": []},
        models={"inputs": 10, "seconds": 3, "edges": 20, "findings": ["timeout"]},
    )
    later = write(tmp_path / "later.json", "abc", models={"inputs": 4, "seconds": 1, "edges": 21, "findings": ["leak"]})
    assert run("add", first, later).returncode == 0
    record = json.loads(first.read_text())
    assert record["inputs"] == 19
    assert record["campaigns"]["tables"]["inputs"] == 5
    assert record["campaigns"]["models"] == {"inputs": 14, "seconds": 4, "edges": 21, "findings": ["timeout", "leak"]}


def test_a_run_from_another_source_is_not(tmp_path: Path) -> None:
    own = {"inputs": 5, "seconds": 2, "findings": []}
    first, later = (write(tmp_path / f"{commit}.json", commit, tables=own) for commit in ("abc", "def"))
    before = first.read_text()
    result = run("add", first, later)
    assert result.returncode == 1
    assert "expected two runs from the same source" in result.stderr
    assert first.read_text() == before
