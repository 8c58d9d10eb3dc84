#!/bin/sh
# ASE's FixBondLengths leaves the lengths that it was given out of `todict`. A constraint that is made again from that dictionary (databases,
# trajectories and JSON files do so) fixes the lengths of the structure at hand instead, without a word.
#
# Guess before the run: `todict` returns every argument of the constructor that decides what the constraint does.
# Seen (ASE 3.29.0): pairs and tolerance are there, bondlengths is not; the copy keeps a bond of 1.512 A where 2.5 A was asked for.
# What follows: who stores such a constraint must store the lengths beside it, as so3md's checkpoints do.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install --quiet "ase==3.29.0" "numpy==2.3.5"
venv/bin/python - <<'P'
from ase.build import molecule
from ase.constraints import FixBondLengths, dict2constraint
from ase.io import read, write

atoms = molecule("CH3CH2OH")
constraint = FixBondLengths([[0, 1]], bondlengths=[2.5])
described = constraint.todict()
print("todict:", described)
assert "bondlengths" not in described["kwargs"], "the behaviour has changed: the lengths are there"
assert dict2constraint(described).bondlengths is None, "the behaviour has changed"

atoms.set_constraint(constraint)
write("one.traj", atoms)
for name, some in (("as given", atoms), ("from a .traj file", read("one.traj"))):
    some = some.copy() if name == "as given" else some
    some.set_positions(some.get_positions())  # lets the constraint put the bond right
    print(f"{name}: bond of {some.get_distance(0, 1):.3f} A")
assert abs(atoms.copy().get_distance(0, 1) - read("one.traj").get_distance(0, 1)) < 1e-9
moved = read("one.traj")
moved.set_positions(moved.get_positions())
assert abs(moved.get_distance(0, 1) - 1.512) < 1e-3, "the behaviour has changed: the length was kept"
P
echo "as described"
