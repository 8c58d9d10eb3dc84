"""The plots of docs/validation.md, from the committed results.

python draw.py [--output ../../docs/images]
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from outcome import RESULTS

IMAGES = Path(__file__).parents[2] / "docs" / "images"
OWN, OTHER = "#1f5f8b", "#c8553d"
#: Of the map, kcal/mol: what is above is one colour.
HIGHEST = 12.0

Record = dict[str, Any]


def draw_radial(axis: Axes, radial: Record, known: Record) -> None:
    for pair, label, colour in (("O-O", "O-O", OWN), ("H-O", "O-H", OTHER)):
        axis.plot(radial[pair]["r_A"], radial[pair]["g"], color=colour, label=label)
    place, height = (known[f"O-O_first_maximum_{what}"][0] for what in ("A", "height"))
    axis.plot(place, height, "o", color="0.2", markersize=5, label="O-O, X-ray: first maximum")
    axis.set(xlim=(1.2, 6.2), ylim=(0, 3.6), xlabel="r (Å)")
    axis.set_title("Radial distribution functions", loc="left", fontsize="medium")
    axis.legend(fontsize="small", frameon=False)


def draw_infrared(axis: Axes, infrared: Record, known: Record) -> None:
    axis.plot(infrared["wavenumbers_per_cm"], infrared["absorption"], color=OWN, label="SO3LR")
    for name in ("librations", "bend", "stretches"):
        axis.axvline(
            known[name][0], color="0.55", linestyle="--", linewidth=1, label="measured" if name == "bend" else ""
        )
    axis.set(xlim=(0, 4200), ylim=(0, None), xlabel="Wavenumber (1/cm)", yticks=[])
    axis.set_title("Infrared absorption", loc="left", fontsize="medium")
    axis.legend(fontsize="small", frameon=False)


def draw_map(figure: Figure, peptide: Record) -> None:
    """Filled contours, which go on beyond the edges as angles do, and the minima."""
    axis = figure.subplots()
    angles = np.array([*peptide["angles_degrees"], 180])
    heights = np.array([[np.nan if e is None else e for e in row] for row in peptide["map_kcal_per_mol"]])
    heights = np.pad(heights, ((0, 1), (0, 1)), mode="wrap")
    filled = axis.contourf(
        angles, angles, np.minimum(heights.T, HIGHEST), levels=np.arange(0, HIGHEST + 1), cmap="viridis"
    )
    figure.colorbar(filled, ax=axis, label="Energy (kcal/mol)")
    for one in peptide["minima"]:
        if one["lowest_per_cm"] > 0:
            place = one["phi_degrees"], one["psi_degrees"]
            axis.plot(*place, "o", color="white", markersize=4)
            axis.annotate(one["name"], place, xytext=(5, 4), textcoords="offset points", color="white")
    axis.set(xlabel="φ (°)", ylabel="ψ (°)", aspect="equal", xticks=range(-180, 181, 60), yticks=range(-180, 181, 60))


def new_figure(*size: float) -> Figure:
    figure = Figure(figsize=size, layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=IMAGES, help="directory")
    output = parser.parse_args().output
    liquid, peptide = (json.loads((RESULTS / f"{name}.json").read_text()) for name in ("liquid_water", "peptide"))
    known = json.loads((Path(__file__).parent / "references.json").read_text(encoding="utf-8"))["liquid"]
    output.mkdir(parents=True, exist_ok=True)
    figure = new_figure(10, 3.6)
    left, right = figure.subplots(1, 2)
    draw_radial(left, liquid["radial"], known)
    draw_infrared(right, liquid["infrared"], known)
    for axis in (left, right):
        axis.spines[["top", "right"]].set_visible(False)
    figure.savefig(output / "validation_water.png", dpi=150)
    figure = new_figure(5.4, 4.4)
    draw_map(figure, peptide)
    figure.savefig(output / "validation_peptide.png", dpi=150)
    print(f"written: {output / 'validation_water.png'}, {output / 'validation_peptide.png'}")


if __name__ == "__main__":
    main()
