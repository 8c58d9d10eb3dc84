// Attention in the space of chi between atoms beyond the cutoff (eq. 64-66 of docs/theory.md), block of atoms by block; nothing is kept of
// a pair.
#pragma once

#include "cpu/node_kernels.h"
#include "cpu/paper2022_tile.h"

namespace SO3MD_CPU_NAMESPACE::paper {

template <class Real>
using Nonlocal = paper2022::NonlocalStep<Real>;

/// Most atoms of a block, and of the buffers for their distances.
inline constexpr int kChiBlock = paper2022::kLargestChiBlock;

/// Closer than this fraction to the cutoff, the list of edges decides on which side a pair is: two ways to compute a distance may differ.
inline constexpr double kCutoffMargin = 1e-9;

/// Distances in the space of chi from one atom to those of a block; lanes behind the block are set to `behind`.
template <class Real>
inline void block_distances(const Nonlocal<Real>& step, const Real* chi, const paper2022::ChiBlock& block, Real behind, Real* distance) {
  const int count = block.end - block.begin;
  for (int lane = 0; lane < count; lane += kWidth<Real>) {
    Vec<Real> squares = Vec<Real>{};
    for (int m = 0; m < step.layer.layout->num_coordinates; ++m) {
      const Vec<Real> difference = load<Real>(step.chi_columns + m * step.column_stride + block.begin + lane) - chi[m];
      squares += difference * difference;
    }
    store<Real>(distance + lane, square_root<Real>(squares));
  }
  for (int lane = count; lane % kWidth<Real> != 0; ++lane) distance[lane] = behind;
}

/// Lower bound of these distances, from the box around the block.
template <class Real>
inline Real box_distance(const Nonlocal<Real>& step, const Real* chi, int block) {
  const Layout& layout = *step.layer.layout;
  const Real* low = step.box_low + static_cast<std::ptrdiff_t>(block) * layout.chi_stride;
  const Real* high = step.box_high + static_cast<std::ptrdiff_t>(block) * layout.chi_stride;
  Vec<Real> squares = Vec<Real>{};
  for (int m = 0; m < layout.chi_stride; m += kWidth<Real>) {
    const Vec<Real> at = load<Real>(chi + m);
    const Vec<Real> outside = maximum<Real>(maximum<Real>(load<Real>(low + m) - at, at - load<Real>(high + m)), Vec<Real>{});
    squares += outside * outside;
  }
  return static_cast<Real>(__builtin_sqrt(static_cast<double>(sum<Real>(squares))));
}

/// The normaliser of the weights (eq. 64): ln sum_j exp(Delta_ij) over all other atoms of the system, with the largest Delta so far taken
/// out.
template <class Real>
inline double log_sum(const Nonlocal<Real>& step, const paper2022::NonlocalCentre& centre) {
  constexpr Real kNothing = Real(-1e30);
  alignas(64) Real distance[kChiBlock + 64];
  const Real* chi = step.chi + static_cast<std::ptrdiff_t>(centre.place) * step.layer.layout->chi_stride;
  double total = 0.0;
  Real largest = kNothing;
  for (int number = centre.first_block; number < centre.last_block; ++number) {
    const paper2022::ChiBlock& block = step.blocks[number];
    const int count = block.end - block.begin;
    block_distances<Real>(step, chi, block, kNothing, distance);
    if (centre.place >= block.begin && centre.place < block.end) distance[centre.place - block.begin] = kNothing;
    Vec<Real> most = broadcast<Real>(largest);
    for (int lane = 0; lane < count; lane += kWidth<Real>) most = maximum<Real>(most, load<Real>(distance + lane));
    Real block_largest = most[0];
    for (int lane = 1; lane < kWidth<Real>; ++lane) block_largest = most[lane] > block_largest ? most[lane] : block_largest;
    if (block_largest > largest) {
      total *= __builtin_exp(static_cast<double>(largest) - static_cast<double>(block_largest));
      largest = block_largest;
    }
    if (largest == kNothing) continue;
    Vec<Real> sums = Vec<Real>{};
    for (int lane = 0; lane < count; lane += kWidth<Real>) {
      const Vec<Real> at = load<Real>(distance + lane);
      sums += at > kNothing ? exponential<Real>(at - largest) : Vec<Real>{};
    }
    total += static_cast<double>(sum<Real>(sums));
  }
  return total > 0.0 ? static_cast<double>(largest) + __builtin_log(total) : static_cast<double>(kNothing);
}

template <class Real>
void normalise_step(const Nonlocal<Real>& step, int begin, int end, Real*) {
  for (int k = begin; k < end; ++k) {
    const paper2022::NonlocalCentre& centre = step.centres[k];
    step.log_sum[centre.owned] = log_sum<Real>(step, centre);
    step.measured[centre.owned] += step.blocks[centre.last_block - 1].end - step.blocks[centre.first_block].begin;
  }
}

/// Buffers of one tile of pairs beyond the cutoff.
template <class Real>
struct NonlocalBuffers {
  const Layout& layout;
  int degree_stride, coordinates;
  Real *delta, *gradient_delta, *value, *slope, *w, *gradient_w, *sum_chi, *gradient_query, *gradient_key;
  CoordinateLanes<Real> lanes;

