// A few edges of one atom, lane by lane: geometry, spherical harmonics and radial filters.
#pragma once

#include "cpu/activation.h"
#include "cpu/harmonics.h"
#include "cpu/matmul.h"
#include "network/kernels.h"
#include "network/spline_basis.h"

namespace SO3MD_CPU_NAMESPACE {

/// Edges that are worked on together: enough for the weights of the filter networks to be worth their way from the second cache, few enough
/// for what is kept of each to stay near. Whole register tiles of matmul.h, and a multiple of every register width.
inline constexpr int kTile = 48;

/// Lanes come in groups of so many: one register of floats, or whole registers of doubles.
inline constexpr int kLaneGroup = kVectorBytes / static_cast<int>(sizeof(float));
static_assert(kTile % kLaneGroup == 0);

/// Up to kTile edges, of one atom or of several. Lanes from `count` to `lanes` hold a harmless direction and a cutoff value of zero, and
/// the atoms of the first edge.
template <class Real>
struct EdgeTile {
  int count = 0;
  int lanes = kTile;       ///< whole groups
  std::int64_t first = 0;  ///< pairs of a block: number of the first, among those of all blocks
  int centre[kTile];       ///< slot
  int slot[kTile];         ///< of the neighbour
  int row[kTile];          ///< of the neighbour in the centre's block
  alignas(64) Real x[kTile];
  alignas(64) Real y[kTile];
  alignas(64) Real z[kTile];
  alignas(64) double r[kTile];
  alignas(64) Real cutoff[kTile];
  alignas(64) Real cutoff_derivative[kTile];

  void add(const EdgeView<Real>& edges, std::int64_t edge, int i) {
    centre[count] = i;
    slot[count] = edges.slot[edge];
    row[count] = edges.row[edge];
    x[count] = edges.ux[edge];
    y[count] = edges.uy[edge];
    z[count] = edges.uz[edge];
    r[count] = edges.r[edge];
    cutoff[count] = edges.cutoff[edge];
    cutoff_derivative[count] = edges.cutoff_derivative[edge];
    ++count;
  }

  /// After the last edge.
  void fill_up() {
    lanes = (count + kLaneGroup - 1) / kLaneGroup * kLaneGroup;
    for (int p = count; p < lanes; ++p) {
      centre[p] = centre[0];
      slot[p] = slot[0];
      x[p] = y[p] = Real(0);
      z[p] = Real(1);
      r[p] = 1.0;
      cutoff[p] = cutoff_derivative[p] = Real(0);
    }
  }

  /// values[coordinate][lane].
  void spherical_harmonics(const Layout& layout, const HarmonicsTable<Real>& table, Real* values) const {
    for (int lane = 0; lane < lanes; lane += kWidth<Real>)
      harmonics<Real>(layout, table, load<Real>(x + lane), load<Real>(y + lane), load<Real>(z + lane), values + lane, kTile);
  }
};

/// Calls body(tile) for the edges of owned atom i.
template <class Real, class Body>
inline void for_edge_tiles(const EdgeView<Real>& edges, int i, const Body& body) {
  const std::int64_t end = edges.first[i] + edges.count[i];
  for (std::int64_t edge = edges.first[i]; edge < end;) {
    EdgeTile<Real> tile;
    while (edge < end && tile.count < kTile) tile.add(edges, edge++, i);
    tile.fill_up();
    body(tile);
  }
}

/// Calls body(tile) for the pairs of a block.
template <class Real, class Body>
inline void for_pair_tiles(const EdgeView<Real>& edges, const PairBlock& block, const Body& body) {
  EdgeTile<Real> tile;
  tile.first = edges.first_pair[block.begin];
  for (int i = block.begin; i < block.end; ++i)
    for (std::int64_t edge = edges.first[i]; edge < edges.first[i] + edges.count[i]; ++edge) {
      if (edges.row[edge] == PairBlocks::kNotHere) continue;
      tile.add(edges, edge, i);
      if (tile.count < kTile) continue;
      body(tile);
      tile.first += tile.count;
      tile.count = 0;
    }
  if (tile.count == 0) return;
  tile.fill_up();
  body(tile);
}

/// Interval of a spline that a distance is in, where in it (0 to 1), and the derivative of that with respect to the distance.
template <class Real>
inline __attribute__((always_inline)) Real find_interval(const RadialTable<Real>& table, double r, int& interval, Real& slope) {
  const double inverse = 1.0 / (r + table.half);
  const double place = r * inverse * table.intervals_per_unit;
  interval = static_cast<int>(place);
  if (interval > table.intervals - 1) interval = table.intervals - 1;
  slope = static_cast<Real>(table.half * inverse * inverse * table.intervals_per_unit);
  return static_cast<Real>(place - interval);
}

/// Interval of a spline and its weights at a distance.
template <class Real>
struct SplinePlace {
  int interval;
  Real value[kSplineRows];
  Real difference[kSplineRows - 1];  ///< of consecutive rows, for the derivative with respect to r

