// Sums of atomic numbers over the atoms of each system, in an order that depends on the numbers of atoms alone.
#pragma once

#include <vector>

#include "cuda/device_array.h"

namespace so3md::cuda {

/// Atoms of one system, which one block sums.
struct SumChunk {
  int system, begin, end;
};

class SystemSums {
 public:
  /// `first`: [systems + 1] as Systems::first.
  void set_systems(const std::vector<int>& first, const Stream& stream);

  const std::vector<int>& first() const { return first_; }
  int count() const { return static_cast<int>(first_.size()) - 1; }

  /// [atoms] system of an atom, on the device; null where there is but one.
  const int* system() const { return count() == 1 ? nullptr : system_.data(); }

  /// sums[s][c] = sum over the atoms of system s of columns[c][atom]. At most kMaxColumns; a null column counts as zeros.
  static constexpr int kMaxColumns = 5;
  void sum(std::initializer_list<const double*> columns, double* sums, const Stream& stream);

  /// sums[s][g] = sum over the atoms of system s with group[atom] == g of values[atom].
  void sum_groups(const double* values, const int* group, int groups, double* sums, const Stream& stream);

 private:
  void sum_chunk_columns(int columns, double* sums, const Stream& stream) const;

  std::vector<int> first_;
  std::vector<SumChunk> host_chunks_;
  std::vector<int> host_first_chunk_, host_system_;
  bool one_chunk_each_ = false;
  DeviceArray<int> system_, first_chunk_;  // [atoms], [systems + 1]
  DeviceArray<SumChunk> chunks_;
  DeviceArray<double> partial_;  // [chunks][columns]
};

}  // namespace so3md::cuda
