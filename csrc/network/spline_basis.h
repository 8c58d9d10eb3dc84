// The uniform quintic B-spline, one text for fitting in double and for kernels in any precision.
#pragma once

#include "physics/formula.h"

namespace so3md {

/// Rows that an interval of the spline reads.
inline constexpr int kSplineRows = 6;

/// Weights b_s(t) of the rows of an interval and their derivatives with respect to t, 0 <= t < 1.
template <class Real>
SO3MD_FORMULA void spline_weights(Real t, Real* value, Real* derivative) {
  const Real u = Real(1) - t, t2 = t * t, t4 = t2 * t2, u4 = u * u * u * u;
  constexpr Real c = Real(1) / Real(120);
  value[0] = c * u4 * u;
  value[1] = c * (((((Real(5) * t - Real(20)) * t + Real(20)) * t + Real(20)) * t - Real(50)) * t + Real(26));
  value[2] = c * ((((Real(-10) * t + Real(30)) * t) * t - Real(60)) * t2 + Real(66));
  value[3] = c * (((((Real(10) * t - Real(20)) * t - Real(20)) * t + Real(20)) * t + Real(50)) * t + Real(26));
  value[4] = c * (((((Real(-5) * t + Real(5)) * t + Real(10)) * t + Real(10)) * t + Real(5)) * t + Real(1));
  value[5] = c * t4 * t;
  derivative[0] = c * Real(-5) * u4;
  derivative[1] = c * ((((Real(25) * t - Real(80)) * t + Real(60)) * t + Real(40)) * t - Real(50));
  derivative[2] = c * (((Real(-50) * t + Real(120)) * t2 - Real(120)) * t);
  derivative[3] = c * ((((Real(50) * t - Real(80)) * t - Real(60)) * t + Real(40)) * t + Real(50));
  derivative[4] = c * ((((Real(-25) * t + Real(20)) * t + Real(30)) * t + Real(20)) * t + Real(5));
  derivative[5] = c * Real(5) * t4;
}

}  // namespace so3md
