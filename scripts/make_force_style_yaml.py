"""Write tests/data/lammps/so3krates.yaml and its data file: what LAMMPS must find for pair_style so3krates.

    python scripts/make_force_style_yaml.py

The YAML has the form of LAMMPS's unittest/force-styles, whose test program can read it. LAMMPS itself would write its
own numbers into such a file; these come from the ASE calculator in double precision, at the structure of the data file
(init_...) and after four steps of velocity Verlet with LAMMPS's constants (run_...), so that the test compares two
programs. The structure: ethanol and six molecules of water in a small triclinic box, moving.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date
from pathlib import Path

import numpy as np
from ase import Atoms, units
from ase.build import molecule
from ase.data import chemical_symbols
from ase.io.lammpsdata import read_lammps_data
from ase.optimize import FIRE

from so3md import So3kratesCalculator
from so3md.dynamics import Settings
from so3md.dynamics.ensembles import draw_velocities
from so3md.lammps_input import LammpsStructure

TARGET = Path(__file__).parent.parent / "tests" / "data" / "lammps"
#: LAMMPS's constants in metal units: 1 / (amu A^2/ps^2 in eV), and the time step of in.so3krates in ps.
FORCE_TO_ACCELERATION, TIMESTEP, STEPS = 1 / 1.0364269e-4, 0.0005, 4
#: Largest relative difference of a single component of a force; the smallest components are some 1e-3 of the largest.
EPSILON = 1e-9

HEAD = """\
---
lammps_version: 22 Jul 2025
date_generated: {date}
epsilon: {epsilon:g}
prerequisites: ! |
  pair so3krates
pre_commands: ! ""
post_commands: ! ""
input_file: in.so3krates
pair_style: so3krates so3lr precision double
pair_coeff: ! |
  * * {elements}
extract: ! ""
natoms: {natoms}
"""


def mixture() -> Atoms:
    """Ethanol and water on the eight places of a grid, relaxed a little, with velocities of 300 K."""
    rng = np.random.default_rng(7)
    atoms = Atoms(cell=[[7.6, 0, 0], [0.9, 7.2, 0], [-0.7, 0.5, 7.0]], pbc=True)
    places = [(i, j, k) for i in range(2) for j in range(2) for k in range(2)]
    for name, place in zip(["CH3CH2OH"] + 6 * ["H2O"], places[:1] + places[2:], strict=True):
        guest = molecule(name)
        guest.euler_rotate(*rng.uniform(0, 360, size=3))
        guest.positions += (np.array(place) / 2 + 0.25) @ atoms.cell.array - guest.positions.mean(axis=0)
        atoms += guest
    atoms.calc = So3kratesCalculator()
    FIRE(atoms, logfile=None).run(fmax=1.0, steps=300)
    draw_velocities(atoms, Settings(temperature=300), rng)
    atoms.calc = None
    return atoms


def results(atoms: Atoms, label: str) -> str:
    """Energies, virial and forces of a structure, in the form of the YAML."""
    virial = -atoms.get_stress(voigt=False) * atoms.get_volume()
    components = virial[(0, 1, 2, 0, 0, 1), (0, 1, 2, 1, 2, 2)]  # xx yy zz xy xz yz
    coulomb = atoms.calc.get_energy_components()["electrostatics"]
    forces = "".join(f"  {i:3d} {numbers(force)}\n" for i, force in enumerate(atoms.get_forces(), start=1))
    return (
        f"{label}_vdwl: {atoms.get_potential_energy() - coulomb:.15g}\n{label}_coul: {coulomb:.15g}\n"
        f"{label}_stress: ! |2-\n  {numbers(components)}\n"
        f"{label}_forces: ! |2\n{forces}"
    )


def numbers(values: Iterable[float]) -> str:
    """Numbers in a row, to the last digit."""
    return " ".join(f"{value:23.16e}" for value in values)


def run(atoms: Atoms) -> None:
    """Move the atoms by velocity Verlet; velocities in A/ps."""
    velocities = atoms.get_velocities() * 1e3 * units.fs
    kick = 0.5 * TIMESTEP * FORCE_TO_ACCELERATION / atoms.get_masses()[:, None]
    for _ in range(STEPS):
        velocities += kick * atoms.get_forces()
        atoms.positions += TIMESTEP * velocities
        velocities += kick * atoms.get_forces()


def write_yaml(data_file: Path) -> None:
    """Write the YAML for the structure in the data file."""
    atoms = read_lammps_data(data_file)
    elements = " ".join(chemical_symbols[z] for z in sorted(set(atoms.numbers.tolist())))
    head = HEAD.format(date=date.today(), epsilon=EPSILON, elements=elements, natoms=len(atoms))
    atoms.calc = So3kratesCalculator(precision="double")
    initial = results(atoms, "init")
    run(atoms)
    (TARGET / "so3krates.yaml").write_text(head + initial + results(atoms, "run") + "...\n", encoding="utf-8")


def main() -> None:
    """Write both files."""
    data_file = TARGET / "data.so3krates"
    title = "ethanol and six molecules of water"
    data_file.write_text(LammpsStructure.of(mixture()).data_file(title), encoding="utf-8")
    write_yaml(data_file)


if __name__ == "__main__":
    main()
