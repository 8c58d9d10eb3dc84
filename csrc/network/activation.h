// Activation functions of single numbers; the vector forms are in csrc/cpu/activation.h.
#pragma once

#include <cmath>

#include "model/hyperparameters.h"

namespace so3md {

/// act(x) and act'(x). Every activation is 0 at 0, which keeps padded channels at zero.
inline double activate(Activation type, double x, double* derivative) {
  switch (type) {
    case Activation::identity:
      *derivative = 1.0;
      return x;
    case Activation::silu: {
      const double s = 1.0 / (1.0 + std::exp(-x));
      *derivative = s * (1.0 + x * (1.0 - s));
      return x * s;
    }
    case Activation::tanh: {
      const double t = std::tanh(x);
      *derivative = 1.0 - t * t;
      return t;
    }
    case Activation::gelu: {  // x logistic(2 a (x + b x^3)), the tanh form
      constexpr double a = 0.79788456080286535588, b = 0.044715;
      const double s = 1.0 / (1.0 + std::exp(-2.0 * a * (x + b * x * x * x)));
      *derivative = s + x * s * (1.0 - s) * 2.0 * a * (1.0 + 3.0 * b * x * x);
      return x * s;
    }
    case Activation::relu:
      *derivative = x > 0.0 ? 1.0 : 0.0;
      return x > 0.0 ? x : 0.0;
  }
  *derivative = 0.0;
  return 0.0;
}

inline double activate(Activation type, double x) {
  double derivative;
  return activate(type, x, &derivative);
}

}  // namespace so3md
