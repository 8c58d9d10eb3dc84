"""The entry of openmmml: `MLPotential("so3lr")`, and `MLPotential("so3krates", model="mine.safetensors")`.

openmmml imports this module with its own, for the entry points of so3md, so that everything else is imported when a
potential is made.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from openmmml.mlpotential import MLPotentialImpl, MLPotentialImplFactory

if TYPE_CHECKING:
    import openmm
    from openmm.app import Topology

    from so3md.calculator import So3kratesCalculator


class Factory(MLPotentialImplFactory):  # type: ignore[misc]  # openmmml has no types
    """What makes the potentials."""

    def createImpl(self, name: str, **parameters: Any) -> Potential:
        """The potential of a model: parameters are those of So3kratesCalculator; "so3lr" is that model."""
        from so3md.calculator import So3kratesCalculator

        if name == "so3lr":
            return Potential(So3kratesCalculator("so3lr", **parameters))
        return Potential(So3kratesCalculator(**parameters))


class Potential(MLPotentialImpl):  # type: ignore[misc]
    """A model as openmmml uses it."""

    def __init__(self, calculator: So3kratesCalculator) -> None:
        self._calculator = calculator

    def addForces(
        self,
        topology: Topology,
        system: openmm.System,
        atoms: Iterable[int] | None,
        forceGroup: int,
        charge: float | None = None,
        spin: float | None = None,
        multiplicity: int | None = None,
        **others: Any,
    ) -> None:
        """Add the force of a model to a system; charge and spin are those of the atoms that it describes.

        others: options of embeddings, which are not for the force.
        """
        from so3md.openmm import create_force, elements_of

        particles = None if atoms is None else list(atoms)
        all_atoms = list(topology.atoms())
        force = create_force(
            elements_of(all_atoms if particles is None else [all_atoms[index] for index in particles]),
            periodic=topology.getPeriodicBoxVectors() is not None or system.usesPeriodicBoundaryConditions(),
            particles=particles,
            charge=charge,
            spin=spin,
            multiplicity=multiplicity,
            calculator=self._calculator,
        )
        force.setForceGroup(forceGroup)
        system.addForce(force)

    def getMLLongRange(self) -> bool:
        """Whether charges of the model interact with all periodic images, so that those of the other force field are
        not to stand in for them."""
        return self._calculator.parameters["coulomb"] == "ewald"
