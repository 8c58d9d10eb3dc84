"""Energy and then forces of the same structure, as most ASE scripts ask for them, beside forces at once.

    python benchmarks/energy_then_forces.py                 # writes results/energy_then_forces.json

SO3LR, `mixed`, through So3kratesCalculator; atoms move before every turn. Four ways, in turns of one call each: forces
(and with them the energy) at once; the energy, then the forces; both from calculators of their own, which is what the
second way took when nothing was kept; and the energy alone. Medians, and medians of the ratios to the first way of the
same turn.
"""

from __future__ import annotations

import argparse
import datetime
import json
import statistics
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from machine import describe_machine

from so3md import So3kratesCalculator
from so3md.benchmark.systems import example_system

RESULTS = Path(__file__).parent / "results" / "energy_then_forces.json"
SIZES = {9: 300, 192: 40, 1536: 12}  # atoms, and turns
DISPLACEMENT = 0.002  # A, standard deviation


def ways(atoms: Atoms, threads: int) -> dict[str, Callable[[np.ndarray], Any]]:
    """What a turn calls with new positions."""
    copies = [atoms.copy() for _ in range(5)]
    for one in copies:
        one.calc = So3kratesCalculator(threads=threads)
    at_once, in_order, first, second, energy = copies

    def move(one: Atoms, positions: np.ndarray) -> Atoms:
        one.positions = positions
        return one

    return {
        "forces": lambda positions: move(at_once, positions).get_forces(),
        "energy_then_forces": lambda positions: (
            move(in_order, positions).get_potential_energy(),
            in_order.get_forces(),
        ),
        "nothing_kept": lambda positions: (
            move(first, positions).get_potential_energy(),
            move(second, positions).get_forces(),
        ),
        "energy": lambda positions: move(energy, positions).get_potential_energy(),
    }


def measure(atoms: Atoms, threads: int, turns: int) -> dict[str, Any]:
    """Milliseconds of each way, and its ratio to forces at once."""
    rng = np.random.default_rng(0)
    calls = ways(atoms, threads)
    found: dict[str, list[float]] = {name: [] for name in calls}
    for turn in range(turns + 3):
        positions = atoms.positions + rng.normal(0.0, DISPLACEMENT, atoms.positions.shape)
        for name, call in calls.items():
            begin = time.perf_counter()
            call(positions)
            if turn >= 3:  # the first ones build lists and warm up
                found[name].append(1e3 * (time.perf_counter() - begin))
    ratios = {name: [a / b for a, b in zip(own, found["forces"], strict=True)] for name, own in found.items()}
    return {
        "atoms": len(atoms),
        "threads": threads,
        "turns": turns,
        "milliseconds": {name: statistics.median(times) for name, times in found.items()},
        "ratios": {name: statistics.median(values) for name, values in ratios.items()},
    }


def main() -> None:
    """Measure all sizes, print and write them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--output", type=Path, default=RESULTS)
    options = parser.parse_args()
    rows = []
    for size, turns in SIZES.items():
        rows.append(measure(example_system(size)[1], 1 if size < 100 else options.threads, turns))
        print(json.dumps(rows[-1]), flush=True)
    report = {
        "date": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "so3md": version("so3md"),
        "machine": describe_machine(),
        "rows": rows,
    }
    options.output.parent.mkdir(exist_ok=True)
    options.output.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
