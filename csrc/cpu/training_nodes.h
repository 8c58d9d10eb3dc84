// Steps on atoms in a training step; python/so3md/training/node_steps.py has the same in operations of PyTorch, and the formulas.
#pragma once

#include "cpu/training_activation.h"
#include "cpu/training_products.h"

namespace SO3MD_CPU_NAMESPACE::training {

using so3md::training::Norm;

template <class Real>
inline void copy(std::int64_t count, const Real* from, Real* to) {
  for_channels<Real>(0, count, [&](std::int64_t e, auto lanes) { lanes.put(to + e, lanes.get(from + e)); });
}

/// to = a + b; to may be one of them.
template <class Real>
inline void sum_of(std::int64_t count, const Real* a, const Real* b, Real* to) {
  for_channels<Real>(0, count, [&](std::int64_t e, auto lanes) { lanes.put(to + e, lanes.get(a + e) + lanes.get(b + e)); });
}

template <class Real>
inline void add(std::int64_t count, const Real* from, Real* to) {
  sum_of<Real>(count, to, from, to);
}

template <class Real>
inline void clear(std::int64_t count, Real* to) {
  for (std::int64_t e = 0; e < count; ++e) to[e] = 0;
}

/// x W^T + b. What it is given must stay where it is until the last sweep.
template <class Real>
struct DenseStep {
  const Matrix<Real>* matrix;
  std::int64_t rows;
  const Real *x = nullptr, *adjoints = nullptr, *tangents = nullptr;

  DenseStep(const Matrix<Real>& of, std::int64_t count) : matrix(&of), rows(count) {}

  void forward(const Real* given, Real* y) {
    x = given;
    apply<Real>(*matrix, rows, x, y);
  }

  void adjoint(const Real* g, Real* by_x) {
    adjoints = g;
    multiply_back<Real>(*matrix, rows, g, by_x);
  }

  void tangent(const Real* given, Real* y) {
    tangents = given;
    multiply<Real>(*matrix, rows, given, y);
  }

  void gradient(const Real* m, Real* by_x, Real* gradients) const {
    add_weight_gradient<Real>(*matrix, rows, m, x, adjoints, tangents, gradients);
    if (matrix->bias.value != nullptr) add_column_sums<Real>(rows, matrix->columns, m, gradients + matrix->bias.gradient);
    multiply_back<Real>(*matrix, rows, m, by_x);
  }
};

/// Eq. (23).
template <class Real>
struct NormStep {
  const Norm<Real>* norm;
  std::int64_t rows, width;
  Real epsilon;
  Real *normal, *inverse;         ///< u (rows, width) and d (rows)
  Real *by_x, *change, *stretch;  ///< dE/dx, u', <u x'>
  const Real* adjoints = nullptr;
  bool moves = false;

  NormStep(const Norm<Real>& of, std::int64_t atoms, std::int64_t features, double smallest, Room& room)
      : norm(&of),
        rows(atoms),
        width(features),
        epsilon(static_cast<Real>(smallest)),
        normal(room.take<Real>(atoms * features)),
        inverse(room.take<Real>(atoms)),
        by_x(room.take<Real>(atoms * features)),
        change(room.take<Real>(atoms * features)),
        stretch(room.take<Real>(atoms)) {}

  void forward(const Real* x, Real* y) {
    const Real *scale = norm->scale.value, *bias = norm->bias.value;
    for (std::int64_t row = 0; row < rows; ++row, x += width, y += width) {
      ChannelSum<Real> total, squares;
      for_channels<Real>(0, width, [&](std::int64_t e, auto lanes) { total.add(lanes.get(x + e)); });
      const Real mean = total.total() / static_cast<Real>(width);
      Real* const u = normal + row * width;
      for_channels<Real>(0, width, [&](std::int64_t e, auto lanes) {
        const auto difference = lanes.get(x + e) - mean;
        lanes.put(u + e, difference);
        squares.add(difference * difference);
      });
      const Real variance = squares.total() / static_cast<Real>(width);
      const Real d = inverse[row] = Real(1) / static_cast<Real>(__builtin_sqrt(static_cast<double>(variance + epsilon)));
      for_channels<Real>(0, width, [&](std::int64_t e, auto lanes) {
        const auto value = lanes.get(u + e) * d;
        lanes.put(u + e, value);
        lanes.put(y + e, value * lanes.get(scale + e) + lanes.get(bias + e));
      });
    }
  }

  /// dE/dx, which stays with this step.
  const Real* adjoint(const Real* g) {
    adjoints = g;
    const Real* const scale = norm->scale.value;
    for (std::int64_t row = 0; row < rows; ++row) {
      const Real* const from = g + row * width;
      project(row, [&](std::int64_t e, auto lanes) { return lanes.get(from + e) * lanes.get(scale + e); }, by_x + row * width);
    }
    return by_x;
  }

  void tangent(const Real* x, Real* y) {
    moves = true;
    const Real* const scale = norm->scale.value;
    for (std::int64_t row = 0; row < rows; ++row) {
      const Real* const from = x + row * width;
      Real* const to = change + row * width;
      stretch[row] = project(row, [&](std::int64_t e, auto lanes) { return lanes.get(from + e); }, to);
      for_channels<Real>(0, width,
                         [&](std::int64_t e, auto lanes) { lanes.put(y + row * width + e, lanes.get(to + e) * lanes.get(scale + e)); });
    }
  }

