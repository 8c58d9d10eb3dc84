// The filters of pairs in a training step, eq. (17).
#pragma once

#include "cpu/training_nodes.h"

namespace SO3MD_CPU_NAMESPACE::training {

using so3md::training::Group;
using so3md::training::LayerWeights;
using so3md::training::Shape;

/// What a block of rows needs in between, of all filters of a group.
template <class Real>
struct FilterSpare {
  Real *inner, *inner_slopes, *scaled;

  FilterSpare(const Shape& shape, Room& room) {
    const std::int64_t hidden = shape.radial_hidden > shape.spherical_hidden ? shape.radial_hidden : shape.spherical_hidden;
    inner = room.take<Real>(kBlockRows * hidden);
    inner_slopes = room.take<Real>(kBlockRows * hidden);
    scaled = room.take<Real>(kBlockRows * shape.features);
  }
};

/// silu and so on of z, its derivatives, and products with the slopes of z.
template <class Real>
inline void activate_with_slopes(Activation type, std::int64_t count, const Real* z, const Real* z_slopes, Real* values, Real* value_slopes,
                                 Real* slope, Real* bend) {
  with_activation(type, [&](auto kind) {
    for_vectors<Real>(count, z, [&](std::int64_t e, Vec<Real> x, auto put) {
      Vec<Real> first, second;
      const bool whole = e + kWidth<Real> <= count;
      const Vec<Real> dx = whole ? load<Real>(z_slopes + e) : broadcast<Real>(z_slopes[e]);
      put(values + e, activation_twice<Real>(kind, x, first, second));
      put(value_slopes + e, first * dx);
      put(slope + e, first);
      put(bend + e, second * dx);
    });
  });
}

/// The part that depends on the distance alone: values and slopes with respect to it, of one block.
template <class Real>
struct RadialStep {
  const Matrix<Real>*first, *second;
  Activation type;
  Real *values, *value_slopes, *slope, *bend;  ///< (pairs, hidden): act(z), its slope, act'(z), act''(z) times the slope of z

  RadialStep(const Shape& shape, const Matrix<Real>& one, const Matrix<Real>& two, std::int64_t pairs, Room& room)
      : first(&one), second(&two), type(shape.activation) {
    const std::int64_t count = pairs * shape.radial_hidden;
    values = room.take<Real>(count);
    value_slopes = room.take<Real>(count);
    slope = room.take<Real>(count);
    bend = room.take<Real>(count);
  }

  /// Of `rows` pairs from `start` on: filters (rows, features) with a bias, and their slopes.
  void forward(const Group<Real>& group, std::int64_t start, std::int64_t rows, const Real* bias, Real* w, Real* slopes,
               const FilterSpare<Real>& spare) const {
    const std::int64_t at = start * first->columns, hidden = first->columns;
    apply<Real>(*first, rows, group.basis + start * first->depth, spare.inner);
    multiply<Real>(*first, rows, group.basis_slope + start * first->depth, spare.inner_slopes);
    activate_with_slopes<Real>(type, rows * hidden, spare.inner, spare.inner_slopes, values + at, value_slopes + at, slope + at, bend + at);
    product<Real, Start::bias>(rows, values + at, hidden, hidden, second->forward, bias, second->columns, w, second->columns);
    multiply<Real>(*second, rows, value_slopes + at, slopes);
  }

  /// From dL/dw and dE/dw times the derivative of the distance, (rows, features) each.
  void gradient(const Group<Real>& group, std::int64_t start, std::int64_t rows, const Real* m, const Real* scaled, Real* by_basis,
                Real* by_basis_slope, const FilterSpare<Real>& spare, Real* gradients) const {
    const std::int64_t hidden = first->columns, size = first->depth, at = start * hidden;
    add_weight_gradient<Real>(*second, rows, m, values + at, scaled, value_slopes + at, gradients);
    multiply_back<Real>(*second, rows, m, spare.inner);
    multiply_back<Real>(*second, rows, scaled, spare.inner_slopes);
    for_channels<Real>(0, rows * hidden, [&](std::int64_t e, auto lanes) {
      const auto along = lanes.get(slope + at + e), g = lanes.get(spare.inner_slopes + e);
      lanes.put(spare.inner + e, lanes.get(spare.inner + e) * along + g * lanes.get(bend + at + e));
      lanes.put(spare.inner_slopes + e, g * along);
    });
    add_weight_gradient<Real>(*first, rows, spare.inner, group.basis + start * size, spare.inner_slopes, group.basis_slope + start * size,
                              gradients);
    add_column_sums<Real>(rows, hidden, spare.inner, gradients + first->bias.gradient);
    if (by_basis == nullptr) return;
    multiply_back<Real, Start::accumulate>(*first, rows, spare.inner, by_basis + start * size);
    multiply_back<Real, Start::accumulate>(*first, rows, spare.inner_slopes, by_basis_slope + start * size);
  }
};

/// The part that depends on the invariants of the difference of coordinates, of one block. Without coordinates all invariants are zero,
/// and so this part is the same for all pairs.
template <class Real>
struct SphericalStep {
  const Matrix<Real>*first, *second;
  Activation type;
  std::int64_t hidden;
  Real *values, *slope, *curvature;  ///< (pairs or 1, hidden)
  Real *by_values, *by_z;            ///< dE/d(values), dE/dz
  Real *z_tangents, *value_tangents;

