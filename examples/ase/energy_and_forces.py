"""Energy, forces, charges and dipole of a molecule.

python energy_and_forces.py
"""

from ase.build import molecule

from so3md import So3kratesCalculator

atoms = molecule("CH3CH2OH")
atoms.calc = So3kratesCalculator("so3lr")

# SO3LR's energies have an arbitrary constant for each atom; only differences have a meaning.
print(f"energy          {atoms.get_potential_energy():.6f} eV")
for name, value in atoms.calc.get_energy_components(atoms).items():
    print(f"  {name:14s}{value:.6f} eV")
print(f"largest force   {abs(atoms.get_forces()).max():.4f} eV/A")
print(f"dipole          {atoms.get_dipole_moment().round(4)} e A")
for symbol, charge, ratio in zip(atoms.symbols, atoms.get_charges(), atoms.calc.get_hirshfeld_ratios(), strict=True):
    print(f"  {symbol:2s} charge {charge:+.3f} e, Hirshfeld ratio {ratio:.3f}")
