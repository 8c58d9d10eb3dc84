"""An optimizer of ASE for molecules, which knows what bonds, angles and torsions are like."""

from __future__ import annotations

from collections import deque
from typing import Any

import numpy as np
from ase import Atoms
from ase.optimize.optimize import Optimizer
from scipy.linalg import cho_factor, cho_solve

from so3md.model_hessian import model_hessian

_MEMORY = 30  # steps
_LONGEST_STEP = 0.2  # Angstrom, of any atom, as in ASE
_STALE = 0.5  # Angstrom that an atom may move before the model Hessian is made anew
_SOFTEST = 0.05  # eV/Angstrom^2: added for motions that cost nothing there, as rotations and those between molecules


class ModelHessianLBFGS(Optimizer):
    """LBFGS that starts from a model Hessian (`so3md.model_hessian`), for molecules and clusters in vacuum.

    Flexible molecules take a quarter to a third of the steps of ASE's LBFGS, which starts with one curvature for all
    atoms. Time for the Hessian grows with the cube of the number of atoms, memory with the square: for at most some
    thousand atoms.

    Parameters are those of ASE's optimizers. Raises ValueError for periodic structures.

    >>> from ase.build import molecule
    >>> from so3md import So3kratesCalculator
    >>> from so3md.optimizers import ModelHessianLBFGS
    >>> atoms = molecule("C2H6")
    >>> atoms.calc = So3kratesCalculator()
    >>> bool(ModelHessianLBFGS(atoms, logfile=None).run(fmax=0.01))
    True
    """

    def __init__(self, atoms: Atoms, restart: None = None, logfile: Any = "-", trajectory: Any = None, **kwargs: Any):
        if not isinstance(atoms, Atoms) or atoms.pbc.any():
            raise ValueError("a model Hessian is for structures without a periodic direction; take LBFGS for others")
        if restart is not None:
            raise ValueError("restart: this optimizer keeps no file; it begins anew from the last structure")
        self._atoms = atoms
        self._steps: deque[tuple[np.ndarray, np.ndarray, float]] = deque(maxlen=_MEMORY)
        self._factor: Any = None
        self._made_at = self._last = self._last_forces = np.zeros(0)
        super().__init__(atoms, restart, logfile, trajectory, **kwargs)

    def step(self, forces: np.ndarray | None = None) -> None:
        """Move by one step."""
        atoms = self._atoms
        positions = atoms.get_positions().ravel()
        forces = (atoms.get_forces() if forces is None else np.asarray(forces)).ravel()
        if len(self._last):
            moved, change = positions - self._last, self._last_forces - forces
            if (curvature := moved @ change) > 0:  # else there is no minimum along it
                self._steps.append((moved, change, curvature))
        if self._factor is None or np.abs(positions - self._made_at).max() > _STALE:
            hessian = model_hessian(atoms.numbers, positions.reshape(-1, 3))
            self._factor, self._made_at = cho_factor(hessian + _SOFTEST * np.eye(len(hessian))), positions
        step = self._direction(forces).reshape(-1, 3)
        longest = np.linalg.norm(step, axis=1).max()
        self._last, self._last_forces = positions, forces
        atoms.set_positions(positions.reshape(-1, 3) + step * min(1.0, _LONGEST_STEP / max(longest, 1e-300)))

    def _direction(self, forces: np.ndarray) -> np.ndarray:
        """The inverse of the Hessian, as the last steps have corrected it, times the forces."""
        rest, shares = forces.copy(), []
        for moved, change, curvature in reversed(self._steps):
            shares.append(moved @ rest / curvature)
            rest -= shares[-1] * change
        step = cho_solve(self._factor, rest)
        for (moved, change, curvature), share in zip(self._steps, reversed(shares), strict=True):
            step += moved * (share - change @ step / curvature)
        return step
