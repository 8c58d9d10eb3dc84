// Coordinates before the first layer (eq. 59 of docs/theory.md), and both attentions over the edges within the cutoff (eq. 61, 63, 66).
#pragma once

#include "cpu/edge_tile.h"
#include "cpu/paper2022_tile.h"

namespace SO3MD_CPU_NAMESPACE::paper {

/// Filters of a tile of edges (eq. 61), for both attentions, and what their adjoint needs.
template <class Real>
struct EdgeFilters {
  const Step<Real>& step;
  const Layout& layout;
  int channels, radial_hidden, spherical_hidden, degree_stride;
  Real *basis, *basis_slope, *delta, *gradient_delta;
  Real *radial_value, *radial_slope, *spherical_value, *spherical_slope;
  Real *w, *gradient_w;  ///< [lane][channels]
  Real* w_slope;         ///< likewise: derivatives of the radial parts, where they come from a table

  static std::size_t size(const paper2022::Parameters<Real>& parameters) {
    const Layout& layout = parameters.layout;
    return static_cast<std::size_t>(kLanes * (2 * layout.radial_stride + 2 * parameters.degree_stride +
                                              4 * (layout.radial_hidden + layout.spherical_hidden) +
                                              3 * (layout.features_padded + layout.coordinates_padded)));
  }

  EdgeFilters(const Step<Real>& used, Real* scratch)
      : step(used),
        layout(*used.layout),
        channels(layout.features_padded + layout.coordinates_padded),
        radial_hidden(2 * layout.radial_hidden),
        spherical_hidden(2 * layout.spherical_hidden),
        degree_stride(used.all_parameters->degree_stride) {
    Real* next = scratch;
    const auto take = [&](int width) {
      Real* const here = next;
      next += kLanes * width;
      return here;
    };
    basis = take(layout.radial_stride);
    basis_slope = take(layout.radial_stride);
    delta = take(degree_stride);
    gradient_delta = take(degree_stride);
    radial_value = take(radial_hidden);
    radial_slope = take(radial_hidden);
    spherical_value = take(spherical_hidden);
    spherical_slope = take(spherical_hidden);
    w = take(channels);
    gradient_w = take(channels);
    w_slope = take(channels);
  }

  bool has_table() const { return step.parameters->table.rows != nullptr; }

  /// The cutoff function times the radial functions (eq. 57).
  void fill_basis(const PairTile<Real>& tile) {
    double value[kMostRadial], slope[kMostRadial];
    for (int p = 0; p < tile.count; ++p) {
      step.all_parameters->radial_functions(tile.r[p], value, slope);
      double phi_slope;
      const double phi = step.all_parameters->cutoff(tile.r[p], &phi_slope);
      for (int k = 0; k < layout.num_radial; ++k) {
        basis[p * layout.radial_stride + k] = static_cast<Real>(phi * value[k]);
        basis_slope[p * layout.radial_stride + k] = static_cast<Real>(phi_slope * value[k] + phi * slope[k]);
      }
    }
  }

  void radial_networks(const PairTile<Real>& tile) {
    fill_basis(tile);
    apply<Real>(step.parameters->radial1.forward, tile.count, basis, layout.radial_stride, radial_slope, radial_hidden);
    activate_keep_slope<Real>(layout.activation, tile.count * radial_hidden, radial_slope, radial_value);
    apply<Real>(step.parameters->radial2_features.forward, tile.count, radial_value, radial_hidden, w, channels);
    apply<Real>(step.parameters->radial2_coordinates.forward, tile.count, radial_value + layout.radial_hidden, radial_hidden,
                w + layout.features_padded, channels);
  }

  template <bool kSlopes>
  void radial_table(const PairTile<Real>& tile) {
    const RadialTable<Real>& table = step.parameters->table;
    for (int p = 0; p < tile.count; ++p) {
      const SplinePlace<Real> place(table, tile.r[p]);
      const Real* row = table.rows + static_cast<std::ptrdiff_t>(place.interval) * channels;
      if constexpr (kSlopes)
        spline_values_and_slopes<Real>(place.value, place.difference, 1, row, channels, channels, w + p * channels, w_slope + p * channels);
      else
        spline_values<Real>(place.value, 1, row, channels, channels, w + p * channels);
    }
  }

