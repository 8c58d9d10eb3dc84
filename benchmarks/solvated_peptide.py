"""A peptide in a periodic box of water, from RDKit and the package's own water."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from ase import Atoms
from ase.geometry import get_distances

from so3md.structures import read_structure

#: Water with an atom closer than this (A) to one of the peptide is left out.
CLOSEST = 2.4


def peptide(sequence: str, seed: int) -> Atoms:
    """Without charged groups, in a conformation by RDKit's distance geometry. Raises SystemExit without RDKit."""
    try:
        from rdkit import Chem
        from rdkit.Chem import AllChem
    except ImportError:
        raise SystemExit("a peptide needs RDKit: pip install rdkit") from None
    molecule = Chem.AddHs(Chem.MolFromSequence(sequence))
    if AllChem.EmbedMolecule(molecule, randomSeed=seed, useRandomCoords=True) != 0:
        raise SystemExit(f"{sequence}: RDKit finds no conformation")
    AllChem.MMFFOptimizeMolecule(molecule, maxIters=2000)
    numbers = [atom.GetAtomicNum() for atom in molecule.GetAtoms()]
    return Atoms(numbers, molecule.GetConformer().GetPositions())


def solvated_peptide(sequence: str, supercell: Sequence[int], seed: int = 1) -> Atoms:
    """In the middle of copies of the package's box of water, its longest side along the longest edge."""
    solute = peptide(sequence, seed)
    water = read_structure("water", supercell=tuple(supercell))
    centred = solute.positions - solute.positions.mean(axis=0)
    order = np.argsort(np.argsort(-water.cell.lengths()))  # the first axis of the peptide is its longest
    rotation = np.linalg.svd(centred)[2].T[:, order]
    rotation[:, 0] *= np.sign(np.linalg.det(rotation))  # no mirror image
    solute.positions = centred @ rotation + water.cell.sum(axis=0) / 2
    apart = get_distances(water.positions, solute.positions, cell=water.cell, pbc=True)[1].min(axis=1)
    molecules = apart.reshape(-1, 3).min(axis=1)  # atoms of a molecule stand together
    whole = solute + water[np.repeat(molecules > CLOSEST, 3)]
    whole.set_cell(water.cell)
    whole.pbc = True
    return whole
