"""Molecular dynamics in LAMMPS and ASE, on threads and on MPI processes: time per step, and what is sent.

    python benchmarks/parallel.py

Needs so3md with its extras lammps and mpi. NVE dynamics of liquid water with SO3LR, `mixed` precision, 0.5 fs; the
sides take turns in every round, and the tables show medians. Also measures latency and bandwidth of messages between
two processes, and puts everything into a model of the time of a step on many processes (docs/parallel.md explains it).
Prints tables and writes results/parallel.json. Leave the machine alone while it runs.
"""

from __future__ import annotations

import datetime
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import click
from ase.io.lammpsdata import write_lammps_data
from machine import describe_machine
from rich.console import Console
from rich.table import Table
from scaling_model import Constants, model_table
from systems import moving_water

HERE = Path(__file__).parent
RESULTS = HERE / "results" / "parallel.json"
ATOM_STEPS = 60_000  # of a turn on two cores: some seconds
WARM_UP = 5

Record = dict[str, Any]
console = Console()

LAMMPS_INPUT = """
units metal
atom_style atomic
read_data {data}
pair_style so3krates so3lr threads {threads}
pair_coeff * * H O
neighbor 1.0 bin
timestep 0.0005
fix move all nve
thermo 1000
run {warm_up}
run {steps}
"""


@dataclass(frozen=True)
class Side:
    """A host with so many processes of so many threads."""

    host: str
    processes: int
    threads: int

    @property
    def name(self) -> str:
        return f"{self.host}, {self.processes} x {self.threads}"

    def command(self, *program: str) -> list[str]:
        launcher = ["mpiexec", "-n", str(self.processes)] if self.processes > 1 else []
        return [*launcher, *program]


def environment() -> dict[str, str]:
    return {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}


def run_ase(side: Side, n_atoms: int, steps: int) -> Record:
    options = [str(n_atoms), "--threads", str(side.threads), "--steps", str(steps), "--warm-up", str(WARM_UP)]
    command = side.command(sys.executable, str(HERE / "md_in_ase.py"), *options)
    run = subprocess.run(command, env=environment(), check=True, capture_output=True, text=True)
    return json.loads(run.stdout.splitlines()[-1])


def run_lammps(side: Side, n_atoms: int, steps: int) -> Record:
    """Times as LAMMPS reports them, and what the pair style says of its messages."""
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder, "water.data")
        write_lammps_data(
            data, moving_water(n_atoms), specorder=["H", "O"], masses=True, velocities=True, atom_style="atomic"
        )
        text = LAMMPS_INPUT.format(data=data, threads=side.threads, warm_up=WARM_UP, steps=steps)
        Path(folder, "in.water").write_text(text)
        run = subprocess.run(
            side.command("lmp", "-in", "in.water", "-log", "none"),
            cwd=folder, env=environment(), check=True, capture_output=True, text=True,
        )  # fmt: skip
    seconds = [float(found) for found in re.findall(r"^Loop time of (\S+) on", run.stdout, re.MULTILINE)]
    result: Record = {"seconds_per_step": seconds[-1] / steps}
    traffic = re.findall(r"so3krates: halo exchange .*: (\S+) / \S+ messages, (\d+) / \d+ bytes", run.stdout)
    if traffic:
        result["messages_per_step"], result["bytes_per_step"] = float(traffic[-1][0]), float(traffic[-1][1])
    return result


def run_side(side: Side, n_atoms: int) -> Record:
    steps = max(10, ATOM_STEPS // n_atoms)
    return (run_ase if side.host == "ASE" else run_lammps)(side, n_atoms, steps)


def compare(title: str, n_atoms: int, sides: list[Side], rounds: int) -> Record:
    """Medians of all sides, which take turns; the table's last column is the speed relative to the first side."""
    turns: dict[Side, list[Record]] = {side: [] for side in sides}
    for round_number in range(rounds):
        shift = round_number % len(sides)
        for side in sides[shift:] + sides[:shift]:
            turns[side].append(run_side(side, n_atoms))
            console.print(f"[dim]{title}: {side.name}: {turns[side][-1]['seconds_per_step'] * 1e3:.1f} ms per step")
    table = Table("side", "ms per step", "us per atom and step", "speed", title=f"{title}, {n_atoms} atoms")
    records = []
    for side in sides:
        milliseconds = [turn["seconds_per_step"] * 1e3 for turn in turns[side]]
        median = statistics.median(milliseconds)
        # Turns next to each other saw the same machine, so their ratio is better than that of the medians.
        ratios = [
            first["seconds_per_step"] / turn["seconds_per_step"]
            for first, turn in zip(turns[sides[0]], turns[side], strict=True)
        ]
        speed = statistics.median(ratios)
        table.add_row(side.name, f"{median:.1f}", f"{median * 1e3 / n_atoms:.1f}", f"{speed:.3f}")
        sent = {key: turns[side][-1][key] for key in ("messages_per_step", "bytes_per_step") if key in turns[side][-1]}
        records.append({"side": side.name, "ms_per_step": milliseconds, "relative_speed": speed, **sent})
    console.print(table)
    return {"title": title, "atoms": n_atoms, "sides": records}


def message_constants() -> dict[str, float]:
    """Latency (s) and bandwidth (bytes/s) between two processes, and seconds of a global sum on them."""
    command = ["mpiexec", "-n", "2", sys.executable, str(HERE / "message_constants.py")]
    run = subprocess.run(command, env=environment(), check=True, capture_output=True, text=True)
    return json.loads(run.stdout.splitlines()[-1])


@click.command(help=__doc__.splitlines()[0])
@click.option("--rounds", default=5, show_default=True, help="turns of every side")
@click.option("--output", type=click.Path(path_type=Path), default=RESULTS, show_default=True)
def main(rounds: int, output: Path) -> None:
    machine = describe_machine()
    comparisons = [
        compare("LAMMPS and ASE", 1536, [Side("ASE", 1, 2), Side("LAMMPS", 1, 2), Side("LAMMPS", 2, 1)], rounds),
        compare("LAMMPS on processes", 5184, [Side("LAMMPS", 1, 2), Side("LAMMPS", 2, 1)], rounds),
        compare("ASE on processes", 5184, [Side("ASE", 1, 2), Side("ASE", 2, 1)], rounds),
    ]
    one_thread = compare("one core", 5184, [Side("LAMMPS", 1, 1)], 1)["sides"][0]
    messages = message_constants()
    constants = Constants(seconds_per_atom=one_thread["ms_per_step"][0] * 1e-3 / 5184, **messages)
    result = {
        "date": datetime.date.today().isoformat(),
        "machine": machine,
        "so3md": version("so3md"),
        "lammps": version("lammps"),
        "comparisons": comparisons,
        "constants": vars(constants),
        "model": model_table(constants, console),
    }
    output.parent.mkdir(exist_ok=True)
    output.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
