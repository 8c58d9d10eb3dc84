#include "cuda/lists/site_kernels.h"
#include "cuda/lists/transform.h"
#include "cuda/warp.h"
#include "geometry/neighbour_search.h"

namespace so3md::cuda {

namespace {

constexpr int kThreads = 256;

constexpr auto kOwned = static_cast<unsigned char>(PointRole::owned);

__device__ bool is_owned(const unsigned char* roles, int point) { return roles == nullptr || roles[point] == kOwned; }

__device__ void translate(const LatticeShift& shift, const double* vectors, const double* from, double* to) {
  const double whole[3] = {static_cast<double>(shift.k[0]), static_cast<double>(shift.k[1]), static_cast<double>(shift.k[2])};
  double translation[3];
  transform(whole, vectors, translation);
  for (int k = 0; k < 3; ++k) to[k] = from[k] + translation[k];
}

/// Widens the box by the numbers of the lanes that count. All lanes must come here.
__device__ void widen(unsigned long long* box, bool counts, const double* fractions) {
  for (int k = 0; k < 3; ++k) {
    const unsigned long long own = ordered_bits(__double_as_longlong(fractions[k]));
    unsigned long long low = counts ? own : ~0ull, high = counts ? own : 0ull;
    for (int distance = kWarp / 2; distance > 0; distance /= 2) {
      const unsigned long long other_low = __shfl_xor_sync(kFullWarp, low, distance),
                               other_high = __shfl_xor_sync(kFullWarp, high, distance);
      low = other_low < low ? other_low : low;
      high = other_high > high ? other_high : high;
    }
    if (lane_number() != 0) continue;
    atomicMin(box + k, low);
    atomicMax(box + 3 + k, high);
  }
}

__global__ void wrap_points_kernel(WrapTask task) {
  const std::int64_t i = global_thread();
  const bool is_point = i < task.n;
  double fractions[3] = {0.0, 0.0, 0.0};
  if (is_point) {
    transform(task.positions + 3 * i, task.cell.inverse, fractions);
    LatticeShift wrap;
    for (int k = 0; k < 3; ++k) wrap.k[k] = task.cell.periodic[k] ? -static_cast<int>(floor(fractions[k])) : 0;
    task.wraps[i] = wrap;
    translate(wrap, task.cell.vectors, task.positions + 3 * i, task.wrapped + 3 * i);
    transform(task.wrapped + 3 * i, task.cell.inverse, fractions);
  }
  widen(task.boxes->all, is_point, fractions);
  widen(task.boxes->owned, is_point && is_owned(task.roles, static_cast<int>(i)), fractions);
}

__global__ void find_bins_kernel(BinTask task) {
  const std::int64_t i = global_thread();
  if (i >= task.n) return;
  double fractions[3];
  transform(task.positions + 3 * i, task.cell.inverse, fractions);
  task.bins[i] = task.grid.bin(fractions);
}

__global__ void sort_positions_kernel(int n, const int* sites, const double* positions, double* sorted) {
  const std::int64_t at = global_thread();
  if (at < std::int64_t{3} * n) sorted[at] = positions[std::int64_t{3} * sites[at / 3] + at % 3];
}

__global__ void number_rows_kernel(RowTask task) {
  const std::int64_t at = global_thread();
  if (at >= task.n) return;
  const int point = task.order[at];
  const bool owned = is_owned(task.roles, point);
  if (task.rows == nullptr) {
    task.owned[at] = owned ? 1 : 0;
  } else if (owned) {
    task.sites.point[task.rows[at]] = point;
    task.sites.shift[task.rows[at]] = task.wraps[point];
  }
}

/// Whole shifts that bring a fractional coordinate between low and high.
struct ShiftRange {
  int first, last;
};

__device__ ShiftRange shifts_into(double fraction, double low, double high, bool periodic) {
  if (!periodic) return fraction >= low && fraction <= high ? ShiftRange{0, 0} : ShiftRange{0, -1};
  return {static_cast<int>(ceil(low - fraction)), static_cast<int>(floor(high - fraction))};
}

__global__ void enumerate_other_sites_kernel(OtherSitesTask task) {
  const std::int64_t at = global_thread();
  if (at >= task.points.n) return;
  const int point = task.points.order[at];
  const bool owned = is_owned(task.points.roles, point);
  double fractions[3];
  transform(task.wrapped + std::int64_t{3} * point, task.cell.inverse, fractions);
  ShiftRange range[3];
  for (int k = 0; k < 3; ++k) range[k] = shifts_into(fractions[k], task.low[k], task.high[k], task.cell.periodic[k]);
  const LatticeShift wrap = task.points.wraps[point];
  std::int64_t site = task.offsets == nullptr ? 0 : task.first_site + task.offsets[at];
  int count = 0;
  for (int a = range[0].first; a <= range[0].last; ++a)
    for (int b = range[1].first; b <= range[1].last; ++b)
      for (int c = range[2].first; c <= range[2].last; ++c) {
        if (owned && a == 0 && b == 0 && c == 0) continue;
        ++count;
        if (task.offsets == nullptr) continue;
        task.sites.point[site] = point;
        task.sites.shift[site] = {{wrap.k[0] + a, wrap.k[1] + b, wrap.k[2] + c}};
        if (task.slot != nullptr) task.slot[site] = static_cast<int>(task.points.rows[at]);
        ++site;
      }
  if (task.offsets == nullptr)
    task.counts[at] = count;
  else if (owned && task.slot != nullptr)
    task.slot[task.points.rows[at]] = static_cast<int>(task.points.rows[at]);
}

__global__ void place_sites_kernel(PlaceTask task) {
  const std::int64_t site = global_thread();
  if (site >= task.n_sites) return;
  translate(task.sites.shift[site], task.cell_vectors, task.given + std::int64_t{3} * task.sites.point[site], task.positions + 3 * site);
}

template <class T>
__global__ void gather_kernel(int n, const int* order, const T* from, T* to) {
  const std::int64_t at = global_thread();
  if (at < n) to[at] = from[order[at]];
}

__global__ void scatter_kernel(int n, const int* order, const double* from, double* to) {
  const std::int64_t at = global_thread();
  if (at < n) to[order[at]] = from[at];
}

}  // namespace

void wrap_points(const WrapTask& task, const Stream& stream) {
  launch(stream, wrap_points_kernel, count_blocks(task.n, kThreads), kThreads, 0, task);
}

void find_bins(const BinTask& task, const Stream& stream) {
  launch(stream, find_bins_kernel, count_blocks(task.n, kThreads), kThreads, 0, task);
}

void sort_positions(int n, const int* sites, const double* positions, double* sorted, const Stream& stream) {
  launch(stream, sort_positions_kernel, count_blocks(std::int64_t{3} * n, kThreads), kThreads, 0, n, sites, positions, sorted);
}

void number_rows(const RowTask& task, const Stream& stream) {
  launch(stream, number_rows_kernel, count_blocks(task.n, kThreads), kThreads, 0, task);
}

void enumerate_other_sites(const OtherSitesTask& task, const Stream& stream) {
  launch(stream, enumerate_other_sites_kernel, count_blocks(task.points.n, kThreads), kThreads, 0, task);
}

void place_sites(const PlaceTask& task, const Stream& stream) {
  launch(stream, place_sites_kernel, count_blocks(task.n_sites, kThreads), kThreads, 0, task);
}

void gather(int n, const int* order, const int* from, int* to, const Stream& stream) {
  launch(stream, gather_kernel<int>, count_blocks(n, kThreads), kThreads, 0, n, order, from, to);
}

void scatter_rows(int n, const int* order, const double* from, double* to, const Stream& stream) {
  launch(stream, scatter_kernel, count_blocks(n, kThreads), kThreads, 0, n, order, from, to);
}

void gather_rows(int n, const int* order, const double* from, double* to, const Stream& stream) {
  launch(stream, gather_kernel<double>, count_blocks(n, kThreads), kThreads, 0, n, order, from, to);
}

}  // namespace so3md::cuda
