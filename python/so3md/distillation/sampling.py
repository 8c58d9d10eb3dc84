"""Frames for a student: hot dynamics by the teacher, and atoms displaced at random, with the teacher's forces."""

from __future__ import annotations

import io
from collections.abc import Callable

import numpy as np
from ase import Atoms
from ase.calculators.calculator import Calculator
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io import write

from so3md.batch import evaluate_many
from so3md.dynamics.ensembles import draw_velocities, make_driver
from so3md.dynamics.settings import Settings
from so3md.present import present

#: Steps before the first frame and between frames; friction (1/ps) that makes the temperature that of the thermostat
#: and frames new within them.
_FIRST, _BETWEEN, _FRICTION = 100, 20, 10.0
#: Every so many frames are displaced, by random numbers of this width (A): states that dynamics comes near when a step
#: is too long, or a student is wrong.
_DISPLACED_EVERY, _DISPLACEMENT = 4, 0.05
#: Forces (eV/A) of no use: a network that learns them forgets others.
_LARGEST_FORCE = 50.0


class SamplingError(RuntimeError):
    """The teacher's dynamics of a structure came to nothing."""


def sample(
    atoms: Atoms,
    teacher: Calculator,
    temperature: float,
    frames: int,
    rng: np.random.Generator,
    on_frame: Callable[[], None] = lambda: None,
    should_stop: Callable[[], bool] = lambda: False,
) -> list[Atoms] | None:
    """Frames (positions, cell) of the teacher's dynamics of a structure at a temperature (K); None if it was stopped.

    Constraints of the structure do not hold: a student needs the forces on all atoms. Raises SamplingError if the
    dynamics blows up.
    """
    moving = atoms.copy()
    moving.set_constraint()
    moving.calc = teacher
    settings = Settings(temperature=temperature, friction=_FRICTION)
    draw_velocities(moving, settings, rng)
    driver = make_driver(moving, settings, rng)
    result: list[Atoms] = []
    while len(result) < frames:
        for _ in range(_BETWEEN if result else _FIRST):
            if should_stop():
                return None
            _step(driver.step, moving, settings)
        frame = Atoms(moving.numbers, moving.positions, cell=moving.cell, pbc=moving.pbc)
        if len(result) % _DISPLACED_EVERY == _DISPLACED_EVERY - 1:
            frame.positions += _DISPLACEMENT * rng.standard_normal(frame.positions.shape)
        result.append(frame)
        on_frame()
    return result


def _step(step: Callable[[], object], atoms: Atoms, settings: Settings) -> None:
    try:
        step()
        reason = "" if atoms.get_temperature() < settings.temperature_limit else "it became too hot"
    except ValueError as error:  # the engine refuses the positions
        reason = str(error)
    if reason:
        raise SamplingError(
            f"the teacher's dynamics of {atoms.get_chemical_formula()} at {settings.temperature:g} K failed: {reason}. "
            "Relax the structure first (so3md relax), or choose lower temperatures"
        )


def labelled(frames: list[Atoms], of: Atoms, teacher: str, threads: int | None) -> str:
    """Extended XYZ of frames of a structure, whose charge and spin they have, with the teacher's forces.

    Frames with enormous forces are left out. The text has no charge and spin, of which the student need not know, and
    no energies, which have no part in multiple time steps.
    """
    for frame in frames:
        frame.info = dict(of.info)
    good = []
    for frame, prediction in zip(frames, evaluate_many(frames, teacher, threads=threads), strict=True):
        forces = present(present(prediction).forces)
        if np.abs(forces).max() < _LARGEST_FORCE:
            frame.info = {}
            frame.calc = SinglePointCalculator(frame, forces=forces)
            good.append(frame)
    if not good:
        raise SamplingError(
            f"forces of {of.get_chemical_formula()} are above {_LARGEST_FORCE:g} eV/A in all frames: relax it first"
        )
    text = io.StringIO()
    write(text, good, format="extxyz")
    return text.getvalue()
