"""Infrared spectrum of liquid water, from the current of polarization along a trajectory.

python liquid_infrared.py [STEPS]    (default: 4000 steps of 0.5 fs, some minutes)

The absorption is proportional to the spectrum of the current. Longer runs, and averages over several, make smoother
spectra.
"""

import sys

import numpy as np
from ase import units
from ase.md.langevin import Langevin
from ase.md.verlet import VelocityVerlet

from so3md import So3kratesCalculator
from so3md.structures import read_structure

steps = int(sys.argv[1]) if len(sys.argv) > 1 else 4000
time_step, every = 0.5, 4  # fs; a current every 2 fs shows up to 8000 cm^-1
width = 40.0  # of a line, cm^-1
rng = np.random.default_rng(1)

atoms = read_structure("water")  # 64 molecules
atoms.calc = So3kratesCalculator(coulomb="ewald")
atoms.set_momenta(rng.normal(size=(len(atoms), 3)) * np.sqrt(300 * units.kB * atoms.get_masses())[:, None])
Langevin(atoms, time_step * units.fs, temperature_K=300, friction=0.01 / units.fs, fixcm=False, rng=rng).run(
    steps // 10
)

currents: list[np.ndarray] = []
dynamics = VelocityVerlet(atoms, time_step * units.fs)
dynamics.attach(lambda: currents.append(atoms.calc.get_polarization_current(atoms)), interval=every)
dynamics.run(steps)

signal = (np.array(currents) - np.mean(currents, axis=0)) * np.hanning(len(currents))[:, None]
wavenumbers = np.fft.rfftfreq(len(signal), every * time_step * 1e-15) / 2.99792458e10  # cm^-1
power = (np.abs(np.fft.rfft(signal, axis=0)) ** 2).sum(axis=1)
lines = np.exp(-4 * np.log(2) * ((wavenumbers[:, None] - wavenumbers) / width) ** 2)
spectrum = lines @ power / lines.sum(axis=1)

np.savetxt("infrared.txt", np.column_stack([wavenumbers, spectrum / spectrum.max()]), header="cm^-1, absorption")
for name, low, high in (("librations", 300, 1000), ("bend", 1500, 1800), ("O-H stretches", 2800, 4200)):
    band = (wavenumbers > low) & (wavenumbers < high)
    print(f"{name}: largest at {wavenumbers[band][np.argmax(spectrum[band])]:.0f} cm^-1")
print("the spectrum is in infrared.txt")
