#include "geometry/neighbour_search.h"

#include <algorithm>
#include <atomic>
#include <limits>
#include <numbers>
#include <string>

#include "common/discard.h"
#include "common/number_text.h"
#include "common/resources.h"

namespace so3md {

namespace {

constexpr int kBlock = 64;  // distances computed at a time: they stay in the first cache
static_assert(kBlock % BinGrid::kGroup == 0);

// Bins given to a thread at a time.
constexpr int kBinsPerTask = 1;

struct Thresholds {
  float accept;  // squared distance up to which a pair is listed
  float look;    // squared distance from the box of a bin up to which its atoms are looked at
};

// The two differ by more than the rounding errors, so that looking only at near boxes never drops a pair that would be accepted: a pair
// accepted from one end is accepted from the other.
Thresholds thresholds(const NeighbourRows& list, const BinGrid& grid) {
  const double accept = list.radius + grid.guard();
  const double look = list.radius + 2 * grid.guard();
  return {static_cast<float>(accept * accept), static_cast<float>(look * look)};
}

// What a search learns of a site before sites are numbered: bits.
constexpr unsigned char kInAnyList = 1;
constexpr unsigned char kInShortList = 2;

// Working memory of a thread.
struct Scratch {
  std::vector<BinGrid::NearbyBin> nearby;  // of the bin at hand
  std::vector<int> first;                  // [nearby bins] where the atoms of a nearby bin start in `closest`
  std::vector<float> closest;              // smallest squared distance of a site from the owned points of the bin at hand
};

class Search {
 public:
  Search(const BinGrid& grid, const std::vector<PointRole>& roles, std::vector<NeighbourRows>& lists)
      : grid_(grid), roles_(roles), lists_(lists), far_(0) {
    for (const NeighbourRows& list : lists) {
      thresholds_.push_back(thresholds(list, grid));
      far_ = std::max(far_, thresholds_.back().look);
    }
    const auto points = static_cast<std::size_t>(grid.n_atoms());
    require_memory_for_lists(double(grid.n_shifts()) * double(points) * (sizeof(marks_[0]) + sizeof(site_[0])), grid.radius());
    counts_.resize(lists.size() * points);
    near_remote_.resize(points);
    marks_.resize(static_cast<std::size_t>(grid.n_shifts()) * points);
    site_.resize(marks_.size());
  }

  // The three steps of a search, the first and last of them for every bin.
  void count(const BinGrid::Bin& bin, Scratch& scratch);
  FoundSites number_sites();
  void fill(const BinGrid::Bin& bin, Scratch& scratch);

 private:
  struct Point {
    FloatVec3 position;  // from the corner of the bin
    int internal;
  };

  Point point(const BinGrid::Bin& bin, int index) const {
    const int at = bin.first_padded + index;
    return {{grid_.coordinates(0)[at], grid_.coordinates(1)[at], grid_.coordinates(2)[at]}, bin.first + index};
  }

  PointRole role(int internal) const { return roles_.empty() ? PointRole::owned : roles_[static_cast<std::size_t>(internal)]; }
  bool any_owned(const BinGrid::Bin& bin) const;
  bool is_marked(const BinGrid::NearbyBin& near) const;
  void prepare_marks(Scratch& scratch) const;
  void mark(const Scratch& scratch);
  bool has_remote(const float* squared, int first, int count) const;
  void set_offsets(const FoundSites& found);

  // Calls body(number of a nearby bin, squared distance to its box, squared distances to some of its atoms, the first of them, how many)
  // for all bins near a point. The distance of the point to itself is replaced by infinity.
  template <class Body>
  void for_blocks(const Point& point, const std::vector<BinGrid::NearbyBin>& nearby, const Body& body) const;

  // Sites and their marks: [shift number][internal number].
  std::size_t first_of_shift(int shift) const { return static_cast<std::size_t>(shift) * static_cast<std::size_t>(grid_.n_atoms()); }
  int* counts(std::size_t list) { return counts_.data() + list * static_cast<std::size_t>(grid_.n_atoms()); }

