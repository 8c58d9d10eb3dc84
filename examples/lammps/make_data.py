"""Make the data files of the LAMMPS examples: python examples/lammps/make_data.py, in the root of the repository.

Water: the example that ships with so3md (SO3LR test data, MIT licence). Chloride and argon take the place of one of its
molecules, and everything is relaxed a little. The peptide: alanine-15, folded (SO3LR examples, MIT licence; of this
project's test data). Urea: the published structure of the crystal, written down here.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from ase import Atoms
from ase.optimize import FIRE
from ase.spacegroup import crystal

from so3md import So3kratesCalculator
from so3md.lammps_input import LammpsStructure
from so3md.structures import read_structure

HERE = Path(__file__).parent
PEPTIDE = HERE.parent.parent / "tests" / "data" / "so3lr" / "ala15_folded.npz"


def chloride_in_water() -> Atoms:
    """63 molecules of water and a chloride ion in the place of the first one."""
    atoms = read_structure("water")
    atoms.symbols[0] = "Cl"
    del atoms[[1, 2]]
    atoms.calc = So3kratesCalculator(charge=-1)
    FIRE(atoms, logfile=None).run(fmax=0.5, steps=200)
    return atoms


def argon_in_water() -> Atoms:
    """The same with an argon atom, which SO3LR does not know; it takes part in the relaxation only by its place."""
    atoms = chloride_in_water()
    atoms.symbols[0] = "Ar"
    return atoms


def peptide() -> Atoms:
    """Alanine-15 in vacuum."""
    with np.load(PEPTIDE) as file:
        return Atoms(file["numbers"], file["positions"])


def urea() -> Atoms:
    """A crystal of urea: two molecules, neutron diffraction at 12 K (Swaminathan, Craven and McMullan 1984)."""
    places = {
        "C": (0, 0.5, 0.3260),
        "O": (0, 0.5, 0.5953),
        "N": (0.1459, 0.6459, 0.1766),
        "H": (0.2575, 0.7575, 0.2827),
        "H2": (0.1441, 0.6441, -0.0380),
    }
    symbols = [name[0] for name in places]
    return crystal(symbols, list(places.values()), spacegroup=113, cellpar=[5.565, 5.565, 4.684, 90, 90, 90])


def main() -> None:
    """Write all files."""
    (HERE / "data").mkdir(exist_ok=True)
    structures = {
        "water": (read_structure("water"), "64 molecules of water (SO3LR test data, MIT licence)"),
        "chloride": (chloride_in_water(), "Cl- in 63 molecules of water (from SO3LR test data, MIT licence)"),
        "argon": (argon_in_water(), "Ar in 63 molecules of water (from SO3LR test data, MIT licence)"),
        "peptide": (peptide(), "alanine-15, folded (SO3LR examples, MIT licence)"),
        "urea": (urea(), "urea, space group P-42_1m (Swaminathan et al., Acta Cryst. B 40, 300 (1984))"),
    }
    for name, (atoms, title) in structures.items():
        atoms.positions = atoms.positions.round(4)
        atoms.calc = None
        (HERE / "data" / f"{name}.data").write_text(LammpsStructure.of(atoms).data_file(title), encoding="utf-8")


if __name__ == "__main__":
    main()
