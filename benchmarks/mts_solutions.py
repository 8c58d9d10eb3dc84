"""Drift of the energy in multiple time steps over outer steps, in liquids and solutions of many kinds of hydrogen.

    python benchmarks/mts_solutions.py

Resonances of an outer step lie at fractions of the periods of vibrations, which are others for hydrogen on oxygen, on
nitrogen and on carbon: what is stable in water need not be so elsewhere. Boxes are made as for so3lr-fast
(student_structures.py, needs RDKit) and brought to 300 K; then each moves freely from the same start, with the student
in steps of 0.5 fs or little more. Written to results/mts_solutions.json.
"""

from __future__ import annotations

import argparse
import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms, units
from ase.md.velocitydistribution import thermalize_momenta
from machine import describe_machine
from mts import measure_drift
from student_structures import ATOMS_OF_BOX, LIQUIDS, SOLUTES, WATERS, box, conformers, relax, small_molecules

from so3md import So3kratesCalculator
from so3md.charge_and_spin import OddElectronsWarning
from so3md.cli.student_options import default_timestep
from so3md.dynamics import RespaBussi

RESULT = Path(__file__).parent / "results" / "mts_solutions.json"
SYSTEMS = ("CH3CH2OH", "N-methylacetamide", "C2H6SO", "alanine", "tryptophan", "guanine", "glucose")
TEMPERATURE, SEED = 300.0, 7  # K
SAFE = 2.0  # fs, of the outer steps that bring a box to its temperature


def main() -> None:
    """Run and report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--student", default="so3lr-fast")
    parser.add_argument("--systems", nargs="+", default=SYSTEMS)
    parser.add_argument("--outer", type=float, nargs="+", default=[2.0, 2.5, 2.75, 3.5], help="fs")
    parser.add_argument("--equilibration", type=float, default=1.0, help="ps")
    parser.add_argument("--picoseconds", type=float, default=2.0)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    warnings.simplefilter("ignore", OddElectronsWarning)
    machine = describe_machine()
    molecules = small_molecules() | conformers(SEED)
    systems = []
    for name in options.systems:
        atoms = equilibrated(boxed(name, molecules), options)
        systems.append(
            {"name": kind_of(name), "atoms": len(atoms), "drifts": [drift_of(atoms, o, options) for o in options.outer]}
        )
        print(json.dumps(systems[-1]), flush=True)
    settings = {name: getattr(options, name) for name in ("student", "equilibration", "picoseconds")}
    RESULT.write_text(json.dumps({"machine": machine, **settings, "systems": systems}, indent=2) + "\n")


def kind_of(name: str) -> str:
    """What the box holds, as text."""
    return f"{name}, liquid" if name in LIQUIDS else f"{name} in water"


def boxed(name: str, molecules: dict[str, Atoms]) -> Atoms:
    """A box of a liquid, or of one molecule in water. Raises SystemExit for one that nobody knows."""
    if name not in molecules or name not in (*LIQUIDS, *SOLUTES):
        raise SystemExit(f"{name}: no liquid or solute of student_structures.py; those of SMILES need RDKit")
    teacher, rng = So3kratesCalculator("so3lr", threads=1), np.random.default_rng(SEED)
    molecule, water = molecules[name], molecules["H2O"]
    relax(molecule, teacher, 50)
    if name in LIQUIDS:
        return box([molecule] * max(2, round(ATOMS_OF_BOX / len(molecule))), teacher, rng)
    return box([molecule, *[water] * WATERS], teacher, rng)


def equilibrated(atoms: Atoms, options: argparse.Namespace) -> Atoms:
    """At its temperature, with velocities."""
    rng, teacher = np.random.default_rng(SEED), So3kratesCalculator(threads=options.threads)
    relax(atoms, teacher, 100)
    atoms.calc = teacher
    thermalize_momenta(atoms, temperature_K=TEMPERATURE, rng=rng)
    student = So3kratesCalculator(options.student, threads=options.threads)
    substeps = round(SAFE / default_timestep(SAFE))
    dynamics = RespaBussi(atoms, SAFE * units.fs, TEMPERATURE, 50 * units.fs, student, substeps, rng=rng)
    dynamics.run(round(1e3 * options.equilibration / SAFE))
    return atoms


def drift_of(atoms: Atoms, outer: float, options: argparse.Namespace) -> dict[str, Any]:
    inner = default_timestep(outer)
    return {"inner_fs": inner, "outer_fs": outer} | measure_drift(atoms, (inner, outer), options)


if __name__ == "__main__":
    main()
