"""What a run has come to: means of its log, for tables and programs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from so3md.dynamics.checkpoint import Checkpoint
from so3md.dynamics.outputs import COLUMNS, read_log
from so3md.dynamics.record import CHECKPOINT, LOG, read_record
from so3md.run_directory import CheckpointError

#: Part of the rows of the log, from its end, of which means are taken: the beginning is not in equilibrium.
PART = 0.5
_AVERAGED = [name for name in COLUMNS if name not in ("step", "time_ps")]


def summary_of(directory: Path) -> dict[str, Any]:
    """Directory, steps done and planned, seed, files, and the mean and standard deviation of each column of the log.

    Means are of the second half of the rows; columns that the log has no values for are left out. Steps are those of
    the checkpoint, or else of the last row. Raises FileNotFoundError or ValueError where there is no run.
    """
    record, log = read_record(directory), read_log(directory / LOG)
    steps = log["step"]
    rows = slice(len(steps) - max(1, round(PART * len(steps))), None)
    columns = {name: log[name][rows] for name in _AVERAGED if len(steps) and np.isfinite(log[name][rows]).all()}
    return {
        "directory": str(directory),
        "steps": _steps_done(directory, int(steps[-1]) if len(steps) else 0),
        "planned_steps": record["planned_steps"],
        "settings": record["settings"],
        "rows_averaged": len(steps[rows]),
        "mean": {name: float(values.mean()) for name, values in columns.items()},
        "standard_deviation": {name: float(values.std()) for name, values in columns.items()},
        "files": sorted(path.name for path in directory.iterdir() if path.is_file() and path.name[0] != "."),
    }


def _steps_done(directory: Path, logged: int) -> int:
    try:
        return max(logged, Checkpoint.read(directory / CHECKPOINT).step)
    except (OSError, CheckpointError):
        return logged
