"""Which properties a structure has."""

from __future__ import annotations

from collections.abc import Sequence

from ase import Atoms
from ase.calculators.calculator import PropertyNotImplementedError


def has_volume(atoms: Atoms) -> bool:
    """Whether a stress is defined: periodic along at least one direction, with three cell vectors."""
    return bool(atoms.pbc.any()) and atoms.cell.rank == 3


def check_defined(properties: Sequence[str], atoms: Atoms) -> None:
    """Raise PropertyNotImplementedError for stresses without a volume."""
    stresses = [name for name in ("stress", "stresses") if name in properties]
    if stresses and not has_volume(atoms):
        raise PropertyNotImplementedError(
            f"{stresses[0]}: expected a periodic structure with three cell vectors, found pbc = {atoms.pbc.tolist()} "
            f"and {atoms.cell.rank} cell vectors"
        )
