#include "geometry/neighbour_list.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <stdexcept>
#include <string>

#include "common/number_text.h"
#include "geometry/deformation.h"

namespace so3md {

namespace {

constexpr double kZeroVectors[9] = {};

std::string text(const double* r) { return "(" + number_text(r[0]) + ", " + number_text(r[1]) + ", " + number_text(r[2]) + ")"; }

bool is_usable(double coordinate) { return std::abs(coordinate) < kLargestCoordinate; }  // false for NaN

}  // namespace

void require_usable_positions(int n, const double* positions) {
  const auto count = 3 * static_cast<std::size_t>(n);
  const double* bad = std::find_if_not(positions, positions + count, is_usable);
  if (bad == positions + count) return;
  const auto atom = (bad - positions) / 3;
  throw std::invalid_argument(
      "the position of atom " + std::to_string(atom) + " (counted from 0) is " + text(positions + 3 * atom) +
      " A: expected finite numbers below 1e8; check the structure, and for a simulation that broke down the time step");
}

namespace {

// Checks the lengths; returns the radius of the short list, which nothing else makes.
double checked_radius(double short_cutoff, double long_cutoff, double skin) {
  if (!(short_cutoff > 0 && short_cutoff <= kLargestLength)) {
    throw std::invalid_argument("the short cutoff is " + number_text(short_cutoff) + " A: expected a positive length of at most " +
                                number_text(kLargestLength) + " A");
  }
  if (!(long_cutoff >= 0 && (long_cutoff <= kLargestLength || std::isinf(long_cutoff)))) {
    throw std::invalid_argument("the long cutoff is " + number_text(long_cutoff) + " A: expected a positive length of at most " +
                                number_text(kLargestLength) + " A, 0 (no long list) or infinity (no cutoff)");
  }
  if (!(skin >= 0 && skin <= kLargestLength)) {
    throw std::invalid_argument("the skin is " + number_text(skin) + " A: expected a length from 0 to " + number_text(kLargestLength) +
                                " A");
  }
  return short_cutoff + skin;
}

}  // namespace

NeighbourList::NeighbourList(double short_cutoff, double long_cutoff, double skin)
    : long_cutoff_(long_cutoff),
      skin_(skin),
      local_(checked_radius(short_cutoff, long_cutoff, skin), long_cutoff > 0 ? long_cutoff + skin : 0.0),
      built_cell_(kZeroVectors, {false, false, false}) {}

// Takes the positions if the lists are good for them.
bool NeighbourList::still_complete(int n, const double* positions, const Cell& cell, ThreadPool& pool) {
  require_usable_positions(n, positions);
  if (std::isinf(long_cutoff_) && cell.any_periodic()) {
    throw std::invalid_argument(
        "an infinite long-range cutoff was asked for a periodic system, where the sum over images has no end: "
        "give a cutoff, or set pbc to false");
  }
  ++updates_;
  if (!built_ || 3 * static_cast<std::size_t>(n) != built_positions_.size() || !cell.same_periodicity(built_cell_)) return false;
  if (!is_complete(positions, cell)) return false;
  local_.place(positions, cell, pool);
  return true;
}

// Consider any pair of an atom i and an image of an atom j, the image being at lattice vector t from the site of j. Let the sites have been
// at r_i and r_j at the build, and the displacement d = r_j + t - r_i. The deformation F of the cell takes every lattice vector t to
// t . F, whatever t is. The site of i is now at r_i . F + u_i, which defines u_i. So the displacement is now
//     (r_j . F + u_j) + t . F - (r_i . F + u_i) = d . F + u_j - u_i,
// and its length is at least s |d| - |u_j - u_i|, where s is the smallest stretch by F. A pair that is not listed had |d| > cutoff + skin;
// it is still outside the cutoff if  s (cutoff + skin) - |u_j - u_i| >= cutoff.  This holds for images that have no site too, and
// for any F, large, rotated or mirrored. The rounding errors of F and of the sites are much less than the guard by which lists reach
// beyond cutoff + skin.
bool NeighbourList::is_complete(const double* positions, const Cell& cell) const {
  const Matrix3 f = deformation(built_cell_, cell);
  const double stretch = smallest_stretch(f);
  double allowed = std::numeric_limits<double>::infinity();
  for (const NeighbourRows& list : local_.lists()) allowed = std::min(allowed, stretch * list.radius - (list.radius - skin_));
  return largest_approach(positions, cell, f) <= allowed;
}

// An upper bound of |u_j - u_i| over all pairs: the two largest |u - c|, for any c; here c is the middle of the box around all u, so that
// a system that moves as a whole keeps its lists. Over all atoms, also those of other processes, so that all decide alike.
double NeighbourList::largest_approach(const double* positions, const Cell& cell, const Matrix3& f) const {
  const std::size_t n = built_positions_.size() / 3;
  const auto move = [&](std::size_t i) {
    const auto& [a, b, c] = local_.wraps()[i];
    const Vec3 wrap = multiply({double(a), double(b), double(c)}, cell.vectors());
    const double* built = built_positions_.data() + 3 * i;
    const Vec3 deformed = multiply({built[0], built[1], built[2]}, f);
    Vec3 u;
    for (std::size_t k = 0; k < 3; ++k) u[k] = (positions[3 * i + k] + wrap[k]) - deformed[k];
    return u;
  };
  if (n == 0) return 0;
  Vec3 low = move(0);
  Vec3 high = low;
  for (std::size_t i = 1; i < n; ++i) {
    const Vec3 u = move(i);
    for (std::size_t k = 0; k < 3; ++k) {
      low[k] = std::min(low[k], u[k]);
      high[k] = std::max(high[k], u[k]);
    }
  }
  double largest = 0;
  double second = 0;
  for (std::size_t i = 0; i < n; ++i) {
    const Vec3 u = move(i);
    double squared = 0;
    for (std::size_t k = 0; k < 3; ++k) {
      const double component = u[k] - 0.5 * (low[k] + high[k]);
      squared += component * component;
    }
    second = std::max(second, std::min(largest, squared));
    largest = std::max(largest, squared);
  }
  return std::sqrt(largest) + std::sqrt(second);
}

void NeighbourList::rebuild(int n, const double* positions, const Cell& cell, int process, ThreadPool& pool) {
  built_ = false;  // until everything below has succeeded
  local_.build(n, positions, cell, owners_.empty() ? nullptr : owners_.data(), process, pool);
  order_.assign(local_.point_of_slot().begin(), local_.point_of_slot().begin() + local_.domain().n_owned);
  built_positions_.resize(3 * static_cast<std::size_t>(n));
  for (std::size_t i = 0; i < static_cast<std::size_t>(n); ++i) {
    const auto& [a, b, c] = local_.wraps()[i];
    const Vec3 wrap = multiply({double(a), double(b), double(c)}, cell.vectors());
    for (std::size_t k = 0; k < 3; ++k) built_positions_[3 * i + k] = positions[3 * i + k] + wrap[k];
  }
  built_cell_ = cell;
  built_ = true;
  ++rebuilds_;
}

}  // namespace so3md
