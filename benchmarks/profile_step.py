"""Where the time of one evaluation goes: seconds by stage of the engine, per atom, for several systems.

    python benchmarks/profile_step.py

Energy, forces and virial with SO3LR (12 Å long-range cutoff) while atoms move as in MD, called directly on the engine.
Prints a table for every number of threads and writes results/profile_step.json.
"""

from __future__ import annotations

import datetime
import json
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

import click
from ase import Atoms
from machine import describe_machine, limit_us_per_atom, matrix_product_gflops
from rich.console import Console
from rich.table import Table
from systems import displacement_per_step, ethanol, water
from worker import STEPS_BEFORE_RETURN

from so3md import load_model
from so3md._engine import Engine

RESULTS = Path(__file__).parent / "results" / "profile_step.json"
#: Enough evaluations for a system of this many atoms to take some seconds; smaller ones get more.
ATOM_STEPS = 100_000

Record = dict[str, Any]
console = Console()


def profile(engine: Engine, name: str, atoms: Atoms) -> Record:
    """Wall time and stage times of an evaluation, the mean of many, in µs per atom."""
    displacement = displacement_per_step(atoms)
    # Whole ways out and back, so that the list is built as often as in MD.
    cycles = max(1, round(ATOM_STEPS / (2 * STEPS_BEFORE_RETURN * len(atoms))))
    phases = [*range(STEPS_BEFORE_RETURN), *range(STEPS_BEFORE_RETURN, 0, -1)]
    cell, pbc = atoms.cell.array, atoms.pbc
    for phase in (0, STEPS_BEFORE_RETURN):
        engine.evaluate(atoms.numbers, atoms.positions + phase * displacement, cell, pbc)

    before = engine.info()
    begin = time.perf_counter()
    for _ in range(cycles):
        for phase in phases:
            engine.evaluate(atoms.numbers, atoms.positions + phase * displacement, cell, pbc)
    wall = time.perf_counter() - begin
    after = engine.info()

    steps = cycles * len(phases)
    per_atom = 1e6 / (steps * len(atoms))
    stages = {
        stage: (seconds - before["stage_seconds"][stage]) * per_atom
        for stage, seconds in after["stage_seconds"].items()
    }
    return {
        "system": name,
        "atoms": len(atoms),
        "us_per_atom": wall * per_atom,
        "stages_us_per_atom": stages,
        "steps": steps,
        "steps_per_list": steps / max(1, after["neighbour_rebuilds"] - before["neighbour_rebuilds"]),
    }


def print_table(rows: list[Record], threads: int, gflops: float) -> None:
    table = Table("µs/atom", *(f"{row['system']} ({row['atoms']})" for row in rows), title=f"{threads} threads")
    for stage in rows[0]["stages_us_per_atom"]:
        table.add_row(stage, *(f"{row['stages_us_per_atom'][stage]:.2f}" for row in rows))
    rest = (row["us_per_atom"] - sum(row["stages_us_per_atom"].values()) for row in rows)
    table.add_row("rest", *(f"{value:.2f}" for value in rest), end_section=True)
    table.add_row("total", *(f"{row['us_per_atom']:.2f}" for row in rows))
    table.add_row("steps per neighbour list", *(f"{row['steps_per_list']:.0f}" for row in rows))
    console.print(table)
    limit = limit_us_per_atom(gflops)
    console.print(f"limit in water: {limit:.1f} µs/atom, at {gflops:.0f} GFLOP/s of a large matrix product\n")


@click.command(help=__doc__.splitlines()[0])
@click.option("--precision", type=click.Choice(["mixed", "double"]), default="mixed", show_default=True)
@click.option("--threads", type=int, multiple=True, default=(1, 2), show_default=True)
@click.option("--output", type=click.Path(path_type=Path), default=RESULTS, help="results as JSON")
def main(precision: str, threads: tuple[int, ...], output: Path) -> None:
    model = load_model("so3lr")
    systems = {"ethanol": ethanol(), **{f"water {n}": water(n) for n in (192, 1536, 5184)}}
    report: Record = {
        "benchmark": "stages of one evaluation of energy, forces and virial with SO3LR",
        "date": datetime.date.today().isoformat(),
        "machine": describe_machine(),
        "versions": {name: version(name) for name in ("so3md", "numpy")},
        "precision": precision,
        "runs": [],
    }
    for count in threads:
        gflops = matrix_product_gflops(count)
        engine = Engine(model, precision=precision, threads=count)
        rows = [profile(engine, name, atoms) for name, atoms in systems.items()]
        info = {"instruction_set": engine.info()["instruction_set"], "gflops": gflops}
        report["runs"].append({"threads": count, **info, "systems": rows})
        print_table(rows, count, gflops)
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_text(json.dumps(report, indent=1) + "\n")
    console.print(f"written: {output}")


if __name__ == "__main__":
    main()
