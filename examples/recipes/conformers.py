"""The conformers of a molecule: made by RDKit, relaxed with SO3LR, and weighted by their energies.

python conformers.py SMILES [COUNT]    (default: 100 conformers)

conformers.xyz has what RDKit made, conformers-relaxed.xyz what `so3md relax` made of it, and unique.xyz the conformers
that differ, the lowest first, with their weights at 298.15 K.
"""

import subprocess
import sys

import numpy as np
from ase import Atoms, units
from ase.io import read, write
from rdkit import Chem
from rdkit.Chem import rdDistGeom, rdMolAlign
from rdkit.Geometry import Point3D

smiles = sys.argv[1] if len(sys.argv) > 1 else "CC(C)Cc1ccc(cc1)[C@H](C)C(=O)O"  # ibuprofen
count = int(sys.argv[2]) if len(sys.argv) > 2 else 100
same_energy, same_shape = 0.003, 0.2  # eV and Angstrom: conformers that are nearer are one
temperature = 298.15

molecule = Chem.AddHs(Chem.MolFromSmiles(smiles))
settings = rdDistGeom.ETKDGv3()
settings.randomSeed, settings.numThreads = 1, 0
made = rdDistGeom.EmbedMultipleConfs(molecule, count, settings)
numbers = [atom.GetAtomicNum() for atom in molecule.GetAtoms()]
charge = Chem.GetFormalCharge(molecule)
shapes = [Atoms(numbers, molecule.GetConformer(index).GetPositions(), info={"charge": charge}) for index in made]
write("conformers.xyz", shapes)

subprocess.run(["so3md", "relax", "conformers.xyz", "--all", "--overwrite"], check=False)  # 1: some did not converge
relaxed = read("conformers-relaxed.xyz", ":")

# RDKit compares shapes without the hydrogen atoms of carbon, and knows which atoms are equivalent.
compared = Chem.RWMol(molecule)
compared.RemoveAllConformers()
for atoms in relaxed:
    conformer = Chem.Conformer(len(numbers))
    for index, position in enumerate(atoms.positions):
        conformer.SetAtomPosition(index, Point3D(*position))
    compared.AddConformer(conformer, assignId=True)
carbon_bound = Chem.MolFromSmarts("[#1;$([#1]-[#6])]")
for (index,) in sorted(compared.GetSubstructMatches(carbon_bound, maxMatches=len(numbers)), reverse=True):
    compared.RemoveAtom(index)

energies = np.array([atoms.get_potential_energy() for atoms in relaxed])
found: dict[int, int] = {}  # which conformer -> how many times
for index in np.argsort(energies).tolist():
    near = [other for other in found if energies[index] - energies[other] < same_energy]
    same = (other for other in near if rdMolAlign.GetBestRMS(compared, compared, index, other) < same_shape)
    which = next(same, index)
    found[which] = found.get(which, 0) + 1

unique = list(found)
above = energies[unique] - energies[unique[0]]
weights = np.exp(-above / (units.kB * temperature))
weights /= weights.sum()
print(f"{len(unique)} conformers of {len(relaxed)} that were relaxed")
print("kJ/mol   weight   found")
for index, energy, weight in zip(unique, above, weights, strict=True):
    relaxed[index].info["weight"] = weight
    print(f"{energy / (units.kJ / units.mol):6.2f}   {weight:6.4f}   {found[index]}")
write("unique.xyz", [relaxed[index] for index in unique])
