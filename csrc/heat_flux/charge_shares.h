// How the charge that atoms share with all others (eq. 28 of docs/theory.md) moves about in space.
#pragma once

#include <vector>

#include "geometry/cell.h"
#include "halo/halo_exchange.h"

namespace so3md::heat_flux {

/// G(r) = sum over all atoms j of m_j + (r - r_j) c_j (eq. 77), where c_j is the rate of the raw charge of atom j and m_j its moments.
/// Along periodic directions r - r_j is taken between the nearest images: its fractional coordinates are from -1/2 to 1/2, and 0 at both
/// ends.
///
/// The differences separate into lattice directions, so that sums over sorted coordinates serve all atoms: n log n in place of n^2.
class ChargeShares {
 public:
  /// `raw`: [n_owned][kParts] raw charges. `cell` null: no direction is periodic. Collective.
  ChargeShares(int n_owned, const double* positions, const double* raw, const Cell* cell, HaloExchange& halo);

  /// G at the position of an owned atom.
  Vec3 at(const double* position) const;

  /// The sum of c_j.
  double rate() const { return rate_; }

 private:
  void sort(int k, const std::vector<double>& coordinates, const std::vector<double>& rates);
  double below(int k, double coordinate) const;

  Cell cell_;
  double rate_ = 0.0;
  Vec3 moment_{};
  Vec3 place_{};                   // sum of c_j times fractional coordinates
  std::vector<double> sorted_[3];  // fractional coordinates, of periodic directions
  std::vector<double> sums_[3];    // [count + 1] of c_j below them
};

}  // namespace so3md::heat_flux
