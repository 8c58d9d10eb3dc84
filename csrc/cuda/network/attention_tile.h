// A few edges of one atom, worked on by one warp: geometry, spherical harmonics, invariants and filters (eq. 2, 11, 12, 16, 17
// of docs/theory.md).
//
// A warp takes one centre at a time and its edges in tiles of kTile, so that no sum needs another warp and none depends on the order of
// threads. What a tile needs lies in shared memory of the warp; lanes change roles from step to step:
//   lane = hidden value            first maps of the filter networks
//   lane = 4 * passes channels     filters, heads, sums over edges (the order of rows of projections, NetworkLayout)
//   lane = (edge, quarter)         coordinates: invariants, harmonics and their adjoints
#pragma once

#include "cuda/network/element_tables.h"
#include "cuda/network/harmonics.h"
#include "cuda/network/radial_basis.h"
#include "cuda/seams.h"

namespace so3md::cuda {

inline constexpr int kTile = 8;                  ///< edges
inline constexpr int kQuarters = kWarp / kTile;  ///< lanes that share an edge where lanes are edges
inline constexpr int kCommonHeadLanes = 8;       ///< of models with 128 features in four heads and four degrees

/// Most warps of a block, with and without the second maps of the filters in shared memory. Twelve leave 168 registers to a thread.
inline constexpr int kMostSharingWarps = 12, kMostWarps = 4;

/// One layer's attention of one evaluation. Rows by slot (owned atoms first) unless stated.
template <class Real>
struct AttentionStep {
  NetworkLayout layout;
  HarmonicsTable<Real> harmonics;
  FilterMaps<Real> filter;
  RadialBasisView basis;
  SpeciesView<Real> species;  ///< first layer by tables of species: no filter, no projections
  DeviceEdges<Real> edges;
  int n_owned = 0;
  int centres_per_warp = 1;

  const Real* x = nullptr;           ///< owned rows: input of the layer; null by tables of species
  const Real* projection = nullptr;  ///< [q, k, v, q', k'] of the input, lane order
  const Real* chi = nullptr;         ///< input coordinates; null: zero
  Real* x_attended = nullptr;        ///< owned rows: x + attention
  Real* chi_attended = nullptr;      ///< owned rows: chi + attention

  const Real* gradient_attended = nullptr;      ///< G = dE/d(x_attended), lane order; by tables of species [head][species], G.v_species
  const Real* gradient_chi_attended = nullptr;  ///< C = dE/d(chi_attended)
  Real* gradient_projection = nullptr;          ///< owned rows: dE/d[q, k, v, q', k']; null: gradients end here
  Real* gradient_chi = nullptr;                 ///< owned rows: dE/dchi
  double* forces = nullptr;                     ///< owned rows [3], added to
  double* virial = nullptr;                     ///< owned rows [9], added to
};

/// The layout for kernels that work out no filter, only a weight for each head: little shared memory, and many warps on a multiprocessor.
inline NetworkLayout without_filters(NetworkLayout layout) {
  layout.num_radial = layout.hidden = layout.hidden_rows = 0;
  layout.filter_stride = layout.feature_heads.heads;
  return layout;
}

/// Shared memory of one warp. Arrays end with [kTile], edge by edge, or begin with it, rows of edges.
template <class Real>
struct TileMemory {
  double* r;
  int *slot, *interval;
  Real* direction;                                    // [3][kTile]
  Real *cutoff, *cutoff_derivative;                   // [kTile]
  Real *table_weight, *table_slope;                   // splines: [6][kTile], [5][kTile]; packed cubics: [kTile][4]
  Real *basis, *basis_derivative;                     // [num_radial][kTile]
  Real *hidden, *slope;                               // [filter][hidden_rows][kTile]; slope: of radial rows the derivative by distance
  Real* filter;                                       // [kTile][filter_stride] values, then gradients
  Real *difference, *harmonics, *harmonics_gradient;  // [kTile][chi_stride]
  Real* invariant;                                    // [degree][kTile], then gradients
  Real *own_beta, *other_beta;                        // [degree][kTile]
  Real *own_product, *other_product;                  // [degree][kTile] C_i.Y_l(u), C_j.Y_l(-u)
  Real* by_distance;                                  // [kTile][kWarp + 1] parts of dE/dr
  Real* displacement_gradient;                        // [3][kTile]
  std::size_t bytes = 0;

