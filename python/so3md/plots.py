"""Plots of a run and of errors against reference values, as image files."""

from __future__ import annotations

import os

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from so3md.dynamics.outputs import read_log

#: Column of the log -> title of its panel.
_PANELS = {
    "temperature_K": "Temperature (K)",
    "potential_eV": "Potential energy (eV)",
    "drift_eV": "Change of the conserved energy (eV)",
    "density_g_cm3": "Density (g/cm³)",
    "pressure_bar": "Pressure (bar)",
}
_COLOUR = "#1f5f8b"


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
    figure.savefig(image, dpi=150)


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
    figure.savefig(image, dpi=150)


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
    axis.spines[["top", "right"]].set_visible(False)
