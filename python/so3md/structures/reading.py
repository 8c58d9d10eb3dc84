"""Reading files through ASE, with one line for the user where that fails."""

from __future__ import annotations

from pathlib import Path

from ase import Atoms

from so3md.structures.isotopes import FORMATS, ISOTOPES, read_with_isotopes
from so3md.structures.molfiles import MOLFILE_FORMATS, check_molfile, read_molfile


def read_frames(path: Path, index: int | slice = -1, format: str | None = None) -> tuple[list[Atoms], str]:
    """The frames of a file that an index or slice picks, and ASE's name of the format of the file.

    format: that name, if it is not to be guessed. Raises ValueError, naming the file, for what cannot be read, frames
    that are not there and structures without atoms.
    """
    from ase.io.formats import UnknownFileTypeError, filetype, ioformats

    if format is not None and format not in ioformats:
        raise ValueError(f"format {format!r}: ASE has no such format; `ase info --formats` lists their names")
    try:
        format = format or filetype(str(path))
    except UnknownFileTypeError as error:  # of an empty file
        raise ValueError(f"structure {path}: ASE could not read it ({error})") from error
    except OSError as error:
        raise ValueError(f"structure {path}: {error.strerror}") from error
    if format not in ioformats:
        raise ValueError(
            f"structure {path}: ASE does not recognise the format; give it with --format (`ase info --formats` lists "
            "the names)"
        )
    if format in MOLFILE_FORMATS:
        check_molfile(path)
    try:
        frames = _read(path, index, format)
    except (IndexError, StopIteration, AssertionError) as error:  # what ASE raises for a frame that is not there
        if (count := _count(path, format)) is None:
            raise ValueError(_unreadable(path, format, error)) from error
        raise ValueError(f"structure {path}: there is no frame {index}, it has {count} (the first is 0)") from error
    except Exception as error:  # ASE's readers raise whatever their parsing trips over
        raise ValueError(_unreadable(path, format, error)) from error
    for number, atoms in enumerate(frames):
        if len(atoms) == 0:
            raise ValueError(f"structure {path}: it holds no atoms" + (f" (frame {number})" if len(frames) > 1 else ""))
    return frames, format


def _read(path: Path, index: int | slice, format: str) -> list[Atoms]:
    from ase.io import read

    if format in MOLFILE_FORMATS:
        found = [read_molfile(path)]
        return found[index] if isinstance(index, slice) else [found[index]]
    # ASE sees an empty frame between ENDMDL and END, and takes the first frame for one before it.
    all_first = format == "proteindatabank" or (isinstance(index, int) and index < -1)
    try:
        frames = read(path, slice(None) if all_first else index, format, do_not_split_by_at_sign=True)
    except KeyError as error:
        unknown = error.args[0] in ISOTOPES or format == "proteindatabank"  # of which ASE names the label
        if format not in FORMATS or not unknown:
            raise
        frames, all_first = read_with_isotopes(path, format), True
    found = frames if isinstance(frames, list) else [frames]
    if all_first:
        found = [atoms for atoms in found if len(atoms)] or [Atoms()]
        found = found[index] if isinstance(index, slice) else [found[index]]
    return found


def _count(path: Path, format: str) -> int | None:
    """The number of frames of a file; None if it cannot be read at all."""
    try:
        return len(_read(path, slice(None), format))
    except Exception:
        return None


def _unreadable(path: Path, format: str, error: Exception) -> str:
    return f"structure {path}: ASE could not read it as {format} ({type(error).__name__}: {error})"
