#include "geometry/partition.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <span>

namespace so3md {

namespace {

// Coordinates along the normals of the cell's faces, A, wrapped in periodic directions: cuts are then parallel to the faces.
std::vector<Vec3> heights_of_atoms(int n, const double* positions, const Cell& cell) {
  std::vector<Vec3> out(static_cast<std::size_t>(n));
  for (std::size_t i = 0; i < out.size(); ++i) {
    const Vec3 fraction = multiply({positions[3 * i], positions[3 * i + 1], positions[3 * i + 2]}, cell.inverse());
    for (int k = 0; k < 3; ++k) {
      const auto at = static_cast<std::size_t>(k);
      out[i][at] = (cell.periodic(k) ? fraction[at] - std::floor(fraction[at]) : fraction[at]) * cell.height(k);
    }
  }
  return out;
}

class Bisection {
 public:
  Bisection(const std::vector<Vec3>& places, std::vector<int>& process) : places_(places), process_(process) {}

  void divide(std::span<int> atoms, int first_process, int count) {
    if (count == 1) {
      for (int atom : atoms) process_[static_cast<std::size_t>(atom)] = first_process;
      return;
    }
    const int left = count / 2;
    const std::size_t cut = atoms.size() * static_cast<std::size_t>(left) / static_cast<std::size_t>(count);
    const std::size_t axis = longest_side(atoms);
    const auto before = [&](int a, int b) {
      const double at_a = places_[static_cast<std::size_t>(a)][axis], at_b = places_[static_cast<std::size_t>(b)][axis];
      return at_a != at_b ? at_a < at_b : a < b;
    };
    if (cut < atoms.size()) std::nth_element(atoms.begin(), atoms.begin() + static_cast<std::ptrdiff_t>(cut), atoms.end(), before);
    divide(atoms.first(cut), first_process, left);
    divide(atoms.subspan(cut), first_process + left, count - left);
  }

 private:
  std::size_t longest_side(std::span<const int> atoms) const {
    std::size_t longest = 0;
    double length = -1.0;
    for (std::size_t axis = 0; axis < 3; ++axis) {
      double low = std::numeric_limits<double>::infinity(), high = -low;
      for (int atom : atoms) {
        low = std::min(low, places_[static_cast<std::size_t>(atom)][axis]);
        high = std::max(high, places_[static_cast<std::size_t>(atom)][axis]);
      }
      if (high - low > length) {
        length = high - low;
        longest = axis;
      }
    }
    return longest;
  }

  const std::vector<Vec3>& places_;
  std::vector<int>& process_;
};

}  // namespace

std::vector<int> partition(int n, const double* positions, const Cell& cell, int num_processes) {
  std::vector<int> process(static_cast<std::size_t>(n), 0);
  const std::vector<Vec3> places = heights_of_atoms(n, positions, cell);
  std::vector<int> atoms(static_cast<std::size_t>(n));
  std::iota(atoms.begin(), atoms.end(), 0);
  Bisection(places, process).divide(atoms, 0, num_processes);
  return process;
}

}  // namespace so3md
