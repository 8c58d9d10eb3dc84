#include "paper2022/clebsch_gordan.h"

#include <algorithm>
#include <cmath>
#include <complex>
#include <numbers>

namespace so3md::paper2022 {

namespace {

using Complex = std::complex<double>;

double factorial(int n) { return std::round(std::tgamma(n + 1.0)); }

// <l1 m1 l2 m2 | l3 m3> by the formula of Racah (Varshalovich et al., Quantum Theory of Angular Momentum, 8.2.1).
double coupled(int l1, int m1, int l2, int m2, int l3, int m3) {
  if (m1 + m2 != m3) return 0.0;
  const double triangle =
      factorial(l1 + l2 - l3) * factorial(l1 - l2 + l3) * factorial(-l1 + l2 + l3) / factorial(l1 + l2 + l3 + 1) * (2 * l3 + 1);
  const double projections =
      factorial(l1 + m1) * factorial(l1 - m1) * factorial(l2 + m2) * factorial(l2 - m2) * factorial(l3 + m3) * factorial(l3 - m3);
  double sum = 0.0;
  const int first = std::max({0, l2 - l3 - m1, l1 - l3 + m2}), last = std::min({l1 + l2 - l3, l1 - m1, l2 + m2});
  for (int k = first; k <= last; ++k) {
    const double term = 1.0 / (factorial(k) * factorial(l1 + l2 - l3 - k) * factorial(l1 - m1 - k) * factorial(l2 + m2 - k) *
                               factorial(l3 - l2 + m1 + k) * factorial(l3 - l1 - m2 + k));
    sum += k % 2 == 0 ? term : -term;
  }
  return std::sqrt(triangle * projections) * sum;
}

// <complex harmonic m | real harmonic r>; the Condon-Shortley sign is in the complex ones.
Complex overlap(int m, int r) {
  if (std::abs(m) != std::abs(r)) return 0.0;
  if (r == 0) return 1.0;
  const double sign = r % 2 == 0 ? 1.0 : -1.0;
  if (r > 0) return m > 0 ? sign / std::numbers::sqrt2 : 1.0 / std::numbers::sqrt2;
  return m > 0 ? Complex(0.0, -sign / std::numbers::sqrt2) : Complex(0.0, 1.0 / std::numbers::sqrt2);
}

}  // namespace

std::vector<double> clebsch_gordan(int l1, int l2, int l3) {
  const int n1 = 2 * l1 + 1, n2 = 2 * l2 + 1, n3 = 2 * l3 + 1;
  std::vector<double> out(static_cast<std::size_t>(n1 * n2 * n3));
  if (l3 < std::abs(l1 - l2) || l3 > l1 + l2) return out;
  // In real harmonics, coefficients of an odd sum of degrees are imaginary. i^(l1 + l2 - l3) makes all real.
  const Complex phase = std::pow(Complex(0.0, 1.0), l1 + l2 - l3) / std::sqrt(static_cast<double>(n3));
  for (int r1 = -l1; r1 <= l1; ++r1)
    for (int r2 = -l2; r2 <= l2; ++r2)
      for (int r3 = -l3; r3 <= l3; ++r3) {
        Complex sum = 0.0;
        for (int m1 = -l1; m1 <= l1; ++m1)
          for (int m2 = -l2; m2 <= l2; ++m2) {
            const int m3 = m1 + m2;
            if (std::abs(m3) > l3) continue;
            sum += std::conj(overlap(m1, r1) * overlap(m2, r2)) * overlap(m3, r3) * coupled(l1, m1, l2, m2, l3, m3);
          }
        out[static_cast<std::size_t>(((r1 + l1) * n2 + r2 + l2) * n3 + r3 + l3)] = (phase * sum).real();
      }
  return out;
}

}  // namespace so3md::paper2022
