// Points sorted into the bins of a regular grid.
#pragma once

#include "cuda/device_array.h"
#include "cuda/lists/scan.h"

namespace so3md::cuda {

/// A grid in fractional coordinates: bin k along a direction begins at low + k / per_unit. What lies outside is in the outermost bins.
struct BinGridView {
  double low[3];
  double per_unit[3];
  int count[3];

  __host__ __device__ std::int64_t total() const { return std::int64_t{count[0]} * count[1] * count[2]; }

  __device__ int along(int k, double fraction) const {
    const double place = (fraction - low[k]) * per_unit[k];
    if (!(place > 0.0)) return 0;
    return place < count[k] ? static_cast<int>(place) : count[k] - 1;
  }

  /// The last direction runs fastest.
  __device__ int bin(const double* fractions) const {
    return (along(0, fractions[0]) * count[1] + along(1, fractions[1])) * count[2] + along(2, fractions[2]);
  }
};

class BinSort {
 public:
  /// From the bin of each of n points, the points in the order of their bins, by number within a bin: points()[first()[b]] ..
  /// points()[first()[b + 1] - 1] are those of bin b.
  void run(const int* bins, int n, int n_bins, const Stream& stream);

  const int* points() const { return points_.data(); }
  int* points() { return points_.data(); }
  const std::int64_t* first() const { return first_.data(); }

 private:
  Scan scan_;
  DeviceArray<int> counts_, points_;
  DeviceArray<std::int64_t> first_;
};

}  // namespace so3md::cuda
