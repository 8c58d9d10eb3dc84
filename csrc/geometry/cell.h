// The periodic cell: three lattice vectors and which of them repeat.
#pragma once

#include <array>

#include "common/largest_length.h"

namespace so3md {

using Vec3 = std::array<double, 3>;
using Matrix3 = std::array<Vec3, 3>;  ///< three rows

/// Cells and positions with larger components (in A) are refused: nothing of that size is meant.
constexpr double kLargestCoordinate = 1e8;

inline double dot(const Vec3& a, const Vec3& b) { return a[0] * b[0] + a[1] * b[1] + a[2] * b[2]; }

/// v . m, a row vector times a matrix.
inline Vec3 multiply(const Vec3& v, const Matrix3& m) {
  Vec3 result;
  for (int c = 0; c < 3; ++c) result[c] = v[0] * m[0][c] + v[1] * m[1][c] + v[2] * m[2][c];
  return result;
}

/// Lattice vectors as rows, of either handedness. Vectors of directions that do not repeat are not used: they are replaced by unit vectors
/// at right angles to the periodic ones and to each other, so that every cell, also that of a molecule, has an inverse.
class Cell {
 public:
  /// `vectors`: [3][3], A. Throws std::invalid_argument if a number is not finite or absurdly large, a periodic vector has no length,
  /// or the periodic vectors are linearly dependent.
  Cell(const double* vectors, const std::array<bool, 3>& periodic);

  bool periodic(int k) const { return periodic_[k]; }
  bool any_periodic() const { return periodic_[0] || periodic_[1] || periodic_[2]; }

  /// The completed lattice vectors, A.
  const Matrix3& vectors() const { return vectors_; }

  /// Fractional coordinates of a position r are r . inverse().
  const Matrix3& inverse() const { return inverse_; }

  /// Distance in A between the two faces of the cell that lattice vector k joins.
  double height(int k) const;

  /// Of the completed lattice vectors, A^3.
  double volume() const;

  bool same_periodicity(const Cell& other) const { return periodic_ == other.periodic_; }
  bool operator==(const Cell& other) const { return periodic_ == other.periodic_ && vectors_ == other.vectors_; }

 private:
  void complete();

  Matrix3 vectors_;
  Matrix3 inverse_;
  std::array<bool, 3> periodic_;
};

}  // namespace so3md
