"""Plots of a run, of errors against reference values and of benchmarks, as image files."""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from so3md.benchmark.cases import threads_text
from so3md.dynamics.outputs import read_log
from so3md.run_directory import replace_file

#: Column of the log -> title of its panel.
_PANELS = {
    "temperature_K": "Temperature (K)",
    "potential_eV": "Potential energy (eV)",
    "drift_eV": "Change of the conserved energy (eV)",
    "density_g_cm3": "Density (g/cm³)",
    "pressure_bar": "Pressure (bar)",
}
_COLOUR = "#1f5f8b"


def save(figure: Figure, image: str | os.PathLike[str]) -> None:
    """Write a figure in the format of the image's name, replacing an existing file as a whole."""
    path, content = Path(image), io.BytesIO()
    figure.savefig(content, dpi=150, format=path.suffix.lstrip(".") or "png")
    replace_file(path, content.getvalue())


def plot_log(log: str | os.PathLike[str], image: str | os.PathLike[str]) -> None:
    """Plot temperature, energies and, where they change, density and pressure of a run against time."""
    columns = read_log(log)
    columns["drift_eV"] = columns["conserved_eV"] - columns["conserved_eV"][:1]
    panels = {name: title for name, title in _PANELS.items() if np.ptp(np.nan_to_num(columns[name])) > 0}
    figure = Figure(figsize=(7, 2 * max(len(panels), 1)), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(max(len(panels), 1), sharex=True, squeeze=False)[:, 0]
    for axis, (name, title) in zip(axes, panels.items(), strict=False):
        axis.plot(columns["time_ps"], columns[name], color=_COLOUR, linewidth=1)
        axis.set_title(title, loc="left", fontsize="medium")
        axis.ticklabel_format(useOffset=False)
        axis.spines[["top", "right"]].set_visible(False)
    axes[-1].set_xlabel("Time (ps)")
    save(figure, image)


def plot_parity(
    energies: tuple[np.ndarray, np.ndarray], forces: tuple[np.ndarray, np.ndarray], image: str | os.PathLike[str]
) -> None:
    """Plot predicted against reference values: energies (eV/atom) and force components (eV/Angstrom), each as
    (reference, predicted); a pair of empty arrays leaves its panel empty."""
    figure = Figure(figsize=(9, 4.5), layout="constrained")
    FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2)
    _parity_panel(left, *energies, "Energy (eV/atom)")
    _parity_panel(right, *forces, "Force component (eV/Å)")
    save(figure, image)


def _parity_panel(axis: Axes, reference: np.ndarray, predicted: np.ndarray, title: str) -> None:
    axis.plot(reference, predicted, ".", color=_COLOUR, markersize=3, alpha=0.5, rasterized=True)
    axis.axline(
        (np.mean(reference), np.mean(reference)) if reference.size else (0, 0), slope=1, color="0.3", linewidth=1
    )
    axis.set_title(title, loc="left", fontsize="medium")
    axis.set_xlabel("Reference")
    axis.set_aspect("equal", adjustable="datalim")
    axis.set_ylabel("Model")
    axis.ticklabel_format(useOffset=False)
    axis.locator_params(axis="x", nbins=5)  # energies have many digits
    axis.spines[["top", "right"]].set_visible(False)


def plot_benchmark(cases: Sequence[dict[str, Any]], directory: Path) -> None:
    """Plot the cases of a benchmark (records of `so3md.benchmark.cases.figures`): time_per_atom.png with the limit,
    memory_per_atom.png where memory was measured, and stages.png, for the most threads."""
    by_settings: dict[str, list[dict[str, Any]]] = {}
    for case in sorted(cases, key=lambda case: case["atoms"]):
        by_settings.setdefault(_settings_label(case, cases), []).append(case)
    figure, axis = _single_panel()
    for label, members in by_settings.items():
        line = draw_by_size(axis, members, time_of, label=label)
        draw_by_size(
            axis, members, limit_of, label=f"limit, {label}", color=line.get_color(), linestyle="--", marker="_"
        )
    _finish_by_size(figure, axis, "Time (µs per atom and step)", directory / "time_per_atom.png")
    if any(case["memory"] for case in cases):
        figure, axis = _single_panel()
        for label, members in by_settings.items():
            draw_by_size(axis, [case for case in members if case["memory"]], memory_of, label=label)
        _finish_by_size(figure, axis, "Memory (kB per atom)", directory / "memory_per_atom.png")
    most = max(case["threads"] for case in cases)
    bars = [case for case in cases if case["threads"] == most]
    names = [", ".join([f"{case['system']} {case['atoms']}", *_varying_settings(case, cases)]) for case in bars]
    plot_stages(bars, names, f"Share of each stage (%), {threads_text(most)}", directory / "stages.png")


