"""Two sides in turns, each a process of its own, for scripts that look at the ratio of their times.

A side calls `serve` with what it measures. CPU time, so that a busy machine disturbs it little, and turns in
alternating order; a host that others share disturbs single turns by a tenth, so that a per cent takes many of them.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

SECONDS = 0.1  # of a turn

Side = subprocess.Popen[str]


def serve(evaluate: Callable[[], object], atoms: int) -> None:
    """Evaluate as often as asked for; print the CPU time of each, in microseconds per atom."""
    evaluate()
    print("ready", flush=True)
    for line in sys.stdin:
        begin = time.process_time()
        for _ in range(int(line)):
            evaluate()
        print(1e6 * (time.process_time() - begin) / int(line) / atoms, flush=True)


def start(command: Sequence[str], name: str, environment: Mapping[str, str] | None = None) -> Side:
    """A process that serves; `name` is for the message if it does not."""
    pipe = subprocess.PIPE
    side = subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, env=os.environ | (environment or {}))
    if side.stdout.readline() != "ready\n":
        sys.exit(f"{name}: no evaluation was possible there")
    return side


def turn(side: Side, evaluations: int) -> float:
    """The time of an evaluation."""
    side.stdin.write(f"{evaluations}\n")
    side.stdin.flush()
    return float(side.stdout.readline())


def compare(sides: Sequence[Side], atoms: int, turns: int) -> dict[str, Any]:
    """Medians of both in us per atom; of the ratios of turns the median, its error, and quartiles. Ends the sides."""
    evaluations = max(1, round(SECONDS / (turn(sides[0], 1) * atoms * 1e-6)))
    times: list[list[float]] = [[], []]
    for number in range(turns):
        for k in (0, 1) if number % 2 else (1, 0):
            times[k].append(turn(sides[k], evaluations))
    for side in sides:
        side.stdin.close()
        side.wait()
    low, ratio, high = statistics.quantiles((b / a for a, b in zip(*times, strict=True)), n=4)
    return {
        "turns": turns,
        "us_per_atom": [statistics.median(values) for values in times],
        "ratio": ratio,
        # Of a median, with the width of a normal distribution that has these quartiles.
        "standard_error_of_ratio": 1.253 * (high - low) / 1.349 / turns**0.5,
        "quartiles_of_ratios": [low, high],
    }


def line(row: dict[str, Any]) -> str:
    """A row of `compare`, to be printed."""
    first, second = row["us_per_atom"]
    low, high = row["quartiles_of_ratios"]
    return (
        f"{first:.0f} and {second:.0f} us per atom; second / first {row['ratio']:.3f} "
        f"+- {row['standard_error_of_ratio']:.3f} (half of the turns {low:.2f} to {high:.2f})"
    )
