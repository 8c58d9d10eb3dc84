"""Relax a molecule and compute its vibrations.

python relax_and_vibrate.py
"""

import tempfile

from ase.build import molecule
from ase.optimize import BFGS
from ase.vibrations import Vibrations

from so3md import So3kratesCalculator

atoms = molecule("H2O")
atoms.calc = So3kratesCalculator(precision="double")
BFGS(atoms, logfile=None).run(fmax=1e-3)

with tempfile.TemporaryDirectory() as directory:
    vibrations = Vibrations(atoms, name=f"{directory}/vibrations")
    vibrations.run()
    vibrations.summary()
