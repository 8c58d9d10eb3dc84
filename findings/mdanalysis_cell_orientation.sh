#!/bin/sh
# MDAnalysis keeps a cell as three lengths and three angles. A matrix given as `ts.triclinic_dimensions` comes back turned into the standard
# orientation (first vector along x, second in the xy plane), while positions stay as they are: without a warning, cell and positions no
# longer belong together. XTC and TRR store a matrix, and get the turned one.
#
# Guess before the run: a format that stores a matrix returns the matrix that was set, or the setter refuses one that is not lower triangular.
# Seen (MDAnalysis 2.11.0): with vectors along z, x and y, two atoms 1 A apart across the boundary are 0 A apart after setting the cell.
# What follows: turn positions, velocities and forces with the cell before they are handed to MDAnalysis.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install --quiet "MDAnalysis==2.11.0" "numpy==2.3.5"
venv/bin/python -W error::UserWarning - <<'P'
import numpy as np
import MDAnalysis
from MDAnalysis.lib.distances import calc_bonds

cell = np.array([[0, 0, 10.0], [8.0, 0, 0], [0, 9.0, 0]])
positions = np.array([[0.5, 0.5, 0.5], [0.5, 0.5, 9.5]])
scaled = (positions[1] - positions[0]) @ np.linalg.inv(cell)
true = np.linalg.norm((scaled - np.round(scaled)) @ cell)

universe = MDAnalysis.Universe.empty(2, trajectory=True)
universe.atoms.positions = positions
universe.trajectory.ts.triclinic_dimensions = cell
with MDAnalysis.Writer("two.xtc", 2) as writer:
    writer.write(universe.atoms)
read = MDAnalysis.Universe.empty(2, trajectory=True)
read.load_new("two.xtc")
kept = read.trajectory.ts.triclinic_dimensions
first, second = read.atoms.positions
distance = calc_bonds(first[None], second[None], box=read.dimensions)[0]
print("cell that was set:", cell.tolist())
print("cell in the file: ", kept.tolist())
print(f"distance in the cell that was set: {true:.3f} A; in the file: {distance:.3f} A")
assert np.allclose(kept, np.diag([10.0, 8.0, 9.0])), "the behaviour has changed: another cell is kept"
assert np.allclose([first, second], positions, atol=1e-3), "the behaviour has changed: positions are turned"
assert abs(true - 1.0) < 1e-12 and distance < 1e-3, "the behaviour has changed: other distances"
P
echo "as described"
