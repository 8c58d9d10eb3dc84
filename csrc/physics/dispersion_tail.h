// Dispersion beyond its cutoff in a periodic system, as if atoms were spread evenly there (docs/theory.md, section 13).
//
// A pair's energy depends on both polarisabilities by more than their product. The tail is that of atoms with the mean polarisability of
// their element, so that it needs no more of the atoms than the sums of their polarisabilities.
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
  const int* species = nullptr;      ///< [n] positions in Model::elements
  const double* ratios = nullptr;    ///< [n] Hirshfeld ratios
  double* energies = nullptr;        ///< [n], eV
  double* alpha_gradient = nullptr;  ///< [n] dE/dalpha_i, eV/Bohr^3
  double* virials = nullptr;         ///< [n][9] whose sum is dE/dstrain at fixed ratios, eV; null: not wanted
};

class DispersionTail {
 public:
  /// `cutoff`, `damping`: R and the length over which the dispersion is switched off before it, A.
  DispersionTail(const Model& model, double cutoff, double damping);

  /// Of a system in a cell of this volume (A^3). Collective over the processes of `halo`.
  void evaluate(const TailAtoms& atoms, double volume, HaloExchange& halo) const;

  /// The energy alone (eV), from the numbers of atoms of each species, and the sums of their ratios.
  double energy(const double* counts, const double* ratios, double volume) const;

 private:
  /// What the tail brings to each atom of a species.
  struct Share {
    double energy = 0.0;    ///< an atom's energy by its polarisability, eV/Bohr^3
    double gradient = 0.0;  ///< dE/dalpha_i, eV/Bohr^3
  };

  std::vector<Share> shares(const double* counts, const double* ratios, double volume) const;

  TailNodes nodes_;
  DispersionConstants<double> constants_;
  std::vector<double> alphas_, c6_factors_;  // of the free atoms
};

}  // namespace so3md
