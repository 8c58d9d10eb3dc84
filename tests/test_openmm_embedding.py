"""Electrostatic embedding in OpenMM: classical charges around a part act on the model's charges, and feel them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from ase import Atoms
from optional_programs import needs
from test_openmm import DOUBLE, ENERGY, cluster, evaluated, expected, potential, waters
from tolerances import EXACT, FINITE_DIFFERENCE_FORCES, FINITE_DIFFERENCE_STEP

from so3md import So3kratesCalculator
from so3md.embedding import PointCharges
from so3md.openmm_charges import Surroundings

pytestmark = needs("openmm", "openmmml")

PART = [0, 1, 2, 3, 4, 5]  # two of the four molecules of cluster()
#: Central differences of energies by OpenMM, which sums them up in kJ/mol: rounding is 1e-16 times 3e6 kJ/mol over the
#: step, 3e-7 eV/A times the root of some ten terms.
DIFFERENCES = FINITE_DIFFERENCE_FORCES


def embed(topology: Any, classical: Any, part: list[int], **options: Any) -> Any:
    return potential().createMixedSystem(topology, classical, part, embedding="electrostatic", **options)


def classical_charges(classical: Any) -> np.ndarray:
    import openmm

    (force,) = (force for force in classical.getForces() if isinstance(force, openmm.NonbondedForce))
    return np.array([force.getParticleParameters(k)[0]._value for k in range(force.getNumParticles())])


def in_a_box(length: float = 30.0) -> tuple[Atoms, Any, Any]:
    """The molecules of cluster() in a periodic box, with a particle mesh, as a user has it."""
    from openmm import app, unit

    atoms, topology, _ = cluster()
    box = np.eye(3) * length
    topology.setPeriodicBoxVectors(box / 10 * unit.nanometer)
    atoms.set_cell(box)
    atoms.set_pbc(True)
    options = {"nonbondedMethod": app.PME, "nonbondedCutoff": 0.9, "rigidWater": False}
    return atoms, topology, app.ForceField("amber14/tip3p.xml").createSystem(topology, **options)


def assert_forces_are_derivatives(system: Any, positions: np.ndarray, members: tuple[int, ...], cell: Any = None):
    _, forces = evaluated(system, positions, cell)
    for member in members:
        for axis in range(3):
            energies = []
            for sign in (1, -1):
                moved = positions.copy()
                moved[member, axis] += sign * FINITE_DIFFERENCE_STEP
                energies.append(evaluated(system, moved, cell)[0])
            numerical = -(energies[0] - energies[1]) / (2 * FINITE_DIFFERENCE_STEP)
            assert forces[member, axis] == pytest.approx(numerical, rel=0, abs=DIFFERENCES)


@pytest.mark.parametrize("width", [0.0, 0.08])  # nm
def test_coulomb_acts_once_and_van_der_waals_stays(width: float) -> None:
    """Mechanical embedding, less the potential of the classical charges on those of the part, more that on the model's.

    In vacuum, all pairs are there, so that the difference is known to the last digit.
    """
    atoms, topology, classical = cluster()
    mechanical = evaluated(potential().createMixedSystem(topology, classical, PART), atoms.positions)
    found = evaluated(embed(topology, classical, PART, embeddingWidth=width), atoms.positions)
    charges = classical_charges(classical)
    rest = np.setdiff1d(np.arange(len(atoms)), PART)
    points = PointCharges(atoms.positions[rest], charges[rest])
    smeared = PointCharges(atoms.positions[rest], charges[rest], width=10 * width)
    gone = charges[PART] @ points.at(atoms.positions[PART]).potentials
    calculator = So3kratesCalculator(**DOUBLE)
    model = calculator.get_embedded(atoms[PART], *smeared.at(atoms.positions[PART]))
    come = model["energy"] - expected(atoms[PART])[0]
    # OpenMM's constant of Coulomb's law has nine digits.
    assert found[0] - mechanical[0] == pytest.approx(come - gone, rel=0, abs=1e-6)
    assert abs(come - gone) > 1e-3
    assert abs(come) > 0.01
    on_rest = smeared.forces(atoms.positions[PART], model["charges"]) - points.forces(
        atoms.positions[PART], charges[PART]
    )
    np.testing.assert_allclose(found[1][rest] - mechanical[1][rest], on_rest, rtol=0, atol=1e-6)


def test_forces_are_derivatives() -> None:
    atoms, topology, classical = cluster()
    assert_forces_are_derivatives(embed(topology, classical, PART), atoms.positions, (0, 2, 4, 6, 8))


def test_forces_in_a_box_are_derivatives() -> None:
    """Across its faces, with the cutoff of the force field."""
    atoms, topology, classical = in_a_box(19.0)
    for force in classical.getForces():
        if force.getName() == "NonbondedForce":  # whose mesh is as smooth as its accuracy says
            force.setNonbondedMethod(force.CutoffPeriodic)
    positions = atoms.positions + np.array([7.0, 9.0, -4.0])
    system = embed(topology, classical, PART)
    assert_forces_are_derivatives(system, positions, (0, 4, 7, 9), atoms.cell.array)


def test_forces_add_up_to_zero() -> None:
    atoms, topology, classical = cluster()
    total = evaluated(embed(topology, classical, PART), atoms.positions)[1].sum(axis=0)
    np.testing.assert_allclose(total, 0, rtol=0, atol=EXACT.forces * len(atoms))


def test_a_box_has_the_cutoff_of_the_force_field() -> None:
    atoms, topology, classical = in_a_box()
    without, with_charges = (embed(topology, classical, PART, embeddingCutoff=cutoff) for cutoff in (0.05, None))
    found = evaluated(with_charges, atoms.positions)[0] - evaluated(without, atoms.positions)[0]
    charges = classical_charges(classical)
    rest = np.setdiff1d(np.arange(len(atoms)), PART)
    points = PointCharges(atoms.positions[rest], charges[rest], cutoff=9.0)
    part = atoms[PART]
    model = So3kratesCalculator(**DOUBLE).get_embedded(part, *points.at(part.positions, part.cell.array, part.pbc))
    assert found == pytest.approx(model["energy"] - expected(part)[0], rel=0, abs=ENERGY)
    assert abs(found) > 0.01


def test_nothing_is_left_of_the_charges_of_the_part() -> None:
    """All molecules are the part: no classical charge is left to act, of images neither."""
    atoms, topology, classical = in_a_box()
    everything = list(range(len(atoms)))
    energy = evaluated(embed(topology, classical, everything), atoms.positions)[0]
    without = evaluated(potential().createMixedSystem(topology, no_charges(classical), everything), atoms.positions)[0]
    assert energy == pytest.approx(without, rel=0, abs=ENERGY)


def no_charges(classical: Any) -> Any:
    """A copy of a system in which nothing is charged."""
    import copy

    import openmm

    system = copy.deepcopy(classical)
    for force in system.getForces():
        if isinstance(force, openmm.NonbondedForce):
            for k in range(force.getNumParticles()):
                force.setParticleParameters(k, 0, *force.getParticleParameters(k)[1:])
    return system


def test_charges_on_virtual_sites_and_of_an_ion() -> None:
    """Chloride by the model in water of four sites: forces on the site with the charge land on the atoms."""
    from openmm import app, unit

    from so3md.openmm import create_force

    atoms, topology = cluster()[0], waters(2)
    chlorine = app.Element.getBySymbol("Cl")
    topology.addAtom("CL", chlorine, topology.addResidue("CL", topology.addChain()))
    places = np.vstack([atoms.positions[:6], atoms.positions[6] + [0.5, 0, 0]]) / 10
    field = app.ForceField("amber14/tip4pew.xml")
    modeller = app.Modeller(topology, places * unit.nanometer)
    modeller.addExtraParticles(field)
    classical = field.createSystem(modeller.topology, nonbondedMethod=app.NoCutoff, rigidWater=False)
    with pytest.raises(ValueError, match="has no element"):  # openmmml takes none either, whatever the embedding
        embed(modeller.topology, classical, [8], charge=-1)
    around = Surroundings(modeller.topology, classical, [8])
    system = around.without_charges_of_the_part()
    calculator = So3kratesCalculator(**DOUBLE)
    system.addForce(create_force([17], particles=[8], charge=-1, calculator=calculator, **around.options(0.0, None)))
    positions = np.array(modeller.positions.value_in_unit(unit.angstrom))
    assert len(positions) == 9
    assert_forces_are_derivatives(system, positions, (0, 1, 4, 8))
    # OpenMM lists what it moved from sites as well.
    real = [index for index in range(9) if not system.isVirtualSite(index)]
    total = evaluated(system, positions)[1][real].sum(axis=0)
    np.testing.assert_allclose(total, 0, rtol=0, atol=EXACT.forces * 9)


def test_dynamics_keep_the_energy() -> None:
    import openmm

    atoms, topology, classical = cluster()
    integrator = openmm.VerletIntegrator(0.00025)
    system = embed(topology, classical, PART)
    context = openmm.Context(system, integrator, openmm.Platform.getPlatformByName("Reference"))
    context.setPositions(atoms.positions / 10)
    context.setVelocitiesToTemperature(300, 1)
    totals, kinetic = [], []
    for _ in range(30):
        integrator.step(5)
        state = context.getState(energy=True)
        kinetic.append(state.getKineticEnergy()._value)
        totals.append(kinetic[-1] + state.getPotentialEnergy()._value)
    assert np.ptp(totals) < 0.05 * np.ptp(kinetic)  # as in test_openmm.py


def test_systems_can_be_saved_and_read() -> None:
    import openmm

    atoms, topology, classical = cluster()
    system = embed(topology, classical, PART)
    again = openmm.XmlSerializer.deserialize(openmm.XmlSerializer.serialize(system))
    assert evaluated(again, atoms.positions)[0] == evaluated(system, atoms.positions)[0]


def test_the_force_alone() -> None:
    import openmm

    from so3md.openmm import create_force

    atoms, _, classical = cluster()
    charges = classical_charges(classical)
    system = openmm.System()
    for mass in atoms.get_masses():
        system.addParticle(mass)
    around = {index: charges[index] for index in range(6, 12)}
    calculator = So3kratesCalculator(**DOUBLE)
    system.addForce(create_force(atoms.numbers[:6], particles=PART, charges=around, calculator=calculator))
    points = PointCharges(atoms.positions[6:], charges[6:])
    right = calculator.get_embedded(atoms[:6], *points.at(atoms.positions[:6]))
    energy, forces = evaluated(system, atoms.positions)
    assert energy == pytest.approx(right["energy"], rel=0, abs=ENERGY)
    np.testing.assert_allclose(forces[:6], right["forces"], rtol=0, atol=EXACT.forces)
    for options, message in (
        ({"charges": around}, "expected particles too"),
        ({"charges": {5: 1.0}, "particles": PART}, "found that of its atom 5"),
    ):
        with pytest.raises(ValueError, match=message):
            create_force(atoms.numbers[:6], **options)


def test_what_cannot_be_is_refused() -> None:
    import openmm

    _, topology, classical = cluster()
    with pytest.raises(ValueError, match=r"atoms 0 and 1 are bonded.*expected whole molecules"):
        embed(topology, classical, [0])
    with pytest.raises(ValueError, match="no interpolate=True"):
        embed(topology, classical, PART, interpolate=True)
    for force, message in (
        (openmm.GBSAOBCForce(), "implicit solvent"),
        (openmm.DrudeForce(), "Drude particles"),
        (openmm.NonbondedForce(), "expected one NonbondedForce with the charges, found 2"),
    ):
        system = openmm.XmlSerializer.deserialize(openmm.XmlSerializer.serialize(classical))
        system.addForce(force)
        with pytest.raises(ValueError, match=message):
            embed(topology, system, PART)
    own = openmm.CustomNonbondedForce("charge1*charge2/r")
    own.addPerParticleParameter("charge")
    system = openmm.XmlSerializer.deserialize(openmm.XmlSerializer.serialize(classical))
    system.addForce(own)
    with pytest.raises(ValueError, match="charges in a CustomNonbondedForce"):
        embed(topology, system, PART)
