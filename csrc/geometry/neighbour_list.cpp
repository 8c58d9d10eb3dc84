#include "geometry/neighbour_list.h"

#include <algorithm>
#include <cmath>
#include <stdexcept>
#include <string>

#include "common/index.h"
#include "common/number_text.h"

namespace so3md {

namespace {

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
      local_(checked_radius(short_cutoff, long_cutoff, skin), long_cutoff > 0 ? long_cutoff + skin : 0.0) {}

// Takes the positions if the lists are good for them.
bool NeighbourList::still_complete(int n, const double* positions, const Cell& cell, ThreadPool& pool) {
  require_usable_positions(n, positions);
  if (std::isinf(long_cutoff_) && cell.any_periodic()) {
    throw std::invalid_argument(
        "an infinite long-range cutoff was asked for a periodic system, where the sum over images has no end: "
        "give a cutoff, or set pbc to false");
  }
  ++updates_;
  if (!built_ || index_of(n) != age_.num_points() || !cell.same_periodicity(age_.cell())) return false;
  std::vector<double> radii;
  for (const NeighbourRows& list : local_.lists()) radii.push_back(list.radius);
  if (!age_.complete({positions, 3 * index_of(n)}, cell, radii, skin_, pool)) return false;
  local_.place(positions, cell, pool);
  return true;
}

void NeighbourList::rebuild(int n, const double* positions, const Cell& cell, int process, ThreadPool& pool) {
  built_ = false;  // until everything below has succeeded
  local_.build(n, positions, cell, owners_.empty() ? nullptr : owners_.data(), process, pool);
  order_.assign(local_.point_of_slot().begin(), local_.point_of_slot().begin() + local_.domain().n_owned);
  age_.start({positions, 3 * index_of(n)}, cell);
  built_ = true;
  ++rebuilds_;
}

}  // namespace so3md
