"""One measurement, in a process of its own: `cases` starts this file, with a request on its standard input.

Everything is imported inside of functions, because importing is one of the things that are measured. The request and
the answer are JSON: see `measure`.
"""

from __future__ import annotations

import json
import signal
import sys
import time
from collections.abc import Callable
from functools import partial
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any

#: Atoms move along their velocities for this many steps and then back, so that structures stay those at 300 K.
STEPS_BEFORE_RETURN = 20

Record = dict[str, Any]


def measure(request: Record) -> Record:
    """Start-up times, time of a step with its stages, and memory.

    request: model, precision, threads, lr_cutoff, coulomb, charge, spin, seconds and structure, a file with the arrays
    numbers, positions, cell, pbc and displacement_per_step.
    """
    imports, _ = _timed(_import_calculator)
    import numpy as np

    from so3md import _engine, load_model
    from so3md.long_range import OF_MODEL, chosen_lengths

    load, model = _timed(lambda: load_model(request["model"]))
    with np.load(request["structure"], allow_pickle=False) as file:
        structure = dict(file)
    cutoff, damping = chosen_lengths(model, request["lr_cutoff"], OF_MODEL, bool(structure["pbc"].any()))
    settings = {key: request[key] for key in ("precision", "threads", "coulomb")}
    settings |= {"lr_cutoff": cutoff, "lr_damping": damping}
    tables, engine = _timed(lambda: _engine.Engine(model, **settings))

    start, displacement = structure["positions"], structure["displacement_per_step"]

    def evaluate(phase: int) -> None:
        engine.evaluate(
            structure["numbers"],
            start + phase * displacement,
            structure["cell"],
            structure["pbc"],
            request["charge"],
            request["spin"],
        )

    memory = PeakMemory()
    times = time_steps(engine, evaluate, request["seconds"])
    return {
        **times,
        "instruction_set": engine.info()["instruction_set"],
        "lr_cutoff": cutoff,
        "memory": memory.above_loaded_model(),
        "startup_seconds": {"import": imports, "model": load, "tables": tables},
    }


def time_steps(engine: Any, evaluate: Callable[[int], None], seconds: float) -> Record:
    """Evaluate for at least so many seconds while atoms move, over whole lifetimes of the neighbour list.

    The time of a step is the median over the lifetimes of their means, each of which so has one list in it, as in MD.
    If the list outlives one way out and back, the mean of all steps.
    """
    there_and_back = [*range(STEPS_BEFORE_RETURN), *range(STEPS_BEFORE_RETURN, 0, -1)]
    for phase in (0, STEPS_BEFORE_RETURN):  # warm up: buffers reach their sizes, and the first step builds a list
        evaluate(phase)
    durations: list[float] = []
    states = [engine.info()]  # states[n]: before step n
    builds: list[int] = []  # steps that built a list
    begin = time.perf_counter()
    while time.perf_counter() < begin + seconds or (len(builds) < 2 and len(durations) < len(there_and_back)):
        phase = there_and_back[len(durations) % len(there_and_back)]
        duration, _ = _timed(partial(evaluate, phase))
        states.append(engine.info())
        if states[-1]["neighbour_rebuilds"] > states[-2]["neighbour_rebuilds"]:
            builds.append(len(durations))
        durations.append(duration)

    ends = builds if len(builds) > 1 else [0, len(durations)]
    lifetimes = [durations[first:last] for first, last in pairwise(ends)]
    first, last = ends[0], ends[-1]
    before, after = (states[step]["stage_seconds"] for step in (first, last))
    wall = sum(durations[first:last])
    return {
        "seconds_per_step": median(sum(part) / len(part) for part in lifetimes),
        "stage_shares": {stage: (value - before.get(stage, 0.0)) / wall for stage, value in after.items()},
        "steps": last - first,
        "steps_per_list": (last - first) / len(lifetimes) if len(builds) > 1 else None,
    }


class PeakMemory:
    """Peak of resident memory of this process, above what it holds when this object is made; Linux only.

    Not getrusage's ru_maxrss: a child inherits from its parent the peak that the parent had. The kernel counts pages in
    batches, so that some hundred kB may be missing.
    """

    def __init__(self) -> None:
        self._before = _status_kb("VmRSS")
        try:
            Path("/proc/self/clear_refs").write_text("5")  # sets the peak to what is held now
        except OSError:
            self._before = None

    def above_loaded_model(self) -> Record | None:
        """In kB, what was held before and how much more the peak was; None where it cannot be measured."""
        peak = _status_kb("VmHWM")
        if self._before is None or peak is None:
            return None
        return {"before_kb": self._before, "peak_kb": peak, "above_kb": max(0, peak - self._before)}


def _status_kb(field: str) -> int | None:
    status = Path("/proc/self/status")
    if not status.exists():
        return None
    for line in status.read_text().splitlines():
        if line.startswith(field + ":"):
            return int(line.split()[1])
    return None


def _import_calculator() -> None:
    from so3md import So3kratesCalculator  # noqa: F401


def _timed(action: Callable[[], Any]) -> tuple[float, Any]:
    begin = time.perf_counter()
    result = action()
    return time.perf_counter() - begin, result


def main() -> None:
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C ends this process at once; the parent reports
    request = json.load(sys.stdin)
    try:
        answer = measure(request)
    except Exception as error:
        answer = {"error": f"{error}" if isinstance(error, ValueError) else f"{type(error).__name__}: {error}"}
    print(json.dumps(answer))


if __name__ == "__main__":
    main()