  /// With a null base only `bytes`, the size, means something.
  __host__ __device__ TileMemory(const NetworkLayout& layout, bool adjoint, unsigned char* base) {
    r = take<double>(base, kTile);
    slot = take<int>(base, kTile);
    interval = take<int>(base, kTile);
    direction = take<Real>(base, 3 * kTile);
    cutoff = take<Real>(base, kTile);
    cutoff_derivative = take<Real>(base, kTile);
    table_weight = take<Real>(base, kSplineRows * kTile);
    table_slope = take<Real>(base, (kSplineRows - 1) * kTile);
    basis = take<Real>(base, layout.num_radial * kTile);
    basis_derivative = take<Real>(base, adjoint ? layout.num_radial * kTile : 0);
    hidden = take<Real>(base, 2 * layout.hidden_rows * kTile);
    slope = take<Real>(base, adjoint ? 2 * layout.hidden_rows * kTile : 0);
    filter = take<Real>(base, kTile * layout.filter_stride);
    difference = take<Real>(base, kTile * layout.chi_stride);
    harmonics = take<Real>(base, kTile * layout.chi_stride);
    harmonics_gradient = take<Real>(base, adjoint ? kTile * layout.chi_stride : 0);
    invariant = take<Real>(base, layout.num_degrees * kTile);
    own_beta = take<Real>(base, layout.num_degrees * kTile);
    other_beta = take<Real>(base, adjoint ? layout.num_degrees * kTile : 0);
    own_product = take<Real>(base, adjoint ? layout.num_degrees * kTile : 0);
    other_product = take<Real>(base, adjoint ? layout.num_degrees * kTile : 0);
    by_distance = take<Real>(base, adjoint ? kTile * (kWarp + 1) : 0);
    displacement_gradient = take<Real>(base, adjoint ? 3 * kTile : 0);
  }

 private:
  template <class T>
  __host__ __device__ T* take(unsigned char* base, int count) {
    T* at = base == nullptr ? nullptr : reinterpret_cast<T*>(base + bytes);
    bytes += (static_cast<std::size_t>(count) * sizeof(T) + 15) / 16 * 16;
    return at;
  }
};

/// The work of a warp on its tile. kPasses: NetworkLayout::passes. kCommon: heads and degrees have kCommonHeadLanes lanes each.
template <class Real, int kPasses, bool kCommon>
struct AttentionTile {
  static constexpr int kChannels = kWarp * kQuad * kPasses;
  static constexpr int kFilterStride = kChannels + kQuad;
  static constexpr int kFixedLanes = kCommon ? kCommonHeadLanes : 0;

  const AttentionStep<Real>& s;
  const TileMemory<Real>& m;
  const Real* second;  ///< FilterMaps::second, or a copy of it in shared memory
  int lane;
  int centre = 0;
  int count = 0;  ///< edges; lanes behind hold a harmless direction and a cutoff value of zero

  __device__ AttentionTile(const AttentionStep<Real>& step, const TileMemory<Real>& memory, const Real* second_maps, int lane_)
      : s(step), m(memory), second(second_maps), lane(lane_) {}

  __device__ bool has_networks() const { return s.filter.spherical1 != nullptr; }
  __device__ int edge() const { return lane / kQuarters; }
  __device__ int quarter() const { return lane % kQuarters; }
  /// First channel of a quad of this lane.
  __device__ int channel(int pass) const { return kQuad * (kPasses * lane + pass); }
  __device__ int head_lanes() const { return kCommon ? kCommonHeadLanes : s.layout.feature_heads.lanes; }
  __device__ int degree_lanes() const { return kCommon ? kCommonHeadLanes : s.layout.degree_heads.lanes; }
  __device__ const Real* row(const Real* rows, int slot, int stride) const { return rows + static_cast<std::int64_t>(slot) * stride; }
  __device__ const Real* projection(int slot) const { return row(s.projection, slot, 5 * kChannels); }

  /// Edges from `first` on, and all that depends on geometry and, with kFilters, on chi alone.
  template <bool kSlopes, bool kFilters>
  __device__ void load(int centre_, std::int64_t first, int count_) {
    centre = centre_;
    count = count_;
    __syncwarp();
    if (lane < kTile) load_edge(first);
    __syncwarp();
    if (lane < kTile)
      harmonics(s.layout, s.harmonics, {m.direction[lane], m.direction[kTile + lane], m.direction[2 * kTile + lane]},
                m.harmonics + lane * s.layout.chi_stride);
    if constexpr (kFilters) prepare_filters<kSlopes>();
    __syncwarp();
  }

