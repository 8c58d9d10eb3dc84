// The filters of a tile of pairs: from the distance (a table, or networks) and from the invariants of chi_j - chi_i (networks), forward and
// backward (eq. 16, 17, 46, 47 of docs/theory.md).
//
// There are two of them in a layer, of features and of coordinates. A tile does one after the other, so that what it works on (filter,
// slope and gradient of a tile and one half of the channels) stays near.
#pragma once

#include "cpu/edge_tile.h"
#include "cpu/head_kernels.h"

namespace SO3MD_CPU_NAMESPACE {

/// One of the two filters and its attention heads; degrees are the heads of the coordinates.
template <class Real>
struct FilterPart {
  int heads, head_padded, channels;
  int query, key;                             ///< offsets in rows of projections
  int first_channel, row;                     ///< in a row of the radial table, and its length
  int first_spherical, first_radial;          ///< hidden values of this filter
  const LinearPair<Real>*spherical, *radial;  ///< second linear maps of its networks
};

template <class Real>
inline FilterPart<Real> features_part(const Layout& layout, const LayerParameters<Real>& parameters) {
  return {layout.heads,
          layout.head_padded,
          layout.features_padded,
          layout.query_offset,
          layout.key_offset,
          0,
          layout.features_padded + layout.coordinates_padded,
          0,
          0,
          &parameters.spherical2_features,
          &parameters.radial.dense2_features};
}

template <class Real>
inline FilterPart<Real> coordinates_part(const Layout& layout, const LayerParameters<Real>& parameters) {
  return {layout.num_degrees,
          layout.coordinate_head_padded,
          layout.coordinates_padded,
          layout.coordinate_query_offset,
          layout.coordinate_key_offset,
          layout.features_padded,
          layout.features_padded + layout.coordinates_padded,
          layout.spherical_hidden,
          layout.radial_hidden,
          &parameters.spherical2_coordinates,
          &parameters.radial.dense2_coordinates};
}

/// The distances of a tile, as the radial filters want them: places in the table and weights of its rows, or hidden values of the networks.
template <class Real>
struct TileRadial {
  int interval[kTile];
  alignas(64) Real weight[kSplineRows][kTile];
  alignas(64) Real difference[kSplineRows - 1][kTile];

  void set(const LayerStep<Real>& step, const EdgeTile<Real>& tile, RadialBuffers<Real>& networks) {
    const RadialTable<Real>& table = step.parameters->table;
    if (table.rows == nullptr) {
      radial_hidden<Real>(step, tile, networks);
      return;
    }
    alignas(64) Real within[kTile], slope[kTile];
    for (int p = 0; p < tile.lanes; ++p) within[p] = find_interval<Real>(table, tile.r[p], interval[p], slope[p]);
    for (int lane = 0; lane < tile.lanes; lane += kWidth<Real>) {
      Vec<Real> value[kSplineRows], change[kSplineRows - 1];
      spline_weights_of<Real>(load<Real>(within + lane), value, change);
      for (int s = 0; s < kSplineRows; ++s) store<Real>(weight[s] + lane, value[s]);
      for (int s = 0; s < kSplineRows - 1; ++s) store<Real>(difference[s] + lane, change[s] * load<Real>(slope + lane));
    }
  }
};

template <class Real>
struct FilterBuffers {
  Real *filter, *filter_slope;  // [lane][channels of a part]; the filter, or its gradient
  Real *hidden, *slope;         // [lane][2 spherical_hidden]
  TileRadial<Real>* tile_radial;
  Real *chi_difference, *chi_gradient;  // [coordinate][lane]
  Real* invariant;                      // [degree][lane]
  RadialBuffers<Real> radial;

