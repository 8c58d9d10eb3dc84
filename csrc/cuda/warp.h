// What the 32 threads of a warp do together. All of them must come here.
#pragma once

#include "cuda/platform.h"

namespace so3md::cuda {

inline constexpr int kWarp = 32;

__device__ inline int lane_number() { return static_cast<int>(threadIdx.x % kWarp); }

/// Sum over the lanes, the same bits in every lane: the order is fixed.
template <class T>
__device__ inline T warp_sum(T value) {
  for (int distance = kWarp / 2; distance > 0; distance /= 2) value += __shfl_xor_sync(kFullWarp, value, distance);
  return value;
}

}  // namespace so3md::cuda
