// The attention of a layer, forward and adjoint. Edge quantities live in tiles of a few edges and are computed anew in the adjoint; nothing
// of the size of the edge list is stored, but for filters, where there is room (LayerStep::kept).
//
// With s = phi(r) / normaliser, over the channels e of a head h (features) or degree l (coordinates), for the edge from centre i to
// neighbour j (eq. 19-22 of docs/theory.md):
//   alpha_ij^h = s sum_e q_ie k_je w_ije,      x_i^h   += sum_j alpha_ij^h v_j^h
//   beta_ij^l  = s sum_e q'_ie k'_je w'_ije,   chi_i,l += sum_j beta_ij^l Y_l(u_ij)
// The filters w depend on r and on the invariants of chi_j - chi_i, so w_ij = w_ji: each pair is evaluated once, for both of its atoms, in
// the block of pairs that takes it on (csrc/network/pair_blocks.h). The adjoint forms the derivative of the pair's energy contribution,
// with G = dE/d(x_attended) and C = dE/d(chi_attended) (eq. 44-50):
//   E_ij = sum_h alpha_ij^h G_i.v_j + alpha_ji^h G_j.v_i + sum_l beta_ij^l C_i.Y_l(u) + beta_ji^l C_j.Y_l(-u)
#pragma once

#include "cpu/filter_kernels.h"
#include "cpu/head_kernels.h"
#include "cpu/node_kernels.h"

namespace SO3MD_CPU_NAMESPACE {

/// Buffers of one tile.
template <class Real>
struct AttentionBuffers : FilterBuffers<Real> {
  Real *harmonics, *harmonics_gradient;   // [coordinate][lane]
  Real *chi_gradient_i, *chi_gradient_j;  // [coordinate][lane] C of both atoms, in the adjoint
  Real *own_messages, *other_messages;    // the same memory in the forward pass: what both atoms gain
  Real *features, *chi;                   // sums over edges of one atom; chi: [coordinate][lane]
  Real *edge_rows, *edge_rows_j;          // [lane][chi_stride]
  Real *projection, *x;                   // [kNodeBlock] rows
  Real* unused_row;                       // where a partner of another process gains nothing
  Real* projection_gradient;              // [rows of a block][projection_stride]
  std::size_t used = 0;

  /// Without scratch memory only `used`, the size, is set.
  AttentionBuffers(const Layout& layout, int block_rows, Real* scratch) {
    const int coordinates = coordinate_lanes(layout);
    auto take = [this, scratch](int count) {
      Real* at = scratch == nullptr ? nullptr : scratch + used;
      used += static_cast<std::size_t>(padded<Real>(count));
      return at;
    };
    this->filter = take(this->part_size(layout));
    this->filter_slope = take(this->part_size(layout));
    this->hidden = take(kTile * 2 * layout.spherical_hidden);
    this->slope = take(kTile * 2 * layout.spherical_hidden);
    this->chi_difference = take(coordinates);
    this->invariant = take(kTile * layout.num_degrees);
    harmonics = take(coordinates);
    own_messages = chi_gradient_i = take(coordinates);
    other_messages = chi_gradient_j = take(coordinates);
    harmonics_gradient = take(coordinates);
    features = take(layout.features_padded);
    this->chi_gradient = chi = take(coordinates);
    edge_rows = take(kTile * layout.chi_stride);
    edge_rows_j = take(kTile * layout.chi_stride);
    projection = take(kNodeBlock * layout.projection_stride);
    x = take(kNodeBlock * layout.feature_stride);
    unused_row = take(layout.projection_stride);
    Real* networks = take(static_cast<int>(RadialBuffers<Real>::size(layout)));
    if (scratch != nullptr) this->radial = RadialBuffers<Real>(layout, networks);
    projection_gradient = take(block_rows * layout.projection_stride);
  }

