// The domain of one process that owns every atom, built on the device from positions and a cell: order of the atoms, periodic images,
// neighbour lists. What the lists hold, and when they are built again, is what so3md::NeighbourList says.
#pragma once

#include <vector>

#include "cuda/device_array.h"
#include "cuda/lists/bins.h"
#include "cuda/lists/scan.h"
#include "cuda/seams.h"
#include "engine.h"
#include "geometry/cell.h"

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

class PointLists {
 public:
  /// As NeighbourList; `long_cutoff`: 0 for no long list, infinity for every pair of a system without periodic directions.
  PointLists(double short_cutoff, double long_cutoff, double skin);

  /// Takes new positions of the host; builds the lists where pairs that they lack may have come within a cutoff, for other points, or a
  /// cell with other periodic directions. Throws std::invalid_argument for impossible positions. Waits for the device.
  const DeviceDomain& update(const PointSystem& system, const Stream& stream);

  const int* order() const { return order_.points(); }  ///< on the device: [n_owned] point of an atom of the domain
  std::int64_t rebuilds() const { return rebuilds_; }

 private:
  double longest() const { return long_radius_ > 0.0 && !all_pairs() ? long_radius_ : short_radius_; }
  bool all_pairs() const;
  bool is_complete(const PointSystem& system, const Stream& stream);
  void build(const PointSystem& system, const Stream& stream);
  void order_atoms(const PointSystem& system, const Stream& stream);
  void make_images(const PointSystem& system, const Stream& stream);
  void place(const Cell& cell, const Stream& stream);
  BinGridView grid_of_sites(const Cell& cell) const;
  void sort_sites(const Cell& cell, const Stream& stream);
  void fill_lists(const Stream& stream);
  void update_species(const PointSystem& system, bool rebuilt, const Stream& stream);

  double short_radius_, long_radius_, skin_, guard_ = 0.0;
  DeviceDomain view_;
  std::int64_t rebuilds_ = 0;
  Cell built_cell_;
  std::int64_t built_points_ = -1;
  double low_[3] = {}, high_[3] = {};  // fractional coordinates of the atoms in directions that are not periodic
  BinGridView grid_{};

  Scan scan_;
  BinSort order_, sorted_sites_;
  DeviceArray<double> given_, built_positions_, positions_, sorted_positions_;
  DeviceArray<LatticeShift> wraps_, image_shifts_;
  DeviceArray<int> bins_, counts_, long_counts_, slot_, species_, point_species_, image_atoms_, short_sites_, long_sites_, most_;
  DeviceArray<std::int64_t> image_offsets_, short_offsets_, long_offsets_;
  DeviceArray<unsigned long long> largest_move_;
  std::vector<int> known_species_;
};

}  // namespace so3md::cuda
