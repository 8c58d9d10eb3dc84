"""Is the time per atom the same for all sizes? Water of 192 to 41472 atoms, step by step in turns, in one process.

    python benchmarks/size_ratios.py

Energy, forces and virial with all terms of SO3LR, `mixed`, on 2 threads. `sizes.py` measures each size in a process of
its own, with its memory and its lists, and turns of seconds; a core of a shared host that is slower for a few seconds
then weighs on one size more than on another. Here a turn is a single step (eight of the smallest box), and ratios are
medians over rounds. Atoms move as in MD; steps that build a list (one in eight to ten, 1.5 to 2.5 % of the time) fall
out of the medians. Prints a table and writes results/size_ratios.json. Leave the machine alone while it runs.
"""

from __future__ import annotations

import datetime
import json
import statistics
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import click
import numpy as np
from machine import describe_machine
from rich.console import Console
from rich.table import Table
from systems import SUPERCELLS, TIMESTEP, moving_water

from so3md import _engine, load_model

RESULTS = Path(__file__).parent / "results" / "size_ratios.json"
REFERENCE = 1536  # atoms
MOST_SPREAD = 0.15  # between the slowest and the fastest size, per atom
STEPS_BEFORE_RETURN = 20  # atoms then move back, so that structures stay those at 300 K

console = Console()


def stepper(atoms_number: int, threads: int) -> Callable[[], float]:
    """A function that takes a turn and returns its time per atom and step in microseconds."""
    atoms = moving_water(atoms_number)
    engine = _engine.Engine(load_model("so3lr"), threads=threads)
    numbers, cell, pbc = atoms.numbers.astype(np.int32), np.array(atoms.cell), [True] * 3
    start, displacement = atoms.positions, TIMESTEP * atoms.get_velocities()
    there_and_back = [*range(STEPS_BEFORE_RETURN), *range(STEPS_BEFORE_RETURN, 0, -1)]
    steps = max(1, REFERENCE // atoms_number)
    done = 0

    def turn() -> float:
        nonlocal done
        positions = [start + there_and_back[(done + k) % len(there_and_back)] * displacement for k in range(steps)]
        done += steps
        begin = time.perf_counter()
        for moved in positions:
            engine.evaluate(numbers, moved, cell, pbc)
        return 1e6 * (time.perf_counter() - begin) / steps / atoms_number

    turn()  # buffers reach their sizes
    return turn


def measure(threads: int, rounds: int) -> dict[int, list[float]]:
    """Times of all turns, by size; in every other round in the opposite order."""
    turns = {size: stepper(size, threads) for size in SUPERCELLS}
    times: dict[int, list[float]] = {size: [] for size in turns}
    for number in range(rounds):
        for size in list(turns)[:: 1 if number % 2 == 0 else -1]:
            times[size].append(turns[size]())
        console.print(f"[dim]{number + 1}/{rounds}: {', '.join(f'{t[-1]:.1f}' for t in times.values())} µs/atom[/dim]")
    return times


def summarise(times: dict[int, list[float]]) -> dict[str, Any]:
    relative = {
        size: statistics.median(a / b for a, b in zip(turns, times[REFERENCE], strict=True))
        for size, turns in times.items()
    }
    spread = max(relative.values()) / min(relative.values())
    return {
        "median_us_per_atom": {size: statistics.median(turns) for size, turns in times.items()},
        "time_per_atom_relative_to_1536": relative,
        "slowest_over_fastest": spread,
        "times_within_15_percent": spread <= 1 + MOST_SPREAD,
    }


@click.command(help=__doc__.splitlines()[0])
@click.option("--threads", type=int, default=2, show_default=True)
@click.option("--rounds", type=int, default=16, show_default=True)
def main(threads: int, rounds: int) -> None:
    machine = describe_machine()
    times = measure(threads, rounds)
    found = summarise(times)
    table = Table("atoms", "µs/atom", "relative", title=f"Water, mixed, {threads} threads, {rounds} rounds")
    for size, relative in found["time_per_atom_relative_to_1536"].items():
        table.add_row(str(size), f"{found['median_us_per_atom'][size]:.1f}", f"{relative:.3f}")
    table.caption = f"slowest over fastest: {found['slowest_over_fastest']:.3f}"
    console.print(table)
    report = {
        "benchmark": "time per atom of liquid water with SO3LR, mixed precision, by size, in turns of single steps",
        "date": datetime.date.today().isoformat(),
        "machine": machine,
        "versions": {name: version(name) for name in ("so3md", "numpy")},
        "threads": threads,
        "summary": found,
        "us_per_atom": times,
    }
    RESULTS.write_text(json.dumps(report, indent=1) + "\n")
    console.print(f"written: {RESULTS}")


if __name__ == "__main__":
    main()
