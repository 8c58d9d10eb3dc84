"""Memory of a training whose structures stay on disk.

    python benchmarks/training_memory.py

Makes an extended XYZ file of 100,000 small molecules with made-up reference values, trains one epoch on it in a process
of its own, conversion and checks included, and asks the system for the largest resident memory, mapped files included.
Prints it and writes results/training_memory.json.
"""

from __future__ import annotations

import datetime
import json
import resource
import subprocess
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path

import click
import numpy as np
import yaml
from ase.build import molecule
from machine import describe_machine

RESULTS = Path(__file__).parent / "results" / "training_memory.json"
MOLECULES = ("CH3CH2OH", "CH3OH", "H2O", "CH4", "H2CO", "C2H6", "CH3COOH")
STIFFNESS = 20.0  # eV/A^2 of the springs by which energies and forces are made up, so that they belong together
MODEL = {"num_features": 32, "num_heads": 4, "num_layers": 2, "degrees": [1, 2]}


def write_molecules(file: Path, count: int) -> int:
    """Rattled molecules whose atoms are tied to their places by springs; returns the number of atoms."""
    rng = np.random.default_rng(0)
    kinds = [molecule(name) for name in MOLECULES]
    total = 0
    with file.open("w") as stream:
        for number in range(count):
            atoms = kinds[number % len(kinds)]
            total += len(atoms)
            moved = 0.05 * rng.standard_normal(atoms.positions.shape)
            energy = STIFFNESS / 2 * np.sum(moved**2) - 10 * len(atoms)
            stream.write(f'{len(atoms)}\nProperties=species:S:1:pos:R:3:forces:R:3 energy={energy:.8f} pbc="F F F"\n')
            for symbol, row in zip(
                atoms.symbols, np.hstack([atoms.positions + moved, -STIFFNESS * moved]), strict=True
            ):
                stream.write(symbol + "".join(f" {value:.8f}" for value in row) + "\n")
    return total


@click.command(help=__doc__.splitlines()[0])
@click.option("--structures", type=int, default=100_000, show_default=True)
@click.option("--output", type=click.Path(path_type=Path), default=RESULTS, help="results as JSON")
def main(structures: int, output: Path) -> None:
    machine = describe_machine()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        atoms = write_molecules(folder / "molecules.xyz", structures)
        config = {
            "data": {"files": "molecules.xyz", "on_disk": True, "split": {"train": 0.9, "validation": 0.05}},
            "model": MODEL,
            "training": {"epochs": 1, "batch_size": 100},
            "threads": 1,
        }
        (folder / "config.yaml").write_text(yaml.safe_dump(config))
        subprocess.run(
            [sys.executable, "-m", "so3md", "train", "config.yaml", "--output", "run"], cwd=folder, check=True
        )
    largest = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    print(f"{structures} structures, {atoms} atoms: at most {largest:.0f} MiB")
    report = {
        "benchmark": "largest resident memory of a training on structures that stay on disk",
        "date": datetime.date.today().isoformat(),
        "machine": machine,
        "versions": {package: version(package) for package in ("so3md", "torch")},
        "structures": structures,
        "atoms": atoms,
        "largest_mib": round(largest),
    }
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
