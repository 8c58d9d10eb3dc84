"""SO3LR in OpenMM: the same numbers as the calculator's, whole systems and parts of them, also through openmmml."""

from __future__ import annotations

from importlib.metadata import entry_points
from typing import Any

import numpy as np
import pytest
from ase import Atoms, units
from ase.build import molecule
from optional_programs import needs
from tolerances import EXACT

from so3md import So3kratesCalculator
from so3md.structures import read_structure

pytestmark = needs("openmm", "openmmml")

KJ_PER_MOL = units.kJ / units.mol

#: OpenMM's Reference platform is in double precision, and so is the model here: changing units rounds positions, and
#: the largest system has 192 atoms.
ENERGY = 192 * EXACT.energy_per_atom  # eV
DOUBLE = {"precision": "double"}


def evaluated(system: Any, positions: np.ndarray, cell: np.ndarray | None = None, **parameters: float) -> Any:
    """Energy (eV) and forces (eV/Angstrom) of a system at positions (Angstrom), by OpenMM."""
    import openmm

    platform = openmm.Platform.getPlatformByName("Reference")
    context = openmm.Context(system, openmm.VerletIntegrator(0.0005), platform)
    if cell is not None:
        context.setPeriodicBoxVectors(*(cell / 10))
    context.setPositions(positions / 10)
    context.computeVirtualSites()
    for name, value in parameters.items():
        context.setParameter(name, value)
    state = context.getState(energy=True, forces=True)
    energy = state.getPotentialEnergy()._value * KJ_PER_MOL
    return energy, np.array(state.getForces(asNumpy=True)._value) * KJ_PER_MOL / 10


def system_of(atoms: Atoms, **options: Any) -> Any:
    """An OpenMM system of these atoms with the force of the model alone."""
    import openmm

    from so3md.openmm import create_force

    system = openmm.System()
    for mass in atoms.get_masses():
        system.addParticle(mass)
    options = {"calculator": So3kratesCalculator(**DOUBLE)} | options
    system.addForce(create_force(atoms.numbers, periodic=bool(atoms.pbc.any()), **options))
    return system


def expected(atoms: Atoms, **parameters: Any) -> tuple[float, np.ndarray]:
    """The same by the calculator."""
    calculator = So3kratesCalculator(**DOUBLE, **parameters)
    return calculator.get_potential_energy(atoms), calculator.get_forces(atoms)


def waters(count: int) -> Any:
    """A topology of molecules of water in which OpenMM's force fields know them."""
    from openmm import app

    topology = app.Topology()
    chain = topology.addChain()
    for _ in range(count):
        residue = topology.addResidue("HOH", chain)
        oxygen, *hydrogens = (
            topology.addAtom(name, app.Element.getBySymbol(name[0]), residue) for name in ("O", "H1", "H2")
        )
        for hydrogen in hydrogens:
            topology.addBond(oxygen, hydrogen)
    return topology


def potential(name: str = "so3lr", **parameters: Any) -> Any:
    """openmmml's potential, in double precision; registered by hand where so3md is used without being installed."""
    from openmmml import MLPotential

    if not any(entry.name == name for entry in entry_points(group="openmmml.potentials")):
        from so3md.openmm_ml import Factory

        MLPotential.registerImplFactory(name, Factory())
    return MLPotential(name, **(DOUBLE | parameters))


# --- the force ------------------------------------------------------------------------------------------------------


def test_a_molecule() -> None:
    atoms = molecule("CH3CH2OH")
    energy, forces = evaluated(system_of(atoms), atoms.positions)
    right = expected(atoms)
    assert energy == pytest.approx(right[0], abs=ENERGY)
    assert forces == pytest.approx(right[1], abs=EXACT.forces)


def test_a_skewed_box_that_changes() -> None:
    atoms = read_structure("water")
    length = atoms.cell[0, 0]
    box = np.array([[length, 0, 0], [2.0, length, 0], [-1.5, 1.0, 1.1 * length]])
    system = system_of(atoms)
    for factor in (1.0, 1.02):
        atoms.set_cell(factor * box)
        energy, forces = evaluated(system, atoms.positions, atoms.cell.array)
        right = expected(atoms)
        assert energy == pytest.approx(right[0], abs=ENERGY)
        assert forces == pytest.approx(right[1], abs=EXACT.forces)


