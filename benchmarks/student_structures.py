"""Structures for a general student: molecules, ions, clusters and boxes of liquids of H C N O F P S Cl, made from what
ASE and RDKit know of molecules. Nothing is read from a file."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import cycle, islice
from math import cbrt

import numpy as np
from ase import Atoms
from ase.build import molecule
from ase.calculators.calculator import Calculator
from ase.data.g2 import molecule_names
from ase.data.s22 import create_s22_system, s22
from ase.optimize import FIRE
from scipy.spatial.distance import cdist

from so3md.charge_and_spin import charge_and_spin_of, set_charge_and_spin

#: Volumes of atoms in liquids near their boiling points (A^3): Le Bas 1915, as cited by Poling, Prausnitz and
#: O'Connell, The Properties of Gases and Liquids, table 4-10, less a tenth for room temperature.
_VOLUMES = {"H": 5.5, "C": 22.0, "N": 18.0, "O": 13.5, "F": 13.0, "P": 36.0, "S": 38.0, "Cl": 32.0}
#: Atoms of different molecules may be so near (A) when a box is filled, at this many times its final volume.
_APART, _ROOMY = 2.1, 3.0
_STEPS_OF_COMPRESSION, _RELAXATION = 12, 4
#: Of ASE's collection, but nothing that SO3LR was made for, or that keeps together.
_UNFIT = {"CH2_s1A1d", "O3", "ClF3", "F2O"}

#: Functional groups of organic and biological chemistry, by name.
SMILES = {
    # amino acids between an acetyl group and N-methyl amide; those with charged groups in both states
    "glycine": "CC(=O)NCC(=O)NC",
    "alanine": "CC(=O)N[C@@H](C)C(=O)NC",
    "valine": "CC(=O)N[C@@H](C(C)C)C(=O)NC",
    "isoleucine": "CC(=O)N[C@@H]([C@@H](C)CC)C(=O)NC",
    "proline": "CC(=O)N1CCC[C@H]1C(=O)NC",
    "serine": "CC(=O)N[C@@H](CO)C(=O)NC",
    "threonine": "CC(=O)N[C@@H]([C@H](O)C)C(=O)NC",
    "cysteine": "CC(=O)N[C@@H](CS)C(=O)NC",
    "methionine": "CC(=O)N[C@@H](CCSC)C(=O)NC",
    "phenylalanine": "CC(=O)N[C@@H](Cc1ccccc1)C(=O)NC",
    "tyrosine": "CC(=O)N[C@@H](Cc1ccc(O)cc1)C(=O)NC",
    "tryptophan": "CC(=O)N[C@@H](Cc1c[nH]c2ccccc12)C(=O)NC",
    "asparagine": "CC(=O)N[C@@H](CC(N)=O)C(=O)NC",
    "aspartate": "CC(=O)N[C@@H](CC([O-])=O)C(=O)NC",
    "glutamic acid": "CC(=O)N[C@@H](CCC(O)=O)C(=O)NC",
    "histidine": "CC(=O)N[C@@H](Cc1c[nH]cn1)C(=O)NC",
    "histidinium": "CC(=O)N[C@@H](Cc1c[nH]c[nH+]1)C(=O)NC",
    "lysine": "CC(=O)N[C@@H](CCCC[NH3+])C(=O)NC",
    "arginine": "CC(=O)N[C@@H](CCCNC(N)=[NH2+])C(=O)NC",
    "dialanine": "CC(=O)N[C@@H](C)C(=O)N[C@@H](C)C(=O)NC",
    "disulfide": "CC(=O)NCCSSCCNC(C)=O",
    # nucleobases, sugars, phosphates, lipids
    "adenine": "Cn1cnc2c(N)ncnc12",
    "guanine": "Cn1cnc2C(=O)NC(N)=Nc12",
    "cytosine": "CN1C=CC(N)=NC1=O",
    "thymine": "CN1C=C(C)C(=O)NC1=O",
    "deoxyribose": "CO[C@@H]1C[C@H](O)[C@@H](CO)O1",
    "glucose": "OC[C@H]1O[C@@H](O)[C@H](O)[C@@H](O)[C@@H]1O",
    "dimethyl phosphate": "COP(=O)([O-])OC",
    "methyl phosphate": "COP(=O)(O)O",
    "trimethyl phosphate": "COP(=O)(OC)OC",
    "phosphocholine": "COP(=O)([O-])OCC[N+](C)(C)C",
    "glyceryl diacetate": "CC(=O)OCC(CO)OC(C)=O",
    "methyl pentanoate": "CCCCC(=O)OC",
    # phosphorus, sulfur, fluorine and chlorine
    "trimethylphosphine": "CP(C)C",
    "trimethylphosphine oxide": "CP(C)(C)=O",
    "phenylphosphonic acid": "OP(=O)(O)c1ccccc1",
    "dimethyl methylphosphonothioate": "COP(C)(=S)OC",
    "dimethyl sulfone": "CS(C)(=O)=O",
    "methanesulfonamide": "CNS(C)(=O)=O",
    "benzenesulfonamide": "NS(=O)(=O)c1ccccc1",
    "methanesulfonate": "CS(=O)(=O)[O-]",
    "methyl sulfate": "COS(=O)(=O)[O-]",
    "thiazole": "Cc1nccs1",
    "thiourea": "CNC(=S)NC",
    "thioanisole": "CSc1ccccc1",
    "dimethyl disulfide": "CSSC",
    "thioacetate": "CC(=O)SC",
    "methanethiolate": "C[S-]",
    "fluorobenzene": "Fc1ccccc1",
    "trifluorotoluene": "FC(F)(F)c1ccccc1",
    "trifluoroethanol": "OCC(F)(F)F",
    "hexafluoropropane": "FC(F)(F)CC(F)(F)F",
    "perfluoropropane": "FC(F)(F)C(F)(F)C(F)(F)F",
    "trifluoroacetic acid": "OC(=O)C(F)(F)F",
    "chlorobenzene": "Clc1ccccc1",
    "dichlorobenzene": "Clc1ccccc1Cl",
    "chlorofluorophenol": "Oc1ccc(F)cc1Cl",
    "dichloroethane": "ClCCCl",
    "trichloroethanol": "OCC(Cl)(Cl)Cl",
    "chloroacetamide": "NC(=O)CCl",
    "chlorothiophene": "Clc1cccs1",
    "chloropyridine": "Clc1cccnc1",
    # drugs and what they are made of
    "aspirin": "CC(=O)Oc1ccccc1C(=O)O",
    "paracetamol": "CC(=O)Nc1ccc(O)cc1",
    "caffeine": "Cn1cnc2c1c(=O)n(C)c(=O)n2C",
    "salicylate": "Oc1ccccc1C([O-])=O",
    "benzimidazole": "c1ccc2[nH]cnc2c1",
    "quinoline": "c1ccc2ncccc2c1",
    "morpholine": "C1COCCN1C",
    "piperazine": "CN1CC[NH2+]CC1",
    "piperidine": "C1CCNCC1",
    "pyrimidine": "Nc1ncccn1",
    "pyrazole": "Cn1cccn1",
    "triazole": "Cn1ccnn1",
    "tetrazole": "Cc1nnn[nH]1",
    "isoxazole": "Cc1ccon1",
    "oxazole": "Cc1cnco1",
    "aniline": "Nc1ccccc1",
    "anisole": "COc1ccccc1",
    "benzonitrile": "N#Cc1ccccc1",
    "nitrobenzene": "[O-][N+](=O)c1ccccc1",
    "benzaldehyde": "O=Cc1ccccc1",
    "benzamidine": "NC(=[NH2+])c1ccccc1",
    "biphenyl": "c1ccc(cc1)-c1ccccc1",
    "naphthalene": "c1ccc2ccccc2c1",
    "styrene": "C=Cc1ccccc1",
    "phenylacetylene": "C#Cc1ccccc1",
    "azobenzene part": "CN=Nc1ccccc1",
    "hydrazide": "CC(=O)NN",
    "oxime": "CC(C)=NO",
    "hydroxamic acid": "CC(=O)NO",
    "carbamate": "CNC(=O)OC",
    "urea": "CNC(=O)NC",
    "carbonate": "COC(=O)OC",
    "lactam": "O=C1CCN1",
    "lactone": "O=C1CCCO1",
    "enone": "CC(=O)C=C",
    "epoxide": "CC1CO1",
    "imine": "CC=NC",
    "azide": "CCN=[N+]=[N-]",
    "isocyanate": "CN=C=O",
    "thiocyanate": "CSC#N",
    "nitromethane": "CC[N+](=O)[O-]",
    "amine oxide": "C[N+](C)(C)[O-]",
    "peroxide": "COOC",
    # hydrocarbons, ethers and alcohols
    "hexane": "CCCCCC",
    "cyclohexane": "C1CCCCC1",
    "neopentane": "CC(C)(C)C",
    "toluene": "Cc1ccccc1",
    "isoprene": "CC(=C)C=C",
    "dimethoxyethane": "COCCOC",
    "tetrahydrofuran": "C1CCOC1",
    "glycol": "OCCO",
    "glycerol": "OCC(O)CO",
    "phenol": "Oc1ccccc1",
    "phenolate": "[O-]c1ccccc1",
    "tert-butanol": "CC(C)(C)O",
    "acetylacetone": "CC(=O)C=C(C)O",
    "dimethylformamide": "CN(C)C=O",
    "N-methylacetamide": "CC(=O)NC",
    # small ions
    "acetate": "CC([O-])=O",
    "ammonium": "[NH4+]",
    "methylammonium": "C[NH3+]",
    "tetramethylammonium": "C[N+](C)(C)C",
    "guanidinium": "NC(N)=[NH2+]",
    "imidazolium": "Cn1cc[nH+]c1",
    "dihydrogen phosphate": "OP(=O)(O)[O-]",
    "hydronium": "[OH3+]",
    "hydroxide": "[OH-]",
    "chloride": "[Cl-]",
    "fluoride": "[F-]",
    "nitrate": "[O-][N+](=O)[O-]",
    "hydrogen carbonate": "OC(=O)[O-]",
}

#: Liquids, alone; names are those of `SMILES`, or of ASE's collection g2.
LIQUIDS = (
    *("CH3OH", "CH3CH2OH", "CH3CN", "C2H6SO", "CH3COCH3", "HCCl3", "C6H6", "CH3COOH", "NH3"),
    *("dimethylformamide", "N-methylacetamide", "tetrahydrofuran", "hexane", "trimethyl phosphate"),
    *("trifluoroethanol", "fluorobenzene", "dimethyl disulfide", "chlorobenzene", "C5H5N"),
)
#: In water.
SOLUTES = (
    *("alanine", "lysine", "aspartate", "arginine", "histidine", "tryptophan", "cysteine", "acetate"),
    *("ammonium", "imidazolium", "chloride", "hydroxide", "hydronium", "dimethyl phosphate", "phosphocholine"),
    *("adenine", "guanine", "glucose", "methanesulfonate", "chlorofluorophenol", "CH3OH", "CH3CN"),
)
ATOMS_OF_BOX, WATERS = 100, 30
_BOXES_OF_WATER, _CLUSTERS_OF_WATER, _DIMERS = 8, 6, 40


def small_molecules() -> dict[str, Atoms]:
    """Those of ASE's collection g2 with SO3LR's elements, no unpaired electrons and more than two atoms."""
    found = {name: molecule(name) for name in molecule_names if name not in _UNFIT}
    return {
        name: atoms
        for name, atoms in found.items()
        if set(atoms.symbols) <= _VOLUMES.keys() and not atoms.get_initial_magnetic_moments().any() and len(atoms) > 2
    }


def conformers(seed: int) -> dict[str, Atoms]:
    """One conformer of each of `SMILES` by RDKit's distance geometry, with its charge; none without RDKit."""
    try:
        from rdkit import Chem
        from rdkit.Chem import AllChem
    except ImportError:
        print("without RDKit: molecules of ASE only (pip install rdkit)", flush=True)
        return {}
    found = {}
    for name, text in SMILES.items():
        mol = Chem.AddHs(Chem.MolFromSmiles(text))
        if AllChem.EmbedMolecule(mol, randomSeed=seed) != 0:
            raise RuntimeError(f"RDKit finds no conformer of {name}, {text}")
        symbols = [atom.GetSymbol() for atom in mol.GetAtoms()]
        found[name] = Atoms(symbols, mol.GetConformer().GetPositions())
        set_charge_and_spin(found[name], Chem.GetFormalCharge(mol), 0.0)
    return found


