"""The infrared spectrum of a liquid, from the current of polarization along a trajectory with velocities.

python polarization.py [--trajectory FILE] [--number 2500]

Currents are kept beside the trajectory, so that the same command goes on where it stopped, and takes up new frames.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
from ase.io import Trajectory

from so3md import So3kratesCalculator

SPACING = 4.0  # fs at least between currents, which shows up to 4170 per cm
WIDTH = 60.0  # of a line, 1/cm
#: Where bands are looked for, 1/cm.
BANDS = {"librations": (300, 1000), "bend": (1500, 1800), "stretches": (2800, 4100)}
_CM = 2.99792458e-5  # cm per fs


def currents_of(trajectory: Path, begin: float, number: int) -> tuple[np.ndarray, float]:
    """Currents (n, 3), at most `number`, and the time between them in fs. begin: ps that are left out."""
    frames = Trajectory(str(trajectory))
    interval = 1e3 * (frames[1].info["time_ps"] - frames[0].info["time_ps"])
    every = max(1, round(SPACING / interval))
    which = range(round(1e3 * begin / interval), len(frames), every)[:number]
    cache, place = trajectory.with_suffix(".currents.npz"), np.array([which.start, every])
    known = np.load(cache) if cache.exists() else {"place": None}
    found = list(known["currents"][: len(which)]) if np.array_equal(known["place"], place) else []
    calculator = So3kratesCalculator(coulomb="ewald", dispersion_tail=True)
    for count, index in enumerate(which[len(found) :], start=len(found) + 1):
        found.append(calculator.get_polarization_current(frames[index]))
        if count % 20 == 0 or count == len(which):
            np.savez(cache, currents=np.array(found), place=place)
            print(f"\rcurrent {count} of {len(which)}", end="\n" if count == len(which) else "", flush=True)
    return np.array(found), every * interval


def spectrum(currents: np.ndarray, interval: float) -> tuple[np.ndarray, np.ndarray]:
    """Wavenumbers (1/cm) and absorption, largest 1: the spectrum of the current, with lines of a width."""
    signal = (currents - currents.mean(axis=0)) * np.hanning(len(currents))[:, None]
    wavenumbers = np.fft.rfftfreq(len(signal), interval) / _CM
    power = (np.abs(np.fft.rfft(signal, axis=0)) ** 2).sum(axis=1)
    lines = np.exp(-4 * np.log(2) * ((wavenumbers[:, None] - wavenumbers) / WIDTH) ** 2)
    result = lines @ power / lines.sum(axis=1)
    return wavenumbers, result / result.max()


def spectrum_of(trajectory: Path, begin: float, number: int) -> dict[str, Any]:
    """The spectrum as plain data, with the wavenumbers where bands are largest, of all and of both halves.

    None: the spectrum is too short to have points there.
    """
    currents, interval = currents_of(trajectory, begin, number)
    parts = {
        "all": currents,
        "first_half": currents[: len(currents) // 2],
        "second_half": currents[len(currents) // 2 :],
    }
    peaks: dict[str, dict[str, float | None]] = {name: {} for name in BANDS}
    for part, values in parts.items():
        wavenumbers, absorption = spectrum(values, interval)
        for name, (low, high) in BANDS.items():
            here = (wavenumbers > low) & (wavenumbers < high)
            peaks[name][part] = float(wavenumbers[here][np.argmax(absorption[here])]) if here.any() else None
    wavenumbers, absorption = spectrum(currents, interval)
    shown = np.arange(0, 4201, 10.0)
    return {
        "picoseconds": len(currents) * interval / 1e3,
        "largest_per_cm": peaks,
        "wavenumbers_per_cm": shown.tolist(),
        "absorption": np.round(np.interp(shown, wavenumbers, absorption), 4).tolist(),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trajectory", type=Path, default=Path("liquid_water/dynamics/trajectory.traj"))
    parser.add_argument("--begin", type=float, default=2.0, help="ps that are left out")
    parser.add_argument("--number", type=int, default=2500)
    options = parser.parse_args()
    for name, peaks in spectrum_of(options.trajectory, options.begin, options.number)["largest_per_cm"].items():
        print(f"{name}: largest at {peaks['all'] or float('nan'):.0f} per cm")


if __name__ == "__main__":
    main()
