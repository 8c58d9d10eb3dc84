"""Running commands side by side, a few at once, so that one which fails does not disturb the others."""

from __future__ import annotations

import contextlib
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

_POLL = 0.1  # seconds


@dataclass
class Job:
    """A command, the file that gets what it says, and what became of it: its exit code, None while it has none."""

    name: str
    command: list[str]
    output: Path
    exit_code: int | None = None
    process: subprocess.Popen[bytes] | None = None
    said_before: int = 0  # bytes of the file, by earlier calls

    def start(self) -> None:
        """Start it, out of reach of the terminal's Ctrl-C, which `run_jobs` passes on."""
        with self.output.open("ab") as file:
            self.said_before = file.tell()
            self.process = subprocess.Popen(
                self.command, stdin=subprocess.DEVNULL, stdout=file, stderr=subprocess.STDOUT, start_new_session=True
            )

    def poll(self) -> bool:
        """Whether it is running."""
        if self.process is None:
            return False
        if self.exit_code is None:
            self.exit_code = self.process.poll()
        return self.exit_code is None

    def send(self, number: signal.Signals) -> None:
        """Pass a signal on, if it is running."""
        if self.poll() and self.process is not None:
            self.process.send_signal(number)

    def reason(self) -> str:
        """The last error that it has told of."""
        said = self.output.read_bytes()[self.said_before :] if self.output.exists() else b""
        text = said.decode(errors="replace")
        errors = [line for line in text.splitlines() if line.startswith("Error: ")]
        if errors:
            return errors[-1].removeprefix("Error: ")
        return f"it ended with exit code {self.exit_code}; see {self.output}"


def run_jobs(jobs: Sequence[Job], at_once: int, should_stop: Callable[[], bool], on_poll: Callable[[], None]) -> None:
    """Run the jobs, so many at once, until all have ended. Where should_stop is true, none is started any more, and
    those that run are told so once (SIGTERM) and waited for."""
    waiting, stopping = list(jobs), False
    try:
        while True:
            running = [job for job in jobs if job.poll()]
            if should_stop() and not stopping:
                stopping = True
                for job in running:
                    job.send(signal.SIGTERM)
            while waiting and len(running) < at_once and not stopping:
                job = waiting.pop(0)
                job.start()
                running.append(job)
            on_poll()
            if not running:
                return
            time.sleep(_POLL)
    finally:
        _end(jobs)


def _end(jobs: Sequence[Job]) -> None:
    """Leave no process behind."""
    left = [job for job in jobs if job.poll()]
    for job in left:
        job.send(signal.SIGKILL)
    for job in left:
        with contextlib.suppress(OSError):
            if job.process is not None:
                job.exit_code = job.process.wait()
