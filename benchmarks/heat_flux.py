"""Heat fluxes and currents of polarization: their time beside that of a step (energy and forces) of the same water, on
one thread.

    python benchmarks/heat_flux.py

Medians of processor times, taken in turn, so that other work on the machine counts little. Prints a table and writes
results/heat_flux.json.
"""

from __future__ import annotations

import datetime
import json
import statistics
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import numpy as np
from machine import describe_machine
from rich.console import Console
from rich.table import Table

from so3md import _engine, load_model
from so3md.structures import read_structure

RESULTS = Path(__file__).parent / "results" / "heat_flux.json"
COPIES = (1, 2)  # of 192 atoms, along each direction
REPEATS = 5


def seconds_of(work: Callable[[], object]) -> float:
    begin = time.process_time()
    work()
    return time.process_time() - begin


def measure(copies: int) -> dict[str, float]:
    """Medians for one box, in microseconds per atom."""
    atoms = read_structure("water").repeat(copies)
    structure = atoms.numbers, atoms.positions, atoms.cell.array, atoms.pbc
    velocities = np.random.default_rng(1).normal(size=atoms.positions.shape)
    work: dict[str, Callable[[], object]] = {}
    for precision in ("mixed", "double"):
        engine = _engine.Engine(load_model("so3lr"), precision=precision, threads=1)
        work[f"step_{precision}"] = lambda engine=engine: engine.evaluate(*structure)
        work[f"flux_{precision}"] = lambda engine=engine: engine.heat_flux(*structure, velocities)
        work[f"current_{precision}"] = lambda engine=engine: engine.polarization_current(*structure, velocities)
    for once in work.values():
        once()  # lists, tables and memory
    found: dict[str, list[float]] = {name: [] for name in work}
    for _ in range(REPEATS):
        for name, once in work.items():
            found[name].append(seconds_of(once))
    return {name: 1e6 * statistics.median(times) / len(atoms) for name, times in found.items()} | {"atoms": len(atoms)}


def main() -> None:
    """Measure all, print and write it."""
    sizes = [measure(copies) for copies in COPIES]
    timed = [f"{what}_{precision}" for what in ("flux", "current") for precision in ("mixed", "double")]
    header = [name.replace("_", ", ") for name in ("step_mixed", "step_double", *timed)]
    table = Table("atoms", *header, title="us per atom, 1 thread")
    for size in sizes:
        step = size["step_mixed"]
        cells = (f"{size[name]:.0f} ({size[name] / step:.1f} steps)" for name in timed)
        table.add_row(str(size["atoms"]), f"{step:.0f}", f"{size['step_double']:.0f}", *cells)
    Console().print(table)
    contents = {
        "date": datetime.date.today().isoformat(),
        "so3md": version("so3md"),
        "machine": describe_machine(),
        "instruction_set": _engine.Engine(load_model("so3lr"), threads=1).info()["instruction_set"],
        "microseconds_per_atom": sizes,
    }
    RESULTS.write_text(json.dumps(contents, indent=2) + "\n")


if __name__ == "__main__":
    main()
