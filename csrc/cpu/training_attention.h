// Messages between the atoms of pairs in a training step: filters w (17), queries and keys (18), attention weights alpha and sums over
// neighbours (19) to (22).
#pragma once

#include "cpu/training_edge_sums.h"
#include "cpu/training_filters.h"
#include "cpu/training_projections.h"

namespace SO3MD_CPU_NAMESPACE::training {

/// What all layers share of the pairs of a group; python/so3md/training/pair_steps.py has it for edges.
template <class Real>
struct PairState {
  Real *factor, *factor_tangents;                 ///< (pairs), phi and phi' times the factor of scores
  Real *phi_harmonics, *phi_harmonics_tangents;   ///< (pairs, coordinates), phi Y of the first direction
  Real *by_phi_harmonics, *by_phi, *by_distance;  ///< sums of derivatives over the layers and both directions

  PairState(const Shape& shape, std::int64_t pairs, Room& room)
      : factor(room.take<Real>(pairs)),
        factor_tangents(room.take<Real>(pairs)),
        phi_harmonics(room.take<Real>(pairs * shape.coordinates)),
        phi_harmonics_tangents(room.take<Real>(pairs * shape.coordinates)),
        by_phi_harmonics(room.take<Real>(pairs * shape.coordinates)),
        by_phi(room.take<Real>(pairs)),
        by_distance(room.take<Real>(pairs)) {}
};

/// Calls body(pair, direction, centre, signs of the harmonics) for both directions of each pair.
template <class Real, class Body>
inline void for_directions(const Group<Real>& group, const Body& body) {
  for (std::int64_t pair = 0; pair < group.pairs; ++pair) {
    body(pair, std::int64_t(0), group.first[pair]);
    body(pair, std::int64_t(1), group.second[pair]);
  }
}

/// The changes of x (atoms, features) and chi (atoms, coordinates) by the neighbours.
template <class Real>
struct AttentionStep {
  const Shape* shape;
  const Group<Real>* group;
  PairState<Real> pairs;
  std::int64_t coordinates, degrees;
  bool moves;                                       ///< whether x depends on positions
  Real signs[2][so3md::training::kMaxCoordinates];  ///< of both directions, times the factor of scores
  FilterStep<Real> filters;
  ProjectionStep<Real> projections;
  EdgeSumStep<Real> sums;
  Real* by_w;                    ///< (2, pairs, features)
  const Real* by_chi = nullptr;  ///< of the adjoint

  AttentionStep(const Shape& of, const LayerWeights<Real>& weights, const Group<Real>& atoms, const PairState<Real>& state,
                const FilterSpare<Real>& spare, bool with_x, bool with_chi, Room& room)
      : shape(&of),
        group(&atoms),
        pairs(state),
        coordinates(of.coordinates),
        degrees(of.degrees),
        moves(with_x),
        filters(of, weights, atoms, spare, with_chi, room),
        projections(of, weights, atoms.atoms, room),
        sums{atoms.pairs, atoms.atoms, of.features, of.heads, of.degrees, atoms.first, atoms.second} {
    const std::int64_t edges = 2 * atoms.pairs;
    by_w = room.take<Real>(edges * of.features);
    sums.scores = room.take<Real>(edges * of.heads);
    sums.by_alpha = room.take<Real>(edges * of.heads);
    sums.alpha_tangents = room.take<Real>(edges * of.heads);
    sums.coordinate_scores = room.take<Real>(edges * degrees);
    by_scores = room.take<Real>(edges * degrees);
    sums.coordinate_score_tangents = room.take<Real>(edges * degrees);
    for (std::int64_t c = 0; c < coordinates; ++c) {
      signs[0][c] = static_cast<Real>(of.coordinate_score_factor);
      signs[1][c] = static_cast<Real>(of.sign[c]) * signs[0][c];
    }
  }
  Real* by_scores;  ///< (2, pairs, degrees), dE/d(coordinate scores)

  /// Adds to dx and dchi; chi null: it is zero.
  void forward(const Real* x, const Real* chi, Real* dx, Real* dchi) {
    projections.forward(x);
    filters.forward(chi);
    sums.projections = projections.values;
    sums.filters = filters.w;
    sums.factor = pairs.factor;
    sums.sums = dx;
    sums_forward<Real>(sums);
    add_harmonics(sums.coordinate_scores, pairs.phi_harmonics, dchi);
  }

