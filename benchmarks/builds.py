"""Two builds of the engine side by side, in turns: how much longer an evaluation takes with one than with the other.

    python benchmarks/builds.py build/gcc/site build/clang/site
    python benchmarks/builds.py build/gcc/site build/clang/site --output benchmarks/results/compilers.json

Each folder holds a package `so3md` with its own module (docs/developer_guide.md, "Clang"). One thread, 192 atoms of
water; CPU time, so that a busy machine disturbs it little, and turns in alternating order. SO3MD_INSTRUCTION_SET
chooses the kernels. Prints the medians, and the median of the ratios of neighbouring turns with its standard error and
their quartiles; a host that others share disturbs single turns by a tenth, so that a per cent takes many (--turns).
With --output, writes them with the machine's name and what SITE/so3md/_engine.*.so says of its compiler.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from machine import describe_machine

SECONDS = 0.1  # of a turn


def worker(precision: str) -> None:
    """Evaluate as often as asked for; print the CPU time of each, in microseconds per atom."""
    from ase.io import read

    from so3md import So3kratesCalculator
    from so3md.loading import model_path

    atoms = read(model_path("so3lr").parent.parent / "structures" / "water_64.xyz")
    calculator = So3kratesCalculator(precision=precision, threads=1)

    def evaluate() -> None:
        atoms.positions += 1e-6  # else the calculator remembers
        calculator.get_property("forces", atoms)

    evaluate()
    print("ready", flush=True)
    for line in sys.stdin:
        begin = time.process_time()
        for _ in range(int(line)):
            evaluate()
        print(1e6 * (time.process_time() - begin) / int(line) / len(atoms), flush=True)


def start(site: str, precision: str) -> subprocess.Popen[str]:
    """A worker with the package of a folder."""
    path = os.path.abspath(site)
    if not os.path.isdir(os.path.join(path, "so3md")):
        sys.exit(f"{site}: expected a folder with the package so3md in it")
    command = [sys.executable, __file__, "--worker", precision]
    pipe = subprocess.PIPE
    process = subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, env=os.environ | {"PYTHONPATH": path})
    process.stdout.readline()
    return process


def turn(process: subprocess.Popen[str], evaluations: int) -> float:
    """The time of an evaluation."""
    process.stdin.write(f"{evaluations}\n")
    process.stdin.flush()
    return float(process.stdout.readline())


def compare(sites: list[str], precision: str, turns: int) -> dict[str, Any]:
    """Both builds in one precision: medians in us per atom; of the ratios of turns median, its error, and quartiles."""
    workers = [start(site, precision) for site in sites]
    evaluations = max(1, round(SECONDS / (turn(workers[0], 1) * 192e-6)))
    times: list[list[float]] = [[], []]
    for number in range(turns):
        for k in (0, 1) if number % 2 else (1, 0):
            times[k].append(turn(workers[k], evaluations))
    for process in workers:
        process.stdin.close()
        process.wait()
    medians = [statistics.median(values) for values in times]
    low, ratio, high = statistics.quantiles((b / a for a, b in zip(*times, strict=True)), n=4)
    return {
        "precision": precision,
        "turns": turns,
        "us_per_atom": medians,
        "ratio": ratio,
        # Of a median, with the width of a normal distribution that has these quartiles.
        "standard_error_of_ratio": 1.253 * (high - low) / 1.349 / turns**0.5,
        "quartiles_of_ratios": [low, high],
    }


def compiler(site: str) -> str:
    """Name and version of the compiler, which it leaves in what it makes."""
    module = next(Path(site, "so3md").glob("_engine*.so")).read_bytes()
    names = re.findall(rb"(?:Debian |Ubuntu )?(?:clang version|GCC: \([^)]*\)) [0-9.]+", module)
    clang = [name for name in names if b"clang" in name]  # start-up files beside it are of GCC
    return (clang or names)[0].decode() if names else "unknown"


def main() -> None:
    """Compare in both precisions."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sites", nargs=2, metavar="SITE")
    parser.add_argument("--turns", type=int, default=120)
    parser.add_argument("--output", type=Path)
    options = parser.parse_args()
    machine = describe_machine()
    rows = []
    for precision in ("mixed", "double"):
        row = compare(options.sites, precision, options.turns)
        first, second = row["us_per_atom"]
        low, high = row["quartiles_of_ratios"]
        print(
            f"{precision}: {first:.0f} and {second:.0f} us per atom; second / first {row['ratio']:.3f} "
            f"+- {row['standard_error_of_ratio']:.3f} (half of the turns {low:.2f} to {high:.2f})",
            flush=True,
        )
        rows.append(row)
    if options.output:
        builds = [compiler(site) for site in options.sites]
        options.output.write_text(json.dumps({"machine": machine, "builds": builds, "rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--worker"]:
        worker(sys.argv[2])
    else:
        main()
