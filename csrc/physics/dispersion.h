// Dispersion between quantum Drude oscillators (vdW-QDO) whose polarisabilities follow the Hirshfeld ratios.
#pragma once

#include "physics/switching.h"

namespace so3md {

/// What the dispersion kernel needs besides distance and polarisabilities. In atomic units unless stated.
template <class Real>
struct DispersionConstants {
  Real gamma0, gamma1, gamma2, gamma3;  ///< g as a polynomial in alpha^(1/7)
  Real damping;                         ///< p = damping alpha^(1/7)
  bool truncated;
  Real switch_on;      ///< R - damping length, A; this and what follows is used when truncated
  Real inverse_width;  ///< 1 / damping length, 1/A
};

/// `damping_scale` is the 1.2 of p; `cutoff` in A, infinity for none; `damping_length` in A.
template <class Real>
SO3MD_FORMULA DispersionConstants<Real> dispersion_constants(double damping_scale, double cutoff, double damping_length) {
  // R_v = a_fs^(-4/21) alpha^(1/7), the van der Waals radius that belongs to a polarisability.
  const double radius = __builtin_pow(kFineStructure, -4.0 / 21.0);
  const bool truncated = cutoff < 1e300;
  return {static_cast<Real>(-0.00433008),
          static_cast<Real>(0.24428889 * radius),
          static_cast<Real>(0.04125273 * radius * radius),
          static_cast<Real>(-0.00078893 * radius * radius * radius),
          static_cast<Real>(damping_scale * 2 * 2.54),
          truncated,
          truncated ? static_cast<Real>(cutoff - damping_length) : Real(0),
          truncated ? static_cast<Real>(1 / damping_length) : Real(0)};
}

/// C6 / alpha^2 of an atom with a ratio of C6 of its own, Hartree, and its derivatives by both ratios.
template <class Real>
struct AtomC6 {
  Real value, by_hirshfeld_ratio, by_c6_ratio;
};

/// Equation (97): free_atom c / h^2, with the free atom's C6_0 / alpha0^2. A head may put out zero, which no atom has: then these are still
/// numbers.
SO3MD_FORMULA AtomC6<double> atom_c6(double free_atom, double hirshfeld_ratio, double c6_ratio) {
  const double h = hirshfeld_ratio < 1e-9 ? 1e-9 : hirshfeld_ratio;
  const double by_c6_ratio = free_atom / (h * h), value = by_c6_ratio * c6_ratio;
  const double usable = value < 1e-30 ? 1e-30 : value;
  return {usable, -2.0 * usable / h, by_c6_ratio};
}

/// Energy of a pair (eV) and its derivatives by distance (eV/A) and by alpha_i (eV/Bohr^3; the one by alpha_j is the same with i and j
/// exchanged), both at fixed c.
template <class Number>
struct DispersionPair {
  Number energy;
  Number d_distance;
  Number d_alpha;
  Number d_c;  ///< by c_i, eV/Hartree: for models whose C6 does not follow from the polarisability
};

/// Equations (37) to (40). With alpha = (alpha_i + alpha_j)/2, r in Bohr and c_i = C6_i / alpha_i^2 (the free atom's value where C6 scales
/// with the square; a number of the atom's own with a C6 head, eq. 97):
///     E = -S(r; R - damping length, R) [C6/(r^6+p^6) + C8/(r^8+p^8) + C10/(r^10+p^10)]
///     C6 = 2 C6_i C6_j alpha_i alpha_j / (alpha_i^2 C6_j + alpha_j^2 C6_i) = alpha_i alpha_j 2 c_i c_j/(c_i + c_j)
///     C8 = 5 C6/gamma = 10 g^2 C6,  C10 = 245/8 C6/gamma^2 = 245/2 g^4 C6,  gamma = 1/(2 g^2)
///     g = -0.00433008 + 0.24428889 R_v + 0.04125273 R_v^2 - 0.00078893 R_v^3,  R_v = a_fs^(-4/21) alpha^(1/7)
///     p = 1.2 * 2 * 2.54 alpha^(1/7)
/// Below, B is the bracket divided by C6. `root` is alpha^(1/7) and its slope; `s` the switch and its slope at r, which is not looked at
/// without cutoff.
template <class Math>
SO3MD_FORMULA DispersionPair<typename Math::Number> dispersion_pair(const DispersionConstants<typename Math::Real>& constants,
                                                                    typename Math::Number r, typename Math::Real alpha_i,
                                                                    typename Math::Number alpha_j, typename Math::Real c_i,
                                                                    typename Math::Number c_j,
                                                                    const ValueAndSlope<typename Math::Number>& root,
                                                                    const ValueAndSlope<typename Math::Number>& s) {
  using Real = typename Math::Real;
  using Number = typename Math::Number;
  const Number g = ((constants.gamma3 * root.value + constants.gamma2) * root.value + constants.gamma1) * root.value + constants.gamma0;
  const Number dg = (Real(3) * constants.gamma3 * root.value + Real(2) * constants.gamma2) * root.value + constants.gamma1;
  const Number g2 = g * g;
  const Number ratio8 = Real(10) * g2;
  const Number ratio10 = Real(122.5) * g2 * g2;

  const Number r_bohr = r * Real(1 / kBohr);
  const Number r2 = r_bohr * r_bohr, r4 = r2 * r2, r6 = r2 * r4, r8 = r4 * r4;
  const Number p = constants.damping * root.value;
  const Number p2 = p * p, p4 = p2 * p2, p6 = p2 * p4, p8 = p4 * p4;
  const Number term6 = Real(1) / (r6 + p6);
  const Number inverse8 = Real(1) / (r8 + p8);
  const Number inverse10 = Real(1) / (r4 * r6 + p4 * p6);
  const Number term8 = ratio8 * inverse8;
  const Number term10 = ratio10 * inverse10;
  const Number bracket = term6 + term8 + term10;

  // -(1/r) dB/dr, and dB/d(root): through p and through g.
  const Number weight6 = Real(6) * term6 * term6;
  const Number weight8 = Real(8) * term8 * inverse8;
  const Number weight10 = Real(10) * term10 * inverse10;
  const Number decay = r4 * (weight6 + weight8 * r2 + weight10 * r4);
  const Number d_root =
      dg * g * (Real(20) * inverse8 + Real(490) * g2 * inverse10) - constants.damping * p * p4 * (weight6 + weight8 * p2 + weight10 * p4);

  const Number share = c_j / (c_i + c_j);
  const Number c = share * (Real(2 * kHartree) * c_i);
  const Number alpha_c = alpha_j * c;
  const Number c6 = alpha_i * alpha_c;
  const Number energy = -c6 * bracket;
  const Number d_distance = c6 * decay * r * Real(1 / (kBohr * kBohr));
  const Number d_alpha = -alpha_c * (bracket + (Real(0.5) * alpha_i) * d_root * root.slope);
  const Number d_c = alpha_j * (Real(-2 * kHartree) * alpha_i) * share * share * bracket;
  if (!constants.truncated) return {energy, d_distance, d_alpha, d_c};
  return {energy * s.value, d_distance * s.value + energy * s.slope, d_alpha * s.value, d_c * s.value};
}

}  // namespace so3md
