"""What electrostatics of all periodic images cost beside the cutoff of 12 A: steps of all in turn, in boxes of water.

    python benchmarks/ewald.py                          # 192 to 110,592 atoms
    python benchmarks/ewald.py --atoms 1536 --precision double --rounds 9 --json ewald.json

Energy, forces and virial in one process, with atoms that move as in dynamics at 300 K. Each round has a few steps with
the cutoff, with the sum over waves and with the particle mesh. `more`: the median over the rounds of how much longer
those of either took than those with the cutoff, by the processor's time of all threads, which other work on the machine
changes least. `share`: of a step, what is spent in the sum itself. `chosen`: what ewald_method="auto" takes.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from machine import describe_machine

from so3md import load_model
from so3md._engine import Engine, ewald_plan
from so3md.benchmark.systems import displacement_per_step, example_system

KINDS: dict[str, dict[str, Any]] = {
    "cutoff": {},
    "sum": {"coulomb": "ewald", "ewald_method": "sum"},
    "mesh": {"coulomb": "ewald", "ewald_method": "mesh"},
}
ACCURACY = {"mixed": 1e-7, "double": 1e-11}  # eV/A, the defaults


class Side:
    """An engine, and a structure whose atoms move a little further with each step."""

    def __init__(self, atoms: Any, kind: str, precision: str, threads: int) -> None:
        self.engine = Engine(load_model("so3lr"), precision=precision, threads=threads, **KINDS[kind])
        self.atoms, self.step, self.displacement = atoms, 0, displacement_per_step(atoms)
        self.run(1)

    def run(self, steps: int) -> tuple[float, float]:
        """Seconds of a step, that pass and of the processor."""
        begin, cpu_begin = time.perf_counter(), time.process_time()
        for _ in range(steps):
            self.step += 1
            positions = self.atoms.positions + self.step * self.displacement
            self.engine.evaluate(self.atoms.numbers, positions, self.atoms.cell.array, self.atoms.pbc)
        return (time.perf_counter() - begin) / steps, (time.process_time() - cpu_begin) / steps


def measure(n_atoms: int, precision: str, threads: int, rounds: int, steps: int) -> dict[str, Any]:
    """All kinds, in turn."""
    _, atoms = example_system(n_atoms)
    sides = {kind: Side(atoms, kind, precision, threads) for kind in KINDS}
    before = {kind: side.engine.info()["stage_seconds"] for kind, side in sides.items()}
    times = {kind: np.array(rows) for kind, rows in _rounds(sides, rounds, steps).items()}
    after = {kind: side.engine.info()["stage_seconds"] for kind, side in sides.items()}
    of_system = {"cell": atoms.cell.array, "num_atoms": n_atoms, "accuracy": ACCURACY[precision]}
    plan, chosen = (
        ewald_plan(**of_system, method=method, single_precision=precision == "mixed") for method in ("mesh", "auto")
    )
    return {
        "atoms": n_atoms,
        "precision": precision,
        "threads": threads,
        "seconds": {kind: median(rows[:, 0].tolist()) for kind, rows in times.items()},
        "cpu_seconds": {kind: median(rows[:, 1].tolist()) for kind, rows in times.items()},
        "more": {kind: median((times[kind][:, 1] / times["cutoff"][:, 1] - 1).tolist()) for kind in ("sum", "mesh")},
        "share": {kind: _share(before[kind], after[kind]) for kind in ("sum", "mesh")},
        "points": plan["points"],
        "order": plan["order"],
        "chosen": "mesh" if chosen["on_mesh"] else "sum",
    }


def _share(before: dict[str, float], after: dict[str, float]) -> float:
    stages = {stage: seconds - before.get(stage, 0.0) for stage, seconds in after.items()}
    return stages["ewald"] / sum(stages.values())


def _rounds(sides: dict[str, Side], rounds: int, steps: int) -> dict[str, list[tuple[float, float]]]:
    found: dict[str, list[tuple[float, float]]] = {kind: [] for kind in sides}
    for number in range(rounds):
        for kind in KINDS if number % 2 else reversed(KINDS):
            found[kind].append(sides[kind].run(steps))
    return found


def main() -> None:
    """Measure all sizes and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--atoms", type=int, nargs="+", default=[192, 1536, 5184, 12288, 41472, 110592])
    parser.add_argument("--precision", choices=("mixed", "double"), nargs="+", default=["mixed"])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--json", type=Path, help="write the numbers to this file too")
    arguments = parser.parse_args()
    rows = []
    print(f"{'atoms':>7} {'precision':>9} {'cutoff, s':>10} {'sum, s':>10} {'mesh, s':>10} {'shares':>15}  chosen")
    for n_atoms in arguments.atoms:
        for precision in arguments.precision:
            steps = max(1, 4000 // n_atoms)
            row = measure(n_atoms, precision, arguments.threads, arguments.rounds, steps)
            rows.append(row)
            times = " ".join(f"{row['cpu_seconds'][kind]:10.4f}" for kind in KINDS)
            shares = " ".join(f"{share:7.1%}" for share in row["share"].values())
            print(f"{n_atoms:7d} {precision:>9} {times} {shares}  {row['chosen']}", flush=True)
    if arguments.json:
        report = {"machine": describe_machine(), "rounds": arguments.rounds, "rows": rows}
        arguments.json.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
