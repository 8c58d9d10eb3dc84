"""Dipoles along a trajectory: of a molecule or a cluster as a whole, and of periodic systems molecule by molecule.

The sum over charges times positions of a periodic system that fills its cell means nothing, as charge flows between
molecules that are neighbours by their images (docs/electrostatics.md). What is taken there is the sum of the dipoles
of molecules, each in one piece and about its centre of mass. It does not depend on images, and it leaves out charge
that flows between molecules.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from ase import units

from so3md.analysis.molecules import Molecules
from so3md.analysis.results import Plot, Section, Unavailable
from so3md.analysis.thermodynamics import averaged
from so3md.analysis.trajectory import Trajectory

_DEBYE = 1 / units.Debye  # of e Angstrom
#: What a reader must know of dipoles of periodic systems.
BETWEEN_MOLECULES = (
    "Dipoles of a periodic system are those of its molecules, each about its centre of mass. Charge that flows between "
    "molecules is left out, so that no dielectric constant follows from them, and bands of modes that move charge "
    "between molecules, as hydrogen bonds do, have other heights."
)


@dataclass(frozen=True)
class Dipoles:
    """In e Angstrom: total (f, 3), a sum over molecules if periodic; by_species: formula -> (f, molecules, 3)."""

    total: np.ndarray
    by_species: dict[str, np.ndarray]
    periodic: bool


def dipoles_of(trajectory: Trajectory, charges: np.ndarray, molecules: Callable[[], Molecules]) -> Dipoles:
    """Dipoles along a trajectory, from charges (f, n) in e. Raises Unavailable for networks without molecules."""
    if not trajectory.pbc.any():
        centre = np.average(trajectory.positions, axis=1, weights=trajectory.masses)
        total = np.einsum("fn,fni->fi", charges, trajectory.positions - centre[:, None])
        return Dipoles(total, {"the system": total[:, None]}, periodic=False)
    found = molecules()
    whole = found.whole(trajectory.positions, trajectory.cells, trajectory.pbc)
    centres = found.sums(whole * trajectory.masses[:, None]) / found.masses(trajectory)[:, None]
    each = found.sums(charges[:, :, None] * (whole - centres[:, found.label]))
    return Dipoles(each.sum(axis=1), {name: each[:, which] for name, which in found.species().items()}, periodic=True)


def dipole_section(trajectory: Trajectory, dipoles: Dipoles) -> Section:
    """Sizes of dipoles, in Debye."""
    section = Section("Dipoles")
    interval = evenly_spaced(trajectory)
    for name, values in dipoles.by_species.items():
        sizes = _DEBYE * np.linalg.norm(values, axis=2).mean(axis=1)
        section.quantities.append(averaged(f"Dipole of {name}", "D", sizes, interval))
    x = np.arange(len(trajectory)) if trajectory.times is None else trajectory.times
    label = "Frame" if trajectory.times is None else "Time (ps)"
    parts = {axis: (x, _DEBYE * dipoles.total[:, number]) for number, axis in enumerate("xyz")}
    title = "Sum of the dipoles of molecules" if dipoles.periodic else "Dipole"
    section.plots.append(Plot(title, label, "Dipole (D)", parts))
    if dipoles.periodic:
        section.notes.append(BETWEEN_MOLECULES)
    return section


def evenly_spaced(trajectory: Trajectory) -> float | None:
    """The time between frames in ps, None where there is none."""
    try:
        return trajectory.interval
    except Unavailable:
        return None


def charges_of_model(trajectory: Trajectory, say: Callable[[str], None], **parameters: Any) -> np.ndarray:
    """(f, n): charges in e that a model gives, for parameters of `evaluate_many`.

    Raises Unavailable for models without charges.
    """
    from so3md.batch import evaluate_many

    frames = len(trajectory)
    result = np.empty((frames, len(trajectory.numbers)))
    structures = (trajectory.atoms(index) for index in range(frames))
    for index, prediction in enumerate(evaluate_many(structures, forces=False, **parameters)):
        charges = None if prediction is None else prediction.charges
        if charges is None:
            raise Unavailable(f"the model {parameters['model']} has no charges")
        result[index] = charges
        say(f"charges of {index + 1} of {frames} frames")
    return result
