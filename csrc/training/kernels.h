// What the sweeps of a training step do on pairs of atoms, for one layer. python/so3md/training/node_steps.py explains the sweeps,
// pair_steps.py has the same in operations of PyTorch.
#pragma once

#include <cstddef>
#include <cstdint>

namespace so3md::training {

/// The radial part of the filters, eq. (17), for the feature and the coordinate block, and its slope with respect to the distance.
/// Rows of `basis`: the radial functions of every pair, then their slopes. Everything is laid out as arrays of PyTorch are.
template <class Real>
struct RadialFilterStep {
  std::int64_t pairs, basis_size, hidden, features;
  const Real* basis;    ///< (2 pairs, basis_size)
  const Real* weight1;  ///< (2, hidden, basis_size)
  const Real* bias1;    ///< (2, hidden)
  const Real* weight2;  ///< (2, features, hidden)
  const Real* bias2;    ///< (2, features)
  Real* values;         ///< (2, 2 pairs, hidden), silu and its slope with respect to the distance
  Real* slope;          ///< (2, pairs, hidden), silu'
  Real* bend;           ///< (2, pairs, hidden), silu'' times the slope of its argument
  Real* result;         ///< (2, 2 pairs, features)
  // Only for the last sweep.
  const Real* gradient;   ///< (2, pairs, features), dL/dw
  const Real* adjoints;   ///< (2, pairs, features), dE/dw
  const Real* distances;  ///< (pairs), derivatives of the distances along the direction
  Real* by_weight1;       ///< as weight1; this and the next two are added to
  Real* by_bias1;
  Real* by_weight2;
  Real* by_basis;  ///< as basis, added to; null if the basis has no parameters
};

/// Eqs. (19) to (21): scores of both blocks and the sums of messages.
template <class Real>
struct EdgeSumStep {
  std::int64_t pairs, atoms, features, heads, coordinate_heads;
  std::int64_t filter_stride;  ///< from one block of `filters` to the other
  const std::int64_t* first;   ///< (pairs), and so `second`
  const std::int64_t* second;
  const Real* projections;  ///< (5, atoms, features): queries, keys, values; queries, keys of the coordinates
  const Real* filters;      ///< (2, pairs, features)
  const Real* factor;       ///< (pairs), cutoff function over the normaliser
  Real* scores;             ///< (2, pairs, heads), direction first
  Real* coordinate_scores;  ///< (2, pairs, coordinate_heads)
  Real* sums;               ///< (atoms, features), added to
  // The way back.
  const Real* by_sums;               ///< dE/d(sums)
  const Real* by_coordinate_scores;  ///< (2, pairs, coordinate_heads)
  Real* by_alpha;                    ///< (2, pairs, heads), derivatives with respect to scores times factor
  Real* by_projections;              ///< added to; null where projections do not depend on positions
  Real* by_filters;                  ///< (2, pairs, features)
  // Derivatives along the direction.
  const Real* projection_tangents;  ///< null where projections do not depend on positions
  const Real* filter_tangents;      ///< (2, pairs, features)
  const Real* factor_tangents;      ///< (pairs)
  Real* alpha_tangents;             ///< (2, pairs, heads)
  Real* coordinate_score_tangents;  ///< (2, pairs, coordinate_heads)
  Real* sum_tangents;               ///< (atoms, features), added to
  // The last sweep.
  const Real* gradient;             ///< dL/d(sums)
  const Real* coordinate_gradient;  ///< (2, pairs, coordinate_heads)
  Real* projection_gradient;        ///< (5, atoms, features), added to
  Real* filter_gradient;            ///< (2, pairs, features)
};

/// The kernels for one instruction set. scratch: `scratch_size` numbers.
template <class Real>
struct KernelTable {
  std::size_t (*scratch_size)(const RadialFilterStep<Real>&);
  void (*filter_forward)(const RadialFilterStep<Real>&, Real* scratch);
  void (*filter_gradient)(const RadialFilterStep<Real>&, Real* scratch);
  void (*sums_forward)(const EdgeSumStep<Real>&);
  void (*sums_adjoint)(const EdgeSumStep<Real>&);
  void (*sums_tangent)(const EdgeSumStep<Real>&);
  void (*sums_gradient)(const EdgeSumStep<Real>&);
};

/// Those for the instruction set of the other kernels.
template <class Real>
const KernelTable<Real>& kernels();

}  // namespace so3md::training
