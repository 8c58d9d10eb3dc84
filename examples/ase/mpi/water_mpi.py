"""Molecular dynamics of liquid water with a driver of ASE, on several processes that share each step.

    mpiexec -n 4 python -m mpi4py water_mpi.py [STEPS]

Every process runs this script from top to bottom; the calculator divides the atoms among them. Files are written once,
because ASE, which finds mpi4py, writes only in the first process; for printing, we see to that.
"""

import sys
import time

import numpy as np
from ase import units
from ase.md.langevin import Langevin
from mpi4py import MPI

from so3md import So3kratesCalculator
from so3md.structures import read_structure

steps = int(sys.argv[1]) if len(sys.argv) > 1 else 200
comm = MPI.COMM_WORLD
rng = np.random.default_rng(1)  # the same numbers in all processes

atoms = read_structure("water", supercell=(2, 2, 2))  # 512 molecules
atoms.calc = So3kratesCalculator("so3lr", comm=comm)
atoms.set_momenta(rng.normal(size=(len(atoms), 3)) * np.sqrt(300 * units.kB * atoms.get_masses())[:, None])
dynamics = Langevin(
    atoms, 0.5 * units.fs, temperature_K=300, friction=1e-3 / units.fs, fixcm=False, rng=rng, trajectory="water.traj"
)


def report() -> None:
    """One line about the present step."""
    energy = atoms.get_potential_energy()  # in all processes: they may have to work it out together
    if comm.rank == 0:
        print(f"step {dynamics.nsteps}: {atoms.get_temperature():.0f} K, potential energy {energy:.3f} eV", flush=True)


dynamics.attach(report, interval=max(steps // 10, 1))
start = time.perf_counter()
dynamics.run(steps)
seconds = time.perf_counter() - start
owned = comm.gather(atoms.calc.engine_info().get("halo", {}).get("n_owned", len(atoms)))
if comm.rank == 0:
    print(f"{seconds / steps / len(atoms) * 1e6:.0f} us per atom and step, on {comm.size} processes with {owned} atoms")
