#!/bin/sh
# ASE's constraint ExternalForce has no `adjust_momenta` of its own, and what it inherits hands momenta to `adjust_forces`: every time momenta
# are set, the force (eV/A) is added to them. Two hydrogen atoms whose momenta are set to zero move, at 959 K.
#
# Guess before the run: the constraint changes forces only, and momenta that are set to zero are zero.
# Seen (ASE 3.29.0): momenta of -0.5 and 0.5 after set_momenta(0), with a force of 0.5 eV/A. An MD driver sets momenta twice in a step.
# What follows: such a constraint is for optimisation. so3md refuses it for dynamics.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install --quiet "ase==3.29.0" "numpy==2.3.5"
venv/bin/python - <<'P'
import numpy as np
from ase import Atoms
from ase.constraints import ExternalForce

atoms = Atoms("H2", [[0, 0, 0], [0, 0, 2.0]])
atoms.set_constraint(ExternalForce(0, 1, 0.5))
atoms.set_momenta(np.zeros((2, 3)))
print("momenta that were set to zero:", atoms.get_momenta().tolist())
print(f"temperature: {atoms.get_temperature():.1f} K")
assert np.allclose(atoms.get_momenta(), [[0, 0, -0.5], [0, 0, 0.5]]), "the behaviour has changed"
P
echo "as described"
