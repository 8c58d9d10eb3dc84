"""Stopping cleanly when the user or the queueing system says so."""

from __future__ import annotations

import signal
from types import FrameType, TracebackType
from typing import Any

from so3md.parallel import ALONE, Team


class GracefulStop:
    """While in use, the first SIGINT (Ctrl-C) or SIGTERM is only noted; a second one acts as it always does."""

    def __init__(self, team: Team = ALONE) -> None:
        """team: the processes that stop together, once `share` is called."""
        self._team = team
        self.signal: signal.Signals | None = None
        self._handlers: dict[signal.Signals, Any] = {}

    @property
    def requested(self) -> bool:
        """Whether a signal has come."""
        return self.signal is not None

    @property
    def exit_code(self) -> int:
        """What shells make of a process that a signal ended."""
        return 0 if self.signal is None else 128 + self.signal

    def share(self) -> bool:
        """Collective: let all processes know of a signal that came to one; whether there was one."""
        number = self._team.highest(self.signal or 0)
        if number and self.signal != number:
            self._note(number, None)
        return number != 0  # and not `requested`: of a signal that has come meanwhile the others hear the next time

    def __enter__(self) -> GracefulStop:
        for number in (signal.SIGINT, signal.SIGTERM):
            self._handlers[number] = signal.signal(number, self._note)
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self._restore()

    def _note(self, number: int, _: FrameType | None) -> None:
        self.signal = signal.Signals(number)
        self._restore()

    def _restore(self) -> None:
        for number, handler in self._handlers.items():
            signal.signal(number, handler)
        self._handlers.clear()
