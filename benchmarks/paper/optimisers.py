"""Test error of a small model for ethanol after the same steps of AdamW and of Muon, for several learning rates.

    python benchmarks/paper/optimisers.py

The model, the schedule and the data (800 structures) are those of data_efficiency.py. What is trained already is left
out, so it can be stopped and started again. Writes results/optimisers.json.
"""

from __future__ import annotations

import datetime
import sys
from pathlib import Path
from typing import Any

import click
from data_efficiency import make_config
from rich.console import Console
from rich.table import Table
from runs import DATA, RUNS, data_file, train, write_results

sys.path.insert(0, str(Path(__file__).parent.parent))
from machine import describe_machine

OPTIMISERS = ("adamw", "muon")
RATES = (1e-3, 3e-3, 1e-2, 3e-2)
DEGREES, SIZE, STEPS = (1, 2, 3), 800, 4000


def config_of(optimiser: str, rate: float, steps: int, data: Path) -> dict[str, Any]:
    """The settings of one training."""
    config = make_config(DEGREES, SIZE, steps, 0, data)
    config["training"] |= {"optimiser": optimiser, "learning_rate": rate}
    return config


@click.command(help=__doc__.splitlines()[0])
@click.option("--steps", type=int, default=STEPS, show_default=True, help="steps of each training")
@click.option("--data", type=click.Path(path_type=Path), default=DATA, help="directory of the data")
def main(steps: int, data: Path) -> None:
    data_file(data, "md17_ethanol.npz")
    machine, points = describe_machine(), []
    for rate in RATES:
        for optimiser in OPTIMISERS:
            directory = RUNS / "optimisers" / f"{optimiser}_{rate:g}_steps_{steps}"
            summary = train(config_of(optimiser, rate, steps, data), directory)
            mae = 1e3 * summary["errors"]["forces (eV/A)"]["mae"]
            points.append({"optimiser": optimiser, "learning_rate": rate, "forces_mae_meV_per_A": mae})
    table = Table("optimiser", "learning rate", "MAE of forces, meV/Å")
    for point in points:
        table.add_row(point["optimiser"], f"{point['learning_rate']:g}", f"{point['forces_mae_meV_per_A']:.1f}")
    Console().print(table)
    report = {
        "benchmark": "test errors for ethanol (MD17) by optimiser and learning rate",
        "date": datetime.date.today().isoformat(),
        "machine": machine,
        "settings": {"structures": SIZE, "steps": steps, "degrees": DEGREES, "seed": 0},
        "points": points,
    }
    print(f"written: {write_results('optimisers.json', report)}")


if __name__ == "__main__":
    main()
