"""Make so3lr-fast, a student of SO3LR for the inner steps of multiple time steps in whatever SO3LR knows.

    python benchmarks/make_so3lr_fast.py DIRECTORY [--epochs 130] [--time-limit 0.7]
    python benchmarks/make_so3lr_fast.py DIRECTORY --every 40 --epochs 1       # a trial, for minutes

Makes structures (student_structures.py: ASE's g2 and S22, RDKit's conformers, dimers, clusters, boxes of liquids and of
solutions), keeps some of every kind aside, and distils a student from the others (so3md.distillation): frames of
SO3LR's dynamics at 300 and 600 K, labelled by it, then training on its forces. What was kept aside says how large the
errors are by kind of structure. That goes into the file of the student, DIRECTORY/so3lr-fast.safetensors.

Stopped at any time, the same command goes on: from the structures, the last whole stretch of dynamics, or the last
checkpoint of the training. Needs PyTorch, and RDKit for most molecules.
"""

from __future__ import annotations

import argparse
import json
import time
import warnings
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import ase.io
import numpy as np
from ase import Atoms
from student_structures import make_structures

from so3md import So3kratesCalculator, evaluate_many
from so3md.charge_and_spin import OddElectronsWarning
from so3md.distillation import Distillation, Plan
from so3md.distillation.report import without_states
from so3md.distillation.sampling import labelled, sample
from so3md.model_file import ModelFile
from so3md.run_directory import replace_file
from so3md.student import REPORT
from so3md.training.run import RUN as TRAINING_RUN

NAME = "so3lr-fast"
SEED = 1
KEPT_ASIDE = 8  # every so many of a kind
_SAY_EVERY = 20.0  # s
FRAMES, TEMPERATURES = 10, (300.0, 600.0)
#: In A. What is beyond it is slow enough for the outer step, and each neighbour costs.
CUTOFF = 2.5
#: Kinds of which each structure is sampled so many times: what is simulated most, and has the fewest structures.
REPEATED = {"water": 4, "solutions": 2}


def main() -> None:
    """Make it, or go on making it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("directory", type=Path)
    parser.add_argument("--epochs", type=int, default=130, help="of the training, which may begin later")
    parser.add_argument("--time-limit", type=float, help="of the training, in hours")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--every", type=int, default=1, help="take every so many structures only, for a trial")
    options = parser.parse_args()
    warnings.simplefilter("ignore", OddElectronsWarning)
    options.directory.mkdir(parents=True, exist_ok=True)
    structures = all_structures(options.directory / "all.xyz", options.threads)
    aside, used = (part[:: options.every] for part in divided(structures))
    with distillation(options.directory, used, options.threads) as work:
        work.sample(progress("frames", work.total_frames))
        tests = held_out_frames(options.directory, aside, options.threads)
        train(work, options)
        report = work.finish()
    errors = {kind: errors_of(str(work.output), frames) for kind, frames in tests.items()}
    write_errors(work.output, errors)
    print(json.dumps({"errors": report["errors"], "cost": report["cost"], "kept_aside": errors}, indent=2))


def all_structures(path: Path, threads: int) -> list[Atoms]:
    """Those of the file, which is made if it is not there; kind and name of each are in its info."""
    if not path.exists():
        found = []
        for kind, name, atoms in make_structures(So3kratesCalculator("so3lr", threads=threads), SEED):
            atoms.info |= {"kind": kind, "name": name}
            atoms.set_initial_charges(None)
            found.append(atoms)
            print(f"{kind}: {name}, {len(atoms)} atoms", flush=True)
        part = path.with_suffix(".part")
        ase.io.write(part, found, format="extxyz")
        part.replace(path)
    return ase.io.read(path, ":")


def divided(structures: list[Atoms]) -> tuple[list[Atoms], list[Atoms]]:
    """What is kept aside, some of every kind, and the others."""
    seen: Counter[str] = Counter()
    parts: tuple[list[Atoms], list[Atoms]] = ([], [])
    for atoms in structures:
        seen[atoms.info["kind"]] += 1
        parts[seen[atoms.info["kind"]] % KEPT_ASIDE != 0].append(atoms)
    return parts


def distillation(directory: Path, used: list[Atoms], threads: int) -> Distillation:
    """That of the directory."""
    place = directory / "student"
    if (place / "distill.json").exists():
        return Distillation.resume(place)
    plan = Plan(temperatures=TEMPERATURES, frames=FRAMES, seed=SEED, threads=threads, cutoff=CUTOFF)
    kinds = Counter(str(atoms.info["kind"]) for atoms in used)
    times = {kind: f", {number} times" for kind, number in REPEATED.items()}
    names = [f"{number} {kind}{times.get(kind, '')}" for kind, number in kinds.items()]
    used = [*used, *(atoms for atoms in used for _ in range(1, REPEATED.get(atoms.info["kind"], 1)))]
    return Distillation.start(used, plan, place, directory / f"{NAME}.safetensors", names=names)


def held_out_frames(directory: Path, aside: list[Atoms], threads: int) -> dict[str, list[Atoms]]:
    """Frames with SO3LR's forces of what was kept aside, by kind."""
    teacher = So3kratesCalculator("so3lr", threads=threads)
    result: dict[str, list[Atoms]] = {}
    for number, atoms in enumerate(aside):
        path = directory / f"aside-{number}.xyz"
        if not path.exists():
            frames = []
            for level, temperature in enumerate(TEMPERATURES):
                rng = np.random.default_rng([SEED, number, level, 1])
                frames += sample(atoms, teacher, temperature, FRAMES, rng) or []
            replace_file(path, labelled(frames, atoms, "so3lr", threads).encode())
        result.setdefault(str(atoms.info["kind"]), []).extend(ase.io.read(path, ":"))
    return result


