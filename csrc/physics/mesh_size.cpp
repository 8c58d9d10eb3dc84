#include "physics/mesh_size.h"

#include <algorithm>
#include <cmath>
#include <numbers>

#include "common/formula.h"
#include "physics/wave_vectors.h"

namespace so3md {

namespace {

using std::numbers::pi;

// Of k-space, along one direction: the integrand is smooth, and a hundredth of the error is no matter.
constexpr int kSamples = 48;

double length(const Vec3& v) { return std::sqrt(v[0] * v[0] + v[1] * v[1] + v[2] * v[2]); }

double power_of(double base, int exponent) {
  double result = 1.0;
  for (; exponent > 0; exponent /= 2, base *= base)
    if (exponent % 2 == 1) result *= base;
  return result;
}

// Along one direction: what waves k beget at k - step and at k + step, where step = 2 pi / spacing, as the integral in docs/theory.md,
// section 11, "Which mesh".
double alias_integral(double sigma, double spacing, int order, double skewness) {
  const double step = 2.0 * pi / spacing, interval = 0.5 * step / kSamples, square = sigma * sigma;
  const double across = step * step * (skewness * skewness - 1.0);
  double sum = 0.0;
  for (int sample = 0; sample < kSamples; ++sample) {
    const double k = (sample + 0.5) * interval, gaussian = std::exp(-0.5 * square * k * k) / power_of(k, 4);
    for (const double other : {step - k, step + k})
      sum += gaussian * power_of(k / other, 2 * order) * (other * other + k * k + across + 4.0 / square);
  }
  return 2.0 * sum * interval / square;  // of k and -k
}

// The next number that has no prime factors but 2, 3 and 5.
int next_smooth(int number) {
  for (;; ++number) {
    int rest = number;
    for (const int factor : {2, 3, 5})
      while (rest % factor == 0) rest /= factor;
    if (rest == 1) return number;
  }
}

std::array<double, 3> skewness_of(const Cell& cell) {
  std::array<double, 3> out;
  for (int j = 0; j < 3; ++j) out[static_cast<std::size_t>(j)] = length(cell.vectors()[static_cast<std::size_t>(j)]) / cell.height(j);
  return out;
}

}  // namespace

double mesh_force_error(double density, double sigma, double spacing, int order, const std::array<double, 3>& skewness) {
  double sum = 0.0;
  for (const double each : skewness) sum += alias_integral(sigma, spacing, order, each);
  const double left_out = ewald_force_error(density, sigma, pi / spacing);
  return std::sqrt(4.0 * kCoulomb * kCoulomb * density * sum + left_out * left_out);
}

MeshSize choose_mesh_size(const Cell& cell, double density, double sigma, double accuracy, int order) {
  const std::array<double, 3> skewness = skewness_of(cell);
  double fine = 1e-3 * sigma, coarse = sigma;
  for (int step = 0; step < 24; ++step) {
    const double middle = std::sqrt(fine * coarse);
    (mesh_force_error(density, sigma, middle, order, skewness) > accuracy ? coarse : fine) = middle;
  }
  MeshSize size;
  size.order = order;
  for (std::size_t j = 0; j < 3; ++j) {
    const double wanted = std::min(1e6, std::ceil(length(cell.vectors()[j]) / fine));
    const int least = std::max(order, static_cast<int>(wanted)), multiple = j == 2 ? 4 : 1;
    size.points[j] = multiple * next_smooth((least + multiple - 1) / multiple);
  }
  return size;
}

}  // namespace so3md
