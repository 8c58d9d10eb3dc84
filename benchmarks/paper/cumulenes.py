"""Cumulene chains, whose energy depends on how the ends are turned against each other, however long the chain is.

    python benchmarks/paper/cumulenes.py study

trains a local and a non-local model for every length of the chain and lets both predict the energy over the torsion.
The models are alike but for the attention between atoms that are close in the space of spherical harmonic coordinates.
Goes on where it was stopped. Writes results/cumulenes.json and .png. `generate` makes the data again (needs tblite).
"""

from __future__ import annotations

import datetime
import sys
from pathlib import Path
from typing import Any

import click
import numpy as np
from ase import Atoms
from ase.io import read
from cumulene_data import (
    CONFIGURATIONS,
    DATA,
    ELECTRONIC_TEMPERATURE,
    LENGTHS,
    PROFILE,
    profile_configurations,
    profile_file,
    read_profiles,
    relaxed,
    training_configurations,
    training_file,
    write_configurations,
)
from rich.console import Console
from rich.progress import track
from rich.table import Table
from runs import RESULTS, RUNS, train, write_results

sys.path.insert(0, str(Path(__file__).parent.parent))
from machine import describe_machine

KINDS = {"local": None, "non-local": {"type": "dynamic"}}
#: Configurations of each length: for the parameters, to choose the best of them, and to test.
SPLIT = {"train": "0:160", "validation": "160:180", "test": "180:200"}


