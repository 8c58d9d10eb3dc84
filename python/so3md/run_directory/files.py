"""Files that are replaced as a whole: either the old or the new content is there, whatever happens."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import re
import secrets
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

_PARTIAL = re.compile(r"\..+\.\d+-[0-9a-f]{8}\.partial")


@contextlib.contextmanager
def naming(path: Path) -> Iterator[None]:
    """Let an OSError from here name this file: failed writes name none, and temporary names mean nothing to a user."""
    try:
        yield
    except OSError as error:
        if error.errno is None:
            raise
        raise OSError(error.errno, error.strerror, str(path)) from error


def partial_name(path: Path) -> Path:
    """Where to write what will take the place of a file: a new name, which no other process comes upon."""
    return path.with_name(f".{path.name}.{os.getpid()}-{secrets.token_hex(4)}.partial")


def replace_file(path: Path, content: bytes) -> None:
    """Write the content, and only when it is safely on disk, let it take the place of an existing file."""
    replace_files({path: content})


def replace_files(contents: Mapping[Path, bytes]) -> None:
    """Write files that belong together; only when all are safely on disk, they take the places of existing ones."""
    partial = {path: partial_name(path) for path in contents}
    try:
        for path, content in contents.items():
            with naming(path), partial[path].open("xb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
        for path in contents:
            with naming(path):
                os.replace(partial[path], path)
    finally:
        for written in partial.values():
            written.unlink(missing_ok=True)
    for directory in {path.parent for path in contents}:
        with naming(directory):
            sync_directory(directory)


def remove_partial_files(directory: Path) -> None:
    """Remove what processes left behind that were killed while they wrote; only for the one that holds the lock."""
    for path in directory.iterdir():
        if _PARTIAL.fullmatch(path.name):
            path.unlink(missing_ok=True)


def remove(paths: list[Path]) -> None:
    """Remove the files that exist, for good: a power failure does not bring them back."""
    found = [path for path in paths if path.exists()]
    for path in found:
        path.unlink()
    for directory in {path.parent for path in found}:
        sync_directory(directory)


def sync_directory(directory: Path) -> None:
    """Let the names of files be on disk, not their contents only."""
    handle = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.EBADF, errno.ENOTSUP):  # file systems that do it by themselves
            raise
    finally:
        os.close(handle)


def write_json(path: Path, document: Mapping[str, Any]) -> None:
    """Write a JSON document, replacing an existing one."""
    replace_file(path, (json.dumps(document, indent=2) + "\n").encode())


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON document. Raises FileNotFoundError, and ValueError for what is none."""
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path}: damaged, it is not a JSON document ({error})") from error
    if not isinstance(document, dict):
        raise ValueError(f"{path}: expected a JSON object, found {type(document).__name__}")
    return document
