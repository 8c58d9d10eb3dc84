// The search for all pairs of atoms within given distances.
#pragma once

#include <cstdint>
#include <vector>

#include "common/thread_pool.h"
#include "geometry/bin_grid.h"

namespace so3md {

/// A full list: the neighbours of atom i are sites[offsets[i]] .. sites[offsets[i + 1] - 1], in ascending order.
struct NeighbourRows {
  double radius;  ///< A
  std::vector<std::int64_t> offsets;
  std::vector<int> sites;
};

/// A periodic image of an atom.
struct Image {
  int owner;    ///< internal number
  Shift shift;  ///< from the owner, wrapped into the cell
};

/// Fills `lists` with all neighbours within their radii, none of which may exceed that of the grid. A pair is in the rows of both
/// atoms. Sites are the atoms by their internal numbers, then the images that are in any list: these are returned. The result does
/// not depend on the number of threads.
std::vector<Image> find_neighbours(const BinGrid& grid, std::vector<NeighbourRows>& lists, ThreadPool& pool);

}  // namespace so3md
