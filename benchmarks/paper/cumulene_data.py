"""Cumulene chains C_n H_4 with energies and forces of GFN2-xTB: geometries, the labels by tblite, and the data files.

    python benchmarks/paper/cumulenes.py generate

Units: A, eV, eV/A, degrees. The electrons have a temperature (see ELECTRONIC_TEMPERATURE), so "energy" is the free
energy of the electrons, of which the forces are the derivative.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from ase import Atoms
from ase.calculators.calculator import Calculator
from ase.calculators.singlepoint import SinglePointCalculator
from ase.data import atomic_numbers
from ase.io import read, write

DATA = Path(__file__).parent / "data"
LENGTHS = (3, 4, 5, 6, 7, 8, 9)
#: A closed shell has a cusp in its torsion profile where the two frontier orbitals cross (at 90 degrees if n is even,
#: at 0 if n is odd). Electrons of this temperature (K) round it off, so that a smooth function can follow it.
ELECTRONIC_TEMPERATURE = 2000.0
#: Standard deviation of the displacements of each coordinate in the training data, in A: bonds move as at 300 K.
DISPLACEMENT = 0.03
CONFIGURATIONS = 200  # of each length
PROFILE = np.arange(0.0, 181.0, 5.0)  # degrees


def chain(n: int, torsion: float = 0.0) -> Atoms:
    """A straight chain along z with typical bond lengths, atoms 0..n-1 carbon, then two H at either end."""
    cc, ch, angle = 1.28, 1.09, np.radians(121.0)
    z = cc * np.arange(n)
    positions = [(0.0, 0.0, height) for height in z]
    for end, outwards, azimuth in ((0, -1, 0.0), (n - 1, 1, np.radians(torsion))):
        for turn in (azimuth, azimuth + np.pi):
            radius, height = ch * np.sin(angle), -ch * np.cos(angle)
            positions.append((radius * np.cos(turn), radius * np.sin(turn), z[end] + outwards * height))
    return Atoms("C" * n + "H4", positions=positions)


def measured_torsion(atoms: Atoms) -> float:
    """Angle in [0, 180) between the H-H axes of the two ends, seen along the chain."""
    n, r = len(atoms) - 4, atoms.positions
    axis = (r[n - 1] - r[0]) / np.linalg.norm(r[n - 1] - r[0])
    first, second = (d - axis * (d @ axis) for d in (r[n + 1] - r[n], r[n + 3] - r[n + 2]))
    return float(np.degrees(np.arctan2(np.cross(first, second) @ axis, first @ second)) % 180.0)


def turned(atoms: Atoms, angle: float) -> Atoms:
    """A copy with the last CH2 turned by an angle in degrees about the axis of the chain."""
    result, n = atoms.copy(), len(atoms) - 4
    end = Atoms("H2", positions=atoms.positions[n + 2 :])
    end.rotate(angle, atoms.positions[n - 1] - atoms.positions[0], center=atoms.positions[n - 1])
    result.positions[n + 2 :] = end.positions
    return result


def relaxed(n: int) -> Atoms:
    """The minimum: planar if n is even, ends perpendicular if n is odd; turned back to torsion 0."""
    from ase.optimize import BFGS

    at_minimum = 0.0 if n % 2 == 0 else 90.0
    atoms = chain(n, at_minimum)
    atoms.calc = _calculator()
    BFGS(atoms, logfile=None).run(fmax=0.005, steps=500)
    return turned(atoms, -at_minimum)


def _calculator() -> Calculator:
    from tblite.ase import TBLite  # needed to make the data, not to use them

    return TBLite(
        method="GFN2-xTB", electronic_temperature=ELECTRONIC_TEMPERATURE, accuracy=0.01, max_iterations=500, verbosity=0
    )


def labelled(atoms: Atoms) -> Atoms:
    """A copy with energy and forces of GFN2-xTB, for positions as the file will have them."""
    result = atoms.copy()
    result.positions = np.round(result.positions, 4)
    result.calc = _calculator()
    energy, forces = result.get_potential_energy(), np.round(result.get_forces(), 4)
    result.calc = SinglePointCalculator(result, energy=round(float(energy), 6), forces=forces)
    result.info.update(length=len(atoms) - 4, torsion=round(measured_torsion(result), 2))
    return result


def training_configurations(n: int, base: Atoms) -> Iterator[Atoms]:
    """Torsions spread evenly over [0, 180) degrees (beyond, all repeats), in random order, all atoms displaced."""
    random = np.random.default_rng(1000 + n)
    for place in random.permutation(CONFIGURATIONS):
        torsion = 180.0 * (place + random.uniform()) / CONFIGURATIONS
        atoms = turned(base, torsion)
        atoms.positions += random.normal(0.0, DISPLACEMENT, atoms.positions.shape)
        yield labelled(atoms)


def profile_configurations(base: Atoms) -> Iterator[Atoms]:
    for torsion in PROFILE:
        atoms = labelled(turned(base, torsion))
        atoms.info["torsion"] = float(torsion)  # the measured one is 0 for 180
        yield atoms


def write_configurations(path: Path, configurations: list[Atoms]) -> None:
    """Extended XYZ with four decimals: rounding changes forces by 0.05 meV/A at most."""
    write(path, configurations, format="extxyz", columns=["symbols", "positions", "forces"], write_info=True)
    # ASE pads columns to 16 characters and 8 decimals; half of the file would be blanks and zeros.
    lines = []
    for line in path.read_text().splitlines():
        words = line.split()
        atom = len(words) == 7 and words[0] in atomic_numbers
        lines.append(" ".join([words[0], *(f"{float(w):.4f}" for w in words[1:])]) if atom else line)
    path.write_text("\n".join(lines) + "\n")


def training_file(n: int) -> Path:
    return DATA / f"cumulene_C{n}H4.xyz"


def profile_file() -> Path:
    return DATA / "cumulene_profiles.xyz"


def read_profiles() -> dict[int, list[Atoms]]:
    """Length -> configurations of PROFILE."""
    profiles: dict[int, list[Atoms]] = {}
    for atoms in read(profile_file(), ":"):
        profiles.setdefault(int(atoms.info["length"]), []).append(atoms)
    return profiles
