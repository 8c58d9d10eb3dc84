// The uniform quintic B-spline, one text for fitting in double and for kernels in any precision.
#pragma once

#include "common/formula.h"

namespace so3md {

/// Rows that an interval of the spline reads.
inline constexpr int kSplineRows = 6;

/// Weights b_s(t) of the rows of an interval, 0 <= t < 1, and weights of the differences between consecutive rows that give the
/// derivative with respect to t (a quartic B-spline). Rows are close to each other: differences first, then weights, keeps in float
/// what weights on whole rows would cancel.
/// A number may be a vector of them.
template <class Real, class Number>
SO3MD_FORMULA void spline_weights_of(Number t, Number* value, Number* difference) {
  const Number u = Real(1) - t, t2 = t * t, t4 = t2 * t2, u4 = u * u * u * u;
  constexpr Real c = Real(1) / Real(120), d = Real(1) / Real(24);
  value[0] = c * u4 * u;
  value[1] = c * (((((Real(5) * t - Real(20)) * t + Real(20)) * t + Real(20)) * t - Real(50)) * t + Real(26));
  value[2] = c * ((((Real(-10) * t + Real(30)) * t) * t - Real(60)) * t2 + Real(66));
  value[3] = c * (((((Real(10) * t - Real(20)) * t - Real(20)) * t + Real(20)) * t + Real(50)) * t + Real(26));
  value[4] = c * (((((Real(-5) * t + Real(5)) * t + Real(10)) * t + Real(10)) * t + Real(5)) * t + Real(1));
  value[5] = c * t4 * t;
  difference[0] = d * u4;
  difference[1] = d * ((((Real(-4) * t + Real(12)) * t - Real(6)) * t - Real(12)) * t + Real(11));
  difference[2] = d * ((((Real(6) * t - Real(12)) * t - Real(6)) * t + Real(12)) * t + Real(11));
  difference[3] = d * ((((Real(-4) * t + Real(4)) * t + Real(6)) * t + Real(4)) * t + Real(1));
  difference[4] = d * t4;
}

template <class Real>
SO3MD_FORMULA void spline_weights(Real t, Real* value, Real* difference) {
  spline_weights_of<Real>(t, value, difference);
}

}  // namespace so3md
