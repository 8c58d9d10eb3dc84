// The attention of a layer, forward and adjoint. Edge quantities live in tiles of a few edges of one atom and are computed anew in the
// adjoint; nothing of the size of the edge list is stored.
//
// With s = phi(r) / normaliser, over the channels e of a head h (features) or degree l (coordinates), for the edge from centre i to
// neighbour j (eq. 17-22 of docs/theory.md):
//   alpha_ij^h = s sum_e q_ie k_je w_ije,      x_i^h   += sum_j alpha_ij^h v_j^h
//   beta_ij^l  = s sum_e q'_ie k'_je w'_ije,   chi_i,l += sum_j beta_ij^l Y_l(u_ij)
// The filters w depend on r and on the invariants of chi_j - chi_i, so w_ij = w_ji. The adjoint therefore treats a pair as a whole: with
// G = dE/d(x_attended) and D = dE/d(chi_attended) of both atoms it forms the derivative of the pair's energy contribution
//   E_ij = sum_h alpha_ij^h G_i.v_j + alpha_ji^h G_j.v_i + sum_l beta_ij^l D_i.Y_l(u) + beta_ji^l D_j.Y_l(-u)
// and keeps what lands on atom i (eq. 44-50): the pair stands in the list of j too, where j takes its share.
#pragma once

#include "cpu/edge_tile.h"
#include "cpu/node_kernels.h"

namespace SO3MD_CPU_NAMESPACE {

/// Buffers of one tile.
template <class Real>
struct AttentionBuffers {
  Real *filter, *filter_gradient;                                          // [edge][features_padded + coordinates_padded]
  Real *hidden, *slope;                                                    // [edge][2 spherical_hidden]
  Real *harmonics, *chi_difference, *chi_gradient_j, *harmonics_gradient;  // [coordinate][lane]
  Real* invariant;                                                         // [degree][lane]
  Real *features, *chi;                                                    // sums over edges of one atom
  Real *projection_gradient, *projection;                                  // [kNodeBlock][projection_stride]
  Real* radial;
  std::size_t used = 0;

  /// Without scratch memory only `used`, the size, is set.
  AttentionBuffers(const Layout& layout, Real* scratch) {
    const int channels = layout.features_padded + layout.coordinates_padded;
    auto take = [this, scratch](int count) {
      Real* at = scratch == nullptr ? nullptr : scratch + used;
      used += static_cast<std::size_t>(padded<Real>(count));
      return at;
    };
    filter = take(kTile * channels);
    filter_gradient = take(kTile * channels);
    hidden = take(kTile * 2 * layout.spherical_hidden);
    slope = take(kTile * 2 * layout.spherical_hidden);
    harmonics = take(kTile * layout.num_coordinates);
    chi_difference = take(kTile * layout.num_coordinates);
    chi_gradient_j = take(kTile * layout.num_coordinates);
    harmonics_gradient = take(kTile * layout.num_coordinates);
    invariant = take(kTile * layout.num_degrees);
    features = take(layout.features_padded);
    chi = take(kTile * layout.num_coordinates);
    projection_gradient = take(kNodeBlock * layout.projection_stride);
    projection = take(kNodeBlock * layout.projection_stride);
    radial = take(static_cast<int>(RadialBuffers<Real>::size(layout)));
  }

