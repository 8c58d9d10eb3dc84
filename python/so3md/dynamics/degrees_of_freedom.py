"""How many degrees of freedom share the kinetic energy, and along which directions the total momentum is conserved.

Not whether there are constraints matters, but what they do: rods between atoms and springs between two of them leave
the total momentum alone; fixed atoms and springs to points in space exchange it with the rest of the world.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from ase import Atoms
from ase.constraints import (
    ExternalForce,
    FixAtoms,
    FixBondLengths,
    FixCartesian,
    FixedMode,
    FixInternals,
    Hookean,
    MirrorForce,
    MirrorTorque,
)

from so3md.structures.constraints import fixed_directions

#: Constraints that are not for dynamics, and why.
_UNFIT = {
    MirrorForce: "it is made for the search of transition states, not for dynamics",
    MirrorTorque: "it is made for the search of transition states, not for dynamics",
    ExternalForce: "ASE would add its force to the momenta at each step as well, so that it is not for dynamics",
}

#: Part of a momentum that counts as changed by a constraint; far above rounding errors.
_CHANGED = 1e-8


def conserved_directions(atoms: Atoms) -> np.ndarray:
    """(k, 3): orthonormal directions along which forces leave the total momentum as it is, and in which no constraint
    makes it zero already. Raises ValueError for constraints that are not for dynamics."""
    refuse_unfit_constraints(atoms)
    if not atoms.constraints:
        return np.eye(3)
    masses = atoms.get_masses()
    changes = []
    for direction in np.eye(3):
        momenta = masses[:, None] * direction
        changes.append(_constrained(atoms, momenta) - momenta)
    rows = [np.stack(changes, axis=-1).reshape(-1, 3) / masses.max()]
    rows += [normals for constraint in atoms.constraints if (normals := _pulling(constraint)) is not None]
    # Directions without any change: the null space of these rows.
    _, sizes, directions = np.linalg.svd(np.concatenate(rows), full_matrices=False)
    return directions[sizes < _CHANGED]


def free_directions(atoms: Atoms) -> int:
    """The number of directions in which the momenta can be: three for each atom, without what constraints remove."""
    refuse_unfit_constraints(atoms)
    fixed = fixed_directions(atoms)
    others = [item for item in atoms.constraints if not isinstance(item, FixAtoms | FixCartesian)]
    return 3 * len(atoms) - int(fixed.sum()) - sum(_removed(item, atoms, fixed) for item in others)


def refuse_unfit_constraints(atoms: Atoms) -> None:
    """Raise ValueError for constraints with which ASE's dynamics makes no sense."""
    for constraint in atoms.constraints:
        for kind, reason in _UNFIT.items():
            if isinstance(constraint, kind):
                raise ValueError(f"constraint {kind.__name__}: {reason}; remove it")
        if isinstance(constraint, FixedMode) and _moves_different_masses(constraint, atoms):
            raise ValueError(
                "constraint FixedMode: ASE does not conserve the energy with it where atoms of different masses move; "
                "remove it"
            )


def _moves_different_masses(constraint: FixedMode, atoms: Atoms) -> bool:
    moving = np.reshape(constraint.mode, (len(atoms), 3)).any(axis=1)
    return len(np.unique(atoms.get_masses()[moving])) > 1


def _constrained(atoms: Atoms, momenta: np.ndarray) -> np.ndarray:
    """What the constraints leave of momenta."""
    result = momenta.copy()
    for constraint in atoms.constraints:
        if not isinstance(constraint, Hookean):  # has nothing to say of momenta
            constraint.adjust_momenta(atoms, result)
    return result


def _pulling(constraint: Any) -> np.ndarray | None:
    """Directions of a force from outside that a constraint adds."""
    if not isinstance(constraint, Hookean):
        return None
    anchor = constraint.todict()["kwargs"]["a2"]
    if np.ndim(anchor) == 0:  # the other atom
        return None
    if len(anchor) == 3:  # a point
        return np.eye(3)
    normal = np.array(anchor[:3], dtype=float)  # of a plane a x + b y + c z + d = 0
    return normal[None] / np.linalg.norm(normal)


def _removed(constraint: Any, atoms: Atoms, fixed: np.ndarray) -> int:
    if isinstance(constraint, FixBondLengths):
        movable = np.logical_not(fixed.all(axis=1))
        pairs = np.unique(np.sort(constraint.pairs, axis=1), axis=0)
        return int(np.count_nonzero(movable[pairs].any(axis=1)))
    if isinstance(constraint, FixedMode):
        return 1  # ASE says: as many as atoms
    if isinstance(constraint, FixInternals):
        return int(constraint.n) + _rigid_motions(atoms)  # it also stops the molecule as a whole, which ASE leaves out
    try:
        return int(constraint.get_removed_dof(atoms))
    except NotImplementedError:
        return _trace_removed(constraint, atoms)


def _rigid_motions(atoms: Atoms) -> int:
    """Translations and rotations of a molecule: 6, 5 if it is linear, 3 for one atom."""
    apart = atoms.positions - atoms.positions.mean(axis=0)
    rank = np.linalg.matrix_rank(apart, tol=1e-6)
    return 3 + min(3, 2 * int(rank)) if rank < 2 else 6


def _trace_removed(constraint: Any, atoms: Atoms) -> int:
    """The same for any projection, by applying it: three times for each atom."""
    kept = 0.0
    for index in np.ndindex(len(atoms), 3):
        momenta = np.zeros((len(atoms), 3))
        momenta[index] = 1
        constraint.adjust_momenta(atoms, momenta)
        kept += float(momenta[index])
    return 3 * len(atoms) - round(kept)
