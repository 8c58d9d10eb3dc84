"""A structure file that a command writes at its end: tried before the work, replaced as a whole, and never lost."""

from __future__ import annotations

import os
import shutil
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import click
from ase import Atoms
from ase.io import write
from ase.io.formats import UnknownFileTypeError, filetype, get_ioformat

from so3md.cli.common import free_path
from so3md.structures.constraints import in_header, lost_in

Frames = Atoms | Sequence[Atoms]


class StructureOutput:
    """A file for one structure, or for several, in the format that ASE knows by its name.

    `check` is for before the work, `write` for its end; neither touches an existing file before the new one is whole.
    """

    def __init__(self, path: Path) -> None:
        """Raises ValueError if ASE writes no format of that name."""
        self.path = path
        self._place = path.resolve()  # of a link, the file that it stands for is replaced
        try:
            self._format = filetype(str(path), read=False)
            known = get_ioformat(self._format)
        except UnknownFileTypeError:
            known = None
        if known is None or not known.can_write:
            raise ValueError(f"{path}: ASE cannot write a file format of that name; .xyz is a good choice")
        if not known.can_read:  # pictures and pages: the structure would be lost
            raise ValueError(
                f"{path}: a file of the format {self._format} cannot be read as a structure again; .xyz is a good "
                "choice"
            )

    def check(self, atoms: Frames) -> None:
        """Raise if the file cannot be replaced, or its format cannot hold such structures, which is tried.

        Raises ValueError for a format that does not fit, OSError if nothing can be written there.
        """
        if self.path.exists() and not os.access(self.path, os.W_OK):
            raise PermissionError(f"{self.path}: it may not be written to; choose another --output")
        with self._written_beside(atoms):
            pass
        if lost := list(dict.fromkeys(name for one in _as_list(atoms) for name in lost_in(one, self._format))):
            warnings.warn(
                f"{self.path}: files of the format {self._format} do not keep {', '.join(lost)}; .xyz and .traj do",
                stacklevel=2,
            )

    def write(self, atoms: Frames) -> None:
        """Write the structure. If that fails, it is written as extended XYZ to the next best place, and ValueError or
        OSError says where."""
        try:
            with self._written_beside(atoms) as file:
                os.replace(file, self._place)
        except (OSError, ValueError) as error:
            saved = _save_elsewhere(atoms, self.path)
            text = f"the structure is in {saved}" if saved else "nor could the structure be written anywhere else"
            raise type(error)(f"{_reason(error, self.path)}; {text}") from error

    @contextmanager
    def _written_beside(self, atoms: Frames) -> Iterator[Path]:
        """The structure in a file of the same name, in a folder of its own beside the real place."""
        try:
            folder = Path(tempfile.mkdtemp(prefix=".so3md-", dir=self._place.parent))
        except OSError as error:
            raise OSError(error.errno, error.strerror, str(self.path)) from error
        try:
            file = folder / self.path.name
            try:
                with ExitStack() as stack:
                    for one in _as_list(atoms):
                        stack.enter_context(in_header(one, self._format))
                    write(file, atoms, format=self._format, parallel=False)
                _sync(file)
            except OSError as error:
                if error.errno is None:
                    raise ValueError(f"{self.path}: {error}") from error
                raise OSError(error.errno, error.strerror, str(self.path)) from error
            except Exception as error:  # ASE's writers raise whatever trips them
                raise ValueError(
                    f"{self.path}: the format {self._format} cannot hold this structure ({error}); .xyz can"
                ) from error
            yield file
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def _as_list(atoms: Frames) -> Sequence[Atoms]:
    return [atoms] if isinstance(atoms, Atoms) else atoms


def _sync(file: Path) -> None:
    """Have the file on disk before it takes the place of another, also after a power failure."""
    if file.is_file():
        with file.open("rb") as handle:
            os.fsync(handle.fileno())


def _save_elsewhere(atoms: Frames, path: Path) -> Path | None:
    """Write extended XYZ beside the path, or where temporary files go; returns where, None if that failed too."""
    for folder in (path.parent, Path(tempfile.gettempdir())):
        with suppress(OSError, ValueError):
            saved = free_path(str(folder / f"{path.name}.xyz"))
            with ExitStack() as stack:
                for one in _as_list(atoms):
                    stack.enter_context(in_header(one, "extxyz"))
                write(saved, atoms, format="extxyz", parallel=False)
            return saved
    return None


def _reason(error: OSError | ValueError, path: Path) -> str:
    return f"{path}: {error.strerror}" if isinstance(error, OSError) and error.strerror else str(error)


def refuse_existing(path: Path, option: str, overwrite: bool) -> None:
    """Raise FileExistsError for a file that would be replaced and may not be; a folder cannot be."""
    if path.is_dir():
        raise click.UsageError(f"{option} {path}: this is a folder; give the name of a file")
    if path.exists() and not overwrite:
        raise FileExistsError(f"{path} exists; choose another {option}, or --overwrite")