def test_energy_and_forces_take_one_evaluation() -> None:
    import openmm

    from so3md.openmm import Computation

    calculator = So3kratesCalculator()
    atoms = molecule("H2O")
    system = openmm.System()
    for mass in atoms.get_masses():
        system.addParticle(mass)
    system.addForce(openmm.PythonForce(Computation(atoms, calculator)))
    evaluated(system, atoms.positions)
    assert calculator.engine_info()["evaluations"] == 1


def test_charge_and_spin() -> None:
    atoms = molecule("H2O")
    for given, parameters in (
        ({"charge": 1, "spin": 0.5}, {"charge": 1, "spin": 0.5}),
        ({"charge": 1, "multiplicity": 2}, {"charge": 1, "spin": 0.5}),
        ({"charge": 0, "calculator": So3kratesCalculator(charge=2, **DOUBLE)}, {}),
        ({"calculator": So3kratesCalculator(charge=2, **DOUBLE)}, {"charge": 2}),
    ):
        energy, _ = evaluated(system_of(atoms, **given), atoms.positions)
        assert energy == pytest.approx(expected(atoms, **parameters)[0], abs=ENERGY)


def test_systems_can_be_saved_and_read() -> None:
    import openmm

    atoms = molecule("H2O")
    text = openmm.XmlSerializer.serialize(system_of(atoms))
    energy, _ = evaluated(openmm.XmlSerializer.deserialize(text), atoms.positions)
    assert energy == pytest.approx(expected(atoms)[0], abs=ENERGY)


def test_dynamics_keep_the_energy() -> None:
    import openmm

    atoms = molecule("CH3OH")
    integrator = openmm.VerletIntegrator(0.00025)
    context = openmm.Context(system_of(atoms), integrator, openmm.Platform.getPlatformByName("Reference"))
    context.setPositions(atoms.positions / 10)
    context.setVelocitiesToTemperature(300, 1)
    totals, kinetic = [], []
    for _ in range(40):
        integrator.step(5)
        state = context.getState(energy=True)
        kinetic.append(state.getKineticEnergy()._value)
        totals.append(kinetic[-1] + state.getPotentialEnergy()._value)
    # Verlet's error is of second order in the step, of 1/40 of the shortest period: some 1 % of what is exchanged.
    assert np.ptp(totals) < 0.05 * np.ptp(kinetic)


def test_what_cannot_be_is_refused() -> None:
    import openmm

    with pytest.raises(ValueError, match="particles: expected one for each of the 3 atoms, found 2"):
        system_of(molecule("H2O"), particles=[0, 1])
    with pytest.raises(ValueError, match="electrons"):
        system_of(molecule("H2O"), spin=0.5)
    with pytest.raises(openmm.OpenMMException, match="U \\(atomic number 92\\), for which this model was not trained"):
        evaluated(system_of(Atoms("U")), np.zeros((1, 3)))


# --- openmmml -------------------------------------------------------------------------------------------------------


def test_a_system_of_openmmml() -> None:
    from openmm import unit

    atoms = read_structure("water")
    topology = waters(64)
    topology.setPeriodicBoxVectors(atoms.cell.array / 10 * unit.nanometer)
    energy, forces = evaluated(potential().createSystem(topology), atoms.positions)
    right = expected(atoms)
    assert energy == pytest.approx(right[0], abs=ENERGY)
    assert forces == pytest.approx(right[1], abs=EXACT.forces)


def test_arguments_of_openmmml(so3lr_path: Any) -> None:
    atoms = molecule("H2O")
    right = expected(atoms, charge=1, spin=0.5)[0]
    topology = waters(1)
    for system in (
        potential().createSystem(topology, charge=1, multiplicity=2),
        potential("so3krates", model=so3lr_path, charge=1, spin=0.5).createSystem(topology),
    ):
        assert evaluated(system, atoms.positions)[0] == pytest.approx(right, abs=ENERGY)
    with pytest.raises(TypeError, match="multiplicty"):
        potential(multiplicty=2)


