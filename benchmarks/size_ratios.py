"""Is the time per atom the same for all sizes? Water of 192 to 41472 atoms, step by step in turns, in one process.

    python benchmarks/size_ratios.py

Energy, forces and virial with all terms of SO3LR, `mixed`, on 2 threads. `sizes.py` measures each size in a process of
its own, with its memory; a core of a shared host that is slower for a few seconds then weighs on one size more than on
another. Here sizes take turns of about a second (a step, if it takes longer), and Linux tells how much of a turn the
host gave to others: the ratios of the medians of all turns are printed, and of those turns from which nothing was
taken. Small systems suffer more from what is taken, as their threads wait for each other more often. Atoms move as in
MD, and lists are built when they must be. Prints a table and writes results/size_ratios.json. Leave the machine alone
while it runs.
"""

from __future__ import annotations

import datetime
import json
import math
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
TURN = 1.0  # s
USUAL = 60e-6  # s per atom and step, to know how many steps a turn has
STEPS_BEFORE_RETURN = 20  # atoms then move back, so that structures stay those at 300 K

console = Console()
Series = dict[int, list[float]]  # by number of atoms


def stepper(atoms_number: int, threads: int) -> Callable[[], float]:
    """A function that takes a turn and returns its time per atom and step in microseconds."""
    atoms = moving_water(atoms_number)
    engine = _engine.Engine(load_model("so3lr"), threads=threads)
    numbers, cell, pbc = atoms.numbers.astype(np.int32), np.array(atoms.cell), [True] * 3
    start, displacement = atoms.positions, TIMESTEP * atoms.get_velocities()
    there_and_back = [*range(STEPS_BEFORE_RETURN), *range(STEPS_BEFORE_RETURN, 0, -1)]
    steps = math.ceil(TURN / USUAL / atoms_number)
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


def stolen() -> int | None:
    """Hundredths of a second of all cores that the host has given to others; None where that is not known."""
    try:
        return int(Path("/proc/stat").read_text().split()[8])
    except (OSError, ValueError):
        return None


def measure(threads: int, rounds: int) -> tuple[Series, Series]:
    """Times of all turns and of the undisturbed ones, by size; in every other round in the opposite order."""
    turns = {size: stepper(size, threads) for size in SUPERCELLS}
    times: Series = {size: [] for size in turns}
    undisturbed: Series = {size: [] for size in turns}
    for number in range(rounds):
        for size in list(turns)[:: 1 if number % 2 == 0 else -1]:
            before = stolen()
            times[size].append(turns[size]())
            if before is not None and stolen() == before:
                undisturbed[size].append(times[size][-1])
        console.print(f"[dim]{number + 1}/{rounds}: {', '.join(f'{t[-1]:.1f}' for t in times.values())} µs/atom[/dim]")
    return times, undisturbed


def summarise(times: Series) -> dict[str, Any] | None:
    """None if a size has no turn."""
    if not all(times.values()):
        return None
    medians = {size: statistics.median(turns) for size, turns in times.items()}
    spread = max(medians.values()) / min(medians.values())
    return {
        "turns": {size: len(turns) for size, turns in times.items()},
        "median_us_per_atom": medians,
        "time_per_atom_relative_to_1536": {size: median / medians[REFERENCE] for size, median in medians.items()},
        "slowest_over_fastest": spread,
        "times_within_15_percent": spread <= 1 + MOST_SPREAD,
    }


def show(title: str, found: dict[str, Any] | None) -> None:
    if found is None:
        console.print(f"{title}: a size has none")
        return
    table = Table("atoms", "turns", "µs/atom", "relative", title=title)
    for size, relative in found["time_per_atom_relative_to_1536"].items():
        median = found["median_us_per_atom"][size]
        table.add_row(str(size), str(found["turns"][size]), f"{median:.1f}", f"{relative:.3f}")
    table.caption = f"slowest over fastest: {found['slowest_over_fastest']:.3f}"
    console.print(table)


@click.command(help=__doc__.splitlines()[0])
@click.option("--threads", type=int, default=2, show_default=True)
@click.option("--rounds", type=int, default=24, show_default=True)
def main(threads: int, rounds: int) -> None:
    machine = describe_machine()
    times, undisturbed = measure(threads, rounds)
    show("All turns", summarise(times))
    show("Undisturbed turns", summarise(undisturbed))
    report = {
        "benchmark": "time per atom of liquid water with SO3LR, mixed precision, by size, in turns of single steps",
        "date": datetime.date.today().isoformat(),
        "machine": machine,
        "versions": {name: version(name) for name in ("so3md", "numpy")},
        "threads": threads,
        "all_turns": summarise(times),
        "undisturbed_turns": summarise(undisturbed),
        "us_per_atom": times,
    }
    RESULTS.write_text(json.dumps(report, indent=1) + "\n")
    console.print(f"written: {RESULTS}")


if __name__ == "__main__":
    main()