def time_of(case: dict[str, Any]) -> float:
    """Microseconds per atom and step."""
    return case["us_per_atom"]


def limit_of(case: dict[str, Any]) -> float:
    """That at the rate of a large matrix product."""
    return case["limit_us_per_atom"]


def memory_of(case: dict[str, Any]) -> float:
    """kB per atom."""
    return case["memory"]["kb_per_atom"]


def draw_by_size(
    axis: Axes, cases: Sequence[dict[str, Any]], value: Callable[[dict[str, Any]], float], **style: Any
) -> Line2D:
    """Draw a value of cases against their numbers of atoms."""
    sizes, values = [case["atoms"] for case in cases], [value(case) for case in cases]
    (line,) = axis.plot(sizes, values, **{"marker": "o", "markersize": 4, "linewidth": 1.5, **style})
    return line


def label_by_size(axis: Axes, title: str) -> None:
    """Logarithmic axes with plain numbers, for what `draw_by_size` draws."""
    axis.set(xscale="log", yscale="log", xlabel="Atoms")
    axis.xaxis.set_major_formatter(FuncFormatter(_plain_number))
    axis.xaxis.set_minor_formatter(NullFormatter())
    axis.yaxis.set_major_formatter(FuncFormatter(_plain_number))
    low, high = axis.get_ylim()
    if high < 4 * low:  # a flat line shall look flat
        low, high = low / 2, high * 2
        axis.set_ylim(low, high)
    # Within a decade or two, tens alone say too little.
    some = (1, 2, 5) if high < 100 * low else (1,)
    axis.yaxis.set_major_locator(LogLocator(subs=some))
    axis.yaxis.set_minor_formatter(NullFormatter())
    axis.set_title(title, loc="left", fontsize="medium")
    axis.grid(which="major", alpha=0.25)
    axis.spines[["top", "right"]].set_visible(False)


def _plain_number(value: float, _: int) -> str:
    return f"{value:g}" if value < 1e4 else f"{value:,.0f}"


def _single_panel() -> tuple[Figure, Axes]:
    figure = Figure(figsize=(6, 4), layout="constrained")
    FigureCanvasAgg(figure)
    return figure, figure.subplots()


def _finish_by_size(figure: Figure, axis: Axes, title: str, image: Path) -> None:
    label_by_size(axis, title)
    axis.legend(fontsize="small", frameon=False)
    save(figure, image)


def _settings_label(case: dict[str, Any], cases: Sequence[dict[str, Any]]) -> str:
    return ", ".join([threads_text(case["threads"]), *_varying_settings(case, cases)])


def _varying_settings(case: dict[str, Any], cases: Sequence[dict[str, Any]]) -> list[str]:
    """Precision and instruction set of a case, where cases differ in them."""
    keys = (key for key in ("precision", "instruction_set") if len({other[key] for other in cases}) > 1)
    return [case[key] for key in keys]


def plot_stages(bars: Sequence[dict[str, Any]], names: Sequence[str], title: str, image: Path) -> None:
    """Stacked bars, one for each case of a benchmark; stages under one per cent everywhere are one."""
    stages = {stage for case in bars for stage, share in case["stage_shares"].items() if share >= 0.01}
    ordered = sorted(stages, key=lambda stage: -bars[-1]["stage_shares"].get(stage, 0))
    places = range(len(bars))
    figure = Figure(figsize=(8, 1.6 + 0.35 * len(bars)), layout="constrained")
    FigureCanvasAgg(figure)
    axis = figure.subplots()
    left = np.zeros(len(bars))
    for number, stage in enumerate(ordered):
        shares = np.array([100 * case["stage_shares"].get(stage, 0) for case in bars])
        axis.barh(places, shares, left=left, label=stage, color=colormaps["tab20"](number % 20))
        left += shares
    axis.barh(places, 100 - left, left=left, label="rest", color="0.85")
    axis.invert_yaxis()
    axis.set_yticks(places, [name.replace("$", r"\$") for name in names])  # no formulas
    axis.set(xlim=(0, 100))
    axis.set_title(title, loc="left", fontsize="medium")
    axis.spines[["top", "right"]].set_visible(False)
    figure.legend(loc="outside lower center", ncols=6, fontsize="small", frameon=False)
    save(figure, image)
