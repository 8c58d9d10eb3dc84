"""Relaxing structures: the optimizers of ASE, with or without the cell, and many structures on all cores."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from multiprocessing import get_context
from multiprocessing.synchronize import Event
from typing import Any

import numpy as np
from ase import Atoms
from ase.calculators.calculator import all_properties
from ase.calculators.singlepoint import SinglePointCalculator
from ase.filters import FrechetCellFilter
from ase.optimize import BFGS, FIRE, LBFGS
from ase.optimize.optimize import Optimizer
from ase.parallel import DummyMPI

from so3md.dynamics.ensembles import BAR
from so3md.optimizers import ModelHessianLBFGS

AUTO = "auto"  # with a model Hessian where there is one
OPTIMIZERS: dict[str, Callable[..., Optimizer]] = {
    "model-hessian": ModelHessianLBFGS,
    "lbfgs": LBFGS,
    "bfgs": BFGS,
    "fire": FIRE,
}
CELLS = ("fixed", "isotropic", "full")
CONVERGED, UNCONVERGED, FAILED, STOPPED = "converged", "not converged", "failed", "stopped"
_POLL = 0.1  # seconds
_MOST_ATOMS = 1000  # whose model Hessian takes no more time than some evaluations


@dataclass(frozen=True)
class Relaxation:
    """How to relax: until no force is above fmax (eV/A), with so many steps at most; pressure (bar) on a cell."""

    fmax: float = 0.01
    steps: int = 1000
    optimizer: str = AUTO
    cell: str = "fixed"
    pressure: float = 0.0

    def target(self, atoms: Atoms) -> Atoms | FrechetCellFilter:
        """What the optimizer moves. Raises ValueError for a cell that cannot be relaxed."""
        if self.cell == "fixed":
            return atoms
        if not atoms.pbc.all():
            raise ValueError(
                f"--cell {self.cell}: the structure is not periodic in all directions, pbc = {atoms.pbc.tolist()}"
            )
        return FrechetCellFilter(
            atoms, hydrostatic_strain=self.cell == "isotropic", scalar_pressure=self.pressure * BAR
        )

    def optimizer_of(self, target: Atoms | FrechetCellFilter, trajectory: str | None = None) -> Optimizer:
        """The optimizer. Left to itself, that of ASE would take part in messages of its own whenever it writes."""
        name = self.optimizer
        if name == AUTO:
            known = isinstance(target, Atoms) and not target.pbc.any() and len(target) <= _MOST_ATOMS
            name = "model-hessian" if known else "lbfgs"
        return OPTIMIZERS[name](target, comm=DummyMPI(), logfile=None, trajectory=trajectory)


def largest_force(target: Atoms | FrechetCellFilter) -> float:
    """In eV/A."""
    return float(np.linalg.norm(target.get_forces(), axis=1).max())


@dataclass
class Outcome:
    """What became of a structure: energy in eV, largest force in eV/A; atoms are relaxed as far as it went, and None if
    it failed."""

    number: int
    state: str
    atoms: Atoms | None = None
    steps: int = 0
    energy: float | None = None
    largest_force: float | None = None
    error: str = ""


def relax_many(
    structures: Sequence[tuple[int, Atoms]],
    relaxation: Relaxation,
    parameters: Mapping[str, Any],
    processes: int,
    should_stop: Callable[[], bool],
) -> Iterator[Outcome]:
    """Relax numbered structures, as many at once as there are processes; yields outcomes as they come, in any order.

    parameters: of So3kratesCalculator, one for each process. A structure that cannot be evaluated has the state
    "failed", as those have that no process was left for. Where should_stop is true, relaxations stop after their step.
    """
    context = get_context("spawn")  # a fork would have threads of nobody
    stop = context.Event()
    pool = ProcessPoolExecutor(processes, context, _begin_work, (dict(parameters), relaxation, stop))
    try:
        waiting = {pool.submit(_relax_one, number, atoms): number for number, atoms in structures}
        while waiting:
            done, _ = wait(waiting, timeout=_POLL, return_when="FIRST_COMPLETED")
            if should_stop() and not stop.is_set():
                stop.set()
            for future in done:
                yield _outcome_of(future, waiting.pop(future))
    finally:
        stop.set()
        pool.shutdown(cancel_futures=True)


def _outcome_of(future: Future[Outcome], number: int) -> Outcome:
    try:
        return future.result()
    except BrokenProcessPool:
        text = "a process ended while it worked, perhaps for want of memory; take fewer --threads"
        return Outcome(number, FAILED, error=text)


# --- in the processes -----------------------------------------------------------------------------------------------


class _Worker:
    """What a process has while it lives."""

    def __init__(self, parameters: Mapping[str, Any], relaxation: Relaxation, stop: Event) -> None:
        from so3md.calculator import So3kratesCalculator

        self.calculator = So3kratesCalculator(**parameters)
        self.relaxation, self.stop = relaxation, stop

    def relax(self, number: int, atoms: Atoms) -> Outcome:
        if self.stop.is_set():
            return Outcome(number, STOPPED, error="stopped before it began")
        atoms.calc = self.calculator
        target = self.relaxation.target(atoms)
        optimizer = self.relaxation.optimizer_of(target)
        for converged in optimizer.irun(fmax=self.relaxation.fmax, steps=self.relaxation.steps):
            if converged or self.stop.is_set():
                break
        force, energy = largest_force(target), float(atoms.get_potential_energy())
        results = {key: value for key, value in self.calculator.results.items() if key in all_properties}
        atoms.calc = SinglePointCalculator(atoms, **results)
        state = CONVERGED if converged else STOPPED if self.stop.is_set() else UNCONVERGED
        return Outcome(number, state, atoms, int(optimizer.nsteps), energy, force)


_worker: _Worker | None = None


def _begin_work(parameters: Mapping[str, Any], relaxation: Relaxation, stop: Event) -> None:
    global _worker
    for name in (signal.SIGINT, signal.SIGTERM):  # of which the process that began it all is told, too
        signal.signal(name, signal.SIG_IGN)
    _worker = _Worker(parameters, relaxation, stop)


def _relax_one(number: int, atoms: Atoms) -> Outcome:
    if _worker is None:
        raise RuntimeError("the process was not prepared")
    try:
        return _worker.relax(number, atoms)
    except (ValueError, ArithmeticError, RuntimeError, np.linalg.LinAlgError) as error:  # ASE's optimizers, too
        return Outcome(number, FAILED, error=" ".join(str(error).split()))
