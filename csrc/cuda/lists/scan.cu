#include "cuda/lists/scan.h"
#include "cuda/warp.h"

namespace so3md::cuda {

namespace {

constexpr int kThreads = 256;
constexpr int kWarps = kThreads / kWarp;
constexpr int kItems = 8;  // of a thread
constexpr int kBlockItems = kThreads * kItems;

/// Sum over the threads before this one; `total`: over all.
__device__ std::int64_t scan_block(std::int64_t value, std::int64_t* total) {
  __shared__ std::int64_t sums[kWarps];
  const int lane = lane_number(), warp = static_cast<int>(threadIdx.x) / kWarp;
  std::int64_t sum = value;
  for (int distance = 1; distance < kWarp; distance *= 2) {
    const std::int64_t other = __shfl_up_sync(kFullWarp, sum, distance);
    if (lane >= distance) sum += other;
  }
  if (lane == kWarp - 1) sums[warp] = sum;
  __syncthreads();
  std::int64_t before = 0, all = 0;
  for (int w = 0; w < kWarps; ++w) {
    if (w < warp) before += sums[w];
    all += sums[w];
  }
  __syncthreads();
  *total = all;
  return before + sum - value;
}

/// Offsets within each block of items, and the sum of each.
__global__ void scan_items(const int* counts, int n, std::int64_t* offsets, std::int64_t* block_sums) {
  const std::int64_t first = static_cast<std::int64_t>(blockIdx.x) * kBlockItems + static_cast<std::int64_t>(threadIdx.x) * kItems;
  std::int64_t own = 0, total = 0;
  for (int k = 0; k < kItems; ++k)
    if (first + k < n) own += counts[first + k];
  std::int64_t sum = scan_block(own, &total);
  for (int k = 0; k < kItems; ++k) {
    if (first + k >= n) break;
    offsets[first + k] = sum;
    sum += counts[first + k];
  }
  if (threadIdx.x == 0) block_sums[blockIdx.x] = total;
}

/// Sums of blocks to sums of the blocks before; the sum of all to `end`. One block of threads.
__global__ void scan_sums(std::int64_t* block_sums, int blocks, std::int64_t* end) {
  std::int64_t before = 0;
  for (int first = 0; first < blocks; first += kThreads) {
    const int at = first + static_cast<int>(threadIdx.x);
    const std::int64_t own = at < blocks ? block_sums[at] : 0;
    std::int64_t total = 0;
    const std::int64_t sum = scan_block(own, &total);
    if (at < blocks) block_sums[at] = before + sum;
    before += total;
  }
  if (threadIdx.x == 0) *end = before;
}

__global__ void add_sums(std::int64_t* offsets, int n, const std::int64_t* block_sums) {
  const std::int64_t at = global_thread();
  if (at < n) offsets[at] += block_sums[at / kBlockItems];
}

}  // namespace

void Scan::run(const int* counts, int n, std::int64_t* offsets, const Stream& stream) {
  const auto blocks = count_blocks(n, kBlockItems);
  block_sums_.resize(blocks);
  launch(stream, scan_items, blocks, kThreads, 0, counts, n, offsets, block_sums_.data());
  launch(stream, scan_sums, 1, kThreads, 0, block_sums_.data(), static_cast<int>(blocks), offsets + n);
  if (blocks > 1) launch(stream, add_sums, count_blocks(n, kThreads), kThreads, 0, offsets, n, block_sums_.data());
}

}  // namespace so3md::cuda
