"""The learning curve of a training, as an image."""

from __future__ import annotations

from pathlib import Path

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from so3md.plots import save
from so3md.training.log import read_log

_PANELS = {"loss": "Loss", "energy_mae": "Energy MAE", "forces_mae": "Force MAE (meV/Å)"}


def plot_learning_curve(log: Path, image: Path) -> None:
    """Plot loss and mean absolute errors of training and validation against the epoch, from the log."""
    columns = read_log(log)
    panels = {name: title for name, title in _PANELS.items() if any(f"validation_{name}" in key for key in columns)}
    figure = Figure(figsize=(7, 2.2 * len(panels)), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(len(panels), 1, sharex=True, squeeze=False)[:, 0]
    for axis, (name, title) in zip(axes, panels.items(), strict=True):
        for part, colour in (("train", "0.6"), ("validation", "#1f5f8b")):
            key = next((key for key in columns if key.startswith(f"{part}_{name}")), None)
            if key is None:
                continue
            factor = 1 if name == "loss" else 1000
            axis.plot(columns["epoch"], factor * columns[key], color=colour, linewidth=1, label=part)
            if name.startswith("energy"):
                title = "Energy MAE (meV/atom)" if key.endswith("per_atom") else "Energy MAE (meV)"
        axis.set_yscale("log")
        axis.set_title(title, loc="left", fontsize="medium")
        axis.grid(which="both", alpha=0.2)
        axis.spines[["top", "right"]].set_visible(False)
    axes[0].legend(frameon=False, fontsize="small")
    axes[-1].set_xlabel("Epoch")
    save(figure, image)
