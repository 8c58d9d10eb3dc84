// Splines of the radial filters of a layer, fine enough for float arithmetic.
#pragma once

#include <vector>

#include "network/parameters.h"
#include "network/radial_filter.h"

namespace so3md {

/// A spline over distances up to the cutoff, and its errors.
struct FittedFilter {
  std::vector<double> rows;
  int channels = 0;
  double half = 0.0, intervals_per_unit = 0.0;  ///< as RadialTable has them
  TableError error;

  /// With the rows where they are kept.
  template <class Real>
  RadialTable<Real> table(const Real* stored) const {
    return {stored, channels, half, intervals_per_unit, error.intervals};
  }
};

/// Takes more and more intervals until the error is below what float arithmetic has.
FittedFilter fit_radial_filter(const RadialFilter& filter, double cutoff);

}  // namespace so3md
