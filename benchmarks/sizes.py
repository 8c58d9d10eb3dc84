"""Time and memory per atom against the size of the system: liquid water from 192 to more than 100,000 atoms.

    python benchmarks/sizes.py

Energy, forces and virial with all terms of SO3LR, `mixed`, on 2 threads, as `so3md bench` measures them: each case in a
process of its own, the sizes one after the other in every round. Prints tables, which say whether times are within
15 % of each other and memory below 20 kB per atom, and writes results/sizes.json. Leave the machine alone while it
runs.
"""

from __future__ import annotations

import datetime
import json
from importlib.metadata import version
from pathlib import Path
from typing import Any

import click
from machine import describe_machine
from rich.table import Table
from rounds import Plan, console, measure, median_ratio

RESULTS = Path(__file__).parent / "results" / "sizes.json"
SIZES = (192, 1536, 5184, 12288, 41472)
LARGEST = 110592  # measured once, and only to show that it runs
REFERENCE = 1536
MOST_SPREAD = 0.15  # between the slowest and the fastest of SIZES, per atom
MOST_MEMORY = 20.0  # kB per atom
MEMORY_FROM = 41472  # atoms; what does not depend on size weighs on smaller ones

Record = dict[str, Any]


def summary(records: list[Record]) -> Record:
    """Whether it is linear in size."""
    relative = {r["atoms"]: median_ratio(r, by_size(records, REFERENCE)) for r in records}
    counted = [relative[size] for size in relative if size != LARGEST]
    return {
        "time_per_atom_relative_to_1536": relative,
        "largest_deviation_from_1536": max(abs(value - 1) for value in counted),
        "slowest_over_fastest": max(counted) / min(counted),
        "times_within_15_percent": max(counted) / min(counted) <= 1 + MOST_SPREAD,
        f"memory_below_20_kB_per_atom_from_{MEMORY_FROM}_atoms": all(
            r["memory"]["kb_per_atom"] <= MOST_MEMORY for r in records if r["atoms"] >= MEMORY_FROM and r["memory"]
        ),
    }


def by_size(records: list[Record], atoms: int) -> Record:
    return next(record for record in records if record["atoms"] == atoms)


def print_tables(records: list[Record], found: Record) -> None:
    table = Table(title=f"Water, mixed, {records[0]['threads']} threads, {records[0]['instruction_set']}")
    headings = ("atoms", "µs/atom", "relative", "of limit", "kB/atom", "≤ 20", "steps per list", "ms per step")
    for heading in headings:
        table.add_column(heading, justify="right")
    for record in records:
        memory, life = record["memory"], record["steps_per_list"]
        kilobytes = None if memory is None else memory["kb_per_atom"]
        table.add_row(
            str(record["atoms"]),
            f"{record['us_per_atom']:.1f}",
            f"{found['time_per_atom_relative_to_1536'][record['atoms']]:.3f}",
            f"{100 * record['share_of_limit']:.0f} %",
            "?" if kilobytes is None else f"{kilobytes:.1f}",
            "?" if kilobytes is None else "yes" if kilobytes <= MOST_MEMORY else "no",
            "many" if life is None else f"{life:.0f}",
            f"{record['ms_per_step']:.1f}",
        )
    slowest = f"{found['slowest_over_fastest']:.3f}"
    table.caption = (
        f"up to {SIZES[-1]} atoms: within {100 * found['largest_deviation_from_1536']:.0f} % of 1536; slowest over "
        f"fastest: {slowest}; within 15 %: {'yes' if found['times_within_15_percent'] else 'no'}"
    )
    console.print(table)
    stages = Table(title="Per cent of a step")
    stages.add_column("stage")
    for record in records:
        stages.add_column(str(record["atoms"]), justify="right")
    last = records[-1]["stage_shares"]
    for stage in sorted(last, key=lambda stage: -last[stage]):
        stages.add_row(stage, *(f"{100 * record['stage_shares'].get(stage, 0):.1f}" for record in records))
    console.print(stages)


@click.command(help=__doc__.splitlines()[0])
@click.option("--atoms", type=click.IntRange(min=192), multiple=True, help="Multiples of 192. Default: all sizes.")
@click.option("--threads", type=int, default=2, show_default=True)
@click.option("--rounds", type=int, default=3, show_default=True)
@click.option("--seconds", type=float, default=5.0, show_default=True, help="least time of a turn")
@click.option("--output", type=click.Path(path_type=Path), default=RESULTS, show_default=True)
def main(atoms: tuple[int, ...], threads: int, rounds: int, seconds: float, output: Path) -> None:
    machine = describe_machine()
    sizes = sorted({*(atoms or (*SIZES, LARGEST)), REFERENCE})
    plans = [Plan(size, threads, rounds=1 if size >= LARGEST else None) for size in sizes]
    records = measure(plans, rounds, seconds)
    found = summary(records)
    print_tables(records, found)
    report = {
        "benchmark": "energy, forces and virial of liquid water with SO3LR, mixed precision, by number of atoms",
        "date": datetime.date.today().isoformat(),
        "machine": machine,
        "versions": {name: version(name) for name in ("so3md", "numpy")},
        "summary": found,
        "cases": records,
    }
    output.parent.mkdir(exist_ok=True)
    output.write_text(json.dumps(report, indent=1) + "\n")
    console.print(f"written: {output}")


if __name__ == "__main__":
    main()
