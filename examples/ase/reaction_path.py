"""The barrier for the inversion of ammonia, by a nudged elastic band with one calculator for all images.

python reaction_path.py
"""

from ase.build import molecule
from ase.mep import NEB
from ase.optimize import BFGS, FIRE

from so3md import So3kratesCalculator

calculator = So3kratesCalculator()

initial = molecule("NH3")
initial.calc = calculator
BFGS(initial, logfile=None).run(fmax=0.01)
final = initial.copy()
final.positions[0, 2] = 2 * final.positions[1:, 2].mean() - final.positions[0, 2]

images = [initial, *(initial.copy() for _ in range(5)), final]
for image in images:
    image.calc = calculator
band = NEB(images, climb=True, method="improvedtangent", allow_shared_calculator=True)
band.interpolate()
FIRE(band, logfile=None).run(fmax=0.03, steps=200)

for number, image in enumerate(images):
    print(f"image {number}: {image.get_potential_energy() - initial.get_potential_energy():.4f} eV")