  SphericalStep(const Shape& shape, const Matrix<Real>& one, const Matrix<Real>& two, std::int64_t rows, Room& room)
      : first(&one), second(&two), type(shape.activation), hidden(shape.spherical_hidden) {
    const std::int64_t count = rows * hidden;
    values = room.take<Real>(count);
    slope = room.take<Real>(count);
    curvature = room.take<Real>(count);
    by_values = room.take<Real>(count);
    by_z = room.take<Real>(count);
    z_tangents = room.take<Real>(count);
    value_tangents = room.take<Real>(count);
  }

  /// The constant part for all pairs, added to `bias` (features).
  void add_constant(Real* bias) const {
    activate<Real>(type, hidden, first->bias.value, values, slope, curvature);
    multiply<Real, Start::accumulate>(*second, 1, values, bias);
  }

  void constant_gradient(const Real* by_bias, Real* spare, Real* gradients) const {
    add_weight_gradient<Real>(*second, 1, by_bias, values, nullptr, nullptr, gradients);
    multiply_back<Real>(*second, 1, by_bias, spare);
    Real* const to = gradients + first->bias.gradient;
    for_channels<Real>(0, hidden, [&](std::int64_t e, auto lanes) { lanes.add(to + e, lanes.get(spare + e) * lanes.get(slope + e)); });
  }

  // Of `rows` pairs from `start` on; invariants, their derivatives and w are those of these rows.
  void forward(std::int64_t start, std::int64_t rows, const Real* invariants, Real* w, Real* spare) const {
    const std::int64_t at = start * hidden;
    apply<Real>(*first, rows, invariants, spare);
    activate<Real>(type, rows * hidden, spare, values + at, slope + at, curvature + at);
    multiply<Real, Start::accumulate>(*second, rows, values + at, w);
  }

  void adjoint(std::int64_t start, std::int64_t rows, const Real* g, Real* by_invariants) const {
    const std::int64_t at = start * hidden;
    multiply_back<Real>(*second, rows, g, by_values + at);
    for_channels<Real>(0, rows * hidden, [&](std::int64_t e, auto lanes) {
      lanes.put(by_z + at + e, lanes.get(by_values + at + e) * lanes.get(slope + at + e));
    });
    multiply_back<Real, Start::accumulate>(*first, rows, by_z + at, by_invariants);
  }

  void tangent(std::int64_t start, std::int64_t rows, const Real* invariants, Real* w) const {
    const std::int64_t at = start * hidden;
    multiply<Real>(*first, rows, invariants, z_tangents + at);
    for_channels<Real>(0, rows * hidden, [&](std::int64_t e, auto lanes) {
      lanes.put(value_tangents + at + e, lanes.get(z_tangents + at + e) * lanes.get(slope + at + e));
    });
    multiply<Real, Start::accumulate>(*second, rows, value_tangents + at, w);
  }

