"""What SO3LR learns in fine-tuning, and what it forgets: everything trained, a part frozen, low ranks, and old
structures among the new ones.

    python benchmarks/finetune_forgetting.py            # about ten minutes on one core
    python benchmarks/finetune_forgetting.py --quick    # one minute, to try it

The new domain are the fifty structures of ethanol of the package, labelled by PBE+TS: 30 to train on, 5 for validation,
15 to measure on. The old one are thermal frames of water and of two molecules, labelled by SO3LR itself. The molecules
of water are compared as a whole, too: their inner vibrations are stiffer by SO3LR's own method than by PBE, in water as
in ethanol, so that a part of the change of atomic forces is what was to be learned. Old structures are small clusters
of water, not of the frames, with forces of SO3LR and no energies.

Of each way the learning rate is taken that has the lowest validation loss of its rates, and then other seeds, which are
those of the order of the data and of the factors. Written to results/finetune_forgetting.json.
"""

from __future__ import annotations

import argparse
import datetime
import json
import tempfile
import time
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ase import Atoms, units
from ase.build import molecule
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io import read, write
from ase.md.langevin import Langevin
from machine import describe_machine

from so3md import So3kratesCalculator
from so3md.batch import evaluate_many
from so3md.dynamics import Settings
from so3md.dynamics.ensembles import draw_velocities
from so3md.loading import model_path
from so3md.model_file import ModelFile
from so3md.present import present
from so3md.structures import example_path, read_structure
from so3md.training.config import Config, DataConfig, Split, TrainingConfig
from so3md.training.run import MODEL, Run

RESULT = Path(__file__).parent / "results" / "finetune_forgetting.json"
BASE = "so3lr"
SPLIT = Split(train="0:30", validation="30:35", test="35:")
ALL_BUT_THE_ENERGY_HEAD = ["embedding", "layers", "charge", "hirshfeld", "zbl"]
OLD_MOLECULES = {"benzene": "C6H6", "acetamide": "CH3CONH2"}
TEMPERATURE = 300.0  # K

Frames = dict[str, list[Atoms]]


@dataclass
class Way:
    """One of fine-tuning. rates: learning rates to choose from; replays: whether old structures are among the new."""

    name: str
    rates: tuple[float, ...]
    settings: dict[str, Any] = field(default_factory=dict)
    replays: bool = False


WAYS = (
    Way("everything", (3e-5, 1e-4, 3e-4)),
    Way("energy head only", (3e-4, 1e-3, 3e-3), {"freeze": ALL_BUT_THE_ENERGY_HEAD}),
    Way("low rank 4", (1e-4, 3e-4, 1e-3), {"low_rank": 4}),
    Way("low rank 16", (1e-4, 3e-4, 1e-3), {"low_rank": 16}),
    Way("everything, with old structures", (3e-5, 1e-4, 3e-4), replays=True),
    Way("low rank 16, with old structures", (1e-4, 3e-4, 1e-3), {"low_rank": 16}, replays=True),
)


@dataclass
class Size:
    """How much is measured."""

    epochs: int = 40
    seeds: int = 3
    frames_of_water: int = 6
    frames_of_molecules: int = 20
    clusters: int = 10
    steps_between_frames: int = 100
    choose_rates: bool = True


QUICK = Size(2, 1, 1, 2, 2, 10, choose_rates=False)


def thermal(atoms: Atoms, steps: list[int], random: np.random.Generator) -> list[Atoms]:
    """Frames of Langevin dynamics by SO3LR, after so many steps of 0.5 fs each."""
    atoms = atoms.copy()
    atoms.calc = So3kratesCalculator(BASE, threads=1)
    draw_velocities(atoms, Settings(temperature=TEMPERATURE), random)
    dynamics = Langevin(
        atoms, 0.5 * units.fs, temperature_K=TEMPERATURE, friction=0.01 / units.fs, rng=random, fixcm=False
    )
    frames = []
    for count in steps:
        dynamics.run(count)
        frames.append(atoms.copy())
    return frames


def old_domain(size: Size, random: np.random.Generator) -> Frames:
    """Structures that SO3LR knows."""
    between = size.steps_between_frames
    frames = {"water": thermal(read_structure("water"), [between] * size.frames_of_water, random)}
    for name, formula in OLD_MOLECULES.items():
        frames[name] = thermal(molecule(formula), [between] * size.frames_of_molecules, random)
    return frames


def cluster(random: np.random.Generator, size: Size) -> Atoms:
    """Six molecules of water at 300 K, from a lattice on which each is turned at random."""
    atoms = Atoms()
    for place in np.argwhere(np.ones((3, 2, 1))):
        one = molecule("H2O")
        one.rotate(360 * random.random(), random.standard_normal(3))
        one.translate(3.0 * place + 0.2 * random.standard_normal(3))
        atoms += one
    return thermal(atoms, [3 * size.steps_between_frames], random)[0]


def write_old_structures(path: Path, size: Size, random: np.random.Generator) -> None:
    """Clusters with the forces of SO3LR. Energies are left out: those of another method have another zero."""
    clusters = [cluster(random, size) for _ in range(size.clusters)]
    for atoms, forces in zip(clusters, forces_of(clusters, BASE), strict=True):
        atoms.calc = SinglePointCalculator(atoms, forces=forces)
    write(path, clusters, format="extxyz")


