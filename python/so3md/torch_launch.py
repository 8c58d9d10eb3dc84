"""Processes that share a training: whether torchrun or `so3md train --processes` started this one, and starting them.

PyTorch is not imported here, so that a command can tell before it says anything.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from types import FrameType
from typing import Any, NamedTuple

#: Environment of processes that `run_processes` has started: a file by which they find each other, and a pipe that
#: nothing is written to, which ends with the process that started them.
STORE, PIPE = "SO3MD_TRAINING_STORE", "SO3MD_TRAINING_PIPE"

#: Exit code of a process that has noticed only that another one is gone; what became of that one says its exit code.
LOST = 81

_POLL = 0.05  # seconds
_PATIENCE = 10.0  # seconds in which processes end by themselves, once one has failed; then again after SIGTERM
_VARIABLES = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE")


class Launched(NamedTuple):
    """The number of this process and of all; the same among those on this machine."""

    rank: int
    size: int
    local_rank: int
    local_size: int


def launched() -> Launched | None:
    """What torchrun or `run_processes` says of this process in its environment; None if it was started alone."""
    values = [os.environ.get(name, "") for name in _VARIABLES]
    if not all(value.isdigit() for value in values) or not (STORE in os.environ or "MASTER_ADDR" in os.environ):
        return None
    return Launched(*map(int, values))


def end_with_launcher() -> None:
    """Have this process get SIGTERM when the one that started it (`run_processes`) ends, however that ends."""
    if not os.environ.get(PIPE, "").isdigit():
        return
    pipe = int(os.environ.pop(PIPE))

    def wait() -> None:
        os.read(pipe, 1)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=wait, daemon=True).start()


def run_processes(command: Sequence[str], count: int) -> int:
    """Run a command in so many processes that find each other on this machine; returns the exit code for all.

    SIGINT and SIGTERM are passed on. Once a process has failed, the others have some seconds to end by themselves.
    A process that was killed, of which it can say nothing itself, is told of here.
    """
    with tempfile.TemporaryDirectory(prefix="so3md-") as directory:
        read, write = os.pipe()
        try:
            common = os.environ | {STORE: str(Path(directory) / "store"), PIPE: str(read)}
            group = _Group(command, count, common, read)
            return group.wait()
        finally:
            os.close(read)
            os.close(write)


class _Group:
    """Processes that end together."""

    def __init__(self, command: Sequence[str], count: int, environment: dict[str, str], pipe: int) -> None:
        self._sent: set[signal.Signals] = set()
        self._processes: list[subprocess.Popen[bytes]] = []
        self._handlers: dict[signal.Signals, Any] = {
            number: signal.signal(number, self._pass_on) for number in (signal.SIGINT, signal.SIGTERM)
        }
        for rank in range(count):
            numbers = dict(zip(_VARIABLES, map(str, (rank, count, rank, count)), strict=True))
            self._processes.append(
                subprocess.Popen(
                    command,
                    env=environment | numbers,
                    pass_fds=(pipe,),
                    start_new_session=True,  # out of reach of the terminal's Ctrl-C, which is passed on
                )
            )

    def wait(self) -> int:
        """Wait until all have ended; the exit code for all of them."""
        failed: int | None = None
        deadline, last = 0.0, signal.SIGTERM
        try:
            while any(process.poll() is None for process in self._processes):
                time.sleep(_POLL)
                if failed is None:
                    failed = next((rank for rank, p in enumerate(self._processes) if p.returncode), None)
                    deadline = time.monotonic() + _PATIENCE
                elif time.monotonic() > deadline:
                    self._send(last)
                    deadline, last = time.monotonic() + _PATIENCE, signal.SIGKILL
        finally:
            self._send(signal.SIGKILL)  # where an error came up here
            for number, handler in self._handlers.items():
                signal.signal(number, handler)
        return self._outcome()

    def _outcome(self) -> int:
        codes = [process.wait() for process in self._processes]
        killed = [(rank, -code) for rank, code in enumerate(codes) if code < 0 and -code not in self._sent]
        told = [code for code in codes if code > 0 and code != LOST]
        if killed and not told:
            rank, number = killed[0]
            print(
                f"Error: process {rank + 1} of {len(codes)} was ended by {signal.Signals(number).name}, and the others "
                "with it; --resume goes on from the last checkpoint",
                file=sys.stderr,
            )
        if told:
            return told[0]
        return 128 + killed[0][1] if killed else max(map(abs, codes))

    def _pass_on(self, number: int, _: FrameType | None) -> None:
        self._send(signal.Signals(number))

    def _send(self, number: signal.Signals) -> None:
        for process in self._processes:
            if process.poll() is None:
                self._sent.add(number)
                process.send_signal(number)
