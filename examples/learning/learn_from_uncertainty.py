"""A model that learns where it is uncertain: from 20 structures of a molecule, in three rounds.

    python learn_from_uncertainty.py

In each round a committee of two models is trained, runs dynamics at a temperature that its data have not seen, and
keeps the structures of which it is uncertain. `so3md select` takes the most different of these, `so3md label` computes
their energies and forces, and the next round learns from them. Labels are those of SO3LR here, so that nothing else is
needed; --calculator tblite, or any calculator of ASE, takes its place.

Writes rounds.csv and rounds.png: the error of forces on structures that no model has seen, and the share of steps at
which the committee was uncertain.
"""

from __future__ import annotations

import argparse
import csv
import os
from pathlib import Path

import numpy as np
import yaml
from ase import Atoms, units
from ase.build import molecule
from ase.io import read, write
from ase.md.langevin import Langevin
from ase.md.velocitydistribution import MaxwellBoltzmannDistribution

from so3md import So3kratesCalculator, evaluate_many
from so3md.cli import main
from so3md.evaluation import Errors

MODEL = {"num_features": 32, "num_layers": 2, "num_heads": 4, "degrees": [1, 2], "cutoff": 4.0}


def so3md(*arguments: object, allowed: tuple[int, ...] = (0,)) -> None:
    """Run a command of so3md."""
    code = main([str(item) for item in arguments], standalone_mode=False)
    if (code or 0) not in allowed:
        raise SystemExit(f"so3md {arguments[0]} ended with exit code {code}")


def sampled(atoms: Atoms, temperature: float, count: int, seed: int) -> list[Atoms]:
    """Structures of dynamics with SO3LR, one each 20 fs."""
    rng = np.random.default_rng(seed)
    atoms = atoms.copy()
    atoms.calc = So3kratesCalculator()
    MaxwellBoltzmannDistribution(atoms, temperature_K=temperature, rng=rng)
    dynamics = Langevin(atoms, 0.5 * units.fs, temperature_K=temperature, friction=0.02 / units.fs, rng=rng)
    frames = []
    for _ in range(count):
        dynamics.run(40)
        frames.append(Atoms(atoms.numbers, atoms.positions))
    return frames


def labelled(frames: list[Atoms], name: str, calculator: str) -> Path:
    """A file with reference values of these structures."""
    write(f"{name}.xyz", frames, format="extxyz")
    so3md("label", f"{name}.xyz", "--calculator", calculator, "-o", f"{name}-labelled.xyz", "--overwrite")
    return Path(f"{name}-labelled.xyz")


def train(number: int, epochs: int) -> list[str]:
    """A committee of two, from all that is in train.xyz."""
    config = {
        "data": {"files": "train.xyz", "split": {"train": 0.85, "validation": 0.15}},
        "model": MODEL,
        "training": {"epochs": epochs, "batch_size": 5, "learning_rate": 2e-3},
        "threads": 1,
    }
    Path("config.yaml").write_text(yaml.safe_dump(config))
    so3md("train", "config.yaml", "--committee", 2, "-o", f"models-{number}", "--overwrite")
    return [f"models-{number}/{letter}.safetensors" for letter in "ab"]


def force_error(models: list[str], held_out: list[Atoms]) -> float:
    """Mean absolute error (eV/A) of a component, by the committee."""
    found = evaluate_many([Atoms(atoms.numbers, atoms.positions) for atoms in held_out], models)
    differences = [p.forces - atoms.arrays["REF_forces"] for p, atoms in zip(found, held_out, strict=True)]
    return Errors.of(np.array(differences)).mae


def explore(number: int, models: list[str], options: argparse.Namespace) -> tuple[float, Path]:
    """The share of uncertain steps of dynamics, and the file of the uncertain structures.

    Where the committee is lost, the run ends: what follows would be of no use.
    """
    run = Path(f"run-{number}")
    committee = [text for model in models for text in ("--model", model)]
    limits = ["--uncertainty-threshold", options.threshold, "--stop-uncertainty", 20 * options.threshold]
    so3md(
        *("md", "start.xyz", *committee, *limits, "--steps", options.steps, "--temperature", options.temperature),
        *("--trajectory-interval", 5, "--seed", number, "--threads", 1, "--no-plot", "-o", run, "--overwrite"),
        allowed=(0, 3),
    )
    frames = read(run / "trajectory.xyz", ":")
    planned = 1 + options.steps // 5
    values = [found.uncertainty for found in evaluate_many(frames, models)]
    # Steps that were not done because the run had to end are uncertain ones.
    certain = np.count_nonzero(np.array(values) <= options.threshold)
    return float(1 - certain / planned), run / "uncertain.xyz"


def plot(rows: list[dict[str, float]]) -> None:
    """Both curves against the number of structures that were learned."""
    import matplotlib.pyplot as plt

    figure, (left, right) = plt.subplots(1, 2, figsize=(7, 3), constrained_layout=True)
    structures = [row["structures"] for row in rows]
    left.plot(structures, [1000 * row["force_mae_eV_per_A"] for row in rows], "o-")
    left.set(xlabel="structures", ylabel="force MAE (meV/Å), held out", ylim=(0, None))
    right.plot(structures, [100 * row["uncertain_share"] for row in rows], "o-")
    right.set(xlabel="structures", ylabel="uncertain steps (%)", ylim=(0, 100))
    figure.savefig("rounds.png", dpi=150)


def learn(options: argparse.Namespace) -> list[dict[str, float]]:
    """The rounds; one row for each."""
    atoms = molecule(options.molecule)
    write("start.xyz", atoms)
    held_out = read(labelled(sampled(atoms, options.temperature, 30, seed=1), "held-out", options.calculator), ":")
    new = labelled(sampled(atoms, 300, 20, seed=2), "new-0", options.calculator)
    Path("train.xyz").write_bytes(new.read_bytes())
    rows = []
    for number in range(options.rounds + 1):
        models = train(number, options.epochs)
        share, uncertain = explore(number, models, options)
        rows.append(
            {
                "structures": len(read("train.xyz", ":")),
                "force_mae_eV_per_A": force_error(models, held_out),
                "uncertain_share": share,
            }
        )
        print(rows[-1])
        if number == options.rounds or not uncertain.stat().st_size:
            break
        so3md(
            *("select", uncertain, "--known", "train.xyz", "--model", models[0], "-n", options.add),
            *("-o", f"new-{number + 1}.xyz", "--overwrite"),
        )
        new = labelled(read(f"new-{number + 1}.xyz", ":"), f"new-{number + 1}", options.calculator)
        with Path("train.xyz").open("ab") as file:
            file.write(new.read_bytes())
    return rows


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--molecule", default="CH3CH2OH", help="one of ase.build.molecule")
    parser.add_argument("--calculator", default="so3lr", help="that of the labels")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=300)
    parser.add_argument("--steps", type=int, default=2000, help="of dynamics in a round")
    parser.add_argument("--temperature", type=float, default=500, help="of dynamics (K)")
    parser.add_argument("--threshold", type=float, default=0.4, help="of the uncertainty (eV/A)")
    parser.add_argument("--add", type=int, default=20, help="structures in a round")
    parser.add_argument("--directory", type=Path, default=Path("learning"))
    given = parser.parse_args()
    given.directory.mkdir(parents=True, exist_ok=True)
    os.chdir(given.directory)
    found = learn(given)
    with open("rounds.csv", "w", newline="") as table:
        writer = csv.DictWriter(table, found[0].keys())
        writer.writeheader()
        writer.writerows(found)
    plot(found)
