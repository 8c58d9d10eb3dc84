"""Infrared spectrum of a molecule: vibrations, and by how much each changes the dipole.

python infrared.py

Forces change with a field as the dipole changes with positions, so that three evaluations give all derivatives of the
dipole. (ase.vibrations.Infrared takes differences of dipoles instead, and agrees.)
"""

import tempfile

import numpy as np
from ase import units
from ase.build import molecule
from ase.optimize import BFGS
from ase.vibrations import Vibrations

from so3md import So3kratesCalculator

KM_PER_MOL = 42.255  # 1 (Debye/Angstrom)^2/amu

atoms = molecule("H2O")
atoms.calc = So3kratesCalculator(precision="double")
BFGS(atoms, logfile=None).run(fmax=1e-4)

with tempfile.TemporaryDirectory() as directory:
    vibrations = Vibrations(atoms, name=f"{directory}/vibrations")
    vibrations.run()
    data = vibrations.get_vibrations()

without = atoms.get_forces()
derivatives = []  # of the dipole's x, y, z by all positions, e
for field in np.eye(3):  # 1 V/Angstrom; forces are linear in it
    atoms.calc.set(electric_field=field)
    derivatives.append(atoms.get_forces() - without)

for energy, mode in zip(*data.get_energies_and_modes(), strict=True):
    if energy.real / units.invcm > 200:  # no rotation or translation
        change = np.einsum("aij,ij->a", derivatives, mode) / units.Debye
        print(f"{energy.real / units.invcm:6.0f} cm^-1 {KM_PER_MOL * change @ change:8.1f} km/mol")
