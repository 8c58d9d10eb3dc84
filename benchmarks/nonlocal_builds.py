"""Attention between all atoms in two builds, in turns: times, and whether their results are the same.

    python benchmarks/nonlocal_builds.py OLD/python NEW/python        # writes results/nonlocal_builds.json

Each folder holds a built package `so3md`. Energy and forces of periodic water with the random model of
`benchmarks/nonlocal.py`, on `--threads` threads, in `mixed` and `double`. The builds take turns of one evaluation each,
in processes that stay. Medians of elapsed seconds and of those of all threads (CPU), and of the ratios within a turn;
and the largest differences of the results, relative to the largest energy of an atom and the largest force.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from sides import must_agree

RESULTS = Path(__file__).parent / "results" / "nonlocal_builds.json"
FEATURES = 48

#: `mixed` rounds to seven digits, and a later build may sum in another order.
LARGEST_DIFFERENCE = 1e-4


def worker(model: str, molecules: int, precision: str, threads: int, results: str) -> None:
    """Evaluate for each line that comes, and print the seconds; write the results of the first."""
    from so3md._engine import Engine, Model

    structure = helpers().water(molecules)
    engine = Engine(Model(model), precision=precision, threads=threads)
    found = engine.evaluate(**structure)
    np.savez(results, energies=found["energies"], forces=found["forces"])
    print("ready", flush=True)
    for _ in sys.stdin:
        begin, cpu_begin = time.perf_counter(), time.process_time()
        engine.evaluate(**structure)
        print(time.perf_counter() - begin, time.process_time() - cpu_begin, flush=True)


def helpers() -> Any:
    """The script whose model and structures these are; its name is a word of Python."""
    return __import__("nonlocal")


def start(site: Path, *arguments: object) -> subprocess.Popen[str]:
    command = [sys.executable, __file__, "--worker", *map(str, arguments)]
    environment = os.environ | {"PYTHONPATH": str(site.resolve())}
    pipe = subprocess.PIPE
    process = subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, env=environment)
    if process.stdout.readline() != "ready\n":
        sys.exit(f"{site}: no evaluation was possible there")
    return process


def turn(process: subprocess.Popen[str]) -> list[float]:
    """Elapsed and CPU seconds."""
    process.stdin.write("\n")
    process.stdin.flush()
    return [float(number) for number in process.stdout.readline().split()]


def compare(sites: list[Path], molecules: int, precision: str, threads: int, turns: int) -> dict[str, Any]:
    """Both builds with one size and precision."""
    with tempfile.TemporaryDirectory() as folder:
        model, files = Path(folder) / "model.safetensors", [Path(folder) / f"{k}.npz" for k in (0, 1)]
        helpers().write_model(model, FEATURES, None)
        workers = [
            start(site, model, molecules, precision, threads, file) for site, file in zip(sites, files, strict=True)
        ]
        times: list[list[list[float]]] = [[], []]
        for number in range(turns):
            for k in (0, 1) if number % 2 else (1, 0):
                times[k].append(turn(workers[k]))
        for process in workers:
            process.stdin.close()
            process.wait()
        old, new = (dict(np.load(file)) for file in files)
    differences = {key: float(np.abs(new[key] - old[key]).max() / np.abs(old[key]).max()) for key in old}
    for key, difference in differences.items():
        must_agree(difference, LARGEST_DIFFERENCE, f"difference of {key}, relative")
    seconds, cpu_seconds = (np.array(times)[:, :, column] for column in (0, 1))
    return {
        "atoms": len(new["energies"]),
        "precision": precision,
        "threads": threads,
        "turns": turns,
        "seconds": [statistics.median(of_build) for of_build in seconds],
        "cpu_seconds": [statistics.median(of_build) for of_build in cpu_seconds],
        "times_faster": statistics.median(seconds[0] / seconds[1]),
        "times_faster_cpu": statistics.median(cpu_seconds[0] / cpu_seconds[1]),
        **{f"difference_of_{key}": difference for key, difference in differences.items()},
    }


def main() -> None:
    """Compare all, print and write it."""
    from machine import describe_machine

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sites", type=Path, nargs=2, metavar="FOLDER", help="before, after")
    parser.add_argument("--sizes", type=int, nargs="+", default=[6, 9], help="molecules along an edge")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--turns", type=int, default=7)
    parser.add_argument("--before", required=True, help="commit of the first build, for the record")
    parser.add_argument("--output", type=Path, default=RESULTS)
    options = parser.parse_args()
    rows = []
    for molecules in options.sizes:
        for precision in ("mixed", "double"):
            rows.append(compare(options.sites, molecules, precision, options.threads, options.turns))
            print(json.dumps(rows[-1]), flush=True)
    report = {
        "date": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "machine": describe_machine(),
        "before": options.before,
        "rows": rows,
    }
    options.output.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--worker"]:
        worker(sys.argv[2], int(sys.argv[3]), sys.argv[4], int(sys.argv[5]), sys.argv[6])
    else:
        main()
