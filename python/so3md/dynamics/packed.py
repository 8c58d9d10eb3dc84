"""Trajectories of DCD and XTC files, whose frames follow each other: encoded one by one by MDAnalysis, appended here.

So they grow, are cut and go on as text does: whole frames at a time, wherever a run is killed.
"""

from __future__ import annotations

import os
import struct
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import numpy as np
from ase import Atoms

from so3md.dynamics.orientation import lengths_and_angles, standard_orientation
from so3md.run_directory import GrowingFile, naming

if TYPE_CHECKING:
    from so3md.dynamics.outputs import Observation

#: CHARMM's unit of time, in ps, which DCD files are written in.
_AKMA = 4.888821e-2
#: Positions in XTC files are multiples of a nanometre over this: 0.001 A.
_XTC_PRECISION = 10000.0
_XTC_MAGIC = 1995
_LARGEST_INT32 = 2**31 - 1


def _encoded(write: Callable[[str], None], suffix: str) -> bytes:
    """What a library writes into a file of its own."""
    with tempfile.TemporaryDirectory(prefix="so3md-") as folder:
        path = Path(folder) / f"frame{suffix}"
        write(str(path))
        return path.read_bytes()


class DcdWriter(GrowingFile):
    """trajectory.dcd: positions in single precision, and the cell."""

    def __init__(self, path: Path, size: int | None, atoms: Atoms, frame_interval_ps: float) -> None:
        """frame_interval_ps: time between frames, which the file has once for all."""
        from MDAnalysis.lib.formats.libdcd import DCDFile

        self._file_class, self._interval = DCDFile, frame_interval_ps
        example = self._encode(atoms)
        self._header = example[: _dcd_header_size(example)]
        self._frame_size = len(example) - len(self._header)
        super().__init__(path, size, self._whole, text=False)
        if self.size == 0:
            self.append(self._header)

    def write(self, atoms: Atoms, observation: Observation) -> None:
        """Add a frame; it is in the file when this returns."""
        self.append(self._encode(atoms)[len(self._header) :])

    def sync(self) -> int:
        """As that of `GrowingFile`; the number of frames in the header is that of the file, too."""
        frames = (self.size - len(self._header)) // self._frame_size
        with naming(self.path), self.path.open("r+b", buffering=0) as file:
            file.seek(8)  # the size of the record, "CORD", then this number
            file.write(struct.pack("=i", min(frames, _LARGEST_INT32)))
        return super().sync()

    def close(self) -> None:
        if not self._file.closed:
            self.sync()
        super().close()

    def _encode(self, atoms: Atoms) -> bytes:
        cell, rotation = standard_orientation(atoms)

        def write(path: str) -> None:
            with self._file_class(path, "w") as file:
                file.write_header("written by so3md", len(atoms), 0, 1, self._interval / _AKMA, 1)
                a, b, c, alpha, beta, gamma = lengths_and_angles(cell)
                file.write((atoms.positions @ rotation).astype(np.float32), [a, gamma, b, beta, alpha, c])

        return _encoded(write, ".dcd")

    def _whole(self, file: BinaryIO, limit: int) -> int:
        header = len(self._header)
        if limit < header or file.read(header)[20:] != self._header[20:]:  # before, it counts frames
            return 0
        return header + (limit - header) // self._frame_size * self._frame_size


def _dcd_header_size(content: bytes) -> int:
    """Three records, each between two copies of its length: numbers, remarks, the number of atoms."""
    size = 0
    for _ in range(3):
        size += 8 + struct.unpack_from("=i", content, size)[0]
    return size


class XtcWriter(GrowingFile):
    """trajectory.xtc: positions to 0.001 A, packed, and the cell."""

    def __init__(self, path: Path, size: int | None) -> None:
        from MDAnalysis.lib.formats.libmdaxdr import XTCFile

        self._file_class = XTCFile
        super().__init__(path, size, _whole_xtc, text=False)

    def write(self, atoms: Atoms, observation: Observation) -> None:
        """Add a frame; it is in the file when this returns."""
        cell, rotation = standard_orientation(atoms)
        step, time = min(observation.step, _LARGEST_INT32), observation.time_ps
        positions = (atoms.positions @ rotation / 10).astype(np.float32)  # nm

        def write(path: str) -> None:
            with self._file_class(path, "w") as file:
                file.write(positions, (cell / 10).astype(np.float32), step, time, _XTC_PRECISION)

        self.append(_encoded(write, ".xtc"))


def _whole_xtc(file: BinaryIO, limit: int) -> int:
    """Up to the last frame that is complete; a frame says how long it is."""
    end = 0
    while True:
        file.seek(end)
        head = file.read(92)
        if len(head) < 56 or struct.unpack_from(">i", head)[0] != _XTC_MAGIC:
            return end
        count = struct.unpack_from(">i", head, 4)[0]
        size = 56 + 12 * count  # few atoms are not packed
        if count > 9:
            if len(head) < 92:
                return end
            packed = struct.unpack_from(">i", head, 88)[0]
            size = 92 + -(-packed // 4) * 4
        if count < 1 or end + size > limit:
            return end
        end += size


def fsync(path: Path) -> None:
    """Wait until a file that a library holds open is on disk."""
    with naming(path), path.open("rb") as file:
        os.fsync(file.fileno())
