"""Spectra of velocities and of dipoles: averages over overlapping stretches, by SciPy (Welch 1967)."""

from __future__ import annotations

import numpy as np
from ase import units

from so3md.analysis.dipoles import BETWEEN_MOLECULES
from so3md.analysis.results import Plot, Quantity, Section, Unavailable
from so3md.analysis.thermodynamics import KINETIC_UNIT, mean_temperature
from so3md.analysis.trajectory import Trajectory
from so3md.analysis.work import Work

#: THz of 1/cm.
_THZ = 100 * units._c * 1e-12
#: Waves that must be seen, 1/cm: with hydrogen, and without.
_HIGHEST = {True: 4500.0, False: 2500.0}
_SHORTEST = 0.5  # ps
#: km/mol of (Debye/Angstrom)^2/amu: N_A / (12 eps0 c^2).
KM_PER_MOL = 1e-3 * units._Nav / (12 * units._eps0 * units._c**2) * (units._e * units.Debye) ** 2 / units._amu
_HIGHEST_SHOWN = 4500.0


def power_spectrum(values: np.ndarray, interval: float, resolution: float) -> tuple[np.ndarray, np.ndarray]:
    """Wave numbers (1/cm), and (waves, ...) the spectral density of values (f, ...) per 1/cm.

    interval: ps between values; resolution: 1/cm. The integral is the variance of the values.
    """
    from scipy.signal import welch

    length = min(len(values), max(2, round(1 / (resolution * _THZ * interval))))
    frequencies, density = welch(values, fs=1 / interval, nperseg=length, axis=0, detrend="constant")
    return frequencies / _THZ, density * _THZ


def check_sampling(trajectory: Trajectory) -> float:
    """The time between frames (ps). Raises Unavailable where they miss vibrations, or are too few."""
    interval = trajectory.interval
    highest = _HIGHEST["H" in trajectory.elements]
    longest = 0.5 / (highest * _THZ)
    if interval > longest * (1 + 1e-6):
        raise Unavailable(
            f"frames are {1e3 * interval:.3g} fs apart; waves up to {highest:g}/cm need at most {1e3 * longest:.2f} fs "
            "(so3md md --trajectory-interval, in steps)"
        )
    if len(trajectory) * interval < _SHORTEST:
        raise Unavailable(f"expected at least {_SHORTEST:g} ps, found {len(trajectory) * interval:.3g}")
    return interval


def velocity_spectrum(work: Work) -> Section:
    """The density of states of vibrations, weighted with masses. Raises Unavailable without velocities."""
    trajectory = work.trajectory
    if trajectory.velocities is None:
        raise Unavailable("the trajectory has no velocities (so3md md --write-velocities, or vx vy vz in a dump)")
    interval = check_sampling(trajectory)
    parts = {}
    for element in trajectory.elements:
        work.say(element)
        which = trajectory.symbols == element
        waves, density = power_spectrum(trajectory.velocities[:, which], interval, work.options.resolution)
        parts[element] = np.einsum("n,wni->w", trajectory.masses[which], density)
    total = np.sum(list(parts.values()), axis=0)
    scale = 3 * len(trajectory.numbers) / (total.sum() * waves[1])
    curves = {"all": (waves, scale * total)}
    if len(parts) > 1:
        curves |= {element: (waves, scale * part) for element, part in parts.items()}
    section = Section("Velocity spectrum")
    peak = int(np.argmax(total))
    section.quantities.append(Quantity("Velocity spectrum peak", float(waves[peak]), "1/cm"))
    shown = (0.0, min(_HIGHEST_SHOWN, float(waves[-1])))
    section.plots.append(Plot("Velocity spectrum", "Wave number (1/cm)", "States per 1/cm", curves, x_range=shown))
    section.notes.append(f"{_resolution(waves)} The integral is three times the number of atoms.")
    return section


def infrared_spectrum(work: Work) -> Section:
    """Absorption, with the quantum correction of harmonic motion: by currents of periodic systems where a model gives
    them, else by dipoles. Raises Unavailable without charges."""
    trajectory = work.trajectory
    interval = check_sampling(trajectory)
    rates, note = _rates_and_note(work)
    signal, of_signal = (work.dipoles.total, absorption_of) if rates is None else (rates, absorption_of_rates)
    waves, absorption = of_signal(signal, interval, mean_temperature(trajectory), work.options.resolution)
    section = Section("Infrared spectrum")
    peak = int(np.argmax(absorption))
    section.quantities += [
        Quantity("Infrared peak", float(waves[peak]), "1/cm"),
        Quantity("Infrared integral", float(absorption.sum() * waves[1]), "km/mol"),
    ]
    shown = (0.0, min(_HIGHEST_SHOWN, float(waves[-1])))
    curve = {"absorption": (waves, absorption)}
    section.plots.append(
        Plot("Infrared spectrum", "Wave number (1/cm)", "Absorption (km/mol per 1/cm)", curve, x_range=shown)
    )
    section.notes.append(f"{_resolution(waves)} Of the whole system, without effects of a refractive index.")
    section.notes += [note] if note else []
    return section


def _rates_and_note(work: Work) -> tuple[np.ndarray | None, str | None]:
    """Rates of the dipole (f, 3) in e Angstrom/ps where they are better than dipoles, and what a reader must know."""
    if not work.trajectory.pbc.any():
        return None, None
    try:
        return work.currents, "Of the current of polarization, with charge that flows between molecules."
    except Unavailable as reason:
        return None, f"{BETWEEN_MOLECULES} The current of polarization counts that charge; it is not here: {reason}."


def absorption_of(
    dipoles: np.ndarray, interval: float, temperature: float, resolution: float
) -> tuple[np.ndarray, np.ndarray]:
    """Wave numbers (1/cm) and absorption (km/mol per 1/cm) from dipoles (f, 3) in e Angstrom, interval ps apart.

    As `absorption_of_rates`, as the spectral density of the rate is (2 pi c nu)^2 that of the dipole.
    """
    waves, density = power_spectrum(dipoles / units.Debye, interval, resolution)
    return waves, _absorption(np.square(2 * np.pi * waves * _THZ) * density.sum(axis=1), temperature)


def absorption_of_rates(
    rates: np.ndarray, interval: float, temperature: float, resolution: float
) -> tuple[np.ndarray, np.ndarray]:
    """Wave numbers (1/cm) and absorption (km/mol per 1/cm) from rates (f, 3) of the dipole in e Angstrom/ps.

    A(nu) = N_A / (12 eps0 c^2 k T) times the spectral density of the rate (Thomas et al., Phys. Chem. Chem. Phys. 15,
    6608, 2013). A harmonic mode has its intensity, which the quantum correction of harmonic motion leaves as it is.
    """
    waves, density = power_spectrum(rates / units.Debye, interval, resolution)
    return waves, _absorption(density.sum(axis=1), temperature)


def _absorption(rate: np.ndarray, temperature: float) -> np.ndarray:
    """From the spectral density of the dipole's rate, (Debye/ps)^2 per 1/cm."""
    return KM_PER_MOL * rate / (units.kB * temperature / KINETIC_UNIT)  # amu (Angstrom/ps)^2


def _resolution(waves: np.ndarray) -> str:
    return f"Points are {waves[1] - waves[0]:.3g}/cm apart."
