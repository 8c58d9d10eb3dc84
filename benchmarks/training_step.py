"""Compare a training step of so3md with one of so3krates-torch: the same model, batch, loss and optimiser, interleaved.

    python benchmarks/training_step.py

A step is energies, forces, loss, its gradient, clipping and AdamW, float32, F = 128, 3 layers, for several batches. It
checks that both programs see the same losses while they train, then times them with all numbers of threads in turns,
and asks the system by how much memory grows in the first step. Prints a table and writes results/training_step.json.
Leave the machine alone while it runs: times are wall-clock times.
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
from machine import describe_machine, matrix_product_gflops
from peer_environment import peer_python, peer_versions
from rich.console import Console
from rich.table import Table
from sides import WorkerProcess, must_agree
from training_batches import BATCHES, save_batch

from so3md.convert import convert

RESULTS = Path(__file__).parent / "results" / "training_step.json"
WORKER = Path(__file__).parent / "training_worker.py"
OWN, PEER = "so3md", "so3krates-torch"
#: Batch -> steps of a turn.
STEPS = {"10 ethanol": 10, "20 alkanes of 20 to 59 atoms": 2, "2 boxes of 192 water atoms": 2}
STEPS_COMPARED = 5

#: The sides differ in single precision, and AdamW divides by gradients that are nearly zero: its steps are of the
#: size of the learning rate there, in either direction.
LARGEST_DIFFERENCE = 1e-3

Record = dict[str, Any]
console = Console()


def start_sides(stack: ExitStack, threads: int, folder: Path) -> dict[str, WorkerProcess]:
    """Both programs with the same model, ready to train."""
    processes = {
        name: stack.enter_context(
            WorkerProcess(name, [python, str(WORKER), name, str(folder), "--threads", str(threads)], threads)
        )
        for name, python in ((OWN, sys.executable), (PEER, peer_python()))
    }
    processes[PEER].ask("save_model")
    convert(folder / "peer.model", folder / "model.safetensors", elements=["H", "C", "O"])
    for process in processes.values():
        process.ask("start")
    return processes


def compare_losses(processes: dict[str, WorkerProcess], threads: int) -> Record:
    """Losses of the first steps: equal at the first, and still nearly so after steps along the same gradients."""
    losses = {name: process.ask("steps", count=STEPS_COMPARED)["losses"] for name, process in processes.items()}
    deviation = max(abs(a - b) / abs(b) for a, b in zip(losses[OWN], losses[PEER], strict=True))
    must_agree(deviation, LARGEST_DIFFERENCE, f"difference of losses, relative: {losses}")
    return {"threads": threads, "losses": losses, "largest_relative_difference": deviation}


def time_steps(sides: dict[tuple[int, str], WorkerProcess], rounds: int, steps: int) -> dict[tuple[int, str], Any]:
    """Milliseconds per step in each turn of each side (threads, program): the median of the steps of the turn."""
    turns: dict[tuple[int, str], list[float]] = {side: [] for side in sides}
    for number in range(rounds):
        for side in sorted(sides, reverse=bool(number % 2)):
            turns[side].append(1e3 * statistics.median(sides[side].ask("steps", count=steps)["seconds"]))
    return turns


def summary(turns: dict[tuple[int, str], list[float]], steps: int) -> Record:
    """Medians of the turns of each side, and of the ratios in each turn: with equal threads, and each program with the
    number of threads that is best for it."""

    def best(name: str) -> int:
        return min(
            (threads for threads, side in turns if side == name), key=lambda n: statistics.median(turns[n, name])
        )

    def ratio(own: int, peer: int) -> Record:
        ratios = [b / a for a, b in zip(turns[own, OWN], turns[peer, PEER], strict=True)]
        return {"threads": own, "threads_of_peer": peer, "times_faster": statistics.median(ratios)}

    return {
        "timings": [
            {
                "threads": threads,
                "side": name,
                "median_ms": statistics.median(values),
                "min_ms": min(values),
                "max_ms": max(values),
                "turns": len(values),
                "steps_of_a_turn": steps,
            }
            for (threads, name), values in sorted(turns.items(), key=lambda item: (item[0][0], item[0][1] != OWN))
        ],
        "ratios": [ratio(count, count) for count in sorted({threads for threads, _ in turns})],
        "best": ratio(best(OWN), best(PEER)),
    }


def measure(batch: str, threads: tuple[int, ...], rounds: int, steps: int) -> Record:
    """All about a batch."""
    atoms = sum(map(len, BATCHES[batch]))
    with ExitStack() as stack:
        sides, agreement = {}, []
        for count in threads:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            save_batch(folder / "batch.npz", BATCHES[batch])
            processes = start_sides(stack, count, folder)
            # The first step of each process, which later ones take the memory of.
            used = {name: process.ask("memory")["bytes"] for name, process in processes.items()}
            agreement.append(compare_losses(processes, count))
            sides |= {(count, name): process for name, process in processes.items()}
        memory = {name: used[name] / atoms for name in used}
        found = summary(time_steps(sides, rounds, steps), steps)
    return {"batch": batch, "atoms": atoms, "bytes_per_atom": memory, "agreement": agreement} | found


def run(batches: tuple[str, ...], threads: tuple[int, ...], rounds: int) -> Record:
    report: Record = {
        "benchmark": "a training step, so3md and so3krates-torch interleaved",
        "date": datetime.date.today().isoformat(),
        "machine": describe_machine(),
        "versions": {**{name: version(name) for name in ("so3md", "torch")}, **peer_versions("so3krates-torch")},
        "limit": [{"threads": count, "gflops": matrix_product_gflops(count)} for count in threads],
        "batches": [],
    }
    for batch in batches:
        console.print(f"{batch} ...")
        report["batches"].append(measure(batch, threads, rounds, STEPS[batch]))
    return report


def print_tables(report: Record) -> None:
    table = Table("batch", "threads", "side", "ms/step", "min .. max", "MB/atom", title="F = 128, 3 layers")
    for one in report["batches"]:
        for row in one["timings"]:
            spread = f"{row['min_ms']:.1f} .. {row['max_ms']:.1f}"
            memory = f"{one['bytes_per_atom'][row['side']] / 1e6:.2f}"
            table.add_row(one["batch"], str(row["threads"]), row["side"], f"{row['median_ms']:.1f}", spread, memory)
    console.print(table)
    for one in report["batches"]:
        for row in (*one["ratios"], one["best"]):
            console.print(
                f"{one['batch']}: so3md on {row['threads']} threads is {row['times_faster']:.1f} times faster than "
                f"so3krates-torch on {row['threads_of_peer']}"
            )


@click.command(help=__doc__.splitlines()[0])
@click.option("--batch", "batches", type=click.Choice(list(STEPS)), multiple=True, default=tuple(STEPS))
@click.option("--threads", type=int, multiple=True, default=(1, 2), show_default=True, help="threads of each side")
@click.option("--rounds", type=int, default=9, show_default=True, help="turns of each side")
@click.option("--output", type=click.Path(path_type=Path), default=RESULTS, help="results as JSON")
def main(batches: tuple[str, ...], threads: tuple[int, ...], rounds: int, output: Path) -> None:
    report = run(batches, threads, rounds)
    load = report["machine"]["load_average_before"]
    if load > 0.5:
        console.print(f"[yellow]the machine was busy (load average {load}): only ratios mean something[/yellow]")
    print_tables(report)
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_text(json.dumps(report, indent=1) + "\n")
    console.print(f"written: {output}")


if __name__ == "__main__":
    main()
