"""The barrier for the inversion of ammonia: a nudged elastic band of ASE, then the saddle point by sella.

python saddle.py

It needs sella (pip install sella).
"""

from ase import units
from ase.build import molecule
from ase.mep import NEB
from ase.optimize import BFGS, FIRE
from ase.vibrations import Vibrations
from sella import Sella

from so3md import So3kratesCalculator

calculator = So3kratesCalculator(precision="double")

initial = molecule("NH3")
initial.calc = calculator
BFGS(initial, logfile=None).run(fmax=0.01)
lowest = initial.get_potential_energy()
final = initial.copy()
final.positions[0, 2] = 2 * final.positions[1:, 2].mean() - final.positions[0, 2]

images = [initial, *(initial.copy() for _ in range(5)), final]
for image in images:
    image.calc = calculator
band = NEB(images, climb=True, method="improvedtangent", allow_shared_calculator=True)
band.interpolate()
FIRE(band, logfile=None).run(fmax=0.05, steps=200)
top = max(images, key=lambda image: image.get_potential_energy()).copy()
top.calc = calculator
print(f"band: {top.get_potential_energy() - lowest:.4f} eV")

top.rattle(0.02, seed=1)  # from somewhere near
Sella(top, order=1, logfile=None).run(fmax=1e-3, steps=100)
print(f"saddle: {top.get_potential_energy() - lowest:.4f} eV")

vibrations = Vibrations(top, name="saddle")
vibrations.run()
imaginary = [energy for energy in vibrations.get_energies() if energy.imag > 50 * units.invcm]
print(f"imaginary frequencies: {len(imaginary)} ({imaginary[0].imag / units.invcm:.0f}i cm^-1)")
vibrations.clean()
