// The formulas of the cutoff functions, for CPU and GPU.
#pragma once

#include <cmath>

#include "common/formula.h"
#include "model/hyperparameters.h"

namespace so3md {

/// phi(r) and dphi/dr (1/A), both 0 from `cutoff` (A) on: eq. 3-6 of docs/theory.md. `exponent`: p of the polynomial.
SO3MD_FORMULA ValueAndSlope<double> cutoff_function(CutoffFunction type, double cutoff, double exponent, double r) {
  constexpr double pi = 3.14159265358979323846;
  if (r >= cutoff) return {0.0, 0.0};
  const double t = r / cutoff;
  switch (type) {
    case CutoffFunction::phys: {
      const double t2 = t * t;
      return {1.0 - t2 * t * (10.0 - 15.0 * t + 6.0 * t2), -30.0 * t2 * (1.0 - t) * (1.0 - t) / cutoff};
    }
    case CutoffFunction::cosine:
      return {0.5 * (1.0 + std::cos(pi * t)), -0.5 * pi * std::sin(pi * t) / cutoff};
    case CutoffFunction::polynomial: {
      const double p = exponent;
      const double power = std::pow(t, p - 1.0);
      return {1.0 - power * t * (0.5 * (p + 1.0) * (p + 2.0) - p * (p + 2.0) * t + 0.5 * p * (p + 1.0) * t * t),
              -0.5 * p * (p + 1.0) * (p + 2.0) * power * (1.0 - t) * (1.0 - t) / cutoff};
    }
    case CutoffFunction::exponential: {
      const double rest = (cutoff - r) * (cutoff + r);
      const double value = std::exp(-r * r / rest);
      return {value, -value * 2.0 * r * cutoff * cutoff / (rest * rest)};
    }
  }
  return {0.0, 0.0};
}

}  // namespace so3md
