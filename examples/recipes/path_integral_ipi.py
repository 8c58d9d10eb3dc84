"""Path-integral dynamics with i-PI: all beads are evaluated together; two estimators of the kinetic energy.

python path_integral_ipi.py [STRUCTURE] [STEPS] [BEADS]

STRUCTURE: a file, or "water" (default), 64 molecules. It needs i-PI (pip install ipi).
"""

import subprocess
import sys
from pathlib import Path

import numpy as np
from ase.io import write

from so3md.ipi import driver_path
from so3md.structures import example_path, read_structure

name = sys.argv[1] if len(sys.argv) > 1 else "water"
steps = int(sys.argv[2]) if len(sys.argv) > 2 else 2000
beads = int(sys.argv[3]) if len(sys.argv) > 3 else 8

atoms = read_structure(str(example_path(name)) if name == "water" else name)
if not atoms.pbc.any():
    atoms.center(vacuum=10.0)  # i-PI always has a cell; the driver goes by the template's periodicity
write("start.xyz", atoms)
Path("input.xml").write_text(f"""<simulation verbosity='low'>
  <output prefix='path_integral'>
    <properties stride='1' filename='log'>
      [step, temperature{{kelvin}}, potential{{electronvolt}}, kinetic_td{{electronvolt}}, kinetic_cv{{electronvolt}}]
    </properties>
  </output>
  <total_steps>{steps}</total_steps>
  <prng><seed>7</seed></prng>
  <ffdirect name='so3md' pbc='False'>
    <pes>custom</pes>
    <pes_path>{driver_path()}</pes_path>
    <parameters> {{template: start.xyz, model: so3lr}} </parameters>
    <batch_size>{beads}</batch_size>
  </ffdirect>
  <system>
    <initialize nbeads='{beads}'>
      <file mode='ase'> start.xyz </file>
      <velocities mode='thermal' units='kelvin'> 300 </velocities>
    </initialize>
    <forces><force forcefield='so3md'/></forces>
    <motion mode='dynamics'>
      <dynamics mode='nvt'>
        <thermostat mode='pile_l'><tau units='femtosecond'>50</tau></thermostat>
        <timestep units='femtosecond'>0.5</timestep>
      </dynamics>
    </motion>
    <ensemble><temperature units='kelvin'>300</temperature></ensemble>
  </system>
</simulation>
""")
subprocess.run(["i-pi", "input.xml"], check=True)

rows = np.loadtxt("path_integral.log")[steps // 5 :]
for column, kind in ((3, "primitive"), (4, "virial")):
    blocks = [block.mean() for block in np.array_split(rows[:, column], 10)]
    error = np.std(blocks) / 3  # of the mean of ten
    print(f"kinetic energy, {kind}: {np.mean(blocks):.4f} +- {error:.4f} eV")
print(f"classical: {1.5 * len(atoms) * 300 * 8.617333e-5:.4f} eV")
