"""Compare so3md with so3krates-torch: the same model, structures and cutoffs, interleaved in one run on one machine.

    python benchmarks/compare_so3krates_torch.py

needs so3md installed, and makes the environment of so3krates-torch by itself. It checks that both give the same
forces, then times energy and forces of liquid water while the atoms move as in MD, and measures memory. With --compiled
so3krates-torch takes part a second time, in float32 with its layers under torch.compile (needs a C++ compiler, and some
minutes to compile for each number of threads and atoms). Prints tables and writes results/compare_so3krates_torch.json.
Leave the machine alone while it runs: times are wall-clock times.
"""

from __future__ import annotations

import datetime
import json
import statistics
import tempfile
from contextlib import ExitStack
from importlib.metadata import version
from pathlib import Path
from typing import Any

import click
import numpy as np
from machine import describe_machine, limit_us_per_atom, matrix_product_gflops
from peer_environment import peer_python, peer_versions
from rich.console import Console
from rich.table import Table
from sides import Side, SideProcess, must_agree, own_side
from systems import SUPERCELLS, save_motion, water
from worker import LR_CUTOFF, LR_DAMPING, STEPS_BEFORE_RETURN

RESULTS = Path(__file__).parent / "results" / "compare_so3krates_torch.json"
SECONDS_PER_TURN = 2.0
#: Pairs whose times are divided: the default of so3md with the default of the peer, and both in double precision.
RATIOS = (
    ("so3md mixed", "so3krates-torch float32"),
    ("so3md mixed", "so3krates-torch-compiled float32"),
    ("so3md double", "so3krates-torch float64"),
)

#: Forces of all sides agree to 1e-4 eV/A in single precision; another model, structure or unit is off by far more.
LARGEST_FORCE_DIFFERENCE = 1e-3

Record = dict[str, Any]
console = Console()


def make_sides(compiled: bool) -> list[Side]:
    python = peer_python()
    peers = [Side("so3krates-torch", precision, python) for precision in ("float32", "float64")]
    if compiled:
        peers.append(Side("so3krates-torch-compiled", "float32", python))
    return [own_side("mixed"), own_side("double"), *peers]


def compare_forces(processes: list[SideProcess], n_atoms: int, folder: Path) -> list[Record]:
    """Deviation of energies and forces from the peer in float64, the structure being loaded in all processes."""
    results = {}
    for process in processes:
        file = folder / f"{process.side.name}.npz"
        process.ask("save_results", file=str(file))
        results[process.side.name] = np.load(file)
    reference = results["so3krates-torch float64"]
    rows = [
        {
            "atoms": n_atoms,
            "side": name,
            "max_force_difference_eV_per_A": float(np.abs(result["forces"] - reference["forces"]).max()),
            "energy_difference_eV_per_atom": float(result["energy"] - reference["energy"]) / n_atoms,
        }
        for name, result in results.items()
    ]
    for row in rows:
        must_agree(row["max_force_difference_eV_per_A"], LARGEST_FORCE_DIFFERENCE, f"forces of {row['side']}, eV/A")
    return rows


def time_sides(processes: list[SideProcess], first_call: dict[str, float], rounds: int) -> dict[str, list[float]]:
    """Seconds per call of each side: one number per turn, the mean of its calls, so that list building counts."""
    seconds: dict[str, list[float]] = {process.side.name: [] for process in processes}
    for round_number in range(rounds):
        shift = round_number % len(processes)
        for process in processes[shift:] + processes[:shift]:
            name = process.side.name
            # No more calls than a way out and back again, no less than one.
            calls = max(1, min(2 * STEPS_BEFORE_RETURN, round(SECONDS_PER_TURN / first_call[name])))
            seconds[name].append(statistics.mean(process.ask("evaluate_moved", calls=calls)["seconds"]))
    return seconds


def run_system(
    processes: list[SideProcess], n_atoms: int, threads: int, rounds: int, folder: Path
) -> tuple[list[Record], list[Record]]:
    """Agreement and times of all sides for one system; the processes run on `threads` threads each."""
    file = folder / f"water_{n_atoms}.npz"
    first_call = {process.side.name: process.ask("load_system", file=str(file))["seconds"] for process in processes}
    agreement = compare_forces(processes, n_atoms, folder)
    timings = []
    for name, seconds in time_sides(processes, first_call, rounds).items():
        per_atom = [1e6 * value / n_atoms for value in seconds]
        timings.append(
            {
                "atoms": n_atoms,
                "threads": threads,
                "side": name,
                "median_us_per_atom": statistics.median(per_atom),
                "min_us_per_atom": min(per_atom),
                "max_us_per_atom": max(per_atom),
                "turns": rounds,
            }
        )
    return agreement, timings


def measure_memory(sides: list[Side], n_atoms: int, threads: int, folder: Path) -> list[Record]:
    records = []
    for side in sides:
        with SideProcess(side, threads) as process:
            memory = process.ask("measure_memory", file=str(folder / f"water_{n_atoms}.npz"))
        per_atom = (memory["peak_kb"] - memory["model_loaded_kb"]) / n_atoms
        records.append({"atoms": n_atoms, "threads": threads, "side": side.name, **memory, "kb_per_atom": per_atom})
    return records


