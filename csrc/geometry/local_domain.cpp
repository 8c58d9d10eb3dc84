#include "geometry/local_domain.h"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <limits>
#include <span>

#include "common/index.h"

namespace so3md {

namespace {

std::atomic<std::int64_t> builds{0};  // of all domains

constexpr int kSiteGrain = 4096;  // sites that a thread places at a time: fewer are not worth waking a thread

// By internal number of the grid; empty where this process owns all.
std::vector<PointRole> roles_of(const std::vector<int>& point_of, const AtomOwner* owners, int process) {
  std::vector<PointRole> roles;
  if (owners == nullptr) return roles;
  for (int point : point_of) {
    const AtomOwner& owner = owners[point];
    roles.push_back(owner.process != process ? PointRole::remote : owner.point == point ? PointRole::owned : PointRole::image);
  }
  return roles;
}

// Upper bound of the distance between two points, wrapped into the cell, A.
double spread(const BinGrid& grid, const double* positions, const Cell& cell) {
  Vec3 low, high;
  low.fill(std::numeric_limits<double>::infinity());
  high.fill(-std::numeric_limits<double>::infinity());
  for (int k = 0; k < grid.n_atoms(); ++k) {
    const Shift& wrap = grid.wraps()[index_of(k)];
    const Vec3 shift = multiply({double(wrap[0]), double(wrap[1]), double(wrap[2])}, cell.vectors());
    const double* r = positions + 3 * index_of(grid.order()[index_of(k)]);
    for (std::size_t c = 0; c < 3; ++c) {
      low[c] = std::min(low[c], r[c] + shift[c]);
      high[c] = std::max(high[c], r[c] + shift[c]);
    }
  }
  return std::hypot(high[0] - low[0], high[1] - low[1], high[2] - low[2]);
}

// Before pairs are counted: for too many of them that takes long.
void require_memory(const BinGrid& grid, const double* positions, int n_owned, const Cell& cell, const std::vector<NeighbourRows>& lists) {
  constexpr double kSafely = 0.9;  // the exact numbers are looked at when they are known
  const int n = grid.n_atoms();
  if (n == 0) return;
  const double spread_of_points = spread(grid, positions, cell);
  double bytes = 0;
  for (const NeighbourRows& list : lists) {
    const double neighbours = expected_neighbours(n, list.radius, spread_of_points, cell);
    bytes += neighbours * kBytesPerPair * n_owned - kBytesPerPair * double(list.sites.capacity());
    if (cell.any_periodic()) bytes += neighbours * kBytesPerSite;
  }
  require_memory_for_lists(kSafely * bytes, grid.radius());
}

}  // namespace

LocalDomain::LocalDomain(double short_radius, double long_radius) : long_radius_(long_radius) {
  lists_.push_back({short_radius, {0}, {}});
  if (long_radius > 0 && std::isfinite(long_radius)) lists_.push_back({long_radius, {0}, {}});
}

void LocalDomain::build(int n_points, const double* positions, const Cell& cell, const AtomOwner* owners, int process, ThreadPool& pool) {
  double radius = 0;
  for (const NeighbourRows& list : lists_) radius = std::max(radius, list.radius);
  const BinGrid grid(n_points, positions, cell, radius);
  const std::vector<PointRole> roles = roles_of(grid.order(), owners, process);
  const auto owned = roles.empty() ? n_points : static_cast<int>(std::count(roles.begin(), roles.end(), PointRole::owned));
  require_memory(grid, positions, owned, cell, lists_);
  FoundSites found = find_neighbours(grid, roles, lists_, pool);
  if (std::isinf(long_radius_)) add_all_points(grid, roles, found);

  build_ = ++builds;
  n_owned_ = static_cast<int>(found.owned.size());
  n_interior_ = found.n_interior;
  wraps_.resize(index_of(n_points));
  for (int k = 0; k < n_points; ++k) wraps_[index_of(grid.order()[index_of(k)])] = grid.wraps()[index_of(k)];
  points_.clear();
  shifts_.clear();
  for (int internal : found.owned) {
    points_.push_back(grid.order()[index_of(internal)]);
    shifts_.push_back(grid.wraps()[index_of(internal)]);
  }
  for (const Site& site : found.others) {
    const Shift& wrap = grid.wraps()[index_of(site.point)];
    points_.push_back(grid.order()[index_of(site.point)]);
    shifts_.push_back({wrap[0] + site.shift[0], wrap[1] + site.shift[1], wrap[2] + site.shift[2]});
  }
  std::vector<int> in_short_list;
  for (const Site& site : found.others) in_short_list.push_back(site.in_short_list ? 1 : 0);
  const std::span<const AtomOwner> all_owners(owners, owners == nullptr ? 0 : index_of(n_points));
  slots_ = number_slots(n_owned_, n_points, points_, in_short_list, all_owners, process);
  place(positions, cell, pool);
}

// Without a cutoff, every point is a neighbour of every other: all need a site.
void LocalDomain::add_all_points(const BinGrid& grid, const std::vector<PointRole>& roles, FoundSites& found) const {
  if (roles.empty()) return;
  std::vector<char> present(roles.size(), 0);
  for (const Site& site : found.others) present[index_of(site.point)] = 1;
  for (int internal = 0; internal < grid.n_atoms(); ++internal)
    if (roles[index_of(internal)] != PointRole::owned && present[index_of(internal)] == 0)
      found.others.push_back({internal, {0, 0, 0}, false});
}

void LocalDomain::place(const double* positions, const Cell& cell, ThreadPool& pool) {
  positions_.resize(3 * points_.size());
  pool.parallel_for(static_cast<int>(points_.size()), kSiteGrain, [&](int begin, int end, int) {
    for (int site = begin; site < end; ++site) {
      const auto& [a, b, c] = shifts_[index_of(site)];
      const Vec3 translation = multiply({double(a), double(b), double(c)}, cell.vectors());
      const double* r = positions + 3 * index_of(points_[index_of(site)]);
      for (std::size_t k = 0; k < 3; ++k) positions_[3 * index_of(site) + k] = r[k] + translation[k];
    }
  });
}

Domain LocalDomain::domain() const {
  Domain domain;
  domain.n_owned = n_owned_;
  domain.n_interior = n_interior_;
  domain.n_near = slots_.n_near;
  domain.n_far = static_cast<int>(slots_.halo.size()) - slots_.n_near;
  domain.build = build_;
  domain.n_sites = static_cast<int>(points_.size());
  domain.slot = slots_.slot.data();
  domain.positions = positions_.data();
  domain.short_offsets = lists_[0].offsets.data();
  domain.short_sites = lists_[0].sites.data();
  if (lists_.size() > 1) {
    domain.long_offsets = lists_[1].offsets.data();
    domain.long_sites = lists_[1].sites.data();
  }
  return domain;
}

}  // namespace so3md
