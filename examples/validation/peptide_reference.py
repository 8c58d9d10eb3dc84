"""MP2 energies of the minima of peptide.py, by PySCF: a reference of the same structures (pip install pyscf).

python peptide_reference.py [--basis def2-tzvp]    (minutes to an hour)

Each minimum is relaxed again with SO3LR from the torsions of the result; MP2 energies are of these structures, with
density fitting and a frozen core. A minimum that the result has already is not calculated again.
"""

from __future__ import annotations

import argparse
import json
from typing import Any

from ase import Atoms, units
from ase.io import read
from outcome import RESULTS, write_result
from peptide import KCAL, STRUCTURE, angles, to_minimum, turned
from pyscf import gto, mp, scf

BACKBONE = (4, 6, 8, 14, 16)


def mp2_energy(atoms: Atoms, basis: str) -> float:
    """In eV."""
    positions = list(zip(atoms.symbols, atoms.positions.tolist(), strict=True))
    molecule = gto.M(atom=positions, basis=basis, verbose=0)
    field = scf.RHF(molecule).density_fit()
    field.kernel()
    if not field.converged:
        raise SystemExit("the Hartree-Fock calculation did not converge")
    heavy = int((atoms.numbers > 2).sum())
    return float(mp.MP2(field, frozen=heavy).run().e_tot) * units.Hartree


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--basis", default="def2-tzvp")
    basis = parser.parse_args().basis
    minima = json.loads((RESULTS / "peptide.json").read_text(encoding="utf-8"))["minima"]
    output = RESULTS / "peptide_reference.json"
    done: dict[str, Any] = json.loads(output.read_text(encoding="utf-8"))["energies_eV"] if output.exists() else {}
    for number, one in enumerate(minima, start=1):
        if one["name"] and one["name"] not in done:
            atoms = turned(read(STRUCTURE), BACKBONE, (one["phi_degrees"], one["psi_degrees"]))
            to_minimum(atoms)
            print(
                f"{number} of {len(minima)}, {one['name']}: phi, psi = {angles(atoms, BACKBONE).round(1)}", flush=True
            )
            done[one["name"]] = mp2_energy(atoms, basis)
        write_result(output, {"method": f"MP2/{basis}", "energies_eV": done})
    lowest = min(done.values())
    for name, energy in done.items():
        print(f"{name}: {(energy - lowest) / KCAL:.2f} kcal/mol")


if __name__ == "__main__":
    main()
