#include "physics/point_charges.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <stdexcept>
#include <string>

#include "common/index.h"
#include "common/largest_length.h"
#include "common/number_text.h"
#include "physics/electrostatics.h"
#include "physics/scalar_math.h"

namespace so3md {

namespace {

void check_lengths(const PointCharges& charges, const Cell& cell) {
  if (!(charges.width >= 0.0 && charges.width <= kLargestLength))
    throw std::invalid_argument("the width of point charges is " + number_text(charges.width) + " A: expected a length from 0 to " +
                                number_text(kLargestLength) + " A");
  if (!(charges.cutoff >= kSmallestLength) || (charges.cutoff > kLargestLength && !std::isinf(charges.cutoff)))
    throw std::invalid_argument("the cutoff of point charges is " + number_text(charges.cutoff) + " A: expected a length from " +
                                number_text(kSmallestLength) + " to " + number_text(kLargestLength) + " A, or none");
  if (!cell.any_periodic()) return;
  double half = std::numeric_limits<double>::infinity();
  for (int k = 0; k < 3; ++k)
    if (cell.periodic(k)) half = std::min(half, 0.5 * cell.height(k));
  if (charges.cutoff <= half) return;
  throw std::invalid_argument("the cutoff of point charges is " +
                              (std::isinf(charges.cutoff) ? std::string("none") : number_text(charges.cutoff) + " A") +
                              ": in a periodic cell the nearest images count, so that one of at most half its smallest height is needed, " +
                              number_text(half) + " A");
}

// From a to b, or to that image of b which may be within half the smallest height of the cell: only one can.
Vec3 displacement(const double* a, const double* b, const Cell& cell, bool periodic) {
  Vec3 d = {b[0] - a[0], b[1] - a[1], b[2] - a[2]};
  if (!periodic) return d;
  const Vec3 fractional = multiply(d, cell.inverse());
  for (int k = 0; k < 3; ++k) {
    if (!cell.periodic(k)) continue;
    const double whole = std::round(fractional[index_of(k)]);
    for (std::size_t a_ = 0; a_ < 3; ++a_) d[a_] -= whole * cell.vectors()[index_of(k)][a_];
  }
  return d;
}

// Of points, the limit of narrow Gaussians, which have no tails.
ElectrostaticsConstants<double> constants_of(const PointCharges& charges) {
  if (charges.width > 0.0) return electrostatics_constants<double>(charges.width, charges.cutoff);
  auto constants = electrostatics_constants<double>(1.0, charges.cutoff);
  constants.inverse_sigma = std::numeric_limits<double>::infinity();
  constants.gaussian_scale = 0.0;
  if (constants.truncated) {
    constants.value_at_cutoff = 1.0 / charges.cutoff;
    constants.slope_at_cutoff = -1.0 / (charges.cutoff * charges.cutoff);
  }
  return constants;
}

}  // namespace

void point_charge_potentials(const PointCharges& charges, int n, const double* points, const Cell& cell, ThreadPool& pool,
                             double* potentials, double* fields) {
  check_lengths(charges, cell);
  const ElectrostaticsConstants<double> constants = constants_of(charges);
  const bool periodic = cell.any_periodic();
  pool.parallel_for(n, 1, [&](int begin, int end, int) {
    for (int i = begin; i < end; ++i) {
      double potential = 0.0;
      Vec3 field{};
      for (int k = 0; k < charges.n; ++k) {
        const Vec3 d = displacement(points + 3 * index_of(i), charges.positions + 3 * index_of(k), cell, periodic);
        const double r = std::sqrt(d[0] * d[0] + d[1] * d[1] + d[2] * d[2]);
        if (!(r < charges.cutoff)) continue;
        ValueAndSlope<double> w{1.0, 0.0};
        if (constants.truncated) w = smooth_switch<ScalarMath>(r, constants.switch_on, constants.inverse_width);
        const ValueAndSlope<double> pair = electrostatics_pair<ScalarMath>(constants, r, 1.0 / r, w);
        const double strength = kCoulomb * charges.charges[k];
        potential += strength * pair.value;
        for (std::size_t a = 0; a < 3; ++a) field[a] += strength * pair.slope * d[a] / r;
      }
      potentials[i] = potential;
      std::copy(field.begin(), field.end(), fields + 3 * index_of(i));
    }
  });
  for (int i = 0; i < n; ++i) {
    const double* field = fields + 3 * index_of(i);
    if (std::isfinite(potentials[i] + field[0] + field[1] + field[2])) continue;
    throw std::invalid_argument("the potential of the point charges at atom " + std::to_string(i) +
                                " is no number: expected finite positions and charges, and no point charge at the place of an atom");
  }
}

}  // namespace so3md
