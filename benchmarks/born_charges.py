"""Born charges of SO3LR: what the charge that flows adds in liquid water, and molecules in a periodic box.

    python benchmarks/born_charges.py

In `double`, within minutes. Prints everything and writes results/born_charges.json.
"""

from __future__ import annotations

import datetime
import json
from pathlib import Path

import numpy as np
from ase import Atoms
from ase.build import molecule
from machine import describe_machine

from so3md import So3kratesCalculator
from so3md.structures import read_structure

RESULTS = Path(__file__).parent / "results" / "born_charges.json"
BOX = 30.0  # A
MOLECULES = ("H2O", "NH3", "CH3CH2OH")


def calculator() -> So3kratesCalculator:
    return So3kratesCalculator(precision="double")


def rms(values: np.ndarray) -> float:
    return float(np.sqrt((values**2).mean()))


def of_liquid_water() -> dict[str, dict[str, float]]:
    """Means over atoms of an element: of the charges, and of the Born charges (a third of the trace), in e."""
    atoms = read_structure("water")
    atoms.calc = calculator()
    charges = atoms.get_charges()
    born = np.trace(atoms.calc.get_born_charges(atoms), axis1=1, axis2=2) / 3
    elements = np.array(atoms.get_chemical_symbols())
    return {
        element: {"charge": float(charges[elements == element].mean()), "born": float(born[elements == element].mean())}
        for element in ("O", "H")
    }


def in_a_box(atoms: Atoms) -> dict[str, float]:
    """Born charges of a molecule, and their change where it stands alone in a periodic box: root mean squares, e."""
    alone = calculator().get_born_charges(atoms)
    boxed = atoms.copy()
    boxed.set_cell([BOX] * 3)
    boxed.pbc = True
    return {"born": rms(alone), "change": rms(calculator().get_born_charges(boxed) - alone)}


def main() -> None:
    """Evaluate all, print and write it."""
    contents = {
        "date": datetime.date.today().isoformat(),
        "machine": describe_machine(),
        "liquid_water": of_liquid_water(),
        "box": BOX,
        "molecules": {name: in_a_box(molecule(name)) for name in MOLECULES},
    }
    print(json.dumps(contents, indent=2))
    RESULTS.write_text(json.dumps(contents, indent=2) + "\n")


if __name__ == "__main__":
    main()
