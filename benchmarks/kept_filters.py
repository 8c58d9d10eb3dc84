"""Filters that are kept for the adjoint beside filters that are worked out again: time and memory, in turns.

    python benchmarks/kept_filters.py

Energies and forces of liquid water with all terms of SO3LR, `mixed`. The engine keeps filters where they take little
memory (docs/performance.md); here it is told to do one or the other, and both sides take turns as two builds do
(benchmarks/builds.py). Results are the same to the bit, which is checked. Written to results/kept_filters.json.
"""

from __future__ import annotations

import argparse
import datetime
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import turns
from machine import describe_machine

RESULTS = Path(__file__).parent / "results" / "kept_filters.json"
#: Supercells of 192 atoms, and threads.
CASES = (((1, 1, 1), 1), ((1, 1, 1), 2), ((2, 2, 2), 1), ((2, 2, 2), 2), ((3, 3, 3), 2))
SIDES = ("kept", "again")


def make(side: str, supercell: tuple[int, ...], threads: int) -> tuple[Any, dict[str, Any]]:
    """An engine of one side, and the structure."""
    from so3md._engine import Engine
    from so3md.loading import load_model
    from so3md.structures import read_structure

    atoms = read_structure("water", supercell=supercell)
    engine = Engine(load_model("so3lr"), threads=threads, keep_filters=side == "kept")
    structure = {"numbers": atoms.numbers, "positions": atoms.positions, "cell": atoms.cell.array, "pbc": atoms.pbc}
    return engine, structure


def worker(side: str, supercell: str, threads: str) -> None:
    """Evaluate as often as asked for."""
    engine, structure = make(side, tuple(map(int, supercell.split(","))), int(threads))

    def evaluate() -> None:
        structure["positions"] += 1e-6  # else the engine remembers
        engine.evaluate(**structure)

    turns.serve(evaluate, len(structure["numbers"]))


def resident_kb() -> float:
    """Memory of this process."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(float(line.split()[1]) for line in lines if line.startswith("VmRSS:"))


def memory(supercell: tuple[int, ...]) -> list[float]:
    """What an evaluation takes on each side, in kB per atom. Ends the benchmark if their forces differ in any bit."""
    made, used, forces = [], [], []
    for side, size in (("again", (1, 1, 1)), *((side, supercell) for side in SIDES)):
        before = resident_kb()
        engine, structure = make(side, size, 2)
        forces.append(engine.evaluate(**structure)["forces"])
        used.append((resident_kb() - before) / len(structure["numbers"]))
        made.append(engine)  # or the next would take over its memory
    if not np.array_equal(*forces[1:]):
        sys.exit("forces differ: the sides do not do the same work")
    return used[1:]  # the first one loaded the program


def main() -> None:
    """Compare all cases, and write them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--turns", type=int, default=60)
    parser.add_argument("--output", type=Path, default=RESULTS)
    options = parser.parse_args()
    machine, rows = describe_machine(), []
    for supercell, threads in CASES:
        atoms, cell = 192 * int(np.prod(supercell)), ",".join(map(str, supercell))
        sides = [turns.start([sys.executable, __file__, "--worker", s, cell, str(threads)], s) for s in SIDES]
        rows.append({"atoms": atoms, "threads": threads, **turns.compare(sides, atoms, options.turns)})
        print(f"{atoms} atoms, {threads} threads: {turns.line(rows[-1])}", flush=True)
    report = {
        "date": datetime.date.today().isoformat(),
        "machine": machine,
        "sides": SIDES,
        "rows": rows,
        "memory_kb_per_atom": {"atoms": 1536, **dict(zip(SIDES, memory((2, 2, 2)), strict=True))},
    }
    options.output.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--worker"]:
        worker(*sys.argv[2:])
    else:
        main()
