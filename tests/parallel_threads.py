"""Several processes' engines in one process: a thread for each, and a transport made of queues.

    results = evaluate_on_threads(4, model, structure, precision="double")

A deadlock, or messages of another size than expected, are errors within seconds, which real MPI would not tell.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from sanitizers import patience

from so3md import _engine

PATIENCE = patience(60)  # seconds


class ThreadJob:
    """What the transports of a job share."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.board: list[Any] = [None] * size
        self.barrier = threading.Barrier(size, timeout=PATIENCE)
        self.channels = {(a, b): queue.Queue() for a in range(size) for b in range(size)}

    def allgather(self, rank: int, value: Any) -> list[Any]:
        """Every rank's value, by rank."""
        self.board[rank] = value
        self.barrier.wait()
        values = list(self.board)
        self.barrier.wait()
        return values

    def messages_left(self) -> int:
        """The number of messages that were sent and not received."""
        return sum(channel.qsize() for channel in self.channels.values())


class ThreadTransport:
    """A transport of the engine, see `so3md.parallel`. Counts the bytes and messages that it sends."""

    def __init__(self, job: ThreadJob, rank: int) -> None:
        self.job, self.rank, self.size = job, rank, job.size
        self.bytes_sent = self.messages_sent = 0
        self._receives: list[tuple[int, memoryview]] | None = None

    def sum(self, values: np.ndarray) -> None:
        """Replace the values by the sums over all ranks, in the order of the ranks."""
        values[:] = sum(self.job.allgather(self.rank, values.copy()))

    def transpose(self, send: np.ndarray, received: np.ndarray) -> None:
        """Number p of send goes to rank p."""
        received[:] = [values[self.rank] for values in self.job.allgather(self.rank, send.copy())]

    def start(self, sends: list[tuple[int, memoryview]], receives: list[tuple[int, memoryview]]) -> None:
        """Send copies right away; what is to be received comes in `finish`, and is spoilt until then."""
        assert self._receives is None, "an exchange began before the last one was finished"
        for peers in (sends, receives):
            ranks = [rank for rank, _ in peers]
            assert len(set(ranks)) == len(ranks), "more than one message for a rank"
            assert self.rank not in ranks, "a message to oneself"
        for rank, memory in sends:
            assert memory.nbytes > 0, "an empty message"
            self.job.channels[self.rank, rank].put(bytes(memory))
            self.bytes_sent += memory.nbytes
            self.messages_sent += 1
        for _, memory in receives:
            memory[:] = b"\xff" * memory.nbytes  # NaN
        self._receives = receives

    def finish(self) -> None:
        """Receive."""
        assert self._receives is not None, "there is no exchange to finish"
        for rank, memory in self._receives:
            message = self.job.channels[rank, self.rank].get(timeout=PATIENCE)
            assert len(message) == memory.nbytes, f"expected {memory.nbytes} bytes, received {len(message)}"
            memory[:] = message
        self._receives = None


class ThreadedEngines:
    """Engines of all ranks of a job; calls run in a thread per rank."""

    def __init__(self, size: int, model: Any, **options: Any) -> None:
        self.job = ThreadJob(size)
        self.transports = [ThreadTransport(self.job, rank) for rank in range(size)]
        self.engines = [
            _engine.Engine(model, threads=1, transport=transport, **options) for transport in self.transports
        ]

    def on_each(self, function: Callable[[Any], Any]) -> list[Any]:
        """What the function returns, or the exception that it raises, for every engine at the same time."""

        def outcome(engine: Any) -> Any:
            try:
                return function(engine)
            except Exception as error:
                return error

        with ThreadPoolExecutor(self.job.size) as pool:
            return list(pool.map(outcome, self.engines))

    def parts(self, structure: dict[str, Any], **options: Any) -> list[Any]:
        """Results, or exception, of every rank."""
        return self.on_each(lambda engine: engine.evaluate(**structure, **options))

    def evaluate(self, structure: dict[str, Any], **options: Any) -> dict[str, Any]:
        """The results of the whole structure; raises the first exception."""
        parts = self.parts(structure, **options)
        for part in parts:
            if isinstance(part, Exception):
                raise part
        return merge(parts)


def merge(parts: list[dict[str, Any]]) -> dict[str, Any]:
    """One result from those of all ranks, which must have every atom once and the same totals."""
    atoms = np.concatenate([part["atoms"] for part in parts])
    np.testing.assert_array_equal(np.sort(atoms), np.arange(len(atoms)))
    whole: dict[str, Any] = {}
    for key, value in parts[0].items():
        if key == "atoms":
            continue
        if key == "neighbour_rebuilds":
            assert len({part[key] for part in parts}) == 1
        elif key in ("energy", "virial", "energy_components"):  # the same bits for all
            for part in parts:
                assert np.array_equal(value, part[key]) if key == "virial" else value == part[key], key
            whole[key] = value
        else:
            rows = np.concatenate([part[key] for part in parts])
            whole[key] = np.empty_like(rows)
            whole[key][atoms] = rows
    return whole
