"""Runs as long as those of users, killed at random moments and resumed, beside the same runs left alone.

    python benchmarks/long_runs.py              # an hour or two on two free cores
    python benchmarks/long_runs.py --quick      # some minutes, to try it

A water molecule in ASE (1,000,000 steps), and 192 atoms of water at constant pressure in ASE and in LAMMPS (50,000
steps each). What is checked, and the growth of memory and files, goes to results/long_runs.json, which docs/trust.md
shows; the exit status is 1 if a check fails. The runs lie in --work. Whoever stops this program and calls it again goes
on there: with runs that have ended, and with those that are killed anyway. One that was to be left alone begins anew.
--only keeps what the result has of the other cases.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import time
from collections.abc import Container
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from long_run_hosts import AseRun, Host, LammpsRun
from long_run_processes import LATEST_KILL
from machine import describe_machine

ROOT = Path(__file__).parents[1]
RESULT = Path(__file__).parent / "results" / "long_runs.json"

#: Whether memory grows is judged after the first tenth of a run, by the means of so many parts.
PARTS = 20

#: What memory may grow by over a whole run, beside its statistical error: less than one more copy of a neighbour list.
GROWTH = 0.02

STANDARD_ERRORS = 5.0


def cases(options: argparse.Namespace) -> dict[str, Host]:
    """What is run, by name."""
    small, large = (4000, 300) if options.quick else (options.molecule_steps, options.water_steps)
    often = (
        {"checkpoint": 50, "frames": 10, "rows": 5} if options.quick else {"checkpoint": 500, "frames": 50, "rows": 10}
    )
    rarely = (
        {"checkpoint": 200, "frames": 100, "rows": 20}
        if options.quick
        else {"checkpoint": 2000, "frames": 1000, "rows": 100}
    )
    work, threads = options.work, options.threads
    return {
        "molecule_ase": AseRun(work / "molecule_ase", "H2O", small, ("--thermostat", "langevin"), threads=1, **rarely),
        "water_ase": AseRun(work / "water_ase", "water", large, ("--ensemble", "npt"), threads=threads, **often),
        "water_lammps": LammpsRun(
            work / "water_lammps", "water", large, ("--ensemble", "npt"), threads=threads, **often
        ),
    }


def moments(host: Host, kills: int, seed: int) -> list[tuple[int, float]]:
    """The steps at which a run is killed, and how many seconds later, in turn."""
    random = np.random.default_rng(seed)
    steps = np.sort(random.integers(host.checkpoint // 2, host.steps - host.checkpoint // 2, size=kills))
    return [(int(step), float(delay)) for step, delay in zip(steps, random.uniform(0, LATEST_KILL, kills), strict=True)]


def left_alone(host: Host) -> dict[str, Any]:
    """The run without any kill; memory by step."""
    done = host.whole / "done.json"
    if not done.exists():
        shutil.rmtree(host.whole, ignore_errors=True)
        host.whole.mkdir(parents=True)
        started = time.monotonic()
        seen = host.begin(host.whole, None, 0.0)
        done.write_text(json.dumps({"seconds": time.monotonic() - started, "memory": seen.memory}), encoding="utf-8")
    return json.loads(done.read_text(encoding="utf-8"))


def killed(host: Host, kills: list[tuple[int, float]]) -> list[dict[str, int]]:
    """The run with kills; what was there at each of them. Kills that an earlier call has done are not done again."""
    state = host.parts / "kills.json"
    host.parts.mkdir(parents=True, exist_ok=True)
    done = json.loads(state.read_text(encoding="utf-8")) if state.exists() else []
    while not host.ended(host.parts):
        step = host.step_to_go_on_from(host.parts)
        left = [kill for kill in kills[len(done) :] if step is None or kill[0] > step]
        kill_at, delay = left[0] if left else (None, 0.0)
        seen = host.begin(host.parts, kill_at, delay) if step is None else host.go_on(host.parts, step, kill_at, delay)
        if seen.killed:
            done.append(host.after_kill(host.parts))
            print(f"    killed: {done[-1]}", flush=True)
            state.write_text(json.dumps(done), encoding="utf-8")
    return done


def growth_of_memory(samples: list[tuple[int, int]], steps: int) -> dict[str, float]:
    """Resident memory after the first tenth of a run, and the slope of a line through the means of its parts."""
    late = np.array([sample for sample in samples if sample[0] >= steps / 10 and sample[1] > 0], dtype=float)
    if len(late) < PARTS:
        return {}
    means = np.array([part.mean(axis=0) for part in np.array_split(late, PARTS)])
    (slope, _), covariance = np.polyfit(means[:, 0], means[:, 1], 1, cov=True)
    return {
        "mean_kb": late[:, 1].mean(),
        "kb_per_1000_steps": 1000 * slope,
        "standard_error": 1000 * float(np.sqrt(covariance[0, 0])),
    }


def measured(host: Host, kills: int, seed: int) -> dict[str, Any]:
    """Both runs of a case, what is checked of them, and what grows."""
    print(f"  left alone: {host.steps} steps", flush=True)
    alone = left_alone(host)
    print(f"  {alone['seconds']:.0f} s; with {kills} kills", flush=True)
    seen = killed(host, moments(host, kills, seed))
    memory = growth_of_memory(alone["memory"], host.steps)
    checks = {name: bool(value) for name, value in host.checks().items()}
    checks["no more than the steps since the last checkpoint are done again"] = all(
        kill["lost_steps"] <= host.checkpoint + host.rows for kill in seen
    )
    if memory:
        grown = memory["kb_per_1000_steps"] * host.steps / 1000
        error = memory["standard_error"] * host.steps / 1000
        checks["memory does not grow"] = bool(grown - STANDARD_ERRORS * error <= GROWTH * memory["mean_kb"])
    return {
        "name": host.name,
        "steps": host.steps,
        "threads": host.threads,
        "intervals": {"checkpoint": host.checkpoint, "frames": host.frames, "rows": host.rows},
        "seconds": alone["seconds"],
        "kills": seen,
        "checks": checks,
        "memory": memory,
        "files": host.files(),
    }


def kept(output: Path, again: Container[str], quick: bool) -> list[dict[str, Any]]:
    """Cases of an earlier result that are not run again; none of a short trial beside others, nor the reverse."""
    if not output.exists():
        return []
    report = json.loads(output.read_text(encoding="utf-8"))
    return [case for case in report["cases"] if case["case"] not in again and report["quick"] == quick]


def main() -> int:
    """Run the cases, report, and say whether every check holds."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true")
    names = ["molecule_ase", "water_ase", "water_lammps"]
    parser.add_argument("--only", nargs="+", metavar="CASE", choices=names, help=", ".join(names))
    parser.add_argument("--molecule-steps", type=int, default=1_000_000)
    parser.add_argument("--water-steps", type=int, default=50_000)
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--seed", type=int, default=22)
    parser.add_argument("--threads", type=int, default=min(2, os.cpu_count() or 1), help="those of water")
    parser.add_argument("--work", type=Path, default=ROOT / "build" / "long_runs")
    parser.add_argument("--output", type=Path, default=RESULT)
    options = parser.parse_args()
    options.work = options.work.resolve()
    hosts, kills = cases(options), 2 if options.quick else options.kills
    again = options.only or list(hosts)
    results = {case["case"]: case for case in kept(options.output, again, options.quick)}
    for name in again:
        machine = describe_machine()
        print(f"{name}:", flush=True)
        results[name] = {
            "case": name,
            "so3md": version("so3md"),
            "date": time.strftime("%Y-%m-%d"),
            "machine": machine,
            **measured(hosts[name], kills, options.seed),
        }
        for check, holds in results[name]["checks"].items():
            print(f"  {'holds' if holds else 'BROKEN':7} {check}", flush=True)
        report = {"quick": options.quick, "cases": [results[case] for case in hosts if case in results]}
        options.output.write_text(json.dumps(report, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    return 0 if all(all(result["checks"].values()) for result in results.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