  /// kSlopes: with what the adjoint wants of a table.
  template <bool kSlopes>
  void forward(const PairTile<Real>& tile) {
    if (has_table())
      radial_table<kSlopes>(tile);
    else
      radial_networks(tile);
    apply<Real>(step.parameters->spherical1.forward, tile.count, delta, degree_stride, spherical_slope, spherical_hidden);
    activate_keep_slope<Real>(layout.activation, tile.count * spherical_hidden, spherical_slope, spherical_value);
    add_product<Real>(step.parameters->spherical2_features.forward, tile.count, spherical_value, spherical_hidden, w, channels);
    add_product<Real>(step.parameters->spherical2_coordinates.forward, tile.count, spherical_value + layout.spherical_hidden,
                      spherical_hidden, w + layout.features_padded, channels);
  }

  /// From gradient_w: gradient_delta (set), and derivatives with respect to the distances (added to).
  void adjoint(const PairTile<Real>& tile, Real* gradient_r) {
    const auto& parameters = *step.parameters;
    const Real* gradient_coordinates = gradient_w + layout.features_padded;
    apply<Real>(parameters.spherical2_features.adjoint, tile.count, gradient_w, channels, spherical_value, spherical_hidden);
    apply<Real>(parameters.spherical2_coordinates.adjoint, tile.count, gradient_coordinates, channels,
                spherical_value + layout.spherical_hidden, spherical_hidden);
    multiply_rows<Real>(tile.count * spherical_hidden, spherical_slope, spherical_value);
    apply<Real>(parameters.spherical1.adjoint, tile.count, spherical_value, spherical_hidden, gradient_delta, degree_stride);
    if (!has_table()) {
      radial_adjoint(tile, gradient_r);
      return;
    }
    for (int p = 0; p < tile.count; ++p) gradient_r[p] += scalar_product<Real>(channels, gradient_w + p * channels, w_slope + p * channels);
  }

