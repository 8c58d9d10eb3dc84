// Radial basis functions on the device (eq. 7-10 of docs/theory.md), in double as on the host.
#pragma once

#include "cuda/network/weights.h"

namespace so3md::cuda {

__device__ inline double integer_power(double base, int exponent) {
  double result = 1.0;
  for (; exponent > 0; exponent /= 2) {
    if (exponent % 2 == 1) result *= base;
    base *= base;
  }
  return result;
}

/// g_k(r) and its derivative (1/A).
__device__ inline double radial_basis(const RadialBasisView& basis, int k, double r, double& derivative) {
  switch (basis.type) {
    case RadialBasis::bernstein: {  // binom(K-1, k) y^k (1-y)^(K-1-k) with y = exp(-gamma r)
      const double y = exp(-basis.gamma * r), rest = -expm1(-basis.gamma * r);
      const int n = basis.size - 1;
      const double rise = k > 0 ? k * integer_power(y, k - 1) * integer_power(rest, n - k) : 0.0;
      const double fall = k < n ? (n - k) * integer_power(y, k) * integer_power(rest, n - k - 1) : 0.0;
      derivative = basis.centres[k] * (rise - fall) * (-basis.gamma * y);
      return basis.centres[k] * integer_power(y, k) * integer_power(rest, n - k);
    }
    case RadialBasis::gaussian: {  // exp(-(r - c_k)^2 / (2 w_k^2))
      const double t = (r - basis.centres[k]) / basis.widths[k], value = exp(-0.5 * t * t);
      derivative = -value * t / basis.widths[k];
      return value;
    }
    case RadialBasis::bessel: {  // sin(pi k r / r_c) / r
      const double wave = 3.14159265358979323846 * k / basis.cutoff, value = sin(wave * r) / r;
      derivative = (wave * cos(wave * r) - value) / r;
      return value;
    }
    case RadialBasis::phys: {  // exp(-beta (exp(-r) - mu_k)^2), beta = ((2/K)(1 - exp(-r_c)))^-2
      const double spread = 2.0 / basis.size * (1.0 - exp(-basis.cutoff)), beta = 1.0 / (spread * spread);
      const double y = exp(-r), t = y - basis.centres[k], value = exp(-beta * t * t);
      derivative = 2.0 * beta * t * y * value;
      return value;
    }
  }
  derivative = 0.0;
  return 0.0;
}

}  // namespace so3md::cuda
