// Real spherical harmonics of one direction (eq. 11, 12 of docs/theory.md), and gradients through them; recursions as in
// csrc/cpu/harmonics.h, unrolled so that polynomials stay in registers.
#pragma once

#include "cuda/network/layout.h"
#include "network/kernels.h"

namespace so3md::cuda {

inline constexpr int kCommonDegree = 4;  ///< the largest degree of the published models

/// Polynomials Q_l^m(z), A_m and B_m with A_m + i B_m = (x + i y)^m up to degree kMost.
template <class Real, int kMost>
struct HarmonicPolynomials {
  Real q[kMost + 1][kMost + 1];
  Real a[kMost + 1], b[kMost + 1];

  __device__ __forceinline__ HarmonicPolynomials(Real x, Real y, Real z) {
    a[0] = q[0][0] = Real(1);
    b[0] = Real(0);
#pragma unroll
    for (int m = 1; m <= kMost; ++m) {
      a[m] = x * a[m - 1] - y * b[m - 1];
      b[m] = x * b[m - 1] + y * a[m - 1];
      q[m][m] = static_cast<Real>(2 * m - 1) * q[m - 1][m - 1];
    }
#pragma unroll
    for (int m = 0; m < kMost; ++m) q[m + 1][m] = static_cast<Real>(2 * m + 1) * z * q[m][m];
#pragma unroll
    for (int l = 2; l <= kMost; ++l)
#pragma unroll
      for (int m = 0; m <= l - 2; ++m)
        q[l][m] = (static_cast<Real>(2 * l - 1) * z * q[l - 1][m] - static_cast<Real>(l + m - 1) * q[l - 2][m]) *
                  (Real(1) / static_cast<Real>(l - m));
  }

  /// Q_l^m, zero outside 0 <= m <= l.
  __device__ __forceinline__ Real legendre(int l, int m) const { return l < 0 || m > l ? Real(0) : q[l][m]; }
};

template <class Real>
struct Direction {
  Real x, y, z;
};

/// values[coordinate] = Y_lm for every degree of the model up to kMost.
template <class Real, int kMost>
__device__ __forceinline__ void harmonics_up_to(const NetworkLayout& layout, const HarmonicsTable<Real>& table, Direction<Real> u,
                                                Real* values) {
  const HarmonicPolynomials<Real, kMost> p(u.x, u.y, u.z);
#pragma unroll
  for (int l = 0; l <= kMost; ++l) {
    for (int copy = 0; copy < layout.copies_of_degree[l]; ++copy) {
      Real* centre = values + layout.offset_of_degree[l] + copy * (2 * l + 1) + l;
      centre[0] = table.prefactor[l][0] * p.q[l][0];
#pragma unroll
      for (int m = 1; m <= l; ++m) {
        const Real radial = table.prefactor[l][m] * p.q[l][m];
        centre[m] = radial * p.a[m];
        centre[-m] = radial * p.b[m];
      }
    }
  }
}

template <class Real>
__device__ __forceinline__ void harmonics(const NetworkLayout& layout, const HarmonicsTable<Real>& table, Direction<Real> u, Real* values) {
  if (layout.max_degree <= kCommonDegree)
    harmonics_up_to<Real, kCommonDegree>(layout, table, u, values);
  else
    harmonics_up_to<Real, kMaxDegree>(layout, table, u, values);
}

/// Gradient of sum_lm gradient[lm] Y_lm with respect to the direction, tangential to the unit sphere.
template <class Real, int kMost>
__device__ __forceinline__ Direction<Real> harmonics_adjoint_up_to(const NetworkLayout& layout, const HarmonicsTable<Real>& table,
                                                                   Direction<Real> u, const Real* gradient) {
  const HarmonicPolynomials<Real, kMost> p(u.x, u.y, u.z);
  Real along_x = Real(0), along_y = Real(0), along_z = Real(0);
#pragma unroll
  for (int l = 0; l <= kMost; ++l) {
    const int copies = layout.copies_of_degree[l];
    if (copies == 0) continue;
    const Real* centre = gradient + layout.offset_of_degree[l] + l;
    // Copies of a degree have the same harmonics, so that their gradients add up.
    const auto at = [&](int m) {
      Real sum = centre[m];
      for (int copy = 1; copy < copies; ++copy) sum += centre[copy * (2 * l + 1) + m];
      return sum;
    };
#pragma unroll
    for (int m = 0; m <= l; ++m) {
      // With g the gradient for A_m and h that for B_m: d/dx = N [-x Q' (g A_m + h B_m) + m Q (g A_{m-1} + h B_{m-1})], Q' = Q_{l-1}^{m+1}.
      const Real g = table.prefactor[l][m] * at(m);
      const Real h = m == 0 ? Real(0) : table.prefactor[l][m] * at(-m);
      const Real both = g * p.a[m] + h * p.b[m];
      const Real radial = both * p.legendre(l - 1, m + 1);
      along_x -= u.x * radial;
      along_y -= u.y * radial;
      along_z += static_cast<Real>(l + m) * both * p.legendre(l - 1, m);
      if (m == 0) continue;
      const Real turn = static_cast<Real>(m) * p.q[l][m];
      along_x += turn * (g * p.a[m - 1] + h * p.b[m - 1]);
      along_y += turn * (h * p.a[m - 1] - g * p.b[m - 1]);
    }
  }
  const Real outward = along_x * u.x + along_y * u.y + along_z * u.z;
  return {along_x - outward * u.x, along_y - outward * u.y, along_z - outward * u.z};
}

template <class Real>
__device__ __forceinline__ Direction<Real> harmonics_adjoint(const NetworkLayout& layout, const HarmonicsTable<Real>& table,
                                                             Direction<Real> u, const Real* gradient) {
  if (layout.max_degree <= kCommonDegree) return harmonics_adjoint_up_to<Real, kCommonDegree>(layout, table, u, gradient);
  return harmonics_adjoint_up_to<Real, kMaxDegree>(layout, table, u, gradient);
}

}  // namespace so3md::cuda