  static std::size_t size(const paper2022::Parameters<Real>& parameters) {
    const Layout& layout = parameters.layout;
    return CoordinateLanes<Real>::size(layout) +
           static_cast<std::size_t>(2 * kLanes * (parameters.degree_stride + layout.spherical_hidden + layout.coordinates_padded) +
                                    layout.chi_stride + 2 * layout.coordinates_padded);
  }

  NonlocalBuffers(const paper2022::Parameters<Real>& parameters, Real* scratch)
      : layout(parameters.layout), degree_stride(parameters.degree_stride), coordinates(layout.coordinates_padded), lanes(layout, scratch) {
    Real* next = scratch + CoordinateLanes<Real>::size(layout);
    const auto take = [&](int count) {
      Real* const here = next;
      next += count;
      return here;
    };
    delta = take(kLanes * degree_stride);
    gradient_delta = take(kLanes * degree_stride);
    value = take(kLanes * layout.spherical_hidden);
    slope = take(kLanes * layout.spherical_hidden);
    w = take(kLanes * coordinates);
    gradient_w = take(kLanes * coordinates);
    sum_chi = take(layout.chi_stride);
    gradient_query = take(coordinates);
    gradient_key = take(coordinates);
  }

  /// Distances in the space of chi, filters, harmonics and weights.
  void prepare(const Nonlocal<Real>& step, const End<Real>& centre, const PairTile<Real>& tile, bool both) {
    const auto& parameters = *step.layer.parameters;
    chi_distances<Real>(layout, centre.chi, tile, degree_stride, delta, lanes.total);
    for (int p = 0; p < tile.count; ++p) copy_rows<Real>(coordinates, parameters.beyond, w + p * coordinates);
    apply<Real>(parameters.spherical1_coordinates.forward, tile.count, delta, degree_stride, slope, layout.spherical_hidden);
    activate_keep_slope<Real>(layout.activation, tile.count * layout.spherical_hidden, slope, value);
    add_product<Real>(parameters.spherical2_coordinates.forward, tile.count, value, layout.spherical_hidden, w, coordinates);
    tile.spherical_harmonics(layout, *step.layer.harmonics, lanes.harmonic);
    lanes.set_weights(centre, tile, both);
  }