  static int part_size(const Layout& layout) {
    return kTile * (layout.features_padded > layout.coordinates_padded ? layout.features_padded : layout.coordinates_padded);
  }
};

template <class Real>
inline Real dot(int count, const Real* a, const Real* b) {
  Vec<Real> sums = Vec<Real>{};
  for (int e = 0; e < count; e += kWidth<Real>) sums += load<Real>(a + e) * load<Real>(b + e);
  return sum<Real>(sums);
}

/// Numbers of an array [coordinate][lane], coordinates in whole fours; those behind the last hold what rows are padded with.
inline int coordinate_lanes(const Layout& layout) { return kTile * ((layout.num_coordinates + 3) / 4 * 4); }

/// to[coordinate][lane] = rows of `from` at the slots.
template <class Real>
inline void gather_coordinates(const Layout& layout, int lanes, const int* slots, const Real* from, Real* to) {
  for (int p = 0; p < lanes; p += 4) {
    const Real* row[4];
    for (int k = 0; k < 4; ++k) row[k] = from + static_cast<std::ptrdiff_t>(slots[p + k]) * layout.chi_stride;
    for (int c = 0; c < layout.num_coordinates; c += 4) {
      Four<Real> values[4];
      for (int k = 0; k < 4; ++k) load_four<Real>(row[k] + c, values[k]);
      transpose<Real>(values);
      for (int k = 0; k < 4; ++k) store_four<Real>(to + (c + k) * kTile + p, values[k]);
    }
  }
}

/// to[coordinate][lane] = chi_j - chi_i.
template <class Real>
inline void gather_differences(const LayerStep<Real>& step, const EdgeTile<Real>& tile, Real* to) {
  const Layout& layout = *step.layout;
  for (int p = 0; p < tile.lanes; p += 4) {
    const Real *own[4], *other[4];
    for (int k = 0; k < 4; ++k) own[k] = step.chi + static_cast<std::ptrdiff_t>(tile.centre[p + k]) * layout.chi_stride;
    for (int k = 0; k < 4; ++k) other[k] = step.chi + static_cast<std::ptrdiff_t>(tile.slot[p + k]) * layout.chi_stride;
    for (int c = 0; c < layout.num_coordinates; c += 4) {
      Four<Real> values[4];
      for (int k = 0; k < 4; ++k) {
        Four<Real> subtracted;
        load_four<Real>(other[k] + c, values[k]);
        load_four<Real>(own[k] + c, subtracted);
        values[k] -= subtracted;
      }
      transpose<Real>(values);
      for (int k = 0; k < 4; ++k) store_four<Real>(to + (c + k) * kTile + p, values[k]);
    }
  }
}

/// Squared norms of chi_j - chi_i by degree (eq. 16).
template <class Real>
inline void invariants_of_differences(const Layout& layout, int lanes, FilterBuffers<Real>& b) {
  for (int index = 0; index < layout.num_degrees; ++index)
    for (int lane = 0; lane < lanes; lane += kWidth<Real>) {
      Vec<Real> squares = Vec<Real>{};
      for (int m = 0; m <= 2 * layout.degree[index]; ++m) {
        const Vec<Real> c = load<Real>(b.chi_difference + (layout.degree_offset[index] + m) * kTile + lane);
        squares += c * c;
      }
      store<Real>(b.invariant + index * kTile + lane, squares * static_cast<Real>(layout.invariant_norm[index]));
    }
}

/// First linear map of the spherical networks of both filters, and its activation. kDegrees: their number, or 0 where it is a variable.
template <class Real, int kDegrees, bool kSlopes, class Kind>
inline void spherical_first(const LayerStep<Real>& step, int count, Kind activation_kind, Real* slopes, FilterBuffers<Real>& b) {
  const int hidden = 2 * step.layout->spherical_hidden, degrees = kDegrees > 0 ? kDegrees : step.layout->num_degrees;
  for (int k = 0; k < hidden; k += kWidth<Real>) {
    const Vec<Real> bias = load<Real>(step.parameters->spherical1_bias + k);
    Vec<Real> weight[kDegrees > 0 ? kDegrees : kMaxDegrees];
    for (int index = 0; index < degrees; ++index) weight[index] = load<Real>(step.parameters->spherical1_weight + index * hidden + k);
    for (int p = 0; p < count; ++p) {
      Vec<Real> z = bias, slope;
      for (int index = 0; index < degrees; ++index) z += b.invariant[index * kTile + p] * weight[index];
      store<Real>(b.hidden + p * hidden + k, activation<Real>(activation_kind, z, slope));
      if constexpr (kSlopes) store<Real>(slopes + p * hidden + k, slope);
    }
  }
}

/// Hidden values of the spherical networks of both filters, and with kSlopes their slopes, which the adjoint wants.
template <class Real, bool kSlopes>
inline void spherical_hidden(const LayerStep<Real>& step, const EdgeTile<Real>& tile, Real* slope, FilterBuffers<Real>& b) {
  const Layout& layout = *step.layout;
  gather_differences<Real>(step, tile, b.chi_difference);
  invariants_of_differences<Real>(layout, tile.lanes, b);
  with_activation(layout.activation, [&](auto kind) __attribute__((always_inline)) {
    if (layout.num_degrees == PublishedHeads::degrees)
      spherical_first<Real, PublishedHeads::degrees, kSlopes>(step, tile.count, kind, slope, b);
    else if (layout.num_degrees == StudentHeads::degrees)
      spherical_first<Real, StudentHeads::degrees, kSlopes>(step, tile.count, kind, slope, b);
    else
      spherical_first<Real, 0, kSlopes>(step, tile.count, kind, slope, b);
  });
}

/// What the filters of a tile are worked out in: the buffers of one tile after the other, or memory where they last until the adjoint.
template <class Real>
struct TileFilters {
  struct Part {
    Real *filter, *slope, *gradient;  ///< [lane][channels]; the last two may be the same
    FilterRow<Real> from(int at) const { return {filter + at, slope + at, gradient + at}; }
  };
  Part features, coordinates;
  Real* hidden_slope;  ///< [lane][2 spherical_hidden]
  bool kept;

