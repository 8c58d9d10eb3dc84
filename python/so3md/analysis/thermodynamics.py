"""Temperature, energies, pressure, density, and the drift of the conserved energy: of the log, or of the frames."""

from __future__ import annotations

import numpy as np
from ase import units

from so3md.analysis.averages import block_average, drift
from so3md.analysis.results import Plot, Quantity, Section, Unavailable
from so3md.analysis.trajectory import Trajectory

#: Column of the log -> name, unit.
_AVERAGED = {
    "temperature_K": ("Temperature", "K"),
    "potential_eV": ("Potential energy", "eV"),
    "pressure_bar": ("Pressure", "bar"),
    "density_g_cm3": ("Density", "g/cm³"),
    "volume_A3": ("Volume", "Å³"),
}
#: amu (Angstrom/ps)^2 in eV.
KINETIC_UNIT = units._amu * 1e4 / units._e
_GRAM_PER_CM3 = 1e24 / units.mol  # of amu/Angstrom^3
_FEWEST_ROWS = 3
#: Relative differences that are none: logs have ten digits.
_ROUNDING = 1e-9


def thermodynamics(trajectory: Trajectory) -> Section:
    """The section of the report. Raises Unavailable if there is neither a log nor anything in the frames."""
    section = Section("Thermodynamics")
    columns = trajectory.log if trajectory.log is not None else columns_of_frames(trajectory)
    times = columns.get("time_ps", np.arange(max(map(len, columns.values()), default=0), dtype=float))
    x_label = "Time (ps)" if "time_ps" in columns else "Row"
    for column, (name, unit) in _AVERAGED.items():
        try:
            values = _whole_column(columns, column, trajectory)
        except Unavailable as reason:
            section.missing[name] = str(reason)
            continue
        section.quantities.append(averaged(name, unit, values, interval_of(times)))
        if np.ptp(values) > _ROUNDING * abs(values).max():
            section.plots.append(Plot(name, x_label, f"{name} ({unit})", {name: (times, values)}))
    _add_drift(section, columns, times, trajectory)
    return section


def averaged(name: str, unit: str, values: np.ndarray, interval: float | None) -> Quantity:
    """The average of a series, with error and correlation time (interval: ps between numbers, None if unknown)."""
    if np.ptp(values) <= _ROUNDING * abs(values).max():
        return Quantity(name, float(values[0]), unit, note="constant")
    average = block_average(values)
    time = average.correlation_time
    note = "" if average.error is not None else "too short"
    return Quantity(
        name, average.mean, unit, average.error, None if time is None or interval is None else time * interval, note
    )


def interval_of(times: np.ndarray) -> float | None:
    """Time between the rows, None where they are not evenly spaced."""
    steps = np.diff(times)
    return float(steps.mean()) if len(steps) and np.ptp(steps) < 1e-3 * steps.mean() else None


def mean_temperature(trajectory: Trajectory) -> float:
    """The mean temperature (K). Raises Unavailable if nothing tells it."""
    columns = trajectory.log if trajectory.log is not None else columns_of_frames(trajectory)
    return float(_whole_column(columns, "temperature_K", trajectory).mean())


def columns_of_frames(trajectory: Trajectory) -> dict[str, np.ndarray]:
    """The columns of a log, as far as frames have what they are made of."""
    columns: dict[str, np.ndarray] = {}
    if trajectory.times is not None:
        columns["time_ps"] = trajectory.times
    if trajectory.velocities is not None and trajectory.degrees_of_freedom > 0:
        kinetic = 0.5 * KINETIC_UNIT * np.einsum("n,fni,fni->f", trajectory.masses, *[trajectory.velocities] * 2)
        columns["temperature_K"] = 2 * kinetic / (trajectory.degrees_of_freedom * units.kB)
    if trajectory.energies is not None:
        columns["potential_eV"] = trajectory.energies
    if trajectory.is_bulk:
        columns["volume_A3"] = np.abs(np.linalg.det(trajectory.cells))
        columns["density_g_cm3"] = trajectory.masses.sum() / columns["volume_A3"] * _GRAM_PER_CM3
    return columns


def _whole_column(columns: dict[str, np.ndarray], name: str, trajectory: Trajectory) -> np.ndarray:
    values = columns.get(name)
    if values is None or np.isnan(values).all():
        if name in ("volume_A3", "density_g_cm3", "pressure_bar") and not trajectory.is_bulk:
            raise Unavailable("the system is not periodic in all directions")
        if trajectory.log is None:
            raise Unavailable(_NOT_IN_FRAMES.get(name, "the frames have none, and there is no log"))
        raise Unavailable(f"the log has no values of it ({name})")
    if np.isnan(values).any():
        raise Unavailable(f"the log lacks some of its values ({name})")
    if len(values) < _FEWEST_ROWS:
        raise Unavailable(f"expected at least {_FEWEST_ROWS} rows, found {len(values)}")
    return values


_NOT_IN_FRAMES = {
    "temperature_K": "the frames have no velocities, and there is no log",
    "potential_eV": "the frames have no energies, and there is no log",
    "pressure_bar": "frames do not tell it, and there is no log",
}


def _add_drift(section: Section, columns: dict[str, np.ndarray], times: np.ndarray, trajectory: Trajectory) -> None:
    name = "Conserved energy drift"
    if trajectory.log is None:
        section.missing[name] = "it needs a log, and there is none"
        return
    values = columns.get("conserved_eV")
    if values is None or np.isnan(values).all():
        section.missing[name] = "the log has no conserved energy, as of Langevin dynamics, which conserves none"
        return
    if len(values) < _FEWEST_ROWS or interval_of(times) is None or "time_ps" not in columns:
        section.missing[name] = f"expected at least {_FEWEST_ROWS} rows, evenly spaced in time"
        return
    found = drift(times, values)
    scale = 1e3 / len(trajectory.numbers)
    note = "" if found.error is not None else "too short"
    error = None if found.error is None else found.error * scale
    section.quantities.append(Quantity(name, found.value * scale, "meV/ps/atom", error, None, note))
    curves = {"conserved energy": (times, values - values[0]), "straight line": (times, found.line - values[0])}
    section.plots.append(Plot(name, "Time (ps)", "Change (eV)", curves))
