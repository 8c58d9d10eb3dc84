"""How a run is going: a bar with the time left on a terminal, plain lines elsewhere."""

from __future__ import annotations

import time
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from so3md.dynamics import Simulation
from so3md.dynamics.outputs import Observation

_REFRESH = 0.2  # seconds
_LINE_EVERY = 10.0  # seconds


class Speedometer:
    """Speed of a run since it was made."""

    def __init__(self, simulation: Simulation) -> None:
        self._first_step, self._start = simulation.step, time.perf_counter()
        self._timestep, self._atoms = simulation.settings.timestep, len(simulation.atoms)

    def describe(self, step: int) -> str:
        """Speed up to a step, in ns/day and us/atom/step."""
        seconds, steps = time.perf_counter() - self._start, step - self._first_step
        if not steps:
            return ""
        nanoseconds_per_day = self._timestep * 1e-6 * steps / seconds * 86400
        return f"{nanoseconds_per_day:.3g} ns/day, {seconds / steps / self._atoms * 1e6:.3g} us/atom/step"


def _state(simulation: Simulation, seen: Observation) -> str:
    """Temperature and energy, and where the volume changes, density and pressure."""
    parts = [f"{seen.temperature_K:.0f} K", f"{seen.potential_eV:.3f} eV"]
    if simulation.settings.ensemble == "npt":
        parts.append(f"{seen.density_g_cm3:.4g} g/cm^3")
        if seen.pressure_bar is not None:
            parts.append(f"{seen.pressure_bar:.0f} bar")
    return ", ".join(parts)


class ProgressDisplay:
    """Shows a run while it goes on: call `update` after each step."""

    def __init__(self, simulation: Simulation, steps: int, console: Console) -> None:
        self._console = console
        self._speed = Speedometer(simulation)
        self._last_step = simulation.step + steps
        self._next = time.perf_counter() + (_REFRESH if console.is_terminal else _LINE_EVERY)
        self._bar: Progress | None = None
        if console.is_terminal:
            columns = (BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(), TextColumn("{task.description}"))
            self._bar = Progress(*columns, console=console)
            self._task = self._bar.add_task("", total=self._last_step, completed=simulation.step)

    def update(self, simulation: Simulation) -> None:
        """Show the present state, if it is time for it."""
        now = time.perf_counter()
        if now < self._next and simulation.step != self._last_step:
            return
        self._next = now + (_REFRESH if self._bar else _LINE_EVERY)
        seen = simulation.observe()
        state = f"{_state(simulation, seen)}, {self._speed.describe(seen.step)}"
        if self._bar:
            self._bar.update(self._task, completed=seen.step, description=state)
        else:
            self._console.print(f"step {seen.step} of {self._last_step}: {state}", soft_wrap=True, highlight=False)

    def __enter__(self) -> ProgressDisplay:
        if self._bar:
            self._bar.start()
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        if self._bar:
            self._bar.stop()
