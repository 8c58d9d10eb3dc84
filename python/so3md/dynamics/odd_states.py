"""Said once in a run: forces that no model was trained for, and atoms on top of each other.

Such a run may go on to a steady state of nonsense without ever being hot enough to be given up.
"""

from __future__ import annotations

import warnings

import numpy as np
from ase import Atoms

from so3md.structure_checks import atom_name, closest_pair

#: Forces (eV/A) and distances (A) beyond which no data set for such models has anything.
LARGEST_FORCE = 100.0
SHORTEST_DISTANCE = 0.5


class OddStateWarning(UserWarning):
    """A state of the dynamics of which the model cannot know anything."""


class OddStates:
    """Looks at states, and warns of each kind of oddity the first time that it is there."""

    def __init__(self) -> None:
        self._forces_said = self._distances_said = False

    def look_at_forces(self, atoms: Atoms, step: int) -> None:
        """Costs next to nothing: for every step."""
        if self._forces_said:
            return
        forces = np.asarray(getattr(atoms.calc, "results", {}).get("forces", np.zeros((1, 3))))
        squares = np.einsum("ij,ij->i", forces, forces)
        worst = int(np.argmax(squares))
        if squares[worst] > LARGEST_FORCE**2:
            self._forces_said = True
            self._say(step, f"the force on {atom_name(atoms, worst)} is {np.sqrt(squares[worst]):.0f} eV/A")

    def look_at_distances(self, atoms: Atoms, step: int) -> None:
        """Sorts the atoms in space: for steps at which something is written."""
        if self._distances_said or not np.isfinite(atoms.positions).all():
            return
        pair = closest_pair(atoms, SHORTEST_DISTANCE)
        if pair is not None:
            self._distances_said = True
            i, j, distance = pair
            self._say(step, f"{atom_name(atoms, i)} and {atom_name(atoms, j, i == j)} are {distance:.2f} A apart")

    def _say(self, step: int, what: str) -> None:
        text = "no model knows such structures: look at the trajectory; a relaxation or a shorter time step may help"
        warnings.warn(f"step {step}: {what}; {text} (said once in a run)", OddStateWarning, stacklevel=2)
