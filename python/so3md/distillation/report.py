"""How good a student is: its errors against the teacher, and what an evaluation of both costs."""

from __future__ import annotations

import time
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
from ase import Atoms

from so3md.batch import evaluate_many
from so3md.calculator import So3kratesCalculator
from so3md.charge_and_spin import OddElectronsWarning
from so3md.ignored_states import IgnoredStateWarning
from so3md.present import present
from so3md.training.sample import Sample

_REPEATS = 5


def force_errors(student: str, held_out: Sequence[Sample], others: Sequence[Sample]) -> dict[str, float]:
    """Differences of forces (eV/A): of components on average (mae), of atoms (rms) in the frames that were held out,
    and of the worst atom in all frames; with the teacher's forces (rms) beside."""
    differences, references = [], []
    for part in (held_out, others):
        with without_states():
            predictions = list(evaluate_many([sample.atoms() for sample in part], student))
        forces = [present(present(prediction).forces) for prediction in predictions]
        reference = [present(sample.forces) for sample in part]
        differences.append(np.concatenate([np.zeros((0, 3)), *map(np.subtract, forces, reference)]))
        references.append(np.concatenate([np.zeros((0, 3)), *reference]))
    return {
        "force_mae": float(np.abs(differences[0]).mean()),
        "force_rms": _rms(differences[0]),
        "force_largest": float(np.linalg.norm(np.concatenate(differences), axis=1).max()),
        "teacher_force_rms": _rms(references[0]),
    }


def _rms(vectors: np.ndarray) -> float:
    return float(np.sqrt(np.square(vectors).sum(axis=1).mean()))


@contextmanager
def without_states() -> Iterator[None]:
    """Without warnings of charge and spin, of which a student need not know, and its frames have none."""
    with warnings.catch_warnings():
        for kind in (IgnoredStateWarning, OddElectronsWarning):
            warnings.simplefilter("ignore", kind)
        yield


def cost(model: str, atoms: Atoms, threads: int | None) -> float:
    """Time of an evaluation of energy and forces in dynamics, in us per atom: the shortest of a few."""
    moving = atoms.copy()
    moving.calc = So3kratesCalculator(model, threads=threads)
    rng, times = np.random.default_rng(0), []
    with without_states():
        for _ in range(_REPEATS + 1):
            moving.positions += 1e-3 * rng.standard_normal(moving.positions.shape)
            begin = time.perf_counter()
            moving.get_forces()
            times.append(time.perf_counter() - begin)
    return 1e6 * min(times[1:]) / len(atoms)


def share_of_error(report: dict[str, Any]) -> float:
    """The rms difference of forces over the rms of the teacher's: 1 of a student that knows nothing."""
    errors = report["errors"]
    return errors["force_rms"] / errors["teacher_force_rms"] if errors["teacher_force_rms"] else 0.0


def describe(report: dict[str, Any]) -> str:
    """The report in words."""
    errors, costs = report["errors"], report["cost"]
    return (
        f"Forces of student and teacher differ by {1e3 * errors['force_mae']:.0f} meV/A on average (components), by "
        f"{1e3 * errors['force_rms']:.0f} meV/A (rms over atoms, of {1e3 * errors['teacher_force_rms']:.0f} meV/A), "
        f"and by {errors['force_largest']:.2g} eV/A at most.\n"
        f"An evaluation of {costs['atoms']} atoms takes {costs['student']:.3g} us per atom by the student and "
        f"{costs['teacher']:.3g} by the teacher: {costs['teacher'] / costs['student']:.0f} times as much"
    )