def make_ratios(timings: list[Record]) -> list[Record]:
    medians = {(t["atoms"], t["threads"], t["side"]): t["median_us_per_atom"] for t in timings}
    return [
        {
            "atoms": atoms,
            "threads": threads,
            "side": own,
            "peer": peer,
            "times_faster": medians[atoms, threads, peer] / time,
        }
        for own, peer in RATIOS
        for (atoms, threads, side), time in medians.items()
        if side == own and (atoms, threads, peer) in medians
    ]


def print_tables(report: Record) -> None:
    agreement = Table("atoms", "side", "max force difference, eV/Å", "energy difference, eV/atom")
    agreement.title = "against so3krates-torch float64"
    for row in report["agreement"]:
        forces, energy = row["max_force_difference_eV_per_A"], row["energy_difference_eV_per_atom"]
        agreement.add_row(str(row["atoms"]), row["side"], f"{forces:.1e}", f"{energy:.1e}")
    timings = Table("atoms", "threads", "side", "µs/atom/step", "min .. max", title="energy and forces, through ASE")
    for row in report["timings"]:
        spread = f"{row['min_us_per_atom']:.1f} .. {row['max_us_per_atom']:.1f}"
        timings.add_row(str(row["atoms"]), str(row["threads"]), row["side"], f"{row['median_us_per_atom']:.1f}", spread)
    ratios = Table("atoms", "threads", "side", "peer", "times faster", title="ratios of medians")
    for row in report["ratios"]:
        cells = (str(row["atoms"]), str(row["threads"]), row["side"], row["peer"])
        ratios.add_row(*cells, f"{row['times_faster']:.1f}")
    memory = Table("atoms", "side", "kB/atom", "process with model, MB", title="peak memory")
    for row in report["memory"]:
        process_mb = f"{row['model_loaded_kb'] / 1024:.0f}"
        memory.add_row(str(row["atoms"]), row["side"], f"{row['kb_per_atom']:.1f}", process_mb)
    for table in (agreement, timings, ratios, memory):
        console.print(table)
    for row in report["limit"]:
        console.print(
            f"matrix product, {row['threads']} threads: {row['gflops']:.0f} GFLOP/s; at that rate a step would take "
            f"{row['us_per_atom']:.1f} µs/atom"
        )


def run(atoms: tuple[int, ...], threads: tuple[int, ...], rounds: int, compiled: bool) -> Record:
    report: Record = {
        "benchmark": "energy and forces of liquid water with SO3LR, so3md and so3krates-torch interleaved",
        "date": datetime.date.today().isoformat(),
        "machine": describe_machine(),
        "versions": {
            **{name: version(name) for name in ("so3md", "numpy", "ase")},
            **peer_versions("so3krates-torch", "torch"),
        },
        "settings": {"lr_cutoff": LR_CUTOFF, "lr_damping": LR_DAMPING, "rounds": rounds},
        **{key: [] for key in ("agreement", "timings", "ratios", "memory", "limit")},
    }
    sides = make_sides(compiled)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for n_atoms in atoms:
            save_motion(water(n_atoms), folder / f"water_{n_atoms}.npz")
        for count in threads:
            gflops = matrix_product_gflops(count)
            limit = {"threads": count, "gflops": gflops, "us_per_atom": limit_us_per_atom(gflops)}
            report["limit"].append(limit)
            with ExitStack() as stack:
                processes = [stack.enter_context(SideProcess(side, count)) for side in sides]
                for n_atoms in atoms:
                    console.print(f"{n_atoms} atoms, {count} threads ...")
                    agreement, timings = run_system(processes, n_atoms, count, rounds, folder)
                    report["timings"] += timings
                    if count == threads[0]:
                        report["agreement"] += agreement
        # Not of the compiled side: its peak would be that of the compiler.
        report["memory"] = measure_memory(make_sides(compiled=False), max(atoms), threads[0], folder)
    report["ratios"] = make_ratios(report["timings"])
    return report


@click.command(help=__doc__.splitlines()[0])
@click.option("--atoms", type=int, multiple=True, default=(192, 1536), show_default=True, help="atoms of water")
@click.option("--threads", type=int, multiple=True, default=(2, 1), show_default=True, help="threads of each side")
@click.option("--rounds", type=int, default=7, show_default=True, help="turns of each side")
@click.option("--compiled", is_flag=True, help="so3krates-torch under torch.compile as well")
@click.option("--output", type=click.Path(path_type=Path), default=RESULTS, help="results as JSON")
def main(atoms: tuple[int, ...], threads: tuple[int, ...], rounds: int, compiled: bool, output: Path) -> None:
    for n_atoms in atoms:
        if n_atoms not in SUPERCELLS:
            raise click.BadParameter(f"{n_atoms} atoms of water: expected one of {', '.join(map(str, SUPERCELLS))}")
    report = run(atoms, threads, rounds, compiled)
    load = report["machine"]["load_average_before"]
    if load > 0.5:
        console.print(f"[yellow]the machine was busy (load average {load}): times are not to be trusted[/yellow]")
    print_tables(report)
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_text(json.dumps(report, indent=1) + "\n")
    console.print(f"written: {output}")


if __name__ == "__main__":
    main()
