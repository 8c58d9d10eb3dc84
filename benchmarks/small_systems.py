"""Ethanol (9 atoms) with SO3LR: in the engine, through ASE, and many at once.

    python benchmarks/small_systems.py

Energy and forces with all physics terms, precision `mixed`. One molecule after the other on one thread, its atoms moved
before every call: the engine alone, which may take 0.3 ms, and what So3kratesCalculator.get_forces() takes beyond that,
which may be 0.2 ms; the two take turns with a large matrix product, whose rate tells what the machine gave meanwhile
and what the counted operations would take at least. Then evaluate_many, in molecules per second. Prints tables and
writes results/small_systems.json. Leave the machine alone while it runs.
"""

from __future__ import annotations

import datetime
import json
import statistics
import time
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import click
import numpy as np
from ase import Atoms
from ase.build import molecule
from machine import describe_machine
from rich.console import Console
from rich.table import Table

from so3md import So3kratesCalculator, _engine, evaluate_many, load_model
from so3md.benchmark.machine import matrix_product_gflops
from so3md.benchmark.work import count_work

RESULTS = Path(__file__).parent / "results" / "small_systems.json"
ENGINE_LIMIT = 0.3  # ms
ASE_LIMIT = 0.2  # ms beyond the engine
CALLS = 200  # in a turn
BATCH = 10_000  # molecules in a call of evaluate_many, which loads the model first
BATCH_ROUNDS = 3
DISPLACEMENT = 0.02  # A, standard deviation
PRODUCT_SECONDS = 0.1  # of the matrix product, in a turn

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


def one_by_one(rounds: int) -> Record:
    """Times of a call, and of turns next to each other the difference."""
    structures = moved_ethanol(CALLS)
    calls = {"engine": engine_call(), "ase": ase_call()}
    turns: dict[str, list[float]] = {name: [] for name in calls}
    rates = []
    for _ in range(rounds):
        for name, call in calls.items():
            turns[name].append(milliseconds(call, structures))
        rates.append(matrix_product_gflops(1, seconds=PRODUCT_SECONDS))
    beyond = [ase - engine for engine, ase in zip(turns["engine"], turns["ase"], strict=True)]
    medians = {name: statistics.median(times) for name, times in turns.items()} | {
        "ase_beyond_engine": statistics.median(beyond)
    }
    within = {
        "engine": medians["engine"] <= ENGINE_LIMIT,
        "ase_beyond_engine": medians["ase_beyond_engine"] <= ASE_LIMIT,
    }
    gflops = statistics.median(rates)
    least = len(structures[0]) * ethanol_work() / gflops
    return {
        "ms": medians,
        "ms_of_turns": turns,
        "within_limit": within,
        "matrix_product_gflops": gflops,
        "gflops_of_turns": rates,
        "least_ms": least,
        "share_of_limit": least / medians["engine"],
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
    table = Table("ethanol, 1 thread", "ms", "limit, ms", "within", title="One at a time")
    rows = (("engine", ENGINE_LIMIT), ("ase", None), ("ase_beyond_engine", ASE_LIMIT))
    for name, limit in rows:
        within = "" if limit is None else "yes" if single["within_limit"][name] else "no"
        table.add_row(name.replace("_", " "), f"{single['ms'][name]:.3f}", "" if limit is None else str(limit), within)
    table.caption = (
        f"{single['matrix_product_gflops']:.0f} GFLOP/s in a matrix product next to it: the operations alone "
        f"take {single['least_ms']:.3f} ms, {100 * single['share_of_limit']:.0f} % of the engine's time"
    )
    console.print(table)
    table = Table("threads", "molecules per s", title=f"evaluate_many, {BATCH} ethanols")
    for record in many:
        table.add_row(str(record["threads"]), f"{record['molecules_per_s']:.0f}")
    console.print(table)


@click.command(help=__doc__)
@click.option("--rounds", default=15, show_default=True, help="Turns of the engine and of ASE.")
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
