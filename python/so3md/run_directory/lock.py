"""One process at a time in the directory of a run.

The lock is the kernel's (flock): it ends with the process, however that ends, so that a run that was killed can be
resumed at once. The file says who holds it, for the message. On NFS, Linux makes of flock a lock of the server, which
other hosts see. On file systems without locks, what the file says must do: there, a process of this host that is dead
holds nothing, and one of another host holds the directory until the file is removed.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import socket
from datetime import datetime
from pathlib import Path
from typing import IO, Any

from so3md.run_directory.files import naming, remove_partial_files

LOCK_FILE = ".so3md.lock"


class LockedError(RuntimeError):
    """Another process works in the directory; the message names it."""


class DirectoryLock:
    """The right of this process to write in the directory of a run; held from the beginning until `release`.

    Of several ranks, the one that writes holds it.
    """

    def __init__(self, directory: Path) -> None:
        """Raises LockedError if another one holds it, OSError if the directory cannot be written."""
        self._path = directory / LOCK_FILE
        self._file: IO[bytes] | None = None
        with naming(self._path):
            while self._file is None:
                self._file = _acquire(self._path)
        remove_partial_files(directory)

    def release(self) -> None:
        """Let others have it."""
        file, self._file = self._file, None
        if file is None:
            return
        with contextlib.suppress(OSError):
            if _read_owner(file)["pid"] == os.getpid():  # not in a forked child, whose parent goes on
                self._path.unlink()  # while it is held, so that none is removed that another has got
        file.close()


def _acquire(path: Path) -> IO[bytes] | None:
    """The locked file; None if it was removed meanwhile by the one who held it."""
    file = path.open("a+b", buffering=0)
    try:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            held = error.errno in (errno.EAGAIN, errno.EACCES)
            if held or _may_live(_read_owner(file)):
                raise LockedError(_refusal(path, _read_owner(file), held)) from None
        if not _is_at(path, file):
            file.close()
            return None
        file.truncate(0)
        file.write(json.dumps(_own_name()).encode())
    except BaseException:
        file.close()
        raise
    return file


def _is_at(path: Path, file: IO[bytes]) -> bool:
    try:
        return os.path.samestat(path.stat(), os.fstat(file.fileno()))
    except FileNotFoundError:
        return False


def _own_name() -> dict[str, Any]:
    since = datetime.now().astimezone().isoformat(sep=" ", timespec="seconds")
    return {"host": socket.gethostname(), "pid": os.getpid(), "since": since}


def _read_owner(file: IO[bytes]) -> dict[str, Any]:
    """Who wrote the file; unknown where it has just been made, or was not written by us."""
    file.seek(0)
    try:
        owner = json.loads(file.read(1000))
        return {"host": str(owner["host"]), "pid": int(owner["pid"]), "since": str(owner["since"])}
    except (ValueError, TypeError, KeyError, RecursionError):
        return {"host": "an unknown host", "pid": 0, "since": "an unknown time"}


def _may_live(owner: dict[str, Any]) -> bool:
    """Whether the owner may still be at work, where the kernel does not say it."""
    if not owner["pid"] or owner["host"] != socket.gethostname():
        return bool(owner["pid"])
    try:
        os.kill(owner["pid"], 0)
    except ProcessLookupError:
        return False
    except OSError:  # it belongs to someone else
        return True
    return True


def _refusal(path: Path, owner: dict[str, Any], held: bool) -> str:
    who = "another process, which has just begun"
    if owner["pid"]:
        who = f"process {owner['pid']} on {owner['host']}, since {owner['since']}"
    if owner["pid"] == os.getpid() and owner["host"] == socket.gethostname():
        who = f"this process itself ({who}); close the earlier run first"
    advice = "wait until it ends, or choose another directory"
    if not held:
        advice += f". This file system has no locks: if that process is dead, remove {path}"
    return f"{path.parent} is in use by {who}; {advice}"