  /// Hidden values of the filter networks.
  template <bool kSlopes>
  __device__ void prepare_filters() {
    if (!has_networks()) return;
    find_invariants();
    if (s.layout.num_radial > 0) find_radial_basis<kSlopes>();
    __syncwarp();
    spherical_hidden<kSlopes>();
    if (s.layout.radial_hidden > 0) radial_hidden<kSlopes>();
  }

  /// Lane `lane` of the tile.
  __device__ void load_edge(std::int64_t first) {
    const bool inside = lane < count;
    const std::int64_t at = first + lane;
    const double r = inside ? s.edges.r[at] : 1.0;
    m.slot[lane] = inside ? s.edges.slot[at] : centre;
    m.r[lane] = r;
    m.direction[lane] = inside ? s.edges.ux[at] : Real(0);
    m.direction[kTile + lane] = inside ? s.edges.uy[at] : Real(0);
    m.direction[2 * kTile + lane] = inside ? s.edges.uz[at] : Real(1);
    m.cutoff[lane] = inside ? s.edges.cutoff[at] : Real(0);
    m.cutoff_derivative[lane] = inside ? s.edges.cutoff_derivative[at] : Real(0);
    const FilterTable<Real>& table = s.filter.table;
    if (table.rows == nullptr) return;
    if constexpr (kPackedCubics<Real>)
      place_on_cubics(table, r);
    else
      place_on_spline(table.coordinate, r);
  }

  /// Weights of the rows of quintic splines for the edge `lane` of the tile.
  __device__ void place_on_spline(const TableCoordinate& coordinate, double r) {
    const TablePlace<Real> place(coordinate, r);
    Real weight[kSplineRows], difference[kSplineRows - 1];
    spline_weights<Real>(place.within, weight, difference);
    m.interval[lane] = place.interval;
#pragma unroll
    for (int k = 0; k < kSplineRows; ++k) m.table_weight[k * kTile + lane] = weight[k];
#pragma unroll
    for (int k = 0; k < kSplineRows - 1; ++k) m.table_slope[k * kTile + lane] = difference[k] * place.slope;
  }

  /// Weights of c1, c2 and c3 of packed cubics.
  __device__ void place_on_cubics(const FilterTable<Real>& table, double r) {
    const TablePlace<Real> place(table.coordinate, r);
    const Real t = place.within - Real(0.5), step = table.steps[place.interval];
    m.interval[lane] = place.interval;
    store_quad(m.table_weight + lane * kQuad, Quad<Real>{{t, t * t, t * t * t * step, Real(0)}});
    store_quad(m.table_slope + lane * kQuad,
               Quad<Real>{{place.slope, Real(2) * t * place.slope, Real(3) * t * t * step * place.slope, Real(0)}});
  }

  /// chi_j - chi_i, and its squared norms by degree (eq. 16).
  __device__ void find_invariants() {
    const Real* own = row(s.chi, centre, s.layout.chi_stride);
    const Real* other = row(s.chi, m.slot[edge()], s.layout.chi_stride);
    Real* difference = m.difference + edge() * s.layout.chi_stride;
    for (int index = quarter(); index < s.layout.num_degrees; index += kQuarters) {
      Real squares = Real(0);
      const int begin = s.layout.degree_offset[index];
      for (int c = begin; c <= begin + 2 * s.layout.degree[index]; ++c) {
        const Real d = other[c] - own[c];
        difference[c] = d;
        squares += d * d;
      }
      m.invariant[index * kTile + edge()] = squares * static_cast<Real>(s.layout.invariant_norm[index]);
    }
  }

  template <bool kSlopes>
  __device__ void find_radial_basis() {
    for (int at = lane; at < s.layout.num_radial * kTile; at += kWarp) {
      double derivative;
      m.basis[at] = static_cast<Real>(radial_basis(s.basis, at / kTile, m.r[at % kTile], derivative));
      if constexpr (kSlopes) m.basis_derivative[at] = static_cast<Real>(derivative);
    }
  }

