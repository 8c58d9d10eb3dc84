"""Molecular dynamics of liquid water with ASE's own driver.

    python molecular_dynamics.py [STEPS]

The command line does more (so3md md): log, checkpoints, exact continuation.
"""

import sys
import time

import numpy as np
from ase import units
from ase.md.langevin import Langevin

from so3md import So3kratesCalculator
from so3md.structures import read_structure

steps = int(sys.argv[1]) if len(sys.argv) > 1 else 200
rng = np.random.default_rng(1)

atoms = read_structure("water")  # 64 molecules
atoms.calc = So3kratesCalculator("so3lr")
atoms.set_momenta(rng.normal(size=(len(atoms), 3)) * np.sqrt(300 * units.kB * atoms.get_masses())[:, None])
dynamics = Langevin(
    atoms, 0.5 * units.fs, temperature_K=300, friction=1e-3 / units.fs, fixcm=False, rng=rng, trajectory="water.traj"
)


def report() -> None:
    """One line about the present step."""
    energy = atoms.get_potential_energy()
    print(f"step {dynamics.nsteps}: {atoms.get_temperature():.0f} K, potential energy {energy:.3f} eV")


dynamics.attach(report, interval=max(steps // 10, 1))
start = time.perf_counter()
dynamics.run(steps)
seconds = time.perf_counter() - start
print(f"{seconds / steps / len(atoms) * 1e6:.0f} us per atom and step; frames are in water.traj")
