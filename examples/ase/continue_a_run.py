"""A run with checkpoints from Python: stop it at any time, and go on exactly.

python continue_a_run.py
"""

from ase.build import molecule

from so3md import So3kratesCalculator
from so3md.dynamics import Settings, Simulation

settings = Settings(thermostat="csvr", temperature=300, timestep=0.5, seed=1, log_interval=50)
atoms = molecule("CH3CH2OH")
atoms.calc = So3kratesCalculator()

with Simulation.start(atoms, settings, "ethanol", overwrite=True) as simulation:
    simulation.run(500)

# Later, perhaps in another process:
with Simulation.resume("ethanol", So3kratesCalculator()) as simulation:
    simulation.run(500)
    print(f"step {simulation.step}: {simulation.observe().temperature_K:.0f} K; see ethanol/log.csv")
