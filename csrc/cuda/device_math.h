// The functions that the formulas of csrc/physics ask for, for one number of a GPU's thread.
#pragma once

#include <cmath>

#include "common/formula.h"
#include "cuda/platform.h"

namespace so3md::cuda {

/// The policy `Math` of the pair physics (common/formula.h).
template <class Real_>
struct DeviceMath {
  using Real = Real_;
  using Number = Real_;
  static constexpr bool single = sizeof(Real) == sizeof(float);

  static SO3MD_FORMULA Real constant(Real value) { return value; }
  static SO3MD_FORMULA Real minimum(Real a, Real b) { return a < b ? a : b; }
  static SO3MD_FORMULA Real maximum(Real a, Real b) { return a > b ? a : b; }

  static SO3MD_FORMULA Real exponential(Real x) {
    if constexpr (single)
      return expf(x);
    else
      return exp(x);
  }

  static SO3MD_FORMULA Real error_function(Real t, Real) {
    if constexpr (single)
      return erff(t);
    else
      return erf(t);
  }

  static SO3MD_FORMULA Real inverse_square_root(Real x) {
    if constexpr (single)
      return rsqrtf(x);
    else
      return rsqrt(x);
  }

  /// Through x^(-6/7), as on the CPU: x^(1/7) = x x^(-6/7). Zero has the root zero and a large finite slope.
  static SO3MD_FORMULA ValueAndSlope<Real> seventh_root(Real x) {
    Real inverse;
    if constexpr (single)
      inverse = exp2f(-6.0f / 7.0f * log2f(maximum(x, 1e-30f)));
    else
      inverse = exp2(-6.0 / 7.0 * log2(maximum(x, 1e-300)));
    return {x * inverse, inverse * Real(1.0 / 7)};
  }
};

}  // namespace so3md::cuda