  void gradient(std::int64_t start, std::int64_t rows, const Real* m, const Real* g, const Real* invariants, const Real* tangents,
                Real* by_invariants, Real* spare, Real* gradients) const {
    const std::int64_t at = start * hidden;
    add_weight_gradient<Real>(*second, rows, m, values + at, g, value_tangents + at, gradients);
    multiply_back<Real>(*second, rows, m, spare);
    for_channels<Real>(0, rows * hidden, [&](std::int64_t e, auto lanes) {
      lanes.put(spare + e, lanes.get(spare + e) * lanes.get(slope + at + e) +
                               lanes.get(curvature + at + e) * lanes.get(by_values + at + e) * lanes.get(z_tangents + at + e));
    });
    add_weight_gradient<Real>(*first, rows, spare, invariants, by_z + at, tangents, gradients);
    add_column_sums<Real>(rows, hidden, spare, gradients + first->bias.gradient);
    multiply_back<Real, Start::accumulate>(*first, rows, spare, by_invariants);
  }
};

/// Both parts of both blocks: filters (2, pairs, features).
template <class Real>
struct FilterStep {
  const Shape* shape;
  const LayerWeights<Real>* weights;
  const Group<Real>* group;
  FilterSpare<Real> spare;
  bool has_chi;
  std::int64_t pairs, features, coordinates, degrees;
  RadialStep<Real> radial[2];
  SphericalStep<Real> spherical[2];
  Real *bias, *w, *slopes, *w_tangents;         ///< (2, features), and (2, pairs, features)
  Real *difference, *difference_tangents;       ///< (pairs, coordinates)
  Real *invariants, *by_invariants, *tangents;  ///< (pairs, degrees)
  const Real *adjoints = nullptr, *distance_tangents = nullptr;

  FilterStep(const Shape& of, const LayerWeights<Real>& layer, const Group<Real>& atoms, const FilterSpare<Real>& in_between, bool with_chi,
             Room& room)
      : shape(&of),
        weights(&layer),
        group(&atoms),
        spare(in_between),
        has_chi(with_chi),
        pairs(atoms.pairs),
        features(of.features),
        coordinates(of.coordinates),
        degrees(of.degrees),
        radial{{of, layer.radial1[0], layer.radial2[0], pairs, room}, {of, layer.radial1[1], layer.radial2[1], pairs, room}},
        spherical{{of, layer.spherical1[0], layer.spherical2[0], with_chi ? pairs : 1, room},
                  {of, layer.spherical1[1], layer.spherical2[1], with_chi ? pairs : 1, room}},
        bias(room.take<Real>(2 * features)),
        w(room.take<Real>(2 * pairs * features)),
        slopes(room.take<Real>(2 * pairs * features)),
        w_tangents(room.take<Real>(2 * pairs * features)),
        difference(room.take<Real>(with_chi ? pairs * coordinates : 0)),
        difference_tangents(room.take<Real>(with_chi ? pairs * coordinates : 0)),
        invariants(room.take<Real>(with_chi ? pairs * degrees : 0)),
        by_invariants(room.take<Real>(with_chi ? pairs * degrees : 0)),
        tangents(room.take<Real>(with_chi ? pairs * degrees : 0)) {}

  /// Calls body(start, rows, block, place) for the rows of both blocks; place: where those of (2, pairs, features) begin.
  template <class Body>
  void for_rows(const Body& body) const {
    const std::int64_t most = rows_of_block(pairs);
    for (std::int64_t start = 0; start < pairs; start += most)
      for (int block = 0; block < 2; ++block)
        body(start, pairs - start < most ? pairs - start : most, block, (block * pairs + start) * features);
  }

  void forward(const Real* chi) {
    for (int block = 0; block < 2; ++block) {
      sum_of<Real>(features, weights->radial2[block].bias.value, weights->spherical2[block].bias.value, bias + block * features);
      if (!has_chi) spherical[block].add_constant(bias + block * features);
    }
    if (has_chi) {
      subtract(chi, difference);
      sum_degrees(difference, difference, Real(1), invariants);
    }
    for_rows([&](std::int64_t start, std::int64_t rows, int block, std::int64_t place) {
      radial[block].forward(*group, start, rows, bias + block * features, w + place, slopes + place, spare);
      if (has_chi) spherical[block].forward(start, rows, invariants + start * degrees, w + place, spare.inner);
    });
  }

  /// From dE/dw, which stays where it is: adds the derivatives with respect to the distances and chi.
  void adjoint(const Real* g, Real* by_distance, Real* by_chi) {
    adjoints = g;
    if (has_chi) clear<Real>(pairs * degrees, by_invariants);
    for_rows([&](std::int64_t start, std::int64_t rows, int block, std::int64_t place) {
      for (std::int64_t row = 0; row < rows; ++row) {
        const Real *const one = g + place + row * features, *const two = slopes + place + row * features;
        ChannelSum<Real> total;
        for_channels<Real>(0, features, [&](std::int64_t e, auto lanes) { total.add(lanes.get(one + e) * lanes.get(two + e)); });
        by_distance[start + row] += total.total();
      }
      if (has_chi) spherical[block].adjoint(start, rows, g + place, by_invariants + start * degrees);
    });
    if (!has_chi) return;
    add_differences(by_chi, [&](std::int64_t pair, std::int64_t c, std::int64_t degree) {
      return difference[pair * coordinates + c] * by_invariants[pair * degrees + degree];
    });
  }

