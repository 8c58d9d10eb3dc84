// The kernels that make sites of points: wrapped into the cell, in an order, with images. Each function starts one; pointers are of the
// device.
#pragma once

#include <cstdint>

#include "cuda/lists/bins.h"

namespace so3md::cuda {

/// Three whole numbers of lattice vectors.
struct LatticeShift {
  int k[3];
};

/// A cell for kernels.
struct CellView {
  double vectors[9], inverse[9];
  bool periodic[3];
};

/// A box in fractional coordinates around points, and one around those that are owned: lowest, then highest, as ordered_bits().
struct BoxBits {
  unsigned long long all[6], owned[6];
};

/// Whole numbers that compare as the doubles do, since a GPU has no maximum of doubles in memory.
__host__ __device__ inline unsigned long long ordered_bits(long long bits) {
  const auto unsigned_bits = static_cast<unsigned long long>(bits);
  return bits < 0 ? ~unsigned_bits : unsigned_bits | (1ull << 63);
}

/// The bits of the double.
__host__ __device__ inline unsigned long long from_ordered_bits(unsigned long long ordered) {
  return (ordered >> 63) != 0 ? ordered & ~(1ull << 63) : ~ordered;
}

/// The lattice vectors that bring points into the cell, their positions there, and the boxes, which must hold the opposite extremes.
struct WrapTask {
  int n;
  const double* positions;
  const unsigned char* roles;  ///< [n] PointRole; null: all points are owned
  CellView cell;
  LatticeShift* wraps;
  double* wrapped;
  BoxBits* boxes;
};
void wrap_points(const WrapTask& task, const Stream& stream);

/// The bins of positions.
struct BinTask {
  int n;
  const double* positions;
  CellView cell;
  BinGridView grid;
  int* bins;
};
void find_bins(const BinTask& task, const Stream& stream);

/// sorted[k] = positions[sites[k]], rows of three.
void sort_positions(int n, const int* sites, const double* positions, double* sorted, const Stream& stream);

/// Sites, with what takes a point to them.
struct SiteArrays {
  int* point;
  LatticeShift* shift;  ///< from the position of the point as it is given
};

/// The points in an order, and which of them get rows: first 1 or 0 for each, to be summed up, then their sites.
struct RowTask {
  int n;
  const int* order;
  const unsigned char* roles;  ///< as WrapTask
  const LatticeShift* wraps;
  int* owned;                ///< [n] out, where `rows` is null
  const std::int64_t* rows;  ///< [n + 1] owned points before
  SiteArrays sites;
};
void number_rows(const RowTask& task, const Stream& stream);

/// The sites besides those of owned points: images, and points of other processes with their images, in a box of fractional coordinates.
/// First the number for each point in the order, then the sites.
struct OtherSitesTask {
  RowTask points;
  const double* wrapped;
  CellView cell;
  double low[3], high[3];
  int* counts;                  ///< out, where `offsets` is null
  const std::int64_t* offsets;  ///< [n + 1]
  int first_site;
  SiteArrays sites;
  int* slot;  ///< [sites] of owned points and their images; null: not wanted
};
void enumerate_other_sites(const OtherSitesTask& task, const Stream& stream);

/// Positions of sites. `cell_vectors`: of the present cell, which may be deformed.
struct PlaceTask {
  int n_sites;
  SiteArrays sites;
  const double* given;
  const double* cell_vectors;
  double* positions;
};
void place_sites(const PlaceTask& task, const Stream& stream);

/// to[k] = from[order[k]].
void gather(int n, const int* order, const int* from, int* to, const Stream& stream);

/// to[order[k]] = from[k], and back.
void scatter_rows(int n, const int* order, const double* from, double* to, const Stream& stream);
void gather_rows(int n, const int* order, const double* from, double* to, const Stream& stream);

}  // namespace so3md::cuda
