"""Test error of small models for ethanol against the number of training structures, for several sets of degrees.

    python benchmarks/paper/data_efficiency.py

Every model is trained for the same number of steps; what is trained already is left out, so it can be stopped and
started again. Writes results/data_efficiency.json and .png.
"""

from __future__ import annotations

import datetime
import sys
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.table import Table
from runs import DATA, RESULTS, RUNS, data_file, train, write_results

sys.path.insert(0, str(Path(__file__).parent.parent))
from machine import describe_machine

DEGREES = ((0,), (0, 1), (1, 2, 3))
SIZES = (50, 100, 200, 400, 800)
BATCH = 10


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
            "epochs": epochs,
            "batch_size": BATCH,
            "learning_rate": 2e-3,
            "schedule": {"type": "cosine", "final": 0.005},
            "ema_decay": 0.99,
            "validation_interval": max(1, epochs // 40),
        },
        "seed": seed,
    }


def plot(points: list[dict[str, Any]], path: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(5.5, 4), layout="constrained")
    for degrees in {tuple(point["degrees"]): None for point in points}:
        own = [point for point in points if tuple(point["degrees"]) == degrees]
        label = "degrees {" + ", ".join(map(str, degrees)) + "}"
        axes.loglog([p["size"] for p in own], [p["forces_mae_meV_per_A"] for p in own], "o-", label=label)
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


def print_table(points: list[dict[str, Any]]) -> None:
    table = Table("degrees", "structures", "MAE of forces, meV/Å", "MAE of energies, meV", "parameters")
    for point in points:
        degrees = "{" + ", ".join(map(str, point["degrees"])) + "}"
        numbers = f"{point['forces_mae_meV_per_A']:.1f}", f"{point['energy_mae_meV']:.2f}", str(point["parameters"])
        table.add_row(degrees, str(point["size"]), *numbers)
    Console().print(table)


@click.command(help=__doc__.splitlines()[0])
@click.option("--sizes", type=int, multiple=True, default=SIZES, show_default=True, help="training structures")
@click.option("--steps", type=int, default=4000, show_default=True, help="steps of each training")
@click.option("--seed", type=int, default=0, show_default=True)
@click.option("--threads", type=int, default=1, show_default=True)
@click.option("--data", type=click.Path(path_type=Path), default=DATA, help="directory of the data")
def main(sizes: tuple[int, ...], steps: int, seed: int, threads: int, data: Path) -> None:
    points: list[dict[str, Any]] = []
    report = {
        "benchmark": "test errors for ethanol (MD17) by number of training structures and degrees",
        "date": datetime.date.today().isoformat(),
        "machine": describe_machine(),
        "settings": {
            "steps": steps,
            "seed": seed,
            "batch_size": BATCH,
            "model": make_config((0,), 50, 1, 0, data)["model"],
        },
        "points": points,
    }
    for degrees in DEGREES:
        for size in sizes:
            name = f"degrees_{'_'.join(map(str, degrees))}_size_{size}_steps_{steps}_seed_{seed}"
            summary = train(make_config(degrees, size, steps, seed, data), RUNS / "data_efficiency" / name, threads)
            errors = summary["errors"]
            points.append(
                {
                    "degrees": degrees,
                    "size": size,
                    "forces_mae_meV_per_A": 1e3 * errors["forces (eV/A)"]["mae"],
                    "forces_rmse_meV_per_A": 1e3 * errors["forces (eV/A)"]["rmse"],
                    "energy_mae_meV": 1e3 * errors["energy (eV)"]["mae"],
                    "parameters": summary["parameters"],
                    "steps": summary["steps"],
                    "seconds": summary["seconds"],
                }
            )
    print_table(points)
    print(f"written: {write_results('data_efficiency.json', report)}")
    plot(points, RESULTS / "data_efficiency.png")


if __name__ == "__main__":
    main()
