"""Input files for LAMMPS with `pair_style so3krates`, from structures of ASE."""

from so3md.lammps_input.script import DATA, INPUT, ForceField, Minimization, script
from so3md.lammps_input.structure import LammpsStructure

__all__ = ["DATA", "INPUT", "ForceField", "LammpsStructure", "Minimization", "script"]
