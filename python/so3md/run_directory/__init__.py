"""The directory of a run, of dynamics or of a training: files that survive crashes, and one process at a time.

What a crash may do to it: a process that is killed loses what it has not handed to the operating system, a power
failure what was not synced. So growing files are synced first, then the checkpoint that records their sizes, then the
folder; two checkpoints are kept; and rows or frames beyond the checkpoint are taken back.
"""

from so3md.run_directory.checkpoints import (
    CheckpointError,
    DamagedError,
    previous_of,
    read_latest,
    refuse_other_run,
    write_checkpoint,
)
from so3md.run_directory.files import naming, read_json, remove, replace_file, write_json
from so3md.run_directory.growing import GrowingFile, whole_frames, whole_rows
from so3md.run_directory.lock import LOCK_FILE, DirectoryLock, LockedError

__all__ = [
    "LOCK_FILE",
    "CheckpointError",
    "DamagedError",
    "DirectoryLock",
    "GrowingFile",
    "LockedError",
    "naming",
    "previous_of",
    "read_json",
    "read_latest",
    "refuse_other_run",
    "remove",
    "replace_file",
    "whole_frames",
    "whole_rows",
    "write_checkpoint",
    "write_json",
]
