"""Two builds of the engine side by side, in turns: how much longer an evaluation takes with one than with the other.

    python benchmarks/builds.py build/gcc/site build/clang/site

Each folder holds a package `so3md` with its own module (docs/developer_guide.md, "Clang"). One thread, 192 atoms of
water; CPU time, so that a busy machine disturbs it little, and turns in alternating order. SO3MD_INSTRUCTION_SET
chooses the kernels. Prints the medians, their ratio, and the quartiles of the ratios of neighbouring turns.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time

TURNS = 40
SECONDS = 0.3  # of a turn


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


def compare(sites: list[str], precision: str) -> str:
    """Both builds in one precision."""
    workers = [start(site, precision) for site in sites]
    evaluations = max(1, round(SECONDS / (turn(workers[0], 1) * 192e-6)))
    times: list[list[float]] = [[], []]
    for number in range(TURNS):
        for k in (0, 1) if number % 2 else (1, 0):
            times[k].append(turn(workers[k], evaluations))
    for process in workers:
        process.stdin.close()
        process.wait()
    medians = [statistics.median(values) for values in times]
    low, _, high = statistics.quantiles((b / a for a, b in zip(*times, strict=True)), n=4)
    return (
        f"{precision}: {medians[0]:.0f} and {medians[1]:.0f} us per atom; second / first {medians[1] / medians[0]:.2f} "
        f"(half of the turns {low:.2f} to {high:.2f})"
    )


if __name__ == "__main__":
    if sys.argv[1:2] == ["--worker"]:
        worker(sys.argv[2])
    elif len(sys.argv) == 3:
        for mode in ("mixed", "double"):
            print(compare(sys.argv[1:], mode), flush=True)
    else:
        sys.exit(__doc__)
