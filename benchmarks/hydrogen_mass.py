"""What heavier hydrogens are good for: the fluctuation of the total energy in NVE over time steps, with both masses.

    python benchmarks/hydrogen_mass.py

Molecules from the same start at 300 K, in a single time step of SO3LR. The fluctuation is the standard deviation of the
total energy about a line through it, in meV; a run that ends before its time has none. Energies do not depend on how
fast the machine is. Written to results/hydrogen_mass.json.
"""

from __future__ import annotations

import argparse
import json
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from ase import units
from ase.build import molecule
from ase.md.verlet import VelocityVerlet

from so3md import So3kratesCalculator
from so3md.dynamics import Settings
from so3md.dynamics.ensembles import draw_velocities
from so3md.structures.hydrogen_mass import repartition

RESULT = Path(__file__).parent / "results" / "hydrogen_mass.json"
MOLECULES, MASSES, STEPS = ("CH3CH2OH", "CH3CONH2"), (None, 2.0, 3.0), (0.5, 1.0, 1.5, 2.0)
LARGEST_CHANGE = 5.0  # eV: after it, the run has ended


def main() -> None:
    """Run and report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--picoseconds", type=float, default=1.0)
    parser.add_argument("--output", type=Path, default=RESULT)
    options = parser.parse_args()
    found: list[dict[str, Any]] = []
    for name in MOLECULES:
        for mass in MASSES:
            for step in STEPS:
                row = {"molecule": name, "hydrogen_mass_u": mass, "timestep_fs": step}
                found.append(row | {"fluctuation_meV": fluctuation(name, mass, step, options.picoseconds)})
                print(json.dumps(found[-1]), flush=True)
    result = {"length_ps": options.picoseconds, "so3md": version("so3md"), "runs": found}
    options.output.parent.mkdir(exist_ok=True)
    options.output.write_text(json.dumps(result, indent=2) + "\n")


def fluctuation(name: str, mass: float | None, step: float, picoseconds: float) -> float | None:
    """Of the total energy (meV)."""
    atoms = molecule(name)
    if mass is not None:
        repartition(atoms, mass)
    atoms.calc = So3kratesCalculator(precision="double", threads=1)
    draw_velocities(atoms, Settings(temperature=300), np.random.default_rng(1))
    driver = VelocityVerlet(atoms, step * units.fs)
    energies = [atoms.get_total_energy()]
    for _ in range(round(picoseconds * 1e3 / step)):
        driver.step()
        energies.append(atoms.get_total_energy())
        if not abs(energies[-1] - energies[0]) < LARGEST_CHANGE:
            return None
    line = np.polynomial.Polynomial.fit(np.arange(len(energies)), energies, 1)
    return float(1e3 * np.std(energies - line(np.arange(len(energies)))))


if __name__ == "__main__":
    main()
