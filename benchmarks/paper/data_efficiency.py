"""Test error of small models for ethanol against the number of training structures, for several sets of degrees.

    python benchmarks/paper/data_efficiency.py

Every model is trained for the same number of steps, with several seeds of first parameters and order of structures.
What is trained already is left out, so it can be stopped and started again. Writes results/data_efficiency.json and
.png, with the exponent of the error as a power of the number of structures.
"""

from __future__ import annotations

import datetime
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
import numpy as np
from rich.console import Console
from rich.table import Table
from runs import DATA, RESULTS, RUNS, data_file, train, write_results

sys.path.insert(0, str(Path(__file__).parent.parent))
from machine import describe_machine

DEGREES = ((0,), (0, 1), (1, 2, 3))
SIZES = (50, 100, 200, 400, 800)
BATCH = 10
SEEDS = (0, 1, 2)
STEPS = 8000
TRAINING = {"optimiser": "muon", "learning_rate": 1e-2}


def make_config(degrees: tuple[int, ...], size: int, steps: int, seed: int, data: Path) -> dict[str, Any]:
    """The first `size` structures to train with, one for every ten of them to choose the best parameters, 500 to test.

    The number of features divides by every number of degrees and by the four heads; the paper's models are larger.
    """
    chosen = max(10, size // 10)
    epochs = max(1, round(steps / -(-size // BATCH)))
    return {
        "data": {
            "files": data_file(data, "md17_ethanol.npz"),
            "units": {"energy": "kcal/mol", "length": "Angstrom"},
            "split": {"train": f"0:{size}", "validation": f"{1000 - chosen}:1000", "test": "1000:1500"},
        },
        "model": {
            "num_features": 48,
            "num_heads": 4,
            "degrees": list(degrees),
            "num_layers": 2,
            "cutoff": 5.0,
            "radial_basis": {"type": "bernstein", "size": 16},
            "radial_hidden": 48,
            "spherical_hidden": 16,
        },
        "loss": {"energy": 10, "forces": 10},
        "training": {
            **TRAINING,
            "epochs": epochs,
            "batch_size": BATCH,
            "schedule": {"type": "cosine", "final": 0.005},
            "ema_decay": 0.99,
            "validation_interval": max(1, epochs // 40),
        },
        "seed": seed,
    }


def by_degrees(points: list[dict[str, Any]]) -> dict[tuple[int, ...], list[dict[str, Any]]]:
    """Degrees -> their points, by size."""
    found: dict[tuple[int, ...], list[dict[str, Any]]] = {}
    for point in points:
        found.setdefault(tuple(point["degrees"]), []).append(point)
    return found


def text_of(degrees: Sequence[int]) -> str:
    return "{" + ", ".join(map(str, degrees)) + "}"


def exponents(points: list[dict[str, Any]]) -> dict[str, dict[str, float]]:
    """Of the error of forces as a power of the number of structures: the slope of a line through all trainings in
    logarithms, and its standard error from how they scatter about it."""
    result = {}
    for degrees, own in by_degrees(points).items():
        x = np.log([point["size"] for point in own for _ in point["forces_mae_meV_per_A"]])
        y = np.log([value for point in own for value in point["forces_mae_meV_per_A"]])
        if len(set(x)) > 2:  # else there is no scatter about a line
            (slope, _), covariance = np.polyfit(x, y, 1, cov=True)
            result[text_of(degrees)] = {"exponent": float(slope), "standard_error": float(np.sqrt(covariance[0, 0]))}
    return result


def plot(points: list[dict[str, Any]], path: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(5.5, 4), layout="constrained")
    for degrees, own in by_degrees(points).items():
        means = np.array([np.mean(p["forces_mae_meV_per_A"]) for p in own])
        reach = [
            means - [min(p["forces_mae_meV_per_A"]) for p in own],
            [max(p["forces_mae_meV_per_A"]) for p in own] - means,
        ]
        axes.errorbar([p["size"] for p in own], means, reach, fmt="o-", capsize=2, label="degrees " + text_of(degrees))
    axes.set(xscale="log", yscale="log")
    sizes = sorted({point["size"] for point in points})
    axes.set_xticks(sizes, sizes)
    axes.minorticks_off()
    ticks = [t for t in (5, 10, 20, 30, 50, 70, 100, 150, 200, 300) if _inside(t, axes.get_ylim())]
    axes.set_yticks(ticks, ticks)
    axes.set(xlabel="training structures", ylabel="MAE of forces, meV/Å", title="ethanol (MD17), test structures")
    axes.legend()
    figure.savefig(path, dpi=150)


def _inside(value: float, limits: tuple[float, float]) -> bool:
    return limits[0] <= value <= limits[1]


def point_of(degrees: tuple[int, ...], size: int, runs: list[dict[str, Any]]) -> dict[str, Any]:
    """What is published of the trainings with all seeds."""

    def errors(quantity: str, kind: str) -> list[float]:
        return [1e3 * run["errors"][quantity][kind] for run in runs]

    return {
        "degrees": degrees,
        "size": size,
        "forces_mae_meV_per_A": errors("forces (eV/A)", "mae"),
        "forces_rmse_meV_per_A": errors("forces (eV/A)", "rmse"),
        "energy_mae_meV": errors("energy (eV)", "mae"),
        "parameters": runs[0]["parameters"],
        "steps": runs[0]["steps"],
        "seconds": [run["seconds"] for run in runs],
    }


def print_table(points: list[dict[str, Any]]) -> None:
    table = Table("degrees", "structures", "MAE of forces, meV/Å", "MAE of energies, meV", "parameters")
    for point in points:
        forces, energies = (
            ", ".join(f"{value:.{digits}f}" for value in point[key])
            for key, digits in (("forces_mae_meV_per_A", 1), ("energy_mae_meV", 2))
        )
        table.add_row(text_of(point["degrees"]), str(point["size"]), forces, energies, str(point["parameters"]))
    Console().print(table)


@click.command(help=__doc__.splitlines()[0])
@click.option("--sizes", type=int, multiple=True, default=SIZES, show_default=True, help="training structures")
@click.option("--steps", type=int, default=STEPS, show_default=True, help="steps of each training")
@click.option("--seeds", type=int, multiple=True, default=SEEDS, show_default=True)
@click.option("--threads", type=int, default=1, show_default=True)
@click.option("--data", type=click.Path(path_type=Path), default=DATA, help="directory of the data")
def main(sizes: tuple[int, ...], steps: int, seeds: tuple[int, ...], threads: int, data: Path) -> None:
    machine, points = describe_machine(), []
    for degrees in DEGREES:
        for size in sizes:
            runs = []
            for seed in seeds:
                degree_names, optimiser = "_".join(map(str, degrees)), TRAINING["optimiser"]
                name = f"degrees_{degree_names}_size_{size}_steps_{steps}_{optimiser}_seed_{seed}"
                config = make_config(degrees, size, steps, seed, data)
                runs.append(train(config, RUNS / "data_efficiency" / name, threads))
            points.append(point_of(degrees, size, runs))
    report = {
        "benchmark": "test errors for ethanol (MD17) by number of training structures and degrees",
        "date": datetime.date.today().isoformat(),
        "machine": machine,
        "settings": {
            "steps": steps,
            "seeds": list(seeds),
            "batch_size": BATCH,
            **TRAINING,
            "model": make_config((0,), 50, 1, 0, data)["model"],
        },
        "points": points,
        "exponents": exponents(points),
    }
    print_table(points)
    print(f"written: {write_results('data_efficiency.json', report)}")
    plot(points, RESULTS / "data_efficiency.png")


if __name__ == "__main__":
    main()
