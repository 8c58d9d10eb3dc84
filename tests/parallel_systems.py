"""Structures on which results of several ranks are compared with those of one process, and what is compared."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product
from typing import Any

import numpy as np
from ase import Atoms, units
from ase.build import molecule
from ase.md.verlet import VelocityVerlet
from reference_data import load_system

from so3md import So3kratesCalculator

STEPS = 50


def from_reference(name: str) -> tuple[Atoms, float | None]:
    """A structure of the reference data, with its long-range cutoff."""
    system = load_system(name)
    info = {"charge": system.charge, "spin": system.spin}
    return Atoms(system.numbers, system.positions, cell=system.cell, pbc=system.pbc, info=info), system.lr_cutoff


def water_box(copies: int) -> Atoms:
    """A triclinic box with copies^3 molecules of water in an orderly arrangement, turned at random."""
    rng = np.random.default_rng(5)
    atoms = Atoms(cell=np.array([[3.15, 0, 0], [0.4, 3.1, 0], [-0.25, 0.2, 3.05]]) * copies, pbc=True)
    for place in product(range(copies), repeat=3):
        single = molecule("H2O")
        single.rotate(rng.uniform(0, 360), rng.normal(size=3), center="COM")
        single.translate(np.array(place) / copies @ atoms.cell.array)
        atoms += single
    return atoms


SYSTEMS: dict[str, Callable[[], tuple[Atoms, float | None]]] = {
    "water": lambda: from_reference("water_64"),
    "triclinic": lambda: from_reference("water_64_triclinic_xyz"),
    "slab": lambda: from_reference("water_64_slab"),
    "thinner than the cutoffs": lambda: (water_box(2), 12.0),
    "ion": lambda: from_reference("acetate_m1"),
    "molecule without cutoff": lambda: from_reference("ala15_folded_nocut"),
    "fewer atoms than ranks": lambda: from_reference("o2_triplet_spin1"),
    "one atom": lambda: from_reference("atom_H_spin05"),
}

MOVED = "after molecular dynamics"
MIXED = "water in mixed precision"
EWALD = "triclinic water without a cutoff of charges"
MESH = "triclinic water without a cutoff of charges, on a mesh"
TAIL = "triclinic water with dispersion beyond the cutoff"
FIELD = "triclinic water in an electric field"


def make_calculator(
    lr_cutoff: float | None = 12.0, precision: str = "double", comm: Any = None, **parameters: Any
) -> So3kratesCalculator:
    """A calculator with one thread."""
    return So3kratesCalculator(lr_cutoff=lr_cutoff, precision=precision, threads=1, comm=comm, **parameters)


def results(atoms: Atoms) -> dict[str, Any]:
    """All that the calculator computes; the energy also without forces, which takes another way through the engine."""
    calculator = atoms.calc
    energy_alone = atoms.get_potential_energy()
    components = calculator.get_energy_components(atoms)
    atoms.get_forces()
    if "stress" in calculator.results:
        atoms.get_stresses()
    return dict(calculator.results) | {"energy alone": energy_alone} | components


def results_of_all(comm: Any = None) -> dict[str, dict[str, Any]]:
    """The results for every structure."""
    found = {}
    for name, make in SYSTEMS.items():
        atoms, lr_cutoff = make()
        atoms.calc = make_calculator(lr_cutoff, comm=comm)
        found[name] = results(atoms)
    atoms, _ = SYSTEMS["water"]()
    atoms.calc = make_calculator(precision="mixed", comm=comm)
    found[MIXED] = results(atoms)
    atoms, _ = SYSTEMS["triclinic"]()
    atoms.calc = make_calculator(comm=comm, coulomb="ewald")
    found[EWALD] = results(atoms)
    atoms, _ = SYSTEMS["triclinic"]()
    atoms.calc = make_calculator(comm=comm, coulomb="ewald", ewald_method="mesh")
    found[MESH] = results(atoms)
    atoms, _ = SYSTEMS["triclinic"]()
    atoms.calc = make_calculator(comm=comm, dispersion_tail=True)
    found[TAIL] = results(atoms)
    atoms, _ = SYSTEMS["triclinic"]()
    atoms.positions[::5] += atoms.cell.array[1]  # on other images
    atoms.calc = make_calculator(comm=comm, electric_field=(0.1, -0.05, 0.2))
    return found | {FIELD: results(atoms)}


def run_dynamics(calculator: So3kratesCalculator, on_step: Callable[[], Any] = lambda: None) -> Atoms:
    """Water for some steps at a temperature at which atoms soon have other neighbours."""
    atoms = water_box(3)
    rng = np.random.default_rng(3)
    atoms.calc = calculator
    atoms.set_momenta(rng.normal(size=(len(atoms), 3)) * np.sqrt(2000 * units.kB * atoms.get_masses())[:, None])
    for _ in VelocityVerlet(atoms, 0.5 * units.fs).irun(STEPS):
        on_step()
    return atoms
