// The potential of charges at points, each with each: docs/theory.md, section 17.
#pragma once

#include "common/thread_pool.h"
#include "geometry/cell.h"

namespace so3md {

struct PointCharges {
  int n = 0;
  const double* positions = nullptr;  ///< [n][3], A
  const double* charges = nullptr;    ///< [n], e
  double width = 0.0;                 ///< of their Gaussians, A; 0: points
  double cutoff = 0.0;                ///< A; infinity: none
};

/// Potentials (V, [n]) of the charges and fields (V/A, [n][3]), minus their gradients, at n points ([n][3], A): of each charge that of the
/// nearest image within the cutoff. Each point is summed by one thread, in the order of the charges. Throws std::invalid_argument with a
/// finished message for lengths that make no sense, periodic cells without a cutoff or with one beyond half their height, and a
/// point at the place of a charge.
void point_charge_potentials(const PointCharges& charges, int n, const double* points, const Cell& cell, ThreadPool& pool,
                             double* potentials, double* fields);

}  // namespace so3md