  /// Hidden values of the spherical networks of both filters, and with kSlopes their slopes.
  template <bool kSlopes>
  __device__ void spherical_hidden() {
    const int hidden = s.layout.spherical_hidden;
    for (int at = lane; at < 2 * hidden; at += kWarp) {
      Real z[kTile];
#pragma unroll
      for (int e = 0; e < kTile; ++e) z[e] = s.filter.spherical1_bias[at];
      for (int index = 0; index < s.layout.num_degrees; ++index) {
        const Real weight = s.filter.spherical1[index * 2 * hidden + at];
#pragma unroll
        for (int e = 0; e < kTile; ++e) z[e] += weight * m.invariant[index * kTile + e];
      }
      const int filter = at < hidden ? 0 : 1;
      const int place = (filter * s.layout.hidden_rows + at - filter * hidden) * kTile;
#pragma unroll
      for (int e = 0; e < kTile; ++e) {
        Real slope;
        m.hidden[place + e] = activate(s.layout.activation, z[e], slope);
        if constexpr (kSlopes) m.slope[place + e] = slope;
      }
    }
  }

  /// Hidden values of the radial networks, and with kSlopes their derivatives by the distance.
  template <bool kSlopes>
  __device__ void radial_hidden() {
    const int hidden = s.layout.radial_hidden;
    for (int at = lane; at < 2 * hidden; at += kWarp) {
      Real z[kTile], dz[kTile];
#pragma unroll
      for (int e = 0; e < kTile; ++e) {
        z[e] = s.filter.radial1_bias[at];
        dz[e] = Real(0);
      }
      for (int k = 0; k < s.layout.num_radial; ++k) {
        const Real weight = s.filter.radial1[k * 2 * hidden + at];
#pragma unroll
        for (int e = 0; e < kTile; ++e) {
          z[e] += weight * m.basis[k * kTile + e];
          if constexpr (kSlopes) dz[e] += weight * m.basis_derivative[k * kTile + e];
        }
      }
      const int filter = at < hidden ? 0 : 1;
      const int place = (filter * s.layout.hidden_rows + s.layout.spherical_hidden + at - filter * hidden) * kTile;
#pragma unroll
      for (int e = 0; e < kTile; ++e) {
        Real slope;
        m.hidden[place + e] = activate(s.layout.activation, z[e], slope);
        if constexpr (kSlopes) m.slope[place + e] = slope * dz[e];
      }
    }
  }

  /// m.filter = second linear map of the hidden values of a filter; each lane its own channels.
  __device__ void filter_products(int filter) {
    if (!has_networks()) return;
    const Real* hidden = m.hidden + filter * s.layout.hidden_rows * kTile;
    const Real* maps = second + static_cast<std::int64_t>(filter) * s.layout.hidden_rows * kFilterStride;
    for (int pass = 0; pass < kPasses; ++pass) {
      Real sums[kTile][kQuad] = {};
      const Real* column = maps + channel(pass);
#pragma unroll 4
      for (int k = 0; k < s.layout.hidden; ++k) {
        const Quad<Real> weight = load_quad(column + k * kFilterStride);
#pragma unroll
        for (int first = 0; first < kTile; first += kQuad) {
          const Quad<Real> values = load_quad(hidden + k * kTile + first);
#pragma unroll
          for (int e = 0; e < kQuad; ++e)
#pragma unroll
            for (int c = 0; c < kQuad; ++c) sums[first + e][c] += values.at[e] * weight.at[c];
        }
      }
#pragma unroll
      for (int e = 0; e < kTile; ++e)
        store_quad(m.filter + e * kFilterStride + channel(pass), Quad<Real>{{sums[e][0], sums[e][1], sums[e][2], sums[e][3]}});
    }
  }

  /// The filter of edge e in a quad of this lane, after filter_products, and with kSlopes its derivative by the distance through the table.
  template <bool kSlopes>
  __device__ Quad<Real> filter_value(int filter, int e, int pass, Quad<Real>& slope) const {
    Quad<Real> value{};
    if (has_networks()) value = load_quad(m.filter + e * kFilterStride + channel(pass));
    const int column = filter * kChannels + channel(pass);
    slope = Quad<Real>{};
    if (s.filter.table.rows == nullptr) {
      const Quad<Real> constant = load_quad(s.filter.constant + column);
#pragma unroll
      for (int c = 0; c < kQuad; ++c) value.at[c] += constant.at[c];
      return value;
    }
    if constexpr (kPackedCubics<Real>)
      add_cubics<kSlopes>(e, column, value, slope);
    else
      add_splines<kSlopes>(e, column, value, slope);
    return value;
  }

