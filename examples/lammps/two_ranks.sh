#!/bin/sh
# Liquid water on two processes, each of which computes its own atoms. Arguments go on to LAMMPS:
#   ./two_ranks.sh -var steps 5000
exec mpiexec -n 2 lmp -in water_nvt.in "$@"
