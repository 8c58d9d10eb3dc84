#include "network/radial_table.h"

#include <algorithm>
#include <cstddef>

namespace so3md {

namespace {

// Bases such as sin(k r)/r are smooth at the origin but cannot be evaluated there.
constexpr double kSmallestDistance = 1e-6;

// Solves c[i-1] + 4 c[i] + c[i+1] = right[i] for i = 0..last with c[-1] = c[1] + slope terms already moved to the right side, so that the
// first and last rows read 4 c[0] + 2 c[1] and 2 c[last-1] + 4 c[last]. `right` holds `channels` numbers a row and is overwritten.
void solve_tridiagonal(std::vector<double>& right, int last, std::size_t channels) {
  std::vector<double> factor(static_cast<std::size_t>(last) + 1);
  auto row = [&](int index) { return right.data() + static_cast<std::size_t>(index) * channels; };
  double pivot = 4.0;
  for (std::size_t c = 0; c < channels; ++c) row(0)[c] /= pivot;
  for (int i = 1; i <= last; ++i) {
    factor[static_cast<std::size_t>(i)] = (i == 1 ? 2.0 : 1.0) / pivot;
    const double lower = i == last ? 2.0 : 1.0;
    pivot = 4.0 - lower * factor[static_cast<std::size_t>(i)];
    for (std::size_t c = 0; c < channels; ++c) row(i)[c] = (row(i)[c] - lower * row(i - 1)[c]) / pivot;
  }
  for (int i = last - 1; i >= 0; --i)
    for (std::size_t c = 0; c < channels; ++c) row(i)[c] -= factor[static_cast<std::size_t>(i) + 1] * row(i + 1)[c];
}

}  // namespace

std::vector<double> fit_spline(const ChannelFunction& function, int channels, double end, int intervals) {
  const auto width = static_cast<std::size_t>(channels);
  const double step = end / intervals;
  std::vector<double> right(static_cast<std::size_t>(intervals + 1) * width);
  std::vector<double> slope(width), first_slope(width), last_slope(width);
  for (int knot = 0; knot <= intervals; ++knot) {
    double* value = right.data() + static_cast<std::size_t>(knot) * width;
    function(std::max(knot * step, kSmallestDistance), value, slope.data());
    for (std::size_t c = 0; c < width; ++c) value[c] *= 6.0;
    if (knot == 0) first_slope = slope;
    if (knot == intervals) last_slope = slope;
  }
  // The slope at an end is (c[1] - c[-1]) / (2 step).
  double* first = right.data();
  double* last = right.data() + static_cast<std::size_t>(intervals) * width;
  for (std::size_t c = 0; c < width; ++c) {
    first[c] += 2.0 * step * first_slope[c];
    last[c] -= 2.0 * step * last_slope[c];
  }
  solve_tridiagonal(right, intervals, width);

  std::vector<double> rows(static_cast<std::size_t>(intervals + 3) * width);
  std::copy(right.begin(), right.end(), rows.begin() + static_cast<std::ptrdiff_t>(width));
  const auto end_row = static_cast<std::size_t>(intervals + 2) * width;
  for (std::size_t c = 0; c < width; ++c) {
    rows[c] = rows[2 * width + c] - 2.0 * step * first_slope[c];
    rows[end_row + c] = rows[end_row - 2 * width + c] + 2.0 * step * last_slope[c];
  }
  return rows;
}

SplineWeights spline_weights(double t) {
  const double u = 1.0 - t;
  return {{u * u * u / 6.0, ((3.0 * t - 6.0) * t * t + 4.0) / 6.0, (((-3.0 * t + 3.0) * t + 3.0) * t + 1.0) / 6.0, t * t * t / 6.0},
          {-0.5 * u * u, (1.5 * t - 2.0) * t, (-1.5 * t + 1.0) * t + 0.5, 0.5 * t * t}};
}

}  // namespace so3md