  template <bool kSlopes>
  __device__ __forceinline__ void add_cubics(int e, int column, Quad<Real>& value, Quad<Real>& slope) const {
    const Real* row = s.filter.table.rows + static_cast<std::int64_t>(m.interval[e]) * (kPackedRows * 2 * kChannels) + column;
    const Quad<Real> c0 = load_quad(row), c1 = load_quad(row + 2 * kChannels), c2 = load_quad(row + 4 * kChannels);
    const Quad<Real> weight = load_quad(m.table_weight + e * kQuad), by_distance = load_quad(m.table_slope + e * kQuad);
#pragma unroll
    for (int c = 0; c < kQuad; ++c) {
      const Real c3 = packed_cubic(c2.at[c]);
      value.at[c] += c0.at[c] + (weight.at[0] * c1.at[c] + (weight.at[1] * c2.at[c] + weight.at[2] * c3));
      if constexpr (kSlopes) slope.at[c] = by_distance.at[0] * c1.at[c] + (by_distance.at[1] * c2.at[c] + by_distance.at[2] * c3);
    }
  }

  template <bool kSlopes>
  __device__ __forceinline__ void add_splines(int e, int column, Quad<Real>& value, Quad<Real>& slope) const {
    const Real* knot = s.filter.table.rows + static_cast<std::int64_t>(m.interval[e]) * (2 * kChannels) + column;
    Quad<Real> knots[kSplineRows];
#pragma unroll
    for (int k = 0; k < kSplineRows; ++k) knots[k] = load_quad(knot + k * 2 * kChannels);
#pragma unroll
    for (int k = 0; k < kSplineRows; ++k) {
      const Real weight = m.table_weight[k * kTile + e];
#pragma unroll
      for (int c = 0; c < kQuad; ++c) value.at[c] += weight * knots[k].at[c];
    }
    if constexpr (kSlopes) {
#pragma unroll
      for (int k = 0; k + 1 < kSplineRows; ++k) {
        const Real weight = m.table_slope[k * kTile + e];
#pragma unroll
        for (int c = 0; c < kQuad; ++c) slope.at[c] += weight * (knots[k + 1].at[c] - knots[k].at[c]);
      }
    }
  }
};

/// The part of a block's dynamic shared memory that belongs to this warp, behind `shared_numbers` that all of them read.
template <class Real>
__device__ __forceinline__ unsigned char* warp_memory(std::size_t shared_bytes, std::size_t bytes_of_warp) {
  return dynamic_shared<unsigned char>() + shared_bytes + threadIdx.x / kWarp * bytes_of_warp;
}

/// Copies the second maps of both filters to shared memory, for all warps of the block.
template <class Real>
__device__ __forceinline__ const Real* share_second_maps(const AttentionStep<Real>& s, int numbers) {
  Real* shared = dynamic_shared<Real>();
  for (int at = static_cast<int>(threadIdx.x) * kQuad; at < numbers; at += static_cast<int>(blockDim.x) * kQuad)
    store_quad(shared + at, load_quad(s.filter.second + at));
  __syncthreads();
  return shared;
}

/// Calls body() for the edges of a centre, loaded tile by tile. kFilters: as AttentionTile::load.
template <bool kSlopes, bool kFilters = true, class Tile, class Body>
__device__ __forceinline__ void for_tiles(Tile& tile, int centre, const Body& body) {
  const std::int64_t first = tile.s.edges.first[centre];
  const int edges = tile.s.edges.count[centre];
  for (int at = 0; at < edges; at += kTile) {
    tile.template load<kSlopes, kFilters>(centre, first + at, edges - at < kTile ? edges - at : kTile);
    body();
  }
}

/// Calls body(tile memory, second maps, centre) for the centres of this warp.
template <class Real, bool kShared, class Body>
__device__ __forceinline__ void for_my_centres(const AttentionStep<Real>& s, bool adjoint, const Body& body) {
  const Real* second = s.filter.second;
  std::size_t shared_bytes = 0;
  if (kShared && second != nullptr) {
    const int numbers = 2 * s.layout.hidden_rows * s.layout.filter_stride;
    second = share_second_maps(s, numbers);
    shared_bytes = static_cast<std::size_t>(numbers) * sizeof(Real);
  }
  const std::size_t bytes = TileMemory<Real>(s.layout, adjoint, nullptr).bytes;
  const TileMemory<Real> memory(s.layout, adjoint, warp_memory<Real>(shared_bytes, bytes));
  const std::int64_t warp = static_cast<std::int64_t>(blockIdx.x) * (blockDim.x / kWarp) + threadIdx.x / kWarp;
  for (std::int64_t at = warp * s.centres_per_warp; at < (warp + 1) * s.centres_per_warp && at < s.n_owned; ++at)
    body(memory, second, static_cast<int>(at));
}

}  // namespace so3md::cuda
