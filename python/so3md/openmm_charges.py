"""The classical charges around a part of an OpenMM system: what embedding='electrostatic' takes from a force field.

Between the part and its surroundings, the Coulomb interaction is then that of the model's charges with the classical
ones, and that of the part's classical charges must go. What of a force field has its own ways of charges is refused.
"""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import openmm
    from openmm.app import Topology

#: Forces in which charges act that the NonbondedForce does not have, or does not alone.
_OTHERS = {
    "GBSAOBCForce": "an implicit solvent",
    "CustomGBForce": "an implicit solvent",
    "AmoebaMultipoleForce": "multipoles",
    "AmoebaGeneralizedKirkwoodForce": "an implicit solvent",
    "DrudeForce": "Drude particles",
}


class Surroundings:
    """What a system has around these atoms.

    Raises ValueError for bonds between them and others, for what is not one NonbondedForce with fixed charges, and for
    forces that use charges in other ways.
    """

    def __init__(self, topology: Topology, system: openmm.System, atoms: list[int]) -> None:
        self._system, self._atoms = system, atoms
        self._force = _only_nonbonded(system)
        _check_bonds(topology, self._force, set(atoms))
        _check_charges(self._force)

    def options(self, width: Any, cutoff: Any) -> dict[str, Any]:
        """Of so3md.openmm.create_force; lengths in nanometres or with a unit, cutoff None: that of the force field."""
        from openmm import unit

        force, inside = self._force, set(self._atoms)
        if cutoff is None and force.getNonbondedMethod() != force.NoCutoff:
            cutoff = force.getCutoffDistance()
        charges = {}
        for particle in range(force.getNumParticles()):
            charge = force.getParticleParameters(particle)[0].value_in_unit(unit.elementary_charge)
            if charge and particle not in inside:
                charges[particle] = charge
        return {
            "charges": charges,
            "width": _angstrom(width),
            "cutoff": None if cutoff is None else _angstrom(cutoff),
        }

    def without_charges_of_the_part(self) -> openmm.System:
        """A copy of the system in which the part is neutral for the classical forces; its van der Waals stays."""
        system = copy.deepcopy(self._system)
        force = _only_nonbonded(system)
        for atom in self._atoms:
            _, sigma, epsilon = force.getParticleParameters(atom)
            force.setParticleParameters(atom, 0.0, sigma, epsilon)
        return system


def _only_nonbonded(system: openmm.System) -> openmm.NonbondedForce:
    import openmm

    found = []
    for force in system.getForces():
        name = type(force).__name__
        if isinstance(force, openmm.NonbondedForce):
            found.append(force)
        elif name in _OTHERS:
            raise ValueError(
                f"embedding='electrostatic': the force field has {_OTHERS[name]} ({name}), in which the classical "
                "charges of the part would go on to act: use another force field, or mechanical embedding"
            )
        elif isinstance(force, openmm.CustomNonbondedForce):
            names = {force.getPerParticleParameterName(k) for k in range(force.getNumPerParticleParameters())}
            if names & {"charge", "q"}:
                raise ValueError(
                    "embedding='electrostatic': the force field has charges in a CustomNonbondedForce: expected them "
                    "in a NonbondedForce alone"
                )
    if len(found) != 1:
        raise ValueError(f"embedding='electrostatic': expected one NonbondedForce with the charges, found {len(found)}")
    return found[0]


def _check_bonds(topology: Topology, force: openmm.NonbondedForce, inside: set[int]) -> None:
    pairs = [(bond.atom1.index, bond.atom2.index) for bond in topology.bonds()]
    pairs += [tuple(force.getExceptionParameters(k)[:2]) for k in range(force.getNumExceptions())]
    for first, second in pairs:
        if (first in inside) != (second in inside):
            raise ValueError(
                f"embedding='electrostatic': atoms {first} and {second} are bonded, or neighbours along bonds, and one "
                "of them is of the part: expected whole molecules, as charges at a cut bond would act at the distance "
                "of bonds; take the whole molecule, or use mechanical embedding"
            )


def _check_charges(force: openmm.NonbondedForce) -> None:
    for offset in range(force.getNumParticleParameterOffsets()):
        if force.getParticleParameterOffset(offset)[2]:
            raise ValueError("embedding='electrostatic': expected fixed charges, found offsets by parameters")


def _angstrom(length: Any) -> float:
    from openmm import unit

    return float(length.value_in_unit(unit.angstrom) if unit.is_quantity(length) else 10.0 * length)
