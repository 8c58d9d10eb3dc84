"""Harmonic spectrum, thermochemistry and infrared intensities of a molecule, with ASE alone.

python thermochemistry.py [STRUCTURE]

STRUCTURE: a file; default: water.
"""

import sys
import tempfile

from ase import units
from ase.build import molecule
from ase.optimize import BFGS
from ase.thermochemistry import IdealGasThermo
from ase.vibrations import Infrared

from so3md import So3kratesCalculator
from so3md.structures import read_structure

atoms = read_structure(sys.argv[1]) if len(sys.argv) > 1 else molecule("H2O")
symmetry_number = 2 if len(sys.argv) == 1 else 1  # rotations that leave the molecule as it is: look it up for yours
atoms.calc = So3kratesCalculator(precision="double")
BFGS(atoms, logfile=None).run(fmax=1e-4)

with tempfile.TemporaryDirectory() as directory:
    infrared = Infrared(atoms, name=f"{directory}/infrared")
    infrared.run()
    energies = infrared.get_energies()
    strengths = infrared.intensities * 42.255  # (Debye/Angstrom)^2/amu to km/mol

vibrations = 3 * len(atoms) - 6
for energy, strength in zip(energies[-vibrations:], strengths[-vibrations:], strict=True):
    print(f"{energy.real / units.invcm:6.0f} cm^-1 {strength:8.1f} km/mol")

thermo = IdealGasThermo(energies[-vibrations:].real, "nonlinear", atoms=atoms, symmetrynumber=symmetry_number, spin=0)
print(f"zero-point energy: {thermo.get_ZPE_correction():.4f} eV")
entropy = thermo.get_entropy(298.15, 1e5, verbose=False) / (units.J / units.mol)
print(f"entropy at 298.15 K, 1 bar: {entropy:.1f} J/mol/K")
