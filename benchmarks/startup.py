"""Start-up: importing so3md, and loading SO3LR with its tables.

    python benchmarks/startup.py

Each step in fresh processes, medians of wall-clock times beyond that of starting Python. Prints a table, which says
whether importing and loading take at most 0.3 s each, and writes results/startup.json. Leave the machine alone while it
runs.
"""

from __future__ import annotations

import datetime
import json
import statistics
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

import click
from machine import describe_machine
from rich.console import Console
from rich.table import Table

RESULTS = Path(__file__).parent / "results" / "startup.json"
LIMIT = 0.3  # s

#: What is timed inside a fresh process: (name, what is done before, the step).
STEPS = (
    ("import so3md", "", "import so3md"),
    ("import the calculator", "", "from so3md import So3kratesCalculator"),
    ("of these, NumPy and ASE", "", "import ase.calculators.calculator"),
    ("load SO3LR", "from so3md import _engine, load_model", "model = load_model('so3lr')"),
    (
        "build its tables, 1 thread",
        "from so3md import _engine, load_model; model = load_model('so3lr')",
        "_engine.Engine(model, threads=1)",
    ),
    (
        "load SO3LR and build its tables",
        "from so3md import _engine, load_model",
        "_engine.Engine(load_model('so3lr'))",
    ),
)
#: Those that may take LIMIT.
LIMITED = ("import so3md", "import the calculator", "load SO3LR and build its tables")

PROGRAM = "import time\n{before}\nbegin = time.perf_counter()\n{step}\nprint(time.perf_counter() - begin)"


def seconds_of(before: str, step: str) -> float:
    program = PROGRAM.format(before=before, step=step)
    return float(subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True).stdout)


def print_table(steps: list[dict[str, Any]]) -> None:
    table = Table("step", "ms", "min .. max", f"≤ {LIMIT} s", title="Start-up in fresh processes")
    for step in steps:
        limited = "" if step["within_limit"] is None else "yes" if step["within_limit"] else "no"
        spread = f"{1e3 * step['min_s']:.0f} .. {1e3 * step['max_s']:.0f}"
        table.add_row(step["step"], f"{1e3 * step['median_s']:.0f}", spread, limited)
    Console().print(table)


@click.command(help=__doc__.splitlines()[0])
@click.option("--rounds", type=int, default=15, show_default=True, help="processes of each step")
@click.option("--output", type=click.Path(path_type=Path), default=RESULTS, show_default=True)
def main(rounds: int, output: Path) -> None:
    machine = describe_machine()
    for _, before, step in STEPS:
        seconds_of(before, step)  # files get into the cache of the system
    seconds: dict[str, list[float]] = {name: [] for name, _, _ in STEPS}
    for _ in range(rounds):
        for name, before, step in STEPS:
            seconds[name].append(seconds_of(before, step))
    steps = [
        {
            "step": name,
            "median_s": (median := statistics.median(times)),
            "min_s": min(times),
            "max_s": max(times),
            "within_limit": median <= LIMIT if name in LIMITED else None,
        }
        for name, times in seconds.items()
    ]
    print_table(steps)
    report = {
        "benchmark": "start-up of so3md in fresh processes",
        "date": datetime.date.today().isoformat(),
        "machine": machine,
        "versions": {name: version(name) for name in ("so3md", "numpy", "ase")},
        "limit_s": LIMIT,
        "steps": steps,
    }
    output.parent.mkdir(exist_ok=True)
    output.write_text(json.dumps(report, indent=1) + "\n")
    print(f"written: {output}")


if __name__ == "__main__":
    main()
