// A layer, and all layers, in the four sweeps of a training step; python/so3md/training/layer_steps.py has the same in operations of
// PyTorch.
#pragma once

#include "cpu/training_attention.h"
#include "cpu/training_exchange.h"

namespace SO3MD_CPU_NAMESPACE::training {

using so3md::training::PairValues;
using so3md::training::Weights;

/// What the last sweep of a layer needs in between; the next layer takes the same.
template <class Real>
struct SweepSpare {
  Real *by_scores, *by_w, *by_projections, *by_invariants;        ///< of pairs: see AttentionStep::gradient
  Real *of_residual, *of_exchange, *of_norm, *by_given, *by_chi;  ///< of atoms

  SweepSpare(const Shape& shape, const Group<Real>& group, Room& room)
      : by_scores(room.take<Real>(2 * group.pairs * shape.degrees)),
        by_w(room.take<Real>(2 * group.pairs * shape.features)),
        by_projections(room.take<Real>(5 * group.atoms * shape.features)),
        by_invariants(room.take<Real>(group.pairs * shape.degrees)),
        of_residual(room.take<Real>(2 * group.atoms * shape.features)),
        of_exchange(room.take<Real>(group.atoms * (shape.features + shape.degrees))),
        of_norm(room.take<Real>(group.atoms * shape.features)),
        by_given(room.take<Real>(group.atoms * shape.features)),
        by_chi(room.take<Real>(group.atoms * shape.coordinates)) {}
};

/// One layer. x and chi that a sweep gives stay in the layer until the same sweep of the next batch.
template <class Real>
struct LayerStep {
  const Shape* shape;
  std::int64_t count, coordinate_count;  ///< numbers of x and chi
  AttentionStep<Real> attention;
  NormStep<Real> norm[2];
  ResidualStep<Real> residual[2];
  ExchangeStep<Real> exchange;
  SweepSpare<Real> spare;
  Real *attended, *chi_attended, *exchanged, *chi_out;                 ///< forward
  Real *by_exchanged, *by_attended, *by_x, *by_chi_attended, *by_chi;  ///< adjoint
  Real *attended_tangents, *chi_attended_tangents, *exchanged_tangents, *chi_tangents;
  Real *normal[2], *normal_tangents[2];  ///< what norms give
  Real* by_normal;                       ///< dE/d(the first norm), where it stands before the attention

  LayerStep(const Shape& of, const LayerWeights<Real>& weights, const Group<Real>& group, const PairState<Real>& pairs,
            const FilterSpare<Real>& filter_spare, const SweepSpare<Real>& sweep_spare, bool moves, bool has_chi, Room& room)
      : shape(&of),
        count(group.atoms * of.features),
        coordinate_count(group.atoms * of.coordinates),
        attention(of, weights, group, pairs, filter_spare, moves, has_chi, room),
        norm{{weights.norm[0], of.norm[0] ? group.atoms : 0, of.features, of.norm_epsilon, room},
             {weights.norm[1], of.norm[1] ? group.atoms : 0, of.features, of.norm_epsilon, room}},
        residual{{of, weights.residual[0], of.residual[0] ? group.atoms : 0, room},
                 {of, weights.residual[1], of.residual[1] ? group.atoms : 0, room}},
        exchange(of, weights.exchange, group.atoms, room),
        spare(sweep_spare) {
    attended = room.take<Real>(count);
    exchanged = room.take<Real>(count);
    by_exchanged = room.take<Real>(count);
    by_attended = room.take<Real>(count);
    by_x = room.take<Real>(count);
    attended_tangents = room.take<Real>(count);
    exchanged_tangents = room.take<Real>(count);
    chi_attended = room.take<Real>(coordinate_count);
    chi_out = room.take<Real>(coordinate_count);
    by_chi_attended = room.take<Real>(coordinate_count);
    by_chi = room.take<Real>(coordinate_count);
    chi_attended_tangents = room.take<Real>(coordinate_count);
    chi_tangents = room.take<Real>(coordinate_count);
    for (int k = 0; k < 2; ++k) {
      normal[k] = room.take<Real>(of.norm[k] ? count : 0);
      normal_tangents[k] = room.take<Real>(of.norm[k] ? count : 0);
    }
    by_normal = room.take<Real>(has_norm(0, true) ? count : 0);
  }

  bool has_norm(int number, bool before) const { return shape->norm[number] && shape->pre_norm == before; }

  const Real* forward_norm(int number, bool before, const Real* x) {
    if (!has_norm(number, before)) return x;
    norm[number].forward(x, normal[number]);
    return normal[number];
  }

