"""Well-tempered metadynamics of alanine dipeptide in vacuum on its two backbone torsions, with PLUMED in ASE.

python metadynamics_plumed.py [STEPS]

HILLS has the hills and COLVAR the torsions; `plumed sum_hills --hills HILLS` makes the free energy of them. It needs
PLUMED, with its kernel (pip install hillclimber brings both).
"""

import sys
from pathlib import Path

import numpy as np
from ase import units
from ase.calculators.plumed import Plumed
from ase.io import read
from ase.md.langevin import Langevin
from ase.md.velocitydistribution import MaxwellBoltzmannDistribution

from so3md import So3kratesCalculator

steps = int(sys.argv[1]) if len(sys.argv) > 1 else 20000
timestep, temperature = 0.5 * units.fs, 300

atoms = read(Path(__file__).parent / "data" / "alanine_dipeptide.pdb")
# PLUMED counts atoms from 1. With these units it takes and writes A, eV and ps; angles are in radians.
setup = [
    f"UNITS LENGTH=A ENERGY={units.mol / units.kJ} TIME=ps",
    "phi: TORSION ATOMS=5,7,9,15",
    "psi: TORSION ATOMS=7,9,15,17",
    f"metad: METAD ARG=phi,psi SIGMA=0.26,0.26 HEIGHT=0.02 PACE=100 BIASFACTOR=11 TEMP={temperature} FILE=HILLS",
    "PRINT ARG=phi,psi,metad.bias FILE=COLVAR STRIDE=10",
]
atoms.calc = Plumed(
    So3kratesCalculator(), setup, timestep=timestep, atoms=atoms, kT=temperature * units.kB, log="plumed.log"
)

rng = np.random.default_rng(4711)
MaxwellBoltzmannDistribution(atoms, temperature_K=temperature, rng=rng)
dynamics = Langevin(
    atoms,
    timestep,
    temperature_K=temperature,
    friction=2 / (1000 * units.fs),
    fixcm=False,
    rng=rng,
    trajectory="metadynamics.traj",
    loginterval=100,
)
dynamics.run(steps)
print(f"{steps} steps, {steps // 100} hills")
