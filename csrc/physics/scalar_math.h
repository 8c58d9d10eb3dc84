// The functions that the formulas of csrc/physics ask for, for one number in double precision.
#pragma once

#include <algorithm>
#include <cmath>

#include "common/formula.h"

namespace so3md {

/// The policy `Math` (common/formula.h).
struct ScalarMath {
  using Real = double;
  using Number = double;
  static double constant(double value) { return value; }
  static double minimum(double a, double b) { return std::min(a, b); }
  static double maximum(double a, double b) { return std::max(a, b); }
  static double exponential(double x) { return std::exp(x); }

  /// The second is exp(-x^2), which kernels need for theirs.
  static double error_function(double x, double) { return std::erf(x); }

  /// Through x^(-6/7), as in kernels: zero has the root zero and a large finite slope.
  static ValueAndSlope<double> seventh_root(double x) {
    const double inverse = std::pow(std::max(x, 1e-300), -6.0 / 7.0);
    return {x * inverse, inverse / 7.0};
  }
};

}  // namespace so3md
