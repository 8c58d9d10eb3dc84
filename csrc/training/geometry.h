// What a network in training sees of the positions: functions of pairs of atoms and their slopes, which have no parameters.
#pragma once

#include <cstdint>
#include <vector>

#include "model/radial.h"
#include "network/kernels.h"

namespace so3md::training {

/// Where the results for pairs go, (pairs) and so on; see python/so3md/training/geometry.py. radial: not written to where the basis has
/// parameters.
template <class Real>
struct GeometryArrays {
  Real *distance = nullptr, *unit = nullptr;           ///< (pairs), (pairs, 3)
  Real *phi = nullptr, *phi_slope = nullptr;           ///< (pairs)
  Real *radial = nullptr, *radial_slope = nullptr;     ///< (pairs, basis)
  Real *harmonics = nullptr, *harmonics_by = nullptr;  ///< (pairs, coordinates), (pairs, coordinates, 3)
};

/// Computes in double precision.
class Geometry {
 public:
  /// Of the hyperparameters: cutoff function, radial basis and degrees.
  explicit Geometry(const Hyperparameters& hyper);

  /// displacement (pairs, 3): r_j - r_i, A, none of length zero.
  template <class Real>
  void compute(std::int64_t pairs, const double* displacement, const GeometryArrays<Real>& to) const;

 private:
  Cutoff cutoff_;
  RadialFunctions radial_;
  bool has_parameters_;  ///< the radial basis
  HarmonicsTable<double> table_;
  Layout layout_;  ///< of chi alone
};

}  // namespace so3md::training