def relax(atoms: Atoms, teacher: Calculator, steps: int) -> None:
    """Bring atoms nearer to a minimum of the energy."""
    atoms.calc = teacher
    FIRE(atoms, logfile=None, dt=0.05, maxstep=0.1).run(fmax=0.2, steps=steps)
    atoms.calc = None


def turned(atoms: Atoms, rng: np.random.Generator) -> Atoms:
    """A copy with its centre at the origin and in any orientation."""
    rotation, _ = np.linalg.qr(rng.standard_normal((3, 3)))
    rotation *= np.sign(np.linalg.det(rotation))  # no mirror image
    result = atoms.copy()
    result.positions = (atoms.positions - atoms.positions.mean(axis=0)) @ rotation
    return result


def box(parts: list[Atoms], teacher: Calculator, rng: np.random.Generator, periodic: bool = True) -> Atoms:
    """Molecules in a cube of about the density of a liquid, or in a cluster: put in at random where there is plenty of
    room, then brought together bit by bit."""
    volume = sum(_VOLUMES[symbol] for part in parts for symbol in part.symbols)
    edge = cbrt(volume * _ROOMY)
    whole = Atoms(cell=[edge] * 3, pbc=periodic)
    owners: list[int] = []
    for number, part in enumerate(sorted(parts, key=len, reverse=True)):
        whole += _placed(part, whole, rng)
        owners += [number] * len(part)
    set_charge_and_spin(whole, sum(charge_and_spin_of(part).charge for part in parts), 0.0)
    shrink = cbrt(1 / _ROOMY) ** (1 / _STEPS_OF_COMPRESSION)
    for _ in range(_STEPS_OF_COMPRESSION):
        whole.cell *= shrink
        for number in range(len(parts)):
            own = np.equal(owners, number)
            whole.positions[own] += (shrink - 1) * whole.positions[own].mean(axis=0)
        relax(whole, teacher, _RELAXATION)
    if not periodic:
        whole.cell = None
    return whole


