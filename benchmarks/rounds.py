"""Cases of `so3md bench`, interleaved in several rounds, for scripts that look at the ratios of their times."""

from __future__ import annotations

import statistics
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from so3md import load_model
from so3md.benchmark.cases import Case, System, add_limits, describe_model, figures, measure_product
from so3md.benchmark.systems import example_system

Record = dict[str, Any]
LR_CUTOFF = 12.0  # A
PRODUCT_SECONDS = 1.0

console = Console()


@dataclass(frozen=True)
class Plan:
    """A case of liquid water, and in how many of the rounds it is measured."""

    atoms: int
    threads: int
    instruction_set: str | None = None
    precision: str = "mixed"
    rounds: int | None = None
    """None: all of them"""


def measure(plans: Sequence[Plan], rounds: int, seconds: float) -> list[Record]:
    """A record of `so3md.benchmark.cases.figures` for each plan, with the limit: that of its median turn.

    `turns_us_per_atom` has the times of all turns, None for rounds without one. Each turn is a process of its own, at
    least `seconds` long; a large matrix product is measured beside it.
    """
    model = load_model("so3lr")
    described = describe_model(model)
    turns: list[list[Record | None]] = [[] for _ in plans]
    with tempfile.TemporaryDirectory() as folder:
        sizes = {plan.atoms for plan in plans}
        systems = {atoms: System.prepare(*example_system(atoms), model, Path(folder)) for atoms in sizes}
        cases = [Case(systems[plan.atoms], plan.precision, plan.threads, plan.instruction_set) for plan in plans]
        for turn in range(rounds):
            for number, (plan, case) in enumerate(zip(plans, cases, strict=True)):
                if plan.rounds is not None and turn >= plan.rounds:
                    turns[number].append(None)
                    continue
                product = measure_product(case, PRODUCT_SECONDS)
                record = figures(case, case.run(model.path, LR_CUTOFF, seconds), described)
                add_limits([record], [product])
                turns[number].append(record)
                console.print(f"[dim]{turn + 1}/{rounds}: {case.describe()}: {record['us_per_atom']:.1f} µs/atom[/dim]")
    return [_median_turn(of_plan) for of_plan in turns]


def _median_turn(turns: Sequence[Record | None]) -> Record:
    done = sorted((record for record in turns if record is not None), key=lambda record: record["us_per_atom"])
    times = [None if record is None else record["us_per_atom"] for record in turns]
    return {**done[(len(done) - 1) // 2], "turns_us_per_atom": times}


def median_ratio(record: Record, other: Record) -> float:
    """How many times longer `record` takes than `other`: the median over the rounds that both took part in.

    Turns of one round saw the same machine, so that this is better than the ratio of the medians.
    """
    pairs = zip(record["turns_us_per_atom"], other["turns_us_per_atom"], strict=True)
    return statistics.median(a / b for a, b in pairs if a is not None and b is not None)
