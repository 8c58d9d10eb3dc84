"""Programs that run for long: started, watched, and killed at some step. For benchmarks/long_runs.py."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

#: How often the log and the memory of a program are looked at, s.
LOOK = 0.25

#: A kill comes at most so long after its step was seen in the log, s: at any moment of a step, or of its output.
LATEST_KILL = 0.3

#: A whole row of a log: of so3md with commas, of LAMMPS with blanks.
_ROW = re.compile(rb"^ *(\d+)(?:,[^\n]*|(?: +[-+.\deE]+)+ *)\n", re.MULTILINE)


@dataclass
class Watched:
    """What was seen of a program: resident memory (kB) of it and its children by step, and whether it was killed."""

    killed: bool = False
    memory: list[tuple[int, int]] = field(default_factory=list)


def last_step(log: Path) -> int:
    """The step of the last whole row of a growing log; -1 if there is none."""
    try:
        with log.open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - 4096))
            rows = _ROW.findall(file.read())
    except FileNotFoundError:
        return -1
    return int(rows[-1]) if rows else -1


def watch(
    command: Sequence[str],
    directory: Path,
    log: Path,
    *,
    environment: Mapping[str, str],
    kill_at: int | None = None,
    delay: float = 0.0,
) -> Watched:
    """Run a command to its end, or kill it `delay` seconds after the log has step kill_at.

    Raises RuntimeError if it fails. Memory is sampled once for each of at most some thousand different steps.
    """
    seen, last = Watched(), -1
    output = directory / "output.txt"
    with output.open("ab") as file:
        process = subprocess.Popen(
            command, cwd=directory, env=dict(environment), stdout=file, stderr=subprocess.STDOUT, start_new_session=True
        )
    try:
        while process.poll() is None:
            step = last_step(log)
            if step > last:
                last = step
                seen.memory.append((step, resident_kb(process.pid)))
            if kill_at is not None and step >= kill_at:
                time.sleep(delay)
                seen.killed = process.poll() is None
                break
            time.sleep(LOOK)
    finally:
        _kill(process)
    if not seen.killed and process.returncode != 0:
        end = output.read_text(encoding="utf-8", errors="replace")[-2000:]
        raise RuntimeError(f"{' '.join(command)} ended with status {process.returncode}:\n{end}")
    return seen


def _kill(process: subprocess.Popen) -> None:
    """SIGKILL for a program and its children, which are a session of their own."""
    if process.poll() is None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def resident_kb(process: int) -> int:
    """Resident memory of a process and of its children; 0 if it has ended."""
    total = 0
    with contextlib.suppress(OSError):
        status = Path(f"/proc/{process}/status").read_text(encoding="ascii", errors="replace")
        found = re.search(r"^VmRSS:\s*(\d+) kB", status, re.MULTILINE)
        total += int(found[1]) if found else 0
        for task in Path(f"/proc/{process}/task").iterdir():
            children = (task / "children").read_text(encoding="ascii").split()
            total += sum(resident_kb(int(child)) for child in children)
    return total
