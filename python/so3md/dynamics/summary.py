"""What a run has come to: means of its log, for tables and programs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from so3md.dynamics.outputs import COLUMNS, read_log
from so3md.dynamics.record import LOG, read_record

#: Part of the rows of the log, from its end, of which means are taken: the beginning is not in equilibrium.
PART = 0.5
_AVERAGED = [name for name in COLUMNS if name not in ("step", "time_ps")]


def summary_of(directory: Path) -> dict[str, Any]:
    """Directory, steps done and planned, seed, files, and the mean and standard deviation of each column of the log.

    Means are of the second half of the rows; columns that the log has no values for are left out. Steps are those of
    the last row. Raises FileNotFoundError or ValueError where there is no run.
    """
    record, log = read_record(directory), read_log(directory / LOG)
    steps = log["step"]
    rows = slice(len(steps) - max(1, round(PART * len(steps))), None)
    columns = {name: log[name][rows] for name in _AVERAGED if len(steps) and np.isfinite(log[name][rows]).all()}
    return {
        "directory": str(directory),
        "steps": int(steps[-1]) if len(steps) else 0,
        "planned_steps": record["planned_steps"],
        "time_ps": float(log["time_ps"][-1]) if len(steps) else 0.0,
        "settings": record["settings"],
        "rows_averaged": len(steps[rows]),
        "mean": {name: float(values.mean()) for name, values in columns.items()},
        "standard_deviation": {name: float(values.std()) for name, values in columns.items()},
        "files": sorted(path.name for path in directory.iterdir() if path.is_file() and path.name[0] != "."),
    }
