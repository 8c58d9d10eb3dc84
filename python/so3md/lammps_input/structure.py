"""A structure as LAMMPS wants it: its cell rotated, a box around molecules, atoms numbered by type; and its data file.

The file is written by ASE, with three things prepared here that ASE leaves to its caller. LAMMPS needs a box along
directions that are not periodic, and cells that are not skewed by more than half a period; ASE's own reduction of the
cell also wraps velocities as if they were positions. Left-handed cells would come out as mirror images. And the
masses belong to types, of which isotopes need one each, where ASE has one for each element.
"""

from __future__ import annotations

import io
from dataclasses import dataclass

import numpy as np
from ase import Atoms
from ase.calculators.lammps import Prism
from ase.data import chemical_symbols
from ase.geometry import complete_cell
from ase.io.lammpsdata import write_lammps_data

from so3md.lammps_input.text import title as first_line

#: Room (Angstrom) left around the atoms along directions that are not periodic.
MARGIN = 5.0


@dataclass(frozen=True)
class LammpsStructure:
    """A structure in LAMMPS's frame of reference.

    atoms: cell and positions (Angstrom) and velocities there; rotation, (3, 3): a vector v of the original structure
    is v @ rotation in LAMMPS; types, (n,), from 1 on; symbols and masses (amu) of the types in turn, by atomic number.

    >>> from so3md.lammps_input import LammpsStructure
    >>> from so3md.structures import read_structure
    >>> water = LammpsStructure.of(read_structure("water"))
    >>> water.symbols, water.boundary
    (['H', 'O'], 'p p p')
    >>> "192 atoms" in water.data_file("water")
    True
    """

    atoms: Atoms
    rotation: np.ndarray
    types: np.ndarray
    symbols: list[str]
    masses: list[float]

    @classmethod
    def of(cls, atoms: Atoms) -> LammpsStructure:
        """Rotate a structure into LAMMPS's frame. Constraints and calculators are left behind.

        Raises ValueError if there are no atoms, or the cell has no vector along a periodic direction, or no volume.
        """
        if not len(atoms):
            raise ValueError("the structure has no atoms, of which LAMMPS needs one at least")
        cell = _whole_cell(atoms)
        prism = Prism(cell, pbc=atoms.pbc)
        rotated = Atoms(
            atoms.numbers,
            atoms.positions @ prism.rot_mat,
            cell=prism.lammps_cell,  # the same lattice as that of the structure, with little skew
            pbc=atoms.pbc,
            masses=atoms.get_masses(),
            charges=atoms.get_initial_charges(),
            info=atoms.info,
        )
        if atoms.has("momenta") and np.any(atoms.get_momenta()):
            rotated.set_momenta(atoms.get_momenta() @ prism.rot_mat)
        _make_room(rotated)
        kinds, indices = np.unique(np.stack([atoms.numbers, atoms.get_masses()]), axis=1, return_inverse=True)
        symbols = [chemical_symbols[int(number)] for number in kinds[0]]
        return cls(rotated, prism.rot_mat, indices.ravel() + 1, symbols, kinds[1].tolist())

    @property
    def boundary(self) -> str:
        """LAMMPS's flags: p for periodic; m for a face that follows atoms outwards, so that none can be lost."""
        return " ".join("p" if periodic else "m" for periodic in self.atoms.pbc)

    @property
    def is_skewed(self) -> bool:
        """Whether LAMMPS needs a triclinic box."""
        return Prism(self.atoms.cell.array).is_skewed()

    @property
    def has_velocities(self) -> bool:
        """Whether the structure came with velocities."""
        return self.atoms.has("momenta")

    def data_file(self, title: str, *, units: str = "metal", atom_style: str = "charge") -> str:
        """The text of a data file for `read_data`; atom_style is atomic, charge or full, title its first line.

        Charges are those that `atoms` has as initial charges, in e.
        """
        atoms = self.atoms.copy()
        atoms.arrays["type"] = self.types
        text = io.StringIO()
        write_lammps_data(
            text,
            atoms,
            specorder=self.symbols,
            velocities=self.has_velocities,
            units=units,
            atom_style=atom_style,
            bonds=False,
        )
        _, body = text.getvalue().split("\n", 1)
        masses = "".join(
            f"{number} {mass:.10g}  # {symbol}\n"
            for number, (symbol, mass) in enumerate(zip(self.symbols, self.masses, strict=True), start=1)
        )
        # LAMMPS compares these units with its own, and takes no others that a title may name
        return f"{first_line(f'units = {units}; {title}')}\n" + body.replace(
            "\nAtoms #", f"\nMasses\n\n{masses}\nAtoms #", 1
        )


def _whole_cell(atoms: Atoms) -> np.ndarray:
    """A right-handed cell: the periodic vectors of the structure, and normal unit vectors in place of the others."""
    cell = atoms.cell.array * atoms.pbc[:, None]
    for axis in np.flatnonzero(atoms.pbc):
        if not cell[axis].any():
            raise ValueError(f"the structure is periodic along cell vector {axis + 1}, which is zero; set the cell")
    cell = complete_cell(cell)
    volume = np.linalg.det(cell)
    if abs(volume) < 1e-8 * np.prod(np.linalg.norm(cell, axis=1)):
        raise ValueError("the cell of the structure has no volume: its vectors lie in a plane")
    return cell if volume > 0 else -cell


def _make_room(atoms: Atoms) -> None:
    """Along directions that are not periodic, have the cell enclose the atoms and the atoms lie in its middle."""
    cell = atoms.cell.array.copy()
    for axis in np.flatnonzero(~atoms.pbc):
        column = atoms.positions[:, axis]
        lowest, extent = column.min(), np.ptp(column)
        atoms.positions[:, axis] += MARGIN - lowest
        cell[axis, axis] = extent + 2 * MARGIN
    atoms.set_cell(cell)
