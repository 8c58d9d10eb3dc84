"""Data sets that stay on disk: large files, which are converted once (`stored`)."""

from __future__ import annotations

import hashlib
import itertools
import json
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ase import Atoms

from so3md.run_directory import DirectoryLock, LockedError
from so3md.structures.file_charges import adopt_charges
from so3md.training.sample import Sample
from so3md.training.stored import SampleWriter, StoredSamples, remove_unnamed

#: Formats that ASE reads a frame at a time, in which a frame does not depend on others.
FORMATS = ("extxyz", "db")
#: Larger files stay on disk unless the configuration says otherwise: some 100,000 molecules, with pair lists some GB.
LARGE = 100_000_000  # bytes
_AT_ONCE = 1000  # structures
_MOST_WARNINGS = 10
_WAIT = 0.5  # seconds

#: Makes samples of frames: of number and structure, the sample and what the file states of its spin.
Convert = Callable[[int, Atoms], tuple[Sample, float | None]]


def stays_on_disk(path: Path, file_format: str | None, wanted: bool | None) -> bool:
    """Whether a file is to be converted. wanted: by the configuration. Raises ValueError where that cannot be."""
    if wanted is False or (wanted is None and path.stat().st_size <= LARGE):
        return False
    if found_format(path, file_format) in FORMATS:
        return True
    if wanted:
        raise ValueError(
            f"{path}: data.on_disk: expected extended XYZ or an ASE database (SQLite), which are read a structure at a "
            f"time, found {found_format(path, file_format) or path.suffix}; convert it, for example by `ase convert`"
        )
    return False


def found_format(path: Path, given: str | None) -> str | None:
    """ASE's name of the format of a file."""
    from ase.io.formats import UnknownFileTypeError, filetype

    if given is not None or path.suffix == ".npz":
        return given
    try:
        return filetype(str(path))
    except (UnknownFileTypeError, OSError):
        return None


def stored_samples(
    path: Path, file_format: str, folder: Path | None, options: dict[str, Any], file: str, begin: Callable[[], Any]
) -> StoredSamples:
    """The samples of a file, converted unless they are there of the same file, by the same options.

    folder: where they are kept; None: beside the file. options: what the samples depend on. begin returns a `Convert`
    with an attribute `about`, which is asked for at the end. Other processes that want the same wait.
    """
    key = hashlib.sha256(json.dumps([options, str(path.absolute())], sort_keys=True).encode()).hexdigest()[:8]
    directory = (path.parent if folder is None else folder) / f"{path.name}.so3md-{key}"
    found = _usable(directory, path, file)
    if found is None:
        with _turn(directory):
            found = _usable(directory, path, file)  # by another process, meanwhile
            if found is None:
                _convert(directory, path, file_format, begin())
                found = StoredSamples(directory, file)
    for text in found.about["warnings"]:
        warnings.warn(text, stacklevel=2)
    return found


@contextmanager
def _turn(directory: Path) -> Iterator[None]:
    """The right to write in the directory, when it comes."""
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OSError(f"{directory}: {error.strerror}; give a folder for converted data as data.cache") from error
    while True:
        try:
            lock = DirectoryLock(directory)
            break
        except LockedError:
            time.sleep(_WAIT)
    try:
        yield
    finally:
        lock.release()


def _usable(directory: Path, path: Path, file: str) -> StoredSamples | None:
    """The samples of a directory, if they are those of the file as it is."""
    try:
        found = StoredSamples(directory, file)
    except ValueError:
        return None
    about, now = found.about["of"], path.stat()
    if about["size"] != now.st_size:
        return None
    same = about["modified"] == now.st_mtime_ns or about["checksum"] == _checksum(path)
    return found if same else None


def _convert(directory: Path, path: Path, file_format: str, convert: Any) -> None:
    remove_unnamed(directory)
    now = path.stat()
    of = {"size": now.st_size, "modified": now.st_mtime_ns, "checksum": _checksum(path)}
    writer = SampleWriter(directory)
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            for number, atoms in enumerate(_frames(path, file_format)):
                sample, spin = convert(number, atoms)
                writer.add(sample, number, spin)
            about = convert.about()
        if path.stat().st_mtime_ns != now.st_mtime_ns:
            raise ValueError(f"{path} was changed while it was read")
        texts = list(dict.fromkeys(str(item.message) for item in caught))
        if len(texts) > _MOST_WARNINGS:
            texts[_MOST_WARNINGS:] = [f"{path.name}: {len(texts) - _MOST_WARNINGS} more warnings are like these"]
        writer.finish({"source": path.name, "of": of, "warnings": texts} | about)
    except BaseException:
        writer.close()
        remove_unnamed(directory)
        raise


def _frames(path: Path, file_format: str) -> Iterator[Atoms]:
    from ase.io import iread

    frames = iread(path, slice(None), file_format, do_not_split_by_at_sign=True)
    while True:
        try:
            some = list(itertools.islice(frames, _AT_ONCE))
        except Exception as error:  # ASE's readers raise whatever their parsing trips over
            raise ValueError(
                f"{path}: ASE could not read it as {file_format} ({type(error).__name__}: {error})"
            ) from error
        if not some:
            return
        adopt_charges(some, path, file_format)
        yield from some


def _checksum(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