def _placed(part: Atoms, whole: Atoms, rng: np.random.Generator) -> Atoms:
    """The molecule somewhere in the box, away from those that are there."""
    edge = whole.cell[0, 0]
    for _ in range(10_000):
        new = turned(part, rng)
        new.positions += edge * rng.random(3)
        separation = new.positions[:, None] - whole.positions
        if whole.pbc.all():
            separation -= edge * np.round(separation / edge)
        if np.linalg.norm(separation, axis=2).min(initial=np.inf) > _APART:
            return new
    raise RuntimeError(f"no room for {part.get_chemical_formula()} in a box of {edge:.3g} A")


def dimer(first: Atoms, second: Atoms, rng: np.random.Generator) -> Atoms:
    """Two molecules in any orientation, as near as their nearest atoms may be."""
    first, second = turned(first, rng), turned(second, rng)
    direction = rng.standard_normal(3)
    direction /= np.linalg.norm(direction)
    while cdist(first.positions, second.positions).min() < _APART:
        second.positions += 0.1 * direction
    charge = sum(charge_and_spin_of(part).charge for part in (first, second))
    first += second
    set_charge_and_spin(first, charge, 0.0)
    return first


def make_structures(teacher: Calculator, seed: int) -> Iterator[tuple[str, str, Atoms]]:
    """Kind, name and structure of each, relaxed by a few steps."""
    rng = np.random.default_rng(seed)
    small, large = small_molecules(), conformers(seed)
    for kind, found in (("small molecules", small), ("molecules and ions", large)):
        for name, atoms in found.items():
            relax(atoms, teacher, 50)
            if len(atoms) > 1:
                yield kind, name, atoms
    known = small | large
    for name in s22:
        atoms = create_s22_system(name)
        yield "clusters", name, atoms
    names = list(known)
    for first, second in zip(rng.choice(names, _DIMERS), islice(cycle(["H2O", *names[::7]]), _DIMERS), strict=True):
        pair = dimer(known[first], known[second], rng)
        relax(pair, teacher, 20)
        yield "clusters", f"{first}, {second}", pair
    for size in range(4, 4 + 2 * _CLUSTERS_OF_WATER, 2):
        yield "clusters", f"{size} H2O", box([known["H2O"]] * size, teacher, rng, periodic=False)
    for number in range(_BOXES_OF_WATER):
        yield "water", f"box {number}", box([known["H2O"]] * (WATERS + 2 * number), teacher, rng)
    for name in LIQUIDS:
        if name in known:
            count = max(2, round(ATOMS_OF_BOX / len(known[name])))
            yield "liquids", name, box([known[name]] * count, teacher, rng)
    for name in SOLUTES:
        if name in known:
            yield "solutions", name, box([known[name], *[known["H2O"]] * WATERS], teacher, rng)
