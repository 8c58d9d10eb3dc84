// Whether neighbour lists still hold every pair that they must, from the positions that the host knows: lists on a device need not be
// waited for.
#pragma once

#include <span>
#include <vector>

#include "common/thread_pool.h"
#include "geometry/cell.h"

namespace so3md {

class ListAge {
 public:
  ListAge();

  /// Lists are built now, for these positions ([n][3], A).
  void start(std::span<const double> positions, const Cell& cell);

  /// Whether no pair that lists of these radii (A, skin included) lack can have come within a cutoff; as many positions as at the start.
  /// The same answer in every process that has the same positions, for any number of threads.
  bool complete(std::span<const double> positions, const Cell& cell, std::span<const double> radii, double skin, ThreadPool& pool) const;

  const Cell& cell() const { return cell_; }                        ///< of the start
  std::size_t num_points() const { return positions_.size() / 3; }  ///< likewise

 private:
  double largest_approach(std::span<const double> positions, const Matrix3& deformation, double allowed, ThreadPool& pool) const;

  Cell cell_;
  std::vector<double> positions_;
};

}  // namespace so3md
