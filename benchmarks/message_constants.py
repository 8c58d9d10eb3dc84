"""Child processes of parallel.py, two under mpiexec: latency and bandwidth of messages, time of a global sum."""

from __future__ import annotations

import json
import time

import numpy as np
from mpi4py import MPI

REPEATS = 200
SMALL, LARGE = 8, 4 * 2**20  # bytes


def seconds_per_message(comm: MPI.Comm, size: int) -> float:
    """Half of the median time there and back."""
    buffer = np.zeros(size, dtype=np.uint8)
    times = []
    for _ in range(REPEATS):
        comm.Barrier()
        begin = time.perf_counter()
        if comm.rank == 0:
            comm.Send(buffer, 1)
            comm.Recv(buffer, 1)
        else:
            comm.Recv(buffer, 0)
            comm.Send(buffer, 0)
        times.append((time.perf_counter() - begin) / 2)
    return float(np.median(times))


def seconds_per_sum(comm: MPI.Comm) -> float:
    values, total = np.ones(9), np.empty(9)
    times = []
    for _ in range(REPEATS):
        begin = time.perf_counter()
        comm.Allreduce(values, total)
        times.append(time.perf_counter() - begin)
    return float(np.median(times))


def main() -> None:
    comm = MPI.COMM_WORLD
    latency, large, total = seconds_per_message(comm, SMALL), seconds_per_message(comm, LARGE), seconds_per_sum(comm)
    if comm.rank == 0:
        bandwidth = LARGE / (large - latency)
        print(json.dumps({"latency": latency, "bandwidth": bandwidth, "seconds_per_sum_of_two": total}))


if __name__ == "__main__":
    main()