  const BinGrid& grid_;
  const std::vector<PointRole>& roles_;
  std::vector<NeighbourRows>& lists_;
  std::vector<Thresholds> thresholds_;
  float far_;
  std::vector<int> counts_;        // [lists][points]
  std::vector<char> near_remote_;  // [points] whether a remote point is in the short list
  std::vector<unsigned char> marks_;
  std::vector<int> site_;
  std::vector<int> row_;  // [points] row of an owned point
};

float squared_gap(const FloatVec3& position, const BinGrid::NearbyBin& box) {
  float sum = 0;
  for (int k = 0; k < 3; ++k) {
    const float gap = std::max({0.0f, box.low[k] - position[k], position[k] - box.high[k]});
    sum += gap * gap;
  }
  return sum;
}

// The order of the operations makes the result exactly the same for the reversed pair (opposite corner).
inline void squared_distances(const FloatVec3& from, const FloatVec3& corner, const float* x, const float* y, const float* z, int count,
                              float* result) {
  for (int begin = 0; begin < count; begin += BinGrid::kGroup) {
    for (int j = begin; j < begin + BinGrid::kGroup; ++j) {
      const float dx = (x[j] - from[0]) + corner[0];
      const float dy = (y[j] - from[1]) + corner[1];
      const float dz = (z[j] - from[2]) + corner[2];
      result[j] = dx * dx + dy * dy + dz * dz;
    }
  }
}

int count_close(const float* squared, float accept, int count) {
  int found = 0;
  for (int begin = 0; begin < count; begin += BinGrid::kGroup) {
    for (int j = begin; j < begin + BinGrid::kGroup; ++j) found += squared[j] <= accept;
  }
  return found;
}

// Not inlined: in the midst of its caller, GCC keeps the pointers in memory, which doubles the time of the whole search.
[[gnu::noinline]] int collect_close(const float* squared, float accept, const int* sites, int count, int* found) {
  int n_found = 0;
  for (int j = 0; j < count; ++j) {
    found[n_found] = sites[j];  // written in any case: a branch would often be mispredicted
    n_found += squared[j] <= accept;
  }
  return n_found;
}

template <class Body>
void Search::for_blocks(const Point& point, const std::vector<BinGrid::NearbyBin>& nearby, const Body& body) const {
  alignas(64) float squared[kBlock];
  for (std::size_t number = 0; number < nearby.size(); ++number) {
    const BinGrid::NearbyBin& near = nearby[number];
    const float gap = squared_gap(point.position, near);
    if (gap > far_) continue;
    const BinGrid::Bin& bin = grid_.bins()[near.bin];
    for (int first = 0; first < bin.count; first += kBlock) {
      const int count = std::min(kBlock, bin.count - first);
      const int at = bin.first_padded + first;
      squared_distances(point.position, near.corner, grid_.coordinates(0) + at, grid_.coordinates(1) + at, grid_.coordinates(2) + at, count,
                        squared);
      const int self = point.internal - bin.first - first;
      if (near.shift == grid_.zero_shift() && self >= 0 && self < count) squared[self] = std::numeric_limits<float>::infinity();
      body(number, gap, squared, bin.first + first, count);
    }
  }
}

bool Search::any_owned(const BinGrid::Bin& bin) const {
  if (roles_.empty()) return true;
  const auto first = roles_.begin() + bin.first;
  return std::find(first, first + bin.count, PointRole::owned) != first + bin.count;
}

// Without roles, the points themselves are sites in any case.
bool Search::is_marked(const BinGrid::NearbyBin& near) const { return !roles_.empty() || near.shift != grid_.zero_shift(); }

void Search::prepare_marks(Scratch& scratch) const {
  scratch.first.clear();
  int size = 0;
  for (const BinGrid::NearbyBin& near : scratch.nearby) {
    scratch.first.push_back(size);
    if (is_marked(near)) size += grid_.bins()[static_cast<std::size_t>(near.bin)].count;
  }
  scratch.closest.assign(static_cast<std::size_t>(size), std::numeric_limits<float>::infinity());
}

// Marks the sites that are close enough to any point of a bin. Several threads may meet the same site.
void Search::mark(const Scratch& scratch) {
  for (std::size_t number = 0; number < scratch.nearby.size(); ++number) {
    const BinGrid::NearbyBin& near = scratch.nearby[number];
    if (!is_marked(near)) continue;
    const BinGrid::Bin& bin = grid_.bins()[static_cast<std::size_t>(near.bin)];
    const float* closest = scratch.closest.data() + scratch.first[number];
    unsigned char* marks = marks_.data() + first_of_shift(near.shift) + bin.first;
    for (int j = 0; j < bin.count; ++j) {
      unsigned char bits = 0;
      for (std::size_t l = 0; l < lists_.size(); ++l)
        if (closest[j] <= thresholds_[l].accept) bits |= l == 0 ? kInAnyList | kInShortList : kInAnyList;
      std::atomic_ref<unsigned char> shared(marks[j]);
      if ((shared.load(std::memory_order_relaxed) & bits) != bits) shared.fetch_or(bits, std::memory_order_relaxed);
    }
  }
}

// Whether a remote point of a block is in the first list.
bool Search::has_remote(const float* squared, int first, int count) const {
  for (int j = 0; j < count; ++j)
    if (squared[j] <= thresholds_[0].accept && role(first + j) == PointRole::remote) return true;
  return false;
}

void Search::count(const BinGrid::Bin& bin, Scratch& scratch) {
  if (!any_owned(bin)) return;
  grid_.find_nearby(bin, scratch.nearby);
  prepare_marks(scratch);
  for (int index = 0; index < bin.count; ++index) {
    const Point centre = point(bin, index);
    if (role(centre.internal) != PointRole::owned) continue;
    for_blocks(centre, scratch.nearby, [&](std::size_t number, float gap, const float* squared, int first, int count) {
      for (std::size_t l = 0; l < lists_.size(); ++l)
        if (gap <= thresholds_[l].look) counts(l)[centre.internal] += count_close(squared, thresholds_[l].accept, count);
      const BinGrid::NearbyBin& near = scratch.nearby[number];
      if (!is_marked(near)) return;
      // Sites are marked bin by bin and not pair by pair: that would take longer than all the rest.
      float* closest = scratch.closest.data() + scratch.first[number] + (first - grid_.bins()[static_cast<std::size_t>(near.bin)].first);
      for (int j = 0; j < count; ++j) closest[j] = std::min(closest[j], squared[j]);
      if (!roles_.empty() && has_remote(squared, first, count)) near_remote_[static_cast<std::size_t>(centre.internal)] = 1;
    });
  }
  mark(scratch);
}

FoundSites Search::number_sites() {
  FoundSites found;
  const int n = grid_.n_atoms();
  const auto collect = [&](char wanted) {
    for (int j = 0; j < n; ++j)
      if (role(j) == PointRole::owned && near_remote_[static_cast<std::size_t>(j)] == wanted) found.owned.push_back(j);
  };
  collect(0);
  found.n_interior = static_cast<int>(found.owned.size());
  collect(1);
  row_.assign(static_cast<std::size_t>(n), -1);
  for (std::size_t row = 0; row < found.owned.size(); ++row) row_[static_cast<std::size_t>(found.owned[row])] = static_cast<int>(row);
  for (int number = 0; number < grid_.n_shifts(); ++number) {
    const std::size_t first = first_of_shift(number);
    const Shift shift = grid_.shift(number);
    for (int j = 0; j < n; ++j) {
      const std::size_t at = first + static_cast<std::size_t>(j);
      if (number == grid_.zero_shift() && role(j) == PointRole::owned) {
        site_[at] = row_[static_cast<std::size_t>(j)];
      } else if (marks_[at] != 0) {
        site_[at] = static_cast<int>(found.owned.size() + found.others.size());
        found.others.push_back({j, shift, (marks_[at] & kInShortList) != 0});
      }
    }
  }
  set_offsets(found);
  return found;
}

void Search::set_offsets(const FoundSites& found) {
  double bytes = kBytesPerSite * double(found.others.size());
  for (std::size_t l = 0; l < lists_.size(); ++l) {
    NeighbourRows& list = lists_[l];
    list.offsets.assign(1, 0);
    for (int internal : found.owned) list.offsets.push_back(list.offsets.back() + counts(l)[internal]);
    bytes += kBytesPerPair * (double(list.offsets.back()) - double(list.sites.capacity()));  // beyond what there is
  }
  require_memory_for_lists(bytes, grid_.radius());
  for (NeighbourRows& list : lists_) resize_discarding(list.sites, static_cast<std::size_t>(list.offsets.back()));
}

void Search::fill(const BinGrid::Bin& bin, Scratch& scratch) {
  if (!any_owned(bin)) return;
  grid_.find_nearby(bin, scratch.nearby);
  std::vector<int*> next(lists_.size());
  for (int index = 0; index < bin.count; ++index) {
    const Point centre = point(bin, index);
    if (role(centre.internal) != PointRole::owned) continue;
    const int row = row_[static_cast<std::size_t>(centre.internal)];
    for (std::size_t l = 0; l < lists_.size(); ++l) next[l] = lists_[l].sites.data() + lists_[l].offsets[static_cast<std::size_t>(row)];
    for_blocks(centre, scratch.nearby, [&](std::size_t number, float gap, const float* squared, int first, int count) {
      const int* sites = site_.data() + first_of_shift(scratch.nearby[number].shift) + first;
      for (std::size_t l = 0; l < lists_.size(); ++l) {
        if (gap > thresholds_[l].look) continue;
        const float accept = thresholds_[l].accept;
        int found[kBlock];
        const int n_found = collect_close(squared, accept, sites, count, found);
        next[l] = std::copy_n(found, n_found, next[l]);
      }
    });
  }
}

[[noreturn]] void refuse_lists(double bytes, double radius, const std::string& memory, double available, const std::string& several) {
  throw ListsTooLarge("the neighbour lists within " + number_text(radius) + " A (cutoff and skin) need " + bytes_text(bytes) + " of " +
                      memory + ", and " + bytes_text(available) +
                      " are free: shorten the long-range cutoff (lr_cutoff), or take a smaller system or " + several);
}

}  // namespace

void require_memory_for_lists(double bytes, double radius) {
  constexpr double kSmall = 256e6;  // to ask the system takes longer than to make a short list
  if (bytes < kSmall) return;
  const auto available = available_memory();
  if (!available || bytes < *available) return;
  refuse_lists(bytes, radius, "memory", *available, "several processes");
}

void require_memory_of_gpu_for_lists(double bytes, double radius, double available) {
  if (bytes > available) refuse_lists(bytes, radius, "memory of the GPU", available, "several GPUs");
}

// As many as there are points for every lattice vector that is so short that all pairs are within the radius; in a cell that is periodic
// along all directions, the mean number, whatever the spread.
double expected_neighbours(int n, double radius, double spread, const Cell& cell) {
  const int directions = int{cell.periodic(0)} + int{cell.periodic(1)} + int{cell.periodic(2)};
  const double r = directions == 3 ? radius : radius - spread;
  if (r <= 0) return 0;
  // Vectors of directions that do not repeat have the length 1: the volume is that of a cell, the area of a slab, the length of a wire.
  const double points = n / cell.volume();
  const double reach[] = {1.0, 2.0 * r, std::numbers::pi * r * r, 4.0 / 3.0 * std::numbers::pi * r * r * r};
  return points * reach[directions];
}

FoundSites find_neighbours(const BinGrid& grid, const std::vector<PointRole>& roles, std::vector<NeighbourRows>& lists, ThreadPool& pool) {
  Search search(grid, roles, lists);
  std::vector<Scratch> scratch(static_cast<std::size_t>(pool.size()));  // per thread
  const auto for_bins = [&](auto work) {
    pool.parallel_for(static_cast<int>(grid.bins().size()), kBinsPerTask, [&](int begin, int end, int thread) {
      for (int bin = begin; bin < end; ++bin) work(grid.bins()[static_cast<std::size_t>(bin)], scratch[static_cast<std::size_t>(thread)]);
    });
  };
  for_bins([&](const auto& bin, Scratch& of_thread) { search.count(bin, of_thread); });
  FoundSites found = search.number_sites();
  for_bins([&](const auto& bin, Scratch& of_thread) { search.fill(bin, of_thread); });
  return found;
}

}  // namespace so3md