  /// Adds dE/dx, if x moves, and dE/d(chi), if it was not zero. The given stay where they are.
  void adjoint(const Real* by_x, const Real* by_coordinates, Real* by_x_start, Real* by_chi_start) {
    by_chi = by_coordinates;
    for_directions<Real>(*group, [&](std::int64_t pair, std::int64_t direction, std::int64_t centre) {
      const Real* const scores = sums.coordinate_scores + (direction * group->pairs + pair) * degrees;
      for (std::int64_t c = 0; c < coordinates; ++c)
        pairs.by_phi_harmonics[pair * coordinates + c] +=
            signs[direction][c] * scores[shape->degree_of[c]] * by_chi[centre * coordinates + c];
    });
    clear<Real>(2 * group->pairs * degrees, by_scores);
    add_scores(by_chi, pairs.phi_harmonics, by_scores);
    clear<Real>(moves ? 5 * projections.part : 0, projections.by_values);
    sums.by_sums = by_x;
    sums.by_coordinate_scores = by_scores;
    sums.by_projections = moves ? projections.by_values : nullptr;
    sums.by_filters = by_w;
    sums_adjoint<Real>(sums);
    for_directions<Real>(*group, [&](std::int64_t pair, std::int64_t direction, std::int64_t) {
      const std::int64_t at = (direction * group->pairs + pair) * sums.heads;
      for (std::int64_t head = 0; head < sums.heads; ++head)
        pairs.by_phi[pair] += static_cast<Real>(shape->score_factor) * sums.by_alpha[at + head] * sums.scores[at + head];
    });
    filters.adjoint(by_w, pairs.by_distance, by_chi_start);
    if (moves) projections.adjoint(by_x_start);
  }

  void tangent(const Real* x, const Real* chi, const Real* distances, Real* dx, Real* dchi) {
    if (moves) projections.tangent(x);
    filters.tangent(chi, distances);
    sums.projection_tangents = moves ? projections.tangents : nullptr;
    sums.filter_tangents = filters.w_tangents;
    sums.factor_tangents = pairs.factor_tangents;
    sums.sum_tangents = dx;
    sums_tangent<Real>(sums);
    add_harmonics(sums.coordinate_score_tangents, pairs.phi_harmonics, dchi);
    add_harmonics(sums.coordinate_scores, pairs.phi_harmonics_tangents, dchi);
  }

  /// spare: what SweepSpare says.
  template <class Spare>
  void gradient(const Real* m, const Real* m_chi, Real* by_x, Real* by_chi_start, Real* by_basis, Real* by_basis_slope, const Spare& spare,
                Real* gradients) {
    clear<Real>(2 * group->pairs * degrees, spare.by_scores);
    add_scores(m_chi, pairs.phi_harmonics, spare.by_scores);
    add_scores(by_chi, pairs.phi_harmonics_tangents, spare.by_scores);
    clear<Real>(5 * projections.part, spare.by_projections);
    sums.gradient = m;
    sums.coordinate_gradient = spare.by_scores;
    sums.projection_gradient = spare.by_projections;
    sums.filter_gradient = spare.by_w;
    sums_gradient<Real>(sums);
    projections.gradient(spare.by_projections, by_x, gradients);
    filters.gradient(spare.by_w, by_chi_start, by_basis, by_basis_slope, spare.by_invariants, gradients);
  }

  /// Sums at the centres of scores (2, pairs, degrees) times harmonics of pairs, eq. (22).
  void add_harmonics(const Real* scores, const Real* harmonics, Real* to) const {
    for_directions<Real>(*group, [&](std::int64_t pair, std::int64_t direction, std::int64_t centre) {
      const Real* const of_edge = scores + (direction * group->pairs + pair) * degrees;
      for (std::int64_t c = 0; c < coordinates; ++c)
        to[centre * coordinates + c] += signs[direction][c] * of_edge[shape->degree_of[c]] * harmonics[pair * coordinates + c];
    });
  }

  /// The opposite: adds to derivatives with respect to scores, from those with respect to the sums.
  void add_scores(const Real* by_sums, const Real* harmonics, Real* to) const {
    for_directions<Real>(*group, [&](std::int64_t pair, std::int64_t direction, std::int64_t centre) {
      Real* const of_edge = to + (direction * group->pairs + pair) * degrees;
      for (std::int64_t c = 0; c < coordinates; ++c)
        of_edge[shape->degree_of[c]] += signs[direction][c] * by_sums[centre * coordinates + c] * harmonics[pair * coordinates + c];
    });
  }
};

}  // namespace SO3MD_CPU_NAMESPACE::training
