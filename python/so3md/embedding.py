"""Fixed point charges around a structure, such as classical molecules: electrostatic embedding, docs/electrostatics.md.

The charges of the model feel their potential, and they feel that of the model's charges; forces are exact derivatives
with respect to the positions of both.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from ase import Atoms
from ase.calculators.calculator import Calculator, all_changes
from numpy.typing import ArrayLike

from so3md.calculator import So3kratesCalculator
from so3md.charge_and_spin import charge_and_spin_of, checked_number
from so3md.present import present


class Surroundings(NamedTuple):
    """What point charges do at some points: potentials (n,) in V, and fields (n, 3), minus their gradients, in V/A."""

    potentials: np.ndarray
    fields: np.ndarray


class PointCharges:
    """Charges that stay as they are, at positions that the caller decides.

    >>> charges = PointCharges([(0, 0, 10)], [1])
    >>> potentials, fields = charges.at([(0, 0, 0)])
    >>> round(float(potentials[0]), 4), round(float(fields[0, 2]), 5)  # V, V/A
    (1.44, -0.144)

    Parameters:
        positions: (m, 3) in Angstrom.
        charges: (m,) in e.
        width: of Gaussians that stand for the points, in Angstrom: the potential is k q erf(r / width) / r. 0:
            Coulomb's law. See docs/electrostatics.md for when a width is of use.
        cutoff: in Angstrom, beyond which there is nothing; potential and field go to zero there, as those of the
            model's own charges do (docs/theory.md, eq. 36). None: no cutoff. Needed in periodic cells, where the
            nearest image of each charge counts: at most half the smallest height of the cell.
        threads: number of threads of `at`.

    Raises ValueError for arrays of other shapes, numbers that are not finite, and lengths that make no sense.
    """

    def __init__(
        self,
        positions: ArrayLike,
        charges: ArrayLike,
        width: float = 0.0,
        cutoff: float | None = None,
        threads: int = 1,
    ) -> None:
        self.charges = _checked(charges, "charges", "(m,) in e", ndim=1)
        self.positions = _checked(positions, "positions", f"({len(self.charges)}, 3) in Angstrom", ndim=2)
        if self.positions.shape != (len(self.charges), 3):
            raise ValueError(
                f"positions of point charges: expected ({len(self.charges)}, 3), as there are {len(self.charges)} "
                f"charges, found {self.positions.shape}"
            )
        self.width, self.threads = checked_number(width, "width"), threads
        self.cutoff = None if cutoff is None else checked_number(cutoff, "cutoff")
        self.at(np.zeros((0, 3)))  # refuses lengths
        for array in (self.positions, self.charges):
            array.flags.writeable = False  # a calculator would not know

    def __len__(self) -> int:
        return len(self.charges)

    def at(
        self, points: ArrayLike, cell: ArrayLike | None = None, pbc: Sequence[bool] | np.ndarray = (False, False, False)
    ) -> Surroundings:
        """What the charges do at points (n, 3) in Angstrom; cell (3, 3) in Angstrom and pbc are those of the whole.

        Takes a time of n m. Raises ValueError where a charge is at a point, and for a cutoff that does not go with
        the cell.
        """
        return self._between(self.positions, self.charges, points, cell, pbc)

    def forces(
        self,
        points: ArrayLike,
        charges: ArrayLike,
        cell: ArrayLike | None = None,
        pbc: Sequence[bool] | np.ndarray = (False, False, False),
    ) -> np.ndarray:
        """Forces (m, 3) in eV/Angstrom on these charges by charges (n,) in e at points (n, 3)."""
        return self.charges[:, None] * self._between(points, charges, self.positions, cell, pbc).fields

    def _between(self, positions: Any, charges: Any, points: Any, cell: Any, pbc: Any) -> Surroundings:
        from so3md._engine import point_charge_potentials

        cell = np.zeros((3, 3)) if cell is None else np.asarray(cell)
        lengths = self.width, self.cutoff
        return Surroundings(*point_charge_potentials(positions, charges, points, cell, pbc, *lengths, self.threads))


def _checked(values: ArrayLike, name: str, expected: str, ndim: int) -> np.ndarray:
    array = np.array(values, dtype=float)  # a copy
    if array.ndim != ndim and array.size:
        raise ValueError(f"{name} of point charges: expected {expected}, found an array of shape {array.shape}")
    if not np.isfinite(array).all():
        raise ValueError(f"{name} of point charges: expected finite numbers {expected}, found others")
    return array if array.size else array.reshape((0,) if ndim == 1 else (0, 3))


class EmbeddedCalculator(Calculator):
    """A structure among point charges that stay where they are, for ASE: `atoms.calc = EmbeddedCalculator(...)`.

    >>> from ase.build import molecule
    >>> atoms = molecule("H2O")
    >>> atoms.calc = EmbeddedCalculator(So3kratesCalculator(), PointCharges([(0, 0, -3)], [0.5]))
    >>> atoms.get_forces().shape, atoms.calc.get_point_charge_forces(atoms).shape
    ((3, 3), (1, 3))

    calculator: of the atoms; its parameters hold. point_charges: may be replaced, as the attribute of that name.
    Properties: energy and free_energy (eV), that of the atoms and of their charges in the potential, without that
    between the point charges; forces (eV/Angstrom), charges (e). There is no stress: point charges stay where they
    are. Raises ValueError as `So3kratesCalculator.get_embedded` does.
    """

    implemented_properties = ["energy", "free_energy", "forces", "charges"]  # noqa: RUF012 - as ASE declares it

    def __init__(self, calculator: So3kratesCalculator, point_charges: PointCharges) -> None:
        super().__init__()
        self.calculator = calculator
        self.point_charges = point_charges

    @property
    def point_charges(self) -> PointCharges:
        """The charges around the structure."""
        return self._point_charges

    @point_charges.setter
    def point_charges(self, charges: PointCharges) -> None:
        self._point_charges = charges
        self.reset()

    def check_state(self, atoms: Atoms, tol: float = 1e-15) -> list[str]:
        """What differs from the last evaluation: of the structure, its charge and spin, and parameters."""
        changes = super().check_state(atoms, tol)
        if self.atoms is not None and self._settings(atoms) != self._last:
            changes.append("calculator")
        return changes

    def _settings(self, atoms: Atoms) -> tuple[Any, ...]:
        parameters = self.calculator.parameters
        return dict(parameters), charge_and_spin_of(atoms, parameters["charge"], parameters["spin"])

    def calculate(
        self,
        atoms: Atoms | None = None,
        properties: Sequence[str] = ("energy",),
        system_changes: Sequence[str] = tuple(all_changes),
    ) -> None:
        """Evaluate the structure, always with forces."""
        super().calculate(atoms, properties, system_changes)
        structure = present(self.atoms)
        around = self.point_charges.at(structure.positions, structure.cell.array, structure.pbc)
        found = self.calculator.get_embedded(structure, *around)
        self._last = self._settings(structure)
        wanted = ("energy", "forces", "charges")
        self.results = {key: found[key] for key in wanted} | {"free_energy": found["energy"]}

    def get_point_charge_forces(self, atoms: Atoms | None = None) -> np.ndarray:
        """Forces (m, 3) in eV/Angstrom on the point charges by the structure, without those between them."""
        charges = self.get_property("charges", atoms)
        of = present(self.atoms)
        return self.point_charges.forces(of.positions, charges, of.cell.array, of.pbc)
