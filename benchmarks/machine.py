"""The machine and the source that a benchmark ran on, and the limit of SO3LR in water there."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

from so3md import load_model
from so3md.benchmark.machine import describe_machine as describe_hardware
from so3md.benchmark.machine import matrix_product_gflops
from so3md.benchmark.work import count_work

__all__ = ["describe_machine", "limit_us_per_atom", "matrix_product_gflops"]

#: Within the cutoff of SO3LR, in liquid water.
NEIGHBOURS_IN_WATER = 38.0


def describe_machine() -> dict[str, Any]:
    """The hardware, and the commit of this checkout, which is that of the engine if it was built from it."""
    return {**describe_hardware(), "commit": source_commit()}


def source_commit() -> str | None:
    """The last commit, "with changes" if files differ from it; None outside of a repository."""

    def git(*words: str) -> str:
        command = ["git", "-C", str(Path(__file__).parent), *words]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    try:
        commit = git("rev-parse", "HEAD")
        # Results that a benchmark has just written are no change of what it measures.
        changes = git("status", "--porcelain", "--untracked-files=no", "--", ":/", ":(top,exclude)benchmarks/results")
    except (OSError, subprocess.CalledProcessError):
        return None
    return f"{commit} with changes" if changes else commit


def limit_us_per_atom(gflops: float) -> float:
    """Time per atom and step if all operations of SO3LR in water ran at the rate of a large matrix product."""
    hyperparameters = json.loads(load_model("so3lr").metadata)["hyperparameters"]
    return count_work(hyperparameters, NEIGHBOURS_IN_WATER).total * 1e3 / gflops