  const Real* tangent_norm(int number, bool before, const Real* x) {
    if (!has_norm(number, before)) return x;
    norm[number].tangent(x, normal_tangents[number]);
    return normal_tangents[number];
  }

  const Real* adjoint_norm(int number, bool before, const Real* g) { return has_norm(number, before) ? norm[number].adjoint(g) : g; }

  /// Overwrites m.
  void gradient_norm(int number, bool before, Real* m, Real* gradients) {
    if (!has_norm(number, before)) return;
    norm[number].gradient(m, spare.of_norm, gradients);
    copy<Real>(count, spare.of_norm, m);
  }

  /// From x and chi (null: zero) to the next x, which is returned, and chi_out.
  const Real* forward(const Real* x, const Real* chi) {
    clear<Real>(count, attended);
    clear<Real>(coordinate_count, chi_attended);
    attention.forward(forward_norm(0, true, x), chi, attended, chi_attended);
    add<Real>(count, x, attended);
    if (chi != nullptr) add<Real>(coordinate_count, chi, chi_attended);
    const Real* middle = forward_norm(0, false, attended);
    if (shape->residual[0]) middle = residual[0].forward(middle);
    exchange.forward(forward_norm(1, true, middle), chi_attended, middle, exchanged, chi_out);
    return forward_norm(1, false, shape->residual[1] ? residual[1].forward(exchanged) : exchanged);
  }

  /// To by_x, unless x does not depend on positions, and by_chi, unless chi was zero.
  void adjoint(const Real* g, const Real* g_chi) {
    g = adjoint_norm(1, false, g);
    if (shape->residual[1]) g = residual[1].adjoint(g);
    exchange.adjoint(g, g_chi, by_exchanged, by_chi_attended);
    sum_of<Real>(count, g, adjoint_norm(1, true, by_exchanged), by_attended);
    g = by_attended;
    if (shape->residual[0]) g = residual[0].adjoint(g);
    g = adjoint_norm(0, false, g);
    copy<Real>(coordinate_count, by_chi_attended, by_chi);
    if (!attention.moves) return attention.adjoint(g, by_chi_attended, nullptr, by_chi);
    if (!has_norm(0, true)) {
      copy<Real>(count, g, by_x);
      return attention.adjoint(g, by_chi_attended, by_x, by_chi);
    }
    clear<Real>(count, by_normal);
    attention.adjoint(g, by_chi_attended, by_normal, by_chi);
    sum_of<Real>(count, g, norm[0].adjoint(by_normal), by_x);
  }

  const Real* tangent(const Real* x, const Real* chi, const Real* distances) {
    clear<Real>(count, attended_tangents);
    clear<Real>(coordinate_count, chi_attended_tangents);
    attention.tangent(x == nullptr ? nullptr : tangent_norm(0, true, x), chi, distances, attended_tangents, chi_attended_tangents);
    if (x != nullptr) add<Real>(count, x, attended_tangents);
    if (chi != nullptr) add<Real>(coordinate_count, chi, chi_attended_tangents);
    const Real* middle = tangent_norm(0, false, attended_tangents);
    if (shape->residual[0]) middle = residual[0].tangent(middle);
    exchange.tangent(tangent_norm(1, true, middle), chi_attended_tangents, middle, exchanged_tangents, chi_tangents);
    return tangent_norm(1, false, shape->residual[1] ? residual[1].tangent(exchanged_tangents) : exchanged_tangents);
  }

  /// Overwrites m and m_chi with what belongs to the start of the layer; that of a chi that was zero means nothing.
  void gradient(Real* m, Real* m_chi, Real* by_basis, Real* by_basis_slope, Real* gradients) {
    gradient_norm(1, false, m, gradients);
    if (shape->residual[1]) residual[1].gradient(m, spare.of_residual, gradients);
    exchange.gradient(m, m_chi, spare.by_given, spare.by_chi, spare.of_exchange, gradients);
    gradient_norm(1, true, spare.by_given, gradients);
    add<Real>(count, spare.by_given, m);
    if (shape->residual[0]) residual[0].gradient(m, spare.of_residual, gradients);
    gradient_norm(0, false, m, gradients);
    copy<Real>(coordinate_count, spare.by_chi, m_chi);
    clear<Real>(count, spare.by_given);
    attention.gradient(m, spare.by_chi, spare.by_given, m_chi, by_basis, by_basis_slope, spare, gradients);
    gradient_norm(0, true, spare.by_given, gradients);
    add<Real>(count, spare.by_given, m);
  }
};

}  // namespace SO3MD_CPU_NAMESPACE::training
