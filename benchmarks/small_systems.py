"""Ethanol (9 atoms) with SO3LR: in the engine, through ASE, and many at once.

    python benchmarks/small_systems.py

Energy and forces with all physics terms, precision `mixed`. One molecule after the other on one thread, its atoms moved
before every call: the engine alone, which may take 0.3 ms, and what So3kratesCalculator.get_forces() takes beyond that,
which may be 0.2 ms. Short turns of the two stand between short turns of a matrix product, whose rate tells what the
machine gives at that moment: cores of a shared host lose a quarter of their speed for seconds at a time. So there are
two figures, of all turns and of the fastest ones alone, where the products before and after reach nearly the best rate
of the run (if that is low, all of the run was disturbed); and what the counted operations would take at least at that
rate. Then evaluate_many, in molecules per second. Prints tables and writes results/small_systems.json. Leave the
machine alone while it runs.
"""

from __future__ import annotations

import datetime
import json
import os
import statistics
import time
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

os.environ |= {f"{library}_NUM_THREADS": "1" for library in ("OPENBLAS", "OMP", "MKL")}  # of the matrix product

import click
import numpy as np
from ase import Atoms
from ase.build import molecule
from machine import describe_machine
from rich.console import Console
from rich.table import Table

from so3md import So3kratesCalculator, _engine, evaluate_many, load_model
from so3md.benchmark.work import count_work

RESULTS = Path(__file__).parent / "results" / "small_systems.json"
ENGINE_LIMIT = 0.3  # ms
ASE_LIMIT = 0.2  # ms beyond the engine
CALLS = 30  # in a turn
BATCH = 10_000  # molecules in a call of evaluate_many, which loads the model first
BATCH_ROUNDS = 3
DISPLACEMENT = 0.02  # A, standard deviation
PRODUCT_SIZE = 384  # rows and columns: 0.6 MB each
PRODUCTS = 5  # in a turn
NEARLY = 0.9  # of the best rate, that is of the best twentieth of the turns

Record = dict[str, Any]
console = Console()


def moved_ethanol(count: int) -> list[Atoms]:
    """Ethanol with every atom moved, `count` times."""
    rng = np.random.default_rng(0)
    structures = []
    for _ in range(count):
        atoms = molecule("CH3CH2OH")
        atoms.positions += rng.normal(0, DISPLACEMENT, atoms.positions.shape)
        structures.append(atoms)
    return structures


def engine_call() -> Callable[[Atoms], Any]:
    engine = _engine.Engine(load_model("so3lr"), threads=1)
    numbers, cell, pbc = molecule("CH3CH2OH").numbers.astype(np.int32), np.zeros((3, 3)), [False] * 3
    return lambda atoms: engine.evaluate(numbers, atoms.positions, cell, pbc)


def ase_call() -> Callable[[Atoms], Any]:
    atoms = molecule("CH3CH2OH")
    atoms.calc = So3kratesCalculator("so3lr", threads=1)

    def call(moved: Atoms) -> Any:
        atoms.positions = moved.positions
        return atoms.get_forces()

    return call


def milliseconds(call: Callable[[Atoms], Any], structures: Sequence[Atoms]) -> float:
    """Of one call: the median over the structures."""
    times = []
    for atoms in structures:
        begin = time.perf_counter()
        call(atoms)
        times.append(time.perf_counter() - begin)
    return 1e3 * statistics.median(times)


class MatrixProduct:
    """A product of matrices that stay in the cache, on one thread."""

    def __init__(self) -> None:
        rng = np.random.default_rng(0)
        self.factors = [rng.random((PRODUCT_SIZE, PRODUCT_SIZE), dtype=np.float32) for _ in range(2)]

    def gflops(self) -> float:
        """The rate now: the median of a few products."""
        seconds = []
        for _ in range(PRODUCTS):
            begin = time.perf_counter()
            self.factors[0] @ self.factors[1]
            seconds.append(time.perf_counter() - begin)
        return 2e-9 * PRODUCT_SIZE**3 / statistics.median(seconds)


