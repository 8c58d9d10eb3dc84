#!/bin/sh
# i-PI's driver for ASE calculators has an option has_stress=False, for models without a stress. With it, every evaluation raises: the driver
# puts nine zeros in a row where it then expects 3 x 3.
#
# Guess before the run: has_stress=False lets molecules, whose calculators have no stress, be evaluated, with a virial of zeros.
# Seen (i-PI 3.3.1): ValueError "should have shape (3,3) but it has shape (9,)", where the same driver works for a crystal with a stress.
# What follows: a driver for molecules has to be written on Dummy_driver or on nothing. so3md.ipi passes zeros where there is no volume.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install --quiet "ipi==3.3.1" "ase==3.29.0" "numpy==2.3.5"
venv/bin/python - <<'P'
import numpy as np
from ase.build import bulk
from ase.calculators.emt import EMT
from ipi.pes._ase import ASEDriver


class EMTDriver(ASEDriver):
    def check_parameters(self):
        super().check_parameters()
        self.ase_calculator = EMT()


atoms = bulk("Cu", cubic=True)
atoms.write("copper.xyz")
cell, positions = atoms.cell.array.T / 0.529177, atoms.positions / 0.529177
energy, forces, virial, _ = EMTDriver("copper.xyz")(cell, positions)
print("with a stress: forces", forces.shape, "virial", virial.shape)
assert forces.shape == (4, 3) and np.isfinite(virial).all()
try:
    EMTDriver("copper.xyz", has_stress=False)(cell, positions)
except ValueError as error:
    print("has_stress=False:", error)
    assert "(3,3)" in str(error) and "(9,)" in str(error), "the behaviour has changed: another error"
else:
    raise SystemExit("the behaviour has changed: it works")
P
echo "as described"
