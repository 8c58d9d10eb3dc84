// The long-range pair physics: electrostatics and dispersion of each owned atom with all its neighbours.
//
// Neighbours within the cutoff are collected in blocks, by columns. The formulas (csrc/physics) then pass over a block one after the
// other, each a short loop: a processor looks only so many instructions ahead, and overlaps more pairs when each pair takes few.
#pragma once

#include "cpu/pair_math.h"
#include "physics/dispersion.h"
#include "physics/electrostatics.h"
#include "physics/long_range.h"

namespace SO3MD_CPU_NAMESPACE {

/// Some neighbours of one atom. The last vector is filled up with neighbours that contribute nothing.
template <class Real>
struct PairBlock {
  static constexpr int kSize = 256;               // 14 kB in float: within the first-level cache, long against what is done once a block
  alignas(64) Real x[kSize], y[kSize], z[kSize];  // d_ij = r_j - r_i, A
  alignas(64) Real r[kSize], inverse_r[kSize];
  alignas(64) Real charge[kSize], alpha[kSize], c6_factor[kSize];
  alignas(64) Real switch_value[kSize], switch_slope[kSize];
  alignas(64) Real root_value[kSize], root_slope[kSize];  // of the mean polarisability
  alignas(64) Real pull[kSize];                           // (1/r) dE/dr, so that dE/dd_ij = pull d_ij, eV/A^2
  int count;
};

/// Sums over the neighbours of one atom. Pair energies are whole here, and the charge of the atom itself is left out.
struct PairSums {
  double charge_gradient = 0, dispersion_energy = 0, alpha_gradient = 0, c6_gradient = 0;
  double force[3] = {0, 0, 0};
  double virial[6] = {0, 0, 0, 0, 0, 0};  // xx, yy, zz, xy, xz, yz
};

/// What is left of the candidates of one atom: sites of a list, or all sites but the atom's own.
struct PairCandidates {
  std::int64_t next, end;
};

inline PairCandidates pair_candidates(const Domain& domain, int i) {
  if (domain.long_offsets == nullptr) return {0, domain.n_sites - std::int64_t{1}};
  return {domain.long_offsets[i], domain.long_offsets[i + 1]};
}

/// Four numbers that one load or store moves.
template <class Real>
struct Quad {
  typedef Real Value __attribute__((vector_size(4 * sizeof(Real))));
  typedef Real Unaligned __attribute__((vector_size(4 * sizeof(Real)), aligned(sizeof(Real)), may_alias));
};

/// Takes candidates until PairBlock::kSize of them lie within the cutoff or none is left. Writes their displacements (rows of four, the
/// last number is meaningless) and slots, and returns how many they are.
template <class Real, bool kAllSites>
inline int collect(const LongRange<Real>& task, int i, PairCandidates& candidates, Real* displacements, int* slots) {
  const Domain& domain = *task.domain;
  const double* position_i = domain.positions + 3 * static_cast<std::int64_t>(i);
  const typename Quad<double>::Value centre = {position_i[0], position_i[1], position_i[2], 0};
  const Real cutoff_squared = static_cast<Real>(task.cutoff * task.cutoff);
  const std::int64_t last_site = domain.n_sites - 1;
  std::int64_t count = 0;
  while (count < PairBlock<Real>::kSize && candidates.next < candidates.end) {
    const std::int64_t room = PairBlock<Real>::kSize - count, left = candidates.end - candidates.next;
    const std::int64_t stop = candidates.next + (room < left ? room : left);
    for (std::int64_t k = candidates.next; k < stop; ++k) {
      const std::int64_t site = kAllSites ? k + (k >= i) : domain.long_sites[k];
      const double* p = domain.positions + 3 * site;
      // One load for three coordinates reads one number too many, which the last site does not have.
      const typename Quad<double>::Value position = site < last_site ? *reinterpret_cast<const typename Quad<double>::Unaligned*>(p)
                                                                     : typename Quad<double>::Value{p[0], p[1], p[2], 0};
      const auto d = __builtin_convertvector(position - centre, typename Quad<Real>::Value);
      *reinterpret_cast<typename Quad<Real>::Unaligned*>(displacements + 4 * count) = d;
      slots[count] = domain.slot[site];
      // What lies beyond the cutoff is overwritten by the next candidate: a branch would be mispredicted too often.
      const auto square = d * d;
      count += square[0] + square[1] + square[2] < cutoff_squared;
    }
    candidates.next = stop;
  }
  return static_cast<int>(count);
}

/// Fills the block with the next neighbours.
template <class Real>
inline void fill_block(const LongRange<Real>& task, int i, PairCandidates& candidates, PairBlock<Real>& block) {
  alignas(64) Real displacements[4 * PairBlock<Real>::kSize];
  int slots[PairBlock<Real>::kSize];
  block.count = task.domain->long_offsets == nullptr ? collect<Real, true>(task, i, candidates, displacements, slots)
                                                     : collect<Real, false>(task, i, candidates, displacements, slots);
  int count = block.count;
  for (; count % TwinVector<Real>::kSize != 0; ++count) {
    displacements[4 * count] = 1;
    displacements[4 * count + 1] = displacements[4 * count + 2] = 0;
    slots[count] = i;
  }
  for (int k = 0; k < count; ++k) {
    block.x[k] = displacements[4 * k];
    block.y[k] = displacements[4 * k + 1];
    block.z[k] = displacements[4 * k + 2];
  }
  if (task.electrostatics) {
    for (int k = 0; k < count; ++k) block.charge[k] = task.charge[slots[k]];
    for (int k = block.count; k < count; ++k) block.charge[k] = 0;
  }
  if (task.dispersion) {
    for (int k = 0; k < count; ++k) {
      block.alpha[k] = task.alpha[slots[k]];
      block.c6_factor[k] = task.c6_factor[slots[k]];
    }
    for (int k = block.count; k < count; ++k) block.alpha[k] = 0;
  }
}

/// Distances of the block; nothing pulls yet.
template <class Real>
inline void set_distances(PairBlock<Real>& block) {
  using Number = TwinVector<Real>;
  for (int k = 0; k < block.count; k += Number::kSize) {
    const Number x = Number::load(block.x + k), y = Number::load(block.y + k), z = Number::load(block.z + k);
    const Number r = VectorMath<Real>::square_root(x * x + y * y + z * z);
    r.store(block.r + k);
    (Real(1) / r).store(block.inverse_r + k);
    Number{}.store(block.pull + k);
  }
}

template <class Real>
inline void set_switch(Real on, Real inverse_width, PairBlock<Real>& block) {
  using Number = TwinVector<Real>;
  for (int k = 0; k < block.count; k += Number::kSize) {
    const auto s = smooth_switch<VectorMath<Real>>(Number::load(block.r + k), on, inverse_width);
    s.value.store(block.switch_value + k);
    s.slope.store(block.switch_slope + k);
  }
}

/// Seventh roots of the mean polarisabilities.
template <class Real>
inline void set_roots(Real alpha_i, PairBlock<Real>& block) {
  using Number = TwinVector<Real>;
  for (int k = 0; k < block.count; k += Number::kSize) {
    const auto root = VectorMath<Real>::seventh_root((Number::load(block.alpha + k) + alpha_i) * Real(0.5));
    root.value.store(block.root_value + k);
    root.slope.store(block.root_slope + k);
  }
}

template <class Real>
inline void add_electrostatics(const ElectrostaticsConstants<Real>& constants, Real charge_i, PairBlock<Real>& block, PairSums& sums) {
  using Number = TwinVector<Real>;
  if (constants.truncated) set_switch(constants.switch_on, constants.inverse_width, block);
  const Real factor = static_cast<Real>(kCoulomb) * charge_i;
  Number charge_gradient{};
  for (int k = 0; k < block.count; k += Number::kSize) {
    const Number inverse_r = Number::load(block.inverse_r + k), charge = Number::load(block.charge + k);
    const ValueAndSlope<Number> w{Number::load(block.switch_value + k), Number::load(block.switch_slope + k)};
    const auto pair = electrostatics_pair<VectorMath<Real>>(constants, Number::load(block.r + k), inverse_r, w);
    charge_gradient += charge * pair.value;
    (Number::load(block.pull + k) + charge * factor * pair.slope * inverse_r).store(block.pull + k);
  }
  sums.charge_gradient += kCoulomb * charge_gradient.total();
}

template <class Real, bool kC6Gradient>
inline void add_dispersion(const DispersionConstants<Real>& constants, Real alpha_i, Real c_i, PairBlock<Real>& block, PairSums& sums) {
  using Number = TwinVector<Real>;
  if (constants.truncated) set_switch(constants.switch_on, constants.inverse_width, block);
  set_roots(alpha_i, block);
  Number energy{}, alpha_gradient{}, c6_gradient{};
  for (int k = 0; k < block.count; k += Number::kSize) {
    const ValueAndSlope<Number> s{Number::load(block.switch_value + k), Number::load(block.switch_slope + k)};
    const ValueAndSlope<Number> root{Number::load(block.root_value + k), Number::load(block.root_slope + k)};
    const auto pair = dispersion_pair<VectorMath<Real>>(constants, Number::load(block.r + k), alpha_i, Number::load(block.alpha + k), c_i,
                                                        Number::load(block.c6_factor + k), root, s);
    energy += pair.energy;
    alpha_gradient += pair.d_alpha;
    if constexpr (kC6Gradient) c6_gradient += pair.d_c;
    (Number::load(block.pull + k) + pair.d_distance * Number::load(block.inverse_r + k)).store(block.pull + k);
  }
  sums.dispersion_energy += energy.total();
  sums.alpha_gradient += alpha_gradient.total();
  if constexpr (kC6Gradient) sums.c6_gradient += c6_gradient.total();
}

/// Force and virial from the pulls. Their many sums overlap well enough without twins, which would not fit in the registers.
template <class Real>
inline void add_forces(const PairBlock<Real>& block, PairSums& sums) {
  Vec<Real> f_x{}, f_y{}, f_z{}, v_xx{}, v_yy{}, v_zz{}, v_xy{}, v_xz{}, v_yz{};
  for (int k = 0; k < block.count; k += kWidth<Real>) {
    const Vec<Real> pull = load(block.pull + k), x = load(block.x + k), y = load(block.y + k), z = load(block.z + k);
    const Vec<Real> pull_x = pull * x, pull_y = pull * y, pull_z = pull * z;
    f_x += pull_x;
    f_y += pull_y;
    f_z += pull_z;
    v_xx += pull_x * x;
    v_yy += pull_y * y;
    v_zz += pull_z * z;
    v_xy += pull_x * y;
    v_xz += pull_x * z;
    v_yz += pull_y * z;
  }
  const Vec<Real> force[3] = {f_x, f_y, f_z}, virial[6] = {v_xx, v_yy, v_zz, v_xy, v_xz, v_yz};
  for (int k = 0; k < 3; ++k) sums.force[k] += static_cast<double>(sum<Real>(force[k]));
  for (int k = 0; k < 6; ++k) sums.virial[k] += static_cast<double>(sum<Real>(virial[k]));
}

/// Adds the sums to the rows of atom i. A pair energy belongs half to each of its atoms, and so does its share of the virial.
template <class Real>
inline void add_to_atom(const LongRange<Real>& task, int i, const PairSums& sums) {
  if (task.electrostatics) {
    task.charge_gradient[i] += sums.charge_gradient;
    task.electrostatics_energy[i] += 0.5 * static_cast<double>(task.charge[i]) * sums.charge_gradient;
  }
  if (task.dispersion) {
    task.alpha_gradient[i] += sums.alpha_gradient;
    if (task.c6_gradient != nullptr) task.c6_gradient[i] += sums.c6_gradient;
    task.dispersion_energy[i] += 0.5 * sums.dispersion_energy;
  }
  double* force = task.forces + 3 * static_cast<std::int64_t>(i);
  for (int k = 0; k < 3; ++k) force[k] += sums.force[k];
  if (task.virial == nullptr) return;
  double* virial = task.virial + 9 * static_cast<std::int64_t>(i);
  constexpr int component[9] = {0, 3, 4, 3, 1, 5, 4, 5, 2};
  for (int k = 0; k < 9; ++k) virial[k] += 0.5 * sums.virial[component[k]];
}

/// Owned atoms begin..end. Each gathers from all its neighbours and writes only its own rows, so that results do not depend on how
/// atoms are spread over threads.
template <class Real>
void long_range(const LongRange<Real>& task, int begin, int end) {
  const auto electrostatics = electrostatics_constants<Real>(task.sigma, task.cutoff);
  const auto dispersion = dispersion_constants<Real>(task.damping_scale, task.cutoff, task.damping);
  PairBlock<Real> block;
  for (int i = begin; i < end; ++i) {
    PairSums sums;
    PairCandidates candidates = pair_candidates(*task.domain, i);
    while (candidates.next < candidates.end) {
      fill_block(task, i, candidates, block);
      set_distances(block);
      if (task.electrostatics) add_electrostatics(electrostatics, task.charge[i], block, sums);
      if (task.dispersion && task.c6_gradient == nullptr)
        add_dispersion<Real, false>(dispersion, task.alpha[i], task.c6_factor[i], block, sums);
      else if (task.dispersion)
        add_dispersion<Real, true>(dispersion, task.alpha[i], task.c6_factor[i], block, sums);
      add_forces(block, sums);
    }
    add_to_atom(task, i, sums);
  }
}

}  // namespace SO3MD_CPU_NAMESPACE
