"""Checkpoints of which two are kept: the last one, and the one before in case the last is damaged."""

from __future__ import annotations

import contextlib
import os
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from so3md.run_directory.files import naming, partial_name, replace_file

State = TypeVar("State")


class CheckpointError(ValueError):
    """A checkpoint that is damaged or belongs to another run; the message says what differs."""


class DamagedError(CheckpointError):
    """A checkpoint that cannot be read, so that the one before is wanted."""


def previous_of(path: Path) -> Path:
    """Where the checkpoint before the last one lies."""
    return path.with_name(f"{path.stem}_previous{path.suffix}")


def write_checkpoint(path: Path, content: bytes) -> None:
    """Write a checkpoint, keeping the last one as the one before."""
    if path.exists():
        with naming(path):
            _keep_as(path, previous_of(path))
    replace_file(path, content)


def _keep_as(path: Path, previous: Path) -> None:
    """Give the file a second name, so that there is no moment without it under the first."""
    link = partial_name(previous)
    try:
        os.link(path, link)
        os.replace(link, previous)
    except OSError:  # file systems without links: for a moment there is the one before only, which is enough
        os.replace(path, previous)
    finally:
        with contextlib.suppress(OSError):
            link.unlink(missing_ok=True)


def read_latest(path: Path, read: Callable[[Path], State]) -> State:
    """The last checkpoint, or with a warning the one before, which takes its place, where it is damaged or missing.

    Only for the process that holds the lock. read raises FileNotFoundError or DamagedError; what it raises for the last
    one is raised if the other is no better.
    """
    try:
        return read(path)
    except (FileNotFoundError, DamagedError) as error:
        previous = previous_of(path)
        try:
            state = read(previous)
        except (FileNotFoundError, CheckpointError):
            raise error from None
        problem = f"{path}: there is no such file" if isinstance(error, FileNotFoundError) else str(error)
        warnings.warn(f"{problem}; going on from the checkpoint before it", stacklevel=2)
        os.replace(previous, path)  # else the damaged one would become the one before
        return state


def refuse_other_run(path: Path, found: Mapping[str, Any], expected: Mapping[str, Any]) -> None:
    """Raise CheckpointError, naming each difference, unless a checkpoint's identity is the one of this run."""
    missing = "nothing"
    differences = [
        f"{key}: the checkpoint has {found.get(key, missing)}, this run {expected.get(key, missing)}"
        for key in sorted(found.keys() | expected.keys())
        if found.get(key, missing) != expected.get(key, missing)
    ]
    if differences:
        raise CheckpointError(f"{path} belongs to another run. " + "; ".join(differences))
