"""Trajectories as MDAnalysis has them. Cells are handed over too, which its reader of XYZ files ignores."""

from __future__ import annotations

from typing import Any

import numpy as np

from so3md.analysis.trajectory import Trajectory
from so3md.dynamics.orientation import lengths_and_angles, standard_orientation


def make_universe(trajectory: Trajectory, frames: slice) -> Any:
    """An MDAnalysis.Universe of some frames, with elements, names and cells, turned as MDAnalysis has cells."""
    import MDAnalysis
    from MDAnalysis.coordinates.memory import MemoryReader

    universe = MDAnalysis.Universe.empty(len(trajectory.numbers), trajectory=False)
    universe.add_TopologyAttr("elements", trajectory.symbols.astype(object))
    universe.add_TopologyAttr("names", trajectory.symbols.astype(object))
    indices = range(len(trajectory))[frames]
    positions = np.empty((len(indices), len(trajectory.numbers), 3), dtype=np.float32)
    dimensions = np.zeros((len(indices), 6), dtype=np.float32)
    for place, index in enumerate(indices):
        cell, rotation = standard_orientation(trajectory.atoms(index))
        positions[place] = trajectory.positions[index] @ rotation
        dimensions[place] = lengths_and_angles(cell) if cell.any() else 0
    cells = dimensions if dimensions.any() else None
    universe.load_new(positions, format=MemoryReader, order="fac", dimensions=cells)
    return universe


def evenly(count: int, most: int) -> slice:
    """At most so many of a number of frames, evenly spaced, with the last one."""
    step = -(-count // most)
    return slice((count - 1) % step, None, step)
