"""Rungs of benchmarks/trust.py that need dynamics: energy, equipartition, canonical distribution."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import tests_folder  # noqa: F401
from ase import Atoms, units
from ase.build import molecule
from dynamics_tools import soft_spheres
from nve_drift import drift
from trust_rungs import Rung

from so3md import So3kratesCalculator
from so3md.dynamics import Settings, Simulation
from so3md.dynamics.ensembles import degrees_of_freedom
from so3md.dynamics.outputs import read_log
from so3md.structures import read_structure

BLOCKS = 20

#: A deviation of so many standard errors is a fault and not chance: of fifty figures, one in 10^5 runs has it.
STANDARD_ERRORS = 5.0

#: The drift that a run may have, kT per ns and degree of freedom, beside its statistical error.
DRIFT = 0.05


def run(atoms: Atoms, settings: Settings, steps: int, on_step=lambda _: None) -> dict[str, np.ndarray]:
    """Move atoms, in place; the log."""
    with tempfile.TemporaryDirectory() as folder:
        directory = Path(folder) / "run"
        with Simulation.start(atoms, settings, directory) as simulation:
            simulation.run(steps, on_step=on_step)
        return read_log(directory / "log.csv")


def warm(quick: bool) -> Atoms:
    """What moves freely then: water, or one molecule of ethanol, at 300 K."""
    atoms = molecule("CH3CH2OH") if quick else read_structure("water")
    atoms.calc = So3kratesCalculator(precision="mixed", threads=1)
    run(atoms, Settings(thermostat="csvr", taut=50, seed=1), 1000 if quick else 4000)
    return atoms


def conservation(quick: bool) -> Iterator[Rung]:
    """The drift of the energy, and how its error falls with the square of the time step."""
    start, fluctuations = warm(quick), []
    for timestep in (1.0, 0.5, 0.25):
        atoms = start.copy()
        atoms.calc = So3kratesCalculator(precision="mixed", threads=1)
        steps = round((1000 if quick else 20_000) / timestep)
        found = drift(run(atoms, Settings(ensemble="nve", timestep=timestep, log_interval=2), steps), len(atoms))
        error = found["drift_standard_error_kT_per_ns_per_degree_of_freedom"]
        yield Rung(
            f"drift of the energy, {timestep} fs, {steps * timestep / 1000:g} ps, standard error {error:.2g}",
            abs(found["drift_kT_per_ns_per_degree_of_freedom"]),
            DRIFT + STANDARD_ERRORS * error,
            "kT/ns per d.o.f.",
        )
    for timestep in (1.0, 0.5, 0.25):
        atoms = start.copy()
        atoms.calc = So3kratesCalculator(precision="double", threads=1)
        settings = Settings(ensemble="nve", timestep=timestep, log_interval=1)
        fluctuations.append(np.std(run(atoms, settings, round(100 / timestep))["total_eV"]))
    for longer, ratio in zip((1.0, 0.5), np.array(fluctuations[:-1]) / fluctuations[1:], strict=True):
        name = f"error of the energy, {longer} fs over {longer / 2} fs: {ratio:.3f} instead of 4"
        yield Rung(name, abs(ratio / 4 - 1), 0.1)


def kinetic_without_step(masses: np.ndarray, velocities: np.ndarray, forces: np.ndarray, timestep: float) -> np.ndarray:
    """Kinetic energies (n,) of atoms in ASE's Langevin dynamics, without the error of the time step. In ASE's units.

    Of a vibration, that integrator has velocities at its steps whose kinetic energy is too small by the fraction
    (omega timestep)^2 / 6, 2 % for O-H at 0.5 fs. A long run sees it. What is missing is F^2 timestep^2 / (12 m), of
    the vibration's own force; what is left is of the fourth order.
    """
    squares = masses[:, None] * velocities**2 / 2 + forces**2 * timestep**2 / (12 * masses[:, None])
    return squares.sum(axis=1)


def equipartition(quick: bool) -> Iterator[Rung]:
    """The mean kinetic energy of hydrogen and oxygen in water, with a thermostat that kicks every atom."""
    atoms = read_structure("water")
    atoms.calc = So3kratesCalculator(precision="mixed", threads=1)
    samples: dict[str, list[float]] = {"H": [], "O": []}

    def sample(simulation: Simulation) -> None:
        motion = atoms.get_masses(), atoms.get_velocities(), atoms.get_forces()
        kinetic = kinetic_without_step(*motion, settings.step_length * units.fs)
        for element, values in samples.items():
            values.append(kinetic[atoms.symbols == element].mean())

    settings = Settings(thermostat="langevin", friction=20.0, seed=2)
    run(atoms, settings, 400 if quick else 4000)
    run(atoms, settings, 600 if quick else 40_000, sample)
    expected = 1.5 * units.kB * settings.temperature
    for element, values in samples.items():
        name = f"kinetic energy of {element} in water, corrected"
        yield deviation(name, np.array(values), expected)


def canonical(quick: bool) -> Iterator[Rung]:
    """Mean and variance of the kinetic energy with every thermostat: a gamma distribution. Four soft spheres."""
    common = {"temperature": 100, "timestep": 8, "seed": 1, "log_interval": 2}
    for settings in (
        Settings(thermostat="langevin", friction=20.0, **common),
        Settings(thermostat="csvr", taut=40, **common),
        Settings(ensemble="npt", taut=100, taup=500, pressure=1500, **common),
    ):
        atoms = soft_spheres()
        free = degrees_of_freedom(atoms, settings)
        log = run(atoms, settings, 8000 if quick else 200_000)
        log = {name: values[len(values) // 20 :] for name, values in log.items()}
        thermal = units.kB * settings.temperature
        kinetic, mean, variance = log["kinetic_eV"], free / 2 * thermal, free / 2 * thermal**2
        yield deviation(f"mean kinetic energy, {settings.kind}", kinetic, mean)
        yield deviation(f"variance of the kinetic energy, {settings.kind}", np.square(kinetic - mean), variance)
        if settings.ensemble == "npt":
            yield deviation("mean pressure, npt", log["pressure_bar"], settings.pressure)


def deviation(name: str, values: np.ndarray, expected: float) -> Rung:
    """How many standard errors, from the means of blocks, the mean of correlated values is off."""
    means = np.array([block.mean() for block in np.array_split(values, BLOCKS)])
    error = means.std(ddof=1) / np.sqrt(BLOCKS)
    mean = means.mean()
    name += f" ({100 * (mean / expected - 1):+.1f} ± {100 * error / expected:.1f} %)"
    return Rung(name, abs(mean - expected) / error, STANDARD_ERRORS, "standard errors")
