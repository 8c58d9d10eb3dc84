#include "geometry/cell.h"

#include <cmath>
#include <stdexcept>
#include <string>

#include "common/number_text.h"

namespace so3md {

namespace {

// Volume of the parallelepiped of unit vectors along the lattice vectors; 1 for right angles. The limit admits every cell in which
// distances still have some digits.
constexpr double kSmallestUnitVolume = 1e-6;
constexpr double kShortestVector = 1e-6;  // A

double norm(const Vec3& a) { return std::hypot(a[0], a[1], a[2]); }

Vec3 cross(const Vec3& a, const Vec3& b) { return {a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]}; }

Vec3 unit(const Vec3& a) {
  const double length = norm(a);
  return {a[0] / length, a[1] / length, a[2] / length};
}

// A unit vector at right angles to a.
Vec3 any_normal(const Vec3& a) {
  int smallest = 0;
  for (int k = 1; k < 3; ++k) {
    if (std::abs(a[k]) < std::abs(a[smallest])) smallest = k;
  }
  Vec3 axis{};
  axis[smallest] = 1;
  return unit(cross(a, axis));
}

void require_usable(const Matrix3& vectors, const std::array<bool, 3>& periodic) {
  for (int k = 0; k < 3; ++k) {
    const std::string name = "cell vector " + std::to_string(k + 1) + " of 3";
    for (double component : vectors[k]) {
      if (!(std::abs(component) < kLargestCoordinate)) {
        throw std::invalid_argument(name + " has the component " + number_text(component) +
                                    ": expected finite lengths in Angstrom, below 1e8");
      }
    }
    if (periodic[k] && norm(vectors[k]) < kShortestVector) {
      throw std::invalid_argument(name +
                                  " has zero length, but its direction is periodic: give the vector a length in Angstrom or set pbc[" +
                                  std::to_string(k) + "] to false");
    }
  }
}

}  // namespace

Cell::Cell(const double* vectors, const std::array<bool, 3>& periodic) : periodic_(periodic) {
  for (int k = 0; k < 3; ++k) vectors_[k] = {vectors[3 * k], vectors[3 * k + 1], vectors[3 * k + 2]};
  require_usable(vectors_, periodic_);
  complete();
  const auto& [a, b, c] = vectors_;
  const double unit_volume = dot(unit(a), cross(unit(b), unit(c)));
  if (!(std::abs(unit_volume) > kSmallestUnitVolume)) {
    throw std::invalid_argument(
        "the periodic cell vectors are linearly dependent (they span no volume): give independent vectors, "
        "or set pbc to false in directions that do not repeat");
  }
  const double volume = dot(a, cross(b, c));
  const Matrix3 reciprocal = {cross(b, c), cross(c, a), cross(a, b)};
  for (int row = 0; row < 3; ++row) {
    for (int k = 0; k < 3; ++k) inverse_[row][k] = reciprocal[k][row] / volume;
  }
}

void Cell::complete() {
  const int count = int{periodic_[0]} + int{periodic_[1]} + int{periodic_[2]};
  if (count == 3) return;
  if (count == 0) {
    vectors_ = {Vec3{1, 0, 0}, Vec3{0, 1, 0}, Vec3{0, 0, 1}};
    return;
  }
  int first = 0;
  if (count == 1) {
    while (!periodic_[first]) ++first;
  } else {
    while (periodic_[first]) ++first;
  }
  const int second = (first + 1) % 3;
  const int third = (first + 2) % 3;
  if (count == 1) {
    vectors_[second] = any_normal(vectors_[first]);
    vectors_[third] = unit(cross(vectors_[first], vectors_[second]));
    return;
  }
  const Vec3 normal = cross(unit(vectors_[second]), unit(vectors_[third]));
  // Parallel vectors have no normal; zero makes the caller's check of the volume fail, with its message.
  vectors_[first] = norm(normal) > kSmallestUnitVolume ? unit(normal) : Vec3{0, 0, 0};
}

double Cell::volume() const { return std::abs(dot(vectors_[0], cross(vectors_[1], vectors_[2]))); }

double Cell::height(int k) const { return 1 / std::hypot(inverse_[0][k], inverse_[1][k], inverse_[2][k]); }

}  // namespace so3md
