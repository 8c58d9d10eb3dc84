"""What a run of scripts/fuzz did, as JSON, from the logs of libFuzzer. Called by scripts/fuzz.

python tests/fuzz/record.py begin FOLDER SEED       machine and source, before the first input
python tests/fuzz/record.py end FOLDER FILE         inputs, time, coverage and findings of every campaign
python tests/fuzz/record.py add FILE OTHER          to FILE, what a later run from the same source did
"""

from __future__ import annotations

import json
import re
import sys
from datetime import date
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "benchmarks"))

from machine import describe_machine  # noqa: E402

#: In the order in which they run.
CAMPAIGNS = ("tables", "documents", "models", "converter")

_PROGRESS = re.compile(r"^#(\d+)\s+\S+\s+cov: (\d+) ft: (\d+) corp: (\d+)/", re.MULTILINE)
_DONE = re.compile(r"^Done (\d+) runs in (\d+) second", re.MULTILINE)
_FINDING = re.compile(r"^SUMMARY: (.*)$", re.MULTILINE)


def campaign(log: str) -> dict[str, Any]:
    """What the log of one campaign says; `at_half` is what a run of half as many inputs would have reached."""
    progress = [[int(number) for number in match.groups()] for match in _PROGRESS.finditer(log)]
    done = _DONE.search(log)
    seconds = int(done[2]) if done else None
    if not progress:  # the converter's program knows no coverage
        return {"inputs": int(done[1]) if done else 0, "seconds": seconds, "findings": _FINDING.findall(log)}
    inputs, edges, features, kept = progress[-1]
    half = [line for line in progress if line[0] <= inputs / 2] or progress[:1]
    return {
        "inputs": inputs,
        "seconds": seconds,
        "edges": edges,
        "features": features,
        "kept_inputs": kept,
        "at_half": {"edges": half[-1][1], "features": half[-1][2]},
        "findings": _FINDING.findall(log),
    }


def begin(folder: Path, seed: int) -> None:
    """Before the first input, because the source may change while the fuzzer runs."""
    started = {"date": date.today().isoformat(), "machine": describe_machine(), "seed": seed}
    (folder / "started.json").write_text(json.dumps(started), encoding="utf-8")


def end(folder: Path, file: Path) -> None:
    """Also of a run that was interrupted or found something."""
    logs = {name: folder / f"{name}.log" for name in CAMPAIGNS}
    found = {
        name: campaign(log.read_text(encoding="utf-8", errors="replace")) for name, log in logs.items() if log.exists()
    }
    started = json.loads((folder / "started.json").read_text(encoding="utf-8"))
    record = {**started, "inputs": sum(one["inputs"] for one in found.values()), "campaigns": found}
    file.write_text(json.dumps(record, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def add(file: Path, other: Path) -> None:
    """The later run went on from the inputs that the first one had kept: its coverage is that of both."""
    record, later = (json.loads(path.read_text(encoding="utf-8")) for path in (file, other))
    sources = {one["machine"]["commit"] for one in (record, later)}
    if len(sources) > 1:
        raise SystemExit(f"expected two runs from the same source, found the commits {sorted(sources)}")
    for name, own in later["campaigns"].items():
        before = record["campaigns"].get(name, {"inputs": 0, "seconds": 0, "findings": []})
        times = (before["seconds"], own["seconds"])
        record["campaigns"][name] = own | {
            "inputs": before["inputs"] + own["inputs"],
            "seconds": None if None in times else sum(times),
            "findings": before["findings"] + own["findings"],
        }
    record["inputs"] = sum(one["inputs"] for one in record["campaigns"].values())
    file.write_text(json.dumps(record, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    command, first, second = sys.argv[1:]
    if command == "begin":
        begin(Path(first), int(second))
    else:
        {"end": end, "add": add}[command](Path(first), Path(second))