  /// From gradient_w to gradient_delta.
  void filters_adjoint(const Nonlocal<Real>& step, int count) {
    const auto& parameters = *step.layer.parameters;
    apply<Real>(parameters.spherical2_coordinates.adjoint, count, gradient_w, coordinates, value, layout.spherical_hidden);
    multiply_rows<Real>(count * layout.spherical_hidden, slope, value);
    apply<Real>(parameters.spherical1_coordinates.adjoint, count, value, layout.spherical_hidden, gradient_delta, degree_stride);
  }
};

/// An atom as the end of a pair beyond the cutoff.
template <class Real>
inline End<Real> end_at_place(const Nonlocal<Real>& step, int place, bool adjoint) {
  const Layout& layout = *step.layer.layout;
  const auto row = static_cast<std::ptrdiff_t>(place);
  End<Real> out;
  out.chi = step.chi + row * layout.chi_stride;
  out.coordinate_query = step.query_key + row * 2 * layout.coordinates_padded;
  out.coordinate_key = out.coordinate_query + layout.coordinates_padded;
  if (!adjoint) return out;
  out.gradient_chi = step.gradient_chi_attended + row * layout.chi_stride;
  out.radius = step.radius[place];
  return out;
}

/// Whether the atom at a place is in the list of edges of an owned atom.
template <class Real>
inline bool has_edge(const Nonlocal<Real>& step, int owned, int place) {
  const EdgeView<Real>& edges = step.layer.edges;
  for (std::int64_t edge = edges.first[owned]; edge < edges.first[owned] + edges.count[owned]; ++edge)
    if (step.row_of_slot[edges.slot[edge]] == step.row[place]) return true;
  return false;
}

/// r becomes its nearest image.
inline void take_nearest_image(const paper2022::MinimumImage& image, double* r) {
  double shift[3];
  for (int k = 0; k < 3; ++k) {
    const double fraction = r[0] * image.inverse[0][k] + r[1] * image.inverse[1][k] + r[2] * image.inverse[2][k];
    shift[k] = image.periodic[k] ? __builtin_rint(fraction) : 0.0;
  }
  for (int k = 0; k < 3; ++k) r[k] -= shift[0] * image.vectors[0][k] + shift[1] * image.vectors[1][k] + shift[2] * image.vectors[2][k];
  int nearest = -1;
  double shortest = r[0] * r[0] + r[1] * r[1] + r[2] * r[2];
  for (int number = 0; number < image.num_others; ++number) {
    const double* other = image.others[number];
    const double x = r[0] + other[0], y = r[1] + other[1], z = r[2] + other[2];
    const double squared = x * x + y * y + z * z;
    if (squared >= shortest) continue;
    shortest = squared;
    nearest = number;
  }
  if (nearest < 0) return;
  for (int k = 0; k < 3; ++k) r[k] += image.others[nearest][k];
}

/// Adds the pair of a centre with the atom at a place to the tile, unless it is within the cutoff.
template <class Real>
inline void add_beyond_cutoff(const Nonlocal<Real>& step, const paper2022::NonlocalCentre& centre, int place, bool adjoint,
                              PairTile<Real>& tile) {
  const double* own = step.positions + 3 * static_cast<std::ptrdiff_t>(centre.place);
  const double* other = step.positions + 3 * static_cast<std::ptrdiff_t>(place);
  double r[3] = {own[0] - other[0], own[1] - other[1], own[2] - other[2]};
  if (centre.image->any) take_nearest_image(*centre.image, r);
  const double distance = __builtin_sqrt(r[0] * r[0] + r[1] * r[1] + r[2] * r[2]);
  if (distance < step.cutoff * (1.0 - kCutoffMargin)) return;
  if (distance < step.cutoff * (1.0 + kCutoffMargin) && has_edge<Real>(step, centre.owned, place)) return;
  tile.add(end_at_place<Real>(step, place, adjoint), static_cast<Real>(r[0] / distance), static_cast<Real>(r[1] / distance),
           static_cast<Real>(r[2] / distance), distance, Real(0), Real(0));
}

/// Calls body(tile) for the pairs of a centre beyond the cutoff that are in its ball in the space of chi, or in the adjoint in that of
/// either end.
template <class Real, class Body>
inline void for_nonlocal_tiles(const Nonlocal<Real>& step, const paper2022::NonlocalCentre& centre, bool adjoint, const Body& body) {
  alignas(64) Real distance[kChiBlock + 64];
  const Real* chi = step.chi + static_cast<std::ptrdiff_t>(centre.place) * step.layer.layout->chi_stride;
  const double radius = step.layer.radius[centre.owned];
  PairTile<Real> tile;
  for (int number = centre.first_block; number < centre.last_block; ++number) {
    const paper2022::ChiBlock& block = step.blocks[number];
    const double reach = adjoint && step.block_radius[number] > radius ? step.block_radius[number] : radius;
    if (step.skip && static_cast<double>(box_distance<Real>(step, chi, number)) >= reach) continue;
    block_distances<Real>(step, chi, block, Real(0), distance);
    step.measured[centre.owned] += block.end - block.begin;
    for (int place = block.begin; place < block.end; ++place) {
      const auto at = static_cast<double>(distance[place - block.begin]);
      const bool inside = at < radius || (adjoint && at < step.radius[place]);
      if ((step.skip && !inside) || place == centre.place) continue;
      add_beyond_cutoff<Real>(step, centre, place, adjoint, tile);
      if (tile.count < kLanes) continue;
      step.evaluated[centre.owned] += tile.count;
      body(tile);
      tile.count = 0;
    }
  }
  if (tile.count == 0) return;
  step.evaluated[centre.owned] += tile.count;
  tile.fill_up();
  body(tile);
}

template <class Real>
void nonlocal_forward_step(const Nonlocal<Real>& step, int begin, int end, Real* scratch) {
  const Layout& layout = *step.layer.layout;
  NonlocalBuffers<Real> b(*step.layer.all_parameters, scratch);
  double sums[paper2022::kMostCoordinates];
  for (int k = begin; k < end; ++k) {
    const paper2022::NonlocalCentre& centre = step.centres[k];
    End<Real> own = end_at_place<Real>(step, centre.place, false);
    own.radius = step.layer.radius[centre.owned];
    clear<double>(layout.num_coordinates, sums);
    for_nonlocal_tiles<Real>(step, centre, false, [&](const PairTile<Real>& tile) {
      b.prepare(step, own, tile, false);
      clear<Real>(layout.chi_stride, b.sum_chi);
      b.lanes.forward(own, tile, true, b.w, b.coordinates, b.sum_chi);
      for (int m = 0; m < layout.num_coordinates; ++m) sums[m] += static_cast<double>(b.sum_chi[m]);
    });
    Real* to = step.layer.sum_chi + static_cast<std::ptrdiff_t>(centre.owned) * layout.chi_stride;
    for (int m = 0; m < layout.num_coordinates; ++m) to[m] = static_cast<Real>(static_cast<double>(to[m]) + sums[m]);
  }
}

template <class Real>
void nonlocal_adjoint_step(const Nonlocal<Real>& step, int begin, int end, Real* scratch) {
  const Layout& layout = *step.layer.layout;
  NonlocalBuffers<Real> b(*step.layer.all_parameters, scratch);
  // Behind the buffers, at a cache line, there is room for sums in double.
  auto* query_key =
      reinterpret_cast<double*>(scratch + padded<Real>(static_cast<int>(NonlocalBuffers<Real>::size(*step.layer.all_parameters))));
  double chi[paper2022::kMostCoordinates];
  for (int k = begin; k < end; ++k) {
    const paper2022::NonlocalCentre& centre = step.centres[k];
    const auto row = static_cast<std::ptrdiff_t>(centre.owned);
    const End<Real> own = end_at_place<Real>(step, centre.place, true);
    double softmax = 0.0;
    clear<double>(2 * b.coordinates, query_key);
    clear<double>(layout.num_coordinates, chi);
    for_nonlocal_tiles<Real>(step, centre, true, [&](const PairTile<Real>& tile) {
      b.prepare(step, own, tile, true);
      clear<Real>(2 * b.coordinates, b.gradient_query);
      clear<Real>(layout.chi_stride, b.sum_chi);
      softmax += static_cast<double>(b.lanes.adjoint(own, tile, true, b.w, b.gradient_w, b.coordinates, b.gradient_query, b.gradient_key));
      b.filters_adjoint(step, tile.count);
      chi_distances_adjoint<Real>(layout, own.chi, tile, b.degree_stride, b.delta, b.lanes.total, b.gradient_delta, b.lanes.gradient_total,
                                  b.sum_chi);
      alignas(64) Real along[kLanes] = {};
      add_forces<Real>(layout, *step.layer.harmonics, tile, along, b.lanes.harmonic_gradient, step.layer.forces + 3 * row,
                       step.layer.virial + 9 * row);
      for (int c = 0; c < 2 * b.coordinates; ++c) query_key[c] += static_cast<double>(b.gradient_query[c]);
      for (int m = 0; m < layout.num_coordinates; ++m) chi[m] += static_cast<double>(b.sum_chi[m]);
    });
    Real* projection = step.layer.gradient_projection + row * layout.projection_stride + layout.coordinate_query_offset;
    for (int c = 0; c < 2 * b.coordinates; ++c) projection[c] = static_cast<Real>(static_cast<double>(projection[c]) + query_key[c]);
    Real* gradient_chi = step.layer.gradient_chi + row * layout.chi_stride;
    for (int m = 0; m < layout.num_coordinates; ++m) gradient_chi[m] = static_cast<Real>(static_cast<double>(gradient_chi[m]) + chi[m]);
    step.layer.gradient_softmax[row] += softmax;
  }
}

/// By way of the normalisers, every pair gives dE/dDelta = -(u_ij c_i G_i + u_ji c_j G_j) with G the sums of u dE/du; gradient_softmax of
/// this step is c G.
template <class Real>
void normalise_adjoint_step(const Nonlocal<Real>& step, int begin, int end, Real*) {
  const Layout& layout = *step.layer.layout;
  alignas(64) Real factor[kChiBlock + 64];
  double sums[paper2022::kMostCoordinates];
  for (int k = begin; k < end; ++k) {
    const paper2022::NonlocalCentre& centre = step.centres[k];
    const Real* chi = step.chi + static_cast<std::ptrdiff_t>(centre.place) * layout.chi_stride;
    const Real own_radius = static_cast<Real>(step.radius[centre.place]);
    const Real own_gradient = static_cast<Real>(step.gradient_softmax[centre.place]);
    clear<double>(layout.num_coordinates, sums);
    step.measured[centre.owned] += step.blocks[centre.last_block - 1].end - step.blocks[centre.first_block].begin;
    for (int number = centre.first_block; number < centre.last_block; ++number) {
      const paper2022::ChiBlock& block = step.blocks[number];
      const int count = block.end - block.begin;
      block_distances<Real>(step, chi, block, Real(0), factor);
      for (int lane = 0; lane < count; lane += kWidth<Real>) {
        Vec<Real> radius = Vec<Real>{}, gradient = Vec<Real>{};
        for (int p = 0; p < kWidth<Real> && lane + p < count; ++p) {
          radius[p] = static_cast<Real>(step.radius[block.begin + lane + p]);
          gradient[p] = static_cast<Real>(step.gradient_softmax[block.begin + lane + p]);
        }
        const Vec<Real> at = load<Real>(factor + lane);
        const Vec<Real> total = exponential<Real>(at - own_radius) * own_gradient + exponential<Real>(at - radius) * gradient;
        store<Real>(factor + lane, at > Real(0) ? -total / at : Vec<Real>{});
      }
      for (int m = 0; m < layout.num_coordinates; ++m) {
        Vec<Real> total = Vec<Real>{};
        const Real* column = step.chi_columns + m * step.column_stride + block.begin;
        for (int lane = 0; lane < count; lane += kWidth<Real>) total += load<Real>(factor + lane) * (chi[m] - load<Real>(column + lane));
        sums[m] += static_cast<double>(sum<Real>(total));
      }
    }
    Real* to = step.layer.gradient_chi + static_cast<std::ptrdiff_t>(centre.owned) * layout.chi_stride;
    for (int m = 0; m < layout.num_coordinates; ++m) to[m] = static_cast<Real>(static_cast<double>(to[m]) + sums[m]);
  }
}

}  // namespace SO3MD_CPU_NAMESPACE::paper
