"""Trainings of a study: each in a directory of its own, left out if it is done and gone on with if it was stopped."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml

RUNS = Path(__file__).parent / "runs"
RESULTS = Path(__file__).parent / "results"
#: Where data that are not part of this repository lie unless --data says otherwise.
DATA = Path(__file__).parents[2].parent / "shared" / "data"


def train(config: dict[str, Any], directory: Path, threads: int = 1, base: str | None = None) -> dict[str, Any]:
    """See a training through with `so3md train`; returns its summary (errors, parameters, seconds, ...).

    With a `base` it is this model that is trained further, by `so3md finetune`.

    Raises RuntimeError if it was stopped or has failed; what is done then is kept, and the next call goes on.
    """
    summary = directory / "summary.json"
    if not summary.exists():
        if (directory / "run.json").exists():
            arguments = ["train", "--resume", str(directory)]
        else:
            directory.parent.mkdir(parents=True, exist_ok=True)
            file = directory.with_suffix(".yaml")
            file.write_text(yaml.safe_dump(config | {"threads": threads}, sort_keys=False))
            arguments = [*(["finetune", base] if base else ["train"]), str(file), "--output", str(directory)]
        environment = os.environ | {"OMP_NUM_THREADS": str(threads)}
        code = subprocess.run([sys.executable, "-m", "so3md", *arguments], env=environment).returncode
        if code:
            raise RuntimeError(f"the training in {directory} ended with code {code}; the same command goes on with it")
    return json.loads(summary.read_text())


def data_file(directory: Path, name: str) -> str:
    """Absolute path of a data file. Raises FileNotFoundError, saying what to do."""
    path = (directory / name).absolute()
    if not path.exists():
        raise FileNotFoundError(f"{path}: there is no such file; say where the data lie with --data DIRECTORY")
    return str(path)


def write_results(name: str, results: dict[str, Any]) -> Path:
    """Write a JSON file beside the others."""
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / name
    path.write_text(json.dumps(results, indent=1) + "\n")
    return path
