// Elementary functions on short vectors, accurate to a few units in the last place of their type.
#pragma once

#include "cpu/simd.h"

namespace SO3MD_CPU_NAMESPACE {

/// exp(x): x = n ln 2 + f with |f| <= ln 2 / 2, exp(f) by its Taylor series, 2^n by the exponent bits. Arguments are clamped to the range
/// of normal numbers: below it the result is about 1e-38 (float) or 1e-308 (double) instead of 0, above it the largest power of two.
template <class Real>
inline __attribute__((always_inline)) Vec<Real> exponential(Vec<Real> x) {
  constexpr bool single = sizeof(Real) == sizeof(float);
  constexpr Real limit = single ? Real(87.0) : Real(708.0);
  // Adding 1.5 * 2^(mantissa bits) rounds to an integer and leaves it in the low bits.
  constexpr Real shifter = single ? Real(12582912.0) : Real(6755399441055744.0);
  constexpr Real ln2_high = single ? Real(0.693359375) : Real(6.93147180369123816490e-01);
  constexpr Real ln2_low = single ? Real(-2.12194440054690583e-4) : Real(1.90821492927058770002e-10);
  constexpr int mantissa_bits = single ? 23 : 52;
  constexpr int exponent_bias = single ? 127 : 1023;
  constexpr double inverse_factorial[] = {
      1.0,        1.0,         1.0 / 2,      1.0 / 6,       1.0 / 24,       1.0 / 120,       1.0 / 720,
      1.0 / 5040, 1.0 / 40320, 1.0 / 362880, 1.0 / 3628800, 1.0 / 39916800, 1.0 / 479001600, 1.0 / 6227020800.0};
  constexpr int degree = single ? 7 : 13;

  x = minimum<Real>(maximum<Real>(x, broadcast<Real>(-limit)), broadcast<Real>(limit));
  const Vec<Real> shifted = x * Real(1.44269504088896340736) + shifter;
  const Vec<Real> n = shifted - shifter;
  const Vec<Real> f = x - n * ln2_high - n * ln2_low;
  Vec<Real> series = broadcast<Real>(static_cast<Real>(inverse_factorial[degree]));
  for (int k = degree - 1; k >= 0; --k) series = series * f + static_cast<Real>(inverse_factorial[k]);
  const VecInt<Real> exponent = reinterpret_cast<VecInt<Real>>(shifted) + exponent_bias;
  const VecInt<Real> power = exponent << mantissa_bits;
  return series * reinterpret_cast<Vec<Real>>(power);
}

/// 1 / (1 + exp(-x)).
template <class Real>
inline __attribute__((always_inline)) Vec<Real> logistic(Vec<Real> x) {
  return Real(1) / (Real(1) + exponential<Real>(-x));
}

}  // namespace SO3MD_CPU_NAMESPACE
