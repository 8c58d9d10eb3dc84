// What the sums over all periodic images take of atoms, and give to them.
#pragma once

namespace so3md {

/// Rows of the atoms of one system that this process owns. Results are added, except that of potentials, which is set.
struct EwaldAtoms {
  int n = 0;
  const double* positions = nullptr;  ///< [n][3], A; any image of an atom
  const double* charges = nullptr;    ///< [n], e
  double* potentials = nullptr;       ///< [n] dE/dq, eV/e
  double* energies = nullptr;         ///< [n] half of charge times potential, eV
  double* forces = nullptr;           ///< [n][3] at fixed charges, eV/A; null: neither these nor virials are wanted
  double* virials = nullptr;          ///< [n][9] whose sum over all processes is dE/dstrain at fixed charges, eV
  bool atomic_virials = true;         ///< whether each of them is to be that of its atom, or their sum is all that is wanted
};

}  // namespace so3md
