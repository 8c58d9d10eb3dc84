"""The sides of a comparison, each in a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from typing_extensions import Self

WORKER = Path(__file__).parent / "worker.py"


def must_agree(difference: float, bound: float, what: str) -> None:
    """End the benchmark unless a difference is below its bound, which NaN is not.

    Times of sides that do not work out the same mean nothing.
    """
    if not abs(difference) < bound:
        raise SystemExit(
            f"{what}: expected less than {bound:g}, found {difference:g}; the sides do not do the same work"
        )


@dataclass(frozen=True)
class Side:
    """A backend in one precision, and the Python that has it."""

    backend: str
    precision: str
    python: str

    @property
    def name(self) -> str:
        return f"{self.backend} {self.precision}"


class WorkerProcess:
    """A running child process that answers with `serving.serve`; use it in a `with` statement.

    `ask` calls a method of its worker.
    """

    def __init__(self, name: str, command: Sequence[str], threads: int) -> None:
        self.name = name
        self._log = tempfile.TemporaryFile("w+")  # noqa: SIM115 (closed in __exit__)
        # PyTorch's threads sleep while they wait: spinning ones make it ten times slower when anything else runs on the
        # machine, which would flatter so3md.
        openmp = {"OMP_NUM_THREADS": str(threads), "MKL_NUM_THREADS": str(threads), "OMP_WAIT_POLICY": "PASSIVE"}
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
            env={**os.environ, **openmp},
        )

    def ask(self, method: str, **arguments: Any) -> dict[str, Any]:
        try:
            self._process.stdin.write(json.dumps({"method": method, **arguments}) + "\n")
            self._process.stdin.flush()
            answer = self._process.stdout.readline()
        except BrokenPipeError:
            answer = ""
        if not answer:
            self._log.seek(0)
            raise RuntimeError(f"the process of {self.name} died during {method}:\n{self._log.read()[-4000:]}")
        return json.loads(answer)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.stdin.close()
        self._process.wait()
        self._process.stdout.close()
        self._log.close()


class SideProcess(WorkerProcess):
    """A running worker.Worker."""

    def __init__(self, side: Side, threads: int) -> None:
        command = [side.python, str(WORKER), side.backend, "--precision", side.precision, "--threads", str(threads)]
        super().__init__(side.name, command, threads)
        self.side = side


def own_side(precision: str) -> Side:
    return Side("so3md", precision, sys.executable)
