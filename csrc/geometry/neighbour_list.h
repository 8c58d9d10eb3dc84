// The engine's own neighbour list, for hosts that do not bring one.
#pragma once

#include <cstdint>
#include <vector>

#include "common/thread_pool.h"
#include "geometry/cell.h"
#include "geometry/domain.h"
#include "geometry/neighbour_search.h"

namespace so3md {

/// All pairs within a short and a long cutoff, for molecules, wires, slabs and bulk in any cell. Both lists hold pairs up to the cutoff
/// plus a skin, and are built again only when a pair that they lack could have come within a cutoff.
class NeighbourList {
 public:
  /// Lengths in A. `long_cutoff`: 0 for no long list; infinity for no cutoff, which needs no list either (Domain::long_offsets is null
  /// in both cases) and is refused for periodic systems. Throws std::invalid_argument for impossible lengths.
  NeighbourList(double short_cutoff, double long_cutoff, double skin);

  /// Takes new positions ([n][3], A); returns whether the lists were built again. Throws std::invalid_argument for positions that are
  /// not finite or absurdly large; what domain() shows then is unspecified until the next successful update.
  bool update(int n, const double* positions, const Cell& cell, ThreadPool& pool);

  /// order()[internal number] = the caller's number. The domain has internal numbers, which follow the atoms in space.
  const std::vector<int>& order() const { return order_; }

  /// Valid until the next update. An owned atom's site is its position plus the whole lattice vectors that brought it into the
  /// cell at the last build (none in directions that are not periodic): atoms that have diffused through many cells would otherwise need
  /// separate image sites for nearly every pair. There are no halo atoms.
  Domain domain() const;

  std::int64_t updates() const { return updates_; }
  std::int64_t rebuilds() const { return rebuilds_; }

 private:
  bool is_complete(const Cell& cell) const;
  double largest_approach(const Matrix3& f) const;
  void rebuild(int n, const double* positions, const Cell& cell, ThreadPool& pool);
  void place_sites(const double* positions, const Cell& cell, ThreadPool& pool);

  double long_cutoff_, skin_;

  std::vector<int> order_;
  std::vector<int> slots_;
  std::vector<Shift> shifts_;         // [n_sites] of the site from the position of its atom
  std::vector<double> positions_;     // [n_sites][3]
  std::vector<NeighbourRows> lists_;  // short, then long if there is one

  bool built_ = false;
  Cell built_cell_;
  std::vector<double> built_positions_;  // [n_owned][3], of the sites
  std::int64_t updates_ = 0;
  std::int64_t rebuilds_ = 0;
};

}  // namespace so3md
