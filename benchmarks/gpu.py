"""Everything that so3md has to show on a GPU, with one command:

    python benchmarks/gpu.py --json benchmarks/results/gpu.json

- parity: forces of water in `double` against the CPU, and of `mixed` against `double`;
- the same bits from two runs;
- time per atom and step of liquid water with all terms, and memory of the device per atom, from 192 to more than
  1,000,000 atoms, with the stages of a step, how many kernels it has and how often the host waits, and the floor beside
  it: the operations of a step over the measured rate; for small systems with graphs and without;
- compute-sanitizer's memcheck and racecheck of a small system, where it is installed.

The file is written again after each of them, so that what was measured is kept if the next one hangs or is killed.
`--parts` chooses some of them; what the file holds of other parts stays. `--device cuda-emulation --sizes 9 --seconds 0
--parity-atoms 9` runs the same on the processor, to test this file.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from machine import describe_machine

from so3md import _engine, load_model
from so3md.benchmark.systems import displacement_per_step, example_system, mean_neighbours
from so3md.benchmark.work import count_work
from so3md.benchmark.worker import time_steps

SIZES = (192, 1536, 5184, 20736, 98304, 331776, 1057536)
LR_CUTOFF = 12.0
SKIN = 0.5

#: Below, steps are recorded as graphs, which have no stages (docs/gpu.md): both are measured apart.
GRAPH_ATOMS = 5000

#: What must hold, from docs/gpu.md.
DOUBLE_FORCES = 1e-10  # eV/A
MIXED_WORST_FORCE = 1e-3  # eV/A

#: A small system under a tool that makes every access to memory slow.
SANITIZED_ATOMS = 192
_SANITIZED = """
from so3md import _engine, load_model
from so3md.benchmark.systems import example_system
atoms = example_system({atoms})[1]
for precision in ("mixed", "double"):
    engine = _engine.Engine(load_model("so3lr"), precision=precision, device={device!r})
    for step in range(2):
        engine.evaluate(atoms.numbers, atoms.positions + 0.3 * step, atoms.cell.array, atoms.pbc)
"""

PARTS = ("parity", "speed", "sanitizer")

Record = dict[str, Any]


def make_engine(device: str, precision: str) -> _engine.Engine:
    return _engine.Engine(load_model("so3lr"), precision=precision, lr_cutoff=LR_CUTOFF, skin=SKIN, device=device)


def evaluate(engine: _engine.Engine, atoms: Atoms, positions: np.ndarray | None = None) -> Record:
    place = atoms.positions if positions is None else positions
    return engine.evaluate(atoms.numbers, place, atoms.cell.array, atoms.pbc)


def parity(device: str, n_atoms: int) -> Record:
    """Largest differences of forces (eV/A) in a rattled box of water."""
    atoms = example_system(n_atoms)[1]
    atoms.rattle(0.02, seed=1)
    expected = evaluate(make_engine("cpu", "double"), atoms)
    result: Record = {"atoms": n_atoms}
    for precision, bound in (("double", DOUBLE_FORCES), ("mixed", MIXED_WORST_FORCE)):
        first, second = (evaluate(make_engine(device, precision), atoms) for _ in range(2))
        worst = float(np.linalg.norm(first["forces"] - expected["forces"], axis=1).max())
        same_bits = all(np.array_equal(first[key], second[key]) for key in ("energy", "forces", "virial", "charges"))
        result[precision] = {
            "largest_force_difference": worst,
            "bound": bound,
            "energy_difference_per_atom": abs(first["energy"] - expected["energy"]) / n_atoms,
            "two_runs_give_the_same_bits": bool(same_bits),
            "ok": bool(same_bits and worst < bound),
        }
    return result


@contextmanager
def environment(**values: str) -> Iterator[None]:
    """Variables that the engine reads in every step."""
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name) if value is None else os.environ.update({name: value})


def speed(device: str, n_atoms: int, precision: str, seconds: float, rates: Record) -> Record:
    """Time of a step of moving atoms, memory, stages, and the floor."""
    atoms = example_system(n_atoms)[1]
    displacement = displacement_per_step(atoms)
    engine = make_engine(device, precision)

    def step(phase: int) -> None:
        evaluate(engine, atoms, atoms.positions + phase * displacement)

    def measure() -> Record:
        return time_steps(engine, step, seconds)

    times = measure()
    for _ in range(3):  # the last of them with the lists of the one before
        step(0)
    work = engine.info()["device_work"]
    apart: Record = {}
    if n_atoms < GRAPH_ATOMS:
        with environment(SO3MD_CUDA_GRAPHS="0"):
            apart["ms_per_step_without_graphs"] = 1e3 * measure()["seconds_per_step"]
        with environment(SO3MD_CUDA_STAGES="1"):
            times["stage_shares"] = measure()["stage_shares"]
    return {
        "atoms": n_atoms,
        "precision": precision,
        **summary(n_atoms, precision, times, rates),
        **apart,
        "bytes_per_atom": engine.info()["device_memory"]["now"] / n_atoms,
        "device_work": work,
        **{key: times[key] for key in ("stage_shares", "steps", "steps_per_list")},
    }


def summary(n_atoms: int, precision: str, times: Record, rates: Record) -> Record:
    """Times beside the floor: the operations of a step over the rate of the device."""
    model = load_model("so3lr")
    hyperparameters = json.loads(model.metadata)["hyperparameters"]
    work = count_work(hyperparameters, mean_neighbours(model, example_system(192)[1]), tables=precision == "mixed")
    rate = rates["operations_per_second" if precision == "mixed" else "double_operations_per_second"]
    return {
        "us_per_atom_and_step": 1e6 * times["seconds_per_step"] / n_atoms,
        "ms_per_step": 1e3 * times["seconds_per_step"],
        "floor_us_per_atom_of_operations": 1e12 * work.total / rate,
        "megaflop_per_atom": work.total,
    }


def sanitize(device: str) -> Record:
    """Outcome of compute-sanitizer's tools: "clean", what they found, or why they did not run."""
    if device.startswith("cuda-emulation"):
        return {"skipped": "the emulation has checks of its own, and compute-sanitizer is for GPUs"}
    program = shutil.which("compute-sanitizer")
    if program is None:
        return {"skipped": "compute-sanitizer is not installed; it comes with the CUDA toolkit"}
    result: Record = {}
    code = _SANITIZED.format(atoms=SANITIZED_ATOMS, device=device)
    for tool in ("memcheck", "racecheck"):
        command = [program, "--tool", tool, "--error-exitcode", "9", sys.executable, "-c", code]
        run = subprocess.run(command, capture_output=True, text=True)
        output = (run.stdout + run.stderr)[-4000:]
        result[tool] = "clean" if run.returncode == 0 else {"exit_code": run.returncode, "output": output}
    return result


