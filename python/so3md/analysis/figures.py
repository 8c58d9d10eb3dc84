"""Plots of a report as SVG, small enough to stand in a page."""

from __future__ import annotations

import io

import matplotlib
import numpy as np
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

from so3md.analysis.results import Plot

_COLOURS = ("#1f5f8b", "#c0504d", "#5b8c3a", "#8064a2", "#d98c1f", "#4bacc6")
#: Of a curve: more would not be seen.
_MOST_POINTS = 1200


def svg(plot: Plot) -> str:
    """The plot as an element <svg>. Texts stay texts, for the fonts of the page."""
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": plot.title, "font.family": "sans-serif"}):
        figure = Figure(figsize=(5.2, 2.9), layout="constrained")
        FigureCanvasSVG(figure)
        axis = figure.subplots()
        for number, (label, (x, y)) in enumerate(plot.curves.items()):
            axis.plot(*thinned(x, y), label=label, color=_COLOURS[number % len(_COLOURS)], linewidth=1)
        axis.set(xlabel=plot.x_label, ylabel=plot.y_label, xlim=plot.x_range, ylim=plot.y_range)
        axis.ticklabel_format(useOffset=False)
        axis.spines[["top", "right"]].set_visible(False)
        if len(plot.curves) > 1:
            axis.legend(fontsize="small", frameon=False)
        text = io.StringIO()
        figure.savefig(text, format="svg", metadata={"Date": None, "Creator": None})
    return text.getvalue()[text.getvalue().index("<svg") :]


def thinned(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Of a long curve, the lowest and the highest point of each stretch, so that no peak is lost."""
    width = -(-len(x) // (_MOST_POINTS // 2))
    if len(x) <= _MOST_POINTS:
        return x, y
    kept: set[int] = {0, len(x) - 1}
    for begin in range(0, len(x), width):
        stretch = y[begin : begin + width]
        kept |= {begin + int(np.argmin(stretch)), begin + int(np.argmax(stretch))}
    places = sorted(kept)
    return x[places], y[places]
