"""trajectory.h5md: positions, velocities and forces in double precision, in HDF5 (H5MD 1.1, de Buyl et al. 2014).

HDF5 cannot be cut at a byte. So a run that goes on copies the frames up to its checkpoint into a new file, which takes
the place of the old one. The file is written in the mode for concurrent readers (SWMR), in which it can be read
whenever the process is killed, although most programs want it closed, by the end of the run or by going on with it.
"""

from __future__ import annotations

import os
import warnings
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from ase import Atoms, units

import so3md
from so3md.dynamics.orientation import standard_orientation
from so3md.dynamics.packed import fsync
from so3md.run_directory import naming
from so3md.run_directory.files import partial_name, sync_directory

if TYPE_CHECKING:
    from so3md.dynamics.outputs import Observation

_PER_PS = 1e3 * units.fs  # times a velocity of ASE: Angstrom/ps
_KJ_PER_MOL = units.kJ / units.mol  # in eV
_GROUP = "particles/trajectory"
_CHECKSUM = "so3md_checksum"  # beside what H5MD knows


class H5mdWriter:
    """See the head of this file. Counts frames, where text files count bytes."""

    def __init__(self, path: Path, frames: int | None, atoms: Atoms, columns: Mapping[str, bool]) -> None:
        """frames: how many of an existing file are to be kept; None for a new one."""
        self.path, self._columns = path, columns
        partial = partial_name(path)
        with naming(path):
            try:
                with _open(partial, "w") as file:
                    self._lay_out(file, atoms)
                    self.frames = _copy_frames(path, file[_GROUP], frames) if frames else 0
                fsync(partial)
                os.replace(partial, path)
                sync_directory(path.parent)
            finally:
                partial.unlink(missing_ok=True)
            self._file = _open(path, "r+")
            self._file.swmr_mode = True

    def write(self, atoms: Atoms, observation: Observation) -> None:
        """Add a frame; it is in the file when this returns."""
        cell, rotation = standard_orientation(atoms)
        group = self._file[_GROUP]
        values = {"position": atoms.positions @ rotation, "box/edges": cell}
        if self._columns["velocities"]:
            values["velocity"] = atoms.get_velocities() @ rotation * _PER_PS
        if self._columns["forces"]:
            values["force"] = atoms.get_forces(apply_constraint=False) @ rotation / _KJ_PER_MOL
        data = {f"{name}/value": np.ascontiguousarray(value) for name, value in values.items()}
        data["position/step"] = np.array(observation.step, dtype=np.int64)
        data["position/time"] = np.array(observation.time_ps)
        with naming(self.path):
            for name, value in data.items():
                _put(group[name], self.frames, value)
            _put(group[_CHECKSUM], self.frames, _checksum(data))
            self._file.flush()
        self.frames += 1

    def sync(self) -> int:
        """Wait until everything is safely on disk; returns the number of frames."""
        with naming(self.path):
            self._file.flush()
        fsync(self.path)
        return self.frames

    def close(self) -> None:
        """Close the file, so that any program can open it."""
        self._file.close()

    def _lay_out(self, file: Any, atoms: Atoms) -> None:
        about = file.create_group("h5md")
        about.attrs["version"] = np.array([1, 1], dtype=np.int32)
        for name, key, value in (
            ("author", "name", "unknown"),
            ("creator", "name", "so3md"),
            ("creator", "version", so3md.__version__),
        ):
            about.require_group(name).attrs[key] = value
        group = file.create_group(_GROUP)
        group["species"] = atoms.numbers
        group["mass"] = atoms.get_masses()
        box = group.create_group("box")
        box.attrs["dimension"] = 3
        box.attrs["boundary"] = ["periodic" if periodic else "none" for periodic in atoms.pbc]
        _series(group, "position", (len(atoms), 3), "Angstrom")
        _series(group, "box/edges", (3, 3), "Angstrom", group["position"])
        group.create_dataset(_CHECKSUM, (0,), np.uint32, maxshape=(None,), chunks=(1024,))
        if self._columns["velocities"]:
            _series(group, "velocity", (len(atoms), 3), "Angstrom ps-1", group["position"])
        if self._columns["forces"]:
            _series(group, "force", (len(atoms), 3), "kJ mol-1 Angstrom-1", group["position"])


def _open(path: Path, mode: str) -> Any:
    import h5py

    return h5py.File(path, mode, libver="latest")  # which SWMR needs


def _series(group: Any, name: str, shape: tuple[int, ...], unit: str, other: Any = None) -> None:
    """A quantity for each frame; step and time are those of another one."""
    element = group.create_group(name)
    value = element.create_dataset("value", (0, *shape), np.float64, maxshape=(None, *shape), chunks=(1, *shape))
    value.attrs["unit"] = unit
    if other is not None:
        element["step"], element["time"] = other["step"], other["time"]
        return
    element.create_dataset("step", (0,), np.int64, maxshape=(None,), chunks=(1024,))
    time = element.create_dataset("time", (0,), np.float64, maxshape=(None,), chunks=(1024,))
    time.attrs["unit"] = "ps"


def _put(data: Any, index: int, value: Any) -> None:
    if len(data) != index + 1:
        data.resize(index + 1, axis=0)
    data[index] = value


def _copy_frames(path: Path, target: Any, wanted: int) -> int:
    """Copy the first frames of an existing file; returns how many there were, with a warning if not all."""
    import h5py

    copied, problem = 0, "it has fewer frames"
    try:
        with h5py.File(path, "r", libver="latest", swmr=True) as file:
            source = file[_GROUP]
            series = [f"{name}/value" for name in ("position", "box/edges", "velocity", "force") if name in target]
            series += ["position/step", "position/time"]
            while copied < wanted and copied < min(len(source[name]) for name in [*series, _CHECKSUM]):
                data = {name: np.asarray(source[name][copied]) for name in series}
                # Of a file that has lost its end, HDF5 reads zeros without a word.
                if source[_CHECKSUM][copied] != _checksum(data):
                    problem = "a frame is damaged"
                    break
                for name, value in [*data.items(), (_CHECKSUM, source[_CHECKSUM][copied])]:
                    _put(target[name], copied, value)
                copied += 1
    except (OSError, KeyError, RuntimeError) as error:
        problem = " ".join(str(error).split())
    if copied < wanted:
        warnings.warn(
            f"{path}: {problem}, perhaps after a power failure; expected {wanted} frames, going on after the first "
            f"{copied}, which are complete",
            stacklevel=2,
        )
    return copied


def _checksum(data: Mapping[str, np.ndarray]) -> int:
    """Of the values of a frame."""
    return zlib.crc32(b"".join(data[name].tobytes() for name in sorted(data)))