  void tangent(const Real* chi, const Real* distances) {
    distance_tangents = distances;
    if (has_chi) {
      subtract(chi, difference_tangents);
      sum_degrees(difference, difference_tangents, Real(2), tangents);
    }
    for_rows([&](std::int64_t start, std::int64_t rows, int block, std::int64_t place) {
      scale(start, rows, slopes + place, w_tangents + place);
      if (has_chi) spherical[block].tangent(start, rows, tangents + start * degrees, w_tangents + place);
    });
  }

  /// From m = dL/dw: adds dL/d(chi).
  void gradient(const Real* m, Real* by_chi, Real* by_basis, Real* by_basis_slope, Real* by_new_invariants, Real* gradients) const {
    if (has_chi) clear<Real>(pairs * degrees, by_new_invariants);
    for_rows([&](std::int64_t start, std::int64_t rows, int block, std::int64_t place) {
      scale(start, rows, adjoints + place, spare.scaled);
      add_column_sums<Real>(rows, features, m + place, gradients + weights->radial2[block].bias.gradient);
      radial[block].gradient(*group, start, rows, m + place, spare.scaled, by_basis, by_basis_slope, spare, gradients);
      if (has_chi)
        spherical[block].gradient(start, rows, m + place, adjoints + place, invariants + start * degrees, tangents + start * degrees,
                                  by_new_invariants + start * degrees, spare.inner, gradients);
    });
    for (int block = 0; block < 2; ++block) {
      const Real* const by_bias = gradients + weights->radial2[block].bias.gradient;
      add<Real>(features, by_bias, gradients + weights->spherical2[block].bias.gradient);
      if (!has_chi) spherical[block].constant_gradient(by_bias, spare.inner, gradients);
    }
    if (!has_chi) return;
    add_differences(by_chi, [&](std::int64_t pair, std::int64_t c, std::int64_t degree) {
      const std::int64_t at = pair * coordinates + c, of = pair * degrees + degree;
      return difference[at] * by_new_invariants[of] + difference_tangents[at] * by_invariants[of];
    });
  }

  /// Rows times the derivatives of the distances.
  void scale(std::int64_t start, std::int64_t rows, const Real* from, Real* to) const {
    for (std::int64_t row = 0; row < rows; ++row) {
      const Real along = distance_tangents[start + row];
      for_channels<Real>(row * features, (row + 1) * features,
                         [&](std::int64_t e, auto lanes) { lanes.put(to + e, along * lanes.get(from + e)); });
    }
  }

  void subtract(const Real* chi, Real* to) const {
    for (std::int64_t pair = 0; pair < pairs; ++pair) {
      const Real *const a = chi + group->first[pair] * coordinates, *const b = chi + group->second[pair] * coordinates;
      for (std::int64_t c = 0; c < coordinates; ++c) to[pair * coordinates + c] = b[c] - a[c];
    }
  }

  /// to (pairs, degrees) = factor times the invariants (16) of products.
  void sum_degrees(const Real* a, const Real* b, Real factor, Real* to) const {
    clear<Real>(pairs * degrees, to);
    for (std::int64_t pair = 0; pair < pairs; ++pair)
      for (std::int64_t c = 0; c < coordinates; ++c)
        to[pair * degrees + shape->degree_of[c]] +=
            factor * static_cast<Real>(shape->invariant_norm[c]) * a[pair * coordinates + c] * b[pair * coordinates + c];
  }

  /// Adds what squares of differences bring to both atoms: 2 norm value(pair, coordinate, degree).
  template <class Value>
  void add_differences(Real* by_chi, const Value& value) const {
    for (std::int64_t pair = 0; pair < pairs; ++pair) {
      Real *const a = by_chi + group->first[pair] * coordinates, *const b = by_chi + group->second[pair] * coordinates;
      for (std::int64_t c = 0; c < coordinates; ++c) {
        const Real part = Real(2) * static_cast<Real>(shape->invariant_norm[c]) * value(pair, c, shape->degree_of[c]);
        b[c] += part;
        a[c] -= part;
      }
    }
  }
};

}  // namespace SO3MD_CPU_NAMESPACE::training