  __attribute__((always_inline)) SplinePlace(const RadialTable<Real>& table, double r) {
    Real slope;
    spline_weights<Real>(find_interval<Real>(table, r, interval, slope), value, difference);
    for (int s = 0; s < kSplineRows - 1; ++s) difference[s] *= slope;
  }
};

/// value[c] = the spline for `count` channels, rows of which begin at `row`. Weights lie `step` apart; they are held in registers, because
/// a store to `value` might change them in memory, for all that the compiler knows. Sums begin at zero, so that no two products meet, of
/// which the compiler may fuse either: the function below gives the same bits.
template <class Real>
inline void spline_values(const Real* weights, int step, const Real* row, int stride, int count, Real* value) {
  Vec<Real> weight[kSplineRows];
  for (int s = 0; s < kSplineRows; ++s) weight[s] = broadcast<Real>(weights[s * step]);
  for (int c = 0; c < count; c += kWidth<Real>) {
    Vec<Real> total[2] = {};
    for (int s = 0; s < kSplineRows; ++s) total[s % 2] += weight[s] * load<Real>(row + s * stride + c);
    store<Real>(value + c, total[0] + total[1]);
  }
}

/// The same, and its derivative with respect to r from the weights of the differences between rows.
template <class Real>
inline void spline_values_and_slopes(const Real* weights, const Real* differences, int step, const Real* row, int stride, int count,
                                     Real* value, Real* slope) {
  Vec<Real> weight[kSplineRows], difference[kSplineRows - 1];
  for (int s = 0; s < kSplineRows; ++s) weight[s] = broadcast<Real>(weights[s * step]);
  for (int s = 0; s < kSplineRows - 1; ++s) difference[s] = broadcast<Real>(differences[s * step]);
  for (int c = 0; c < count; c += kWidth<Real>) {
    Vec<Real> below = load<Real>(row + c), derivative = Vec<Real>{}, total[2] = {};
    total[0] += weight[0] * below;
    for (int s = 1; s < kSplineRows; ++s) {
      const Vec<Real> above = load<Real>(row + s * stride + c);
      total[s % 2] += weight[s] * above;
      derivative += difference[s - 1] * (above - below);
      below = above;
    }
    store<Real>(value + c, total[0] + total[1]);
    store<Real>(slope + c, derivative);
  }
}

/// The derivative alone.
template <class Real>
inline void spline_slopes(const Real* differences, int step, const Real* row, int stride, int count, Real* slope) {
  Vec<Real> difference[kSplineRows - 1];
  for (int s = 0; s < kSplineRows - 1; ++s) difference[s] = broadcast<Real>(differences[s * step]);
  for (int c = 0; c < count; c += kWidth<Real>) {
    Vec<Real> below = load<Real>(row + c), derivative = Vec<Real>{};
    for (int s = 1; s < kSplineRows; ++s) {
      const Vec<Real> above = load<Real>(row + s * stride + c);
      derivative += difference[s - 1] * (above - below);
      below = above;
    }
    store<Real>(slope + c, derivative);
  }
}

/// Buffers of the radial filter networks, used where they are not tabulated.
template <class Real>
struct RadialBuffers {
  Real *basis, *basis_derivative, *hidden, *slope;
  static std::size_t size(const Layout& layout) {
    return static_cast<std::size_t>(kTile) * static_cast<std::size_t>(2 * layout.radial_stride + 4 * layout.radial_hidden);
  }
  RadialBuffers() = default;
  RadialBuffers(const Layout& layout, Real* scratch) {
    basis = scratch;
    basis_derivative = basis + kTile * layout.radial_stride;
    hidden = basis_derivative + kTile * layout.radial_stride;
    slope = hidden + kTile * 2 * layout.radial_hidden;
  }
};

/// Hidden values of the radial networks of both filters, and what radial_derivative needs.
template <class Real>
inline void radial_hidden(const LayerStep<Real>& step, const EdgeTile<Real>& tile, RadialBuffers<Real>& b) {
  const Layout& layout = *step.layout;
  double value[kMostRadial], derivative[kMostRadial];
  for (int p = 0; p < tile.count; ++p) {
    (*step.radial_functions)(tile.r[p], value, derivative);
    for (int k = 0; k < layout.num_radial; ++k) {
      b.basis[p * layout.radial_stride + k] = static_cast<Real>(value[k]);
      b.basis_derivative[p * layout.radial_stride + k] = static_cast<Real>(derivative[k]);
    }
  }
  const int hidden = 2 * layout.radial_hidden;
  apply<Real>(step.parameters->radial.dense1.forward, tile.count, b.basis, layout.radial_stride, b.slope, hidden);
  activate_keep_slope<Real>(layout.activation, tile.count * hidden, b.slope, b.hidden);
}

/// derivative[p] += dE/dr by way of the radial networks, from the gradients of their hidden values, in b.hidden.
template <class Real>
inline void radial_derivative(const LayerStep<Real>& step, const EdgeTile<Real>& tile, RadialBuffers<Real>& b, Real* derivative) {
  const Layout& layout = *step.layout;
  const int hidden = 2 * layout.radial_hidden;
  multiply_rows<Real>(tile.count * hidden, b.slope, b.hidden);
  apply<Real>(step.parameters->radial.dense1.adjoint, tile.count, b.hidden, hidden, b.basis, layout.radial_stride);
  for (int p = 0; p < tile.count; ++p) {
    Real total = Real(0);
    for (int k = 0; k < layout.num_radial; ++k)
      total += b.basis[p * layout.radial_stride + k] * b.basis_derivative[p * layout.radial_stride + k];
    derivative[p] += total;
  }
}

/// Energy gradients by the displacement of every lane: dE/dd = along u + (dE/du) / r, with dE/du tangential (eq. 41, 50 of docs/theory.md).
template <class Real>
struct EdgeGradients {
  alignas(64) Real x[kTile];
  alignas(64) Real y[kTile];
  alignas(64) Real z[kTile];

