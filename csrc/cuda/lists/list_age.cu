#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <mutex>

#include "cuda/lists/list_age.h"
#include "geometry/deformation.h"

namespace so3md::cuda {

namespace {

constexpr int kGrain = 16384;  // points that a thread looks at at a time: fewer are not worth waking a thread

// What is known of the moves u of some points, measured from a centre. Maxima do not depend on the order in which they are taken.
struct Moves {
  Vec3 low, high;                      // of u itself
  double largest = 0.0, second = 0.0;  // |u - centre|^2

  Moves() {
    low.fill(std::numeric_limits<double>::infinity());
    high.fill(-std::numeric_limits<double>::infinity());
  }

  void add(const Vec3& u, const Vec3& centre) {
    double squared = 0.0;
    for (std::size_t k = 0; k < 3; ++k) {
      low[k] = std::min(low[k], u[k]);
      high[k] = std::max(high[k], u[k]);
      squared += (u[k] - centre[k]) * (u[k] - centre[k]);
    }
    take(squared);
  }

  void add(const Moves& other) {
    for (std::size_t k = 0; k < 3; ++k) {
      low[k] = std::min(low[k], other.low[k]);
      high[k] = std::max(high[k], other.high[k]);
    }
    take(other.largest);
    take(other.second);
  }

  void take(double squared) {
    second = std::max(second, std::min(largest, squared));
    largest = std::max(largest, squared);
  }

  double approach() const { return std::sqrt(largest) + std::sqrt(second); }
};

}  // namespace

ListAge::ListAge(ThreadPool& pool) : pool_(pool), cell_(std::array<double, 9>{}.data(), {false, false, false}) {}

void ListAge::start(std::span<const double> positions, const Cell& cell) {
  positions_.assign(positions.begin(), positions.end());
  cell_ = cell;
}

bool ListAge::complete(std::span<const double> positions, const Cell& cell, std::span<const double> radii, double skin) const {
  const Matrix3 f = deformation(cell_, cell);
  const double stretch = smallest_stretch(f);
  double allowed = std::numeric_limits<double>::infinity();
  for (double radius : radii) allowed = std::min(allowed, stretch * radius - (radius - skin));
  return largest_approach(positions, f, allowed) <= allowed;
}

// An upper bound of |u_j - u_i| over all pairs, as NeighbourList::largest_approach: the two largest |u - c| for any c. Zero is tried first,
// and where that exceeds what is allowed, the middle of all u. A lattice vector that was added to a point at the build would be deformed
// with the cell, and so drops out of u.
double ListAge::largest_approach(std::span<const double> positions, const Matrix3& deformation, double allowed) const {
  const auto around = [&](const Vec3& centre) {
    Moves all;
    std::mutex mutex;
    pool_.parallel_for(static_cast<int>(positions_.size() / 3), kGrain, [&](int begin, int end, int) {
      Moves part;
      for (auto at = 3 * static_cast<std::size_t>(begin); at < 3 * static_cast<std::size_t>(end); at += 3) {
        Vec3 u = multiply({positions_[at], positions_[at + 1], positions_[at + 2]}, deformation);
        for (std::size_t k = 0; k < 3; ++k) u[k] = positions[at + k] - u[k];
        part.add(u, centre);
      }
      const std::lock_guard lock(mutex);
      all.add(part);
    });
    return all;
  };
  const Moves moves = around({});
  if (!(moves.approach() > allowed)) return moves.approach();
  Vec3 middle;
  for (std::size_t k = 0; k < 3; ++k) middle[k] = 0.5 * (moves.low[k] + moves.high[k]);
  return around(middle).approach();
}

}  // namespace so3md::cuda
