"""Speed by instruction set and number of threads: 1536 atoms of liquid water.

    python benchmarks/instruction_sets.py

Energy, forces and virial with all terms of SO3LR, `mixed`, as `so3md bench` measures them, with each instruction set
that this processor has (SO3MD_INSTRUCTION_SET forces one) and on 1 and 2 threads; all cases one after the other in
every round. Prints a table of times and ratios, with the sets that this machine lacks, and writes
results/instruction_sets.json. Build with SO3MD_INSTRUCTION_SETS=all, as builds in place are: an installed so3md has
portable kernels of less optimisation beside those of the processor. Leave the machine alone while it runs.
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

from so3md import _engine

RESULTS = Path(__file__).parent / "results" / "instruction_sets.json"
#: From the plainest to the widest; those of csrc/cpu/dispatch.cpp.
KNOWN_SETS = ("portable", "avx2", "avx512")
ABSENT = "not on this machine"

Record = dict[str, Any]


def add_ratios(records: list[Record]) -> None:
    """Add how much faster a record is than the portable kernels, and than the same with the fewest threads."""
    for record in records:
        for key, other in (
            ("speedup_over_portable", {"instruction_set": "portable", "threads": record["threads"]}),
            ("speedup_by_threads", {"threads": min(r["threads"] for r in records)}),
        ):
            wanted = {name: record[name] for name in ("instruction_set", "threads")} | other
            reference = next(r for r in records if all(r[name] == value for name, value in wanted.items()))
            record[key] = median_ratio(reference, record)


def print_table(records: list[Record]) -> None:
    atoms = records[0]["atoms"]
    table = Table(title=f"Water, {atoms} atoms, mixed")
    table.add_column("instruction set")
    for heading in ("threads", "µs/atom", "times portable", "times 1 thread", "of limit"):
        table.add_column(heading, justify="right")
    for name in KNOWN_SETS:
        of_set = [record for record in records if record["instruction_set"] == name]
        for record in of_set:
            table.add_row(
                name,
                str(record["threads"]),
                f"{record['us_per_atom']:.1f}",
                f"{record['speedup_over_portable']:.2f}",
                f"{record['speedup_by_threads']:.2f}",
                f"{100 * record['share_of_limit']:.0f} %",
            )
        if not of_set:
            table.add_row(name, ABSENT)
    console.print(table)


@click.command(help=__doc__.splitlines()[0])
@click.option("--atoms", type=int, default=1536, show_default=True, help="a multiple of 192")
@click.option("--threads", type=int, multiple=True, default=(1, 2), show_default=True)
@click.option("--rounds", type=int, default=5, show_default=True)
@click.option("--seconds", type=float, default=4.0, show_default=True, help="least time of a turn")
@click.option("--output", type=click.Path(path_type=Path), default=RESULTS, show_default=True)
def main(atoms: int, threads: tuple[int, ...], rounds: int, seconds: float, output: Path) -> None:
    machine = describe_machine()
    sets = _engine.instruction_sets()
    records = measure([Plan(atoms, count, name) for name in sets for count in sorted(set(threads))], rounds, seconds)
    add_ratios(records)
    print_table(records)
    report = {
        "benchmark": "energy, forces and virial of liquid water with SO3LR, mixed precision, by instruction set",
        "date": datetime.date.today().isoformat(),
        "machine": machine,
        "versions": {name: version(name) for name in ("so3md", "numpy")},
        "absent": {name: ABSENT for name in KNOWN_SETS if name not in sets},
        "cases": records,
    }
    output.parent.mkdir(exist_ok=True)
    output.write_text(json.dumps(report, indent=1) + "\n")
    console.print(f"written: {output}")


if __name__ == "__main__":
    main()
