"""Which formats trajectories can have, what they need, and who writes them."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from ase import Atoms

from so3md.dynamics.settings import Settings
from so3md.missing_packages import needed

if TYPE_CHECKING:
    from so3md.dynamics.outputs import Observation

FORMATS = ("xyz", "traj", "dcd", "xtc", "h5md")
#: Formats that know nothing of elements: their readers want a structure, too.
WITHOUT_ELEMENTS = ("dcd", "xtc", "h5md")

_LIBRARIES = {"dcd": "MDAnalysis", "xtc": "MDAnalysis", "h5md": "h5py"}
_POSITIONS_ONLY = ("dcd", "xtc")


class TrajectoryWriter(Protocol):
    """A trajectory that grows. After an error, what it has written of a frame is not part of it."""

    def write(self, atoms: Atoms, observation: Observation) -> None:
        """Add a frame; it is in the file when this returns."""

    def sync(self) -> int:
        """Wait until everything is on disk; returns where to go on from: bytes or frames, as this writer counts."""

    def close(self) -> None:
        """Close the file."""


def trajectory_name(trajectory_format: str) -> str:
    """The name of the file in the directory of a run."""
    return f"trajectory.{trajectory_format}"


def check_format(trajectory_format: str, columns: Mapping[str, bool]) -> None:
    """Raise ValueError for a format that is unknown or cannot have the columns, ImportError if a library is missing."""
    if trajectory_format not in FORMATS:
        raise ValueError(f"trajectory_format {trajectory_format!r}: expected one of {', '.join(FORMATS)}")
    wanted = [name for name, value in columns.items() if value]
    if wanted and trajectory_format in _POSITIONS_ONLY:
        others = ", ".join(name for name in FORMATS if name not in _POSITIONS_ONLY)
        raise ValueError(f"a trajectory in the format {trajectory_format} has no {' and '.join(wanted)}; {others} can")
    library = _LIBRARIES.get(trajectory_format)
    if library:
        install = "'.[trajectories]' in the folder of so3md, or take another format"
        with needed(f"the trajectory format {trajectory_format}", library, install):
            importlib.import_module(library)


def open_trajectory(
    directory: Path,
    trajectory_format: str,
    position: int | None,
    atoms: Atoms,
    settings: Settings,
    columns: Mapping[str, bool],
) -> TrajectoryWriter:
    """The writer of a new trajectory (position None), or of one that goes on from what `sync` has returned."""
    path = directory / trajectory_name(trajectory_format)
    if trajectory_format == "traj":
        from so3md.dynamics.traj import TrajWriter

        return TrajWriter(path, position, columns)
    if trajectory_format == "dcd":
        from so3md.dynamics.packed import DcdWriter

        return DcdWriter(path, position, atoms, 1e-3 * settings.step_length * settings.trajectory_interval)
    if trajectory_format == "xtc":
        from so3md.dynamics.packed import XtcWriter

        return XtcWriter(path, position)
    if trajectory_format == "h5md":
        from so3md.dynamics.h5md import H5mdWriter

        return H5mdWriter(path, position, atoms, columns)
    from so3md.dynamics.outputs import XyzWriter

    return XyzWriter(path, position, **columns)
