"""What a run samples and how: the settings, their defaults and which of them go together."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from typing import Any

from so3md.limits import Limits
from so3md.structures.hydrogen_mass import HYDROGEN_MASS

ENSEMBLES = ("nve", "nvt", "npt")
THERMOSTATS = ("langevin", "csvr")

#: Settings that only some ensembles have, with the defaults that they get there.
_LANGEVIN = {"thermostat": "langevin", "friction": 1.0}
_RESCALING = {"thermostat": "csvr", "taut": 100.0}
_NPT = {"taut": 100.0, "taup": 1000.0, "pressure": 1.01325}

#: Say how much is written and where to give up, and may change when a run is continued.
BOOKKEEPING = (
    *("log_interval", "trajectory_interval", "checkpoint_interval", "max_temperature", "max_difference"),
    *("stop_uncertainty", "uncertainty_threshold"),
)


_TEXTS = ("ensemble", "thermostat")


#: Of the number of steps of a run, and of the intervals of output.
STEPS = Limits(0, 1e15, whole=True)
_COUNTS = Limits(1, 1e15, whole=True)
#: Relative error up to which a ratio of time steps is a whole number, far above rounding.
_WHOLE = 1e-9
_LIMITS = {
    "temperature": Limits(0, 1e6, "K"),
    "max_temperature": Limits(1e-3, 1e9, "K"),
    "timestep": Limits(1e-6, 1e3, "fs"),
    "outer_timestep": Limits(1e-6, 1e3, "fs"),
    "max_difference": Limits(1e-6, 1e9, "eV/A"),
    "stop_uncertainty": Limits(1e-9, 1e9, "eV/A"),
    "uncertainty_threshold": Limits(1e-9, 1e9, "eV/A"),
    "friction": Limits(0, 1e9, "/ps"),
    "taut": Limits(1e-3, 1e9, "fs"),
    "taup": Limits(1e-3, 1e9, "fs"),
    "pressure": Limits(-1e8, 1e8, "bar"),
    "hydrogen_mass": HYDROGEN_MASS,
    "seed": Limits(0, 2.0**64, whole=True),
}


@dataclass(frozen=True)
class Settings:
    """Settings of a run. A setting that the ensemble does not have must be None; one that it has gets its default.

    ensemble: "nve"; "nvt" with the thermostat "langevin" (friction in 1/ps) or "csvr" (stochastic velocity rescaling,
    Bussi, Donadio and Parrinello 2007; taut in fs), both sampling the canonical ensemble; "npt", the isotropic
    equations of Martyna, Tobias and Klein 1994 with Nose-Hoover chains (taut and taup in fs, pressure in bar).
    temperature in K: the target, or in NVE that of the velocities if they are drawn; timestep in fs; seed of all random
    numbers; intervals in steps; the run is stopped above max_temperature (K; None: ten times the target or 3000 K,
    whichever is higher).

    outer_timestep (fs): multiple time steps, in which the run has a student: timestep is that of the student then, and
    a step of the run, which the intervals and the log count, is an outer one, a whole number of them. "npt" has
    stochastic velocity and cell rescaling there (Bernetti and Bussi 2020), once in an outer step.
    The run is stopped where the forces of an atom by student and teacher differ by more than max_difference (eV/A;
    None: by what the student's file says, see docs/multiple_time_steps.md).

    hydrogen_mass (u): that of hydrogens, at the expense of the heavier atoms that they are bound to
    (`so3md.structures.hydrogen_mass.repartition`); None leaves masses as they are.

    stop_uncertainty: the run stops, with everything saved, after a step at which the uncertainty of the force of an
    atom is above it; uncertainty_threshold: structures above it go to uncertain.xyz, at most one in trajectory_interval
    steps (docs/uncertainty.md; both in the unit of the calculator's uncertainty, mostly eV/A). None: uncertainties are
    not looked at.

    Raises ValueError for settings that are out of range or do not go together.

    >>> Settings(temperature=350).friction, Settings(ensemble="npt").pressure
    (1.0, 1.01325)
    >>> Settings(ensemble="nve", friction=1.0)
    Traceback (most recent call last):
    ValueError: ...
    """

    ensemble: str = "nvt"
    thermostat: str | None = None
    temperature: float = 300.0
    timestep: float = 0.5
    friction: float | None = None
    taut: float | None = None
    taup: float | None = None
    pressure: float | None = None
    seed: int = 0
    log_interval: int = 10
    trajectory_interval: int = 100
    checkpoint_interval: int = 1000
    max_temperature: float | None = None
    outer_timestep: float | None = None
    max_difference: float | None = None
    hydrogen_mass: float | None = None
    stop_uncertainty: float | None = None
    uncertainty_threshold: float | None = None

    def __post_init__(self) -> None:
        _check_choice("ensemble", self.ensemble, ENSEMBLES)
        if self.thermostat is not None:
            _check_choice("thermostat", self.thermostat, THERMOSTATS)
        self._fill_in(self._own_settings())
        self._check_ranges()
        self._check_outer_timestep()

    @property
    def kind(self) -> str:
        """The ensemble and, where there is a choice, its thermostat: nve, nvt-langevin, nvt-csvr or npt."""
        return f"nvt-{self.thermostat}" if self.ensemble == "nvt" else self.ensemble

    @property
    def step_length(self) -> float:
        """Simulated time (fs) of a step of the run."""
        return self.timestep if self.outer_timestep is None else self.outer_timestep

    @property
    def substeps(self) -> int:
        """The number of the student's steps in a step of the run; 1 without a student."""
        return round(self.step_length / self.timestep)

    @property
    def temperature_limit(self) -> float:
        """Temperature (K) above which a run is given up."""
        return max(10 * self.temperature, 3000.0) if self.max_temperature is None else self.max_temperature

    def physics(self) -> dict[str, Any]:
        """The settings that decide the trajectory."""
        return {key: value for key, value in asdict(self).items() if key not in BOOKKEEPING and value is not None}

    def _own_settings(self) -> dict[str, Any]:
        if self.ensemble == "nve":
            return {}
        if self.ensemble == "npt":
            return _NPT
        return _RESCALING if self.thermostat == "csvr" else _LANGEVIN

    def _fill_in(self, own: dict[str, Any]) -> None:
        for key in _LANGEVIN | _RESCALING | _NPT:
            value = getattr(self, key)
            if value is None:
                object.__setattr__(self, key, own.get(key))  # the class is frozen
            elif key not in own:
                described = self.ensemble if key == "thermostat" else self.kind
                raise ValueError(f"{key} {value}: {described} has no such setting; leave it out")

    def _check_ranges(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if field.name in _TEXTS or (value is None and field.default is None):
                continue
            limits = _COUNTS if field.name.endswith("_interval") else _LIMITS[field.name]
            object.__setattr__(self, field.name, limits.checked(field.name, value))  # the class is frozen
        if self.temperature == 0 and self.ensemble != "nve":
            raise ValueError(f"temperature {self.temperature} K: expected a positive number")
        if self.ensemble != "nve" and self.max_temperature is not None and self.max_temperature < self.temperature:
            raise ValueError(
                f"max_temperature {self.max_temperature:g} K: expected more than the temperature of the run, "
                f"{self.temperature:g} K"
            )
        if self.friction is not None and self.friction * self.timestep > 1e3:
            raise ValueError(
                f"friction {self.friction:g} /ps: expected at most {1e3 / self.timestep:g} /ps for a time step of "
                f"{self.timestep:g} fs"
            )
        for name in ("taut", "taup") if self.ensemble == "npt" else ():
            if getattr(self, name) < self.step_length:
                raise ValueError(
                    f"{name} {getattr(self, name):g} fs: expected at least a time step, {self.step_length:g} fs"
                )

    def _check_outer_timestep(self) -> None:
        if self.outer_timestep is None:
            if self.max_difference is not None:
                raise ValueError(f"max_difference {self.max_difference:g} eV/A: a single time step has no student")
            return
        ratio = self.outer_timestep / self.timestep
        if round(ratio) < 1 or abs(ratio - round(ratio)) > _WHOLE * ratio:
            raise ValueError(
                f"outer_timestep {self.outer_timestep:g} fs: expected a whole number of inner steps of "
                f"{self.timestep:g} fs, found {ratio:.4g}"
            )


def _check_choice(name: str, value: str, known: tuple[str, ...]) -> None:
    if not isinstance(value, str) or value not in known:
        raise ValueError(f"{name} {value!r}: expected one of {', '.join(known)}")
