// The domain of one process, from points in space: which of them it owns, who owns the others, and who is near whom.
#pragma once

#include <cstdint>
#include <vector>

#include "common/thread_pool.h"
#include "geometry/atom_owner.h"
#include "geometry/cell.h"
#include "geometry/domain.h"
#include "geometry/neighbour_search.h"
#include "geometry/site_slots.h"

namespace so3md {

/// Hosts describe space in two ways, and both fit: a cell with periodic directions and each atom once (the search then finds the images),
/// or ghosts, that is further points for images and for other processes' atoms, without periodic directions.
class LocalDomain {
 public:
  /// Radii of the lists, skin included, A. `long_radius`: 0 for no long list; infinity for no list and no cutoff, every point being a
  /// neighbour of every other (Domain::long_offsets is null in both cases).
  LocalDomain(double short_radius, double long_radius);

  /// Searches anew. `owners`: [n_points] of the atom that a point shows; null: this process owns all, each point its own atom. A point
  /// is owned if its owner is this process under the point's own number; another number of this process means an image of that atom.
  /// Throws std::invalid_argument if the cell is impossibly thin, and ListsTooLarge for what would fill the memory.
  void build(int n_points, const double* positions, const Cell& cell, const AtomOwner* owners, int process, ThreadPool& pool);

  /// New positions of the same points, in the same or a deformed cell: [n_points][3], A. An owned atom's site is its position plus
  /// the whole lattice vectors that brought it into the cell at the last build: atoms that have diffused through many cells would
  /// otherwise need separate image sites for nearly every pair.
  void place(const double* positions, const Cell& cell, ThreadPool& pool);

  /// Valid until the next build.
  Domain domain() const;

  /// [n_slots] a point that shows the atom of a slot: for the owned atoms, in the order of the domain, their own.
  const std::vector<int>& point_of_slot() const { return slots_.point_of_slot; }

  /// Radii of the lists, short and, if there is one, long, A.
  const std::vector<NeighbourRows>& lists() const { return lists_; }

  /// [n_points] slot of an owned point; -1 for the others.
  const std::vector<int>& slot_of_point() const { return slots_.slot_of_point; }

  /// The atoms of the near and far slots.
  const std::vector<AtomOwner>& halo() const { return slots_.halo; }

  /// [n_points] the lattice vectors that brought a point into the cell.
  const std::vector<Shift>& wraps() const { return wraps_; }

 private:
  void add_all_points(const BinGrid& grid, const std::vector<PointRole>& roles, FoundSites& found) const;

  double long_radius_;
  std::vector<NeighbourRows> lists_;  // short, then long if there is one
  int n_owned_ = 0, n_interior_ = 0;
  std::int64_t build_ = 0;
  SiteSlots slots_;
  std::vector<Shift> wraps_;
  std::vector<int> points_;        // [n_sites] that a site shows
  std::vector<Shift> shifts_;      // [n_sites] of the site from the position of its point
  std::vector<double> positions_;  // [n_sites][3]
};

}  // namespace so3md
