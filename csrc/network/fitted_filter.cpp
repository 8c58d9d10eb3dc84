#include "network/fitted_filter.h"

#include <algorithm>
#include <cmath>

#include "network/radial_table.h"
#include "network/spline_basis.h"

namespace so3md {

namespace {

constexpr int kFewestIntervals = 128;
constexpr int kMostIntervals = 512;
// Float arithmetic has 6e-8; a table much finer than that only costs cache.
constexpr double kTableTolerance = 1e-7;
constexpr int kErrorSamplesPerInterval = 3;
// Parts of the cutoff: the distance at which half of the table's coordinate is used up, and one that is shorter than any bond.
constexpr double kHalfFraction = 0.75;
constexpr double kShortestBond = 0.1;
// Bases such as sin(k r)/r are smooth at the origin but cannot be evaluated there.
constexpr double kSmallestTabulated = 1e-6;

// The coordinate z = r / (r + half) and back.
struct TableCoordinate {
  double half;
  double z(double r) const { return r / (r + half); }
  double r(double z_value) const { return half * z_value / (1.0 - z_value); }
  double slope(double r_value) const { return half / ((r_value + half) * (r_value + half)); }  // dz/dr
};

// Largest errors of a spline against the filter it was fitted to, between its knots.
TableError measure(const RadialFilter& filter, const std::vector<double>& rows, int intervals, double end, const TableCoordinate& to) {
  TableError error;
  error.intervals = intervals;
  error.begin = kShortestBond * end;
  const auto width = static_cast<std::size_t>(filter.channels());
  std::vector<double> exact(width), slope(width);
  for (int sample = 0; sample < intervals * kErrorSamplesPerInterval; ++sample) {
    const double t = (sample % kErrorSamplesPerInterval + 0.5) / kErrorSamplesPerInterval;
    const int interval = sample / kErrorSamplesPerInterval;
    const double r = to.r((interval + t) * to.z(end) / intervals);
    filter(r, exact.data(), slope.data());
    double b[kSplineRows], db[kSplineRows - 1];
    spline_weights(t, b, db);
    const double* row = rows.data() + static_cast<std::size_t>(interval) * width;
    double& worst_value = r < error.begin ? error.close_value : error.value;
    double& worst_derivative = r < error.begin ? error.close_derivative : error.derivative;
    for (std::size_t c = 0; c < width; ++c) {
      double value = 0.0, derivative = 0.0;
      for (std::size_t s = 0; s < kSplineRows; ++s) value += b[s] * row[s * width + c];
      for (std::size_t s = 0; s < kSplineRows - 1; ++s) derivative += db[s] * (row[(s + 1) * width + c] - row[s * width + c]);
      worst_value = std::max(worst_value, std::abs(value - exact[c]));
      worst_derivative = std::max(worst_derivative, std::abs(derivative * intervals / to.z(end) * to.slope(r) - slope[c]));
      error.scale = std::max(error.scale, std::abs(exact[c]));
    }
  }
  return error;
}

// Fits splines with more and more intervals until their error is below the tolerance.
std::vector<double> fit_within_tolerance(const RadialFilter& filter, double end, const TableCoordinate& to, TableError& error) {
  std::vector<double> slope(static_cast<std::size_t>(filter.channels()));
  const ChannelFunction function = [&](double z, double* value) { filter(std::max(to.r(z), kSmallestTabulated), value, slope.data()); };
  for (int intervals = kFewestIntervals;; intervals *= 2) {
    std::vector<double> rows = fit_spline(function, filter.channels(), to.z(end), intervals);
    error = measure(filter, rows, intervals, end, to);
    if (error.value <= kTableTolerance * error.scale || intervals >= kMostIntervals) return rows;
  }
}

}  // namespace

FittedFilter fit_radial_filter(const RadialFilter& filter, double cutoff) {
  const TableCoordinate coordinate{kHalfFraction * cutoff};
  FittedFilter out;
  out.rows = fit_within_tolerance(filter, cutoff, coordinate, out.error);
  out.channels = filter.channels();
  out.half = coordinate.half;
  out.intervals_per_unit = out.error.intervals / coordinate.z(cutoff);
  return out;
}

void TableError::take_worse(const TableError& other) {
  begin = other.begin;
  value = std::max(value, other.value);
  derivative = std::max(derivative, other.derivative);
  close_value = std::max(close_value, other.close_value);
  close_derivative = std::max(close_derivative, other.close_derivative);
  scale = std::max(scale, other.scale);
  intervals = std::max(intervals, other.intervals);
}

}  // namespace so3md
