"""What analyses are given: the trajectory, what the user wants, and what several of them need, made once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from so3md.analysis.currents import currents_of_model
from so3md.analysis.dipoles import Dipoles, charges_of_model, dipoles_of
from so3md.analysis.molecules import Molecules, find_molecules
from so3md.analysis.results import Unavailable
from so3md.analysis.trajectory import Trajectory


@dataclass(frozen=True)
class Options:
    """What analyses may be told.

    farthest (Angstrom): of radial distributions, by default half of the smallest height of the cell, 10 at most.
    viscosity (mPa s): for what diffusion in an infinite system would be. resolution (1/cm): of spectra. model: for
    charges, and for currents of periodic systems, with total charge (e), total spin, threads and device.
    """

    farthest: float | None = None
    viscosity: float | None = None
    resolution: float = 10.0
    model: str | None = None
    charge: float | None = None
    spin: float | None = None
    threads: int | None = None
    device: str = "cpu"


@dataclass
class Work:
    """See the head of this file. say: shows how far an analysis is."""

    trajectory: Trajectory
    options: Options
    say: Callable[[str], None] = lambda _: None

    @cached_property
    def molecules(self) -> Molecules:
        """Raises Unavailable where there are none."""
        return find_molecules(self.trajectory)

    @property
    def _parameters(self) -> dict[str, Any]:
        """Of the model, for calculators and `evaluate_many`."""
        return {name: getattr(self.options, name) for name in ("model", "charge", "spin", "threads", "device")}

    @cached_property
    def charges(self) -> np.ndarray:
        """(f, n) in e, of the trajectory or of the model. Raises Unavailable if there are none."""
        if self.options.model is not None:
            return charges_of_model(self.trajectory, self.say, **self._parameters)
        charges = self.trajectory.charges
        if charges is None or not charges.any():
            raise Unavailable("the trajectory has no charges; --model so3lr evaluates them")
        return charges

    @cached_property
    def dipoles(self) -> Dipoles:
        """Raises Unavailable where there are no charges, or no molecules in a periodic system."""
        return dipoles_of(self.trajectory, self.charges, lambda: self.molecules)

    @cached_property
    def currents(self) -> np.ndarray:
        """(f, 3) in e Angstrom/ps, of the model. Raises Unavailable without a model or velocities."""
        if self.options.model is None:
            raise Unavailable("no model to evaluate currents; --model so3lr does")
        return currents_of_model(self.trajectory, self.say, **self._parameters)
