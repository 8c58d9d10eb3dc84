"""Parameters, inference and training step of So3krates beside PaiNN, NequIP and MACE: ethanol, one thread, float32.

    python benchmarks/paper/peers.py

makes an environment for every program by itself (once, some minutes and some gigabytes), then lets the programs take
turns, several rounds, each at the settings that its own paper used for MD17 (NequIP, PaiNN) or for small molecules
(MACE), with random weights. Writes results/peers.json. Leave the machine alone while it runs; where that is possible
for some minutes only, `--rounds 1`, and later `--rounds 1 --add` for each further round.
"""

from __future__ import annotations

import datetime
import json
import os
import statistics
import subprocess
import sys
import venv
from importlib.metadata import version
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.table import Table
from runs import RESULTS, write_results

sys.path.insert(0, str(Path(__file__).parent.parent))
from machine import describe_machine
from peer_environment import peer_python

WORKER = Path(__file__).parent / "peer_worker.py"
ENVIRONMENTS = Path(__file__).parent / "environments"
TORCH = "torch==2.13.0"
#: Programs that get an environment of their own -> their package.
PACKAGES = {"painn": "schnetpack==2.1.1", "nequip": "nequip==0.19.1", "mace": "mace-torch==0.3.16"}
PROGRAMS = {
    "so3md": "So3krates in so3md",
    "so3md-2022": "So3krates 2022 in so3md, local",
    "so3md-2022-nonlocal": "So3krates 2022 in so3md, non-local",
    "so3krates-torch": "So3krates in so3krates-torch",
    "painn": "PaiNN in schnetpack",
    "nequip": "NequIP",
    "mace": "MACE",
}
TIMES = {"inference_1": "1 molecule", "inference_10": "10 molecules", "training_step": "training step"}
REFERENCE = "so3md"

console = Console()


def python_of(program: str) -> str:
    """Python of the environment that has the program; makes it if it is not there."""
    if program.startswith("so3md"):
        return sys.executable
    if program == "so3krates-torch":
        return peer_python()
    directory = ENVIRONMENTS / program
    complete = directory / "complete"
    if not complete.exists():
        console.print(f"making the environment of {PACKAGES[program]} in {directory}")
        venv.create(directory, with_pip=True, clear=True)
        # One after the other, because the second would else be free to pick another PyTorch.
        for requirement in (TORCH, PACKAGES[program]):
            subprocess.run([directory / "bin" / "python", "-m", "pip", "install", "-q", requirement, TORCH], check=True)
        complete.touch()
    return str(directory / "bin" / "python")


def turn(program: str, seconds: float) -> dict[str, Any]:
    """What the program needs, measured once in a new process. Raises RuntimeError with what it says if it fails."""
    threads = {f"{name}_NUM_THREADS": "1" for name in ("OMP", "MKL", "OPENBLAS")}
    command = [python_of(program), str(WORKER), program, "--seconds", str(seconds)]
    run = subprocess.run(command, env=os.environ | threads, capture_output=True, text=True)
    if run.returncode:
        raise RuntimeError(f"{PROGRAMS[program]} failed:\n{run.stderr[-3000:]}")
    return json.loads(run.stdout)


def measure(
    programs: list[str], rounds: int, seconds: float, earlier: dict[str, dict[str, Any]]
) -> dict[str, dict[str, Any]]:
    """Program -> parameters and median seconds over the rounds, with the lowest and highest. earlier: such results."""
    answers = {program: list(result["rounds"]) for program, result in earlier.items()}
    for program in programs:
        answers.setdefault(program, [])
    done = max(len(answers[program]) for program in programs)
    for number in range(done, done + rounds):
        shift = number % len(programs)
        for program in programs[shift:] + programs[:shift]:
            console.print(f"round {number + 1} of {done + rounds}: {PROGRAMS[program]} ...")
            answers[program].append(turn(program, seconds))
    results = {}
    for program in (name for name in PROGRAMS if name in answers):
        own = answers[program]
        times = {key: [answer["seconds"][key] for answer in own] for key in TIMES}
        results[program] = {
            "name": PROGRAMS[program],
            "parameters": own[0]["parameters"],
            "seconds": {key: statistics.median(values) for key, values in times.items()},
            "range": {key: [min(values), max(values)] for key, values in times.items()},
            "rounds": own,
        }
    return results


def print_table(results: dict[str, dict[str, Any]]) -> None:
    table = Table("program", "parameters", "rounds", title="milliseconds on one thread (in brackets: times so3md's)")
    for title in TIMES.values():
        table.add_column(title)
    reference = results.get(REFERENCE)
    for result in results.values():
        cells = []
        for key in TIMES:
            seconds = result["seconds"][key]
            ratio = f" ({seconds / reference['seconds'][key]:.1f})" if reference else ""
            cells.append(f"{1e3 * seconds:.2f}{ratio}")
        table.add_row(result["name"], f"{result['parameters']:,}", str(len(result["rounds"])), *cells)
    console.print(table)


@click.command(help=__doc__.splitlines()[0])
@click.option("--program", "chosen", type=click.Choice(list(PROGRAMS)), multiple=True, help="Default: all.")
@click.option("--rounds", type=int, default=3, show_default=True, help="turns of each program")
@click.option("--add", is_flag=True, help="to the rounds of results/peers.json")
@click.option("--seconds", type=float, default=4.0, show_default=True, help="for each quantity of a turn")
def main(chosen: tuple[str, ...], rounds: int, add: bool, seconds: float) -> None:
    programs = list(chosen or PROGRAMS)
    earlier = json.loads((RESULTS / "peers.json").read_text())["programs"] if add else {}
    for program in programs:
        python_of(program)
    machine = describe_machine()
    results = measure(programs, rounds, seconds, earlier)
    print_table(results)
    report = {
        "benchmark": "parameters, inference and training step for ethanol: So3krates, PaiNN, NequIP, MACE",
        "date": datetime.date.today().isoformat(),
        "machine": machine,
        "versions": {"so3md": version("so3md"), "torch": TORCH.split("==")[1]}
        | dict(package.split("==") for package in PACKAGES.values()),
        "settings": {"threads": 1, "precision": "float32 (so3md: inference mixed)", "batch_size": 10},
        "programs": results,
    }
    print(f"written: {write_results('peers.json', report)}")


if __name__ == "__main__":
    main()
