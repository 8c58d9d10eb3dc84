// The domain of one process, built on the device from points and a cell: order of the atoms, periodic images, neighbour lists. What a
// domain and its lists hold is what so3md::LocalDomain and so3md::NeighbourList say.
#pragma once

#include <vector>

#include "cuda/electric_field.h"
#include "cuda/lists/list_kernels.h"
#include "cuda/lists/scan.h"
#include "cuda/seams.h"
#include "evaluation/engine.h"
#include "geometry/list_age.h"
#include "geometry/site_slots.h"

namespace so3md::cuda {

class PointLists {
 public:
  /// As NeighbourList; `long_cutoff`: 0 for no long list, infinity for every pair of a system without periodic directions. The pool must
  /// live longer.
  PointLists(double short_cutoff, double long_cutoff, double skin, ThreadPool& pool);

  /// Whether lists must be built for these points; the same answer in all processes that share them.
  bool are_old(const PointSystem& system) const;

  /// New lists. Throws std::invalid_argument for impossible positions, or a cell that is too thin, and ListsTooLarge
  /// for what would fill the memory of the GPU. Waits for the device.
  void build(const PointSystem& system, const Stream& stream);

  /// As if there were no lists.
  void forget() { view_ = {}; }

  /// New positions and species for the lists that there are. Throws as build(). Nothing is started but copies of species that changed.
  void take(const PointSystem& system, const Stream& stream);

  /// Copies the positions that were taken to the device, and moves all sites there. The same work each time, as long as lists() stays.
  void place(const Stream& stream);

  /// Valid until the next build.
  const DeviceDomain& domain() const { return view_; }

  /// On the device: [n_owned] row of the results of an atom of the domain.
  const int* result_rows() const { return shared_ ? result_rows_.data() : site_point_.data(); }

  /// Of the owned atoms, valid until the next build.
  AtomPaths paths() const;

  /// The point that shows the atom of a slot. Waits for the device.
  int point_of_slot(int slot, const Stream& stream) const;

  /// Of processes that share points; empty for one alone.
  const SiteSlots& slots() const { return slots_; }

  std::int64_t rebuilds() const { return rebuilds_; }

 private:
  /// Lowest and highest fractional coordinates.
  struct Box {
    double low[3], high[3];
  };

  double longest() const { return long_radius_ > 0.0 && !all_pairs() ? long_radius_ : short_radius_; }
  bool all_pairs() const;
  bool has_long_list() const { return long_radius_ > 0.0 && !all_pairs(); }
  void require_memory() const;
  void require_memory_for(double bytes) const;
  void stage(const PointSystem& system);
  void stage_paths(const PointSystem& system);
  void upload_positions(const Stream& stream);
  void update_species(const PointSystem& system, bool rebuilt, const Stream& stream);

  // The steps of build(), in their order.
  void take_owners(const PointSystem& system, const Stream& stream);
  void wrap(const PointSystem& system, const Stream& stream);
  void order_points(const PointSystem& system, const Stream& stream);
  void make_sites(const PointSystem& system, const Stream& stream);
  void place_sites_again(const Stream& stream);
  void sort_sites(const Cell& cell, const Stream& stream);
  ListTask list_task() const;
  void count_neighbours(const Stream& stream);
  void number_shared_sites(const PointSystem& system, const Stream& stream);
  void renumber(int n_others, const Stream& stream);
  void fill_lists(const Stream& stream);

  RowTask row_task(int n);
  SiteArrays sites() { return {site_point_.data(), site_shift_.data()}; }

  double short_radius_, long_radius_, skin_, guard_ = 0.0;
  DeviceDomain view_;
  std::int64_t rebuilds_ = 0;
  ThreadPool& pool_;
  ListAge age_;

  // Of the last build.
  int n_points_ = 0;
  bool shared_ = false;
  bool has_paths_ = false;  // apart from the positions
  Cell cell_;
  std::int64_t points_ = -1;
  std::span<const AtomOwner> owners_;
  Box all_{}, owned_{};
  BinGridView grid_{};
  SiteSlots slots_;

  Scan scan_;
  BinSort order_, sorted_sites_;
  PinnedArray<double> staged_;             // positions of the points, then the vectors of the cell
  PinnedArray<double> staged_paths_;       // of the owned atoms in the order of the results
  DeviceArray<double> given_, positions_;  // the same; [n_sites][3]
  DeviceArray<double> wrapped_, sorted_positions_, paths_;
  DeviceArray<unsigned char> roles_;
  DeviceArray<BoxBits> boxes_;
  DeviceArray<LatticeShift> wraps_, site_shift_, new_site_shift_;
  DeviceArray<int> site_point_, new_site_point_, slot_, point_of_slot_, result_rows_, species_, point_species_;
  DeviceArray<int> bins_, flags_, marks_, in_short_list_, site_of_, counts_, long_counts_, new_counts_, new_long_counts_, most_;
  DeviceArray<int> short_sites_, long_sites_;
  DeviceArray<std::int64_t> rows_, others_, short_offsets_, long_offsets_;
  std::vector<int> known_species_;
};

}  // namespace so3md::cuda
