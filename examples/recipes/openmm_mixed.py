"""A peptide by SO3LR in water by TIP3P, with OpenMM, and dynamics of the whole.

python openmm_mixed.py [STEPS] [EMBEDDING]

EMBEDDING: mechanical, by the charges of the force field, or electrostatic, by those of SO3LR.

It needs OpenMM and openmmml (pip install openmm openmmml).
"""

import sys
from pathlib import Path

from openmm import LangevinMiddleIntegrator, unit
from openmm.app import PME, ForceField, HBonds, Modeller, PDBFile, Simulation, StateDataReporter
from openmmml import MLPotential

steps = int(sys.argv[1]) if len(sys.argv) > 1 else 1000
embedding = sys.argv[2] if len(sys.argv) > 2 else "mechanical"

pdb = PDBFile(str(Path(__file__).parent / "data" / "alanine_dipeptide.pdb"))
field = ForceField("amber14-all.xml", "amber14/tip3p.xml")
whole = Modeller(pdb.topology, pdb.positions)
whole.addSolvent(field, boxSize=[2.4, 2.4, 2.4] * unit.nanometer)
classical = field.createSystem(
    whole.topology, nonbondedMethod=PME, nonbondedCutoff=1.0 * unit.nanometer, constraints=HBonds
)

peptide = [atom.index for atom in whole.topology.atoms() if atom.residue.name != "HOH"]
system = MLPotential("so3lr").createMixedSystem(
    whole.topology,
    classical,
    peptide,
    embedding=embedding,
    # charge=..., if it has one
)

integrator = LangevinMiddleIntegrator(300 * unit.kelvin, 1 / unit.picosecond, 0.0005 * unit.picosecond)
simulation = Simulation(whole.topology, system, integrator)
simulation.context.setPositions(whole.positions)
simulation.minimizeEnergy(maxIterations=20)
simulation.context.setVelocitiesToTemperature(300 * unit.kelvin)
print(f"{len(peptide)} atoms by SO3LR, {whole.topology.getNumAtoms() - len(peptide)} by TIP3P")
columns = {"step": True, "potentialEnergy": True, "temperature": True, "speed": True}
simulation.reporters.append(StateDataReporter(sys.stdout, max(1, steps // 10), **columns))
simulation.step(steps)
