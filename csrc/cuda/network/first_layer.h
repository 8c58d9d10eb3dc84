// The attention of a first layer whose input depends on the element alone (eq. 52 of docs/theory.md): alpha and beta are splines of the
// distance for an ordered pair of species, so that an edge reads a few numbers instead of rows of features, and only distances and
// directions carry gradients.
#pragma once

#include "cuda/network/attention_adjoint.h"

namespace so3md::cuda {

/// Number `at` of a spline's rows for edge e, and its derivative by the distance.
template <class Real>
__device__ __forceinline__ Real spline_value(const TileMemory<Real>& m, const Real* rows, int stride, int at, int e, Real& slope) {
  Real knots[kSplineRows], value = Real(0);
#pragma unroll
  for (int k = 0; k < kSplineRows; ++k) knots[k] = rows[k * stride + at];
#pragma unroll
  for (int k = 0; k < kSplineRows; ++k) value += m.table_weight[k * kTile + e] * knots[k];
  slope = Real(0);
#pragma unroll
  for (int k = 0; k + 1 < kSplineRows; ++k) slope += m.table_slope[k * kTile + e] * (knots[k + 1] - knots[k]);
  return value;
}

/// The rows of the splines of an ordered pair of species at edge e.
template <class Real>
__device__ __forceinline__ const Real* pair_rows(const SpeciesView<Real>& view, const TileMemory<Real>& m, int a, int b, int e) {
  return view.tables[a * view.num_species + b] + m.interval[e] * view.stride;
}

template <class Real, int kPasses>
struct FirstForwardTile : ForwardTile<Real, kPasses, false> {
  using Base = ForwardTile<Real, kPasses, false>;
  using Base::Base;
  using Base::s, Base::m, Base::lane, Base::count, Base::centre, Base::kChannels;

  __device__ void run() {
    if (lane < kTile) Base::place_on_spline(s.species.coordinate, m.r[lane]);
    __syncwarp();
    const int e = Base::edge(), heads = s.layout.feature_heads.heads;
    const Real* rows = pair_rows(s.species, m, s.species.species[centre], s.species.species[m.slot[e]], e);
    Real* alphas = m.filter;  // [head][kTile]
    for (int at = Base::quarter(); at < heads + s.layout.num_degrees; at += kQuarters) {
      Real unused;
      const Real weight = m.cutoff[e] * spline_value(m, rows, s.species.stride, at, e, unused);
      if (at < heads)
        alphas[at * kTile + e] = weight;
      else
        m.own_beta[(at - heads) * kTile + e] = weight;
    }
    Base::add_harmonics();
    const int head = lane / Base::head_lanes();
    for (int k = 0; k < count && head < heads; ++k)
      Base::add_value(alphas[head * kTile + k], s.species.values + static_cast<std::int64_t>(s.species.species[m.slot[k]]) * kChannels);
  }
};

template <class Real, int kPasses>
__global__ void __launch_bounds__(kMostWarps* kWarp) first_forward(AttentionStep<Real> s) {
  for_my_centres<Real, false>(s, false, [&](const TileMemory<Real>& memory, const Real* none, int centre) {
    FirstForwardTile<Real, kPasses> tile(s, memory, none, static_cast<int>(threadIdx.x) % kWarp);
    tile.clear();
    for_tiles<false, false>(tile, centre, [&] { tile.run(); });
    tile.store(centre, s.species.features + static_cast<std::int64_t>(s.species.species[centre]) * s.layout.features);
  });
}

template <class Real>
struct FirstAdjointTile : AdjointTile<Real, 1, false> {
  using Base = AdjointTile<Real, 1, false>;
  using Base::Base;
  using Base::s, Base::m, Base::lane, Base::centre;

  /// Rows of G.v_species, [head][species].
  __device__ const Real* projected(int slot) const {
    return Base::row(s.gradient_attended, slot, s.layout.feature_heads.heads * s.species.num_species);
  }

  __device__ void run() {
    if (lane < kTile) Base::place_on_spline(s.species.coordinate, m.r[lane]);
    Base::coordinate_products();
    const int e = Base::edge(), heads = s.layout.feature_heads.heads, number = s.species.num_species;
    const int own = s.species.species[centre], other = s.species.species[m.slot[e]];
    const Real *own_rows = pair_rows(s.species, m, own, other, e), *other_rows = pair_rows(s.species, m, other, own, e);
    const Real *own_projected = projected(centre), *other_projected = projected(m.slot[e]);
    Real by_cutoff = Real(0), by_distance = Real(0);
    for (int at = Base::quarter(); at < heads + s.layout.num_degrees; at += kQuarters) {
      BothWays<Real> slope, gradient;
      const BothWays<Real> weight = {spline_value(m, own_rows, s.species.stride, at, e, slope.own),
                                     spline_value(m, other_rows, s.species.stride, at, e, slope.other)};
      if (at < heads) {
        gradient = {own_projected[at * number + other], other_projected[at * number + own]};
      } else {
        gradient = {m.own_product[(at - heads) * kTile + e], m.other_product[(at - heads) * kTile + e]};
        Base::set_beta(at - heads, e, {m.cutoff[e] * weight.own, m.cutoff[e] * weight.other});
      }
      by_cutoff += weight.own * gradient.own + weight.other * gradient.other;
      by_distance += slope.own * gradient.own + slope.other * gradient.other;
    }
    Base::add_force_without_filters(sum_lanes<kQuarters>(by_cutoff * m.cutoff_derivative[e] + by_distance * m.cutoff[e]));
  }
};

template <class Real>
__global__ void __launch_bounds__(kMostWarps* kWarp) first_adjoint(AttentionStep<Real> s) {
  for_my_centres<Real, false>(s, true, [&](const TileMemory<Real>& memory, const Real* none, int centre) {
    FirstAdjointTile<Real> tile(s, memory, none, static_cast<int>(threadIdx.x) % kWarp);
    for_tiles<true, false>(tile, centre, [&] { tile.run(); });
    tile.store(centre);
  });
}

}  // namespace so3md::cuda