  static std::size_t size(const Layout& layout) { return AttentionBuffers(layout, nullptr).used; }
};

template <class Real>
inline void set_zero(int count, Real* values) {
  for (int i = 0; i < count; ++i) values[i] = Real(0);
}

/// to[coordinate][lane] = rows of `from` at the tile's slots, minus the centre's row if there is one.
template <class Real>
inline void gather_coordinates(const Layout& layout, const EdgeTile<Real>& tile, const Real* from, const Real* center, Real* to) {
  for (int p = 0; p < kTile; ++p) {
    const Real* row = from + static_cast<std::ptrdiff_t>(p < tile.count ? tile.slot[p] : tile.slot[0]) * layout.chi_stride;
    for (int c = 0; c < layout.num_coordinates; ++c) to[c * kTile + p] = center == nullptr ? row[c] : row[c] - center[c];
  }
}

/// b.filter of every edge of the tile; b.slope and b.hidden keep what the adjoint needs.
template <class Real>
inline void filters(const LayerStep<Real>& step, const EdgeTile<Real>& tile, int i, AttentionBuffers<Real>& b,
                    RadialBuffers<Real>& radial) {
  const Layout& layout = *step.layout;
  const LayerParameters<Real>& parameters = *step.parameters;
  gather_coordinates<Real>(layout, tile, step.chi, step.chi + static_cast<std::ptrdiff_t>(i) * layout.chi_stride, b.chi_difference);
  for (int index = 0; index < layout.num_degrees; ++index) {
    const int count = 2 * layout.degree[index] + 1;
    const Real norm = Real(1) / static_cast<Real>(__builtin_sqrt(static_cast<double>(count)));
    for (int lane = 0; lane < kTile; lane += kWidth<Real>) {
      Vec<Real> squares = Vec<Real>{};
      for (int m = 0; m < count; ++m) {
        const Vec<Real> c = load<Real>(b.chi_difference + (layout.degree_offset[index] + m) * kTile + lane);
        squares += c * c;
      }
      store<Real>(b.invariant + index * kTile + lane, squares * norm);
    }
  }
  const int hidden = 2 * layout.spherical_hidden;
  for (int p = 0; p < tile.count; ++p)
    for (int k = 0; k < hidden; k += kWidth<Real>) {
      Vec<Real> z = load<Real>(parameters.spherical1_bias + k);
      for (int index = 0; index < layout.num_degrees; ++index)
        z += b.invariant[index * kTile + p] * load<Real>(parameters.spherical1_weight + index * hidden + k);
      store<Real>(b.slope + p * hidden + k, z);
    }
  activate_keep_slope<Real>(layout.activation, tile.count * hidden, b.slope, b.hidden);
  radial_values<Real>(step, tile, b.filter, radial);
  const int channels = layout.features_padded + layout.coordinates_padded;
  add_product<Real>(parameters.spherical2_features.forward, tile.count, b.hidden, hidden, b.filter, channels);
  add_product<Real>(parameters.spherical2_coordinates.forward, tile.count, b.hidden + layout.spherical_hidden, hidden,
                    b.filter + layout.features_padded, channels);
}

/// sum_e a_e b_e c_e over one head.
template <class Real>
inline Real triple_product(int count, const Real* a, const Real* b, const Real* c) {
  Vec<Real> sums = Vec<Real>{};
  for (int e = 0; e < count; e += kWidth<Real>) sums += load<Real>(a + e) * load<Real>(b + e) * load<Real>(c + e);
  return sum<Real>(sums);
}

template <class Real>
inline Real dot(int count, const Real* a, const Real* b) {
  Vec<Real> sums = Vec<Real>{};
  for (int e = 0; e < count; e += kWidth<Real>) sums += load<Real>(a + e) * load<Real>(b + e);
  return sum<Real>(sums);
}

/// x_attended and chi_attended of atom i from the sums in b.features (head layout) and b.chi (lanes).
template <class Real>
inline void store_attended(const LayerStep<Real>& step, int i, const AttentionBuffers<Real>& b) {
  const Layout& layout = *step.layout;
  const Real* x = step.x + static_cast<std::ptrdiff_t>(i) * layout.feature_stride;
  Real* out = step.x_attended + static_cast<std::ptrdiff_t>(i) * layout.feature_stride;
  copy_rows<Real>(layout.feature_stride, x, out);
  for (int head = 0; head < layout.heads; ++head)
    for (int d = 0; d < layout.head_width; ++d) out[head * layout.head_width + d] += b.features[head * layout.head_padded + d];
  const Real* chi = step.chi + static_cast<std::ptrdiff_t>(i) * layout.chi_stride;
  Real* chi_out = step.chi_attended + static_cast<std::ptrdiff_t>(i) * layout.chi_stride;
  for (int c = 0; c < layout.num_coordinates; ++c) {
    Vec<Real> lanes = Vec<Real>{};
    for (int lane = 0; lane < kTile; lane += kWidth<Real>) lanes += load<Real>(b.chi + c * kTile + lane);
    chi_out[c] = chi[c] + sum<Real>(lanes);
  }
}

/// b.chi += beta Y with beta[degree][lane].
template <class Real>
inline void add_harmonics(const Layout& layout, const Real* beta, AttentionBuffers<Real>& b) {
  for (int index = 0; index < layout.num_degrees; ++index)
    for (int lane = 0; lane < kTile; lane += kWidth<Real>) {
      const Vec<Real> weight = load<Real>(beta + index * kTile + lane);
      for (int m = 0; m <= 2 * layout.degree[index]; ++m) {
        const int place = (layout.degree_offset[index] + m) * kTile + lane;
        store<Real>(b.chi + place, load<Real>(b.chi + place) + weight * load<Real>(b.harmonics + place));
      }
    }
}

template <class Real>
inline void general_forward(const LayerStep<Real>& step, int begin, int end, AttentionBuffers<Real>& b) {
  const Layout& layout = *step.layout;
  RadialBuffers<Real> radial(layout, b.radial);
  const int channels = layout.features_padded + layout.coordinates_padded;
  const Real features_norm = static_cast<Real>(layout.features_normalizer);
  const Real coordinates_norm = static_cast<Real>(layout.coordinates_normalizer);
  alignas(64) Real beta[kMaxDegrees * kTile];
  for (int i = begin; i < end; ++i) {
    const Real* own = step.projection + static_cast<std::ptrdiff_t>(i) * layout.projection_stride;
    set_zero(layout.features_padded, b.features);
    set_zero(kTile * layout.num_coordinates, b.chi);
    for_edge_tiles<Real>(step.edges, i, [&](const EdgeTile<Real>& tile) {
      tile.spherical_harmonics(layout, *step.harmonics, b.harmonics);
      filters<Real>(step, tile, i, b, radial);
      set_zero(kMaxDegrees * kTile, beta);
      for (int p = 0; p < tile.count; ++p) {
        const Real* other = step.projection + static_cast<std::ptrdiff_t>(tile.slot[p]) * layout.projection_stride;
        const Real* filter = b.filter + p * channels;
        for (int head = 0; head < layout.heads; ++head) {
          const int at = head * layout.head_padded;
          const Real alpha =
              tile.cutoff[p] * features_norm *
              triple_product<Real>(layout.head_padded, own + layout.query_offset + at, other + layout.key_offset + at, filter + at);
          const Real* value = other + layout.value_offset + at;
          for (int d = 0; d < layout.head_padded; d += kWidth<Real>)
            store<Real>(b.features + at + d, load<Real>(b.features + at + d) + alpha * load<Real>(value + d));
        }
        for (int index = 0; index < layout.num_degrees; ++index) {
          const int at = index * layout.coordinate_head_padded;
          beta[index * kTile + p] = tile.cutoff[p] * coordinates_norm *
                                    triple_product<Real>(layout.coordinate_head_padded, own + layout.coordinate_query_offset + at,
                                                         other + layout.coordinate_key_offset + at, filter + layout.features_padded + at);
        }
      }
      add_harmonics<Real>(layout, beta, b);
    });
    store_attended<Real>(step, i, b);
  }
}

// --- adjoint ---

/// Per-lane numbers of a tile in the adjoint, per degree: D_i.Y_l(u), D_j.Y_l(-u), and beta_ij, beta_ji.
template <class Real>
struct CoordinateLanes {
  alignas(64) Real own_product[kMaxDegrees * kTile];
  alignas(64) Real other_product[kMaxDegrees * kTile];
  alignas(64) Real own_beta[kMaxDegrees * kTile];
  alignas(64) Real other_beta[kMaxDegrees * kTile];
};

/// Products of the coordinate gradients with the harmonics (eq. 44); Y_l(-u) = (-1)^l Y_l(u).
template <class Real>
inline void coordinate_products(const Layout& layout, const Real* own_gradient, const AttentionBuffers<Real>& b, CoordinateLanes<Real>& c) {
  for (int index = 0; index < layout.num_degrees; ++index)
    for (int lane = 0; lane < kTile; lane += kWidth<Real>) {
      Vec<Real> own = Vec<Real>{}, other = Vec<Real>{};
      for (int m = 0; m <= 2 * layout.degree[index]; ++m) {
        const int place = layout.degree_offset[index] + m;
        const Vec<Real> y = load<Real>(b.harmonics + place * kTile + lane);
        own += own_gradient[place] * y;
        other += load<Real>(b.chi_gradient_j + place * kTile + lane) * y;
      }
      store<Real>(c.own_product + index * kTile + lane, own);
      store<Real>(c.other_product + index * kTile + lane, layout.degree[index] % 2 == 0 ? other : -other);
    }
}

/// dE/dY_l(u) = D_i beta_ij + (-1)^l D_j beta_ji (eq. 49).
template <class Real>
inline void coordinate_harmonics_gradient(const Layout& layout, const Real* own_gradient, const CoordinateLanes<Real>& c,
                                          AttentionBuffers<Real>& b) {
  for (int index = 0; index < layout.num_degrees; ++index)
    for (int lane = 0; lane < kTile; lane += kWidth<Real>) {
      const Vec<Real> own = load<Real>(c.own_beta + index * kTile + lane);
      const Vec<Real> beta = load<Real>(c.other_beta + index * kTile + lane);
      const Vec<Real> other = layout.degree[index] % 2 == 0 ? beta : -beta;
      for (int m = 0; m <= 2 * layout.degree[index]; ++m) {
        const int place = layout.degree_offset[index] + m;
        store<Real>(b.harmonics_gradient + place * kTile + lane,
                    own_gradient[place] * own + load<Real>(b.chi_gradient_j + place * kTile + lane) * other);
      }
    }
}

/// One head of a pair, backwards from dE/dalpha_ij = own_factor and dE/dalpha_ji = other_factor (times s): the gradient of the filter is
/// set, those of q_i and k_i are added to (eq. 45, 46).
template <class Real>
inline void query_key_adjoint(int count, Real own_factor, Real other_factor, const Real* own_query, const Real* own_key,
                              const Real* other_query, const Real* other_key, const Real* filter, Real* filter_gradient,
                              Real* query_gradient, Real* key_gradient) {
  for (int e = 0; e < count; e += kWidth<Real>) {
    const Vec<Real> w = load<Real>(filter + e);
    const Vec<Real> key = own_factor * load<Real>(other_key + e), query = other_factor * load<Real>(other_query + e);
    store<Real>(filter_gradient + e, key * load<Real>(own_query + e) + query * load<Real>(own_key + e));
    store<Real>(query_gradient + e, load<Real>(query_gradient + e) + key * w);
    store<Real>(key_gradient + e, load<Real>(key_gradient + e) + query * w);
  }
}

/// Feature heads of the pair (i, p): gradient of the filter, of q_i, k_i and v_i (eq. 45, 46); returns dE/ds of the heads.
template <class Real>
inline Real feature_heads_adjoint(const LayerStep<Real>& step, const Real* own, const Real* other, const Real* own_gradient,
                                  const Real* other_gradient, const Real* filter, Real scale, Real* filter_gradient, Real* gradient) {
  const Layout& layout = *step.layout;
  const int count = layout.head_padded;
  Real along = Real(0);
  for (int head = 0; head < layout.heads; ++head) {
    const int at = head * count, query = layout.query_offset + at, key = layout.key_offset + at, value = layout.value_offset + at;
    const Real own_alpha = triple_product<Real>(count, own + query, other + key, filter + at);
    const Real other_alpha = triple_product<Real>(count, other + query, own + key, filter + at);
    const Real own_product = dot<Real>(count, own_gradient + at, other + value);
    const Real other_product = dot<Real>(count, other_gradient + at, own + value);
    along += own_alpha * own_product + other_alpha * other_product;
    query_key_adjoint<Real>(count, scale * own_product, scale * other_product, own + query, own + key, other + query, other + key,
                            filter + at, filter_gradient + at, gradient + query, gradient + key);
    for (int e = 0; e < count; e += kWidth<Real>)
      store<Real>(gradient + value + e, load<Real>(gradient + value + e) + (scale * other_alpha) * load<Real>(other_gradient + at + e));
  }
  return along;
}

/// Coordinate heads of the pair (i, p): gradient of the filter, of q'_i and k'_i (eq. 45, 46), and both beta; returns dE/ds of the heads.
template <class Real>
inline Real coordinate_heads_adjoint(const LayerStep<Real>& step, const Real* own, const Real* other, int p, const Real* filter, Real scale,
                                     CoordinateLanes<Real>& c, Real* filter_gradient, Real* gradient) {
  const Layout& layout = *step.layout;
  const int count = layout.coordinate_head_padded;
  Real along = Real(0);
  for (int index = 0; index < layout.num_degrees; ++index) {
    const int at = index * count, query = layout.coordinate_query_offset + at, key = layout.coordinate_key_offset + at;
    const int lane = index * kTile + p;
    const Real own_beta = triple_product<Real>(count, own + query, other + key, filter + at);
    const Real other_beta = triple_product<Real>(count, other + query, own + key, filter + at);
    along += own_beta * c.own_product[lane] + other_beta * c.other_product[lane];
    c.own_beta[lane] = scale * own_beta;
    c.other_beta[lane] = scale * other_beta;
    query_key_adjoint<Real>(count, scale * c.own_product[lane], scale * c.other_product[lane], own + query, own + key, other + query,
                            other + key, filter + at, filter_gradient + at, gradient + query, gradient + key);
  }
  return along;
}

/// From dE/dw back through the spherical filter networks to chi_i, summed by lanes in b.chi: dE/dchi_i = -2 (2l+1)^(-1/2) (chi_j - chi_i)
/// dE/dm (eq. 47).
template <class Real>
inline void spherical_adjoint(const LayerStep<Real>& step, const EdgeTile<Real>& tile, AttentionBuffers<Real>& b) {
  const Layout& layout = *step.layout;
  const LayerParameters<Real>& parameters = *step.parameters;
  const int channels = layout.features_padded + layout.coordinates_padded, hidden = 2 * layout.spherical_hidden;
  apply<Real>(parameters.spherical2_features.adjoint, tile.count, b.filter_gradient, channels, b.hidden, hidden);
  apply<Real>(parameters.spherical2_coordinates.adjoint, tile.count, b.filter_gradient + layout.features_padded, channels,
              b.hidden + layout.spherical_hidden, hidden);
  multiply_rows<Real>(tile.count * hidden, b.slope, b.hidden);
  set_zero(kTile * layout.num_degrees, b.invariant);
  for (int p = 0; p < tile.count; ++p)
    for (int index = 0; index < layout.num_degrees; ++index)
      b.invariant[index * kTile + p] = dot<Real>(hidden, b.hidden + p * hidden, parameters.spherical1_weight + index * hidden);
  for (int index = 0; index < layout.num_degrees; ++index) {
    const int count = 2 * layout.degree[index] + 1;
    const Real norm = Real(-2) / static_cast<Real>(__builtin_sqrt(static_cast<double>(count)));
    for (int lane = 0; lane < kTile; lane += kWidth<Real>) {
      const Vec<Real> factor = norm * load<Real>(b.invariant + index * kTile + lane);
      for (int m = 0; m < count; ++m) {
        const int place = (layout.degree_offset[index] + m) * kTile + lane;
        store<Real>(b.chi + place, load<Real>(b.chi + place) + factor * load<Real>(b.chi_difference + place));
      }
    }
  }
}

/// One tile of the adjoint: adds to `gradient` (dE/d[q, k, v, q', k'] of atom i), to b.chi (dE/dchi_i by lanes), forces and virial.
template <class Real>
inline void tile_adjoint(const LayerStep<Real>& step, const EdgeTile<Real>& tile, int i, Real* gradient, AttentionBuffers<Real>& b,
                         RadialBuffers<Real>& radial) {
  const Layout& layout = *step.layout;
  const int channels = layout.features_padded + layout.coordinates_padded;
  const Real features_norm = static_cast<Real>(layout.features_normalizer);
  const Real coordinates_norm = static_cast<Real>(layout.coordinates_normalizer);
  const Real* own = step.projection + static_cast<std::ptrdiff_t>(i) * layout.projection_stride;
  const Real* own_gradient = step.gradient_attended + static_cast<std::ptrdiff_t>(i) * layout.features_padded;
  const Real* own_chi_gradient = step.gradient_chi_attended + static_cast<std::ptrdiff_t>(i) * layout.chi_stride;
  CoordinateLanes<Real> c;
  set_zero(kMaxDegrees * kTile, c.own_beta);
  set_zero(kMaxDegrees * kTile, c.other_beta);
  alignas(64) Real along[kTile] = {}, radial_slope[kTile] = {};

  tile.spherical_harmonics(layout, *step.harmonics, b.harmonics);
  filters<Real>(step, tile, i, b, radial);
  gather_coordinates<Real>(layout, tile, step.gradient_chi_attended, nullptr, b.chi_gradient_j);
  coordinate_products<Real>(layout, own_chi_gradient, b, c);
  for (int p = 0; p < tile.count; ++p) {
    const std::ptrdiff_t slot = tile.slot[p];
    const Real* other = step.projection + slot * layout.projection_stride;
    const Real* filter = b.filter + p * channels;
    Real* filter_gradient = b.filter_gradient + p * channels;
    const Real features_along =
        feature_heads_adjoint<Real>(step, own, other, own_gradient, step.gradient_attended + slot * layout.features_padded, filter,
                                    tile.cutoff[p] * features_norm, filter_gradient, gradient);
    const Real coordinates_along =
        coordinate_heads_adjoint<Real>(step, own, other, p, filter + layout.features_padded, tile.cutoff[p] * coordinates_norm, c,
                                       filter_gradient + layout.features_padded, gradient);
    along[p] = (features_along * features_norm + coordinates_along * coordinates_norm) * tile.cutoff_derivative[p];
  }
  radial_derivative<Real>(step, tile, b.filter_gradient, radial, radial_slope);
  spherical_adjoint<Real>(step, tile, b);
  coordinate_harmonics_gradient<Real>(layout, own_chi_gradient, c, b);
  for (int p = 0; p < kTile; ++p) along[p] += radial_slope[p];
  accumulate_forces<Real>(step, tile, i, along, b.harmonics_gradient);
}

/// gradient_x and gradient_chi of the layer's input from what the attention of atoms begin..begin+rows-1 gave back.
template <class Real>
inline void input_gradients(const LayerStep<Real>& step, int begin, int rows, AttentionBuffers<Real>& b) {
  const Layout& layout = *step.layout;
  const std::ptrdiff_t offset = static_cast<std::ptrdiff_t>(begin) * layout.feature_stride;
  Real* gradient_x = step.gradient_x + offset;
  set_zero(rows * layout.feature_stride, gradient_x);
  for (int row = 0; row < rows; ++row) {
    const Real* attended = step.gradient_attended + static_cast<std::ptrdiff_t>(begin + row) * layout.features_padded;
    for (int head = 0; head < layout.heads; ++head)
      for (int d = 0; d < layout.head_width; ++d)
        gradient_x[row * layout.feature_stride + head * layout.head_width + d] = attended[head * layout.head_padded + d];
  }
  project_adjoint<Real>(layout, *step.parameters, rows, step.x + offset, b.projection_gradient, b.projection, gradient_x);
}

template <class Real>
inline void general_adjoint(const LayerStep<Real>& step, int begin, int end, AttentionBuffers<Real>& b) {
  const Layout& layout = *step.layout;
  RadialBuffers<Real> radial(layout, b.radial);
  for (int first = begin; first < end; first += kNodeBlock) {
    const int rows = end - first < kNodeBlock ? end - first : kNodeBlock;
    set_zero(rows * layout.projection_stride, b.projection_gradient);
    for (int i = first; i < first + rows; ++i) {
      set_zero(kTile * layout.num_coordinates, b.chi);
      Real* gradient = b.projection_gradient + (i - first) * layout.projection_stride;
      for_edge_tiles<Real>(step.edges, i, [&](const EdgeTile<Real>& tile) { tile_adjoint<Real>(step, tile, i, gradient, b, radial); });
      const std::ptrdiff_t chi_offset = static_cast<std::ptrdiff_t>(i) * layout.chi_stride;
      for (int c = 0; c < layout.num_coordinates; ++c) {
        Vec<Real> lanes = Vec<Real>{};
        for (int lane = 0; lane < kTile; lane += kWidth<Real>) lanes += load<Real>(b.chi + c * kTile + lane);
        step.gradient_chi[chi_offset + c] = step.gradient_chi_attended[chi_offset + c] + sum<Real>(lanes);
      }
    }
    input_gradients<Real>(step, first, rows, b);
  }
}

}  // namespace SO3MD_CPU_NAMESPACE
