#include <algorithm>
#include <array>
#include <atomic>
#include <bit>
#include <cmath>
#include <limits>
#include <utility>

#include "common/number_text.h"
#include "cuda/lists/point_lists.h"
#include "geometry/bin_grid.h"
#include "geometry/neighbour_list.h"
#include "geometry/neighbour_search.h"

namespace so3md::cuda {

namespace {

constexpr double kOrderBin = 4.0;    // A: atoms of a bin follow each other, so that neighbours are near in memory
constexpr int kMostBinsPerSite = 4;  // of a grid, beside a few: in dilute systems bins become larger instead
constexpr double kInfinity = std::numeric_limits<double>::infinity();

// Numbers of lists count down, so that they are never those of a host's domain.
std::atomic<std::int64_t> builds{0};

std::size_t size_of(std::int64_t count) { return static_cast<std::size_t>(count); }

CellView view_of(const Cell& cell) {
  CellView view;
  for (int row = 0; row < 3; ++row) {
    for (int c = 0; c < 3; ++c) {
      view.vectors[3 * row + c] = cell.vectors()[row][c];
      view.inverse[3 * row + c] = cell.inverse()[row][c];
    }
    view.periodic[row] = cell.periodic(row);
  }
  return view;
}

// Bins of at least `edge` (A) between the faces of the cell, over low .. high in fractional coordinates; not many more than points.
BinGridView make_grid(const Cell& cell, const double* low, const double* high, double edge, std::int64_t points) {
  BinGridView grid;
  for (;; edge *= 1.5) {
    for (int k = 0; k < 3; ++k) {
      const double bins = std::floor((high[k] - low[k]) * cell.height(k) / edge);
      grid.count[k] = static_cast<int>(std::clamp(bins, 1.0, 1e4));
      grid.low[k] = low[k];
      grid.per_unit[k] = high[k] > low[k] ? grid.count[k] / (high[k] - low[k]) : 0.0;
    }
    if (grid.total() <= kMostBinsPerSite * points + 64) return grid;
  }
}

template <class T>
std::vector<T> download(const DeviceArray<T>& from, std::size_t count, const Stream& stream) {
  std::vector<T> numbers(count);
  copy_to_host(numbers.data(), from.data(), count * sizeof(T), stream);
  stream.synchronize();
  return numbers;
}

}  // namespace

PointLists::PointLists(double short_cutoff, double long_cutoff, double skin, ThreadPool& pool)
    : short_radius_(short_cutoff + skin),
      long_radius_(long_cutoff > 0.0 ? long_cutoff + skin : 0.0),
      skin_(skin),
      pool_(pool),
      cell_(std::array<double, 9>{}.data(), {false, false, false}),
      boxes_(1),
      most_(1) {}

bool PointLists::all_pairs() const { return std::isinf(long_radius_); }

bool PointLists::are_old(const PointSystem& system) const {
  if (view_.build == 0 || system.n != n_points_ || system.points != points_ || !system.cell->same_periodicity(cell_)) return true;
  if (system.host_decides) return false;
  const double radii[] = {short_radius_, longest()};
  return !age_.complete({system.positions, 3 * size_of(system.n)}, *system.cell, radii, skin_, pool_);
}

void PointLists::take(const PointSystem& system, const Stream& stream) {
  require_usable_positions(system.n, system.positions);
  stage(system);
  stage_paths(system);
  update_species(system, false, stream);
}

void PointLists::stage(const PointSystem& system) {
  const std::size_t numbers = 3 * size_of(system.n);
  staged_.resize(numbers + 9);
  std::copy_n(system.positions, numbers, staged_.data());
  for (std::size_t row = 0; row < 3; ++row) std::copy_n(system.cell->vectors()[row].data(), 3, staged_.data() + numbers + 3 * row);
}

void PointLists::stage_paths(const PointSystem& system) {
  has_paths_ = system.unwrapped != nullptr;
  if (!has_paths_) return;
  staged_paths_.resize(std::size_t{3} * size_of(view_.n_owned));
  std::copy_n(system.unwrapped, staged_paths_.size(), staged_paths_.data());
}

AtomPaths PointLists::paths() const {
  if (has_paths_) return {paths_.data(), result_rows()};
  return {given_.data(), site_point_.data()};
}

void PointLists::upload_positions(const Stream& stream) {
  given_.resize(staged_.size());
  copy_to_device(given_.data(), staged_.data(), staged_.size() * sizeof(double), stream);
}

void PointLists::place(const Stream& stream) {
  upload_positions(stream);
  place_sites_again(stream);
  if (!has_paths_) return;
  paths_.resize(staged_paths_.size());
  copy_to_device(paths_.data(), staged_paths_.data(), staged_paths_.size() * sizeof(double), stream);
}

void PointLists::place_sites_again(const Stream& stream) {
  place_sites({view_.n_sites, sites(), given_.data(), given_.data() + std::size_t{3} * size_of(n_points_), positions_.data()}, stream);
}

int PointLists::point_of_slot(int slot, const Stream& stream) const {
  if (shared_) return slots_.point_of_slot[size_of(slot)];
  int point = 0;
  copy_to_host(&point, site_point_.data() + slot, sizeof(int), stream);
  stream.synchronize();
  return point;
}

void PointLists::build(const PointSystem& system, const Stream& stream) {
  view_ = {};  // until everything below has succeeded
  require_usable_positions(system.n, system.positions);
  refuse_thin_cell(*system.cell, longest());
  n_points_ = system.n;
  shared_ = system.sharing != nullptr;
  cell_ = *system.cell;
  points_ = system.points;
  age_.start({system.positions, 3 * size_of(system.n)}, cell_);
  stage(system);
  upload_positions(stream);
  take_owners(system, stream);
  wrap(system, stream);
  require_memory();
  order_points(system, stream);
  make_sites(system, stream);
  place_sites_again(stream);
  sort_sites(cell_, stream);
  count_neighbours(stream);
  if (shared_) number_shared_sites(system, stream);
  fill_lists(stream);
  stage_paths(system);
  update_species(system, true, stream);
  ++rebuilds_;
  view_.build = --builds;
}

// Before pairs are counted, as the host does: for too many of them that takes long.
void PointLists::require_memory() const {
  constexpr double kSafely = 0.9;  // the exact numbers are looked at when they are known
  double spread = 0.0, bytes = 0.0;
  for (std::size_t k = 0; k < 3; ++k)
    spread += (all_.high[k] - all_.low[k]) * std::hypot(cell_.vectors()[k][0], cell_.vectors()[k][1], cell_.vectors()[k][2]);
  for (const double radius : {short_radius_, has_long_list() ? long_radius_ : 0.0}) {
    const double neighbours = radius > 0.0 ? expected_neighbours(n_points_, radius, spread, cell_) : 0.0;
    bytes += neighbours * kBytesPerPair * view_.n_owned;
    if (cell_.any_periodic()) bytes += neighbours * kBytesPerSite;
  }
  require_memory_for(kSafely * bytes);
}

// For lists of so many bytes, those that there are given up.
void PointLists::require_memory_for(double bytes) const {
  const auto present = static_cast<double>(short_sites_.bytes() + long_sites_.bytes());
  if (bytes > present) require_memory_of_gpu_for_lists(bytes, longest(), static_cast<double>(free_memory()) + present);
}

// Whose the points are.
void PointLists::take_owners(const PointSystem& system, const Stream& stream) {
  view_.n_owned = view_.n_interior = system.n;
  if (!shared_) return;
  owners_ = system.sharing->owners();
  std::vector<unsigned char> roles;
  view_.n_owned = 0;
  for (int point = 0; point < system.n; ++point) {
    const AtomOwner& owner = owners_[size_of(point)];
    const bool here = owner.process == system.sharing->process, owned = here && owner.point == point;
    roles.push_back(static_cast<unsigned char>(owned ? PointRole::owned : here ? PointRole::image : PointRole::remote));
    view_.n_owned += owned ? 1 : 0;
  }
  view_.n_interior = view_.n_owned;
  roles_.upload(roles, stream);
  stream.synchronize();  // which reads the numbers above
}

// Brings the points into the cell, and finds the boxes around them.
void PointLists::wrap(const PointSystem& system, const Stream& stream) {
  BoxBits bits;
  for (int k = 0; k < 3; ++k) bits.all[k] = bits.owned[k] = ~0ull;
  for (int k = 3; k < 6; ++k) bits.all[k] = bits.owned[k] = 0ull;
  wraps_.resize(size_of(system.n));
  wrapped_.resize(3 * size_of(system.n));
  copy_to_device(boxes_.data(), &bits, sizeof(bits), stream);
  wrap_points({system.n, given_.data(), shared_ ? roles_.data() : nullptr, view_of(cell_), wraps_.data(), wrapped_.data(), boxes_.data()},
              stream);
  copy_to_host(&bits, boxes_.data(), sizeof(bits), stream);
  stream.synchronize();
  const auto number = [](unsigned long long ordered) { return std::bit_cast<double>(from_ordered_bits(ordered)); };
  double largest = 0.0;
  for (int k = 0; k < 3; ++k) {
    all_.low[k] = system.n > 0 ? number(bits.all[k]) : 0.0;
    all_.high[k] = system.n > 0 ? number(bits.all[k + 3]) : 0.0;
    owned_.low[k] = view_.n_owned > 0 ? number(bits.owned[k]) : 0.0;
    owned_.high[k] = view_.n_owned > 0 ? number(bits.owned[k + 3]) : 0.0;
    largest = std::max(largest, std::max(1.0, all_.high[k] - all_.low[k]) * cell_.height(k));
  }
  guard_ = 1e-9 * (largest + longest());
}

// The points by space, and which of them get rows.
void PointLists::order_points(const PointSystem& system, const Stream& stream) {
  const BinGridView grid = make_grid(cell_, all_.low, all_.high, kOrderBin, system.n);
  bins_.resize(size_of(system.n));
  find_bins({system.n, wrapped_.data(), view_of(cell_), grid, bins_.data()}, stream);
  order_.run(bins_.data(), system.n, static_cast<int>(grid.total()), stream);
  flags_.resize(size_of(system.n));
  rows_.resize(size_of(system.n) + 1);
  RowTask task = row_task(system.n);
  task.rows = nullptr;
  number_rows(task, stream);
  scan_.run(flags_.data(), system.n, rows_.data(), stream);
}

RowTask PointLists::row_task(int n) {
  return {n, order_.points(), shared_ ? roles_.data() : nullptr, wraps_.data(), flags_.data(), rows_.data(), sites()};
}

// The owned points, and all other sites within the longest radius of the box around them.
void PointLists::make_sites(const PointSystem& system, const Stream& stream) {
  OtherSitesTask task{row_task(system.n), wrapped_.data(), view_of(cell_), {}, {}, nullptr, nullptr, view_.n_owned, {}, nullptr};
  for (int k = 0; k < 3; ++k) {
    const double margin = all_pairs() ? kInfinity : (longest() + 2.0 * guard_) / cell_.height(k);
    task.low[k] = owned_.low[k] - margin;
    task.high[k] = owned_.high[k] + margin;
  }
  counts_.resize(size_of(system.n));
  others_.resize(size_of(system.n) + 1);
  std::int64_t others = 0;
  if (view_.n_owned > 0 && (shared_ || cell_.any_periodic())) {
    task.counts = counts_.data();
    enumerate_other_sites(task, stream);
    scan_.run(counts_.data(), system.n, others_.data(), stream);
    copy_to_host(&others, others_.data() + system.n, sizeof(others), stream);
    stream.synchronize();
  }
  if (view_.n_owned + others > std::numeric_limits<int>::max())
    throw std::invalid_argument("too many atoms: " + std::to_string(system.n) + " atoms and their periodic images within " +
                                number_text(longest()) +
                                " A exceed 2^31 sites; shorten lr_cutoff, or split the system over several processes");
  view_.n_sites = view_.n_owned + static_cast<int>(others);
  for (auto* numbers : {&site_point_, &slot_}) numbers->resize(size_of(view_.n_sites));
  site_shift_.resize(size_of(view_.n_sites));
  positions_.resize(3 * size_of(view_.n_sites));
  task.points.sites = task.sites = sites();
  number_rows(task.points, stream);
  if (others == 0) others_.clear(stream);
  task.offsets = others_.data();
  task.slot = shared_ ? nullptr : slot_.data();
  if (view_.n_owned > 0) enumerate_other_sites(task, stream);
}

// Sites by bins of half the longest radius, in which a search of two bins to either side finds all neighbours.
void PointLists::sort_sites(const Cell& cell, const Stream& stream) {
  double low[3], high[3];
  for (int k = 0; k < 3; ++k) {
    const double margin = (longest() + 2.0 * guard_) / cell.height(k);
    low[k] = owned_.low[k] - margin;
    high[k] = owned_.high[k] + margin;
  }
  grid_ = make_grid(cell, low, high, 0.5 * (longest() + 2.0 * guard_), view_.n_sites);
  bins_.resize(size_of(view_.n_sites));
  sorted_positions_.resize(3 * size_of(view_.n_sites));
  find_bins({view_.n_sites, positions_.data(), view_of(cell), grid_, bins_.data()}, stream);
  sorted_sites_.run(bins_.data(), view_.n_sites, static_cast<int>(grid_.total()), stream);
  sort_positions(view_.n_sites, sorted_sites_.points(), positions_.data(), sorted_positions_.data(), stream);
}

ListTask PointLists::list_task() const {
  ListTask task{};
  task.n_owned = view_.n_owned;
  task.cell = view_of(cell_);
  task.grid = grid_;
  task.first = sorted_sites_.first();
  task.sites = sorted_sites_.points();
  task.sorted = sorted_positions_.data();
  task.positions = positions_.data();
  const double short_accept = short_radius_ + guard_, long_accept = has_long_list() ? long_radius_ + guard_ : 0.0;
  task.short_squared = short_accept * short_accept;
  task.long_squared = long_accept * long_accept;
  return task;
}

void PointLists::count_neighbours(const Stream& stream) {
  const auto rows = size_of(view_.n_owned);
  for (auto* numbers : {&counts_, &long_counts_}) numbers->resize(rows);
  most_.clear(stream);
  ListTask task = list_task();
  task.short_counts = counts_.data();
  task.long_counts = long_counts_.data();
  task.most = most_.data();
  if (shared_) {
    marks_.resize(size_of(view_.n_sites - view_.n_owned));
    marks_.clear(stream);
    flags_.resize(rows);
    task.shared = {roles_.data(), site_point_.data(), marks_.data(), flags_.data()};
  }
  search_neighbours(task, stream);
}

// Of processes that share points: only sites that are in lists, and the slots of the atoms that others own.
void PointLists::number_shared_sites(const PointSystem& system, const Stream& stream) {
  const int candidates = view_.n_sites - view_.n_owned;
  rows_.resize(size_of(view_.n_owned) + 1);
  others_.resize(size_of(candidates) + 1);
  scan_.run(flags_.data(), view_.n_owned, rows_.data(), stream);
  DeviceArray<int>& kept = bins_;
  kept.resize(size_of(candidates));
  find_kept(candidates, marks_.data(), all_pairs(), kept.data(), stream);
  scan_.run(kept.data(), candidates, others_.data(), stream);
  std::int64_t boundary = 0, others = 0;
  copy_to_host(&boundary, rows_.data() + view_.n_owned, sizeof(boundary), stream);
  copy_to_host(&others, others_.data() + candidates, sizeof(others), stream);
  stream.synchronize();
  view_.n_interior = view_.n_owned - static_cast<int>(boundary);
  renumber(static_cast<int>(others), stream);
  const std::vector<int> points = download(site_point_, size_of(view_.n_sites), stream);
  const std::vector<int> in_short_list = download(in_short_list_, size_of(others), stream);
  slots_ = number_slots(view_.n_owned, n_points_, points, in_short_list, owners_, system.sharing->process);
  view_.n_near = slots_.n_near;
  view_.n_far = static_cast<int>(slots_.halo.size()) - slots_.n_near;
  slot_.upload(slots_.slot, stream);
  result_rows_.upload(places_among_owned(slots_, view_.n_owned), stream);
  point_of_slot_.upload(slots_.point_of_slot, stream);
}

void PointLists::renumber(int n_others, const Stream& stream) {
  const auto rows = size_of(view_.n_owned), new_sites = rows + size_of(n_others);
  new_site_point_.resize(new_sites);
  new_site_shift_.resize(new_sites);
  for (auto* numbers : {&new_counts_, &new_long_counts_}) numbers->resize(rows);
  in_short_list_.resize(size_of(n_others));
  site_of_.resize(size_of(view_.n_sites));
  renumber_sites({view_.n_owned,
                  view_.n_interior,
                  view_.n_sites,
                  flags_.data(),
                  marks_.data(),
                  bins_.data(),
                  rows_.data(),
                  others_.data(),
                  sites(),
                  {new_site_point_.data(), new_site_shift_.data()},
                  counts_.data(),
                  long_counts_.data(),
                  new_counts_.data(),
                  new_long_counts_.data(),
                  in_short_list_.data(),
                  site_of_.data()},
                 stream);
  relabel(view_.n_sites, site_of_.data(), sorted_sites_.points(), stream);
  std::swap(site_point_, new_site_point_);
  std::swap(site_shift_, new_site_shift_);
  std::swap(counts_, new_counts_);
  std::swap(long_counts_, new_long_counts_);
  view_.n_sites = static_cast<int>(new_sites);
  positions_.resize(3 * new_sites);
  place_sites_again(stream);
}

void PointLists::fill_lists(const Stream& stream) {
  const auto rows = size_of(view_.n_owned);
  for (auto* offsets : {&short_offsets_, &long_offsets_}) offsets->resize(rows + 1);
  scan_.run(counts_.data(), view_.n_owned, short_offsets_.data(), stream);
  scan_.run(long_counts_.data(), view_.n_owned, long_offsets_.data(), stream);
  std::int64_t n_long = 0;
  copy_to_host(&view_.n_short, short_offsets_.data() + rows, sizeof(std::int64_t), stream);
  copy_to_host(&n_long, long_offsets_.data() + rows, sizeof(std::int64_t), stream);
  copy_to_host(&view_.most_short, most_.data(), sizeof(int), stream);
  stream.synchronize();
  require_memory_for(kBytesPerPair * (static_cast<double>(view_.n_short) + static_cast<double>(n_long)));
  short_sites_.resize(size_of(view_.n_short));
  long_sites_.resize(size_of(n_long));
  ListTask task = list_task();
  task.short_offsets = short_offsets_.data();
  task.long_offsets = long_offsets_.data();
  task.short_sites = short_sites_.data();
  task.long_sites = long_sites_.data();
  search_neighbours(task, stream);
  view_.positions = positions_.data();
  view_.slot = slot_.data();
  view_.short_offsets = short_offsets_.data();
  view_.short_sites = short_sites_.data();
  if (has_long_list()) {
    view_.long_offsets = long_offsets_.data();
    view_.long_sites = long_sites_.data();
  }
}

void PointLists::update_species(const PointSystem& system, bool rebuilt, const Stream& stream) {
  const std::span<const int> given(system.species, size_of(system.n));
  const bool changed = !std::equal(given.begin(), given.end(), known_species_.begin(), known_species_.end());
  if (changed) {
    known_species_.assign(given.begin(), given.end());
    point_species_.upload(known_species_, stream);
  }
  if (changed || rebuilt) {
    species_.resize(size_of(view_.n_slots()));
    gather(view_.n_slots(), shared_ ? point_of_slot_.data() : site_point_.data(), point_species_.data(), species_.data(), stream);
  }
  view_.species = species_.data();
}

}  // namespace so3md::cuda
