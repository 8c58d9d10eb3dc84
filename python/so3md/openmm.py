"""A So3krates model as a force of OpenMM.

With the package openmmml, `MLPotential("so3lr")` makes whole systems, mixed ones among them (docs/recipes/openmm.md);
`create_force` makes the force alone, without that package.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from ase import Atoms, units

from so3md.calculator import So3kratesCalculator
from so3md.charge_and_spin import charge_and_spin_of, check_charge_and_spin
from so3md.embedding import PointCharges
from so3md.missing_packages import needed

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
        atoms = self._atoms
        _place(atoms, state)
        forces = self._calculator.get_property("forces", atoms)  # the energy comes with them
        energy = self._calculator.get_property("energy", atoms)
        return energy / _KJ_PER_MOL, forces * (10.0 / _KJ_PER_MOL)


class EmbeddedComputation:
    """The same among charges: the State has the atoms of the model first, and then the particles with these charges.

    charges: (m,) in e; width, cutoff: in Angstrom, as those of PointCharges.
    """

    def __init__(
        self, atoms: Atoms, calculator: So3kratesCalculator, charges: np.ndarray, width: float, cutoff: float | None
    ) -> None:
        self._atoms, self._calculator, self._charges = atoms, calculator, charges
        self._lengths = width, cutoff

    def __call__(self, state: openmm.State) -> tuple[float, np.ndarray]:
        """Energy, and forces (n + m, 3) on the atoms and the charges."""
        atoms = self._atoms
        positions = _place(atoms, state)
        threads = self._calculator.parameters["threads"] or 0
        around = PointCharges(positions[len(atoms) :], self._charges, *self._lengths, threads)
        box = atoms.cell.array, atoms.pbc
        found = self._calculator.get_embedded(atoms, *around.at(atoms.positions, *box))
        others = around.forces(atoms.positions, found["charges"], *box)
        return found["energy"] / _KJ_PER_MOL, np.concatenate([found["forces"], others]) * (10.0 / _KJ_PER_MOL)


def _place(atoms: Atoms, state: openmm.State) -> np.ndarray:
    """Positions (Angstrom) of all particles of a State, the first of which are those of the atoms; and its box."""
    from openmm import unit

    positions = state.getPositions(asNumpy=True).value_in_unit(unit.angstrom)
    atoms.positions = positions[: len(atoms)]
    if atoms.pbc.any():
        atoms.cell = state.getPeriodicBoxVectors(asNumpy=True).value_in_unit(unit.angstrom)
    return positions


def create_force(
    numbers: Sequence[int],
    *,
    periodic: bool = False,
    particles: Iterable[int] | None = None,
    charge: float | None = None,
    spin: float | None = None,
    multiplicity: int | None = None,
    calculator: So3kratesCalculator | None = None,
    charges: Mapping[int, float] | None = None,
    width: float = 0.0,
    cutoff: float | None = None,
) -> openmm.PythonForce:
    """An openmm.PythonForce, to be added to a System.

    numbers: atomic numbers of the atoms that the model describes, in their order. particles: their indices in the
    system; None: they are the whole system. periodic: whether they feel their images in the box of the system.
    calculator: with the parameters that are wanted, of which the force has a copy; None: SO3LR's. charge (e) and spin S
    (or multiplicity, 2 S + 1) are those of these atoms; None: those of the calculator, else zero.

    charges: of particles around these (by index, in e), which act on the charges of the model and feel them, with a
    width and a cutoff (Angstrom) as those of `so3md.embedding.PointCharges`; in a periodic box a cutoff is needed, of
    at most half the box. The interactions of these particles with the atoms of the model by another force are not
    taken away.

    Raises ImportError without OpenMM, and ValueError for what cannot be: numbers of particles, charges and
    spins, a cutoff that the model has not, charges of atoms of the model.
    """
    with needed("so3md.openmm", "OpenMM (8.6 is tested)", "openmm"):
        import openmm

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
    computation: Any = Computation(atoms, calculator)
    if charges is not None:
        particles = [*_embedded(particles, charges), *charges]
        computation = EmbeddedComputation(atoms, calculator, np.array([*charges.values()]), width, cutoff)
    force = openmm.PythonForce(computation)
    force.setName("So3krates")
    force.setUsesPeriodicBoundaryConditions(periodic)
    if particles is not None:
        force.setParticles(particles)
    return force


def _embedded(particles: list[int] | None, charges: Mapping[int, float]) -> list[int]:
    if particles is None:
        raise ValueError("charges: expected particles too, which tell the atoms of the model from those around them")
    if both := sorted(set(particles) & set(charges)):
        raise ValueError(f"charges: expected those of particles around the model, found that of its atom {both[0]}")
    return particles


def elements_of(atoms: Sequence[Any]) -> list[int]:
    """The atomic numbers of atoms of an OpenMM topology. Raises ValueError for one without an element."""
    for atom in atoms:
        if atom.element is None:
            raise ValueError(
                f"atom {atom.index} ({atom.name} of {atom.residue.name}) has no element: expected real atoms only, "
                "such as those of a water model with three sites"
            )
    return [atom.element.atomic_number for atom in atoms]