  EdgeGradients(const LayerStep<Real>& step, const EdgeTile<Real>& tile, const Real* along, const Real* harmonics_gradient) {
    alignas(64) Real inverse_r[kTile];
    for (int lane = 0; lane < tile.lanes; ++lane) inverse_r[lane] = static_cast<Real>(1.0 / tile.r[lane]);
    for (int lane = 0; lane < tile.lanes; lane += kWidth<Real>) {
      const Vec<Real> ux = load<Real>(tile.x + lane), uy = load<Real>(tile.y + lane), uz = load<Real>(tile.z + lane);
      Vec<Real> tx, ty, tz;
      harmonics_adjoint<Real>(*step.layout, *step.harmonics, ux, uy, uz, harmonics_gradient + lane, kTile, tx, ty, tz);
      const Vec<Real> inverse = load<Real>(inverse_r + lane), outward = load<Real>(along + lane);
      store<Real>(x + lane, outward * ux + tx * inverse);
      store<Real>(y + lane, outward * uy + ty * inverse);
      store<Real>(z + lane, outward * uz + tz * inverse);
    }
  }

  /// Adds lane p to the force on one end of its edge (sign 1: the centre, -1: the neighbour), and half of its virial (eq. 42), in double.
  void add(const EdgeTile<Real>& tile, int p, double sign, double* force, double* virial) const {
    const double gradient[3] = {static_cast<double>(x[p]), static_cast<double>(y[p]), static_cast<double>(z[p])};
    const double half = 0.5 * tile.r[p];
    const double d[3] = {half * static_cast<double>(tile.x[p]), half * static_cast<double>(tile.y[p]),
                         half * static_cast<double>(tile.z[p])};
    for (int a = 0; a < 3; ++a) {
      force[a] += sign * gradient[a];
      for (int c = 0; c < 3; ++c) virial[3 * a + c] += d[a] * gradient[c];
    }
  }
};

}  // namespace SO3MD_CPU_NAMESPACE
