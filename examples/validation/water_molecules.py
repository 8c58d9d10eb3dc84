"""Water and its dimer: geometry, harmonic vibrations, dipoles and binding energy.

python water_molecules.py [--output FILE]    (seconds)
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import numpy as np
from ase import Atoms, units
from ase.build import molecule
from ase.data.s22 import create_s22_system
from ase.optimize import BFGS
from ase.vibrations import Vibrations
from outcome import RESULTS, write_result

from so3md import So3kratesCalculator

KCAL = units.kcal / units.mol


def relaxed(atoms: Atoms) -> Atoms:
    """The structure at its minimum, as a molecule without any cutoff of electrostatics."""
    atoms.calc = So3kratesCalculator(precision="double")
    if not BFGS(atoms, logfile=None).run(fmax=1e-4, steps=2000):
        raise SystemExit(f"{atoms.get_chemical_formula()} did not relax")
    return atoms


def frequencies(atoms: Atoms) -> list[float]:
    """Harmonic ones, in 1/cm, ascending, without the six of translation and rotation, which are nearest to zero."""
    with tempfile.TemporaryDirectory() as folder:
        vibrations = Vibrations(atoms, name=f"{folder}/vibrations")
        vibrations.run()
        found = vibrations.get_frequencies()
    signed = np.where(np.abs(found.imag) > np.abs(found.real), -np.abs(found.imag), found.real)
    return sorted(signed[np.argsort(np.abs(signed))[6:]].tolist())


def zero_point(wavenumbers: list[float]) -> float:
    """Harmonic energy in eV."""
    return 0.5 * sum(wavenumbers) * units.invcm


def dipole(atoms: Atoms) -> float:
    """In debye."""
    return float(np.linalg.norm(atoms.get_dipole_moment()) / units.Debye)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=RESULTS / "water_molecules.json")
    output = parser.parse_args().output

    water = relaxed(molecule("H2O"))
    dimer = relaxed(create_s22_system("Water_dimer"))
    of_water, of_dimer = frequencies(water), frequencies(dimer)
    binding = 2 * water.get_potential_energy() - dimer.get_potential_energy()
    record = {
        "molecule": {
            "bond_A": float(water.get_distance(0, 1)),
            "angle_degrees": float(water.get_angle(1, 0, 2)),
            "dipole_D": dipole(water),
            "bend_per_cm": of_water[0],
            "symmetric_stretch_per_cm": of_water[1],
            "antisymmetric_stretch_per_cm": of_water[2],
        },
        "dimer": {
            "binding_kcal_per_mol": binding / KCAL,
            "dissociation_kcal_per_mol": (binding - zero_point(of_dimer) + 2 * zero_point(of_water)) / KCAL,
            "oxygen_distance_A": float(dimer.get_distance(*np.flatnonzero(dimer.numbers == 8))),
            "dipole_D": dipole(dimer),
            "frequencies_per_cm": of_dimer,
        },
    }
    for name, values in record.items():
        for key, value in values.items():
            print(name, key, value if isinstance(value, list) else f"{value:.4f}")
    write_result(output, record)


if __name__ == "__main__":
    main()
