"""trajectory.traj: ASE's own format, with masses, constraints, energy and, if wanted, momenta and forces.

Its frames are not cut at a byte: a run that goes on copies those up to its checkpoint into a new file.
"""

from __future__ import annotations

import contextlib
import os
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io.trajectory import Trajectory
from ase.parallel import DummyMPI

from so3md.charge_and_spin import charge_and_spin_entries
from so3md.dynamics.packed import fsync
from so3md.run_directory import naming
from so3md.run_directory.files import partial_name, sync_directory

if TYPE_CHECKING:
    from so3md.dynamics.outputs import Observation


class TrajWriter:
    """See the head of this file. Counts frames, where text files count bytes."""

    def __init__(self, path: Path, frames: int | None, columns: Mapping[str, bool]) -> None:
        """frames: how many of an existing file are to be kept; None for a new one."""
        self.path, self._columns, self.frames = path, columns, 0
        self._whole = True
        partial = partial_name(path)
        with naming(path):
            try:
                self._file = Trajectory(partial, "w", comm=DummyMPI())
                if frames:
                    self._copy(frames)
                os.replace(partial, path)  # while it is open: it goes on under its name
                sync_directory(path.parent)
            finally:
                partial.unlink(missing_ok=True)

    def _copy(self, wanted: int) -> None:
        problem = None
        try:
            with Trajectory(self.path, "r") as old:
                for index in range(min(wanted, len(old))):
                    self._file.write(old[index])
                    self.frames += 1
        except Exception as error:  # what damage makes ASE raise has no end
            problem = " ".join(str(error).split())
        if self.frames < wanted:
            warnings.warn(
                f"{self.path}: expected {wanted} frames, found {self.frames} complete ones"
                f"{f' ({problem})' if problem else ''}, perhaps after a power failure; going on after the last of them",
                stacklevel=2,
            )

    def write(self, atoms: Atoms, observation: Observation) -> None:
        """Add a frame; it is in the file when this returns."""
        frame = Atoms(atoms.numbers, atoms.positions, cell=atoms.cell, pbc=atoms.pbc, masses=atoms.get_masses())
        frame.set_constraint(atoms.constraints)
        frame.info = {"step": observation.step, "time_ps": observation.time_ps} | charge_and_spin_entries(atoms)
        results: dict[str, Any] = {"energy": observation.potential_eV}
        if self._columns["velocities"]:
            frame.set_momenta(atoms.get_momenta(), apply_constraint=False)
        if self._columns["forces"]:
            results["forces"] = atoms.get_forces(apply_constraint=False)
        frame.calc = SinglePointCalculator(frame, **results)
        self._whole = False
        with naming(self.path):
            self._file.write(frame)
        self._whole = True
        self.frames += 1

    def sync(self) -> int:
        """Wait until everything is safely on disk; returns the number of frames."""
        fsync(self.path)
        return self.frames

    def close(self) -> None:
        """Close the file."""
        with contextlib.suppress(*() if self._whole else (Exception,)):  # ASE would complete a frame that has no end
            self._file.close()