def forces_of(structures: list[Atoms], model: str) -> list[np.ndarray]:
    """(n, 3) of each, eV/A."""
    found = evaluate_many(structures, model, precision="double", threads=1)
    return [present(present(prediction).forces) for prediction in found]


def of_molecules(forces: np.ndarray) -> np.ndarray:
    """Forces on molecules of water, from those on O, H and H of each."""
    return forces.reshape(-1, 3, 3).sum(axis=1)


def mean_size(forces: list[np.ndarray]) -> float:
    """Mean absolute value of the components, meV/A."""
    return float(1e3 * np.mean([np.abs(values).mean() for values in forces]))


def force_errors(model: str, new: list[Atoms], old: Frames) -> dict[str, float]:
    """Mean absolute errors of components (meV/A): of the new domain against its labels, of the old against SO3LR."""
    pairs = {"ethanol": (forces_of(new, model), [atoms.get_forces() for atoms in new])}
    pairs |= {name: (forces_of(frames, model), forces_of(frames, BASE)) for name, frames in old.items()}
    errors = {name: [found - expected for found, expected in zip(*both, strict=True)] for name, both in pairs.items()}
    errors["molecules of water"] = [of_molecules(error) for error in errors["water"]]
    return {name: mean_size(error) for name, error in errors.items()}


def sizes_of_forces(new: list[Atoms], old: Frames) -> dict[str, float]:
    """Of the reference values themselves (meV/A), to see errors beside."""
    references = {name: forces_of(frames, BASE) for name, frames in old.items()}
    references["molecules of water"] = [of_molecules(forces) for forces in references["water"]]
    references["ethanol"] = [atoms.get_forces() for atoms in new]
    return {name: mean_size(forces) for name, forces in references.items()}


def fine_tuned(way: Way, rate: float, seed: int, size: Size, replayed: Path) -> tuple[Run, dict[str, Any]]:
    """A training in the folder of the old structures, and what it says of itself."""
    data = DataConfig(files="ethanol", split=SPLIT, train_files=str(replayed) if way.replays else None)
    training = TrainingConfig(
        epochs=size.epochs, batch_size=5, learning_rate=rate, validation_interval=2, **way.settings
    )
    config = Config(data=data, training=training, seed=seed, threads=1)
    directory = Path(tempfile.mkdtemp(dir=replayed.parent))
    run = Run.start(config, replayed.parent, directory, model=ModelFile.read(model_path(BASE)))
    begin = time.process_time()
    run.train()
    return run, {
        "learning_rate": rate,
        "seed": seed,
        "validation_loss": run.trainer.best_loss,
        "best_epoch": run.trainer.best_epoch,
        "cpu_seconds": round(time.process_time() - begin, 1),
        "steps": run.trainer.step,
    }


def measure(way: Way, size: Size, new: list[Atoms], old: Frames, replayed: Path) -> dict[str, Any]:
    """All trainings of a way, with the errors of their models."""
    runs = []

    def train(rate: float, seed: int) -> None:
        run, found = fine_tuned(way, rate, seed, size, replayed)
        found["force_errors_meV_per_A"] = force_errors(str(run.directory / MODEL), new, old)
        found["trained_numbers"] = run.trainer.parameters.values.numel()
        runs.append(found)
        errors = ", ".join(f"{name} {error:.0f}" for name, error in found["force_errors_meV_per_A"].items())
        print(f"{way.name}, {rate:g}, seed {seed}, {found['cpu_seconds']:.0f} s: {errors} meV/A", flush=True)

    for rate in way.rates if size.choose_rates else way.rates[1:2]:
        train(rate, 0)
    best = min(runs, key=lambda run: run["validation_loss"])["learning_rate"]
    for seed in range(1, size.seeds):
        train(best, seed)
    return {
        "way": way.name,
        "settings": way.settings,
        "old_structures": size.clusters if way.replays else 0,
        "trained_numbers": runs[0].pop("trained_numbers"),
        "learning_rate": best,
        "runs": [{key: value for key, value in run.items() if key != "trained_numbers"} for run in runs],
    }


def main() -> None:
    """Fine-tune in all ways, and report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--output", type=Path, default=RESULT)
    options = parser.parse_args()
    size, random = QUICK if options.quick else Size(), np.random.default_rng(0)
    report: dict[str, Any] = {
        "benchmark": "SO3LR fine-tuned on 30 structures of ethanol by PBE+TS: errors there, and changes elsewhere",
        "date": datetime.date.today().isoformat(),
        "machine": describe_machine(),
        "versions": {name: version(name) for name in ("so3md", "torch", "ase")},
        "size": vars(size),
    }
    torch.set_num_threads(1)
    new = read(example_path("ethanol"), SPLIT.test)
    old = old_domain(size, random)
    report["mean_forces_meV_per_A"] = sizes_of_forces(new, old)
    report["before"] = force_errors(BASE, new, old)
    with tempfile.TemporaryDirectory() as folder:
        replayed = Path(folder) / "old.xyz"
        write_old_structures(replayed, size, random)
        report["ways"] = [measure(way, size, new, old, replayed) for way in WAYS]
    options.output.parent.mkdir(exist_ok=True)
    options.output.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    print(f"written: {options.output}")


if __name__ == "__main__":
    main()
