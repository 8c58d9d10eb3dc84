"""Relaxing the conformers of a drug-like molecule: `so3md relax --all` beside a loop of ASE's LBFGS.

    python benchmarks/conformers.py [--count 1000]      # some minutes; with RDKit (pip install rdkit)

Conformers of ibuprofen (33 atoms) as RDKit makes them, until no force is above 0.01 eV/A. The command relaxes all of
them on all cores; every 40th is relaxed by ASE's LBFGS too, one after the other, with the same calculator on one
thread. What is compared are CPU seconds for a conformer, of all processes with their start, so that other programs on
the machine change little. Writes results/conformers.json.
"""

from __future__ import annotations

import datetime
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

import click
import numpy as np
from ase import Atoms
from ase.io import read, write
from ase.optimize import LBFGS
from machine import describe_machine

from so3md import So3kratesCalculator

RESULTS = Path(__file__).parent / "results" / "conformers.json"
SMILES = "CC(C)Cc1ccc(cc1)[C@H](C)C(=O)O"
FMAX = 0.01  # eV/A
EVERY = 40  # is relaxed by ASE, too
SEED = 1

Record = dict[str, Any]


def conformers(count: int) -> list[Atoms]:
    from rdkit import Chem
    from rdkit.Chem import rdDistGeom

    molecule = Chem.AddHs(Chem.MolFromSmiles(SMILES))
    settings = rdDistGeom.ETKDGv3()
    settings.randomSeed, settings.numThreads = SEED, 0
    made = rdDistGeom.EmbedMultipleConfs(molecule, count, settings)
    numbers = [atom.GetAtomicNum() for atom in molecule.GetAtoms()]
    return [Atoms(numbers, molecule.GetConformer(index).GetPositions()) for index in made]


def cpu_seconds(who: int) -> float:
    usage = resource.getrusage(who)
    return usage.ru_utime + usage.ru_stime


def by_command(structures: list[Atoms]) -> Record:
    """All of them by `so3md relax --all`."""
    with tempfile.TemporaryDirectory() as folder:
        write(Path(folder) / "conformers.xyz", structures)
        command = [sys.executable, "-m", "so3md", "relax", "conformers.xyz", "--all", "--fmax", str(FMAX)]
        environment = os.environ | {"OPENBLAS_NUM_THREADS": "1"}
        begin, used = time.perf_counter(), cpu_seconds(resource.RUSAGE_CHILDREN)
        subprocess.run([*command, "--json", "out.json"], cwd=folder, check=False, env=environment)
        seconds, used = time.perf_counter() - begin, cpu_seconds(resource.RUSAGE_CHILDREN) - used
        document = json.loads((Path(folder) / "out.json").read_text())
    steps = [row["steps"] for row in document["structures"]]
    return {
        "seconds": seconds,
        "cpu_seconds": used,
        "cpu_seconds_per_conformer": used / len(structures),
        "counts": document["counts"],
        "steps": sum(steps),
        "mean_steps": float(np.mean(steps)),
    }


def by_ase(structures: list[Atoms]) -> Record:
    """Some of them by ASE, one after the other."""
    calculator = So3kratesCalculator(threads=1)
    steps = []
    used = cpu_seconds(resource.RUSAGE_SELF)
    for atoms in structures:
        atoms.calc = calculator
        optimizer = LBFGS(atoms, logfile=None)
        optimizer.run(fmax=FMAX, steps=1000)
        steps.append(int(optimizer.nsteps))
    used = cpu_seconds(resource.RUSAGE_SELF) - used
    return {
        "conformers": len(structures),
        "cpu_seconds_per_conformer": used / len(structures),
        "mean_steps": float(np.mean(steps)),
    }


@click.command()
@click.option("--count", default=1000, show_default=True)
@click.option("--structures", type=click.Path(exists=True), help="Conformers that were made before.")
@click.option("--output", type=click.Path(path_type=Path), default=RESULTS)
def main(count: int, structures: str | None, output: Path) -> None:
    """See the head of this file."""
    made = read(structures, f":{count}") if structures else conformers(count)
    report: Record = {
        "benchmark": "conformers",
        "date": datetime.date.today().isoformat(),
        "machine": describe_machine(),
        "versions": {name: version(name) for name in ("so3md", "ase")},
        "settings": {"smiles": SMILES, "conformers": len(made), "atoms": len(made[0]), "fmax_eV_per_A": FMAX},
        "so3md relax --all": by_command(made),
        "ase": by_ase(made[::EVERY]),
    }
    sides = [report[side]["cpu_seconds_per_conformer"] for side in ("ase", "so3md relax --all")]
    report["times_faster"] = sides[0] / sides[1]
    output.write_text(json.dumps(report, indent=1) + "\n")
    print(json.dumps(report, indent=1))


if __name__ == "__main__":
    main()
