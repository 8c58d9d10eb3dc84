#include "geometry/neighbour_search.h"

#include <algorithm>
#include <limits>

namespace so3md {

namespace {

constexpr int kBlock = 64;  // distances computed at a time: they stay in the first cache
static_assert(kBlock % BinGrid::kGroup == 0);

// Bins given to a thread at a time.
constexpr int kGrain = 1;

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

class Search {
 public:
  Search(const BinGrid& grid, std::vector<NeighbourRows>& lists) : grid_(grid), lists_(lists), far_(0) {
    for (const NeighbourRows& list : lists) {
      thresholds_.push_back(thresholds(list, grid));
      far_ = std::max(far_, thresholds_.back().look);
    }
    site_.resize(static_cast<std::size_t>(grid.n_shifts()) * grid.n_atoms());
  }

  void count(const BinGrid::Bin& bin, std::vector<BinGrid::NearbyBin>& nearby);
  std::vector<Image> number_sites();
  void fill(const BinGrid::Bin& bin, std::vector<BinGrid::NearbyBin>& nearby);

 private:
  struct Point {
    FloatVec3 position;  // from the corner of the bin
    int internal;
  };

  Point point(const BinGrid::Bin& bin, int index) const {
    const int at = bin.first_padded + index;
    return {{grid_.coordinates(0)[at], grid_.coordinates(1)[at], grid_.coordinates(2)[at]}, bin.first + index};
  }

  // Calls body(nearby bin, squared distance to its box, squared distances to some of its atoms, the first of them, how many) for all
  // bins near a point. The distance of the point to itself is replaced by infinity.
  template <class Body>
  void for_blocks(const Point& point, const std::vector<BinGrid::NearbyBin>& nearby, const Body& body) const;

  // site_[shift number * n_atoms + internal number]: first whether the image is in a list, then its site.
  int* sites_of_shift(int shift) { return site_.data() + static_cast<std::size_t>(shift) * grid_.n_atoms(); }

  const BinGrid& grid_;
  std::vector<NeighbourRows>& lists_;
  std::vector<Thresholds> thresholds_;
  float far_;
  std::vector<int> site_;
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
  for (const BinGrid::NearbyBin& near : nearby) {
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
      body(near, gap, squared, bin.first + first, count);
    }
  }
}

void Search::count(const BinGrid::Bin& bin, std::vector<BinGrid::NearbyBin>& nearby) {
  grid_.find_nearby(bin, nearby);
  for (int index = 0; index < bin.count; ++index) {
    const Point centre = point(bin, index);
    for_blocks(centre, nearby, [&](const BinGrid::NearbyBin& near, float, const float* squared, int, int count) {
      bool any = false;
      for (std::size_t l = 0; l < lists_.size(); ++l) {
        const float accept = thresholds_[l].accept;
        const int found = count_close(squared, accept, count);
        lists_[l].offsets[centre.internal + 1] += found;
        any |= found > 0;
      }
      // If an atom meets an image with shift s, then the owner of that image meets this atom's image with shift -s. Marking the image of
      // the centre, not that of the neighbour, means that no two threads write to the same place.
      if (any) sites_of_shift(grid_.n_shifts() - 1 - near.shift)[centre.internal] = 1;
    });
  }
}

std::vector<Image> Search::number_sites() {
  const int n = grid_.n_atoms();
  std::vector<Image> images;
  for (int number = 0; number < grid_.n_shifts(); ++number) {
    int* sites = sites_of_shift(number);
    if (number == grid_.zero_shift()) {
      for (int j = 0; j < n; ++j) sites[j] = j;
      continue;
    }
    const Shift shift = grid_.shift(number);
    for (int j = 0; j < n; ++j) {
      if (!sites[j]) continue;
      sites[j] = n + static_cast<int>(images.size());
      images.push_back({j, shift});
    }
  }
  return images;
}

void Search::fill(const BinGrid::Bin& bin, std::vector<BinGrid::NearbyBin>& nearby) {
  grid_.find_nearby(bin, nearby);
  std::vector<int*> next(lists_.size());
  for (int index = 0; index < bin.count; ++index) {
    const Point centre = point(bin, index);
    for (std::size_t l = 0; l < lists_.size(); ++l) next[l] = lists_[l].sites.data() + lists_[l].offsets[centre.internal];
    for_blocks(centre, nearby, [&](const BinGrid::NearbyBin& near, float gap, const float* squared, int first, int count) {
      const int* sites = sites_of_shift(near.shift) + first;
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

}  // namespace

std::vector<Image> find_neighbours(const BinGrid& grid, std::vector<NeighbourRows>& lists, ThreadPool& pool) {
  for (NeighbourRows& list : lists) list.offsets.assign(grid.n_atoms() + 1, 0);
  Search search(grid, lists);
  std::vector<std::vector<BinGrid::NearbyBin>> nearby(pool.size());  // per thread
  const auto for_bins = [&](auto work) {
    pool.parallel_for(static_cast<int>(grid.bins().size()), kGrain, [&](int begin, int end, int thread) {
      for (int bin = begin; bin < end; ++bin) work(grid.bins()[bin], nearby[thread]);
    });
  };

  for_bins([&](const auto& bin, auto& scratch) { search.count(bin, scratch); });
  std::vector<Image> images = search.number_sites();
  for (NeighbourRows& list : lists) {
    for (int i = 0; i < grid.n_atoms(); ++i) list.offsets[i + 1] += list.offsets[i];
    const auto total = static_cast<std::size_t>(list.offsets.back());
    if (total > list.sites.capacity()) {
      // Some room, so that the few per cent by which lists differ do not reallocate every time; not the factor 2 of std::vector.
      list.sites = {};
      list.sites.reserve(total + total / 16);
    }
    list.sites.resize(total);
  }
  for_bins([&](const auto& bin, auto& scratch) { search.fill(bin, scratch); });
  return images;
}

}  // namespace so3md
