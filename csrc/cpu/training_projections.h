// Queries, keys and values in a training step, eq. (18).
#pragma once

#include "cpu/training_nodes.h"

namespace SO3MD_CPU_NAMESPACE::training {

using so3md::training::LayerWeights;
using so3md::training::Projection;
using so3md::training::Shape;

/// Calls body(matrices, head, kind, place) for each small matrix; place: where its product begins in an array (5, atoms, features).
template <class Real, class Body>
inline void for_heads(const LayerWeights<Real>& weights, std::int64_t atoms, std::int64_t features, const Body& body) {
  for (int block = 0; block < 2; ++block) {
    const Projection<Real>& matrices = weights.projection[block];
    for (std::int64_t head = 0; head < matrices.heads; ++head)
      for (std::int64_t kind = 0; kind < matrices.kinds; ++kind)
        body(matrices, head, kind, ((block ? 3 : 0) + kind) * atoms * features + head * matrices.width);
  }
}

/// From x (atoms, features) to queries, keys and values of features, queries and keys of coordinates (5, atoms, features).
template <class Real>
struct ProjectionStep {
  const LayerWeights<Real>* weights;
  std::int64_t atoms, features, part;  ///< part: numbers of one of the five
  bool activated;
  ActivationStep<Real> activation[2];  ///< of what all kinds but the values are put through
  Real *values, *by_values, *by_products, *products, *tangents;
  const Real *x = nullptr, *x_tangents = nullptr;

  ProjectionStep(const Shape& shape, const LayerWeights<Real>& of, std::int64_t count, Room& room)
      : weights(&of),
        atoms(count),
        features(shape.features),
        part(count * shape.features),
        activated(shape.query_key_activation != Activation::identity),
        activation{{shape.query_key_activation, activated ? 2 * part : 0, room},
                   {shape.query_key_activation, activated ? 2 * part : 0, room}},
        values(room.take<Real>(5 * part)),
        by_values(room.take<Real>(5 * part)),
        by_products(activated ? room.take<Real>(5 * part) : by_values),
        products(room.take<Real>(5 * part)),
        tangents(activated ? room.take<Real>(5 * part) : products) {}

  void forward(const Real* given) {
    x = given;
    multiply(x, values);
    if (!activated) return;
    for (int block = 0; block < 2; ++block) activation[block].forward(values + 3 * block * part, values + 3 * block * part);
  }

  /// Of `by_values`: adds dE/dx.
  void adjoint(Real* by_x) {
    if (activated) {
      for (int block = 0; block < 2; ++block) activation[block].adjoint(by_values + 3 * block * part, by_products + 3 * block * part);
      copy<Real>(part, by_values + 2 * part, by_products + 2 * part);
    }
    add_back(by_products, by_x);
  }

  void tangent(const Real* given) {
    x_tangents = given;
    multiply(given, products);
    if (!activated) return;
    for (int block = 0; block < 2; ++block) activation[block].tangent(products + 3 * block * part, tangents + 3 * block * part);
    copy<Real>(part, products + 2 * part, tangents + 2 * part);
  }

  /// Overwrites m (5, atoms, features) and adds dL/dx.
  void gradient(Real* m, Real* by_x, Real* gradients) const {
    if (activated)
      for (int block = 0; block < 2; ++block) activation[block].gradient(m + 3 * block * part, m + 3 * block * part);
    for_heads<Real>(*weights, atoms, features, [&](const Projection<Real>& p, std::int64_t head, std::int64_t kind, std::int64_t place) {
      Real* const to = gradients + p.weight.gradient + (head * p.width * p.kinds + kind) * p.width;
      const std::int64_t column = head * p.width;
      const Rows<Real> a[2] = {{x + column, features}, {x_tangents == nullptr ? x : x_tangents + column, features}};
      const Rows<Real> b[2] = {{m + place, features}, {by_products + place, features}};
      add_transposed_products<Real>(atoms, p.width, p.width, a, b, x_tangents == nullptr ? 1 : 2, to, p.kinds * p.width);
    });
    add_back(m, by_x);
  }

  void multiply(const Real* from, Real* to) const {
    for_heads<Real>(*weights, atoms, features, [&](const Projection<Real>& p, std::int64_t head, std::int64_t kind, std::int64_t place) {
      const Real* const matrix = p.forward + (head * p.kinds + kind) * p.width * padded_columns<Real>(p.width);
      product<Real, Start::zero>(atoms, from + head * p.width, features, p.width, matrix, nullptr, p.width, to + place, features);
    });
  }

  void add_back(const Real* from, Real* by_x) const {
    for_heads<Real>(*weights, atoms, features, [&](const Projection<Real>& p, std::int64_t head, std::int64_t kind, std::int64_t place) {
      const Real* const matrix = p.backward + (head * p.kinds + kind) * p.width * padded_columns<Real>(p.width);
      product<Real, Start::accumulate>(atoms, from + place, features, p.width, matrix, nullptr, p.width, by_x + head * p.width, features);
    });
  }
};

}  // namespace SO3MD_CPU_NAMESPACE::training