  static std::size_t size(const Layout& layout, int block_rows) { return AttentionBuffers(layout, block_rows, nullptr).used; }
};

template <class Real>
inline void set_zero(int count, Real* values) {
  for (int i = 0; i < count; ++i) values[i] = Real(0);
}

/// to[lane][coordinate], in rows of chi_stride, from lanes.
template <class Real>
inline void lanes_to_rows(const Layout& layout, int lanes, const Real* from, Real* to) {
  for (int c = 0; c < layout.num_coordinates; c += 4)
    for (int p = 0; p < lanes; p += 4) {
      Four<Real> rows[4];
      for (int k = 0; k < 4; ++k) load_four<Real>(from + (c + k) * kTile + p, rows[k]);
      transpose<Real>(rows);
      for (int k = 0; k < 4; ++k) store_four<Real>(to + (p + k) * layout.chi_stride + c, rows[k]);
    }
}

/// x_attended and chi_attended of atom i from the sums over its edges (features in head layout).
template <class Real>
inline void store_attended(const LayerStep<Real>& step, int i, const Real* features, const Real* chi_sums) {
  const Layout& layout = *step.layout;
  const Real* x = step.x + static_cast<std::ptrdiff_t>(i) * layout.feature_stride;
  Real* out = step.x_attended + static_cast<std::ptrdiff_t>(i) * layout.feature_stride;
  copy_rows<Real>(layout.feature_stride, x, out);
  for (int head = 0; head < layout.heads; ++head)
    for (int d = 0; d < layout.head_width; ++d) out[head * layout.head_width + d] += features[head * layout.head_padded + d];
  const Real* chi = step.chi + static_cast<std::ptrdiff_t>(i) * layout.chi_stride;
  Real* chi_out = step.chi_attended + static_cast<std::ptrdiff_t>(i) * layout.chi_stride;
  for (int c = 0; c < layout.num_coordinates; ++c) chi_out[c] = chi[c] + chi_sums[c];
}

/// Where a block leaves sums of an atom: own atoms in arrays of the layer, others in the rim.
template <class Real>
inline Real* block_row(const PairBlock& block, int row, Real* own, Real* rim, int stride) {
  const int count = block.end - block.begin;
  return row < count ? own + static_cast<std::ptrdiff_t>(block.begin + row) * stride
                     : rim + static_cast<std::ptrdiff_t>(block.rim_begin + row - count) * stride;
}

template <class Real>
inline void scale_and_add(int count, Real factor, const Real* from, Real* to) {
  for (int e = 0; e < count; e += kWidth<Real>) store<Real>(to + e, load<Real>(to + e) + factor * load<Real>(from + e));
}

/// Sums of beta Y_l(u) of both atoms of every pair; `other_beta` holds the sign of Y_l(-u).
template <class Real>
inline void add_pair_harmonics(const LayerStep<Real>& step, const PairBlock& block, const EdgeTile<Real>& tile, const Real* own_beta,
                               const Real* other_beta, AttentionBuffers<Real>& b) {
  const Layout& layout = *step.layout;
  for (int index = 0; index < layout.num_degrees; ++index)
    for (int lane = 0; lane < tile.lanes; lane += kWidth<Real>) {
      const Vec<Real> own = load<Real>(own_beta + index * kTile + lane), other = load<Real>(other_beta + index * kTile + lane);
      for (int m = 0; m <= 2 * layout.degree[index]; ++m) {
        const int place = (layout.degree_offset[index] + m) * kTile + lane;
        const Vec<Real> y = load<Real>(b.harmonics + place);
        store<Real>(b.own_messages + place, own * y);
        store<Real>(b.other_messages + place, other * y);
      }
    }
  lanes_to_rows<Real>(layout, tile.lanes, b.own_messages, b.edge_rows);
  lanes_to_rows<Real>(layout, tile.lanes, b.other_messages, b.edge_rows_j);
  for (int p = 0; p < tile.count; ++p) {
    const std::ptrdiff_t centre = tile.centre[p];
    add_rows<Real>(layout.chi_stride, b.edge_rows + p * layout.chi_stride, step.sum_chi + centre * layout.chi_stride);
    if (tile.row[p] < 0) continue;
    add_rows<Real>(layout.chi_stride, b.edge_rows_j + p * layout.chi_stride,
                   block_row<Real>(block, tile.row[p], step.sum_chi, step.rim.chi, layout.chi_stride));
  }
}

/// Feature heads of the pair in lane p: weighted values are added to the sums of both atoms.
template <class Real, class Heads>
inline void feature_heads(const Layout& layout, const Real* own, const Real* other, const Real* filter, Real scale, Real* own_sum,
                          Real* other_sum) {
  const HeadShape shape = Heads::features(layout);
  for (int head = 0; head < shape.heads; ++head) {
    const int at = head * shape.width, query = shape.query + at, key = shape.key + at, value = shape.value + at;
    const BothEnds<Real> alpha = attention_weights<Real>(shape.width, {own + query, own + key}, {other + query, other + key}, filter + at);
    add_head<Real>(shape.width, scale * alpha.own, other + value, own_sum + at);
    add_head<Real>(shape.width, scale * alpha.other, own + value, other_sum + at);
  }
}

/// Coordinate heads of the pair in lane p: beta of both directions, that of the second with the sign of Y_l(-u).
template <class Real, class Heads>
inline void coordinate_heads(const Layout& layout, const Real* own, const Real* other, const Real* filter, Real scale, int p,
                             Real* own_beta, Real* other_beta) {
  const HeadShape shape = Heads::coordinates(layout);
  for (int index = 0; index < shape.heads; ++index) {
    const int at = index * shape.width, query = shape.query + at, key = shape.key + at;
    const BothEnds<Real> beta = attention_weights<Real>(shape.width, {own + query, own + key}, {other + query, other + key}, filter + at);
    own_beta[index * kTile + p] = scale * beta.own;
    other_beta[index * kTile + p] = layout.degree[index] % 2 == 0 ? scale * beta.other : -scale * beta.other;
  }
}

/// One tile of pairs: sums of value vectors, and of harmonics.
template <class Real, class Heads>
inline void forward_tile(const LayerStep<Real>& step, const PairBlock& block, const EdgeTile<Real>& tile, AttentionBuffers<Real>& b) {
  const Layout& layout = *step.layout;
  const FilterPart<Real> features = features_part<Real>(layout, *step.parameters);
  const FilterPart<Real> coordinates = coordinates_part<Real>(layout, *step.parameters);
  const Real features_norm = static_cast<Real>(layout.features_normalizer);
  const Real coordinates_norm = static_cast<Real>(layout.coordinates_normalizer);
  const auto projection = [&](int slot) { return step.projection + static_cast<std::ptrdiff_t>(slot) * layout.projection_stride; };
  alignas(64) Real beta[2][kMaxDegrees * kTile];
  for (Real* lanes : beta) set_zero(layout.num_degrees * kTile, lanes);
  tile.spherical_harmonics(layout, *step.harmonics, b.harmonics);
  const TileFilters<Real> filters(step, tile, b);
  TileRadial<Real> radial;
  radial.set(step, tile, b.radial);
  b.tile_radial = &radial;
  if (filters.kept)
    spherical_hidden<Real, true>(step, tile, filters.hidden_slope, b);
  else
    spherical_hidden<Real, false>(step, tile, nullptr, b);
  filter_values<Real>(step, tile, features, filters.features.filter, b);
  for (int p = 0; p < tile.count; ++p) {
    Real* own_sum = step.sum_features + static_cast<std::ptrdiff_t>(tile.centre[p]) * layout.features_padded;
    Real* other_sum =
        tile.row[p] < 0 ? b.unused_row : block_row<Real>(block, tile.row[p], step.sum_features, step.rim.features, layout.features_padded);
    feature_heads<Real, Heads>(layout, projection(tile.centre[p]), projection(tile.slot[p]),
                               filters.features.filter + p * features.channels, tile.cutoff[p] * features_norm, own_sum, other_sum);
  }
  filter_values<Real>(step, tile, coordinates, filters.coordinates.filter, b);
  for (int p = 0; p < tile.count; ++p)
    coordinate_heads<Real, Heads>(layout, projection(tile.centre[p]), projection(tile.slot[p]),
                                  filters.coordinates.filter + p * coordinates.channels, tile.cutoff[p] * coordinates_norm, p, beta[0],
                                  beta[1]);
  add_pair_harmonics<Real>(step, block, tile, beta[0], beta[1], b);
}

template <class Real>
inline void general_forward(const LayerStep<Real>& step, const PairBlock& block, AttentionBuffers<Real>& b) {
  const Layout& layout = *step.layout;
  for (int row = 0; row < block.num_rows(); ++row) {
    set_zero(layout.features_padded, block_row<Real>(block, row, step.sum_features, step.rim.features, layout.features_padded));
    set_zero(layout.chi_stride, block_row<Real>(block, row, step.sum_chi, step.rim.chi, layout.chi_stride));
  }
  for_pair_tiles<Real>(step.edges, block, [&](const EdgeTile<Real>& tile) {
    with_heads(layout, [&](auto heads) { forward_tile<Real, decltype(heads)>(step, block, tile, b); });
  });
}

/// The sums of atom i, its own row and those of the rim.
template <class Real>
inline void gather_attended(const LayerStep<Real>& step, int i, AttentionBuffers<Real>& b) {
  const Layout& layout = *step.layout;
  copy_rows<Real>(layout.features_padded, step.sum_features + static_cast<std::ptrdiff_t>(i) * layout.features_padded, b.features);
  copy_rows<Real>(layout.chi_stride, step.sum_chi + static_cast<std::ptrdiff_t>(i) * layout.chi_stride, b.edge_rows);
  for (int at = step.rim.gathered_first[i]; at < step.rim.gathered_first[i + 1]; ++at) {
    const std::ptrdiff_t row = step.rim.gathered[at];
    add_rows<Real>(layout.features_padded, step.rim.features + row * layout.features_padded, b.features);
    add_rows<Real>(layout.chi_stride, step.rim.chi + row * layout.chi_stride, b.edge_rows);
  }
  store_attended<Real>(step, i, b.features, b.edge_rows);
}

// --- adjoint ---

/// Per-lane numbers of a tile in the adjoint, per degree: C_i.Y_l(u), C_j.Y_l(-u), and beta_ij, beta_ji.
template <class Real>
struct CoordinateLanes {
  alignas(64) Real own_product[kMaxDegrees * kTile];
  alignas(64) Real other_product[kMaxDegrees * kTile];
  alignas(64) Real own_beta[kMaxDegrees * kTile];
  alignas(64) Real other_beta[kMaxDegrees * kTile];
};

/// Products of the coordinate gradients with the harmonics (eq. 44); Y_l(-u) = (-1)^l Y_l(u).
template <class Real>
inline void coordinate_products(const Layout& layout, int lanes, const AttentionBuffers<Real>& b, CoordinateLanes<Real>& c) {
  for (int index = 0; index < layout.num_degrees; ++index)
    for (int lane = 0; lane < lanes; lane += kWidth<Real>) {
      Vec<Real> own = Vec<Real>{}, other = Vec<Real>{};
      for (int m = 0; m <= 2 * layout.degree[index]; ++m) {
        const int place = layout.degree_offset[index] + m;
        const Vec<Real> y = load<Real>(b.harmonics + place * kTile + lane);
        own += load<Real>(b.chi_gradient_i + place * kTile + lane) * y;
        other += load<Real>(b.chi_gradient_j + place * kTile + lane) * y;
      }
      store<Real>(c.own_product + index * kTile + lane, own);
      store<Real>(c.other_product + index * kTile + lane, layout.degree[index] % 2 == 0 ? other : -other);
    }
}

/// dE/dY_l(u) = C_i beta_ij + (-1)^l C_j beta_ji (eq. 49).
template <class Real>
inline void coordinate_harmonics_gradient(const Layout& layout, int lanes, const CoordinateLanes<Real>& c, AttentionBuffers<Real>& b) {
  for (int index = 0; index < layout.num_degrees; ++index)
    for (int lane = 0; lane < lanes; lane += kWidth<Real>) {
      const Vec<Real> own = load<Real>(c.own_beta + index * kTile + lane);
      const Vec<Real> beta = load<Real>(c.other_beta + index * kTile + lane);
      const Vec<Real> other = layout.degree[index] % 2 == 0 ? beta : -beta;
      for (int m = 0; m <= 2 * layout.degree[index]; ++m) {
        const int place = layout.degree_offset[index] + m;
        store<Real>(b.harmonics_gradient + place * kTile + lane, load<Real>(b.chi_gradient_i + place * kTile + lane) * own +
                                                                     load<Real>(b.chi_gradient_j + place * kTile + lane) * other);
      }
    }
}

/// One end of a pair in the adjoint.
template <class Real>
struct PairEnd {
  const Real* projection;         ///< row [q, k, v, q', k']
  const Real* gradient_attended;  ///< G
  Real* gradient;                 ///< dE/d(projection), added to
  QueryKey<const Real> inputs(int query, int key) const { return {projection + query, projection + key}; }
  QueryKey<Real> gradients(int query, int key) const { return {gradient + query, gradient + key}; }
};

/// Feature heads of a pair: the gradient of the filter, and those of q, k and v of both atoms are added to (eq. 45, 46); returns dE/ds of
/// the heads.
template <class Real, class Heads>
inline Real feature_heads_adjoint(const Layout& layout, const PairEnd<Real>& own, const PairEnd<Real>& other, Real scale,
                                  FilterRow<Real> filter, Vec<Real>& radial) {
  const HeadShape shape = Heads::features(layout);
  Real along = Real(0);
  for (int head = 0; head < shape.heads; ++head) {
    const int at = head * shape.width, query = shape.query + at, key = shape.key + at, value = shape.value + at;
    const BothEnds<Real> product = value_products<Real>(shape.width, own.gradient_attended + at, own.projection + value,
                                                        other.gradient_attended + at, other.projection + value);
    const BothEnds<Real> alpha =
        head_adjoint<Real>(shape.width, {scale * product.own, scale * product.other}, own.inputs(query, key), other.inputs(query, key),
                           filter.from(at), own.gradients(query, key), other.gradients(query, key), radial);
    along += alpha.own * product.own + alpha.other * product.other;
    add_head<Real>(shape.width, scale * alpha.other, other.gradient_attended + at, own.gradient + value);
    add_head<Real>(shape.width, scale * alpha.own, own.gradient_attended + at, other.gradient + value);
  }
  return along;
}

/// Coordinate heads of the pair in lane p: the gradient of the filter, those of q' and k' of both atoms are added to (eq. 45, 46), and
/// both beta are set; returns dE/ds.
template <class Real, class Heads>
inline Real coordinate_heads_adjoint(const Layout& layout, const PairEnd<Real>& own, const PairEnd<Real>& other, int p, Real scale,
                                     CoordinateLanes<Real>& c, FilterRow<Real> filter, Vec<Real>& radial) {
  const HeadShape shape = Heads::coordinates(layout);
  Real along = Real(0);
  for (int index = 0; index < shape.heads; ++index) {
    const int at = index * shape.width, lane = index * kTile + p, query = shape.query + at, key = shape.key + at;
    const Real own_product = c.own_product[lane], other_product = c.other_product[lane];
    const BothEnds<Real> beta =
        head_adjoint<Real>(shape.width, {scale * own_product, scale * other_product}, own.inputs(query, key), other.inputs(query, key),
                           filter.from(at), own.gradients(query, key), other.gradients(query, key), radial);
    along += beta.own * own_product + beta.other * other_product;
    c.own_beta[lane] = scale * beta.own;
    c.other_beta[lane] = scale * beta.other;
  }
  return along;
}

/// Before the first tile of a block: rows that forces are added to. Those of own atoms keep what they hold.
template <class Real>
inline void clear_rim_forces(const LayerStep<Real>& step, const PairBlock& block) {
  const int rim_rows = block.rim_end - block.rim_begin;
  set_zero(3 * rim_rows, step.rim.forces + 3 * static_cast<std::ptrdiff_t>(block.rim_begin));
  set_zero(9 * rim_rows, step.rim.virial + 9 * static_cast<std::ptrdiff_t>(block.rim_begin));
}

/// Force and virial of lane p, to both atoms.
template <class Real>
inline void add_pair_force(const LayerStep<Real>& step, const PairBlock& block, const EdgeTile<Real>& tile, int p,
                           const EdgeGradients<Real>& gradients) {
  const std::ptrdiff_t centre = tile.centre[p];
  gradients.add(tile, p, 1.0, step.forces + 3 * centre, step.virial + 9 * centre);
  if (tile.row[p] < 0) return;
  gradients.add(tile, p, -1.0, block_row<double>(block, tile.row[p], step.forces, step.rim.forces, 3),
                block_row<double>(block, tile.row[p], step.virial, step.rim.virial, 9));
}

/// Adds the gradients of chi in b.chi, and forces and virial, to both atoms of every pair.
template <class Real>
inline void add_pair_gradients(const LayerStep<Real>& step, const PairBlock& block, const EdgeTile<Real>& tile, const Real* along,
                               AttentionBuffers<Real>& b) {
  const Layout& layout = *step.layout;
  const EdgeGradients<Real> gradients(step, tile, along, b.harmonics_gradient);
  lanes_to_rows<Real>(layout, tile.lanes, b.chi, b.edge_rows);
  for (int p = 0; p < tile.count; ++p) {
    const std::ptrdiff_t centre = tile.centre[p];
    const Real* chi = b.edge_rows + p * layout.chi_stride;
    add_rows<Real>(layout.chi_stride, chi, step.gradient_chi + centre * layout.chi_stride);
    add_pair_force<Real>(step, block, tile, p, gradients);
    if (tile.row[p] < 0) continue;
    scale_and_add<Real>(layout.chi_stride, Real(-1), chi,
                        block_row<Real>(block, tile.row[p], step.gradient_chi, step.rim.chi, layout.chi_stride));
  }
}

/// One tile of the adjoint: adds to b.projection_gradient and to what add_pair_gradients fills.
template <class Real, class Heads>
inline void adjoint_tile(const LayerStep<Real>& step, const PairBlock& block, const EdgeTile<Real>& tile, AttentionBuffers<Real>& b) {
  const Layout& layout = *step.layout;
  const FilterPart<Real> features = features_part<Real>(layout, *step.parameters);
  const FilterPart<Real> coordinates = coordinates_part<Real>(layout, *step.parameters);
  const Real features_norm = static_cast<Real>(layout.features_normalizer);
  const Real coordinates_norm = static_cast<Real>(layout.coordinates_normalizer);
  CoordinateLanes<Real> c;
  set_zero(layout.num_degrees * kTile, c.own_beta);
  set_zero(layout.num_degrees * kTile, c.other_beta);
  alignas(64) Real along[kTile] = {}, by_distance[kTile] = {};
  const auto end = [&](int slot, Real* gradient) -> PairEnd<Real> {
    return {step.projection + static_cast<std::ptrdiff_t>(slot) * layout.projection_stride,
            step.gradient_attended + static_cast<std::ptrdiff_t>(slot) * layout.features_padded, gradient};
  };
  const auto own = [&](int p) {
    return end(tile.centre[p], b.projection_gradient + (tile.centre[p] - block.begin) * layout.projection_stride);
  };
  const auto other = [&](int p) {
    return end(tile.slot[p], tile.row[p] < 0 ? b.unused_row : b.projection_gradient + tile.row[p] * layout.projection_stride);
  };

  tile.spherical_harmonics(layout, *step.harmonics, b.harmonics);
  const TileFilters<Real> filters(step, tile, b);
  TileRadial<Real> radial;
  radial.set(step, tile, b.radial);
  b.tile_radial = &radial;
  if (filters.kept)
    gather_differences<Real>(step, tile, b.chi_difference);
  else
    spherical_hidden<Real, true>(step, tile, filters.hidden_slope, b);
  filters_of_adjoint<Real>(step, tile, features, filters, filters.features, b);
  for (int p = 0; p < tile.count; ++p) {
    Vec<Real> slopes = Vec<Real>{};
    along[p] = features_norm * feature_heads_adjoint<Real, Heads>(layout, own(p), other(p), tile.cutoff[p] * features_norm,
                                                                  filters.features.from(p * features.channels), slopes);
    by_distance[p] = sum<Real>(slopes);
  }
  filter_adjoint<Real>(step, tile, features, filters.features.gradient, b);

  gather_coordinates<Real>(layout, tile.lanes, tile.centre, step.gradient_chi_attended, b.chi_gradient_i);
  gather_coordinates<Real>(layout, tile.lanes, tile.slot, step.gradient_chi_attended, b.chi_gradient_j);
  coordinate_products<Real>(layout, tile.lanes, b, c);
  filters_of_adjoint<Real>(step, tile, coordinates, filters, filters.coordinates, b);
  for (int p = 0; p < tile.count; ++p) {
    Vec<Real> slopes = Vec<Real>{};
    along[p] += coordinates_norm * coordinate_heads_adjoint<Real, Heads>(layout, own(p), other(p), p, tile.cutoff[p] * coordinates_norm, c,
                                                                         filters.coordinates.from(p * coordinates.channels), slopes);
    by_distance[p] += sum<Real>(slopes);
  }
  filter_adjoint<Real>(step, tile, coordinates, filters.coordinates.gradient, b);

  if (step.parameters->table.rows == nullptr) radial_derivative<Real>(step, tile, b.radial, by_distance);
  spherical_adjoint<Real>(step, tile, filters.hidden_slope, b);
  coordinate_harmonics_gradient<Real>(layout, tile.lanes, c, b);
  for (int p = 0; p < tile.lanes; ++p) along[p] = along[p] * tile.cutoff_derivative[p] + by_distance[p];
  add_pair_gradients<Real>(step, block, tile, along, b);
}

/// Before the first tile of a block: rows that gradients are added to.
template <class Real>
inline void prepare_adjoint(const LayerStep<Real>& step, const PairBlock& block, AttentionBuffers<Real>& b) {
  const Layout& layout = *step.layout;
  set_zero(block.num_rows() * layout.projection_stride, b.projection_gradient);
  set_zero(layout.projection_stride, b.unused_row);
  const std::ptrdiff_t offset = static_cast<std::ptrdiff_t>(block.begin) * layout.chi_stride;
  copy_rows<Real>((block.end - block.begin) * layout.chi_stride, step.gradient_chi_attended + offset, step.gradient_chi + offset);
  const int rim_rows = block.rim_end - block.rim_begin;
  set_zero(rim_rows * layout.chi_stride, step.rim.chi + static_cast<std::ptrdiff_t>(block.rim_begin) * layout.chi_stride);
  clear_rim_forces<Real>(step, block);
}

/// Gradients of the projection of a slot become those before its heads were normalised, if they were.
template <class Real>
inline void before_head_norms(const LayerStep<Real>& step, int slot, Real* projection_gradient) {
  if (!step.layout->normalize_query_key) return;
  normalise_heads_adjoint<Real>(*step.layout, step.projection + static_cast<std::ptrdiff_t>(slot) * step.layout->projection_stride,
                                projection_gradient);
}

/// gradient_x of the layer's input from what the attention gave back to up to kNodeBlock atoms of a block, starting with `begin`.
template <class Real>
inline void own_input_gradients(const LayerStep<Real>& step, int begin, int rows, Real* projection_gradient, AttentionBuffers<Real>& b) {
  const Layout& layout = *step.layout;
  const std::ptrdiff_t offset = static_cast<std::ptrdiff_t>(begin) * layout.feature_stride;
  Real* gradient_x = step.gradient_x + offset;
  set_zero(rows * layout.feature_stride, gradient_x);
  for (int row = 0; row < rows && !layout.norm_input; ++row) {  // else input_norm_adjoint adds it
    const Real* attended = step.gradient_attended + static_cast<std::ptrdiff_t>(begin + row) * layout.features_padded;
    for (int head = 0; head < layout.heads; ++head)
      for (int d = 0; d < layout.head_width; ++d)
        gradient_x[row * layout.feature_stride + head * layout.head_width + d] = attended[head * layout.head_padded + d];
  }
  for (int row = 0; row < rows; ++row) before_head_norms<Real>(step, begin + row, projection_gradient + row * layout.projection_stride);
  project_adjoint<Real>(layout, *step.parameters, rows, step.projected + offset, projection_gradient, b.projection, gradient_x);
}

/// Likewise for rim rows, starting with `begin`; only what the attention gave back.
template <class Real>
inline void rim_input_gradients(const LayerStep<Real>& step, int begin, int rows, Real* projection_gradient, AttentionBuffers<Real>& b) {
  const Layout& layout = *step.layout;
  if (layout.query_key_activation != Activation::identity)  // else the input is not looked at
    for (int row = 0; row < rows; ++row)
      copy_rows<Real>(layout.feature_stride,
                      step.projected + static_cast<std::ptrdiff_t>(step.rim.slots[begin + row]) * layout.feature_stride,
                      b.x + row * layout.feature_stride);
  Real* gradient_x = step.rim.features + static_cast<std::ptrdiff_t>(begin) * layout.feature_stride;
  set_zero(rows * layout.feature_stride, gradient_x);
  for (int row = 0; row < rows; ++row)
    before_head_norms<Real>(step, step.rim.slots[begin + row], projection_gradient + row * layout.projection_stride);
  project_adjoint<Real>(layout, *step.parameters, rows, b.x, projection_gradient, b.projection, gradient_x);
}

template <class Real>
inline void general_adjoint(const LayerStep<Real>& step, const PairBlock& block, AttentionBuffers<Real>& b) {
  const Layout& layout = *step.layout;
  prepare_adjoint<Real>(step, block, b);
  for_pair_tiles<Real>(step.edges, block, [&](const EdgeTile<Real>& tile) {
    with_heads(layout, [&](auto heads) { adjoint_tile<Real, decltype(heads)>(step, block, tile, b); });
  });
  const int own = block.end - block.begin, rim = block.rim_end - block.rim_begin;
  for (int first = 0; first < own; first += kNodeBlock)
    own_input_gradients<Real>(step, block.begin + first, own - first < kNodeBlock ? own - first : kNodeBlock,
                              b.projection_gradient + first * layout.projection_stride, b);
  for (int first = 0; first < rim; first += kNodeBlock)
    rim_input_gradients<Real>(step, block.rim_begin + first, rim - first < kNodeBlock ? rim - first : kNodeBlock,
                              b.projection_gradient + (own + first) * layout.projection_stride, b);
}

/// Adds the rim rows of atom i to its gradients and forces; where gradients end, only forces are wanted.
template <class Real>
inline void gather_gradients(const LayerStep<Real>& step, int i) {
  const Layout& layout = *step.layout;
  for (int at = step.rim.gathered_first[i]; at < step.rim.gathered_first[i + 1]; ++at) {
    const std::ptrdiff_t row = step.rim.gathered[at], own = i;
    if (step.gradient_x != nullptr) {
      add_rows<Real>(layout.feature_stride, step.rim.features + row * layout.feature_stride, step.gradient_x + own * layout.feature_stride);
      add_rows<Real>(layout.chi_stride, step.rim.chi + row * layout.chi_stride, step.gradient_chi + own * layout.chi_stride);
    }
    for (int k = 0; k < 3; ++k) step.forces[3 * own + k] += step.rim.forces[3 * row + k];
    for (int k = 0; k < 9; ++k) step.virial[9 * own + k] += step.rim.virial[9 * row + k];
  }
}

}  // namespace SO3MD_CPU_NAMESPACE
