"""Attention between all atoms in the space of coordinates: time and pairs against the number of atoms.

    python benchmarks/nonlocal.py                       # 96 to 20,577 atoms, the largest takes minutes
    python benchmarks/nonlocal.py --sizes 4 6 8 --json nonlocal.json
    python benchmarks/nonlocal.py --sizes 9 --cutoffs 1 0.9 0.5 0.1 --repeats 2     # what a smaller cutoff saves

A model of the paper's architecture with random weights on periodic boxes of water, energies and forces in one
evaluation, with bounds in the space of coordinates (blocks of atoms that are certainly too far are left out) and
without. `evaluated`: directed pairs beyond the cutoff whose filters were computed, forward and adjoint, as a share of
all that a search without bounds looks at; `measured`: those whose distance was; `CPU`: seconds of all threads, which on
a busy machine say more than those that pass; `memory`: the largest that the process has needed so far.
"""

from __future__ import annotations

import argparse
import itertools
import json
import resource
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from machine import describe_machine

from so3md._engine import Engine, Model
from so3md.model_file import PAPER_2022, ModelFile, expected_tensors

HYPERPARAMETERS: dict[str, Any] = {
    "num_heads": 4,
    "degrees": [1, 2, 3],
    "num_layers": 2,
    "cutoff": 4.5,
    "cutoff_function": {"type": "cosine"},
    "radial_basis": {"type": "phys", "size": 32},
    "radial_hidden": 64,
    "spherical_hidden": 16,
    "parity": False,
    "layer_norm": False,
    "coordinate_norm": False,
    "layer_norm_epsilon": 1e-6,
    "energy_head": {"hidden": 32, "activation": "silu"},
}


def write_model(path: Path, features: int, cutoff: float | None) -> None:
    """Weights that keep the size of what goes through them. cutoff: of the softmax; None: one over the atoms."""
    attention = {"type": "dynamic"} if cutoff is None else {"type": "static", "cutoff": cutoff}
    hyper = HYPERPARAMETERS | {"num_features": features, "nonlocal": attention}
    rng = np.random.default_rng(0)
    tensors = {
        name: (rng.normal(size=shape) / (np.sqrt(shape[-1]) if len(shape) > 1 else 10.0)).astype(np.float32)
        for name, shape in expected_tensors(hyper, 2, PAPER_2022).items()
    }
    ModelFile(hyper, [1, 8], tensors, name="random", description="for timing only", architecture=PAPER_2022).write(path)


def water(molecules: int) -> dict[str, Any]:
    """molecules^3 molecules at the density of the liquid, turned at random, in a periodic cube."""
    rng = np.random.default_rng(1)
    single = np.array([[0.0, 0.0, 0.0], [0.76, 0.59, 0.0], [-0.76, 0.59, 0.0]])
    places = 3.1 * np.stack(np.meshgrid(*[np.arange(molecules)] * 3, indexing="ij"), -1).reshape(-1, 3)
    turns = np.linalg.qr(rng.normal(size=(len(places), 3, 3)))[0]
    positions = (places[:, None] + single @ turns + rng.normal(scale=0.05, size=(len(places), 3, 3))).reshape(-1, 3)
    cell = 3.1 * molecules * np.eye(3)
    return {"numbers": np.tile([8, 1, 1], len(places)), "positions": positions, "cell": cell, "pbc": [True] * 3}


def measure(model: Model, structure: dict[str, Any], repeats: int, **options: Any) -> dict[str, Any]:
    """The fastest of some evaluations, and what it did."""
    engine = Engine(model, **options)
    seconds, cpu_seconds = [], []
    for _ in range(repeats):
        begin, cpu_begin = time.perf_counter(), time.process_time()
        engine.evaluate(**structure)
        seconds.append(time.perf_counter() - begin)
        cpu_seconds.append(time.process_time() - cpu_begin)
    pairs = engine.info()["nonlocal_pairs"]
    return {
        "seconds": min(seconds),
        "cpu_seconds": min(cpu_seconds),
        **pairs,
        "stages": {k: v / repeats for k, v in engine.info()["stage_seconds"].items()},
        "memory_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }


def print_row(row: dict[str, Any]) -> None:
    cutoff = "1/n" if row["cutoff"] is None else f"{row['cutoff']:g}/n"
    times = f"{row['seconds']:9.2f} {row['cpu_seconds']:9.2f}"
    shares = f"{row['evaluated'] / row['all']:10.3f} {row['measured'] / row['all']:10.3f}"
    bounds = "yes" if row["bounds"] else "no"
    print(f"{row['atoms']:7d} {cutoff:>7} {bounds:>7} {times} {shares} {row['memory_mib']:5.0f} MiB", flush=True)


def main() -> None:
    """Measure all sizes and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", type=int, nargs="+", default=[4, 6, 9, 13, 19], help="molecules along an edge")
    parser.add_argument("--features", type=int, default=48)
    parser.add_argument("--cutoffs", type=float, nargs="+", help="static ones, in units of 1/n; default: dynamic, 1/n")
    parser.add_argument("--precision", choices=("mixed", "double"), default="mixed")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--no-comparison", action="store_true", help="do not measure without bounds")
    parser.add_argument("--json", type=Path, help="write the numbers to this file too")
    arguments = parser.parse_args()
    rows = []
    heads = f"{'atoms':>7} {'cutoff':>7} {'bounds':>7} {'seconds':>9} {'CPU':>9} {'evaluated':>10} {'measured':>10}"
    print(f"{heads} {'memory':>9}")
    with tempfile.TemporaryDirectory() as folder:
        for size, cutoff in itertools.product(arguments.sizes, arguments.cutoffs or [None]):
            structure = water(size)
            atoms = len(structure["numbers"])
            path = Path(folder) / "model.safetensors"
            write_model(path, arguments.features, cutoff and cutoff / atoms)
            for skip in (True,) if arguments.no_comparison else (True, False):
                options = {"precision": arguments.precision, "threads": arguments.threads, "skip_nonlocal": skip}
                found = measure(Model(path), structure, arguments.repeats, **options)
                rows.append({"atoms": atoms, "cutoff": cutoff, "bounds": skip, **found})
                print_row(rows[-1])
    if arguments.json:
        settings = {key: str(value) for key, value in vars(arguments).items() if key != "json"}
        report = {"machine": describe_machine(), "settings": settings, "rows": rows}
        arguments.json.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
