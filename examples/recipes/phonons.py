"""Phonons of a molecular crystal, urea, by phonopy: frequencies, heat capacity, entropy, free energy.

python phonons.py [CELLS]

CELLS (default 2): how many cells make the supercell, along each direction. It needs phonopy (pip install phonopy).
"""

import sys

import numpy as np
from ase import Atoms
from ase.filters import FrechetCellFilter
from ase.optimize import BFGS
from ase.spacegroup import crystal
from phonopy import Phonopy
from phonopy.structure.atoms import PhonopyAtoms

from so3md import So3kratesCalculator, evaluate_many

cells = int(sys.argv[1]) if len(sys.argv) > 1 else 2

places = {
    "C": (0, 0.5, 0.3260),
    "O": (0, 0.5, 0.5953),
    "N": (0.1459, 0.6459, 0.1766),
    "H": (0.2575, 0.7575, 0.2827),
    "H2": (0.1441, 0.6441, -0.0380),
}
symbols = [name[0] for name in places]
urea = crystal(symbols, list(places.values()), spacegroup=113, cellpar=[5.565, 5.565, 4.684, 90, 90, 90])
urea.calc = So3kratesCalculator(precision="double")
BFGS(FrechetCellFilter(urea), logfile=None).run(fmax=1e-3, steps=300)
urea.write("urea_relaxed.xyz")
print("cell:", " ".join(f"{length:.3f}" for length in urea.cell.lengths()), "A")

unit = PhonopyAtoms(symbols=urea.get_chemical_symbols(), cell=urea.cell, scaled_positions=urea.get_scaled_positions())
phonons = Phonopy(unit, supercell_matrix=[cells] * 3, primitive_matrix=np.eye(3))
phonons.generate_displacements(distance=0.01)
displaced = [
    Atoms(cell.symbols, positions=cell.positions, cell=cell.cell, pbc=True)
    for cell in phonons.supercells_with_displacements
]
phonons.forces = [prediction.forces for prediction in evaluate_many(displaced, precision="double")]
phonons.produce_force_constants()
phonons.symmetrize_force_constants()
print(f"{len(displaced)} displacements of {len(displaced[0])} atoms")

CM = 33.35641  # 1 THz
at_gamma = phonons.run_qpoints([[0, 0, 0]]).frequencies[0] * CM
print("at Gamma (cm^-1):", " ".join(f"{value:.1f}" for value in at_gamma))

phonons.run_mesh([8, 8, 8])
phonons.run_thermal_properties(t_min=100, t_max=300, t_step=100)
thermal = phonons.thermal_properties
for row in zip(thermal.temperatures, thermal.free_energy, thermal.entropy, thermal.heat_capacity, strict=True):
    print("{:.0f} K: F {:.2f} kJ/mol, S {:.1f} J/mol/K, Cv {:.1f} J/mol/K of cells".format(*row))
