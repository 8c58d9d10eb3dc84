"""Lattice energies and cells of molecular crystals, relaxed with all images of the charges and the tail of dispersion.

python crystals.py [NAME ...] [--data crystals.json] [--output FILE]    (minutes)

A crystal that the results have already is not calculated again. Crystals of your own go into a file like crystals.json:
space group (and setting), cell, one atom of each kind by fractional coordinates. The lattice energy is that of a
molecule in the crystal, less that of the free molecule, both at their minima; vibrations are not in it.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms, units
from ase.filters import FrechetCellFilter
from ase.neighborlist import NeighborList, build_neighbor_list, natural_cutoffs
from ase.optimize import BFGS
from ase.spacegroup import crystal
from outcome import RESULTS, write_result
from scipy.sparse.csgraph import connected_components

from so3md import So3kratesCalculator

KJ = units.kJ / units.mol
#: Of crystals: all images of the charges, and dispersion beyond its cutoff.
WHOLE = {"coulomb": "ewald", "dispersion_tail": True}


def build(entry: dict[str, Any]) -> Atoms:
    """The crystal of an entry of the data file."""
    symbols = [name.rstrip("0123456789") for name in entry["atoms"]]
    return crystal(
        symbols,
        list(entry["atoms"].values()),
        spacegroup=entry["spacegroup"],
        setting=entry.get("setting", 1),
        cellpar=entry["cell"],
        symprec=5e-3,
    )


def pieces(atoms: Atoms) -> tuple[NeighborList, np.ndarray]:
    """Bonds, and for each atom the number of the molecule that they make."""
    bonds = build_neighbor_list(atoms, natural_cutoffs(atoms, mult=1.1), self_interaction=False, bothways=True)
    return bonds, connected_components(bonds.get_connectivity_matrix())[1]


def molecules(atoms: Atoms) -> tuple[int, Atoms]:
    """How many molecules the cell has, and one of them, not symmetric, so that it finds its minimum."""
    bonds, which = pieces(atoms)
    number = int(which.max()) + 1
    formulas = {str(atoms[which == k].symbols.formula.reduce()[0]) for k in range(number)}
    if len(formulas) > 1 or len({int(count) for count in np.bincount(which)}) > 1:
        raise SystemExit(f"expected molecules that are alike, found {', '.join(sorted(formulas))}")
    places = {0: atoms.positions[0]}  # in one piece: from bond to bond
    waiting = [0]
    while waiting:
        here = waiting.pop()
        for there, offset in zip(*bonds.get_neighbors(here), strict=True):
            if int(there) not in places:
                bond = atoms.positions[there] + offset @ atoms.cell.array - atoms.positions[here]
                places[int(there)] = places[here] + bond
                waiting.append(int(there))
    free = Atoms(atoms.symbols[list(places)], list(places.values()))
    free.rattle(0.02, seed=1)
    return number, free


def relaxed(atoms: Atoms, fmax: float, cell: bool = True) -> Atoms:
    """The structure at its minimum: a crystal with its cell, or in it."""
    periodic = atoms.pbc.all()
    atoms.calc = So3kratesCalculator(precision="double", **(WHOLE if periodic else {}))
    target = FrechetCellFilter(atoms) if periodic and cell else atoms
    if not BFGS(target, logfile=None).run(fmax=fmax, steps=1000):
        raise SystemExit(f"{atoms.get_chemical_formula()} did not relax")
    return atoms


def result_of(entry: dict[str, Any], fmax: float) -> dict[str, Any]:
    """Lattice energies (kJ/mol), volume (Angstrom^3, per molecule) and cell of a crystal."""
    atoms = build(entry)
    number, free = molecules(atoms)
    alone = relaxed(free, fmax / 10).get_potential_energy()
    atoms.calc = So3kratesCalculator(precision="double", **WHOLE)
    start = {
        "volume_at_the_start_A3": atoms.get_volume() / number,
        "cell_at_the_start": atoms.cell.cellpar().tolist(),
        "energy_at_the_start_kJ_per_mol": (atoms.get_potential_energy() / number - alone) / KJ,
    }
    held = relaxed(atoms, fmax, cell=False).get_potential_energy() / number
    energy = relaxed(atoms, fmax).get_potential_energy() / number
    return {
        "molecules": number,
        "lattice_energy_kJ_per_mol": (energy - alone) / KJ,
        "lattice_energy_in_the_measured_cell_kJ_per_mol": (held - alone) / KJ,
        "volume_A3": atoms.get_volume() / number,
        "molecules_at_the_end": int(pieces(atoms)[1].max()) + 1,
        **start,
        "cell": atoms.cell.cellpar().tolist(),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help="default: all of the data file")
    parser.add_argument("--data", type=Path, default=Path(__file__).parent / "crystals.json")
    parser.add_argument("--fmax", type=float, default=2e-3, help="largest force left, eV/A")
    parser.add_argument("--output", type=Path, default=RESULTS / "crystals.json")
    options = parser.parse_args()
    entries = json.loads(options.data.read_text(encoding="utf-8"))
    done = json.loads(options.output.read_text(encoding="utf-8"))["crystals"] if options.output.exists() else {}
    names = options.names or list(entries)
    for number, name in enumerate(names, start=1):
        if name not in done:
            done[name] = result_of(entries[name], options.fmax)
        found = done[name]
        print(
            f"{number} of {len(names)}, {name}: {found['lattice_energy_kJ_per_mol']:.1f} kJ/mol, "
            f"{found['volume_A3']:.2f} A^3 per molecule",
            flush=True,
        )
        write_result(options.output, {"crystals": done})


if __name__ == "__main__":
    main()
