"""The entry of openmmml: `MLPotential("so3lr")`, and `MLPotential("so3krates", model="mine.safetensors")`.

openmmml imports this module with its own, for the entry points of so3md, so that everything else is imported when a
potential is made.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from so3md.missing_packages import needed

with needed("so3md.openmm_ml", "openmmml (1.8 is tested)", "openmm openmmml"):
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
        self._add_force(topology, system, atoms, forceGroup, charge=charge, spin=spin, multiplicity=multiplicity)

    def _add_force(
        self,
        topology: Topology,
        system: openmm.System,
        atoms: Iterable[int] | None,
        group: int,
        **options: Any,
    ) -> None:
        from so3md.openmm import create_force, elements_of

        particles = None if atoms is None else list(atoms)
        all_atoms = list(topology.atoms())
        force = create_force(
            elements_of(all_atoms if particles is None else [all_atoms[index] for index in particles]),
            periodic=topology.getPeriodicBoxVectors() is not None or system.usesPeriodicBoundaryConditions(),
            particles=particles,
            calculator=self._calculator,
            **options,
        )
        force.setForceGroup(group)
        system.addForce(force)

    def getSupportedEmbeddings(self) -> list[str]:
        """Those of its own, beside those of openmmml."""
        return ["electrostatic"]

    def createMixedSystem(
        self,
        topology: Topology,
        system: openmm.System,
        atoms: list[int],
        forceGroup: int,
        interpolate: bool,
        embedding: str,
        returnInfo: bool = False,
        embeddingWidth: Any = 0.0,
        embeddingCutoff: Any = None,
        **options: Any,
    ) -> openmm.System | dict[str, Any]:
        """A mixed system in which the classical charges act on those of the model, and back.

        embeddingWidth: of Gaussians that stand for the classical charges; embeddingCutoff: of this interaction; both in
        nanometres or with a unit. None: the cutoff of the NonbondedForce, none where it has none. Raises ValueError for
        what cannot be told apart: see so3md.openmm_charges.
        """
        from openmmml.embeddings.mechanicalembedding import MechanicalEmbedding

        from so3md.openmm import elements_of
        from so3md.openmm_charges import Surroundings

        elements_of(list(topology.atoms()))  # openmmml asks for all of them
        if interpolate:
            raise ValueError("embedding='electrostatic' has no interpolate=True: leave it out, or embed mechanically")
        around = Surroundings(topology, system, atoms)
        inner = _Embedded(self, around.options(embeddingWidth, embeddingCutoff))
        without = around.without_charges_of_the_part()
        mixed = MechanicalEmbedding().createMixedSystem
        return mixed(inner, topology, without, atoms, forceGroup, False, returnInfo=returnInfo, **options)

    def getMLLongRange(self) -> bool:
        """Whether charges of the model interact with all periodic images, so that those of the other force field are
        not to stand in for them."""
        return self._calculator.parameters["coulomb"] == "ewald"


class _Embedded(Potential):
    """The potential whose forces know the charges around the part."""

    def __init__(self, potential: Potential, options: dict[str, Any]) -> None:
        super().__init__(potential._calculator)
        self._options = options

    def _add_force(self, topology: Topology, system: Any, atoms: Any, group: int, **options: Any) -> None:
        super()._add_force(topology, system, atoms, group, **(options | self._options))
