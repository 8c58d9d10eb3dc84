"""What the replicas are: the file replicas.json in the directory that has a directory for each of them."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from so3md.dynamics.checkpoint import Checkpoint
from so3md.dynamics.record import CHECKPOINT, has_final, read_record
from so3md.run_directory import LOCK_FILE, DirectoryLock, previous_of, read_json, write_json

RECORD = "replicas.json"
_FORMAT = 1


@dataclass(frozen=True)
class Plan:
    """arguments: options of `so3md md` for all replicas; structure: its argument; steps that each does; their seeds."""

    arguments: list[str]
    structure: str
    steps: int
    seeds: list[int]

    def write(self, directory: Path) -> None:
        """Write replicas.json."""
        write_json(directory / RECORD, {"format": _FORMAT, **asdict(self)})

    @classmethod
    def read(cls, directory: Path) -> Plan:
        """Read replicas.json. Raises ValueError for what is none."""
        document = read_json(directory / RECORD)
        kinds = {"arguments": list, "structure": str, "steps": int, "seeds": list}
        if document.get("format") != _FORMAT or any(type(document.get(key)) is not kind for key, kind in kinds.items()):
            raise ValueError(f"{directory / RECORD}: damaged, or of another version")
        if not all(isinstance(text, str) for text in document["arguments"]):
            raise ValueError(f"{directory / RECORD}: damaged, 'arguments' should be texts")
        if not document["seeds"] or not all(isinstance(seed, int) for seed in document["seeds"]):
            raise ValueError(f"{directory / RECORD}: damaged, 'seeds' should be whole numbers")
        return cls(**{key: document[key] for key in kinds})

    def directory_of(self, directory: Path, number: int) -> Path:
        """The directory of a replica; number counts from 0, names from 1."""
        return directory / f"replica-{number + 1:0{len(str(len(self.seeds)))}d}"


def seeds_of(seed: int, count: int) -> list[int]:
    """Different seeds that follow from one; the first of them do not depend on how many there are."""
    drawn = np.random.SeedSequence(seed).generate_state(2 * count + 8, np.uint32).tolist()
    return list(dict.fromkeys(drawn))[:count]


def thread_shares(threads: int, count: int) -> tuple[int, int]:
    """How many replicas run at once, and with how many threads each."""
    at_once = min(threads, count)
    return at_once, threads // at_once


def prepare_directory(directory: Path, count: int, overwrite: bool) -> DirectoryLock:
    """Make the directory for replicas, or check that it is empty or, with overwrite, holds earlier ones.

    Returns the lock on it. Raises FileExistsError, and LockedError if another process works in it.
    """
    directory.mkdir(parents=True, exist_ok=True)
    lock = DirectoryLock(directory)
    try:
        found = sorted(path.name for path in directory.iterdir() if path.name != LOCK_FILE)
        if found and not overwrite:
            raise FileExistsError(
                f"{directory} has files in it: choose another directory, resume the replicas that it holds, or allow "
                "overwriting"
            )
        if found and RECORD not in found:
            raise FileExistsError(
                f"{directory} has files in it that are not those of replicas: choose another directory"
            )
        if found and len(before := Plan.read(directory).seeds) > count:
            raise FileExistsError(
                f"{directory} has {len(before)} replicas, of which {count} would be replaced: choose another directory"
            )
    except BaseException:
        lock.release()
        raise
    return lock


def has_begun(directory: Path) -> bool:
    """Whether a replica has a checkpoint, be it damaged: it goes on then, and is never begun anew."""
    path = directory / CHECKPOINT
    return path.exists() or previous_of(path).exists()


def steps_left(directory: Path) -> int | None:
    """How many steps a replica that has begun was meant to do and has not done; None if its files do not tell."""
    try:
        return max(0, int(read_record(directory)["planned_steps"]) - Checkpoint.read(directory / CHECKPOINT).step)
    except (OSError, ValueError):
        return None


def is_done(directory: Path) -> bool:
    """Whether a replica that has begun has done all of its steps, and written its last structure."""
    return steps_left(directory) == 0 and has_final(directory, Checkpoint.read(directory / CHECKPOINT).step)
