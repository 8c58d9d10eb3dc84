"""A training step on two processes and on two threads beside one of each, in turns.

    python benchmarks/training_processes.py

Batches: 10 rattled ethanol molecules, and 20 alkanes of 20 to 59 atoms, with made-up reference values; F = 128, 3
layers, float32; energies and forces. Prints a table and writes results/training_processes.json. Leave the machine alone
while it runs: times are wall-clock times.
"""

from __future__ import annotations

import datetime
import json
import statistics
import sys
import tempfile
from contextlib import ExitStack
from importlib.metadata import version
from pathlib import Path
from typing import Any

import click
import training_batches
from ase import Atoms
from machine import describe_machine
from rich.console import Console
from rich.table import Table
from sides import WorkerProcess
from training_batches import save_batch

RESULTS = Path(__file__).parent / "results" / "training_processes.json"
WORKER = Path(__file__).parent / "training_processes_worker.py"
#: Processes, threads of each.
SIDES = ((1, 1), (1, 2), (2, 1))
WARM_UP = 3  # steps
TOLERANCE = 1e-3  # of errors over the first steps, in single precision

Record = dict[str, Any]
console = Console()


BATCHES = {name: training_batches.BATCHES[name] for name in ("10 ethanol", "20 alkanes of 20 to 59 atoms")}


def measure(batch: str, structures: list[Atoms], rounds: int, steps: int) -> list[Record]:
    """A record for each side: the median of its turns, each turn's being the median of its steps, and ratios to one
    process of one thread, medians of those of the rounds."""
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        file = Path(name) / "batch.npz"
        save_batch(file, structures)
        sides = {}
        for processes, threads in SIDES:
            command = [sys.executable, str(WORKER), str(file), "--processes", str(processes), "--threads", str(threads)]
            sides[processes, threads] = stack.enter_context(WorkerProcess(f"{processes} processes", command, threads))
        first = {side: worker.ask("steps", count=WARM_UP)["rmse"] for side, worker in sides.items()}
        if max(first.values()) - min(first.values()) > TOLERANCE * max(first.values()):
            raise RuntimeError(f"{batch}: errors differ between processes and threads: {first}")
        turns: dict[tuple[int, int], list[float]] = {side: [] for side in sides}
        for number in range(rounds):
            for side in sorted(sides, reverse=bool(number % 2)):
                turns[side].append(1e3 * statistics.median(sides[side].ask("steps", count=steps)["seconds"]))
    return [
        {
            "batch": batch,
            "atoms": sum(map(len, structures)),
            "processes": processes,
            "threads": threads,
            "median_ms": statistics.median(values),
            "min_ms": min(values),
            "max_ms": max(values),
            "times_faster": statistics.median(a / b for a, b in zip(turns[SIDES[0]], values, strict=True)),
            "turns": rounds,
            "steps_of_a_turn": steps,
        }
        for (processes, threads), values in turns.items()
    ]


def print_table(timings: list[Record]) -> None:
    table = Table("batch", "processes", "threads of each", "ms/step", "min .. max", "times faster")
    for row in timings:
        table.add_row(
            row["batch"],
            str(row["processes"]),
            str(row["threads"]),
            f"{row['median_ms']:.1f}",
            f"{row['min_ms']:.1f} .. {row['max_ms']:.1f}",
            f"{row['times_faster']:.2f}",
        )
    console.print(table)


@click.command(help=__doc__.splitlines()[0])
@click.option("--rounds", type=int, default=9, show_default=True, help="turns of each side")
@click.option("--steps", type=int, default=20, show_default=True, help="steps of a turn")
@click.option("--output", type=click.Path(path_type=Path), default=RESULTS, help="results as JSON")
def main(rounds: int, steps: int, output: Path) -> None:
    machine = describe_machine()
    timings = [row for batch, structures in BATCHES.items() for row in measure(batch, structures, rounds, steps)]
    if machine["load_average_before"] > 0.5:
        console.print(f"[yellow]the machine was busy (load {machine['load_average_before']}): ratios only[/yellow]")
    print_table(timings)
    report = {
        "benchmark": "a training step on processes and threads, interleaved",
        "date": datetime.date.today().isoformat(),
        "machine": machine,
        "versions": {name: version(name) for name in ("so3md", "torch")},
        "timings": timings,
    }
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_text(json.dumps(report, indent=1) + "\n")
    console.print(f"written: {output}")


if __name__ == "__main__":
    main()
