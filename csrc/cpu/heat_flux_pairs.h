// Long-range pairs of the heat flux: electrostatics and dispersion with charges and polarisabilities in five parts
// (csrc/heat_flux/kernels.h).
#pragma once

#include "cpu/heat_flux_nodes.h"
#include "cpu/pair_kernels.h"

namespace SO3MD_CPU_NAMESPACE::heat_flux {

/// Some neighbours of one atom, by columns; the last ones, up to whole registers, contribute nothing.
struct Neighbours {
  static constexpr int kSize = PairBlock<double>::kSize;
  using Number = TwinVector<double>;
  alignas(64) double d[3][kSize], r[kSize], inverse_r[kSize];
  alignas(64) double own[kSize], other[kSize];  ///< u . v_i and u . v_j
  alignas(64) double charge[kParts][kSize], alpha[kParts][kSize], c6_factor[kParts][kSize];
  alignas(64) double value[kSize], slope[kSize];            ///< of a pair's function of r, and of the switch before
  alignas(64) double by_own[kSize], by_other[kSize];        ///< its derivatives by alpha_i and alpha_j
  alignas(64) double by_own_c6[kSize], by_other_c6[kSize];  ///< and by C6 / alpha^2 of both
  int count = 0, lanes = 0;

  /// Takes the next candidates within the cutoff.
  void fill(const PairStep& step, int i, PairCandidates& candidates) {
    alignas(64) double displacements[4 * kSize];
    int slots[kSize];
    count = step.pairs.domain->long_offsets == nullptr ? collect<double, true>(step.pairs, i, candidates, displacements, slots)
                                                       : collect<double, false>(step.pairs, i, candidates, displacements, slots);
    lanes = (count + Number::kSize - 1) / Number::kSize * Number::kSize;
    const double* v_i = step.velocities + 3 * static_cast<std::ptrdiff_t>(i);
    for (int k = 0; k < lanes; ++k) {
      const bool real = k < count;
      const int slot = real ? slots[k] : i;
      for (int a = 0; a < 3; ++a) d[a][k] = real ? displacements[4 * k + a] : (a == 0 ? 1.0 : 0.0);
      r[k] = __builtin_sqrt(d[0][k] * d[0][k] + d[1][k] * d[1][k] + d[2][k] * d[2][k]);
      inverse_r[k] = 1.0 / r[k];
      const double* v_j = step.velocities + 3 * static_cast<std::ptrdiff_t>(slot);
      own[k] = (d[0][k] * v_i[0] + d[1][k] * v_i[1] + d[2][k] * v_i[2]) * inverse_r[k];
      other[k] = (d[0][k] * v_j[0] + d[1][k] * v_j[1] + d[2][k] * v_j[2]) * inverse_r[k];
      for (int part = 0; part < kParts; ++part) {
        charge[part][k] = real && step.pairs.electrostatics ? step.charge[kParts * static_cast<std::ptrdiff_t>(slot) + part] : 0.0;
        alpha[part][k] = real && step.pairs.dispersion ? step.alpha[kParts * static_cast<std::ptrdiff_t>(slot) + part] : 0.0;
        c6_factor[part][k] = step.pairs.dispersion ? step.c6_factor[kParts * static_cast<std::ptrdiff_t>(slot) + part] : 0.0;
      }
    }
  }

  ValueAndSlope<Number> switched(double on, double inverse_width, int k) const {
    return smooth_switch<VectorMath<double>>(Number::load(r + k), on, inverse_width);
  }

  /// value and slope: F(r) and its derivative (eq. 34 to 36).
  void electrostatics(const ElectrostaticsConstants<double>& constants) {
    for (int k = 0; k < lanes; k += Number::kSize) {
      ValueAndSlope<Number> w{};
      if (constants.truncated) w = switched(constants.switch_on, constants.inverse_width, k);
      const auto pair = electrostatics_pair<VectorMath<double>>(constants, Number::load(r + k), Number::load(inverse_r + k), w);
      pair.value.store(value + k);
      pair.slope.store(slope + k);
    }
  }

