// The search for all pairs of atoms within given distances.
#pragma once

#include <cstdint>
#include <stdexcept>
#include <vector>

#include "common/errors.h"
#include "common/thread_pool.h"
#include "geometry/bin_grid.h"

namespace so3md {

/// A full list: the neighbours of owned atom i are sites[offsets[i]] .. sites[offsets[i + 1] - 1], in ascending order of the search.
struct NeighbourRows {
  double radius;  ///< A
  std::vector<std::int64_t> offsets;
  std::vector<int> sites;
};

/// Whose a point is, and whether its own row is wanted.
enum class PointRole : unsigned char {
  owned,  ///< has a row in the lists
  image,  ///< of an owned point: a neighbour, without a row
  remote  ///< of another process: a neighbour, without a row
};

/// A point, or a periodic image of one.
struct Site {
  int point;    ///< internal number of the grid
  Shift shift;  ///< from the point, wrapped into the cell
  bool in_short_list;
};

/// What the rows of the lists and the numbers in them mean.
struct FoundSites {
  std::vector<int> owned;    ///< internal numbers of the owned points by row: first the interior ones, in the order of the grid
  int n_interior = 0;        ///< owned points without a remote point in the first list
  std::vector<Site> others;  ///< sites after the owned ones, those that are in any list
};

/// Throws ListsTooLarge where lists within `radius` (A) that take so many bytes would fill the memory that is left.
void require_memory_for_lists(double bytes, double radius);

/// The same for a GPU, of whose memory so many bytes are free.
void require_memory_of_gpu_for_lists(double bytes, double radius, double available);

/// About how many neighbours within `radius` (A) each of n points in a cell has at least, whose distances are at most `spread` (A).
double expected_neighbours(int n, double radius, double spread, const Cell& cell);

/// Bytes of a pair in a list, and of a site beside the lists, with all that is kept of it.
constexpr double kBytesPerPair = sizeof(int), kBytesPerSite = 70;

/// Fills `lists` with all neighbours within their radii, none of which may exceed that of the grid, of the owned points. A pair of owned
/// points is in the rows of both. `roles`: by internal number; empty: all points are owned. The result does not depend on the number of
/// threads. Throws ListsTooLarge before it fills the memory.
FoundSites find_neighbours(const BinGrid& grid, const std::vector<PointRole>& roles, std::vector<NeighbourRows>& lists, ThreadPool& pool);

}  // namespace so3md
