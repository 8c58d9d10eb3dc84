#include "cuda/lists/list_kernels.h"
#include "cuda/lists/transform.h"
#include "cuda/warp.h"
#include "geometry/neighbour_search.h"

namespace so3md::cuda {

namespace {

constexpr int kThreads = 256;
constexpr int kSearchThreads = 128;

// Bins on either side in which a neighbour can be: bins are at least half the longest radius wide.
constexpr int kReach = 2;

/// The lists of one atom as they grow.
struct ListEnds {
  std::int64_t short_end = 0, long_end = 0;
  bool near_remote = false;
};

/// What is to be known of a neighbour of processes that share points. Marks only ever gain bits, so that their order does not matter, nor
/// whether another thread's are seen.
__device__ void note_neighbour(const ListTask& task, int site, bool is_short, ListEnds& ends) {
  if (site < task.n_owned) return;
  const int bits = is_short ? kInAnyList | kInShortList : kInAnyList;
  int* mark = task.shared.marks + (site - task.n_owned);
  if ((*mark & bits) != bits) atomicOr(mark, bits);
  constexpr auto kRemote = static_cast<unsigned char>(PointRole::remote);
  if (is_short && task.shared.roles[task.shared.point[site]] == kRemote) ends.near_remote = true;
}

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
    if (task.short_offsets == nullptr) {
      if (task.shared.marks != nullptr && (is_short || is_long)) note_neighbour(task, site, is_short, ends);
    } else {
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
  if (fill) ends = {task.short_offsets[i], task.long_offsets[i], false};
  for (int a = low[0]; a <= high[0]; ++a)
    for (int b = low[1]; b <= high[1]; ++b) {
      const std::int64_t row = (static_cast<std::int64_t>(a) * task.grid.count[1] + b) * task.grid.count[2];
      search_range(task, i, center, task.first[row + low[2]], task.first[row + high[2] + 1], ends);
    }
  const bool near_remote = __any_sync(kFullWarp, ends.near_remote ? 1 : 0) != 0;
  if (fill || lane_number() != 0) return;
  if (task.shared.near_remote != nullptr) task.shared.near_remote[i] = near_remote ? 1 : 0;
  task.short_counts[i] = static_cast<int>(ends.short_end);
  task.long_counts[i] = static_cast<int>(ends.long_end);
  atomicMax(task.most, static_cast<int>(ends.short_end));
}

__global__ void find_kept_kernel(int n, const int* marks, bool all, int* kept) {
  const std::int64_t at = global_thread();
  if (at < n) kept[at] = all || marks[at] != 0 ? 1 : 0;
}

__global__ void renumber_sites_kernel(RenumberTask task) {
  const std::int64_t site = global_thread();
  if (site >= task.n_sites) return;
  std::int64_t to = -1;
  if (site < task.n_owned) {
    const std::int64_t boundary = task.boundary[site];
    to = task.near_remote[site] != 0 ? task.n_interior + boundary : site - boundary;
    task.new_short_counts[to] = task.short_counts[site];
    task.new_long_counts[to] = task.long_counts[site];
  } else if (const std::int64_t other = site - task.n_owned; task.kept[other] != 0) {
    to = task.n_owned + task.others[other];
    task.in_short_list[task.others[other]] = (task.marks[other] & kInShortList) != 0 ? 1 : 0;
  }
  task.site_of[site] = static_cast<int>(to);
  if (to < 0) return;
  task.to.point[to] = task.from.point[site];
  task.to.shift[to] = task.from.shift[site];
}

__global__ void relabel_kernel(int n, const int* site_of, int* sites) {
  const std::int64_t at = global_thread();
  if (at < n) sites[at] = site_of[sites[at]];
}

}  // namespace

void search_neighbours(const ListTask& task, const Stream& stream) {
  launch(stream, search_neighbours_kernel, count_blocks(std::int64_t{task.n_owned} * kWarp, kSearchThreads), kSearchThreads, 0, task);
}

void find_kept(int n, const int* marks, bool all, int* kept, const Stream& stream) {
  launch(stream, find_kept_kernel, count_blocks(n, kThreads), kThreads, 0, n, marks, all, kept);
}

void renumber_sites(const RenumberTask& task, const Stream& stream) {
  launch(stream, renumber_sites_kernel, count_blocks(task.n_sites, kThreads), kThreads, 0, task);
}

void relabel(int n, const int* site_of, int* sites, const Stream& stream) {
  launch(stream, relabel_kernel, count_blocks(n, kThreads), kThreads, 0, n, site_of, sites);
}

}  // namespace so3md::cuda
