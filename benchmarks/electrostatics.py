"""What the cutoff of electrostatics and dispersion costs: molecules, the S22 dimers, liquid water, a molecular crystal.

    python benchmarks/electrostatics.py

Evaluates and relaxes with SO3LR in double precision at several cutoffs, prints tables and writes
results/electrostatics.json, from which docs/electrostatics.md has its figures (scripts/figures.py). No times are taken,
so that the machine may do other work.

S22: geometries of Jurecka, Sponer, Cerny and Hobza, PCCP 8, 1985 (2006); energies, CCSD(T) at the limit of the basis,
of Takatani, Hohenstein, Malagoli, Marshall and Sherrill, J. Chem. Phys. 132, 144104 (2010); both as in ase.data.s22.
Urea: the neutron structure at 12 K of Swaminathan, Craven and McMullan, Acta Cryst. B 40, 300 (1984).
"""

from __future__ import annotations

import datetime
import json
from importlib.metadata import version
from pathlib import Path
from typing import Any

import click
import numpy as np
from ase import Atoms
from ase.build import molecule
from ase.data.s22 import create_s22_system, get_interaction_energy_cc, get_number_of_dimer_atoms, s22
from ase.filters import FrechetCellFilter
from ase.optimize import BFGS
from ase.spacegroup import crystal
from ase.units import Ang, GPa, bar, kcal, kJ, mol
from ase.vibrations import Vibrations
from machine import source_commit
from rich.console import Console
from rich.table import Table

from so3md import So3kratesCalculator, evaluate_many
from so3md.structures import read_structure

RESULTS = Path(__file__).parent / "results" / "electrostatics.json"

#: Of molecules; None: no cutoff.
CUTOFFS = (12.0, 20.0, 50.0, None)
S22_CUTOFFS = (12.0, None)
#: Of periodic systems; EWALD, the sum over all images, is what the others are compared with.
EWALD = "ewald"
PERIODIC_CUTOFFS = (10.0, 12.0, 16.0, 20.0, 30.0, EWALD)
#: Of dispersion, with its tail and without it.
DISPERSION_CUTOFFS = (8.0, 10.0, 12.0, 16.0, 20.0, 30.0, 40.0)

Record = dict[str, Any]


def calculator(cutoff: float | str | None) -> So3kratesCalculator:
    """With a cutoff of both terms, or with EWALD and the model's cutoff of dispersion."""
    if cutoff == EWALD:
        return So3kratesCalculator(coulomb=EWALD, precision="double")
    return So3kratesCalculator(lr_cutoff=cutoff, precision="double")


def of_molecule(cutoff: float | str) -> float | None:
    """The cutoff of the molecule to compare with: none beside EWALD."""
    return None if cutoff == EWALD else cutoff


def relaxed(atoms: Atoms, cutoff: float | None, fmax: float = 1e-4) -> Atoms:
    """A copy at its minimum, with the calculator."""
    atoms = atoms.copy()
    atoms.calc = calculator(cutoff)
    if not BFGS(atoms, logfile=None).run(fmax=fmax, steps=2000):
        raise SystemExit(f"{atoms.get_chemical_formula()} did not relax with the cutoff {cutoff}")
    return atoms


# --- molecules --------------------------------------------------------------------------------------------------------


def water_of(cutoff: float | None, folder: Path) -> Record:
    """The molecule and the dimer of water at their minima."""
    water = relaxed(molecule("H2O"), cutoff)
    dimer = relaxed(create_s22_system("Water_dimer"), cutoff)
    vibrations = Vibrations(water, name=str(folder / f"vibrations-{cutoff}"))
    vibrations.run()
    binding = dimer.get_potential_energy() - 2 * water.get_potential_energy()
    return {
        "cutoff_A": cutoff,
        "dimer_kcal_per_mol": binding / (kcal / mol),
        "oxygen_distance_A": float(dimer.get_distance(*[atom.index for atom in dimer if atom.symbol == "O"])),
        "bond_A": float(water.get_distance(0, 1)),
        "angle_degrees": float(water.get_angle(1, 0, 2)),
        "stretches_per_cm": sorted(vibrations.get_frequencies().real.tolist())[-2:],
    }


def s22_of(name: str) -> Record:
    """The interaction energy of a dimer as it is: its energy less that of both molecules in their places."""
    dimer = create_s22_system(name)
    first, _ = get_number_of_dimer_atoms(name)
    energies = {}
    for cutoff in S22_CUTOFFS:
        whole, one, other = evaluate_many(
            [dimer, dimer[:first], dimer[first:]], lr_cutoff=cutoff, precision="double", forces=False
        )
        energies[str(cutoff)] = (whole.energy - one.energy - other.energy) / (kcal / mol)
    reference = get_interaction_energy_cc(name) / (kcal / mol)
    return {"dimer": name.replace("_", " "), "ccsd_t": reference, "by_cutoff": energies}


def deviations(dimers: list[Record]) -> dict[str, Record]:
    """Cutoff -> mean and mean absolute deviation from CCSD(T), and the largest, in kcal/mol."""
    result = {}
    for cutoff in map(str, S22_CUTOFFS):
        values = np.array([dimer["by_cutoff"][cutoff] - dimer["ccsd_t"] for dimer in dimers])
        worst = int(np.abs(values).argmax())
        result[cutoff] = {
            "mean": float(values.mean()),
            "mean_absolute": float(np.abs(values).mean()),
            "largest": float(values[worst]),
            "largest_of": dimers[worst]["dimer"],
        }
    return result


# --- periodic systems -------------------------------------------------------------------------------------------------


