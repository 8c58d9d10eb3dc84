// Activations with two derivatives in a training step.
#pragma once

#include "cpu/activation.h"
#include "cpu/training_room.h"

namespace SO3MD_CPU_NAMESPACE::training {

/// act(x), act'(x) and act''(x).
template <class Real>
inline __attribute__((always_inline)) Vec<Real> activation_twice(Activation type, Vec<Real> x, Vec<Real>& slope, Vec<Real>& curvature) {
  switch (type) {
    case Activation::silu: {
      const Vec<Real> s = logistic<Real>(x), rest = s - s * s, y = x * s;
      slope = s + x * rest;
      curvature = (x - Real(2) * y + Real(2)) * rest;
      return y;
    }
    case Activation::tanh: {
      const Vec<Real> y = activation<Real>(type, x, slope);
      curvature = Real(-2) * y * slope;
      return y;
    }
    case Activation::gelu: {  // x s(v), see activation(); s' = s (1 - s)
      constexpr Real a = Real(0.79788456080286535588), b = Real(0.044715);
      const Vec<Real> s = logistic<Real>(Real(2) * a * (x + b * x * x * x)), rest = s - s * s;
      const Vec<Real> v = Real(2) * a * (Real(1) + Real(3) * b * x * x);
      slope = s + x * rest * v;
      curvature = rest * (Real(2) * v + x * ((Real(1) - Real(2) * s) * v * v + Real(12) * a * b * x));
      return x * s;
    }
    case Activation::identity:
    case Activation::relu:
      break;
  }
  curvature = Vec<Real>{};
  return activation<Real>(type, x, slope);
}

/// Calls one(e, x, put) for numbers e..., with put(to, value) for what it has made of them; the last ones stand in a register by
/// themselves.
template <class Real, class Body>
inline __attribute__((always_inline)) void for_vectors(std::int64_t count, const Real* x, const Body& one) {
  std::int64_t e = 0;
  for (; e + kWidth<Real> <= count; e += kWidth<Real>) one(e, load<Real>(x + e), [](Real* to, Vec<Real> value) { store<Real>(to, value); });
  for (; e < count; ++e) one(e, broadcast<Real>(x[e]), [](Real* to, Vec<Real> value) { *to = value[0]; });
}

/// y = act(x) and its derivatives.
template <class Real>
inline void activate(Activation type, std::int64_t count, const Real* x, Real* y, Real* slope, Real* curvature) {
  with_activation(type, [&](auto kind) {
    for_vectors<Real>(count, x, [&](std::int64_t e, Vec<Real> value, auto put) {
      Vec<Real> first, second;
      put(y + e, activation_twice<Real>(kind, value, first, second));
      put(slope + e, first);
      put(curvature + e, second);
    });
  });
}

/// One of the functions of eq. (1) on `count` numbers.
template <class Real>
struct ActivationStep {
  Activation type;
  std::int64_t count;
  Real *slope, *curvature;
  const Real *adjoints = nullptr, *tangents = nullptr;

  ActivationStep(Activation kind, std::int64_t numbers, Room& room)
      : type(kind), count(numbers), slope(room.take<Real>(numbers)), curvature(room.take<Real>(numbers)) {}

  void forward(const Real* x, Real* y) { activate<Real>(type, count, x, y, slope, curvature); }

  void adjoint(const Real* g, Real* by_x) {
    adjoints = g;
    multiply_by_slope(g, by_x);
  }

  void tangent(const Real* x, Real* y) {
    tangents = x;
    multiply_by_slope(x, y);
  }

  /// by_x may be m.
  void gradient(const Real* m, Real* by_x) const {
    if (tangents == nullptr) return multiply_by_slope(m, by_x);
    for_channels<Real>(0, count, [&](std::int64_t e, auto lanes) {
      lanes.put(by_x + e,
                lanes.get(m + e) * lanes.get(slope + e) + lanes.get(curvature + e) * lanes.get(adjoints + e) * lanes.get(tangents + e));
    });
  }

  void multiply_by_slope(const Real* from, Real* to) const {
    for_channels<Real>(0, count, [&](std::int64_t e, auto lanes) { lanes.put(to + e, lanes.get(from + e) * lanes.get(slope + e)); });
  }
};

}  // namespace SO3MD_CPU_NAMESPACE::training
