"""How far a command is: a bar with the time on a terminal, plain lines elsewhere."""

from __future__ import annotations

import time

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

_REFRESH = 0.2  # seconds
_FIRST_LINES = 10.0  # seconds between lines
_RAREST_LINES = 600.0
_PART = 0.1  # of the time so far, between lines: logs of long runs stay short


def line_interval(elapsed: float, first: float = _FIRST_LINES) -> float:
    """Seconds to the next line of a log, after so many seconds; first: between the first lines."""
    return min(max(first, _PART * elapsed), _RAREST_LINES)


class ProgressBar:
    """A bar on a terminal with the time left and a text; elsewhere lines, rarer the longer it takes.

    passing: of what shows its results itself: the time taken, and nothing stays of the bar. remembers: seconds over
    which the speed is taken that the time left is made of.
    """

    def __init__(
        self, console: Console, total: int, done: int = 0, *, passing: bool = False, remembers: float = 30.0
    ) -> None:
        self._console = console
        self._begin, self._next = time.perf_counter(), 0.0
        self._bar: Progress | None = None
        if console.is_terminal:
            clock = TimeElapsedColumn() if passing else TimeRemainingColumn()
            columns = (BarColumn(20), MofNCompleteColumn(), clock, TextColumn("{task.description}", markup=False))
            self._bar = Progress(*columns, console=console, transient=passing, speed_estimate_period=remembers)
            self._task = self._bar.add_task("", total=total, completed=done)

    @property
    def on_terminal(self) -> bool:
        """Whether there is a bar, and not lines."""
        return self._bar is not None

    def wait(self) -> None:
        """Be due after the usual time only."""
        now = time.perf_counter()
        self._next = now + (_REFRESH if self._bar else line_interval(now - self._begin))

    def due(self) -> bool:
        """Whether it is time to show something again."""
        return time.perf_counter() >= self._next

    def show(self, done: int, text: str, line: str = "") -> None:
        """Show how much is done: the text beside a bar, or a line where there is none, unless it is empty."""
        self.wait()
        if self._bar:
            self._bar.update(self._task, completed=done, description=text)
        elif line:
            self._console.print(line, soft_wrap=True, highlight=False, markup=False)

    def __enter__(self) -> ProgressBar:
        if self._bar:
            self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar:
            self._bar.stop()