  /// by_first: dL/dx, must not be m.
  void gradient(const Real* m, Real* by_first, Real* gradients) const {
    const Real* const scale = norm->scale.value;
    Real *const by_scale = gradients + norm->scale.gradient, *const by_bias = gradients + norm->bias.gradient;
    for (std::int64_t row = 0; row < rows; ++row) {
      const Real *const from = m + row * width, *const u = normal + row * width;
      Real* const to = by_first + row * width;
      project(row, [&](std::int64_t e, auto lanes) { return lanes.get(from + e) * lanes.get(scale + e); }, to);
      for_channels<Real>(0, width, [&](std::int64_t e, auto lanes) {
        lanes.add(by_scale + e, lanes.get(from + e) * lanes.get(u + e));
        lanes.add(by_bias + e, lanes.get(from + e));
      });
      if (moves) add_bend(row, to, by_scale);
    }
  }

  /// How P changes along x', of a row.
  void add_bend(std::int64_t row, Real* to, Real* by_scale) const {
    const Real *const scale = norm->scale.value, *const u = normal + row * width, *const du = change + row * width;
    const Real *const g = adjoints + row * width, *const by = by_x + row * width;
    ChannelSum<Real> ut, change_t;
    for_channels<Real>(0, width, [&](std::int64_t e, auto lanes) {
      const auto gradient = lanes.get(g + e), t = gradient * lanes.get(scale + e);
      ut.add(lanes.get(u + e) * t);
      change_t.add(lanes.get(du + e) * t);
      lanes.add(by_scale + e, gradient * lanes.get(du + e));
    });
    const Real factor = inverse[row] / static_cast<Real>(width);
    const Real by_factor = stretch[row] * inverse[row], change_factor = ut.total() * factor, u_factor = change_t.total() * factor;
    for_channels<Real>(0, width, [&](std::int64_t e, auto lanes) {
      lanes.put(to + e,
                lanes.get(to + e) - by_factor * lanes.get(by + e) - change_factor * lanes.get(du + e) - u_factor * lanes.get(u + e));
    });
  }

  /// to = P(t) = d (t - <t> - u <t u>) of a row; returns <t u>.
  template <class Values>
  Real project(std::int64_t row, const Values& t, Real* to) const {
    const Real* const u = normal + row * width;
    ChannelSum<Real> total, along;
    for_channels<Real>(0, width, [&](std::int64_t e, auto lanes) {
      const auto value = t(e, lanes);
      total.add(value);
      along.add(value * lanes.get(u + e));
    });
    const Real mean = total.total() / static_cast<Real>(width), share = along.total() / static_cast<Real>(width), d = inverse[row];
    for_channels<Real>(0, width,
                       [&](std::int64_t e, auto lanes) { lanes.put(to + e, d * (t(e, lanes) - mean - share * lanes.get(u + e))); });
    return share;
  }
};

/// Eqs. (24) and (54): activations and dense maps in turn. Results stay with the step until the same sweep of the next batch.
template <class Real>
struct ResidualStep {
  static constexpr int kMost = 3;
  int maps;  ///< two, or three of which the last stands outside of the residual connection
  std::int64_t count;
  ActivationStep<Real> activation[kMost];
  DenseStep<Real> dense[kMost];
  Real *inner[kMost], *outer[kMost];        ///< forward: what goes into and comes out of the dense maps
  Real *by_outer[kMost], *by_inner[kMost];  ///< adjoint: dE/d of what goes into them, and into the activations
  Real *inner_tangents[kMost], *tangents[kMost];

  ResidualStep(const so3md::training::Shape& shape, const Matrix<Real>* matrices, std::int64_t atoms, Room& room)
      : maps(shape.three_layers ? 3 : 2),
        count(atoms * shape.features),
        activation{{shape.activation, count, room}, {shape.activation, count, room}, {shape.activation, maps == 3 ? count : 0, room}},
        dense{{matrices[0], atoms}, {matrices[1], atoms}, {matrices[2], atoms}} {
    for (int k = 0; k < maps; ++k) {
      inner[k] = room.take<Real>(count);
      outer[k] = room.take<Real>(count);
      by_outer[k] = room.take<Real>(count);
      by_inner[k] = room.take<Real>(count);
      inner_tangents[k] = room.take<Real>(count);
      tangents[k] = room.take<Real>(count);
    }
  }

  const Real* forward(const Real* x) {
    const Real* y = x;
    for (int k = 0; k < maps; ++k) {
      activation[k].forward(y, inner[k]);
      dense[k].forward(inner[k], outer[k]);
      if (k == 1) add<Real>(count, x, outer[k]);
      y = outer[k];
    }
    return y;
  }

  const Real* tangent(const Real* x) {
    const Real* y = x;
    for (int k = 0; k < maps; ++k) {
      activation[k].tangent(y, inner_tangents[k]);
      dense[k].tangent(inner_tangents[k], tangents[k]);
      if (k == 1) add<Real>(count, x, tangents[k]);
      y = tangents[k];
    }
    return y;
  }

  const Real* adjoint(const Real* g) {
    const Real* sum = g;
    for (int k = maps - 1; k >= 0; --k) {
      if (k == 1) sum = g;
      dense[k].adjoint(g, by_outer[k]);
      activation[k].adjoint(by_outer[k], by_inner[k]);
      g = by_inner[k];
    }
    add<Real>(count, sum, by_inner[0]);
    return by_inner[0];
  }

  /// Overwrites m with dL/dx; spare: two times as many numbers.
  void gradient(Real* m, Real* spare, Real* gradients) const {
    Real *const by_dense = spare, *const sum = spare + count;
    for (int k = maps - 1; k >= 0; --k) {
      if (k == 1) copy<Real>(count, m, sum);
      dense[k].gradient(m, by_dense, gradients);
      activation[k].gradient(by_dense, m);
    }
    add<Real>(count, sum, m);
  }
};

}  // namespace SO3MD_CPU_NAMESPACE::training
