#include "cuda/lists/bins.h"

namespace so3md::cuda {

namespace {

constexpr int kThreads = 256;

__global__ void count_points(const int* bins, int n, int* counts) {
  const std::int64_t at = global_thread();
  if (at < n) atomicAdd(&counts[bins[at]], 1);
}

/// Threads take the places of a bin in the order in which they come, which sort_bins() makes good.
__global__ void place_points(const int* bins, int n, const std::int64_t* first, int* taken, int* points) {
  const std::int64_t at = global_thread();
  if (at >= n) return;
  const int bin = bins[at];
  points[first[bin] + atomicAdd(&taken[bin], 1)] = static_cast<int>(at);
}

/// A thread per bin: they hold few points, so that insertion is the quickest way.
__global__ void sort_bins(const std::int64_t* first, int n_bins, int* points) {
  const std::int64_t bin = global_thread();
  if (bin >= n_bins) return;
  const std::int64_t begin = first[bin], end = first[bin + 1];
  for (std::int64_t at = begin + 1; at < end; ++at) {
    const int point = points[at];
    std::int64_t to = at;
    for (; to > begin && points[to - 1] > point; --to) points[to] = points[to - 1];
    points[to] = point;
  }
}

}  // namespace

void BinSort::run(const int* bins, int n, int n_bins, const Stream& stream) {
  const auto bin_count = static_cast<std::size_t>(n_bins);
  counts_.resize(bin_count);
  first_.resize(bin_count + 1);
  points_.resize(static_cast<std::size_t>(n));
  counts_.clear(stream);
  launch(stream, count_points, count_blocks(n, kThreads), kThreads, 0, bins, n, counts_.data());
  scan_.run(counts_.data(), n_bins, first_.data(), stream);
  counts_.clear(stream);
  launch(stream, place_points, count_blocks(n, kThreads), kThreads, 0, bins, n, first_.data(), counts_.data(), points_.data());
  launch(stream, sort_bins, count_blocks(n_bins, kThreads), kThreads, 0, first_.data(), n_bins, points_.data());
}

}  // namespace so3md::cuda
