"""The Ramachandran map of a peptide in vacuum: relaxed energies over its torsions phi and psi, and its minima.

python peptide.py [--step 20] [--output FILE]    (minutes)

The default is alanine dipeptide, Ac-Ala-NHMe. For a peptide of your own, give a file (--structure) and the numbers of
the atoms C, N, CA, C, N of the backbone, from 0 (--backbone). The first four define phi, the last four psi. All points
are relaxed together, in batches on all cores.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms, units
from ase.geometry import get_dihedrals, get_dihedrals_derivatives
from ase.io import read
from ase.neighborlist import build_neighbor_list, natural_cutoffs
from ase.optimize import BFGS
from ase.vibrations import Vibrations
from outcome import RESULTS, write_result
from scipy.sparse.csgraph import connected_components

from so3md import So3kratesCalculator, evaluate_many

KCAL = units.kcal / units.mol
STRUCTURE = Path(__file__).parents[1] / "recipes" / "data" / "alanine_dipeptide.pdb"
#: Where quantum chemistry has minima of alanine dipeptide, roughly: names for what is found within 40 degrees.
NAMES = {
    "C7eq": (-83, 78),
    "C5": (-160, 160),
    "C7ax": (75, -60),
    "beta2": (-130, 25),
    "alpha_L": (62, 40),
    "alpha'": (-165, -40),
}
#: Energy (eV) of a mode whose frequency is the root of 1 eV/A^2/u.
_QUANTUM = units._hbar * 1e10 / np.sqrt(units._e * units._amu)
STEEP = 40.0  # kcal/mol: between neighbours that are the same isomer, there is less
SAME = 15.0  # degrees: minima that are nearer are one


def torsions(backbone: Sequence[int]) -> tuple[list[int], list[int]]:
    """The atoms of phi and of psi."""
    return list(backbone[:4]), list(backbone[1:])


def angles(atoms: Atoms, backbone: Sequence[int]) -> np.ndarray:
    """Phi and psi from -180 to 180 degrees."""
    return wrapped(np.array([atoms.get_dihedral(*torsion) for torsion in torsions(backbone)]))


def wrapped(degrees: np.ndarray) -> np.ndarray:
    return (degrees + 180) % 360 - 180


def turned(atoms: Atoms, backbone: Sequence[int], values: Sequence[float]) -> Atoms:
    """A copy with these torsions: what lies beyond their middle bonds is turned as a whole."""
    atoms = atoms.copy()
    for torsion, value in zip(torsions(backbone), values, strict=True):
        atoms.set_dihedral(*torsion, value, indices=beyond(atoms, torsion[1], torsion[2]))
    return atoms


class Held:
    """Springs that hold phi and psi (degrees) of each structure. The torsions end up to some degrees away."""

    SPRING = 50.0 * np.radians(1) ** 2  # eV per square degree

    def __init__(self, backbone: Sequence[int], targets: Sequence[Sequence[float]]) -> None:
        self.torsions, self.targets = np.array(torsions(backbone)), np.array(targets, dtype=float)

    def forces(self, positions: np.ndarray, which: np.ndarray) -> np.ndarray:
        """Of positions (structures, atoms, 3), in eV/A; which: the number of each structure."""
        result = np.zeros_like(positions)
        for torsion, targets in zip(self.torsions, self.targets[which].T, strict=True):
            a, b, c, d = (positions[:, atom] for atom in torsion)
            away = wrapped(get_dihedrals(b - a, c - b, d - c) - targets)
            slopes = get_dihedrals_derivatives(b - a, c - b, d - c)
            result[:, torsion] -= self.SPRING * away[:, None, None] * slopes
        return result


def beyond(atoms: Atoms, here: int, there: int) -> list[int]:
    """The atoms on the far side of a bond."""
    bonds = build_neighbor_list(atoms, natural_cutoffs(atoms), self_interaction=False).get_connectivity_matrix()
    bonds[here, there] = bonds[there, here] = 0
    _, part = connected_components(bonds)
    return np.flatnonzero(part == part[there]).tolist()


def relax_together(structures: list[Atoms], held: Held, fmax: float, steps: int = 1500) -> list[float]:
    """Relax all of them in place by FIRE (Bitzek et al., Phys. Rev. Lett. 97, 170201, 2006) in one batch.

    Each has a time step of its own. Returns energies in eV, without that of the springs; NaN for what did not relax.
    """
    energies = np.full(len(structures), np.nan)
    at = np.array([one.positions for one in structures])
    speed, dt, mixing, good = np.zeros_like(at), *(np.full(len(at), value) for value in (0.1, 0.1, 0.0))
    left = np.arange(len(at))
    for step in range(steps):
        for k in left:
            structures[k].positions = at[k]
        found = list(evaluate_many([structures[k] for k in left]))
        forces = np.array([one.forces for one in found]) + held.forces(at[left], left)
        done = np.linalg.norm(forces, axis=2).max(axis=1) < fmax
        energies[left[done]] = [one.energy for one, is_done in zip(found, done, strict=True) if is_done]
        left, forces = left[~done], forces[~done]
        print(f"\rstep {step}: {len(at) - len(left)} of {len(at)} relaxed", end="", flush=True)
        if not len(left):
            break
        uphill = np.einsum("kai,kai->k", forces, speed[left]) < 0
        good[left] = np.where(uphill, 0, good[left] + 1)
        faster = good[left] > 5
        dt[left] = np.where(uphill, 0.5, np.where(faster, np.minimum(1.1, 0.25 / dt[left]), 1.0)) * dt[left]
        mixing[left] = np.where(uphill, 0.1, np.where(faster, 0.99 * mixing[left], mixing[left]))
        along = forces / np.linalg.norm(forces, axis=(1, 2), keepdims=True)
        size = np.linalg.norm(speed[left], axis=(1, 2), keepdims=True)
        m, t = mixing[left][:, None, None], dt[left][:, None, None]
        speed[left] = np.where(uphill[:, None, None], 0, (1 - m) * speed[left] + m * size * along) + t * forces
        move = t * speed[left]
        at[left] += move * np.minimum(1, 0.2 / np.linalg.norm(move, axis=(1, 2), keepdims=True))
    print()
    return energies.tolist()


def mapped(
    molecule: Atoms, backbone: Sequence[int], grid: np.ndarray, fmax: float, rounds: int = 2
) -> tuple[list[Atoms], np.ndarray, float]:
    """Relaxed structures of all points, row by row; energies in eV (phi, psi); how far torsions are off, in degrees.

    Turning a torsion can drive atoms into each other, from where a structure relaxes to another isomer. So points that
    lie far above a neighbour begin again from that neighbour, and the lower one counts.
    """
    targets = [(phi, psi) for phi in grid for psi in grid]
    points = [turned(molecule, backbone, target) for target in targets]
    energies = np.array(relax_together(points, Held(backbone, targets), fmax))
    for _ in range(rounds):
        finite = np.where(np.isnan(energies), np.inf, energies)
        again = {}
        for k in range(len(points)):
            i, j = divmod(k, len(grid))
            steps = [(i + di - 1, j + dj - 1) for di, dj in np.ndindex(3, 3)]
            near = [(a % len(grid)) * len(grid) + b % len(grid) for a, b in steps]
            best = min(near, key=lambda one: finite[one])
            if finite[k] - finite[best] > STEEP * KCAL:
                again[k] = turned(points[best], backbone, targets[k])
        if not again:
            break
        found = relax_together(list(again.values()), Held(backbone, [targets[k] for k in again]), fmax)
        for (k, atoms), energy in zip(again.items(), found, strict=True):
            if energy < finite[k]:
                points[k], energies[k] = atoms, energy
    places = np.array([angles(one, backbone) for one in points])
    away = np.abs(wrapped(places - targets))[~np.isnan(energies)].max()
    return points, energies.reshape(len(grid), len(grid)), float(away)


def local_minima(energies: np.ndarray) -> list[tuple[int, int]]:
    """Points of a periodic map that no neighbour, of eight, is below."""
    around = [np.roll(energies, shift, (0, 1)) for shift in np.ndindex(3, 3)]
    lowest = np.min([np.roll(one, (-1, -1), (0, 1)) for one in around], axis=0)
    return [(int(i), int(j)) for i, j in np.argwhere(energies <= lowest)]


def minima_of(structures: list[Atoms], backbone: Sequence[int]) -> list[dict[str, Any]]:
    """Distinct ones, from the lowest on: torsions, relative energies (kcal/mol), lowest frequencies (1/cm)."""
    lowest = [to_minimum(atoms) for atoms in structures]
    found: list[dict[str, Any]] = []
    for number in sorted(range(len(structures)), key=lambda k: structures[k].get_potential_energy()):
        place, energy = angles(structures[number], backbone), structures[number].get_potential_energy()
        if not any(np.abs(wrapped(place - one["phi_psi"])).max() < SAME for one in found):
            found.append({"phi_psi": place, "energy": energy, "lowest_per_cm": lowest[number]})
    return [
        {
            "name": name_of(one["phi_psi"]),
            "phi_degrees": float(one["phi_psi"][0]),
            "psi_degrees": float(one["phi_psi"][1]),
            "energy_kcal_per_mol": (one["energy"] - found[0]["energy"]) / KCAL,
            "lowest_per_cm": one["lowest_per_cm"],
        }
        for one in found
    ]


def to_minimum(atoms: Atoms, tries: int = 6) -> float:
    """Relax in place; away from saddle points too, along their softest modes. Returns the lowest frequency in 1/cm."""
    atoms.calc = So3kratesCalculator(precision="double", threads=1)
    for _ in range(tries):
        if not BFGS(atoms, logfile=None).run(fmax=1e-3, steps=1000):
            break
        frequency, mode = softest_mode(atoms)
        if frequency > 0:
            return frequency
        atoms.positions += 0.3 * mode
    raise SystemExit(f"no minimum was found for {atoms.get_chemical_formula()} from one of the lowest points")


def name_of(place: np.ndarray) -> str:
    for name, there in NAMES.items():
        if np.abs(wrapped(place - there)).max() < 40:
            return name
    return ""


def softest_mode(atoms: Atoms) -> tuple[float, np.ndarray]:
    """Its frequency in 1/cm, negative for an imaginary one, and displacements (n, 3) of length 1.

    Motion of the whole is taken out of the Hessian.
    """
    with tempfile.TemporaryDirectory() as folder:
        vibrations = Vibrations(atoms, name=f"{folder}/vibrations")
        vibrations.run()
        hessian = vibrations.get_vibrations().get_hessian_2d()
    root = np.sqrt(np.repeat(atoms.get_masses(), 3))
    around = atoms.positions - atoms.get_center_of_mass()
    whole = [np.tile(axis, (len(atoms), 1)) for axis in np.eye(3)] + [np.cross(axis, around) for axis in np.eye(3)]
    basis, _ = np.linalg.qr(np.array([root * motion.ravel() for motion in whole]).T)
    inner = np.eye(len(root)) - basis @ basis.T
    squares, modes = np.linalg.eigh(inner @ (hessian / np.outer(root, root)) @ inner)
    left = np.argsort(np.abs(squares))[basis.shape[1] :]  # those that were taken out are zero
    lowest = left[np.argmin(squares[left])]
    displacement = (modes[:, lowest] / root).reshape(-1, 3)
    energy = np.sign(squares[lowest]) * np.sqrt(abs(squares[lowest])) * _QUANTUM
    return float(energy / units.invcm), displacement / np.linalg.norm(displacement)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--structure", type=Path, default=STRUCTURE)
    parser.add_argument("--backbone", type=int, nargs=5, default=(4, 6, 8, 14, 16), metavar="ATOM")
    parser.add_argument("--step", type=int, default=20, help="of the map, degrees; a divisor of 360")
    parser.add_argument("--fmax", type=float, default=0.03, help="largest force left in the map, eV/A")
    parser.add_argument("--output", type=Path, default=RESULTS / "peptide.json")
    options = parser.parse_args()
    molecule = read(options.structure)
    grid = np.arange(-180, 180, options.step)
    points, energies, away = mapped(molecule, options.backbone, grid, options.fmax)
    lowest = local_minima(np.where(np.isnan(energies), np.inf, energies))
    minima = minima_of([points[i * len(grid) + j] for i, j in lowest], options.backbone)
    for one in minima:
        place = f"phi {one['phi_degrees']:6.1f} psi {one['psi_degrees']:6.1f}"
        print(f"{one['name']:8} {place} {one['energy_kcal_per_mol']:6.2f} kcal/mol")
    heights = (energies - np.nanmin(energies)) / KCAL
    record = {
        "angles_degrees": grid.tolist(),
        "not_relaxed": int(np.isnan(energies).sum()),
        "farthest_from_the_angles_degrees": away,
        "map_kcal_per_mol": [[None if np.isnan(e) else round(float(e), 3) for e in row] for row in heights],
        "minima": minima,
    }
    write_result(options.output, record)


if __name__ == "__main__":
    main()
