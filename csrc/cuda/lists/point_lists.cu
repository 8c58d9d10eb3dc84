#include <algorithm>
#include <atomic>
#include <bit>
#include <cmath>
#include <limits>

#include "cuda/lists/list_kernels.h"
#include "cuda/lists/point_lists.h"
#include "geometry/deformation.h"
#include "geometry/neighbour_list.h"

namespace so3md::cuda {

namespace {

constexpr double kOrderBin = 4.0;    // A: atoms of a bin follow each other, so that neighbours are near in memory
constexpr int kMostBinsPerSite = 4;  // of a grid, beside a few: in dilute systems bins become larger instead

// Numbers of lists count down, so that they are never those of a host's domain.
std::atomic<std::int64_t> builds{0};

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

}  // namespace

PointLists::PointLists(double short_cutoff, double long_cutoff, double skin)
    : short_radius_(short_cutoff + skin),
      long_radius_(long_cutoff > 0.0 ? long_cutoff + skin : 0.0),
      skin_(skin),
      built_cell_(std::vector<double>(9, 0.0).data(), {false, false, false}),
      most_(1),
      largest_move_(1) {}

bool PointLists::all_pairs() const { return std::isinf(long_radius_); }

const DeviceDomain& PointLists::update(const PointSystem& system, const Stream& stream) {
  require_usable_positions(system.n, system.positions);
  given_.upload(std::span<const double>(system.positions, 3 * static_cast<std::size_t>(system.n)), stream);
  const bool rebuild = view_.build == 0 || system.n != view_.n_owned || system.points != built_points_ ||
                       !system.cell->same_periodicity(built_cell_) || !is_complete(system, stream);
  if (rebuild)
    build(system, stream);
  else
    place(*system.cell, stream);
  update_species(system, rebuild, stream);
  return view_;
}

// As NeighbourList::is_complete, with twice the largest |u| in place of the sum of the two largest.
bool PointLists::is_complete(const PointSystem& system, const Stream& stream) {
  const Matrix3 f = deformation(built_cell_, *system.cell);
  const double stretch = smallest_stretch(f);
  double allowed = stretch * short_radius_ - (short_radius_ - skin_);
  if (longest() > short_radius_) allowed = std::min(allowed, stretch * longest() - (longest() - skin_));
  MoveTask task{system.n, given_.data(), wraps_.data(), built_positions_.data(), view_of(*system.cell), {}, largest_move_.data()};
  for (int k = 0; k < 9; ++k) task.deformation[k] = f[k / 3][k % 3];
  largest_move_.clear(stream);
  find_largest_move(task, stream);
  unsigned long long bits = 0;
  copy_to_host(&bits, largest_move_.data(), sizeof(bits), stream);
  stream.synchronize();
  return 2.0 * std::sqrt(std::bit_cast<double>(bits)) <= allowed;
}

void PointLists::build(const PointSystem& system, const Stream& stream) {
  view_ = {};  // until everything below has succeeded
  built_cell_ = *system.cell;
  built_points_ = system.points;
  order_atoms(system, stream);
  make_images(system, stream);
  place(*system.cell, stream);
  sort_sites(*system.cell, stream);
  fill_lists(stream);
  ++rebuilds_;
  view_.build = --builds;
}

// Wraps the points into the cell, and orders them by space.
void PointLists::order_atoms(const PointSystem& system, const Stream& stream) {
  const Cell& cell = *system.cell;
  std::fill_n(low_, 3, 0.0);
  std::fill_n(high_, 3, 1.0);
  for (int k = 0; k < 3; ++k) {
    if (cell.periodic(k) || system.n == 0) continue;
    low_[k] = std::numeric_limits<double>::infinity();
    high_[k] = -low_[k];
    for (int i = 0; i < system.n; ++i) {
      const double* r = system.positions + 3 * static_cast<std::ptrdiff_t>(i);
      const double fraction = multiply({r[0], r[1], r[2]}, cell.inverse())[static_cast<std::size_t>(k)];
      low_[k] = std::min(low_[k], fraction);
      high_[k] = std::max(high_[k], fraction);
    }
  }
  double largest = 0.0;
  for (int k = 0; k < 3; ++k) largest = std::max(largest, (high_[k] - low_[k]) * cell.height(k));
  guard_ = 1e-9 * (largest + longest());
  const auto n = static_cast<std::size_t>(system.n);
  wraps_.resize(n);
  built_positions_.resize(3 * n);
  bins_.resize(n);
  const BinGridView grid = make_grid(cell, low_, high_, kOrderBin, system.n);
  wrap_points({system.n, given_.data(), view_of(cell), grid, wraps_.data(), built_positions_.data(), bins_.data()}, stream);
  order_.run(bins_.data(), system.n, static_cast<int>(grid.total()), stream);
  view_.n_owned = view_.n_interior = system.n;
}

// The images that are within the longest radius of the cell.
void PointLists::make_images(const PointSystem& system, const Stream& stream) {
  const auto n = static_cast<std::size_t>(system.n);
  counts_.resize(n);
  image_offsets_.resize(n + 1);
  ImageTask task{system.n, order_.points(), built_positions_.data(), view_of(*system.cell), {}, counts_.data(), nullptr, nullptr, nullptr};
  for (int k = 0; k < 3; ++k) task.margin[k] = (longest() + 2.0 * guard_) / system.cell->height(k);
  std::int64_t images = 0;
  if (system.cell->any_periodic()) {
    enumerate_images(task, stream);
    scan_.run(counts_.data(), system.n, image_offsets_.data(), stream);
    copy_to_host(&images, image_offsets_.data() + n, sizeof(images), stream);
    stream.synchronize();
  }
  if (system.n + images > std::numeric_limits<int>::max())
    throw std::invalid_argument("the cell is so thin against the cutoffs that its atoms have " + std::to_string(images) +
                                " periodic images, more than can be numbered: check the cell, or repeat it");
  image_atoms_.resize(static_cast<std::size_t>(images));
  image_shifts_.resize(static_cast<std::size_t>(images));
  if (images > 0) {
    task.offsets = image_offsets_.data();
    task.atoms = image_atoms_.data();
    task.shifts = image_shifts_.data();
    enumerate_images(task, stream);
  }
  view_.n_sites = system.n + static_cast<int>(images);
  slot_.resize(static_cast<std::size_t>(view_.n_sites));
  positions_.resize(3 * static_cast<std::size_t>(view_.n_sites));
}

// Positions and slots of all sites, from the positions that the host gave.
void PointLists::place(const Cell& cell, const Stream& stream) {
  place_sites({view_.n_owned, view_.n_sites, order_.points(), given_.data(), wraps_.data(), image_atoms_.data(), image_shifts_.data(),
               view_of(cell), positions_.data(), slot_.data()},
              stream);
  view_.positions = positions_.data();
  view_.slot = slot_.data();
}

// Sites by bins of half the longest radius, in which a search of two bins to either side finds all neighbours.
void PointLists::sort_sites(const Cell& cell, const Stream& stream) {
  double low[3], high[3];
  for (int k = 0; k < 3; ++k) {
    const double margin = cell.periodic(k) ? (longest() + 2.0 * guard_) / cell.height(k) : 0.0;
    low[k] = low_[k] - margin;
    high[k] = high_[k] + margin;
  }
  grid_ = make_grid(cell, low, high, 0.5 * (longest() + 2.0 * guard_), view_.n_sites);
  bins_.resize(static_cast<std::size_t>(view_.n_sites));
  sorted_positions_.resize(3 * static_cast<std::size_t>(view_.n_sites));
  const SiteBinTask task{view_.n_sites, positions_.data(), view_of(cell), grid_, bins_.data()};
  bin_sites(task, stream);
  sorted_sites_.run(bins_.data(), view_.n_sites, static_cast<int>(grid_.total()), stream);
  sort_positions(view_.n_sites, sorted_sites_.points(), positions_.data(), sorted_positions_.data(), stream);
}

void PointLists::fill_lists(const Stream& stream) {
  const auto n = static_cast<std::size_t>(view_.n_owned);
  const bool has_long = long_radius_ > 0.0 && !all_pairs();
  counts_.resize(n);
  long_counts_.resize(n);
  short_offsets_.resize(n + 1);
  long_offsets_.resize(n + 1);
  most_.clear(stream);
  const double short_accept = short_radius_ + guard_, long_accept = has_long ? long_radius_ + guard_ : 0.0;
  ListTask task{view_.n_owned,
                view_of(built_cell_),
                grid_,
                sorted_sites_.first(),
                sorted_sites_.points(),
                sorted_positions_.data(),
                positions_.data(),
                short_accept * short_accept,
                long_accept * long_accept,
                counts_.data(),
                long_counts_.data(),
                most_.data(),
                nullptr,
                nullptr,
                nullptr,
                nullptr};
  search_neighbours(task, stream);
  scan_.run(counts_.data(), view_.n_owned, short_offsets_.data(), stream);
  scan_.run(long_counts_.data(), view_.n_owned, long_offsets_.data(), stream);
  std::int64_t n_long = 0;
  copy_to_host(&view_.n_short, short_offsets_.data() + n, sizeof(std::int64_t), stream);
  copy_to_host(&n_long, long_offsets_.data() + n, sizeof(std::int64_t), stream);
  copy_to_host(&view_.most_short, most_.data(), sizeof(int), stream);
  stream.synchronize();
  short_sites_.resize(static_cast<std::size_t>(view_.n_short));
  long_sites_.resize(static_cast<std::size_t>(n_long));
  task.short_offsets = short_offsets_.data();
  task.long_offsets = long_offsets_.data();
  task.short_sites = short_sites_.data();
  task.long_sites = long_sites_.data();
  search_neighbours(task, stream);
  view_.short_offsets = short_offsets_.data();
  view_.short_sites = short_sites_.data();
  if (has_long) {
    view_.long_offsets = long_offsets_.data();
    view_.long_sites = long_sites_.data();
  }
}

void PointLists::update_species(const PointSystem& system, bool rebuilt, const Stream& stream) {
  const std::span<const int> given(system.species, static_cast<std::size_t>(system.n));
  const bool changed = !std::equal(given.begin(), given.end(), known_species_.begin(), known_species_.end());
  if (changed) {
    known_species_.assign(given.begin(), given.end());
    point_species_.upload(known_species_, stream);
  }
  if (changed || rebuilt) {
    species_.resize(given.size());
    gather(system.n, order_.points(), point_species_.data(), species_.data(), stream);
  }
  view_.species = species_.data();
}

}  // namespace so3md::cuda
