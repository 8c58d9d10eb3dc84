"""Several runs of one structure that differ in their random numbers, in a directory each: `so3md md --replicas`."""

from so3md.replicas.plan import RECORD, Plan, has_begun, is_done, prepare_directory, seeds_of, steps_left, thread_shares
from so3md.replicas.processes import Job, run_jobs

__all__ = [
    "RECORD",
    "Job",
    "Plan",
    "has_begun",
    "is_done",
    "prepare_directory",
    "run_jobs",
    "seeds_of",
    "steps_left",
    "thread_shares",
]
