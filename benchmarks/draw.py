"""The plots of the README, from committed results.

    python benchmarks/draw.py

reads results/sizes.json and results/compare_so3krates_torch.json, and writes docs/images/speed.png (time and memory per
atom against the size of the system, beside so3krates-torch and the limit of the machine) and docs/images/stages.png.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from so3md.benchmark.cases import threads_text
from so3md.plots import draw_by_size, label_by_size, limit_of, memory_of, plot_stages, time_of

HERE = Path(__file__).parent
IMAGES = HERE.parent / "docs" / "images"
OWN, PEER, COMPILED, LIMIT = "#1f5f8b", "#c8553d", "#e09f3e", "0.45"
#: Sides of the comparison that are drawn: name -> (label, colour).
PEERS = {
    "so3krates-torch float32": ("so3krates-torch", PEER),
    "so3krates-torch-compiled float32": ("so3krates-torch, torch.compile", COMPILED),
}

Record = dict[str, Any]


def read(name: str) -> Record:
    return json.loads((HERE / "results" / f"{name}.json").read_text())


def draw_time(axis: Axes, cases: list[Record], comparison: Record) -> None:
    threads = cases[0]["threads"]
    for name, (label, colour) in PEERS.items():
        times = [row for row in comparison["timings"] if row["side"] == name and row["threads"] == threads]
        if times:
            draw_by_size(axis, sorted(times, key=lambda row: row["atoms"]), median_of, label=label, color=colour)
    draw_by_size(axis, cases, time_of, label="so3md", color=OWN)
    draw_by_size(axis, cases, limit_of, label="limit: matrix products", color=LIMIT, linestyle="--", marker="")
    label_by_size(axis, f"Time per atom and step, µs ({threads_text(threads)})")
    axis.legend(fontsize="small", frameon=False, loc="center right", bbox_to_anchor=(1.0, 0.56))


def median_of(row: Record) -> float:
    return row["median_us_per_atom"]


def draw_memory(axis: Axes, cases: list[Record], comparison: Record) -> None:
    for name, (label, colour) in PEERS.items():
        rows = [row for row in comparison["memory"] if row["side"] == name]
        if rows:
            draw_by_size(axis, rows, lambda row: row["kb_per_atom"], label=label, color=colour)
    draw_by_size(axis, [case for case in cases if case["memory"]], memory_of, label="so3md", color=OWN)
    label_by_size(axis, "Memory per atom, kB")
    axis.legend(fontsize="small", frameon=False, loc="center right", bbox_to_anchor=(1.0, 0.56))


@click.command(help=__doc__.splitlines()[0])
@click.option("--output", type=click.Path(path_type=Path), default=IMAGES, show_default=True, help="directory")
def main(output: Path) -> None:
    cases, comparison = read("sizes")["cases"], read("compare_so3krates_torch")
    output.mkdir(parents=True, exist_ok=True)
    figure = Figure(figsize=(10, 4), layout="constrained")
    FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2, sharex=True)
    draw_time(left, cases, comparison)
    draw_memory(right, cases, comparison)
    figure.savefig(output / "speed.png", dpi=150)
    names = [f"{case['atoms']:,} atoms" for case in cases]
    title = f"Share of each stage in a step of liquid water, per cent ({threads_text(cases[0]['threads'])})"
    plot_stages(cases, names, title, output / "stages.png")
    click.echo(f"written: {output / 'speed.png'}, {output / 'stages.png'}")


if __name__ == "__main__":
    main()
