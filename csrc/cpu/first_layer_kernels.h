// The attention of a first layer whose input depends on the element alone: alpha and beta are splines of the distance for an ordered pair
// of species (eq. 52 of docs/theory.md), so an edge costs a few numbers instead of rows of features. With S_b^h = sum over neighbours of
// species b of alpha^h(r),
//   x_i^h += sum_b S_b^h v_b^h,   chi_i,l = sum_j beta^l(r) Y_l(u),
// and in the adjoint only distances and directions carry gradients.
#pragma once

#include "cpu/attention_kernels.h"

namespace SO3MD_CPU_NAMESPACE {

/// Weights of all heads and degrees for one edge: value = phi(r) spline, derivative = spline' (without phi).
template <class Real>
inline void pair_weights(const Real* table, int stride, const SplinePlace<Real>& place, Real* value, Real* derivative) {
  const Real* row = table + static_cast<std::ptrdiff_t>(place.interval) * stride;
  spline_values_and_slopes<Real>(place.value, place.difference, 1, row, stride, stride, value, derivative);
}

/// The same without derivatives.
template <class Real>
inline void pair_weights(const Real* table, int stride, const SplinePlace<Real>& place, Real* value) {
  spline_values<Real>(place.value, 1, table + static_cast<std::ptrdiff_t>(place.interval) * stride, stride, stride, value);
}

/// b.chi += beta Y with beta[degree][lane], one register for each coordinate.
template <class Real>
inline void add_harmonics(const Layout& layout, int lanes, const Real* beta, AttentionBuffers<Real>& b) {
  for (int index = 0; index < layout.num_degrees; ++index)
    for (int m = 0; m <= 2 * layout.degree[index]; ++m) {
      const int place = layout.degree_offset[index] + m;
      Vec<Real> total = load<Real>(b.chi + place * kWidth<Real>);
      for (int lane = 0; lane < lanes; lane += kWidth<Real>)
        total += load<Real>(beta + index * kTile + lane) * load<Real>(b.harmonics + place * kTile + lane);
      store<Real>(b.chi + place * kWidth<Real>, total);
    }
}

/// sums[coordinate] over the registers of b.chi.
template <class Real>
inline void sum_lanes(const Layout& layout, const AttentionBuffers<Real>& b, Real* sums) {
  for (int c = 0; c < layout.num_coordinates; ++c) sums[c] = sum<Real>(load<Real>(b.chi + c * kWidth<Real>));
}

template <class Real, class Heads>
inline void first_layer_attended(const LayerStep<Real>& step, int begin, int end, AttentionBuffers<Real>& b) {
  const Layout& layout = *step.layout;
  const FirstLayer<Real>& first = *step.first_layer;
  const int heads = Heads::features(layout).heads, degrees = Heads::coordinates(layout).heads;
  alignas(64) Real weights[kMostPairWeights], beta[kMaxDegrees * kTile];
  Real* sums = b.filter;  // [species][heads]
  for (int i = begin; i < end; ++i) {
    const Real* const* tables = first.tables + static_cast<std::ptrdiff_t>(first.species[i]) * first.num_species;
    set_zero(first.num_species * heads, sums);
    set_zero(kWidth<Real> * layout.num_coordinates, b.chi);
    for_edge_tiles<Real>(step.edges, i, [&](const EdgeTile<Real>& tile) {
      tile.spherical_harmonics(layout, *step.harmonics, b.harmonics);
      set_zero(degrees * kTile, beta);
      for (int p = 0; p < tile.count; ++p) {
        const int species = first.species[tile.slot[p]];
        const SplinePlace<Real> place(step.parameters->table, tile.r[p]);
        pair_weights<Real>(tables[species], first.stride, place, weights);
        for (int head = 0; head < heads; ++head) sums[species * heads + head] += tile.cutoff[p] * weights[head];
        for (int index = 0; index < degrees; ++index) beta[index * kTile + p] = tile.cutoff[p] * weights[heads + index];
      }
      add_harmonics<Real>(layout, tile.lanes, beta, b);
    });
    set_zero(layout.features_padded, b.features);
    for (int species = 0; species < first.num_species; ++species)
      for (int head = 0; head < heads; ++head) {
        const Real weight = sums[species * heads + head];
        if (weight == Real(0)) continue;
        const Real* value = first.values + species * layout.features_padded + head * layout.head_padded;
        Real* features = b.features + head * layout.head_padded;
        for (int d = 0; d < layout.head_padded; d += kWidth<Real>)
          store<Real>(features + d, load<Real>(features + d) + weight * load<Real>(value + d));
      }
    sum_lanes<Real>(layout, b, b.edge_rows);
    store_attended<Real>(step, i, b.features, b.edge_rows);
  }
}

template <class Real>
inline void first_layer_forward(const LayerStep<Real>& step, int begin, int end, AttentionBuffers<Real>& b) {
  with_heads(*step.layout, [&](auto heads) { first_layer_attended<Real, decltype(heads)>(step, begin, end, b); });
}

template <class Real, class Heads>
inline void first_layer_tile_adjoint(const LayerStep<Real>& step, const PairBlock& block, const EdgeTile<Real>& tile,
                                     AttentionBuffers<Real>& b) {
  const Layout& layout = *step.layout;
  const FirstLayer<Real>& first = *step.first_layer;
  const int heads = Heads::features(layout).heads, degrees = Heads::coordinates(layout).heads;
  const int projected_stride = first.num_species * heads;
  alignas(64) Real own_weight[kMostPairWeights], other_weight[kMostPairWeights];
  alignas(64) Real own_slope[kMostPairWeights], other_slope[kMostPairWeights], along[kTile] = {};
  CoordinateLanes<Real> c;
  set_zero(degrees * kTile, c.own_beta);
  set_zero(degrees * kTile, c.other_beta);
  tile.spherical_harmonics(layout, *step.harmonics, b.harmonics);
  gather_coordinates<Real>(layout, tile.lanes, tile.centre, step.gradient_chi_attended, b.chi_gradient_i);
  gather_coordinates<Real>(layout, tile.lanes, tile.slot, step.gradient_chi_attended, b.chi_gradient_j);
  coordinate_products<Real>(layout, tile.lanes, b, c);
  for (int p = 0; p < tile.count; ++p) {
    const int own_species = first.species[tile.centre[p]], species = first.species[tile.slot[p]];
    const SplinePlace<Real> place(step.parameters->table, tile.r[p]);
    pair_weights<Real>(first.tables[own_species * first.num_species + species], first.stride, place, own_weight, own_slope);
    pair_weights<Real>(first.tables[species * first.num_species + own_species], first.stride, place, other_weight, other_slope);
    const Real* own = step.gradient_projected + static_cast<std::ptrdiff_t>(tile.centre[p]) * projected_stride + species * heads;
    const Real* other = step.gradient_projected + static_cast<std::ptrdiff_t>(tile.slot[p]) * projected_stride + own_species * heads;
    Real by_cutoff = Real(0), by_distance = Real(0);
    for (int head = 0; head < heads; ++head) {
      by_cutoff += own_weight[head] * own[head] + other_weight[head] * other[head];
      by_distance += own_slope[head] * own[head] + other_slope[head] * other[head];
    }
    for (int index = 0; index < degrees; ++index) {
      const int at = heads + index;
      const Real own_product = c.own_product[index * kTile + p], other_product = c.other_product[index * kTile + p];
      by_cutoff += own_weight[at] * own_product + other_weight[at] * other_product;
      by_distance += own_slope[at] * own_product + other_slope[at] * other_product;
      c.own_beta[index * kTile + p] = tile.cutoff[p] * own_weight[at];
      c.other_beta[index * kTile + p] = tile.cutoff[p] * other_weight[at];
    }
    along[p] = by_cutoff * tile.cutoff_derivative[p] + by_distance * tile.cutoff[p];
  }
  coordinate_harmonics_gradient<Real>(layout, tile.lanes, c, b);
  const EdgeGradients<Real> gradients(step, tile, along, b.harmonics_gradient);
  for (int p = 0; p < tile.count; ++p) add_pair_force<Real>(step, block, tile, p, gradients);
}

template <class Real>
inline void first_layer_adjoint(const LayerStep<Real>& step, const PairBlock& block, AttentionBuffers<Real>& b) {
  clear_rim_forces<Real>(step, block);
  for_pair_tiles<Real>(step.edges, block, [&](const EdgeTile<Real>& tile) {
    with_heads(*step.layout, [&](auto heads) { first_layer_tile_adjoint<Real, decltype(heads)>(step, block, tile, b); });
  });
}

// --- chi before the first layer (eq. 53), in models where it does not start at zero ---

/// scale phi(r), the same for every degree.
template <class Real>
inline void initial_weights(const Layout& layout, const EdgeTile<Real>& tile, Real* weights) {
  for (int index = 0; index < layout.num_degrees; ++index)
    for (int p = 0; p < tile.lanes; ++p) weights[index * kTile + p] = static_cast<Real>(layout.initial_scale) * tile.cutoff[p];
}

template <class Real>
inline void initial_forward(const LayerStep<Real>& step, int begin, int end, AttentionBuffers<Real>& b) {
  const Layout& layout = *step.layout;
  alignas(64) Real weights[kMaxDegrees * kTile];
  for (int i = begin; i < end; ++i) {
    set_zero(kWidth<Real> * layout.num_coordinates, b.chi);
    for_edge_tiles<Real>(step.edges, i, [&](const EdgeTile<Real>& tile) {
      tile.spherical_harmonics(layout, *step.harmonics, b.harmonics);
      initial_weights<Real>(layout, tile, weights);
      add_harmonics<Real>(layout, tile.lanes, weights, b);
    });
    sum_lanes<Real>(layout, b, step.chi_next + static_cast<std::ptrdiff_t>(i) * layout.chi_stride);
  }
}

template <class Real>
inline void initial_tile_adjoint(const LayerStep<Real>& step, const PairBlock& block, const EdgeTile<Real>& tile,
                                 AttentionBuffers<Real>& b) {
  const Layout& layout = *step.layout;
  alignas(64) Real along[kTile] = {};
  CoordinateLanes<Real> c;
  tile.spherical_harmonics(layout, *step.harmonics, b.harmonics);
  gather_coordinates<Real>(layout, tile.lanes, tile.centre, step.gradient_chi_attended, b.chi_gradient_i);
  gather_coordinates<Real>(layout, tile.lanes, tile.slot, step.gradient_chi_attended, b.chi_gradient_j);
  coordinate_products<Real>(layout, tile.lanes, b, c);
  initial_weights<Real>(layout, tile, c.own_beta);
  initial_weights<Real>(layout, tile, c.other_beta);
  for (int p = 0; p < tile.count; ++p) {
    Real product = Real(0);
    for (int index = 0; index < layout.num_degrees; ++index)
      product += c.own_product[index * kTile + p] + c.other_product[index * kTile + p];
    along[p] = product * static_cast<Real>(layout.initial_scale) * tile.cutoff_derivative[p];
  }
  coordinate_harmonics_gradient<Real>(layout, tile.lanes, c, b);
  const EdgeGradients<Real> gradients(step, tile, along, b.harmonics_gradient);
  for (int p = 0; p < tile.count; ++p) add_pair_force<Real>(step, block, tile, p, gradients);
}

template <class Real>
inline void initial_adjoint(const LayerStep<Real>& step, const PairBlock& block, AttentionBuffers<Real>& b) {
  clear_rim_forces<Real>(step, block);
  for_pair_tiles<Real>(step.edges, block, [&](const EdgeTile<Real>& tile) { initial_tile_adjoint<Real>(step, block, tile, b); });
}

}  // namespace SO3MD_CPU_NAMESPACE
