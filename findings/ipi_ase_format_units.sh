#!/bin/sh
# i-PI takes units for a trajectory, such as positions{angstrom}. With format='ase' (extended XYZ), it refuses Angstrom, in which that format is
# written, and does so when the first frame is due, not when the input is read: forces have been computed by then.
#
# Guess before the run: a unit that the format has by itself is accepted, and one that it cannot have is refused with the input.
# Seen (i-PI 3.3.1): ValueError at the first frame for positions{angstrom}; positions without a unit is written, in Angstrom.
# What follows: leave the unit out with format='ase'. so3md's recipes do.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install --quiet "ipi==3.3.1" "ase==3.29.0" "numpy==2.3.5"
cat > start.xyz <<'X'
1
Lattice="10 0 0 0 10 0 0 0 10" Properties=species:S:1:pos:R:3 pbc="F F F"
Ar 1.0 2.0 3.0
X
input() {
  cat <<X
<simulation verbosity='quiet'>
  <output prefix='$1'>
    <properties stride='1' filename='log'> [step, potential] </properties>
    <trajectory stride='1' filename='positions' format='ase'> $2 </trajectory>
  </output>
  <total_steps>1</total_steps>
  <prng><seed>1</seed></prng>
  <ffdirect name='zero'> <pes>dummy</pes> </ffdirect>
  <system>
    <initialize nbeads='1'> <file mode='ase'> start.xyz </file> </initialize>
    <forces><force forcefield='zero'/></forces>
    <motion mode='dynamics'>
      <dynamics mode='nve'> <timestep units='femtosecond'>1</timestep> </dynamics>
    </motion>
    <ensemble><temperature units='kelvin'>300</temperature></ensemble>
  </system>
</simulation>
X
}
input plain "positions" > plain.xml
input angstrom "positions{angstrom}" > angstrom.xml
PATH="$folder/venv/bin:$PATH"
i-pi plain.xml > plain.out 2>&1
grep -q "^Ar *1.0* *2.0* *3.0*" plain.positions_0.extxyz || { echo "the behaviour has changed: not in Angstrom"; cat plain.positions_0.extxyz; exit 1; }
echo "without a unit: $(sed -n 3p plain.positions_0.extxyz)"
timeout 60 i-pi angstrom.xml > angstrom.out 2>&1 || true
grep 'ValueError: Only "ase" or default units' angstrom.out || { echo "the behaviour has changed: it is accepted"; tail -n 5 angstrom.out; exit 1; }
grep -q "^ *0" angstrom.log || { echo "the behaviour has changed: refused before the first evaluation"; exit 1; }
echo "as described"
