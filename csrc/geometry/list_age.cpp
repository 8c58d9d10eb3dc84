#include "geometry/list_age.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <mutex>

#include "common/index.h"
#include "geometry/deformation.h"

namespace so3md {

namespace {

constexpr int kPointsPerTask = 16384;  // points that a thread looks at at a time: fewer are not worth waking a thread

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

ListAge::ListAge() : cell_(std::array<double, 9>{}.data(), {false, false, false}) {}

void ListAge::start(std::span<const double> positions, const Cell& cell) {
  positions_.assign(positions.begin(), positions.end());
  cell_ = cell;
}

// Consider any pair of an atom i and an image of an atom j, the image being at lattice vector t from the site of j. Let the sites have been
// at r_i and r_j at the build, and the displacement d = r_j + t - r_i. The deformation F of the cell takes every lattice vector t to
// t . F, whatever t is. The site of i is now at r_i . F + u_i, which defines u_i. So the displacement is now
//     (r_j . F + u_j) + t . F - (r_i . F + u_i) = d . F + u_j - u_i,
// and its length is at least s |d| - |u_j - u_i|, where s is the smallest stretch by F. A pair that is not listed had |d| > cutoff + skin;
// it is still outside the cutoff if  s (cutoff + skin) - |u_j - u_i| >= cutoff.  This holds for images that have no site too, and
// for any F, large, rotated or mirrored. The rounding errors of F and of the sites are much less than the guard by which lists reach
// beyond cutoff + skin.
bool ListAge::complete(std::span<const double> positions, const Cell& cell, std::span<const double> radii, double skin,
                       ThreadPool& pool) const {
  const Matrix3 f = deformation(cell_, cell);
  const double stretch = smallest_stretch(f);
  double allowed = std::numeric_limits<double>::infinity();
  for (double radius : radii) allowed = std::min(allowed, stretch * radius - (radius - skin));
  return largest_approach(positions, f, allowed, pool) <= allowed;
}

// An upper bound of |u_j - u_i| over all pairs: the two largest |u - c|, for any c. Zero is tried first, and where that exceeds what is
// allowed, the middle of the box around all u, so that a system that moves as a whole keeps its lists. Lattice vectors that bring a point
// into the cell are deformed with it, and so drop out of u: positions are taken as the host has them.
double ListAge::largest_approach(std::span<const double> positions, const Matrix3& deformation, double allowed, ThreadPool& pool) const {
  const auto around = [&](const Vec3& centre) {
    Moves all;
    std::mutex mutex;
    pool.parallel_for(static_cast<int>(num_points()), kPointsPerTask, [&](int begin, int end, int) {
      Moves part;
      for (auto at = 3 * index_of(begin); at < 3 * index_of(end); at += 3) {
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

}  // namespace so3md
