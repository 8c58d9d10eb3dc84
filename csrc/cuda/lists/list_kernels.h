// The kernels of the neighbour lists. Each function starts one; pointers are of the device.
#pragma once

#include "cuda/lists/point_lists.h"

namespace so3md::cuda {

/// Largest |u|^2 over the points, u being what a point has moved beside the deformation of the cell (NeighbourList::is_complete); as bits
/// of a double, which compare as the numbers do.
struct MoveTask {
  int n;
  const double* positions;
  const LatticeShift* wraps;
  const double* built;
  CellView cell;
  double deformation[9];
  unsigned long long* largest;
};
void find_largest_move(const MoveTask& task, const Stream& stream);

/// The lattice vectors that bring points into the cell, their positions there, and their bins.
struct WrapTask {
  int n;
  const double* positions;
  CellView cell;
  BinGridView grid;
  LatticeShift* wraps;
  double* wrapped;
  int* bins;
};
void wrap_points(const WrapTask& task, const Stream& stream);

/// Images within a margin (in fractional coordinates) of the cell: their number for each atom, or with `offsets`, which they are.
struct ImageTask {
  int n;
  const int* order;
  const double* wrapped;
  CellView cell;
  double margin[3];
  int* counts;
  const std::int64_t* offsets;
  int* atoms;
  LatticeShift* shifts;
};
void enumerate_images(const ImageTask& task, const Stream& stream);

/// Positions and slots of atoms in their order, then of images.
struct PlaceTask {
  int n_owned, n_sites;
  const int* order;
  const double* given;
  const LatticeShift* wraps;
  const int* image_atoms;
  const LatticeShift* image_shifts;
  CellView cell;
  double* positions;
  int* slot;
};
void place_sites(const PlaceTask& task, const Stream& stream);

struct SiteBinTask {
  int n_sites;
  const double* positions;
  CellView cell;
  BinGridView grid;
  int* bins;
};
void bin_sites(const SiteBinTask& task, const Stream& stream);

/// sorted[k] = positions[sites[k]], rows of three.
void sort_positions(int n, const int* sites, const double* positions, double* sorted, const Stream& stream);

/// Neighbours within the squared radii: their numbers for each atom, or with offsets, which sites they are. `most`: of the short list.
struct ListTask {
  int n_owned;
  CellView cell;
  BinGridView grid;
  const std::int64_t* first;  ///< of the bins
  const int* sites;           ///< by bin
  const double* sorted;       ///< their positions
  const double* positions;
  double short_squared, long_squared;  ///< A^2; the second 0: no long list
  int *short_counts, *long_counts, *most;
  const std::int64_t *short_offsets, *long_offsets;
  int *short_sites, *long_sites;
};
void search_neighbours(const ListTask& task, const Stream& stream);

/// to[k] = from[order[k]].
void gather(int n, const int* order, const int* from, int* to, const Stream& stream);

}  // namespace so3md::cuda
