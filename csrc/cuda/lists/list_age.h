// Whether neighbour lists still hold every pair that they must, from what the host knows: no wait for the device.
#pragma once

#include <span>
#include <vector>

#include "common/thread_pool.h"
#include "geometry/cell.h"

namespace so3md::cuda {

class ListAge {
 public:
  /// The pool must live longer.
  explicit ListAge(ThreadPool& pool);

  /// Lists are built now, for these positions ([n][3], A).
  void start(std::span<const double> positions, const Cell& cell);

  /// Whether no pair that lists of these radii (A, skin included) lack can have come within a cutoff, as so3md::NeighbourList tells it;
  /// as many positions as at the start. The same answer in every process that has the same positions.
  bool complete(std::span<const double> positions, const Cell& cell, std::span<const double> radii, double skin) const;

 private:
  double largest_approach(std::span<const double> positions, const Matrix3& deformation, double allowed) const;

  ThreadPool& pool_;
  Cell cell_;
  std::vector<double> positions_;
};

}  // namespace so3md::cuda
