"""Ions and radicals: total charge and total spin S, as parameters or in atoms.info.

python charge_and_spin.py
"""

from ase import Atoms
from ase.build import molecule
from ase.optimize import BFGS

from so3md import So3kratesCalculator

calculator = So3kratesCalculator()  # reads atoms.info["charge"] and atoms.info["spin"]


def relax(atoms: Atoms, charge: int = 0, spin: float = 0) -> float:
    """Relax a structure; returns its energy (eV)."""
    atoms.info = {"charge": charge, "spin": spin}
    atoms.calc = calculator
    BFGS(atoms, logfile=None).run(fmax=0.01, steps=500)
    return atoms.get_potential_energy()


# An ion: how strongly acetate binds a molecule of water (0.7 eV in experiment).
acetate = molecule("CH3COOH")
del acetate[3]  # the proton
water = molecule("H2O")
apart = relax(acetate, charge=-1) + relax(water)
print(f"acetate: the charges of its oxygen atoms are {acetate.get_charges()[[1, 2]].round(2)} e")
water.rotate(180, "x")
water.translate(acetate.positions[[1, 2]].sum(axis=0) / 2 - water.positions[0] + [-1.5, 2.0, 0.0])
binding = apart - relax(acetate + water, charge=-1)
print(f"acetate: it binds water with {binding:.2f} eV")

# A radical: spin is S, half the number of unpaired electrons. Carbene has a triplet ground state (0.4 eV).
singlet, triplet = relax(molecule("CH2_s1A1d")), relax(molecule("CH2_s3B1d"), spin=1)
print(f"carbene: the triplet is {singlet - triplet:.2f} eV below the singlet")
