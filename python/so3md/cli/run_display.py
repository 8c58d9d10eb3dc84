"""How a run of molecular dynamics is going."""

from __future__ import annotations

import time

from rich.console import Console

from so3md.cli.progress import ProgressBar
from so3md.dynamics import Simulation
from so3md.dynamics.outputs import Observation


class Speedometer:
    """Speed of a run since it was made."""

    def __init__(self, simulation: Simulation) -> None:
        self._first_step, self._start = simulation.step, time.perf_counter()
        self._step_length, self._atoms = simulation.settings.step_length, len(simulation.atoms)

    def describe(self, step: int) -> str:
        """Speed up to a step, in ns/day and us/atom/step."""
        seconds, steps = time.perf_counter() - self._start, step - self._first_step
        if not steps:
            return ""
        nanoseconds_per_day = self._step_length * 1e-6 * steps / seconds * 86400
        return f"{nanoseconds_per_day:.3g} ns/day, {seconds / steps / self._atoms * 1e6:.3g} us/atom/step"


def _state(simulation: Simulation, seen: Observation) -> str:
    """Temperature and energy, and where the volume changes, density and pressure."""
    parts = [f"{seen.temperature_K:.0f} K", f"{seen.potential_eV:.3f} eV"]
    if simulation.settings.ensemble == "npt":
        parts.append(f"{seen.density_g_cm3:.4g} g/cm^3")
        if seen.pressure_bar is not None:
            parts.append(f"{seen.pressure_bar:.0f} bar")
    return ", ".join(parts)


class RunDisplay:
    """Shows a run while it goes on: call `update` after each step."""

    def __init__(self, simulation: Simulation, steps: int, console: Console) -> None:
        self._speed = Speedometer(simulation)
        self._last_step = simulation.step + steps
        self._progress = ProgressBar(console, self._last_step, simulation.step)
        self._progress.wait()

    def update(self, simulation: Simulation) -> None:
        """Show the present state, if it is time for it."""
        if simulation.step != self._last_step and not self._progress.due():
            return
        seen = simulation.observe()
        state = f"{_state(simulation, seen)}, {self._speed.describe(seen.step)}"
        self._progress.show(seen.step, state, f"step {seen.step} of {self._last_step}: {state}")

    def __enter__(self) -> RunDisplay:
        self._progress.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.__exit__()