def train(work: Distillation, options: argparse.Namespace) -> None:
    """Train, or go on with it."""
    begun = (work.directory / "training" / TRAINING_RUN).exists()
    if not begun:  # sampling does not depend on these, which are chosen by what there is time for
        work.plan = replace(work.plan, epochs=options.epochs, time_limit=options.time_limit)
    with work.training() as run:
        trainer = run.trainer
        tell = progress("steps", trainer.total_steps)
        run.train(
            lambda: tell(trainer.step),
            lambda row: print(f"epoch {row.epoch}: loss {row.loss:.5g}", flush=True),
        )


def errors_of(student: str, frames: list[Atoms]) -> dict[str, float]:
    """Differences of forces (eV/A): of components on average, of atoms (rms), with the teacher's forces beside."""
    with without_states():
        predictions = list(evaluate_many(frames, student))
    reference = np.concatenate([atoms.get_forces() for atoms in frames])
    difference = np.concatenate([prediction.forces for prediction in predictions]) - reference
    return {
        "frames": len(frames),
        "force_mae": float(np.abs(difference).mean()),
        "force_rms": float(np.sqrt(np.square(difference).sum(axis=1).mean())),
        "force_largest": float(np.linalg.norm(difference, axis=1).max()),
        "teacher_force_rms": float(np.sqrt(np.square(reference).sum(axis=1).mean())),
    }


def write_errors(path: Path, errors: dict[str, Any]) -> None:
    """Add errors by kind of structure to the report in the file of the student."""
    model = ModelFile.read(path)
    model.provenance[REPORT]["kept_aside"] = errors
    model.write(path)


def progress(what: str, total: int) -> Callable[[int], None]:
    """Says now and then how much is done."""
    said = time.monotonic()

    def tell(done: int) -> None:
        nonlocal said
        if time.monotonic() > said + _SAY_EVERY:
            said = time.monotonic()
            print(f"{time.strftime('%H:%M:%S')} {done} of {total} {what}", flush=True)

    return tell


if __name__ == "__main__":
    main()
