#include "geometry/neighbour_list.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <stdexcept>
#include <string>

namespace so3md {

namespace {

constexpr int kSiteGrain = 4096;  // sites that a thread places at a time: fewer are not worth waking a thread

constexpr double kZeroVectors[9] = {};

std::string text(const double* r) { return "(" + std::to_string(r[0]) + ", " + std::to_string(r[1]) + ", " + std::to_string(r[2]) + ")"; }

bool is_usable(double coordinate) { return std::abs(coordinate) < kLargestCoordinate; }  // false for NaN

void require_usable(int n, const double* positions) {
  const auto count = 3 * static_cast<std::size_t>(n);
  const double* bad = std::find_if_not(positions, positions + count, is_usable);
  if (bad == positions + count) return;
  const auto atom = (bad - positions) / 3;
  throw std::invalid_argument(
      "the position of atom " + std::to_string(atom) + " (counted from 0) is " + text(positions + 3 * atom) +
      " A: expected finite numbers below 1e8; check the structure, and for a simulation that broke down the time step");
}

// F, such that old lattice vector . F = new lattice vector.
Matrix3 deformation(const Cell& from, const Cell& to) {
  Matrix3 result;
  if (from == to) return {Vec3{1, 0, 0}, Vec3{0, 1, 0}, Vec3{0, 0, 1}};  // exactly
  for (int row = 0; row < 3; ++row) result[row] = multiply(from.inverse()[row], to.vectors());
  return result;
}

// Lower bound of |v . F| / |v|: with G = F F^T - 1, |v . F|^2 = |v|^2 + v . G . v, and the eigenvalues of G are bounded by Gershgorin's
// circles. Exact for rotations and for stretches along the axes.
double smallest_stretch(const Matrix3& f) {
  double lowest = std::numeric_limits<double>::infinity();
  for (int row = 0; row < 3; ++row) {
    double bound = -1;
    for (int other = 0; other < 3; ++other) {
      const double product = f[row][0] * f[other][0] + f[row][1] * f[other][1] + f[row][2] * f[other][2];
      bound += other == row ? product : -std::abs(product);
    }
    lowest = std::min(lowest, bound);
  }
  return std::sqrt(std::max(0.0, 1 + lowest));
}

}  // namespace

NeighbourList::NeighbourList(double short_cutoff, double long_cutoff, double skin)
    : long_cutoff_(long_cutoff), skin_(skin), built_cell_(kZeroVectors, {false, false, false}) {
  if (!(short_cutoff > 0 && std::isfinite(short_cutoff))) {
    throw std::invalid_argument("the short cutoff is " + std::to_string(short_cutoff) + " A: expected a positive finite length");
  }
  if (!(long_cutoff >= 0)) {
    throw std::invalid_argument("the long cutoff is " + std::to_string(long_cutoff) +
                                " A: expected a positive length, 0 (no long list) or infinity (no cutoff)");
  }
  if (!(skin >= 0 && std::isfinite(skin))) {
    throw std::invalid_argument("the skin is " + std::to_string(skin) + " A: expected a finite length, zero or more");
  }
  lists_.push_back({short_cutoff + skin, {0}, {}});
  if (long_cutoff > 0 && std::isfinite(long_cutoff)) lists_.push_back({long_cutoff + skin, {0}, {}});
}

bool NeighbourList::update(int n, const double* positions, const Cell& cell, ThreadPool& pool) {
  require_usable(n, positions);
  if (std::isinf(long_cutoff_) && cell.any_periodic()) {
    throw std::invalid_argument(
        "an infinite long-range cutoff was asked for a periodic system, where the sum over images has no end: "
        "give a cutoff, or set pbc to false");
  }
  ++updates_;
  bool rebuild_needed = true;
  if (built_ && n == static_cast<int>(order_.size()) && cell.same_periodicity(built_cell_)) {
    place_sites(positions, cell, pool);
    rebuild_needed = !is_complete(cell);
  }
  if (rebuild_needed) {
    rebuild(n, positions, cell, pool);
    place_sites(positions, cell, pool);
    built_positions_.assign(positions_.begin(), positions_.begin() + 3 * static_cast<std::ptrdiff_t>(n));
  }
  return rebuild_needed;
}

// Consider any pair of an atom i and an image of an atom j, the image being at lattice vector t from the site of j. Let the sites have been
// at r_i and r_j at the build, and the displacement d = r_j + t - r_i. The deformation F of the cell takes every lattice vector t to
// t . F, whatever t is. The site of i is now at r_i . F + u_i, which defines u_i. So the displacement is now
//     (r_j . F + u_j) + t . F - (r_i . F + u_i) = d . F + u_j - u_i,
// and its length is at least s |d| - |u_j - u_i|, where s is the smallest stretch by F. A pair that is not listed had |d| > cutoff + skin;
// it is still outside the cutoff if  s (cutoff + skin) - |u_j - u_i| >= cutoff.  This holds for images that have no site too, and
// for any F, large, rotated or mirrored. The rounding errors of F and of the sites are much less than the guard by which lists reach
// beyond cutoff + skin.
bool NeighbourList::is_complete(const Cell& cell) const {
  const Matrix3 f = deformation(built_cell_, cell);
  const double stretch = smallest_stretch(f);
  double allowed = std::numeric_limits<double>::infinity();
  for (const NeighbourRows& list : lists_) allowed = std::min(allowed, stretch * list.radius - (list.radius - skin_));
  return largest_approach(f) <= allowed;
}

// An upper bound of |u_j - u_i| over all pairs: the two largest |u - c|, for any c; here c is the middle of the box around all u, so that
// a system that moves as a whole keeps its lists.
double NeighbourList::largest_approach(const Matrix3& f) const {
  const std::size_t n = order_.size();
  const auto move = [&](std::size_t i) {
    const double* now = positions_.data() + 3 * i;
    const double* built = built_positions_.data() + 3 * i;
    const Vec3 deformed = multiply({built[0], built[1], built[2]}, f);
    return Vec3{now[0] - deformed[0], now[1] - deformed[1], now[2] - deformed[2]};
  };
  if (n == 0) return 0;
  Vec3 low = move(0);
  Vec3 high = low;
  for (std::size_t i = 1; i < n; ++i) {
    const Vec3 u = move(i);
    for (int k = 0; k < 3; ++k) {
      low[k] = std::min(low[k], u[k]);
      high[k] = std::max(high[k], u[k]);
    }
  }
  double largest = 0;
  double second = 0;
  for (std::size_t i = 0; i < n; ++i) {
    const Vec3 u = move(i);
    double squared = 0;
    for (int k = 0; k < 3; ++k) {
      const double component = u[k] - 0.5 * (low[k] + high[k]);
      squared += component * component;
    }
    second = std::max(second, std::min(largest, squared));
    largest = std::max(largest, squared);
  }
  return std::sqrt(largest) + std::sqrt(second);
}

void NeighbourList::rebuild(int n, const double* positions, const Cell& cell, ThreadPool& pool) {
  built_ = false;  // until everything below has succeeded
  double radius = 0;
  for (const NeighbourRows& list : lists_) radius = std::max(radius, list.radius);
  const BinGrid grid(n, positions, cell, radius);
  const std::vector<Image> images = find_neighbours(grid, lists_, pool);

  order_ = grid.order();
  const std::size_t n_sites = n + images.size();
  slots_.resize(n_sites);
  shifts_.resize(n_sites);
  positions_.resize(3 * n_sites);
  for (int i = 0; i < n; ++i) {
    slots_[i] = i;
    shifts_[i] = grid.wraps()[i];
  }
  for (std::size_t m = 0; m < images.size(); ++m) {
    const auto& [owner, shift] = images[m];
    const Shift& wrap = grid.wraps()[owner];
    slots_[n + m] = owner;
    shifts_[n + m] = {wrap[0] + shift[0], wrap[1] + shift[1], wrap[2] + shift[2]};
  }
  built_cell_ = cell;
  built_ = true;
  ++rebuilds_;
}

void NeighbourList::place_sites(const double* positions, const Cell& cell, ThreadPool& pool) {
  pool.parallel_for(static_cast<int>(slots_.size()), kSiteGrain, [&](int begin, int end, int) {
    for (int site = begin; site < end; ++site) {
      const auto& [a, b, c] = shifts_[site];
      const Vec3 translation = multiply({double(a), double(b), double(c)}, cell.vectors());
      const double* r = positions + 3 * static_cast<std::size_t>(order_[slots_[site]]);
      for (int k = 0; k < 3; ++k) positions_[3 * static_cast<std::size_t>(site) + k] = r[k] + translation[k];
    }
  });
}

Domain NeighbourList::domain() const {
  Domain domain;
  domain.n_owned = static_cast<int>(order_.size());
  domain.n_sites = static_cast<int>(slots_.size());
  domain.slot = slots_.data();
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