def cluster() -> tuple[Atoms, Any, Any]:
    """Four molecules of water, their topology, and a system by TIP3P without a cutoff."""
    from openmm import app

    atoms = read_structure("water")[:12]
    atoms.set_pbc(False)
    first = atoms.positions[::3].repeat(3, axis=0)
    lengths = read_structure("water").cell.lengths()
    atoms.positions -= lengths * np.round((atoms.positions - first) / lengths)  # molecules are whole
    topology = waters(4)
    field = app.ForceField("amber14/tip3p.xml")
    return atoms, topology, field.createSystem(topology, nonbondedMethod=app.NoCutoff, rigidWater=False)


def test_a_mixed_system_is_the_sum_of_its_parts() -> None:
    """Mechanical embedding: the classical energy of all, less that of the part, and the model's of the part."""
    from openmm import app

    atoms, topology, classical = cluster()
    part = list(range(6))
    mixed = potential().createMixedSystem(topology, classical, part)
    alone = app.ForceField("amber14/tip3p.xml").createSystem(waters(2), nonbondedMethod=app.NoCutoff, rigidWater=False)
    energies, forces = zip(
        evaluated(classical, atoms.positions),
        evaluated(alone, atoms.positions[part]),
        expected(atoms[part]),
        strict=True,
    )
    found = evaluated(mixed, atoms.positions)
    assert found[0] == pytest.approx(energies[0] - energies[1] + energies[2], abs=ENERGY)
    of_all = forces[0].copy()
    of_all[part] += forces[2] - forces[1]
    assert found[1] == pytest.approx(of_all, abs=EXACT.forces)


def test_a_mixed_system_by_degrees() -> None:
    atoms, topology, classical = cluster()
    part = list(range(3))
    mixed = potential().createMixedSystem(topology, classical, part)
    by_degrees = potential().createMixedSystem(topology, classical, part, interpolate=True)
    for fraction, system in ((0, classical), (1, mixed)):
        energy, forces = evaluated(by_degrees, atoms.positions, lambda_interpolate=fraction)
        right = evaluated(system, atoms.positions)
        assert energy == pytest.approx(right[0], abs=ENERGY)
        assert forces == pytest.approx(right[1], abs=EXACT.forces)


def test_a_part_of_a_periodic_box() -> None:
    """Of one molecule, whose images are out of reach, by the same sum; its images are left to the classical charges."""
    from openmm import app, unit

    atoms, topology, _ = cluster()
    box = np.eye(3) * 30.0
    topology.setPeriodicBoxVectors(box / 10 * unit.nanometer)
    atoms.set_cell(box)
    atoms.set_pbc(True)
    field = app.ForceField("amber14/tip3p.xml")
    options = {"nonbondedMethod": app.PME, "nonbondedCutoff": 0.9, "rigidWater": False}
    classical = field.createSystem(topology, **options)
    mixed = potential().createMixedSystem(topology, classical, [0, 1, 2])
    alone = waters(1)
    bonded = field.createSystem(alone, nonbondedMethod=app.NoCutoff, rigidWater=False)  # its charges are excluded
    right = evaluated(classical, atoms.positions)[0] - evaluated(bonded, atoms.positions[:3])[0]
    right += expected(atoms[:3])[0]
    assert evaluated(mixed, atoms.positions)[0] == pytest.approx(right, abs=ENERGY)


def test_all_images_are_the_models_with_ewald() -> None:
    """openmmml then takes the classical charges of the part, and of its images, out of the particle mesh."""
    assert potential(coulomb="ewald")._impl.getMLLongRange()
    assert not potential()._impl.getMLLongRange()


def test_atoms_without_an_element() -> None:
    topology = waters(1)
    topology.addAtom("M", None, next(topology.residues()))
    with pytest.raises(ValueError, match=r"atom 3 \(M of HOH\) has no element"):
        potential().createSystem(topology)
