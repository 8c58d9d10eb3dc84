// Running sums of integers on the device.
#pragma once

#include <cstdint>

#include "cuda/device_array.h"

namespace so3md::cuda {

class Scan {
 public:
  /// offsets[k] = sum of the first k counts, for k = 0..n ([n + 1]).
  void run(const int* counts, int n, std::int64_t* offsets, const Stream& stream);

 private:
  DeviceArray<std::int64_t> block_sums_;
};

}  // namespace so3md::cuda
