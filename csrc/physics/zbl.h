// Screened nuclear repulsion: after Ziegler, Biersack and Littmark, with the model's own screening, or after Nordlund, Lehtola and Hobler
// (NLH, arXiv:2501.06617), with constants for each pair of elements.
#pragma once

#include <cstddef>
#include <vector>

#include "physics/switching.h"

namespace so3md {

struct Model;

/// What the repulsion of a pair needs besides its atoms.
template <class Real>
struct ZblConstants {
  Real exponent[4];     ///< a_q
  Real coefficient[4];  ///< c_q, with the sum 1
  Real switch_on;       ///< A
  Real inverse_width;   ///< 1/(switch_off - switch_on), 1/A
};

/// Equation (33): energy of one directed edge, half of that of a pair, and its derivative by r (eV, eV/A),
///     E = 1/2 S(r; on, off) k_e phi(r) Z_i Z_j / r sum_q c_q exp(-a_q rho),  rho = r (Z_i^p + Z_j^p) d.
/// `cutoff` is phi(r) with its derivative, `screening` is (Z_i^p + Z_j^p) d, `charges` is Z_i Z_j. NLH (eq. 96) is the same with two
/// exponentials whose constants belong to the pair, and a screening of 1/A.
template <class Math>
SO3MD_FORMULA ValueAndSlope<typename Math::Number> zbl_edge(const ZblConstants<typename Math::Real>& constants, typename Math::Number r,
                                                            const ValueAndSlope<typename Math::Number>& cutoff,
                                                            typename Math::Number charges, typename Math::Number screening) {
  using Real = typename Math::Real;
  using Number = typename Math::Number;
  Number screen = Math::constant(0), screen_slope = Math::constant(0);
  for (int q = 0; q < 4; ++q) {
    const Number term = constants.coefficient[q] * Math::exponential(-constants.exponent[q] * screening * r);
    screen += term;
    screen_slope -= constants.exponent[q] * screening * term;
  }
  const ValueAndSlope<Number> s = smooth_switch<Math>(r, constants.switch_on, constants.inverse_width);
  const Number coulomb = Real(0.5 * kCoulomb) * charges / r;
  const Number window = s.value * cutoff.value;
  const Number window_slope = s.slope * cutoff.value + s.value * cutoff.slope;
  return {coulomb * window * screen, coulomb * (window_slope * screen + window * (screen_slope - screen / r))};
}

/// The repulsion of a model in double precision, for the few edges that are short enough. Nothing in it is compiled more than once.
class Zbl {
 public:
  static constexpr int kMaxSpecies = 118;

  /// Copies what it needs. A model without this term gives energies of zero.
  explicit Zbl(const Model& model);

  /// Where the repulsion ends, A.
  double switch_off() const { return switch_off_; }

  /// What zbl_edge() asks for, to be used elsewhere, for all pairs (models with ZBL); by species: Z, and d Z^p in 1/A.
  const ZblConstants<double>& constants() const { return constants_; }
  /// The same for NLH, [species][species]; empty for ZBL.
  const std::vector<ZblConstants<double>>& pairs() const { return pairs_; }
  const double* charges() const { return charge_; }
  const double* screenings() const { return screening_; }

  /// Energy of one directed edge in eV (it includes the 1/2), exactly 0 from switch_off on. Species are positions in Model::elements, r is
  /// the distance in A, phi and dphi_dr the short-range cutoff function and its derivative. Sets *derivative to dE/dr in eV/A.
  double energy(int species_i, int species_j, double r, double phi, double dphi_dr, double* derivative) const;

 private:
  void set_zbl(const Model& model);
  void set_nlh(const Model& model);

  ZblConstants<double> constants_{};
  std::vector<ZblConstants<double>> pairs_;  // [species][species] for NLH, else empty
  std::size_t num_species_ = 0;
  double switch_off_ = 0.0;
  double charge_[kMaxSpecies] = {};     // Z
  double screening_[kMaxSpecies] = {};  // d Z^p, 1/A
};

}  // namespace so3md
