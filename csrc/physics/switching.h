// The smooth switch between two distances.
#pragma once

#include "common/formula.h"

namespace so3md {

/// Equation (32): S(r; on, off) = sigma(1-c) / (sigma(1-c) + sigma(c)),  sigma(t) = exp(-1/t) for t > 0, else 0,  c = (r-on)/(off-on),
/// and dS/dr: 1 below `on`, 0 above `off`, all derivatives continuous. Written with one exponential,
///     S = 1 / (1 + exp(1/(1-c) - 1/c)),  dS/dc = -S (1-S) (1/c^2 + 1/(1-c)^2).
///
/// c is kept off 0 and 1 by a margin at which the exponential is at the end of its range: there S is 1 exactly, or of the order of the
/// smallest number instead of 0, and the slope is negligible (below 1e-30).
template <class Math>
SO3MD_FORMULA ValueAndSlope<typename Math::Number> smooth_switch(typename Math::Number r, typename Math::Real on,
                                                                 typename Math::Real inverse_width) {
  using Real = typename Math::Real;
  using Number = typename Math::Number;
  constexpr Real margin = sizeof(Real) == sizeof(float) ? Real(1.0 / 86.0) : Real(1.0 / 700.0);
  const Number c = Math::minimum(Math::maximum((r - on) * inverse_width, Math::constant(margin)), Math::constant(Real(1) - margin));
  const Number product = c * (Real(1) - c);
  const Number inverse = Real(1) / product;
  const Number exponential = Math::exponential((Real(2) * c - Real(1)) * inverse);
  ValueAndSlope<Number> result;  // filled in place: GCC would copy two named numbers through memory
  result.value = Real(1) / (Real(1) + exponential);
  result.slope = -(exponential * result.value) * result.value * (Real(1) - Real(2) * product) * (inverse * inverse * inverse_width);
  return result;
}

}  // namespace so3md
