#include "network/radial_table.h"

#include <algorithm>
#include <cmath>
#include <cstddef>

#include "network/spline_basis.h"

namespace so3md {

namespace {

// Where the spline is made to agree with the function, in intervals.
std::vector<double> collocation_points(int intervals) {
  std::vector<double> points;
  for (int knot = 0; knot <= intervals; ++knot) points.push_back(knot);
  for (double middle : {0.5, 1.5, intervals - 0.5, intervals - 1.5}) points.push_back(middle);
  std::sort(points.begin(), points.end());
  return points;
}

// Gaussian elimination within a band, without pivoting: collocation matrices of B-splines are totally positive. `matrix` is square with
// `size` rows, `right` has `channels` numbers a row and becomes the solution.
void solve_banded(std::vector<double>& matrix, std::size_t size, std::vector<double>& right, std::size_t channels) {
  constexpr std::size_t band = kSplineRows;
  for (std::size_t pivot = 0; pivot < size; ++pivot)
    for (std::size_t row = pivot + 1; row < std::min(size, pivot + band); ++row) {
      const double factor = matrix[row * size + pivot] / matrix[pivot * size + pivot];
      if (factor == 0.0) continue;
      for (std::size_t column = pivot; column < std::min(size, pivot + 2 * band); ++column)
        matrix[row * size + column] -= factor * matrix[pivot * size + column];
      for (std::size_t c = 0; c < channels; ++c) right[row * channels + c] -= factor * right[pivot * channels + c];
    }
  for (std::size_t row = size; row-- > 0;) {
    for (std::size_t column = row + 1; column < std::min(size, row + 2 * band); ++column)
      for (std::size_t c = 0; c < channels; ++c) right[row * channels + c] -= matrix[row * size + column] * right[column * channels + c];
    for (std::size_t c = 0; c < channels; ++c) right[row * channels + c] /= matrix[row * size + row];
  }
}

}  // namespace

std::vector<double> fit_spline(const ChannelFunction& function, int channels, double end, int intervals) {
  const std::vector<double> points = collocation_points(intervals);
  const std::size_t size = points.size(), width = static_cast<std::size_t>(channels);
  std::vector<double> matrix(size * size), rows(size * width);
  for (std::size_t k = 0; k < size; ++k) {
    function(points[k] * end / intervals, rows.data() + k * width);
    const int interval = std::min(static_cast<int>(points[k]), intervals - 1);
    double value[kSplineRows], difference[kSplineRows - 1];
    spline_weights(points[k] - interval, value, difference);
    for (std::size_t s = 0; s < kSplineRows; ++s) matrix[k * size + static_cast<std::size_t>(interval) + s] = value[s];
  }
  solve_banded(matrix, size, rows, width);
  return rows;
}

}  // namespace so3md
