"""Cases of a benchmark: each measured in a process of its own, so that none sees another's memory."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

from ase import Atoms

from so3md.benchmark.machine import matrix_product_gflops
from so3md.benchmark.systems import TIMESTEP_FS, mean_neighbours, save_motion
from so3md.benchmark.work import count_work
from so3md.charge_and_spin import charge_and_spin_of

if TYPE_CHECKING:
    from so3md._engine import Model

Record = dict[str, Any]

#: The type of numbers in whose matrix products the limit of a precision is measured.
PRODUCT_TYPES = {"mixed": "float32", "double": "float64"}
_WORKER = Path(__file__).with_name("worker.py")
_SECONDS_PER_DAY = 86400


@dataclass(frozen=True)
class System:
    """A structure of a benchmark, ready for the processes that measure."""

    name: str
    atoms: int
    neighbours: float
    charge: float
    spin: float
    file: Path

    @classmethod
    def prepare(cls, name: str, atoms: Atoms, model: Model, directory: Path) -> System:
        """Write a structure and the way its atoms move to a file of the directory."""
        file = directory / f"{len(list(directory.iterdir()))}.npz"
        save_motion(atoms, file)
        charge, spin = charge_and_spin_of(atoms)
        return cls(name, len(atoms), mean_neighbours(model, atoms), charge, spin, file)


@dataclass(frozen=True)
class Case:
    """What one process measures. instruction_set None: the one that the engine chooses."""

    system: System
    precision: str
    threads: int
    instruction_set: str | None = None

    def describe(self) -> str:
        """In a few words."""
        system = f"{self.system.name}, {self.system.atoms} atoms"
        parts = [system, self.precision, threads_text(self.threads), self.instruction_set]
        return ", ".join(part for part in parts if part)

    def run(self, model_path: str, lr_cutoff: float | str | None, seconds: float, coulomb: str = "cutoff") -> Record:
        """Measure, for at least so many seconds; the answer of `worker.measure`.

        Raises RuntimeError, naming the case, if the process fails.
        """
        request = {
            "model": model_path,
            "precision": self.precision,
            "threads": self.threads,
            "lr_cutoff": lr_cutoff,
            "coulomb": coulomb,
            "charge": self.system.charge,
            "spin": self.system.spin,
            "seconds": seconds,
            "structure": str(self.system.file),
        }
        environment = dict(os.environ)
        if self.instruction_set is not None:
            environment["SO3MD_INSTRUCTION_SET"] = self.instruction_set
        run = subprocess.run(
            [sys.executable, str(_WORKER)], input=json.dumps(request), env=environment, capture_output=True, text=True
        )
        if run.returncode < 0:
            raise RuntimeError(f"{self.describe()}: the process was ended by signal {-run.returncode}{_hint(run)}")
        if run.returncode:
            raise RuntimeError(f"{self.describe()}: the process failed: {' '.join(run.stderr.split())}")
        answer = json.loads(run.stdout)
        if "error" in answer:
            raise RuntimeError(f"{self.describe()}: {answer['error']}")
        return answer


def threads_text(count: int) -> str:
    """A number of threads, in words."""
    return "1 thread" if count == 1 else f"{count} threads"


def _hint(run: subprocess.CompletedProcess[str]) -> str:
    return " (was there too little memory?)" if run.returncode == -9 else ""


def describe_model(model: Model) -> Record:
    """What a report says of a model, and `figures` counts work from."""
    document = json.loads(model.metadata)
    return {**{key: document[key] for key in ("name", "architecture", "hyperparameters")}, "path": model.path}


def figures(case: Case, answer: Record, model: Record) -> Record:
    """The record of a case: what was measured, in the usual units, and the counted work.

    model: from `describe_model`.
    """
    atoms, seconds = case.system.atoms, answer["seconds_per_step"]
    tables = case.precision == "mixed"
    work = count_work(model["hyperparameters"], case.system.neighbours, tables, model["architecture"])
    memory = answer["memory"]
    return {
        "system": case.system.name,
        "atoms": atoms,
        "neighbours_per_atom": case.system.neighbours,
        "precision": case.precision,
        "threads": case.threads,
        "instruction_set": answer["instruction_set"],
        "lr_cutoff": answer["lr_cutoff"],
        "us_per_atom": seconds / atoms * 1e6,
        "ms_per_step": seconds * 1e3,
        "ns_per_day": TIMESTEP_FS * 1e-6 * _SECONDS_PER_DAY / seconds,
        "mflop_per_atom": work.total,
        "stage_shares": answer["stage_shares"],
        "steps": answer["steps"],
        "steps_per_list": answer["steps_per_list"],
        "memory": None if memory is None else {**memory, "kb_per_atom": memory["above_kb"] / atoms},
        "startup_seconds": answer["startup_seconds"],
    }


def measure_product(case: Case, seconds: float) -> Record:
    """Rate of a large matrix product with the threads and the precision of a case."""
    gflops = matrix_product_gflops(case.threads, PRODUCT_TYPES[case.precision], seconds)
    return {"precision": case.precision, "threads": case.threads, "gflops": gflops}


def add_limits(records: Sequence[Record], products: Sequence[Record]) -> None:
    """Add to each record the limit of the machine: its work at the rate of a large matrix product.

    products: from `measure_product`; the median of those with the same precision and number of threads counts.
    """
    for record in records:
        same = (rate for rate in products if all(rate[key] == record[key] for key in ("precision", "threads")))
        gflops = median(rate["gflops"] for rate in same)
        record["gflops_of_matrix_product"] = gflops
        record["limit_us_per_atom"] = record["mflop_per_atom"] / gflops * 1e3
        record["share_of_limit"] = record["limit_us_per_atom"] / record["us_per_atom"]


def add_ratios(records: Sequence[Record]) -> None:
    """Add to each record how much faster it is than the same with the fewest threads, and with portable kernels."""
    for record in records:
        fewest = min(_same_but("threads", record, records), key=lambda other: other["threads"])
        record["speedup_by_threads"] = fewest["us_per_atom"] / record["us_per_atom"]
        sets = {other["instruction_set"]: other for other in _same_but("instruction_set", record, records)}
        if "portable" in sets:
            record["speedup_over_portable"] = sets["portable"]["us_per_atom"] / record["us_per_atom"]


def _same_but(key: str, record: Record, records: Sequence[Record]) -> list[Record]:
    """The records that differ from one in this key only, itself included."""
    keys = {"system", "atoms", "precision", "threads", "instruction_set"} - {key}
    return [other for other in records if all(other[name] == record[name] for name in keys)]