  void radial_adjoint(const PairTile<Real>& tile, Real* gradient_r) {
    const auto& parameters = *step.parameters;
    const Real* gradient_coordinates = gradient_w + layout.features_padded;
    apply<Real>(parameters.radial2_features.adjoint, tile.count, gradient_w, channels, radial_value, radial_hidden);
    apply<Real>(parameters.radial2_coordinates.adjoint, tile.count, gradient_coordinates, channels, radial_value + layout.radial_hidden,
                radial_hidden);
    multiply_rows<Real>(tile.count * radial_hidden, radial_slope, radial_value);
    apply<Real>(parameters.radial1.adjoint, tile.count, radial_value, radial_hidden, basis, layout.radial_stride);
    for (int p = 0; p < tile.count; ++p)
      for (int k = 0; k < layout.num_radial; ++k)
        gradient_r[p] += basis[p * layout.radial_stride + k] * basis_slope[p * layout.radial_stride + k];
  }
};

template <class Real>
inline std::size_t edge_scratch_size(const paper2022::Parameters<Real>& parameters) {
  return EdgeFilters<Real>::size(parameters) + CoordinateLanes<Real>::size(parameters.layout);
}

/// The attentions: x of owned atom i gains sum_j phi (q w k) v (eq. 63), its coordinates sum_j (phi + f) (q' w' k') Y (eq. 66).
template <class Real>
inline void attend(const Step<Real>& step, int i, Real* scratch) {
  const Layout& layout = *step.layout;
  EdgeFilters<Real> filters(step, scratch);
  CoordinateLanes<Real> coordinates(layout, scratch + EdgeFilters<Real>::size(*step.all_parameters));
  const End<Real> centre = end_at<Real>(step, i);
  const bool nonlocal = step.radius != nullptr;
  Real* sum_features = step.sum_features + static_cast<std::ptrdiff_t>(i) * layout.features_padded;
  Real* sum_chi = step.sum_chi + static_cast<std::ptrdiff_t>(i) * layout.chi_stride;
  clear<Real>(layout.features_padded, sum_features);
  clear<Real>(layout.chi_stride, sum_chi);
  const auto make_end = [&](int slot) { return end_at<Real>(step, slot); };
  for_tiles<Real>(step.edges, i, make_end, [&](const PairTile<Real>& tile) {
    chi_distances<Real>(layout, centre.chi, tile, filters.degree_stride, filters.delta, coordinates.total);
    filters.template forward<false>(tile);
    tile.spherical_harmonics(layout, *step.harmonics, coordinates.harmonic);
    if (nonlocal) coordinates.set_weights(centre, tile, false);
    for (int p = 0; p < tile.count; ++p)
      for (int at = 0; at < layout.features_padded; at += layout.head_padded) {
        const Real alpha = tile.cutoff[p] * triple_product<Real>(layout.head_padded, centre.query + at,
                                                                 filters.w + p * filters.channels + at, tile.end[p].key + at);
        add_scaled<Real>(layout.head_padded, alpha, tile.end[p].value + at, sum_features + at);
      }
    coordinates.forward(centre, tile, nonlocal, filters.w + layout.features_padded, filters.channels, sum_chi);
  });
}

/// The feature attention of a tile in reverse: gradients of the filters and of the cutoff function (set), and of [q, k, v] of the centre.
template <class Real>
inline void feature_adjoint(const Layout& layout, const End<Real>& centre, const PairTile<Real>& tile, const EdgeFilters<Real>& filters,
                            Real* gradient_cutoff, Real* gradient) {
  const int width = layout.head_padded;
  for (int p = 0; p < tile.count; ++p) {
    const End<Real>& other = tile.end[p];
    const Real phi = tile.cutoff[p];
    gradient_cutoff[p] = Real(0);
    for (int at = 0; at < layout.features_padded; at += width) {
      const Real* w = filters.w + p * filters.channels + at;
      const Real along = scalar_product<Real>(width, centre.gradient_features + at, other.value + at);
      const Real against = scalar_product<Real>(width, other.gradient_features + at, centre.value + at);
      const Real forth = triple_product<Real>(width, centre.query + at, w, other.key + at);
      const Real back = triple_product<Real>(width, other.query + at, w, centre.key + at);
      gradient_cutoff[p] += forth * along + back * against;
      pair_head_adjoint<Real>(width, phi * along, phi * against, w, centre.query + at, centre.key + at, other.query + at, other.key + at,
                              filters.gradient_w + p * filters.channels + at, gradient + layout.query_offset + at,
                              gradient + layout.key_offset + at);
      add_scaled<Real>(width, phi * back, other.gradient_features + at, gradient + layout.value_offset + at);
    }
  }
}

/// What the edges of owned atom i, in both directions, give back to it.
template <class Real>
inline void attend_adjoint(const Step<Real>& step, int i, Real* scratch) {
  const Layout& layout = *step.layout;
  EdgeFilters<Real> filters(step, scratch);
  CoordinateLanes<Real> coordinates(layout, scratch + EdgeFilters<Real>::size(*step.all_parameters));
  const End<Real> centre = end_at<Real>(step, i);
  const auto row = static_cast<std::ptrdiff_t>(i);
  const bool nonlocal = step.radius != nullptr;
  Real* gradient = step.gradient_projection + row * layout.projection_stride;
  clear<Real>(layout.projection_stride, gradient);
  double softmax = 0.0;
  const auto make_end = [&](int slot) { return end_at<Real>(step, slot); };
  for_tiles<Real>(step.edges, i, make_end, [&](const PairTile<Real>& tile) {
    chi_distances<Real>(layout, centre.chi, tile, filters.degree_stride, filters.delta, coordinates.total);
    filters.template forward<true>(tile);
    tile.spherical_harmonics(layout, *step.harmonics, coordinates.harmonic);
    if (nonlocal) coordinates.set_weights(centre, tile, true);
    alignas(64) Real gradient_cutoff[kLanes];
    alignas(64) Real gradient_r[kLanes] = {};
    feature_adjoint<Real>(layout, centre, tile, filters, gradient_cutoff, gradient);
    softmax += static_cast<double>(coordinates.adjoint(centre, tile, nonlocal, filters.w + layout.features_padded,
                                                       filters.gradient_w + layout.features_padded, filters.channels,
                                                       gradient + layout.coordinate_query_offset, gradient + layout.coordinate_key_offset));
    for (int p = 0; p < tile.count; ++p) gradient_r[p] = (gradient_cutoff[p] + coordinates.gradient_cutoff[p]) * tile.cutoff_derivative[p];
    filters.adjoint(tile, gradient_r);
    chi_distances_adjoint<Real>(layout, centre.chi, tile, filters.degree_stride, filters.delta, coordinates.total, filters.gradient_delta,
                                coordinates.gradient_total, step.gradient_chi + row * layout.chi_stride);
    add_forces<Real>(layout, *step.harmonics, tile, gradient_r, coordinates.harmonic_gradient, step.forces + 3 * row,
                     step.virial + 9 * row);
  });
  if (nonlocal) step.gradient_softmax[i] = softmax;
}

/// chi of owned atom i: the mean of the harmonics of its neighbours, weighted with the cutoff function (eq. 59).
template <class Real>
inline void initial_coordinates(const paper2022::InitialStep<Real>& step, int i, Real* harmonic) {
  const Layout& layout = *step.layout;
  Real* chi = step.chi + static_cast<std::ptrdiff_t>(i) * layout.chi_stride;
  clear<Real>(layout.chi_stride, chi);
  Real total = Real(0);
  for_tiles<Real>(
      step.edges, i, [](int) { return End<Real>{}; },
      [&](const PairTile<Real>& tile) {
        tile.spherical_harmonics(layout, *step.harmonics, harmonic);
        for (int p = 0; p < tile.count; ++p) {
          total += tile.cutoff[p];
          for (int m = 0; m < layout.num_coordinates; ++m) chi[m] += tile.cutoff[p] * harmonic[m * kLanes + p];
        }
      });
  step.weight[i] = total;
  if (total == Real(0)) return;
  for (int m = 0; m < layout.num_coordinates; ++m) chi[m] /= total;
}

/// Both ends of each edge have such a mean; the one of the neighbour sees the harmonics of the opposite direction.
template <class Real>
inline void initial_coordinates_adjoint(const paper2022::InitialStep<Real>& step, int i, Real* scratch) {
  const Layout& layout = *step.layout;
  Real* harmonic = scratch;
  Real* harmonic_gradient = harmonic + layout.num_coordinates * kLanes;
  const auto row_of = [&](const Real* rows, int slot) { return rows + static_cast<std::ptrdiff_t>(slot) * layout.chi_stride; };
  const Real *own_chi = row_of(step.chi, i), *own_gradient = row_of(step.gradient, i);
  const Real own = step.weight[i] > Real(0) ? Real(1) / step.weight[i] : Real(0);
  std::int64_t edge = step.edges.first[i];
  for_tiles<Real>(
      step.edges, i, [](int) { return End<Real>{}; },
      [&](const PairTile<Real>& tile) {
        alignas(64) Real along[kLanes] = {};
        tile.spherical_harmonics(layout, *step.harmonics, harmonic);
        clear<Real>(layout.num_coordinates * kLanes, harmonic_gradient);
        for (int p = 0; p < tile.count; ++p, ++edge) {
          const int slot = step.edges.slot[edge];
          const Real *other_chi = row_of(step.chi, slot), *other_gradient = row_of(step.gradient, slot);
          const Real other = step.weight[slot] > Real(0) ? Real(1) / step.weight[slot] : Real(0);
          Real by_cutoff = Real(0);
          for (int d = 0; d < layout.num_degrees; ++d) {
            const Real sign = layout.degree[d] % 2 == 0 ? Real(1) : Real(-1);
            const int begin = layout.degree_offset[d], end = begin + 2 * layout.degree[d] + 1;
            for (int m = begin; m < end; ++m) {
              const Real y = harmonic[m * kLanes + p];
              by_cutoff += own * own_gradient[m] * (y - own_chi[m]) + other * other_gradient[m] * (sign * y - other_chi[m]);
              harmonic_gradient[m * kLanes + p] = tile.cutoff[p] * (own * own_gradient[m] + sign * other * other_gradient[m]);
            }
          }
          along[p] = by_cutoff * tile.cutoff_derivative[p];
        }
        add_forces<Real>(layout, *step.harmonics, tile, along, harmonic_gradient, step.forces + 3 * static_cast<std::ptrdiff_t>(i),
                         step.virial + 9 * static_cast<std::ptrdiff_t>(i));
      });
}

}  // namespace SO3MD_CPU_NAMESPACE::paper
