// Electrostatics of Gaussian-smeared partial charges, truncated smoothly.
#pragma once

#include "physics/switching.h"

namespace so3md {

/// What the kernel of the electrostatics needs besides the distance.
template <class Real>
struct ElectrostaticsConstants {
  Real inverse_sigma;   ///< 1/s
  Real gaussian_scale;  ///< 2/(s sqrt(pi))
  bool truncated;
  Real cutoff;           ///< R; this and what follows is used when truncated
  Real value_at_cutoff;  ///< f(R)
  Real slope_at_cutoff;  ///< f'(R)
  Real switch_on;        ///< 0.45 R
  Real inverse_width;    ///< 1/(R - 0.45 R)
};

/// `cutoff` in A, infinity for none; `sigma` in A.
template <class Real>
SO3MD_FORMULA ElectrostaticsConstants<Real> electrostatics_constants(double sigma, double cutoff) {
  const double gaussian_scale = 1.1283791670955126 / sigma;
  const bool truncated = cutoff < 1e300;
  ElectrostaticsConstants<Real> constants{static_cast<Real>(1 / sigma), static_cast<Real>(gaussian_scale), truncated, 0, 0, 0, 0, 0};
  if (truncated) {
    const double t = cutoff / sigma;
    const double value = __builtin_erf(t) / cutoff;
    const double slope = (gaussian_scale * __builtin_exp(-t * t) - value) / cutoff;
    const double switch_on = 0.45 * cutoff;
    constants.cutoff = static_cast<Real>(cutoff);
    constants.value_at_cutoff = static_cast<Real>(value);
    constants.slope_at_cutoff = static_cast<Real>(slope);
    constants.switch_on = static_cast<Real>(switch_on);
    constants.inverse_width = static_cast<Real>(1 / (cutoff - switch_on));
  }
  return constants;
}

/// Equations (34) to (36): F(r) in 1/A and dF/dr in 1/A^2; the energy of a pair is k_e q_i q_j F(r). With f(r) = erf(r/s)/r
///     F(r) = f(r)                                                          without cutoff,
///     F(r) = w (f - f(R)) + (1-w) (f - f(R) - f'(R)(r-R)),  w = S(r; 0.45 R, R),   for r < R
///          = f - f(R) - (1-w) f'(R)(r-R).
/// `w` is the value and slope of the switch at r; without cutoff it is not looked at.
template <class Math>
SO3MD_FORMULA ValueAndSlope<typename Math::Number> electrostatics_pair(const ElectrostaticsConstants<typename Math::Real>& constants,
                                                                       typename Math::Number r, typename Math::Number inverse_r,
                                                                       const ValueAndSlope<typename Math::Number>& w) {
  using Real = typename Math::Real;
  using Number = typename Math::Number;
  const Number t = r * constants.inverse_sigma;
  const Number gaussian = Math::exponential(-t * t);
  const Number f = Math::error_function(t, gaussian) * inverse_r;
  const Number df = (constants.gaussian_scale * gaussian - f) * inverse_r;
  if (!constants.truncated) return {f, df};
  const Number from_cutoff = r - constants.cutoff;
  const Number linear = Real(1) - w.value;
  return {f - constants.value_at_cutoff - linear * (constants.slope_at_cutoff * from_cutoff),
          df - constants.slope_at_cutoff * (linear - w.slope * from_cutoff)};
}

}  // namespace so3md
