"""Time of building neighbour lists: so3md beside vesin and matscipy, interleaved, on one thread.

    python benchmarks/neighbour_lists.py

needs so3md installed, and makes the environment of the others by itself. Full lists (each pair from both ends, with the
periodic image) of liquid water within the radii that so3md uses for SO3LR: cutoffs of 4.5 and 12 Angstrom plus a skin
of 0.5; also of a triclinic box and of a free cluster. All must find the same pairs. Prints a table and writes
results/neighbour_lists.json. Leave the machine alone while it runs.
"""

from __future__ import annotations

import datetime
import json
import math
import statistics
import sys
import tempfile
from contextlib import ExitStack
from importlib.metadata import version
from pathlib import Path
from typing import Any

import click
import numpy as np
from ase import Atoms
from machine import describe_machine
from peer_environment import peer_python, peer_versions
from rich.console import Console
from rich.table import Table
from sides import WorkerProcess
from systems import SUPERCELLS, save_motion, water

HERE = Path(__file__).parent
RESULTS = HERE / "results" / "neighbour_lists.json"
PEERS = ("vesin", "matscipy")
SKIN = 0.5  # A, the default of so3md
RADII = (4.5 + SKIN, 12.0 + SKIN)
SECONDS_PER_TURN = 0.5
SLOW = 5.0  # s for one list by each program, from which on three rounds must do
SHEAR = np.array([[1.0, 0.0, 0.0], [0.35, 1.0, 0.0], [0.2, 0.3, 1.0]])
SHAPES_ATOMS = 5184  # of the boxes that the triclinic one and the cluster are made of

Record = dict[str, Any]
console = Console()


def triclinic(atoms: Atoms) -> Atoms:
    """The structure sheared with its cell, at the same density."""
    sheared = atoms.copy()
    sheared.set_cell(atoms.cell.array @ SHEAR, scale_atoms=True)
    return sheared


def cluster(atoms: Atoms) -> Atoms:
    """The largest ball in the box, without periodic images."""
    centre, radius = atoms.cell.array.sum(axis=0) / 2, atoms.cell.lengths().min() / 2
    atoms = atoms.copy()
    atoms.wrap()
    ball = atoms[np.linalg.norm(atoms.positions - centre, axis=1) < radius]
    ball.pbc = False
    ball.cell = None
    return ball


def structures(sizes: tuple[int, ...]) -> list[tuple[str, Atoms]]:
    shapes = [("triclinic", triclinic(water(SHAPES_ATOMS))), ("cluster", cluster(water(SHAPES_ATOMS)))]
    return [*(("water", water(size)) for size in sizes), *shapes]


def start(program: str) -> WorkerProcess:
    python = sys.executable if program == "so3md" else peer_python()
    return WorkerProcess(program, [python, str(HERE / "list_worker.py"), program], threads=1)


def require_the_same_pairs(found: dict[str, Record], what: str) -> None:
    own = found["so3md"]
    for name, other in found.items():
        # Sums of up to 10^8 terms in another order.
        close = all(math.isclose(own[key], other[key], rel_tol=1e-9, abs_tol=1e-6 * own["pairs"] ** 0.5) for key in own)
        if own["pairs"] != other["pairs"] or not close:
            raise RuntimeError(f"{what}: so3md found {own}, {name} found {other}: expected the same pairs")


def compare(processes: list[WorkerProcess], name: str, n_atoms: int, file: Path, radius: float, rounds: int) -> Record:
    """Medians of all programs for one structure and radius."""
    first = {p.name: p.ask("load_system", file=str(file), radius=radius)["seconds"] for p in processes}
    found = {p.name: p.ask("count_pairs") for p in processes}
    require_the_same_pairs(found, f"{name}, {n_atoms} atoms, {radius} A")
    turns: dict[str, list[float]] = {p.name: [] for p in processes}
    if sum(first.values()) > SLOW:
        rounds = min(rounds, 3)
    for turn in range(rounds):
        shift = turn % len(processes)
        for process in processes[shift:] + processes[:shift]:
            calls = max(1, min(200, round(SECONDS_PER_TURN / first[process.name])))
            turns[process.name].append(statistics.median(process.ask("build_moved", calls=calls)["seconds"]))
    medians = {name: statistics.median(seconds) for name, seconds in turns.items()}
    # Turns next to each other saw the same machine: the ratio of each round is better than that of the medians.
    rounds_of = zip(*turns.values(), strict=True)
    ratios = [min(times[1:]) / times[0] for times in rounds_of]
    return {
        "structure": name,
        "atoms": n_atoms,
        "radius_A": radius,
        "neighbours_per_atom": found["so3md"]["pairs"] / n_atoms,
        "ms": {name: 1e3 * seconds for name, seconds in medians.items()},
        "us_per_atom": {name: 1e6 * seconds / n_atoms for name, seconds in medians.items()},
        "times_faster_than_the_fastest_other": statistics.median(ratios),
    }


def print_table(records: list[Record]) -> None:
    table = Table(title="Full neighbour list, one thread, µs per atom")
    for heading in ("structure", "atoms", "radius, Å", "neighbours", "so3md", *PEERS, "times faster"):
        table.add_column(heading, justify="left" if heading == "structure" else "right")
    for record in records:
        times = (f"{record['us_per_atom'][name]:.2f}" for name in ("so3md", *PEERS))
        table.add_row(
            record["structure"],
            str(record["atoms"]),
            f"{record['radius_A']:g}",
            f"{record['neighbours_per_atom']:.0f}",
            *times,
            f"{record['times_faster_than_the_fastest_other']:.2f}",
        )
    table.caption = "times faster: than the faster of the others, median of the rounds"
    console.print(table)


@click.command(help=__doc__.splitlines()[0])
@click.option("--atoms", type=click.Choice([str(n) for n in SUPERCELLS]), multiple=True, help="Default: all.")
@click.option("--rounds", type=int, default=7, show_default=True, help="turns of each program")
@click.option("--output", type=click.Path(path_type=Path), default=RESULTS, show_default=True)
def main(atoms: tuple[str, ...], rounds: int, output: Path) -> None:
    machine = describe_machine()
    records: list[Record] = []
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        processes = [stack.enter_context(start(name)) for name in ("so3md", *PEERS)]
        for name, structure in structures(tuple(map(int, atoms)) or tuple(SUPERCELLS)):
            file = Path(folder, f"{name}_{len(structure)}.npz")
            save_motion(structure, file)
            for radius in RADII:
                records.append(compare(processes, name, len(structure), file, radius, rounds))
                console.print(f"[dim]{name}, {len(structure)} atoms, {radius:g} Å: done[/dim]")
    print_table(records)
    report = {
        "benchmark": "building full neighbour lists on one thread, the programs interleaved",
        "date": datetime.date.today().isoformat(),
        "machine": machine,
        "versions": {**{name: version(name) for name in ("so3md", "numpy")}, **peer_versions(*PEERS)},
        "rounds": rounds,
        "lists": records,
    }
    output.parent.mkdir(exist_ok=True)
    output.write_text(json.dumps(report, indent=1) + "\n")
    console.print(f"written: {output}")


if __name__ == "__main__":
    main()
