// Real spherical harmonics of a register full of directions (eq. 11, 12 of docs/theory.md), and gradients through them.
//
// Y_lm = N_lm Q_l^|m|(z) A_m (m >= 0) or B_|m| (m < 0), where A_m + i B_m = (x + i y)^m and Q_l^m is the associated Legendre function
// without the factor (1 - z^2)^(m/2), as a polynomial of z and r^2 = 1:
//   Q_m^m = (2m-1)!!,  Q_{m+1}^m = (2m+1) z Q_m^m,  (l-m) Q_l^m = (2l-1) z Q_{l-1}^m - (l+m-1) r^2 Q_{l-2}^m
// with dQ_l^m/dz = (l+m) Q_{l-1}^m and dQ_l^m/dx = -x Q_{l-1}^{m+1}. Source: Bigi et al., J. Chem. Phys. 159, 064802 (2023),
// here without the Condon-Shortley sign.
#pragma once

#include "cpu/simd.h"
#include "network/kernels.h"

namespace SO3MD_CPU_NAMESPACE {

/// Polynomials Q, A, B of one register of directions up to the largest degree of the model.
template <class Real>
struct HarmonicPolynomials {
  Vec<Real> q[kMaxDegrees + 1][kMaxDegrees + 1];
  Vec<Real> a[kMaxDegrees + 1];
  Vec<Real> b[kMaxDegrees + 1];

  HarmonicPolynomials(int max_degree, Vec<Real> x, Vec<Real> y, Vec<Real> z) {
    a[0] = broadcast<Real>(1);
    b[0] = Vec<Real>{};
    q[0][0] = broadcast<Real>(1);
    for (int m = 1; m <= max_degree; ++m) {
      a[m] = x * a[m - 1] - y * b[m - 1];
      b[m] = x * b[m - 1] + y * a[m - 1];
      q[m][m] = static_cast<Real>(2 * m - 1) * q[m - 1][m - 1];
    }
    for (int m = 0; m < max_degree; ++m) q[m + 1][m] = static_cast<Real>(2 * m + 1) * z * q[m][m];
    for (int l = 2; l <= max_degree; ++l)
      for (int m = 0; m <= l - 2; ++m)
        q[l][m] = (static_cast<Real>(2 * l - 1) * z * q[l - 1][m] - static_cast<Real>(l + m - 1) * q[l - 2][m]) *
                  (Real(1) / static_cast<Real>(l - m));
  }

  /// Q_l^m, zero outside 0 <= m <= l.
  Vec<Real> legendre(int l, int m) const { return l < 0 || m > l ? Vec<Real>{} : q[l][m]; }
};

/// values[coordinate * stride + lane] = Y_lm for every degree of the model.
template <class Real>
inline void harmonics(const Layout& layout, const HarmonicsTable<Real>& table, Vec<Real> x, Vec<Real> y, Vec<Real> z, Real* values,
                      int stride) {
  const HarmonicPolynomials<Real> p(table.max_degree, x, y, z);
  for (int index = 0; index < layout.num_degrees; ++index) {
    const int l = layout.degree[index];
    Real* center = values + (layout.degree_offset[index] + l) * stride;
    store<Real>(center, table.prefactor[l][0] * p.q[l][0]);
    for (int m = 1; m <= l; ++m) {
      const Vec<Real> radial = table.prefactor[l][m] * p.q[l][m];
      store<Real>(center + m * stride, radial * p.a[m]);
      store<Real>(center - m * stride, radial * p.b[m]);
    }
  }
}

/// A gradient with respect to the direction, of functions of x, y and z as they stand in HarmonicPolynomials.
template <class Real>
struct DirectionGradient {
  Vec<Real> along_x = Vec<Real>{}, along_y = Vec<Real>{}, along_z = Vec<Real>{};

  /// Adds that of Q_l^m (g A_m + h B_m).
  [[gnu::always_inline]] void add(const HarmonicPolynomials<Real>& p, int l, int m, Vec<Real> x, Vec<Real> y, Vec<Real> g, Vec<Real> h) {
    // d/dx = -x Q' (g A_m + h B_m) + m Q (g A_{m-1} + h B_{m-1}), Q' = Q_{l-1}^{m+1}.
    const Vec<Real> both = g * p.a[m] + h * p.b[m];
    const Vec<Real> radial = both * p.legendre(l - 1, m + 1);
    along_x -= x * radial;
    along_y -= y * radial;
    along_z += static_cast<Real>(l + m) * both * p.legendre(l - 1, m);
    if (m == 0) return;
    const Vec<Real> turn = static_cast<Real>(m) * p.q[l][m];
    along_x += turn * (g * p.a[m - 1] + h * p.b[m - 1]);
    along_y += turn * (h * p.a[m - 1] - g * p.b[m - 1]);
  }

  /// Takes away what points outward, so that it is tangential to the unit sphere.
  [[gnu::always_inline]] void make_tangential(Vec<Real> x, Vec<Real> y, Vec<Real> z) {
    const Vec<Real> outward = along_x * x + along_y * y + along_z * z;
    along_x -= outward * x;
    along_y -= outward * y;
    along_z -= outward * z;
  }
};

/// Gradient of sum_lm gradient_lm Y_lm with respect to the direction, tangential to the unit sphere.
template <class Real>
inline void harmonics_adjoint(const Layout& layout, const HarmonicsTable<Real>& table, Vec<Real> x, Vec<Real> y, Vec<Real> z,
                              const Real* gradient, int stride, Vec<Real>& gx, Vec<Real>& gy, Vec<Real>& gz) {
  const HarmonicPolynomials<Real> p(table.max_degree, x, y, z);
  DirectionGradient<Real> sum;
  for (int index = 0; index < layout.num_degrees; ++index) {
    const int l = layout.degree[index];
    const Real* center = gradient + (layout.degree_offset[index] + l) * stride;
    for (int m = 0; m <= l; ++m) {
      const Vec<Real> g = table.prefactor[l][m] * load<Real>(center + m * stride);
      const Vec<Real> h = m == 0 ? Vec<Real>{} : table.prefactor[l][m] * load<Real>(center - m * stride);
      sum.add(p, l, m, x, y, g, h);
    }
  }
  sum.make_tangential(x, y, z);
  gx = sum.along_x;
  gy = sum.along_y;
  gz = sum.along_z;
}

/// gradients[(3 * coordinate + axis) * stride + lane]: of each Y_lm, as harmonics_adjoint has that of a sum.
template <class Real>
inline void harmonics_gradients(const Layout& layout, const HarmonicsTable<Real>& table, Vec<Real> x, Vec<Real> y, Vec<Real> z,
                                Real* gradients, int stride) {
  const HarmonicPolynomials<Real> p(table.max_degree, x, y, z);
  for (int index = 0; index < layout.num_degrees; ++index) {
    const int l = layout.degree[index];
    for (int order = -l; order <= l; ++order) {
      const int m = order < 0 ? -order : order;
      const Vec<Real> factor = broadcast<Real>(table.prefactor[l][m]), none = Vec<Real>{};
      DirectionGradient<Real> gradient;
      gradient.add(p, l, m, x, y, order < 0 ? none : factor, order < 0 ? factor : none);
      gradient.make_tangential(x, y, z);
      Real* const row = gradients + 3 * (layout.degree_offset[index] + l + order) * stride;
      store<Real>(row, gradient.along_x);
      store<Real>(row + stride, gradient.along_y);
      store<Real>(row + 2 * stride, gradient.along_z);
    }
  }
}

}  // namespace SO3MD_CPU_NAMESPACE