def make_config(n: int, kind: str, steps: int, seed: int) -> dict[str, Any]:
    """A small model of the paper's architecture; within its cutoff a carbon atom of the chain has two neighbours."""
    return {
        "data": {"files": str(training_file(n).absolute()), "split": SPLIT},
        "model": {
            "architecture": "so3krates-2022",
            "num_features": 36,
            "num_heads": 4,
            "degrees": [1, 2, 3],
            "num_layers": 2,
            "cutoff": 2.5,
            # Steep: the hydrogen atoms, 2.06 A from the second carbon atom, keep a third of their weight there.
            "cutoff_function": {"type": "polynomial", "exponent": 10},
            "radial_basis": {"type": "bernstein", "size": 16},
            "radial_hidden": 36,
            "spherical_hidden": 16,
            "nonlocal": KINDS[kind],
        },
        "loss": {"energy": 10, "forces": 10},
        "training": {
            "epochs": steps // 16,
            "batch_size": 10,
            "learning_rate": 3e-3,
            "schedule": {"type": "cosine", "final": 0.005},
            "ema_decay": 0.99,
            "validation_interval": max(1, steps // 16 // 40),
        },
        "seed": seed,
    }


def predict(model_file: Path, configurations: list[Atoms]) -> tuple[np.ndarray, list[np.ndarray]]:
    """Energies (eV) and forces (eV/A) of a model."""
    from so3md.batch import evaluate_many

    results = list(evaluate_many(configurations, str(model_file), precision="double", lr_cutoff=None))
    return np.array([result.energy for result in results]), [result.forces for result in results]


def errors_of(model_file: Path, n: int, profile: list[Atoms]) -> dict[str, Any]:
    """The profile as the model predicts it, its error, and errors for test configurations. Energies in eV."""
    reference = np.array([atoms.get_potential_energy() for atoms in profile])
    energies, _ = predict(model_file, profile)
    differences = energies - reference
    test = read(training_file(n), SPLIT["test"])
    test_energies, test_forces = predict(model_file, test)
    energy_errors = test_energies - [atoms.get_potential_energy() for atoms in test]
    force_errors = np.concatenate(
        [(f - atoms.get_forces()).ravel() for f, atoms in zip(test_forces, test, strict=True)]
    )
    return {
        "energies_eV": (energies - energies.mean()).round(5).tolist(),
        # What the profile looks like counts here, not where its zero is.
        "profile_rmse_eV": float(differences.std()),
        "barrier_eV": float(np.ptp(energies)),
        "test_energy_mae_eV": float(np.abs(energy_errors).mean()),
        "test_forces_mae_eV_per_A": float(np.abs(force_errors).mean()),
    }


def print_table(lengths: dict[int, dict[str, Any]]) -> None:
    table = Table("chain", "barrier, eV", "model", "steps", "its barrier", "RMSE", "test: MAE of forces, meV/Å")
    for n, result in lengths.items():
        for kind in KINDS:
            errors = result[kind]
            numbers = (errors["barrier_eV"], errors["profile_rmse_eV"], 1e3 * errors["test_forces_mae_eV_per_A"])
            model = kind, str(errors["steps"])
            table.add_row(f"C{n}H4", f"{result['barrier_eV']:.2f}", *model, *(f"{value:.2f}" for value in numbers))
    Console().print(table)


def plot(lengths: dict[int, dict[str, Any]], path: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    columns = min(4, len(lengths) + 1)
    rows = -(-(len(lengths) + 1) // columns)
    figure, axes = pyplot.subplots(rows, columns, figsize=(3.0 * columns, 2.6 * rows), layout="constrained")
    panels = list(np.ravel(axes))
    styles = {"local": ("tab:orange", "--"), "non-local": ("tab:blue", "-")}
    for (n, result), panel in zip(lengths.items(), panels, strict=False):
        panel.plot(PROFILE, result["reference_eV"], "k.", markersize=4, label="GFN2-xTB")
        for kind, (colour, line) in styles.items():
            panel.plot(PROFILE, result[kind]["energies_eV"], line, color=colour, label=kind)
        panel.set(title=f"$\\mathrm{{C_{n}H_4}}$", xticks=(0, 45, 90, 135, 180))
    panels[0].legend(fontsize="small", loc="upper center")
    for panel in panels[: len(lengths)]:
        panel.set(xlabel="torsion, degrees", ylabel="energy, eV")
    last = panels[len(lengths)]
    for kind, (colour, line) in styles.items():
        values = [result[kind]["profile_rmse_eV"] for result in lengths.values()]
        last.semilogy(list(lengths), values, "o" + line, color=colour, label=kind)
    deviations = [float(np.std(result["reference_eV"])) for result in lengths.values()]
    last.semilogy(list(lengths), deviations, "k:", label="a constant")
    last.set(xlabel="carbon atoms", ylabel="RMSE of the profile, eV", xticks=list(lengths))
    last.legend(fontsize="small")
    for panel in panels[len(lengths) + 1 :]:
        panel.remove()
    figure.savefig(path, dpi=150)


@click.group(help=__doc__.splitlines()[0])
def main() -> None:
    pass


@main.command(help="Train a local and a non-local model for every length, and compare their torsion profiles.")
@click.option("--length", "chosen", type=click.Choice([str(n) for n in LENGTHS]), multiple=True, help="Default: all.")
@click.option("--steps", type=int, default=4000, show_default=True, help="steps of each training")
@click.option("--seed", type=int, default=0, show_default=True)
@click.option("--threads", type=int, default=1, show_default=True)
def study(chosen: tuple[str, ...], steps: int, seed: int, threads: int) -> None:
    profiles = read_profiles()
    lengths: dict[int, dict[str, Any]] = {}
    report = {
        "benchmark": "torsion profiles of cumulenes C_n H_4 by a local and a non-local model",
        "date": datetime.date.today().isoformat(),
        "machine": describe_machine(),
        "data": f"GFN2-xTB (tblite), electrons at {ELECTRONIC_TEMPERATURE:g} K, {CONFIGURATIONS} configurations each",
        "settings": {
            "steps": steps,
            "seed": seed,
            **{k: make_config(3, "local", steps, seed)[k] for k in ("model", "training")},
        },
        "torsion_degrees": PROFILE.tolist(),
        "lengths": lengths,
    }
    for n in map(int, chosen or map(str, LENGTHS)):
        reference = np.array([atoms.get_potential_energy() for atoms in profiles[n]])
        result = {
            "barrier_eV": float(np.ptp(reference)),
            "reference_eV": (reference - reference.mean()).round(5).tolist(),
        }
        for kind in KINDS:
            directory = RUNS / "cumulenes" / f"C{n}_{kind}_steps_{steps}_seed_{seed}"
            summary = train(make_config(n, kind, steps, seed), directory, threads)
            result[kind] = errors_of(directory / "model.safetensors", n, profiles[n])
            result[kind] |= {key: summary[key] for key in ("parameters", "steps", "seconds")}
        lengths[n] = result
    print_table(lengths)
    print(f"written: {write_results('cumulenes.json', report)}")
    plot(lengths, RESULTS / "cumulenes.png")


@main.command(help="Make the data again with tblite (a minute).")
def generate() -> None:
    DATA.mkdir(exist_ok=True)
    profiles: list[Atoms] = []
    for n in track(LENGTHS, description="GFN2-xTB", console=Console()):
        base = relaxed(n)
        write_configurations(training_file(n), list(training_configurations(n, base)))
        profiles += profile_configurations(base)
    write_configurations(profile_file(), profiles)


if __name__ == "__main__":
    main()
