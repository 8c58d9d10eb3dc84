"""Hydrogen mass repartitioning: heavier hydrogens, and as much less mass in the atoms that they are bound to.

Averages over positions do not depend on masses, vibrations of hydrogen become slower, and longer time steps are stable
(Feenstra, Hess and Berendsen, J. Comput. Chem. 20, 786 (1999)). What depends on time does change.
"""

from __future__ import annotations

import warnings

import numpy as np
from ase import Atoms
from ase.data import atomic_masses, chemical_symbols, covalent_radii

from so3md.limits import Limits
from so3md.structure_checks import atom_name

HYDROGEN = float(atomic_masses[1])
#: Of the mass that hydrogens get (u). More than these makes methane's carbon lighter than its hydrogens.
HYDROGEN_MASS = Limits(HYDROGEN, 4.0, "u")
#: The longest bond, in sums of covalent radii: that of a hot water molecule is 1.2 of them, a hydrogen bond 1.7.
_LONGEST_BOND = 1.4
_MOST_NAMED = 3


def repartition(atoms: Atoms, hydrogen_mass: float) -> None:
    """Give hydrogens this mass (u), at the expense of the nearest heavy atom within a bond; the total stays.

    Hydrogens without such an atom, as those of H2, keep their mass, with a warning. Where atoms have velocities, these
    change so that each atom keeps its kinetic energy: what was drawn for a temperature still is.

    Raises ValueError for a mass that is out of range, isotopes of hydrogen or of what it is bound to, and an atom that
    would be left lighter than its hydrogens.

    >>> from ase.build import molecule
    >>> water = molecule("H2O")
    >>> repartition(water, 3.0)
    >>> water.get_masses().round(3).tolist()
    [12.015, 3.0, 3.0]
    """
    hydrogen_mass = HYDROGEN_MASS.checked("hydrogen_mass", hydrogen_mass)
    hydrogens, owners = _bound_hydrogens(atoms)
    _refuse_isotopes(atoms, np.union1d(np.flatnonzero(atoms.numbers == 1), owners))
    before = atoms.get_masses()
    after = before.copy()
    after[hydrogens] = hydrogen_mass
    counts = np.bincount(owners, minlength=len(atoms))
    after -= counts * (hydrogen_mass - HYDROGEN)
    light = np.flatnonzero((counts > 0) & (after < hydrogen_mass))
    if len(light):
        atom = int(light[0])
        most = (before[atom] + counts[atom] * HYDROGEN) / (1 + counts[atom])
        raise ValueError(
            f"hydrogen_mass {hydrogen_mass:g} u: {atom_name(atoms, atom)} with {counts[atom]} hydrogens would be left "
            f"with {after[atom]:.3g} u; expected at most {most:.3g} u"
        )
    momenta = atoms.get_momenta() * np.sqrt(after / before)[:, None] if atoms.has("momenta") else None
    atoms.set_masses(after)
    if momenta is not None:
        atoms.set_momenta(momenta)
    _warn_of_free(atoms, np.setdiff1d(np.flatnonzero(atoms.numbers == 1), hydrogens))


def _bound_hydrogens(atoms: Atoms) -> tuple[np.ndarray, np.ndarray]:
    """Hydrogens that have a heavy atom within a bond, and the nearest of these."""
    from ase.neighborlist import neighbor_list

    radii = _LONGEST_BOND * covalent_radii[atoms.numbers]
    first, second, distance = neighbor_list("ijd", atoms, radii)
    bond = (atoms.numbers[first] == 1) & (atoms.numbers[second] != 1)
    first, second, distance = first[bond], second[bond], distance[bond]
    order = np.lexsort((second, distance, first))
    hydrogens, nearest = np.unique(first[order], return_index=True)
    return hydrogens, second[order][nearest]


def _refuse_isotopes(atoms: Atoms, concerned: np.ndarray) -> None:
    masses = atoms.get_masses()
    other = concerned[masses[concerned] != atomic_masses[atoms.numbers[concerned]]]
    if len(other):
        atom = int(other[0])
        raise ValueError(
            f"hydrogen_mass: {atom_name(atoms, atom)} has a mass of {masses[atom]:g} u already, and that of "
            f"{chemical_symbols[atoms.numbers[atom]]} is {atomic_masses[atoms.numbers[atom]]:g} u; leave out "
            "hydrogen_mass (--hmr) to keep the masses of the structure, or take them out of it"
        )


def _warn_of_free(atoms: Atoms, free: np.ndarray) -> None:
    if not len(free):
        return
    named = ", ".join(atom_name(atoms, int(index)) for index in free[:_MOST_NAMED])
    more = f" and {len(free) - _MOST_NAMED} more" if len(free) > _MOST_NAMED else ""
    warnings.warn(
        f"hydrogen_mass: {named}{more}, without a heavier atom within a bond, keep {HYDROGEN:g} u: they limit the time "
        "step as before",
        stacklevel=4,
    )