  /// value and slope: the energy of a pair and its derivative by r (eq. 37 to 40); by_own to by_other_c6.
  void dispersion(const DispersionConstants<double>& constants, double alpha_i, double c_i) {
    for (int k = 0; k < lanes; k += Number::kSize) {
      ValueAndSlope<Number> s{};
      if (constants.truncated) s = switched(constants.switch_on, constants.inverse_width, k);
      const Number alpha_j = Number::load(alpha[kValue] + k), c_j = Number::load(c6_factor[kValue] + k);
      const auto root = VectorMath<double>::seventh_root((alpha_j + alpha_i) * 0.5);
      const auto pair = dispersion_pair<VectorMath<double>>(constants, Number::load(r + k), alpha_i, alpha_j, c_i, c_j, root, s);
      pair.energy.store(value + k);
      pair.d_distance.store(slope + k);
      pair.d_alpha.store(by_own + k);
      pair.d_c.store(by_own_c6 + k);
      for (int lane = k; lane < k + Number::kSize; ++lane) {
        // E = -alpha_i alpha_j c B(alpha_i + alpha_j): the derivatives differ by E / alpha alone, which is finite at alpha = 0 as
        // E / (alpha_i alpha_j) is.
        by_other[lane] =
            alpha_i == 0.0 || alpha[kValue][lane] == 0.0 ? 0.0 : by_own[lane] + value[lane] * (1.0 / alpha[kValue][lane] - 1.0 / alpha_i);
        // c_i c_j / (c_i + c_j) has the derivatives c_j^2 and c_i^2 over (c_i + c_j)^2.
        const double quotient = c_i / c6_factor[kValue][lane];
        by_other_c6[lane] = by_own_c6[lane] * quotient * quotient;
      }
    }
  }
};

/// Sums over the neighbours of an atom, for an energy of half the pairs: whole values here.
struct PairParts {
  double value = 0.0, by_own = 0.0, by_own_c6 = 0.0, rate = 0.0, moment[3] = {0.0, 0.0, 0.0};
};

/// k_e q_j F(r) of all neighbours, without q_i.
inline void add_charges(const Neighbours& n, PairParts& sums) {
  for (int k = 0; k < n.count; ++k) {
    const double q = n.charge[kValue][k], rate = n.charge[kRate][k], pull = q * n.slope[k];
    sums.value += q * n.value[k];
    sums.rate += rate * n.value[k] + pull * (n.other[k] - n.own[k]);
    for (int a = 0; a < 3; ++a)
      sums.moment[a] += (n.charge[kMoment + a][k] - n.d[a][k] * rate) * n.value[k] - n.d[a][k] * pull * n.other[k];
  }
}

/// Dispersion of all neighbours at the polarisability and C6 of the atom; by_own and by_own_c6 say what changes of these do.
inline void add_dispersion_pairs(const Neighbours& n, PairParts& sums) {
  for (int k = 0; k < n.count; ++k) {
    sums.value += n.value[k];
    sums.by_own += n.by_own[k];
    sums.by_own_c6 += n.by_own_c6[k];
    const auto by_neighbour = [&](int part) { return n.by_other[k] * n.alpha[part][k] + n.by_other_c6[k] * n.c6_factor[part][k]; };
    const double rate = by_neighbour(kRate);
    sums.rate += rate + n.slope[k] * (n.other[k] - n.own[k]);
    for (int a = 0; a < 3; ++a) sums.moment[a] += by_neighbour(kMoment + a) - n.d[a][k] * (rate + n.slope[k] * n.other[k]);
  }
}

inline void long_range_pairs(const PairStep& step, int begin, int end) {
  const auto electrostatics = electrostatics_constants<double>(step.pairs.sigma, step.pairs.cutoff);
  const auto dispersion = dispersion_constants<double>(step.pairs.damping_scale, step.pairs.cutoff, step.pairs.damping);
  Neighbours neighbours;
  for (int i = begin; i < end; ++i) {
    const std::ptrdiff_t at = kParts * static_cast<std::ptrdiff_t>(i);
    PairParts charges, attraction;
    PairCandidates candidates = pair_candidates(*step.pairs.domain, i);
    while (candidates.next < candidates.end) {
      neighbours.fill(step, i, candidates);
      if (step.pairs.electrostatics) {
        neighbours.electrostatics(electrostatics);
        add_charges(neighbours, charges);
      }
      if (step.pairs.dispersion) {
        neighbours.dispersion(dispersion, step.alpha[at], step.c6_factor[at]);
        add_dispersion_pairs(neighbours, attraction);
      }
    }
    double* energy = step.energy + at;
    const double* q = step.pairs.electrostatics ? step.charge + at : nullptr;
    const double* alpha = step.pairs.dispersion ? step.alpha + at : nullptr;
    const double* c6_factor = step.pairs.dispersion ? step.c6_factor + at : nullptr;
    const double half = 0.5 * kCoulomb;
    for (int part = 0; part < kParts; ++part) {
      const double charge_part = part == kRate ? charges.rate : part == kValue ? 0.0 : charges.moment[part - kMoment];
      const double attraction_part = part == kRate    ? attraction.rate
                                     : part == kValue ? attraction.value
                                                      : attraction.moment[part - kMoment];
      if (q != nullptr) energy[part] += half * (q[part] * charges.value + q[kValue] * charge_part);
      if (alpha != nullptr) energy[part] += 0.5 * attraction_part;
      if (alpha != nullptr && part != kValue)
        energy[part] += 0.5 * (alpha[part] * attraction.by_own + c6_factor[part] * attraction.by_own_c6);
    }
  }
}

}  // namespace SO3MD_CPU_NAMESPACE::heat_flux