def attempt(action: Callable[[], Record]) -> Record:
    """The record, or the error in its place, so that one failure leaves the rest."""
    try:
        return action()
    except Exception as error:
        return {"error": f"{type(error).__name__}: {error}"}


def _say(text: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {text}", flush=True)


def measure_speed(options: argparse.Namespace, rates: Record) -> Iterator[Record]:
    """The record of each size in each precision."""
    for precision in options.precisions:
        for size in options.sizes:
            found = attempt(
                lambda size=size, precision=precision: speed(options.device, size, precision, options.seconds, rates)
            )
            _say(f"{size} atoms, {precision}: {found}")
            yield {"atoms": size, "precision": precision} | found


def run(options: argparse.Namespace, keep: Callable[[Record], None]) -> Record:
    """Measure the parts that are asked for; `keep` is given the record whenever it has grown."""
    device = options.device
    record = read_record(options.json)
    record |= {"device": device, "hardware": make_engine(device, "mixed").info()["instruction_set"]}
    record["machine"] = describe_machine()
    keep(record)
    if "parity" in options.parts:
        record["parity"] = attempt(lambda: parity(device, options.parity_atoms))
        _say(f"parity: {record['parity']}")
        keep(record)
    if "speed" in options.parts:
        record["rates"] = _engine.measure_speed(device)
        _say(f"{record['hardware']}: {record['rates']}")
        record["speed"] = []
        for found in measure_speed(options, record["rates"]):
            record["speed"].append(found)
            keep(record)
    if "sanitizer" in options.parts:
        record["sanitizer"] = attempt(lambda: sanitize(device))
        _say(f"compute-sanitizer: {record['sanitizer']}")
        keep(record)
    return record


def read_record(path: Path | None) -> Record:
    """What the file holds already, of other parts."""
    return json.loads(path.read_text(encoding="utf-8")) if path is not None and path.exists() else {}


def write_record(path: Path | None, record: Record) -> None:
    """Replace the file in one step."""
    if path is None:
        return
    beside = path.with_name(path.name + ".part")
    beside.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    beside.replace(path)


def failures(record: Record, parts: list[str]) -> list[str]:
    """What does not hold, of the parts that were measured, a line each."""
    found = []
    if "parity" in parts:
        found += [
            f"parity in {key} does not hold"
            for key in ("double", "mixed")
            if not record["parity"].get(key, {}).get("ok")
        ]
    if "speed" in parts:
        found += [
            f"{case['atoms']} atoms, {case['precision']}: {case['error']}"
            for case in record["speed"]
            if "error" in case
        ]
    if "sanitizer" in parts and "skipped" not in record["sanitizer"]:
        found += [
            f"compute-sanitizer: {tool} is not clean" for tool, said in record["sanitizer"].items() if said != "clean"
        ]
    return found


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--sizes", type=int, nargs="+", default=list(SIZES), help="numbers of atoms, multiples of 192")
    parser.add_argument("--precisions", nargs="+", default=["mixed"], choices=["mixed", "double"])
    parser.add_argument("--seconds", type=float, default=10.0, help="for each size")
    parser.add_argument("--parity-atoms", type=int, default=1536)
    parser.add_argument("--parts", nargs="+", default=list(PARTS), choices=PARTS)
    parser.add_argument("--json", type=Path, help="file for the results")
    options = parser.parse_args(arguments)
    record = run(options, lambda record: write_record(options.json, record))
    if options.json is None:
        print(json.dumps(record, indent=2))
    failed = failures(record, options.parts)
    for line in failed:
        _say(line)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
