"""Errors of models of acetylacetone, trained at 300 K, far from there: a torsion that breaks the hydrogen bond, 600 K.

    python benchmarks/paper/acac_far.py generate                  # the data, which are committed; needs pyscf
    python benchmarks/paper/acac_far.py test runs/acac/model.safetensors so3lr

Each model: a file, or a name. Writes results/acac_far.json and the torsion profile beside it.
"""

from __future__ import annotations

import datetime
import json
import sys
import time
from pathlib import Path
from typing import Any

import click
import numpy as np
from acac_far_data import FILE, HOT, TORSIONS, difference_of_labels, hot, labelled, relaxed, turned
from ase import Atoms
from ase.io import read
from cumulene_data import write_configurations
from rich.console import Console
from rich.table import Table
from runs import DATA, RESULTS, data_file, write_results

from so3md import evaluate_many

sys.path.insert(0, str(Path(__file__).parent.parent))
from machine import describe_machine

LABELS = FILE.with_name("acac_far_labels.json")
CHECKED = (0, 100)  # structures of the training set that are labelled again


@click.group(help=__doc__.splitlines()[0])
def main() -> None:
    pass


@main.command()
@click.option("--data", type=click.Path(path_type=Path), default=DATA, help="directory of the data")
def generate(data: Path) -> None:
    """Make the structures and label them; goes on where it was stopped."""
    training = Path(data_file(data, "acac/train_300K.xyz"))
    minimum = relaxed(read(training, 0))
    done: list[Atoms] = read(FILE, ":") if FILE.exists() else []
    # The same each time, so that those that have labels need none.
    for number, atoms in enumerate([*turned(minimum), *hot(minimum)]):
        if number >= len(done):
            done.append(labelled(atoms))
            write_configurations(FILE, done)
            print(f"{time.strftime('%H:%M:%S')} {number + 1} of {len(TORSIONS) + HOT}", flush=True)
    LABELS.write_text(json.dumps([difference_of_labels(training, index) for index in CHECKED], indent=1) + "\n")


def errors(structures: list[Atoms], model: str) -> dict[str, float]:
    """Of forces (meV/A), and of energies (meV) but for a constant, since zeros of energies differ."""
    predictions = list(evaluate_many(structures, model))
    forces = np.concatenate([p.forces - a.get_forces() for p, a in zip(predictions, structures, strict=True)])
    energies = np.array([p.energy - a.get_potential_energy() for p, a in zip(predictions, structures, strict=True)])
    return {
        "forces_mae_meV_per_A": 1e3 * float(np.abs(forces).mean()),
        "forces_rmse_meV_per_A": 1e3 * float(np.sqrt(np.square(forces).mean())),
        "energy_deviation_meV": 1e3 * float(energies.std()),
    }


def profile(structures: list[Atoms], model: str | None) -> list[float]:
    """Energies (eV) along the torsion, from that of the hydrogen bond; without a model, the labels."""
    if model is None:
        energies = np.array([atoms.get_potential_energy() for atoms in structures])
    else:
        energies = np.array([prediction.energy for prediction in evaluate_many(structures, model)])
    return list(energies - energies[0])


def draw(report: dict[str, Any], path: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(5, 3.8), layout="constrained")
    axes.plot(report["torsions_degrees"], report["labels"]["profile_eV"], "k-", label="PBE-D3")
    for name, model in report["models"].items():
        axes.plot(report["torsions_degrees"], model["profile_eV"], "o", label=name)
    axes.set(xlabel="torsion, degrees", ylabel="energy, eV", title="acetylacetone, enol")
    axes.legend(frameon=False)
    figure.savefig(path, dpi=150)


@main.command()
@click.argument("models", nargs=-1, required=True)
@click.option("--data", type=click.Path(path_type=Path), default=DATA, help="directory of the data")
def test(models: tuple[str, ...], data: Path) -> None:
    """Compare models with the labels."""
    structures = read(FILE, ":")
    scan = [atoms for atoms in structures if atoms.info["kind"] == "torsion"]
    sets = {
        "300 K, test set": read(data_file(data, "acac/test_MD_300K.xyz"), ":"),
        "600 K": [atoms for atoms in structures if atoms.info["kind"] == "600 K"],
        "torsion": scan,
    }
    report: dict[str, Any] = {
        "benchmark": "errors of models of acetylacetone far from 300 K",
        "date": datetime.date.today().isoformat(),
        "machine": describe_machine(),
        "structures": {name: len(members) for name, members in sets.items()},
        "torsions_degrees": [float(atoms.info["torsion"]) for atoms in scan],
        "labels": {
            "method": "PBE-D3(BJ)/def2-SVP by PySCF",
            "differences_from_the_training_set": json.loads(LABELS.read_text()),
            "profile_eV": profile(scan, None),
        },
        "models": {
            name_of(model): {name: errors(members, model) for name, members in sets.items()}
            | {"profile_eV": profile(scan, model)}
            for model in models
        },
    }
    print_table(report)
    print(f"written: {write_results('acac_far.json', report)}")
    draw(report, RESULTS / "acac_far.png")


def name_of(model: str) -> str:
    """That of the directory, for the file of a training."""
    path = Path(model)
    return path.parent.name if path.name == "model.safetensors" else path.stem


def print_table(report: dict[str, Any]) -> None:
    table = Table("model", "structures", "forces: MAE, RMSE (meV/Å)", "energy (meV)")
    for name, model in report["models"].items():
        for kind in report["structures"]:
            e = model[kind]
            forces = f"{e['forces_mae_meV_per_A']:.1f}, {e['forces_rmse_meV_per_A']:.1f}"
            table.add_row(name, kind, forces, f"{e['energy_deviation_meV']:.1f}")
    Console().print(table)


if __name__ == "__main__":
    main()
