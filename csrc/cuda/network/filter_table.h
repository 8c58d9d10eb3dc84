// Tables of the radial filters on the device.
#pragma once

#include <bit>
#include <type_traits>
#include <vector>

#include "cuda/network/layout.h"
#include "network/parameters.h"
#include "network/spline_basis.h"

namespace so3md::cuda {

/// Where a distance lies in a table: z = r / (r + half), in intervals.
struct TableCoordinate {
  double half = 0.0;
  double intervals_per_unit = 0.0;
  int intervals = 0;
};

/// A place in a table, and how it moves with the distance (intervals per A).
template <class Real>
struct TablePlace {
  int interval;
  Real within, slope;

  __device__ TablePlace(const TableCoordinate& table, double r) {
    const double inverse = 1.0 / (r + table.half), place = r * inverse * table.intervals_per_unit;
    interval = static_cast<int>(place) < table.intervals ? static_cast<int>(place) : table.intervals - 1;
    within = static_cast<Real>(place - interval);
    slope = static_cast<Real>(table.half * inverse * inverse * table.intervals_per_unit);
  }
};

/// Whether tables are packed cubics; else they are the quintic splines of so3md::RadialTable, six rows of one number for each channel.
///
/// Each interval of a spline becomes kPieces pieces, and each piece the cubic c0 + c1 t + c2 t^2 + c3 t^3 that agrees with it at four
/// Chebyshev points, |t| <= 1/2. Three numbers hold the four: c3 is so small that eight bits do, and these are the last bits of c2, which
/// needs no more than the other sixteen. An edge reads half of the bytes of a spline, for a quarter of the arithmetic.
template <class Real>
inline constexpr bool kPackedCubics = std::is_same_v<Real, float>;
inline constexpr int kPieces = 16;
inline constexpr int kPackedRows = 3;

/// Radial filters in lane order.
template <class Real>
struct FilterTable {
  const Real* rows = nullptr;   ///< [intervals + 5] or [pieces][3] rows of 2 * channels; null: the exact networks are evaluated
  const Real* steps = nullptr;  ///< packed cubics: [pieces] unit of c3
  TableCoordinate coordinate;
};

/// The last byte of a number is c3 in units of the step, plus this.
inline constexpr int kPackedZero = 128;

/// c3 of a packed number, in units of the step.
__device__ __forceinline__ float packed_cubic(float packed) {
  constexpr unsigned two_to_23 = 0x4b000000u;  // of that size, a float's last bits count ones
  return std::bit_cast<float>((std::bit_cast<unsigned>(packed) & 0xffu) | two_to_23) - static_cast<float>((1 << 23) + kPackedZero);
}

/// What a FilterTable consists of, on the host.
template <class Real>
struct HostFilterTable {
  std::vector<Real> rows, steps;
  TableCoordinate coordinate;
};

/// The table of a layer whose radial filters are tabulated.
template <class Real>
HostFilterTable<Real> make_filter_table(const Parameters<Real>& parameters, std::size_t layer, const NetworkLayout& layout);

}  // namespace so3md::cuda
