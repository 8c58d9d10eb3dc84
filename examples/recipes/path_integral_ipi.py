"""Path-integral dynamics with i-PI: all beads are evaluated together; two estimators of the kinetic energy.

python path_integral_ipi.py [STRUCTURE] [STEPS] [BEADS] [DRIVERS]

STRUCTURE: a file, or "water" (default), 64 molecules. DRIVERS: so many processes evaluate one bead each at a time, over
a socket; 0 (default): all beads together, in the process of i-PI. It needs i-PI (pip install ipi).
"""

import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
from ase.io import write

from so3md.ipi import driver_path
from so3md.structures import example_path, read_structure

name = sys.argv[1] if len(sys.argv) > 1 else "water"
steps = int(sys.argv[2]) if len(sys.argv) > 2 else 2000
beads = int(sys.argv[3]) if len(sys.argv) > 3 else 8
drivers = int(sys.argv[4]) if len(sys.argv) > 4 else 0
address = f"so3md_{os.getpid()}"

atoms = read_structure(str(example_path(name)) if name == "water" else name)
if not atoms.pbc.any():
    atoms.center(vacuum=10.0)  # i-PI always has a cell; the driver goes by the template's periodicity
write("start.xyz", atoms)

together = f"""<ffdirect name='so3md' pbc='False'>
    <pes>custom</pes>
    <pes_path>{driver_path()}</pes_path>
    <parameters> {{template: start.xyz, model: so3lr}} </parameters>
    <batch_size>{beads}</batch_size>
  </ffdirect>"""
by_socket = f"<ffsocket name='so3md' mode='unix' pbc='False'><address>{address}</address></ffsocket>"
Path("input.xml").write_text(f"""<simulation verbosity='low'>
  <output prefix='path_integral'>
    <properties stride='1' filename='log'>
      [step, temperature{{kelvin}}, potential{{electronvolt}}, kinetic_td{{electronvolt}}, kinetic_cv{{electronvolt}}]
    </properties>
  </output>
  <total_steps>{steps}</total_steps>
  <prng><seed>7</seed></prng>
  {by_socket if drivers else together}
  <system>
    <initialize nbeads='{beads}'>
      <file mode='ase'> start.xyz </file>
      <velocities mode='thermal' units='kelvin'> 300 </velocities>
    </initialize>
    <forces><force forcefield='so3md'/></forces>
    <motion mode='dynamics'>
      <dynamics mode='nvt'>
        <thermostat mode='pile_l'><tau units='femtosecond'>50</tau></thermostat>
        <timestep units='femtosecond'>0.25</timestep>
      </dynamics>
    </motion>
    <ensemble><temperature units='kelvin'>300</temperature></ensemble>
  </system>
</simulation>
""")

server = subprocess.Popen(["i-pi", "input.xml"])
if drivers:
    while server.poll() is None and not Path(f"/tmp/ipi_{address}").exists():
        time.sleep(0.2)
    driver = ["i-pi-driver-py", "-u", "-a", address, "-m", "custom", "-P", driver_path()]
    for _ in range(drivers):
        subprocess.Popen([*driver, "-o", "template=start.xyz,model=so3lr,threads=1"])  # ends when i-PI does
if server.wait() != 0:
    sys.exit("i-PI failed")

rows = np.loadtxt("path_integral.log")[steps // 5 :]
for column, kind in ((3, "primitive"), (4, "virial")):
    blocks = [block.mean() for block in np.array_split(rows[:, column], 10)]
    error = np.std(blocks) / 3  # of the mean of ten
    print(f"kinetic energy, {kind}: {np.mean(blocks):.4f} +- {error:.4f} eV")
print(f"classical: {1.5 * len(atoms) * 300 * 8.617333e-5:.4f} eV")