def liquid_water() -> list[Record]:
    """64 molecules as they are. Energies are per molecule, against relaxed molecules at the same cutoff."""
    atoms = read_structure("water")
    molecules = len(atoms) // 3
    found = {}
    for cutoff in PERIODIC_CUTOFFS:
        atoms.calc = calculator(cutoff)
        forces, stress = atoms.get_forces(), atoms.get_stress(voigt=False)
        alone = relaxed(molecule("H2O"), of_molecule(cutoff)).get_potential_energy()
        energy = atoms.get_potential_energy() / molecules - alone
        found[cutoff] = forces, energy, -np.trace(stress) / 3 / GPa
    full = found[EWALD][0]
    return [
        {
            "cutoff_A": cutoff,
            "energy_kJ_per_mol": energy / (kJ / mol),
            "virial_pressure_GPa": pressure,
            "force_rms_eV_per_A": float(np.sqrt(np.mean(forces**2))),
            "force_difference_rms_eV_per_A": float(np.sqrt(np.mean((forces - full) ** 2))),
        }
        for cutoff, (forces, energy, pressure) in found.items()
    ]


def urea() -> Atoms:
    """The crystal, two molecules in a cell."""
    places = [
        (0.0, 0.5, 0.3260),
        (0.0, 0.5, 0.5953),
        (0.1459, 0.6459, 0.1766),
        (0.2575, 0.7575, 0.2827),
        (0.1441, 0.6441, -0.0380),
    ]
    return crystal("CONHH", places, spacegroup=113, cellpar=[5.565, 5.565, 4.684, 90, 90, 90])


def urea_of(cutoff: float | str) -> Record:
    """The crystal at its minimum, cell and all. The lattice energy is per molecule, against the relaxed molecule."""
    atoms = urea()
    atoms.calc = calculator(cutoff)
    if not BFGS(FrechetCellFilter(atoms), logfile=None).run(fmax=2e-3, steps=1000):
        raise SystemExit(f"urea did not relax with the cutoff {cutoff}")
    free = molecule_of_urea()
    alone = {
        "same": relaxed(free, of_molecule(cutoff)).get_potential_energy(),
        "none": relaxed(free, None).get_potential_energy(),
    }
    energy = atoms.get_potential_energy() / 2
    a, b, c = atoms.cell.lengths()
    return {
        "cutoff_A": cutoff,
        "lattice_energy_kJ_per_mol": (energy - alone["same"]) / (kJ / mol),
        "lattice_energy_of_mixed_cutoffs_kJ_per_mol": (energy - alone["none"]) / (kJ / mol),
        "a_A": float((a + b) / 2 / Ang),
        "c_A": float(c / Ang),
        "volume_A3": float(atoms.get_volume()),
    }


def molecule_of_urea() -> Atoms:
    """A molecule of the crystal, not planar, so that it finds its minimum."""
    atoms = urea()
    near = [i for i in range(len(atoms)) if atoms.get_distance(0, i, mic=True) < 2.6]
    # Molecules of the crystal do not overlap within this distance of their carbon atoms.
    if sorted(atoms[near].get_chemical_symbols()) != sorted("COHHHHNN"):
        raise SystemExit(f"expected one molecule of urea, found {atoms[near].get_chemical_formula()}")
    vectors = atoms.get_distances(0, near, mic=True, vector=True)
    free = Atoms(atoms[near].get_chemical_symbols(), vectors)
    free.rattle(0.02, seed=1)
    return free


def dispersion_of(atoms: Atoms, molecules: int) -> list[Record]:
    """Energy of dispersion per molecule, and pressure, by cutoff; beside the full sum of charges."""
    rows = []
    for cutoff in DISPERSION_CUTOFFS:
        row: Record = {"cutoff_A": cutoff}
        for name, tail in (("", False), ("_with_tail", True)):
            atoms.calc = So3kratesCalculator(coulomb=EWALD, precision="double", lr_cutoff=cutoff, dispersion_tail=tail)
            pressure = -float(np.trace(atoms.get_stress(voigt=False))) / 3
            energy = atoms.calc.get_energy_components(atoms)["dispersion"] / molecules
            row |= {f"energy{name}_kJ_per_mol": energy / (kJ / mol), f"virial_pressure{name}_bar": pressure / bar}
        rows.append(row)
    return rows


# --- all of it --------------------------------------------------------------------------------------------------------


def report_of(folder: Path) -> Record:
    dimers = [s22_of(name) for name in s22]
    return {
        "benchmark": "energies and structures of SO3LR at several long-range cutoffs",
        "date": datetime.date.today().isoformat(),
        "commit": source_commit(),
        "versions": {"so3md": version("so3md"), "ase": version("ase")},
        "model": "so3lr",
        "precision": "double",
        "water": [water_of(cutoff, folder) for cutoff in CUTOFFS],
        "s22": dimers,
        "s22_deviations": deviations(dimers),
        "liquid_water": liquid_water(),
        "urea": [urea_of(cutoff) for cutoff in PERIODIC_CUTOFFS],
        "dispersion": {
            "liquid_water": dispersion_of(water := read_structure("water"), len(water) // 3),
            "urea": dispersion_of(urea(), 2),
        },
    }


def print_rows(title: str, rows: list[Record]) -> None:
    table = Table(*rows[0], title=title)
    for row in rows:
        table.add_row(*(f"{value:.4f}" if isinstance(value, float) else str(value) for value in row.values()))
    Console(width=160).print(table)


@click.command(help=__doc__.splitlines()[0])
@click.option("--output", type=click.Path(path_type=Path), default=RESULTS, show_default=True)
def main(output: Path) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        report = report_of(Path(folder))
    for name in ("water", "s22", "liquid_water", "urea"):
        print_rows(name, report[name])
    for name, rows in report["dispersion"].items():
        print_rows(f"dispersion of {name}", rows)
    output.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
