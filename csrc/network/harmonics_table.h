// The prefactors of the real spherical harmonics.
#pragma once

#include <cmath>
#include <numbers>

#include "network/kernels.h"

namespace so3md {

template <class Real>
HarmonicsTable<Real> make_harmonics_table(const Hyperparameters& hyper) {
  HarmonicsTable<Real> table;
  table.max_degree = hyper.degrees.back();
  for (int l = 0; l <= table.max_degree; ++l)
    for (int m = 0; m <= l; ++m) {
      const double ratio = std::exp(std::lgamma(l - m + 1.0) - std::lgamma(l + m + 1.0));
      const double norm = std::sqrt((2.0 * l + 1.0) / (4.0 * std::numbers::pi) * ratio);
      table.prefactor[l][m] = static_cast<Real>(m == 0 ? norm : norm * std::numbers::sqrt2);
    }
  return table;
}

}  // namespace so3md