def one_by_one(rounds: int) -> Record:
    """Times of a call, of all turns and of the fastest ones."""
    structures = moved_ethanol(CALLS)
    calls = {"engine": engine_call(), "ase": ase_call()}
    product = MatrixProduct()
    turns: list[dict[str, float]] = []
    for _ in range(rounds):
        before = product.gflops()
        turn = {name: milliseconds(call, structures) for name, call in calls.items()}
        turns.append(turn | {"gflops": min(before, product.gflops())})
    best = sorted(turn["gflops"] for turn in turns)[-max(1, rounds // 20)]
    fastest = [turn for turn in turns if turn["gflops"] >= NEARLY * best]
    least = len(structures[0]) * ethanol_work() / statistics.median(turn["gflops"] for turn in fastest)
    return {
        "all_turns": summary(turns),
        "fastest_turns": summary(fastest),
        "fastest_from_gflops": NEARLY * best,
        "least_ms": least,
        "share_of_limit": least / summary(fastest)["engine_ms"],
        "turns": turns,
    }


def summary(turns: Sequence[dict[str, float]]) -> Record:
    """Medians, and whether they keep the limits."""
    engine = statistics.median(turn["engine"] for turn in turns)
    beyond = statistics.median(turn["ase"] - turn["engine"] for turn in turns)
    return {
        "turns": len(turns),
        "matrix_product_gflops": statistics.median(turn["gflops"] for turn in turns),
        "engine_ms": engine,
        "ase_beyond_engine_ms": beyond,
        "within_limits": engine <= ENGINE_LIMIT and beyond <= ASE_LIMIT,
    }


def ethanol_work() -> float:
    """Million operations per atom: all pairs of ethanol are within the cutoff."""
    hyperparameters = json.loads(load_model("so3lr").metadata)["hyperparameters"]
    return count_work(hyperparameters, neighbours=len(molecule("CH3CH2OH")) - 1).total


def many_at_once(threads: Sequence[int], rounds: int) -> list[Record]:
    """Molecules per second, medians; the numbers of threads take turns."""
    structures = moved_ethanol(BATCH)
    turns: dict[int, list[float]] = {count: [] for count in threads}
    for _ in range(rounds):
        for count in threads:
            begin = time.perf_counter()
            for _result in evaluate_many(structures, "so3lr", threads=count):
                pass
            turns[count].append(BATCH / (time.perf_counter() - begin))
    return [
        {"threads": count, "molecules_per_s": statistics.median(rates), "of_turns": rates}
        for count, rates in turns.items()
    ]


def print_tables(single: Record, many: Sequence[Record]) -> None:
    headings = (
        "turns",
        "",
        "GFLOP/s beside it",
        f"engine, ms (≤ {ENGINE_LIMIT})",
        f"ASE more, ms (≤ {ASE_LIMIT})",
        "within",
    )
    table = Table(*headings, title="Ethanol, 1 thread, one at a time")
    for name in ("all_turns", "fastest_turns"):
        found = single[name]
        numbers = (
            f"{found['matrix_product_gflops']:.0f}",
            f"{found['engine_ms']:.3f}",
            f"{found['ase_beyond_engine_ms']:.3f}",
        )
        table.add_row(str(found["turns"]), name.split("_")[0], *numbers, "yes" if found["within_limits"] else "no")
    table.caption = (
        f"at the rate of the matrix product the operations alone take {single['least_ms']:.3f} ms, "
        f"{100 * single['share_of_limit']:.0f} % of the engine's time in the fastest turns"
    )
    console.print(table)
    table = Table("threads", "molecules per s", title=f"evaluate_many, {BATCH} ethanols")
    for record in many:
        table.add_row(str(record["threads"]), f"{record['molecules_per_s']:.0f}")
    console.print(table)


@click.command(help=__doc__)
@click.option("--rounds", default=400, show_default=True, help="Turns of the engine and of ASE.")
@click.option("--threads", default=(1, 2), multiple=True, type=int, show_default=True, help="Of evaluate_many.")
@click.option("--output", default=RESULTS, type=click.Path(dir_okay=False, path_type=Path), show_default=True)
def main(rounds: int, threads: tuple[int, ...], output: Path) -> None:
    machine = describe_machine()
    single, many = one_by_one(rounds), many_at_once(threads, BATCH_ROUNDS)
    print_tables(single, many)
    document = {
        "date": datetime.date.today().isoformat(),
        "machine": machine,
        "so3md": version("so3md"),
        "instruction_set": _engine.Engine(load_model("so3lr"), threads=1).info()["instruction_set"],
        "atoms": len(molecule("CH3CH2OH")),
        "one_at_a_time": single,
        "evaluate_many": many,
    }
    output.write_text(json.dumps(document, indent=1) + "\n")
    console.print(f"written to {output}")


if __name__ == "__main__":
    main()
