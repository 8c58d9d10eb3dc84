"""Acetylacetone far from 300 K, with labels like those of its training set: structures, and PBE-D3 by PySCF.

    python benchmarks/paper/acac_far.py generate

The enol is turned about the bond next to its carbonyl group, which breaks the hydrogen bond, and moves at 600 K. Both
are done by SO3LR, which knows nothing of the models that are tested. Labels: PBE, D3 with the damping of Becke and
Johnson, def2-SVP, which is what the training set has, as its own structures show (`difference_of_labels`).
Units: A, eV, eV/A, degrees.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from ase import Atoms, units
from ase.calculators.singlepoint import SinglePointCalculator
from ase.constraints import FixInternals
from ase.io import read
from ase.md.langevin import Langevin
from ase.md.velocitydistribution import thermalize_momenta
from ase.neighborlist import natural_cutoffs, neighbor_list
from ase.optimize import BFGS
from scipy.sparse import csr_matrix
from scipy.sparse.csgraph import connected_components

from so3md import So3kratesCalculator

FILE = Path(__file__).parent / "data" / "acac_far.xyz"
TORSIONS = np.arange(0.0, 181.0, 30.0)  # degrees
TEMPERATURE, HOT = 600.0, 12  # K, structures
_TIMESTEP, _FRICTION = 0.5 * units.fs, 0.01 / units.fs
_EQUILIBRATION, _INTERVAL = 2000, 1000  # steps
#: The training set's order of atoms: the central CH, both carbons beside it, and their oxygens.
_CENTRE, _SIDES, _OXYGENS = 1, (0, 2), (5, 3)
_HYDROGENS = slice(7, 15)
_SCF_TOLERANCE, _GRID = 1e-9, 3  # Hartree, and PySCF's number of a grid


def relaxed(start: Atoms) -> Atoms:
    """The minimum of SO3LR."""
    atoms = Atoms(start.symbols, positions=start.positions)
    atoms.calc = So3kratesCalculator("so3lr", threads=1)
    BFGS(atoms, logfile=None).run(fmax=0.005, steps=500)
    return atoms


def torsion_of(minimum: Atoms) -> list[int]:
    """The four atoms whose torsion breaks the hydrogen bond: the carbon atom with the hydroxyl group, the central one,
    the carbonyl's, and its oxygen."""
    distances = [minimum.get_distances(oxygen, range(len(minimum))[_HYDROGENS]).min() for oxygen in _OXYGENS]
    hydroxyl = int(np.argmin(distances))
    return [_SIDES[hydroxyl], _CENTRE, _SIDES[1 - hydroxyl], _OXYGENS[1 - hydroxyl]]


def turned(minimum: Atoms) -> Iterator[Atoms]:
    """The structures of the scan: each relaxed with its torsion held, from the one before."""
    atoms, chosen = minimum.copy(), torsion_of(minimum)
    moved = _beyond(minimum, chosen)
    for torsion in TORSIONS:
        atoms.set_constraint()
        atoms.set_dihedral(*chosen, torsion, indices=moved)
        atoms.set_constraint(FixInternals(dihedrals_deg=[[torsion, chosen]]))
        atoms.calc = So3kratesCalculator("so3lr", threads=1)
        BFGS(atoms, logfile=None).run(fmax=0.02, steps=300)
        yield Atoms(atoms.symbols, positions=atoms.positions, info={"kind": "torsion", "torsion": float(torsion)})


def _beyond(minimum: Atoms, chosen: list[int]) -> list[int]:
    """The atoms on the far side of the bond in the middle of a torsion."""
    near, far = chosen[1:3]
    i, j = neighbor_list("ij", minimum, natural_cutoffs(minimum, mult=1.2))
    kept = ~(np.isin(i, [near, far]) & np.isin(j, [near, far]))
    bonds = csr_matrix((np.ones(kept.sum()), (i[kept], j[kept])), shape=(len(minimum), len(minimum)))
    _, part = connected_components(bonds)
    return list(np.flatnonzero(part == part[far]))


def hot(minimum: Atoms) -> Iterator[Atoms]:
    """Structures of Langevin dynamics of SO3LR at 600 K."""
    atoms, random = minimum.copy(), np.random.default_rng(600)
    atoms.calc = So3kratesCalculator("so3lr", threads=1)
    thermalize_momenta(atoms, temperature_K=2 * TEMPERATURE, rng=random)
    dynamics = Langevin(atoms, _TIMESTEP, temperature_K=TEMPERATURE, friction=_FRICTION, fixcm=False, rng=random)
    dynamics.run(_EQUILIBRATION)
    for _ in range(HOT):
        dynamics.run(_INTERVAL)
        yield Atoms(atoms.symbols, positions=atoms.positions, info={"kind": "600 K"})


def labelled(atoms: Atoms) -> Atoms:
    """A copy with energy and forces of PBE-D3, for positions as the file will have them."""
    from pyscf import dft, gto  # needed to make the data, with pyscf-dispersion, and not to use them

    result = atoms.copy()
    result.positions = np.round(result.positions, 4)
    places = list(zip(result.symbols, result.positions, strict=True))
    method = dft.RKS(gto.M(atom=places, basis="def2-svp", verbose=0)).density_fit()
    method.xc, method.disp, method.conv_tol, method.grids.level = "PBE", "d3bj", _SCF_TOLERANCE, _GRID
    energy = method.kernel()
    if not method.converged:
        raise RuntimeError(f"the electrons of {atoms.info} have not converged")
    gradient = method.nuc_grad_method()
    gradient.grid_response = True
    forces = -gradient.kernel() * units.Hartree / units.Bohr
    result.calc = SinglePointCalculator(result, energy=energy * units.Hartree, forces=np.round(forces, 4))
    return result


def difference_of_labels(training: Path, index: int) -> dict[str, float]:
    """How far a label of this method is from that of the training set: energy (meV) and forces (meV/A)."""
    theirs = read(training, index)
    own = labelled(theirs)
    difference = own.get_forces() - theirs.get_forces()
    return {
        "energy_meV": 1e3 * float(own.get_potential_energy() - theirs.get_potential_energy()),
        "forces_mae_meV_per_A": 1e3 * float(np.abs(difference).mean()),
        "forces_rmse_meV_per_A": 1e3 * float(np.sqrt(np.square(difference).mean())),
    }
