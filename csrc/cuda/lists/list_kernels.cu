#include "cuda/lists/list_kernels.h"
#include "cuda/warp.h"

namespace so3md::cuda {

namespace {

constexpr int kThreads = 256;
constexpr int kSearchThreads = 128;

// Bins on either side in which a neighbour can be: bins are at least half the longest radius wide.
constexpr int kReach = 2;

/// v . m
__device__ void transform(const double* v, const double* m, double* out) {
  for (int c = 0; c < 3; ++c) out[c] = v[0] * m[c] + v[1] * m[3 + c] + v[2] * m[6 + c];
}

__device__ void translate(const LatticeShift& shift, const CellView& cell, const double* from, double* to) {
  const double whole[3] = {static_cast<double>(shift.k[0]), static_cast<double>(shift.k[1]), static_cast<double>(shift.k[2])};
  double translation[3];
  transform(whole, cell.vectors, translation);
  for (int k = 0; k < 3; ++k) to[k] = from[k] + translation[k];
}

__global__ void find_largest_move_kernel(MoveTask task) {
  const std::int64_t i = global_thread();
  if (i >= task.n) return;
  double now[3], deformed[3], squared = 0.0;
  translate(task.wraps[i], task.cell, task.positions + 3 * i, now);
  transform(task.built + 3 * i, task.deformation, deformed);
  for (int k = 0; k < 3; ++k) squared += (now[k] - deformed[k]) * (now[k] - deformed[k]);
  atomicMax(task.largest, static_cast<unsigned long long>(__double_as_longlong(squared)));
}

__global__ void wrap_points_kernel(WrapTask task) {
  const std::int64_t i = global_thread();
  if (i >= task.n) return;
  double fractions[3];
  transform(task.positions + 3 * i, task.cell.inverse, fractions);
  LatticeShift wrap;
  for (int k = 0; k < 3; ++k) {
    wrap.k[k] = task.cell.periodic[k] ? -static_cast<int>(floor(fractions[k])) : 0;
    fractions[k] += wrap.k[k];
  }
  task.wraps[i] = wrap;
  translate(wrap, task.cell, task.positions + 3 * i, task.wrapped + 3 * i);
  task.bins[i] = task.grid.bin(fractions);
}

__global__ void enumerate_images_kernel(ImageTask task) {
  const std::int64_t atom = global_thread();
  if (atom >= task.n) return;
  double fractions[3];
  transform(task.wrapped + std::int64_t{3} * task.order[atom], task.cell.inverse, fractions);
  int low[3], high[3];
  for (int k = 0; k < 3; ++k) {
    low[k] = task.cell.periodic[k] ? static_cast<int>(ceil(-task.margin[k] - fractions[k])) : 0;
    high[k] = task.cell.periodic[k] ? static_cast<int>(floor(1.0 + task.margin[k] - fractions[k])) : 0;
  }
  if (task.offsets == nullptr) {
    task.counts[atom] = (high[0] - low[0] + 1) * (high[1] - low[1] + 1) * (high[2] - low[2] + 1) - 1;
    return;
  }
  std::int64_t at = task.offsets[atom];
  for (int a = low[0]; a <= high[0]; ++a)
    for (int b = low[1]; b <= high[1]; ++b)
      for (int c = low[2]; c <= high[2]; ++c) {
        if (a == 0 && b == 0 && c == 0) continue;
        task.atoms[at] = static_cast<int>(atom);
        task.shifts[at++] = {{a, b, c}};
      }
}

__global__ void place_sites_kernel(PlaceTask task) {
  const std::int64_t site = global_thread();
  if (site >= task.n_sites) return;
  const bool owned = site < task.n_owned;
  const int atom = owned ? static_cast<int>(site) : task.image_atoms[site - task.n_owned];
  const int point = task.order[atom];
  LatticeShift shift = task.wraps[point];
  if (!owned)
    for (int k = 0; k < 3; ++k) shift.k[k] += task.image_shifts[site - task.n_owned].k[k];
  translate(shift, task.cell, task.given + std::int64_t{3} * point, task.positions + 3 * site);
  task.slot[site] = atom;
}

__global__ void bin_sites_kernel(SiteBinTask task) {
  const std::int64_t site = global_thread();
  if (site >= task.n_sites) return;
  double fractions[3];
  transform(task.positions + 3 * site, task.cell.inverse, fractions);
  task.bins[site] = task.grid.bin(fractions);
}

__global__ void sort_positions_kernel(int n, const int* sites, const double* positions, double* sorted) {
  const std::int64_t at = global_thread();
  if (at < std::int64_t{3} * n) sorted[at] = positions[std::int64_t{3} * sites[at / 3] + at % 3];
}

__global__ void gather_kernel(int n, const int* order, const int* from, int* to) {
  const std::int64_t at = global_thread();
  if (at < n) to[at] = from[order[at]];
}

/// The lists of one atom as they grow.
struct ListEnds {
  std::int64_t short_end = 0, long_end = 0;
};

/// Appends the sites of sorted numbers begin .. end - 1 that are near atom i.
__device__ void search_range(const ListTask& task, int i, const double* center, std::int64_t begin, std::int64_t end, ListEnds& ends) {
  const int lane = lane_number();
  for (std::int64_t first = begin; first < end; first += kWarp) {
    const std::int64_t at = first + lane;
    double squared = 1e300;
    int site = i;
    if (at < end) {
      const double d[3] = {task.sorted[3 * at] - center[0], task.sorted[3 * at + 1] - center[1], task.sorted[3 * at + 2] - center[2]};
      squared = d[0] * d[0] + d[1] * d[1] + d[2] * d[2];
      site = task.sites[at];
    }
    const bool other = site != i;
    const bool is_short = other && squared < task.short_squared, is_long = other && squared < task.long_squared;
    const unsigned in_short = __ballot_sync(kFullWarp, is_short ? 1 : 0), in_long = __ballot_sync(kFullWarp, is_long ? 1 : 0);
    const unsigned before = (1u << lane) - 1u;
    if (task.short_offsets != nullptr) {
      if (is_short) task.short_sites[ends.short_end + __popc(in_short & before)] = site;
      if (is_long) task.long_sites[ends.long_end + __popc(in_long & before)] = site;
    }
    ends.short_end += __popc(in_short);
    ends.long_end += __popc(in_long);
  }
}

/// A warp per atom. Bins along the last direction follow each other, so that each row of bins is one range of sites.
__global__ void __launch_bounds__(kSearchThreads) search_neighbours_kernel(ListTask task) {
  const auto i = static_cast<int>(global_thread() / kWarp);
  if (i >= task.n_owned) return;
  const double* center = task.positions + std::int64_t{3} * i;
  double fractions[3];
  transform(center, task.cell.inverse, fractions);
  int low[3], high[3];
  for (int k = 0; k < 3; ++k) {
    const int bin = task.grid.along(k, fractions[k]);
    low[k] = bin > kReach ? bin - kReach : 0;
    high[k] = bin + kReach < task.grid.count[k] ? bin + kReach : task.grid.count[k] - 1;
  }
  const bool fill = task.short_offsets != nullptr;
  ListEnds ends;
  if (fill) ends = {task.short_offsets[i], task.long_offsets[i]};
  for (int a = low[0]; a <= high[0]; ++a)
    for (int b = low[1]; b <= high[1]; ++b) {
      const std::int64_t row = (static_cast<std::int64_t>(a) * task.grid.count[1] + b) * task.grid.count[2];
      search_range(task, i, center, task.first[row + low[2]], task.first[row + high[2] + 1], ends);
    }
  if (fill || lane_number() != 0) return;
  task.short_counts[i] = static_cast<int>(ends.short_end);
  task.long_counts[i] = static_cast<int>(ends.long_end);
  atomicMax(task.most, static_cast<int>(ends.short_end));
}

}  // namespace

void find_largest_move(const MoveTask& task, const Stream& stream) {
  launch(stream, find_largest_move_kernel, count_blocks(task.n, kThreads), kThreads, 0, task);
}

void wrap_points(const WrapTask& task, const Stream& stream) {
  launch(stream, wrap_points_kernel, count_blocks(task.n, kThreads), kThreads, 0, task);
}

void enumerate_images(const ImageTask& task, const Stream& stream) {
  launch(stream, enumerate_images_kernel, count_blocks(task.n, kThreads), kThreads, 0, task);
}

void place_sites(const PlaceTask& task, const Stream& stream) {
  launch(stream, place_sites_kernel, count_blocks(task.n_sites, kThreads), kThreads, 0, task);
}

void bin_sites(const SiteBinTask& task, const Stream& stream) {
  launch(stream, bin_sites_kernel, count_blocks(task.n_sites, kThreads), kThreads, 0, task);
}

void sort_positions(int n, const int* sites, const double* positions, double* sorted, const Stream& stream) {
  launch(stream, sort_positions_kernel, count_blocks(std::int64_t{3} * n, kThreads), kThreads, 0, n, sites, positions, sorted);
}

void search_neighbours(const ListTask& task, const Stream& stream) {
  launch(stream, search_neighbours_kernel, count_blocks(std::int64_t{task.n_owned} * kWarp, kSearchThreads), kSearchThreads, 0, task);
}

void gather(int n, const int* order, const int* from, int* to, const Stream& stream) {
  launch(stream, gather_kernel, count_blocks(n, kThreads), kThreads, 0, n, order, from, to);
}

}  // namespace so3md::cuda
