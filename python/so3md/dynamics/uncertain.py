"""Structures of a run at which its model is not sure of itself (docs/uncertainty.md)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from ase import Atoms
from ase.calculators.calculator import PropertyNotImplementedError

from so3md.dynamics.outputs import frame_text
from so3md.dynamics.record import UNCERTAIN
from so3md.dynamics.settings import Settings
from so3md.run_directory import GrowingFile, whole_frames

#: Where an uncertainty is needed and there is none.
NO_UNCERTAINTY = (
    "uncertainty: the model says nothing of it; take several (a committee), or one that so3md train or "
    "finetune of this version made, on a CPU (docs/uncertainty.md)"
)
_STEP = re.compile(rb"[ =]step=(\d+)")


def uncertainty_of(atoms: Atoms) -> tuple[float, np.ndarray]:
    """The largest uncertainty of a force, and those (n,) of all atoms (eV/Angstrom), of a structure with a calculator.

    Raises ValueError for a calculator that has none.
    """
    try:
        of_atoms = atoms.calc.get_property("forces_uncertainty", atoms)
    except (PropertyNotImplementedError, NotImplementedError):
        of_atoms = None
    if of_atoms is None:
        raise ValueError(NO_UNCERTAINTY)
    return float(of_atoms.max(initial=0.0)), of_atoms


def looks_at_uncertainty(settings: Settings) -> bool:
    """Whether a run needs it."""
    return settings.stop_uncertainty is not None or settings.uncertainty_threshold is not None


class UncertainStructures(GrowingFile):
    """uncertain.xyz: structures above a threshold, at most one in so many steps. It goes on where a run does."""

    def __init__(self, directory: Path, settings: Settings, positions: Mapping[str, int]) -> None:
        """positions: as for `Outputs`; a file that none is known of was complete when the run was stopped."""
        path = directory / UNCERTAIN
        size = positions.get(UNCERTAIN, path.stat().st_size if positions and path.exists() else None)
        super().__init__(path, size, whole_frames)
        self._interval = settings.trajectory_interval
        self._last = _last_step(path)

    def write(self, atoms: Atoms, step: int, largest: float, of_atoms: np.ndarray) -> None:
        """Add a structure, unless one was added less than an interval ago."""
        if self._last is not None and step - self._last < self._interval:
            return
        self.append(frame_text(atoms, {"step": step, "uncertainty": largest}, velocities=False, uncertainties=of_atoms))
        self._last = step


def _last_step(path: Path) -> int | None:
    """That of the last frame."""
    found = None
    with path.open("rb") as file:
        for line in file:
            if match := _STEP.search(line):
                found = int(match.group(1))
    return found
