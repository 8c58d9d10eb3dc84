"""A So3krates model as a force of OpenMM.

With the package openmmml, `MLPotential("so3lr")` makes whole systems, mixed ones among them (docs/recipes/openmm.md);
`create_force` makes the force alone, without that package.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from ase import Atoms, units

from so3md.calculator import So3kratesCalculator
from so3md.charge_and_spin import charge_and_spin_of, check_charge_and_spin

if TYPE_CHECKING:
    import openmm

_KJ_PER_MOL = units.kJ / units.mol  # eV


class Computation:
    """What OpenMM calls in each step: it gets a State, and returns energy (kJ/mol) and forces (kJ/mol/nm).

    It can be pickled, so that systems can be serialized and copied.
    """

    def __init__(self, atoms: Atoms, calculator: So3kratesCalculator) -> None:
        self._atoms, self._calculator = atoms, calculator

    def __call__(self, state: openmm.State) -> tuple[float, np.ndarray]:
        """Energy and forces (n, 3), from one evaluation."""
        from openmm import unit

        atoms = self._atoms
        atoms.positions = state.getPositions(asNumpy=True).value_in_unit(unit.angstrom)
        if atoms.pbc.any():
            atoms.cell = state.getPeriodicBoxVectors(asNumpy=True).value_in_unit(unit.angstrom)
        forces = self._calculator.get_property("forces", atoms)  # the energy comes with them
        energy = self._calculator.get_property("energy", atoms)
        return energy / _KJ_PER_MOL, forces * (10.0 / _KJ_PER_MOL)


def create_force(
    numbers: Sequence[int],
    *,
    periodic: bool = False,
    particles: Iterable[int] | None = None,
    charge: float | None = None,
    spin: float | None = None,
    multiplicity: int | None = None,
    calculator: So3kratesCalculator | None = None,
) -> openmm.PythonForce:
    """An openmm.PythonForce, to be added to a System.

    numbers: atomic numbers of the atoms that the model describes, in their order. particles: their indices in the
    system; None: they are the whole system. periodic: whether they feel their images in the box of the system.
    calculator: with the parameters that are wanted, of which the force has a copy; None: SO3LR's. charge (e) and spin S
    (or multiplicity, 2 S + 1) are those of these atoms; None: those of the calculator, else zero.

    Raises ImportError without OpenMM, and ValueError for what cannot be: numbers of particles, charges and
    spins, a cutoff that the model has not.
    """
    try:
        import openmm
    except ImportError as error:
        raise ImportError("so3md.openmm needs OpenMM (8.6 is tested): pip install openmm") from error

    particles = None if particles is None else [int(index) for index in particles]
    if particles is not None and len(particles) != len(numbers):
        raise ValueError(f"particles: expected one for each of the {len(numbers)} atoms, found {len(particles)}")
    given = {"charge": charge, "spin": spin, "multiplicity": multiplicity}
    atoms = Atoms(numbers=numbers, pbc=periodic, info={key: value for key, value in given.items() if value is not None})
    calculator = So3kratesCalculator() if calculator is None else copy.deepcopy(calculator)
    if charge is not None:
        calculator.set(charge=None)  # which leaves it to atoms.info
    if spin is not None or multiplicity is not None:
        calculator.set(spin=None)
    state = charge_and_spin_of(atoms, calculator.parameters["charge"], calculator.parameters["spin"])
    check_charge_and_spin(int(atoms.numbers.sum()), state)
    calculator.long_range(atoms)  # raises for a model that has no cutoff for them
    force = openmm.PythonForce(Computation(atoms, calculator))
    force.setName("So3krates")
    force.setUsesPeriodicBoundaryConditions(periodic)
    if particles is not None:
        force.setParticles(particles)
    return force


def elements_of(atoms: Sequence[Any]) -> list[int]:
    """The atomic numbers of atoms of an OpenMM topology. Raises ValueError for one without an element."""
    for atom in atoms:
        if atom.element is None:
            raise ValueError(
                f"atom {atom.index} ({atom.name} of {atom.residue.name}) has no element: expected real atoms only, "
                "such as those of a water model with three sites"
            )
    return [atom.element.atomic_number for atom in atoms]
