"""The current of polarization along a trajectory, which a model gives for positions and velocities.

Of a periodic system it is the rate of the dipole that infrared light sees, with the charge that flows between
molecules (docs/electrostatics.md).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from ase import units

from so3md.analysis.results import Unavailable
from so3md.analysis.trajectory import Trajectory

_PER_PS = 1e3 * units.fs  # times a rate in ASE's unit of time


def currents_of_model(trajectory: Trajectory, say: Callable[[str], None], **parameters: Any) -> np.ndarray:
    """(f, 3): currents in e Angstrom/ps, for parameters of `So3kratesCalculator`.

    Raises Unavailable for trajectories without velocities, and for models that have no current.
    """
    from so3md.calculator import So3kratesCalculator

    if trajectory.velocities is None:
        raise Unavailable("the trajectory has no velocities (so3md md --write-velocities, or vx vy vz in a dump)")
    calculator = So3kratesCalculator(**parameters)
    frames = len(trajectory)
    result = np.empty((frames, 3))
    for index, velocities in enumerate(trajectory.velocities):
        atoms = trajectory.atoms(index)
        atoms.set_velocities(velocities / _PER_PS)
        try:
            result[index] = calculator.get_polarization_current(atoms) * _PER_PS
        except ValueError as error:
            raise Unavailable(f"the current of polarization of frame {index}: {error}") from error
        say(f"currents of {index + 1} of {frames} frames")
    return result
