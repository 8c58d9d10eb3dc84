// Activation functions on rows of numbers; lengths are multiples of a panel.
#pragma once

#include <type_traits>

#include "cpu/vector_math.h"
#include "model/hyperparameters.h"

namespace SO3MD_CPU_NAMESPACE {

/// act(x) and act'(x); formulas as in csrc/network/activation.h.
template <class Real>
inline __attribute__((always_inline)) Vec<Real> activation(Activation type, Vec<Real> x, Vec<Real>& derivative) {
  switch (type) {
    case Activation::identity:
      derivative = broadcast<Real>(1);
      return x;
    case Activation::silu: {
      const Vec<Real> s = logistic<Real>(x), value = x * s;
      derivative = s + value * (Real(1) - s);
      return value;
    }
    case Activation::tanh: {
      const Vec<Real> t = Real(2) * logistic<Real>(Real(2) * x) - Real(1);
      derivative = Real(1) - t * t;
      return t;
    }
    case Activation::gelu: {
      constexpr Real a = Real(0.79788456080286535588), b = Real(0.044715);
      const Vec<Real> s = logistic<Real>(Real(2) * a * (x + b * x * x * x));
      derivative = s + x * s * (Real(1) - s) * Real(2) * a * (Real(1) + Real(3) * b * x * x);
      return x * s;
    }
    case Activation::relu:
      derivative = x > Real(0) ? broadcast<Real>(1) : Vec<Real>{};
      return x > Real(0) ? x : Vec<Real>{};
  }
  derivative = Vec<Real>{};
  return x;
}

/// Calls body with a type that the compiler knows for the most frequent one: the choice is made once, not for every register.
template <class Body>
inline __attribute__((always_inline)) void with_activation(Activation type, const Body& body) {
  if (type == Activation::silu)
    body(std::integral_constant<Activation, Activation::silu>{});
  else
    body(type);
}

/// out = act(in); in and out may be the same.
template <class Real>
inline void activate_rows(Activation type, int count, const Real* in, Real* out) {
  with_activation(type, [&](auto kind) {
    Vec<Real> unused;
    for (int i = 0; i < count; i += kWidth<Real>) store<Real>(out + i, activation<Real>(kind, load<Real>(in + i), unused));
  });
}

/// value = act(z) and z = act'(z) in place.
template <class Real>
inline void activate_keep_slope(Activation type, int count, Real* z, Real* value) {
  with_activation(type, [&](auto kind) {
    for (int i = 0; i < count; i += kWidth<Real>) {
      Vec<Real> slope;
      store<Real>(value + i, activation<Real>(kind, load<Real>(z + i), slope));
      store<Real>(z + i, slope);
    }
  });
}

/// gradient *= slope.
template <class Real>
inline void multiply_rows(int count, const Real* slope, Real* gradient) {
  for (int i = 0; i < count; i += kWidth<Real>) store<Real>(gradient + i, load<Real>(gradient + i) * load<Real>(slope + i));
}

}  // namespace SO3MD_CPU_NAMESPACE
