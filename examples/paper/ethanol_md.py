"""A model trained on 1000 configurations of ethanol: relaxation, hydroxyl rotation and molecular dynamics.

python ethanol_md.py [STEPS]
"""

import sys
from pathlib import Path

import numpy as np
from ase import units
from ase.build import molecule
from ase.md.velocitydistribution import MaxwellBoltzmannDistribution, Stationary, ZeroRotation
from ase.md.verlet import VelocityVerlet
from ase.optimize import BFGS

from so3md import So3kratesCalculator

steps = int(sys.argv[1]) if len(sys.argv) > 1 else 2000
atoms = molecule("CH3CH2OH")
atoms.calc = So3kratesCalculator(str(Path(__file__).parent / "ethanol.safetensors"), threads=1)

BFGS(atoms, logfile=None).run(fmax=0.01, steps=300)
minimum = atoms.get_potential_energy()
print(f"minimum: {minimum:.3f} eV")

# The hydroxyl group turned as a whole about the C-O bond: atoms are C, C, O, H (of the hydroxyl), then the other H.
carbon, oxygen, hydrogen = 1, 2, 3
carbon = min((0, 1), key=lambda index: atoms.get_distance(index, oxygen))
other = 1 - carbon
turned = atoms.copy()
turned.calc = atoms.calc
energies = []
for angle in range(0, 360, 10):
    turned.positions = atoms.positions
    turned.set_dihedral(other, carbon, oxygen, hydrogen, angle, indices=[hydrogen])
    energies.append(turned.get_potential_energy() - minimum)
print(f"highest energy when the hydroxyl group is turned: {max(energies):.3f} eV")

MaxwellBoltzmannDistribution(atoms, temperature_K=600, rng=np.random.default_rng(0))  # half of it goes into the bonds
Stationary(atoms)
ZeroRotation(atoms)
dynamics = VelocityVerlet(atoms, timestep=0.5 * units.fs)
start = atoms.get_total_energy()
dynamics.run(steps)
print(f"after {0.5 * steps / 1000:.2f} ps: {atoms.get_temperature():.0f} K")
print(f"change of the total energy: {1e3 * (atoms.get_total_energy() - start):.3f} meV")
