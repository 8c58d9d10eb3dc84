// The exchange of features and coordinates of an atom in a training step, eq. (25).
#pragma once

#include "cpu/training_nodes.h"

namespace SO3MD_CPU_NAMESPACE::training {

using so3md::training::Shape;

/// From x, what is given of it (itself or its norm) and chi to a new x and a new chi; see Exchange in node_steps.py.
template <class Real>
struct ExchangeStep {
  const Shape* shape;
  const Matrix<Real>* matrix;
  std::int64_t atoms, features, coordinates, width;
  Real *inputs, *adjoints, *tangents;         ///< (atoms, width): x, or its derivatives, and one number for each degree
  Real* out;                                  ///< (atoms, width)
  Real *factor, *factor_tangents, *by_norms;  ///< (atoms, degrees): 1 + b of the exchange, eq. (25), dE/d(invariants)
  const Real *chi = nullptr, *by_chi = nullptr, *chi_tangents = nullptr;

  ExchangeStep(const Shape& of, const Matrix<Real>& weights, std::int64_t count, Room& room)
      : shape(&of),
        matrix(&weights),
        atoms(count),
        features(of.features),
        coordinates(of.coordinates),
        width(of.features + of.degrees),
        inputs(room.take<Real>(count * width)),
        adjoints(room.take<Real>(count * width)),
        tangents(room.take<Real>(count * width)),
        out(room.take<Real>(count * width)),
        factor(room.take<Real>(count * of.degrees)),
        factor_tangents(room.take<Real>(count * of.degrees)),
        by_norms(room.take<Real>(count * of.degrees)) {}

  void forward(const Real* given, const Real* coordinate, const Real* x, Real* x_out, Real* chi_out) {
    chi = coordinate;
    fill(given, inputs);
    for_coordinates([&](std::int64_t atom, std::int64_t c, std::int64_t degree) {
      const Real value = chi[atom * coordinates + c];
      inputs[atom * width + features + degree] += value * value * norm(c);
    });
    apply<Real>(*matrix, atoms, inputs, out);
    finish(x, x_out, factor, Real(1));
    for_coordinates([&](std::int64_t atom, std::int64_t c, std::int64_t degree) {
      chi_out[atom * coordinates + c] = chi[atom * coordinates + c] * factor[atom * shape->degrees + degree];
    });
  }

  void adjoint(const Real* by_x, const Real* by_coordinate, Real* by_given, Real* by_chi_start) {
    by_chi = by_coordinate;
    fill(by_x, adjoints);
    for_coordinates([&](std::int64_t atom, std::int64_t c, std::int64_t degree) {
      adjoints[atom * width + features + degree] += by_chi[atom * coordinates + c] * chi[atom * coordinates + c];
    });
    multiply_back<Real>(*matrix, atoms, adjoints, out);
    finish(nullptr, by_given, by_norms, Real(0));
    for_coordinates([&](std::int64_t atom, std::int64_t c, std::int64_t degree) {
      const std::int64_t at = atom * coordinates + c, of = atom * shape->degrees + degree;
      by_chi_start[at] = by_chi[at] * factor[of] + Real(2) * norm(c) * chi[at] * by_norms[of];
    });
  }

  void tangent(const Real* given, const Real* coordinate, const Real* x, Real* x_out, Real* chi_out) {
    chi_tangents = coordinate;
    fill(given, tangents);
    for_coordinates([&](std::int64_t atom, std::int64_t c, std::int64_t degree) {
      const std::int64_t at = atom * coordinates + c;
      tangents[atom * width + features + degree] += Real(2) * norm(c) * chi[at] * chi_tangents[at];
    });
    multiply<Real>(*matrix, atoms, tangents, out);
    finish(x, x_out, factor_tangents, Real(0));
    for_coordinates([&](std::int64_t atom, std::int64_t c, std::int64_t degree) {
      const std::int64_t at = atom * coordinates + c, of = atom * shape->degrees + degree;
      chi_out[at] = chi_tangents[at] * factor[of] + chi[at] * factor_tangents[of];
    });
  }

  /// m and by_given (atoms, features), m_chi and by_chi_start (atoms, coordinates); spare: (atoms, width).
  void gradient(const Real* m, const Real* m_chi, Real* by_given, Real* by_chi_start, Real* spare, Real* gradients) {
    fill(m, spare);
    for_coordinates([&](std::int64_t atom, std::int64_t c, std::int64_t degree) {
      const std::int64_t at = atom * coordinates + c;
      spare[atom * width + features + degree] += m_chi[at] * chi[at] + by_chi[at] * chi_tangents[at];
    });
    add_weight_gradient<Real>(*matrix, atoms, spare, inputs, adjoints, tangents, gradients);
    add_column_sums<Real>(atoms, width, spare, gradients + matrix->bias.gradient);
    multiply_back<Real>(*matrix, atoms, spare, out);
    for_coordinates([&](std::int64_t atom, std::int64_t c, std::int64_t degree) {
      const std::int64_t at = atom * coordinates + c, of = atom * shape->degrees + degree;
      by_chi_start[at] = m_chi[at] * factor[of] + by_chi[at] * factor_tangents[of] +
                         Real(2) * norm(c) * (chi[at] * out[atom * width + features + degree] + chi_tangents[at] * by_norms[of]);
    });
    for (std::int64_t atom = 0; atom < atoms; ++atom) copy<Real>(features, out + atom * width, by_given + atom * features);
  }

  Real norm(std::int64_t coordinate) const { return static_cast<Real>(shape->invariant_norm[coordinate]); }

  template <class Body>
  void for_coordinates(const Body& body) const {
    for (std::int64_t atom = 0; atom < atoms; ++atom)
      for (std::int64_t c = 0; c < coordinates; ++c) body(atom, c, shape->degree_of[c]);
  }

  /// to = features, and zeros for the degrees.
  void fill(const Real* from, Real* to) const {
    for (std::int64_t atom = 0; atom < atoms; ++atom) {
      copy<Real>(features, from + atom * features, to + atom * width);
      clear<Real>(shape->degrees, to + atom * width + features);
    }
  }

  /// Divides `out`: features, added to x unless it is null, and what is made of the degrees.
  void finish(const Real* x, Real* x_out, Real* of_degrees, Real start) const {
    for (std::int64_t atom = 0; atom < atoms; ++atom) {
      const Real* const row = out + atom * width;
      if (x == nullptr)
        copy<Real>(features, row, x_out + atom * features);
      else
        sum_of<Real>(features, x + atom * features, row, x_out + atom * features);
      for (std::int64_t degree = 0; degree < shape->degrees; ++degree)
        of_degrees[atom * shape->degrees + degree] = start + row[features + degree];
    }
  }
};

}  // namespace SO3MD_CPU_NAMESPACE::training
