// How neighbour lists fare when the cell changes.
#pragma once

#include <algorithm>
#include <cmath>
#include <limits>

#include "geometry/cell.h"

namespace so3md {

/// F, such that old lattice vector . F = new lattice vector.
inline Matrix3 deformation(const Cell& from, const Cell& to) {
  Matrix3 result;
  if (from == to) return {Vec3{1, 0, 0}, Vec3{0, 1, 0}, Vec3{0, 0, 1}};  // exactly
  for (int row = 0; row < 3; ++row) result[row] = multiply(from.inverse()[row], to.vectors());
  return result;
}

/// Lower bound of |v . F| / |v|: with G = F F^T - 1, |v . F|^2 = |v|^2 + v . G . v, and the eigenvalues of G are bounded by Gershgorin's
/// circles. Exact for rotations and for stretches along the axes.
inline double smallest_stretch(const Matrix3& f) {
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

}  // namespace so3md
