// Dispersion beyond its cutoff in a periodic system, as if atoms were spread evenly there (docs/theory.md, section 13).
//
// A pair's energy depends on both polarisabilities by more than their product, and with a C6 head on both C6. The tail is that of atoms
// with the means of their element, so that it needs no more of the atoms than a few sums.
#pragma once

#include <vector>

#include "halo/halo_exchange.h"
#include "physics/dispersion.h"

namespace so3md {

struct Model;

/// Distances at which the energy of a pair is looked at, and weights with which its integral over what the cutoff leaves out is a sum:
///     int 4 pi r^2 (1 - S(r; R - damping, R)) E(r) dr = sum_k weights[k] E(distances[k]).
/// Gauss-Legendre in r where the switch falls, and in 1/r beyond the cutoff R; relative errors are below 1e-13.
struct TailNodes {
  std::vector<double> distances;  ///< A
  std::vector<double> weights;    ///< A^3
};

TailNodes make_tail_nodes(double cutoff, double damping);

/// C6_0 / alpha0^2 of the free atoms, Hartree.
std::vector<double> dispersion_c6_factors(const Model& model);

/// Rows of the atoms of one system that this process owns. Results are added.
struct TailAtoms {
  int n = 0;
  const int* species = nullptr;       ///< [n] positions in Model::elements
  const double* ratios = nullptr;     ///< [n] Hirshfeld ratios
  const double* c6_ratios = nullptr;  ///< [n] of C6; null: C6 follows from the polarisability
  double* energies = nullptr;         ///< [n], eV
  double* alpha_gradient = nullptr;   ///< [n] dE/dalpha_i at fixed C6 / alpha^2, eV/Bohr^3
  double* c6_gradient = nullptr;      ///< [n] dE/d(C6 / alpha^2), eV/Hartree; not looked at where c6_ratios is null
  double* virials = nullptr;          ///< [n][9] whose sum is dE/dstrain at fixed ratios, eV; null: not wanted
};

class DispersionTail {
 public:
  /// `cutoff`, `damping`: R and the length over which the dispersion is switched off before it, A.
  DispersionTail(const Model& model, double cutoff, double damping);

  /// Of a system in a cell of this volume (A^3). Collective over the processes of `halo`.
  void evaluate(const TailAtoms& atoms, double volume, HaloExchange& halo) const;

  /// The energy alone (eV), of all atoms of a system.
  double energy(const TailAtoms& atoms, double volume) const;

 private:
  /// What the tail brings to each atom of a species.
  struct Share {
    double energy = 0.0;       ///< an atom's energy by its polarisability, eV/Bohr^3
    double gradient = 0.0;     ///< dE/dalpha_i of atoms with the mean C6 / alpha^2, eV/Bohr^3
    double mean_c6 = 0.0;      ///< mean C6 / alpha^2, weighted with the polarisability, Hartree
    double c6_gradient = 0.0;  ///< dE/d(C6 / alpha^2) by the atom's polarisability
  };

  double c6_factor(const TailAtoms& atoms, int i) const;
  std::vector<double> sum(const TailAtoms& atoms) const;
  std::vector<Share> shares(const std::vector<double>& sums, double volume) const;

  TailNodes nodes_;
  DispersionConstants<double> constants_;
  std::vector<double> alphas_, c6_factors_;  // of the free atoms
};

}  // namespace so3md
