"""Files that only grow, a whole record (a row, a frame) at a time, and lose what is not whole when a run goes on."""

from __future__ import annotations

import contextlib
import os
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from so3md.run_directory.files import naming, sync_directory

#: Of a file and a number of bytes: how many of these bytes, from the beginning, are whole records.
Whole = Callable[[BinaryIO, int], int]


def whole_rows(file: BinaryIO, limit: int) -> int:
    """Of a CSV file: up to the first row that is not complete, has not as many fields as the first, or holds zeros,
    which file systems put where a power failure has lost data."""
    end, commas = 0, None
    while end < limit:
        line = file.readline()
        if commas is None:
            commas = line.count(b",")
        if not _is_whole(line, end, limit) or line.count(b",") != commas:
            break
        end += len(line)
    return end


def whole_frames(file: BinaryIO, limit: int) -> int:
    """Of an XYZ file: up to the first frame that is not complete."""
    whole = end = 0
    while end < limit:
        line = file.readline()
        if not (_is_whole(line, end, limit) and line.strip().isdigit()):
            break
        end += len(line)
        for _ in range(int(line) + 1):
            line = file.readline()
            if not _is_whole(line, end, limit):
                return whole
            end += len(line)
        whole = end
    return whole


def _is_whole(line: bytes, start: int, limit: int) -> bool:
    return line.endswith(b"\n") and start + len(line) <= limit and b"\0" not in line


class GrowingFile:
    """A file to which records are appended.

    `size`, in bytes, counts whole records only, and the file never keeps a part of one: what an error or a signal
    interrupts is taken back. A checkpoint may therefore record the size at any time.
    """

    def __init__(self, path: Path, size: int | None, whole: Whole, *, text: bool = True) -> None:
        """size None: a new file. Else the file is cut to this size; one that is shorter, or damaged at its end, to its
        whole records, with a warning. text: whether records end with a line, by which damage is noticed."""
        self.path = path
        self.size = 0 if size is None else _size_to_keep(path, size, whole, text)
        with naming(path):
            self._file = path.open("ab" if self.size else "wb", buffering=0)
            self._file.truncate(self.size)
            sync_directory(path.parent)

    def append(self, record: str | bytes) -> None:
        """Add a record; it is in the file when this returns, and not at all if it raises."""
        content = memoryview(record.encode() if isinstance(record, str) else record)
        size = self.size + len(content)
        try:
            with naming(self.path):
                while content:
                    content = content[self._file.write(content) :]
            self.size = size
        except BaseException:  # also Ctrl-C
            with contextlib.suppress(OSError):  # such as a device that is no file
                self._file.truncate(self.size)
            raise

    def sync(self) -> int:
        """Wait until everything is safely on disk; returns the size in bytes."""
        with naming(self.path):
            os.fsync(self._file.fileno())
        return self.size

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def _size_to_keep(path: Path, size: int, whole: Whole, text: bool) -> int:
    try:
        with path.open("rb") as file:
            found = file.seek(0, os.SEEK_END)
            file.seek(max(size - 1, 0))
            if size == 0 or (text and found >= size and file.read(1) == b"\n"):
                return size
            file.seek(0)
            kept = whole(file, min(found, size))
            if kept == size:
                return size
    except FileNotFoundError:
        found = kept = 0
    state = f"it has {found} bytes" if found < size else "its end is damaged"
    warnings.warn(
        f"{path}: expected {size} bytes, and {state}, perhaps after a power failure; going on after its last complete "
        f"record, at {kept} bytes; what followed is missing",
        stacklevel=2,
    )
    return kept
