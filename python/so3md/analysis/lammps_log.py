"""The tables of a log of LAMMPS, as columns of log.csv."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from so3md.lammps_input.script import UNITS

#: Header of a column -> our name, and the kind of unit.
_COLUMNS = {
    "Step": ("step", ""),
    "Time": ("time_ps", "time"),
    "Temp": ("temperature_K", ""),
    "PotEng": ("potential_eV", "energy"),
    "KinEng": ("kinetic_eV", "energy"),
    "TotEng": ("total_eV", "energy"),
    "Econserve": ("conserved_eV", "energy"),
    "Volume": ("volume_A3", ""),
    "Density": ("density_g_cm3", ""),
    "Press": ("pressure_bar", "pressure"),
}
_UNITS = re.compile(r"^units\s+(\w+)", re.MULTILINE)
_TIME_STEP = re.compile(r"^\s*Time step\s*:\s*(\S+)", re.MULTILINE)


@dataclass(frozen=True)
class LammpsLog:
    """units: as in LAMMPS; columns: by the names of log.csv; time_step: ps for each step, None if the log lacks it."""

    units: str
    columns: dict[str, np.ndarray]
    time_step: float | None


def read_lammps_log(path: Path) -> LammpsLog:
    """The log of LAMMPS in units metal or real. Later rows of a step that comes twice count.

    Raises ValueError for other units, and for a log without a table.
    """
    text = path.read_text(encoding="utf-8", errors="replace")
    found = _UNITS.search(text)
    units = found[1] if found else "lj"  # as LAMMPS has it
    if units not in UNITS:
        raise ValueError(f"{path}: expected a log in units {' or '.join(UNITS)}, found {units}")
    rows: dict[int, dict[str, float]] = {}
    names: list[str] = []
    for line in text.splitlines():
        words = line.split()
        if words[:1] == ["Step"]:
            names = words
        elif names and (row := _numbers(words, len(names))) is not None:
            rows[int(row[0])] = dict(zip(names, row, strict=True))
        elif words[:2] == ["Loop", "time"]:
            names = []
    if not rows:
        raise ValueError(f"{path}: expected tables that begin with Step, as thermo_style custom writes, found none")
    per = UNITS[units]
    scales = {"": 1.0, "time": 1e-3 / per.per_fs, "energy": 1 / per.per_ev, "pressure": 1 / per.per_bar}
    ordered = [rows[step] for step in sorted(rows)]
    columns = {
        name: scales[kind] * np.array([row.get(header, np.nan) for row in ordered])
        for header, (name, kind) in _COLUMNS.items()
        if any(header in row for row in ordered)
    }
    return LammpsLog(units, *_with_times(columns, text, scales["time"]))


def _numbers(words: list[str], count: int) -> list[float] | None:
    """The words of a row as numbers, None if it is none."""
    if len(words) != count:
        return None
    try:
        return [float(word) for word in words]
    except ValueError:
        return None


def _with_times(columns: dict[str, np.ndarray], text: str, scale: float) -> tuple[dict[str, np.ndarray], float | None]:
    """The columns with times, and the time of a step, from a column or from what LAMMPS says before a run."""
    steps = columns["step"]
    if "time_ps" in columns and len(steps) > 1:
        return columns, float(np.ptp(columns["time_ps"]) / np.ptp(steps))
    if found := _TIME_STEP.search(text):
        step = float(found[1]) * scale
        return columns | {"time_ps": steps * step}, step
    return columns, None
