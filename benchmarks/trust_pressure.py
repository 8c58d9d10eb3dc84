"""Rungs of benchmarks/trust.py about pressure: what a run logs beside the derivative of a free energy that is known.

Two soft spheres in a periodic box: their energy depends on one vector, so that the configurational integral is one over
the cell, and a regular grid gives it as exactly as numbers go, because what is integrated is smooth and periodic.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product

import numpy as np
import tests_folder  # noqa: F401
from ase import Atoms, units
from ase.calculators.calculator import all_changes
from ase.stress import full_3x3_to_voigt_6_stress
from dynamics_tools import SoftSpheres
from trust_dynamics import deviation, run
from trust_rungs import Rung

from so3md.dynamics import Settings

EDGE = 5.0  # A
GRID = 24
_IMAGES = np.array(list(product((-1, 0, 1), repeat=3)))


def energies(fractions: np.ndarray, edge: float, strength: float, width: float) -> np.ndarray:
    """Energies (eV) of two spheres that are apart by fractions (..., 3) of a cubic cell, with their own images."""
    nearest = fractions - np.round(fractions)
    squares = edge**2 * np.square(nearest[..., None, :] + _IMAGES).sum(axis=-1)
    own = np.square(_IMAGES).sum(axis=1) * edge**2
    factor = -0.5 / width**2
    return strength * (np.exp(factor * squares).sum(axis=-1) + np.exp(factor * own).sum())


class SpheresInABox(SoftSpheres):
    """Two of them in a cubic cell, however far they have gone."""

    def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes):
        self.atoms = atoms.copy()
        edge = atoms.cell.array[0, 0]
        strength, width = self.parameters["strength"], self.parameters["width"]
        fractions = (atoms.positions[1] - atoms.positions[0]) / edge
        apart = edge * (fractions - np.round(fractions) + _IMAGES)
        own = edge * _IMAGES
        pair, self_images = (strength * np.exp(-0.5 * np.square(r).sum(axis=1) / width**2) for r in (apart, own))
        derivative = -apart * (pair / width**2)[:, None]
        of_images = -own * (self_images / width**2)[:, None]
        force = derivative.sum(axis=0)
        virial = np.einsum("ka,kb->ab", apart, derivative) + np.einsum("ka,kb->ab", own, of_images)
        energy = pair.sum() + self_images.sum()
        self.results = {"energy": energy, "free_energy": energy, "forces": np.array([force, -force])}
        self.results["stress"] = full_3x3_to_voigt_6_stress(virial) / atoms.get_volume()


def spheres() -> Atoms:
    """Two of them."""
    atoms = Atoms("Ar2", cell=[EDGE] * 3, pbc=True, scaled_positions=[[0, 0, 0], [0.5, 0.5, 0.5]])
    atoms.calc = SpheresInABox()
    return atoms


def log_integral(volumes: np.ndarray, thermal: float) -> np.ndarray:
    """The logarithm of the integral of exp(-U / kT) over the cell, for each volume: the centre of mass at rest."""
    places = (np.arange(GRID) + 0.5) / GRID
    fractions = np.stack(np.meshgrid(places, places, places, indexing="ij"), axis=-1)
    of = SpheresInABox().parameters
    means = [np.exp(-energies(fractions, v ** (1 / 3), of["strength"], of["width"]) / thermal).mean() for v in volumes]
    return np.log(means) + np.log(volumes)


def exact_pressure(volume: float, thermal: float) -> float:
    """-dF/dV (eV/A^3) at rest; a centre of mass that moves freely adds kT / V."""
    step = 1e-4 * volume
    high, low = log_integral(np.array([volume + step, volume - step]), thermal)
    return thermal * (high - low) / (2 * step)


def pressure(quick: bool) -> Iterator[Rung]:
    """The mean pressure at constant volume beside -dF/dV; the distribution of the volume at constant pressure."""
    common = {"temperature": 100, "timestep": 8, "seed": 3, "log_interval": 2}
    steps, bar = 10_000 if quick else 200_000, 1e-4 * units.GPa
    thermal = units.kB * common["temperature"]
    at_rest = exact_pressure(EDGE**3, thermal)
    for settings, expected in (
        (Settings(thermostat="langevin", friction=20.0, **common), at_rest + thermal / EDGE**3),
        (Settings(thermostat="csvr", taut=40, **common), at_rest),
    ):
        values = run(spheres(), settings, steps)["pressure_bar"]
        name = f"mean pressure beside -dF/dV, {settings.kind}"
        yield deviation(name, values[len(values) // 20 :], expected / bar)
    settings = Settings(ensemble="npt", taut=100, taup=500, pressure=round(at_rest / bar), **common)
    values = run(spheres(), settings, steps)["volume_A3"]
    volumes = np.linspace(0.3, 4.0, 400) * EDGE**3
    weights = log_integral(volumes, thermal) - settings.pressure * bar * volumes / thermal
    weights = np.exp(weights - weights.max())
    mean = np.average(volumes, weights=weights)
    variance = np.average(np.square(volumes - mean), weights=weights)
    values = values[len(values) // 20 :]
    yield deviation("mean volume beside its distribution, npt", values, mean)
    yield deviation("variance of the volume, npt", np.square(values - mean), variance)