  TileFilters(const LayerStep<Real>& step, const EdgeTile<Real>& tile, const FilterBuffers<Real>& b) {
    const Layout& layout = *step.layout;
    kept = step.kept != nullptr;
    features = coordinates = {b.filter, b.filter_slope, b.filter};
    hidden_slope = b.slope;
    if (!kept) return;
    features.filter = step.kept + static_cast<std::ptrdiff_t>(tile.first) * layout.kept_size;
    coordinates.filter = features.filter + tile.count * layout.features_padded;
    hidden_slope = coordinates.filter + tile.count * layout.coordinates_padded;
  }
};

/// `filter`, without its slope.
template <class Real>
inline void filter_values(const LayerStep<Real>& step, const EdgeTile<Real>& tile, const FilterPart<Real>& part, Real* filter,
                          FilterBuffers<Real>& b) {
  const Layout& layout = *step.layout;
  const TileRadial<Real>& radial = *b.tile_radial;
  if (step.parameters->table.rows != nullptr)
    for (int p = 0; p < tile.count; ++p) {
      const Real* row = step.parameters->table.rows + static_cast<std::ptrdiff_t>(radial.interval[p]) * part.row + part.first_channel;
      spline_values<Real>(radial.weight[0] + p, kTile, row, part.row, part.channels, filter + p * part.channels);
    }
  else
    apply<Real>(part.radial->forward, tile.count, b.radial.hidden + part.first_radial, 2 * layout.radial_hidden, filter, part.channels);
  add_product<Real>(part.spherical->forward, tile.count, b.hidden + part.first_spherical, 2 * layout.spherical_hidden, filter,
                    part.channels);
}

/// Filters, and the derivatives of their radial part with respect to r: zero without a table, see radial_derivative.
template <class Real>
inline void filter_values_and_slopes(const LayerStep<Real>& step, const EdgeTile<Real>& tile, const FilterPart<Real>& part,
                                     const typename TileFilters<Real>::Part& out, FilterBuffers<Real>& b) {
  if (step.parameters->table.rows == nullptr) {
    for (int k = 0; k < tile.count * part.channels; ++k) out.slope[k] = Real(0);
    filter_values<Real>(step, tile, part, out.filter, b);
    return;
  }
  const TileRadial<Real>& radial = *b.tile_radial;
  for (int p = 0; p < tile.count; ++p) {
    const Real* row = step.parameters->table.rows + static_cast<std::ptrdiff_t>(radial.interval[p]) * part.row + part.first_channel;
    const int at = p * part.channels;
    spline_values_and_slopes<Real>(radial.weight[0] + p, radial.difference[0] + p, kTile, row, part.row, part.channels, out.filter + at,
                                   out.slope + at);
  }
  add_product<Real>(part.spherical->forward, tile.count, b.hidden + part.first_spherical, 2 * step.layout->spherical_hidden, out.filter,
                    part.channels);
}

/// Filters and their slopes for the adjoint; those that were kept lack their slopes only.
template <class Real>
inline void filters_of_adjoint(const LayerStep<Real>& step, const EdgeTile<Real>& tile, const FilterPart<Real>& part,
                               const TileFilters<Real>& filters, const typename TileFilters<Real>::Part& out, FilterBuffers<Real>& b) {
  if (!filters.kept) {
    filter_values_and_slopes<Real>(step, tile, part, out, b);
    return;
  }
  const TileRadial<Real>& radial = *b.tile_radial;
  for (int p = 0; p < tile.count; ++p) {
    const Real* row = step.parameters->table.rows + static_cast<std::ptrdiff_t>(radial.interval[p]) * part.row + part.first_channel;
    spline_slopes<Real>(radial.difference[0] + p, kTile, row, part.row, part.channels, out.slope + p * part.channels);
  }
}

/// From the gradient of the filter back through the second linear maps of its networks.
template <class Real>
inline void filter_adjoint(const LayerStep<Real>& step, const EdgeTile<Real>& tile, const FilterPart<Real>& part, const Real* gradient,
                           FilterBuffers<Real>& b) {
  apply<Real>(part.spherical->adjoint, tile.count, gradient, part.channels, b.hidden + part.first_spherical,
              2 * step.layout->spherical_hidden);
  if (step.parameters->table.rows == nullptr)
    apply<Real>(part.radial->adjoint, tile.count, gradient, part.channels, b.radial.hidden + part.first_radial,
                2 * step.layout->radial_hidden);
}

/// b.invariant = dE/dm from dE/d(hidden values).
template <class Real, int kDegrees>
inline void spherical_first_adjoint(const LayerStep<Real>& step, int count, const Real* slope, FilterBuffers<Real>& b) {
  const int hidden = 2 * step.layout->spherical_hidden, degrees = kDegrees > 0 ? kDegrees : step.layout->num_degrees;
  for (int p = 0; p < count; ++p) {
    Vec<Real> sums[kDegrees > 0 ? kDegrees : kMaxDegrees] = {};
    for (int k = 0; k < hidden; k += kWidth<Real>) {
      const Vec<Real> gradient = load<Real>(b.hidden + p * hidden + k) * load<Real>(slope + p * hidden + k);
      for (int index = 0; index < degrees; ++index)
        sums[index] += gradient * load<Real>(step.parameters->spherical1_weight + index * hidden + k);
    }
    for (int index = 0; index < degrees; ++index) b.invariant[index * kTile + p] = sum<Real>(sums[index]);
  }
}

/// After filter_adjoint of both parts: dE/dchi_i by lanes in b.chi_gradient, -2 (2l+1)^(-1/2) (chi_j - chi_i) dE/dm (eq. 47); dE/dchi_j is
/// the opposite.
template <class Real>
inline void spherical_adjoint(const LayerStep<Real>& step, const EdgeTile<Real>& tile, const Real* slope, FilterBuffers<Real>& b) {
  const Layout& layout = *step.layout;
  for (int k = 0; k < kTile * layout.num_degrees; ++k) b.invariant[k] = Real(0);
  if (layout.num_degrees == PublishedHeads::degrees)
    spherical_first_adjoint<Real, PublishedHeads::degrees>(step, tile.count, slope, b);
  else if (layout.num_degrees == StudentHeads::degrees)
    spherical_first_adjoint<Real, StudentHeads::degrees>(step, tile.count, slope, b);
  else
    spherical_first_adjoint<Real, 0>(step, tile.count, slope, b);
  for (int index = 0; index < layout.num_degrees; ++index) {
    const Real norm = static_cast<Real>(-2.0 * layout.invariant_norm[index]);
    for (int lane = 0; lane < tile.lanes; lane += kWidth<Real>) {
      const Vec<Real> factor = norm * load<Real>(b.invariant + index * kTile + lane);
      for (int m = 0; m <= 2 * layout.degree[index]; ++m) {
        const int place = (layout.degree_offset[index] + m) * kTile + lane;
        store<Real>(b.chi_gradient + place, factor * load<Real>(b.chi_difference + place));
      }
    }
  }
}

}  // namespace SO3MD_CPU_NAMESPACE
