// The long-range pair physics: electrostatics and dispersion of each owned atom with all its neighbours.
#pragma once

#include "cpu/pair_math.h"
#include "physics/dispersion.h"
#include "physics/electrostatics.h"
#include "physics/long_range.h"

namespace SO3MD_CPU_NAMESPACE {

/// Neighbours of one atom within the cutoff, by columns so that vectors of them can be loaded.
template <class Real>
struct PairBlock {
  static constexpr int kSize = 128;  // about 4 kB in float: small against the first-level cache, long against what is done once a block
  alignas(64) Real x[kSize], y[kSize], z[kSize];  ///< d_ij = r_j - r_i, A
  alignas(64) Real charge[kSize], alpha[kSize], c6_factor[kSize];
  alignas(64) Real r[kSize], inverse_r[kSize];
  alignas(64) Real switch_value[kSize], switch_slope[kSize], root_value[kSize], root_slope[kSize];
  alignas(64) Real pull[kSize];  ///< (1/r) dE/dr of the pair energies, eV/A^2
  int count;
};

/// Sums over the neighbours of one atom; pair energies are still whole.
struct PairSums {
  double dispersion_energy = 0, charge_gradient = 0, alpha_gradient = 0;
  double force[3] = {0, 0, 0};
  double virial[6] = {0, 0, 0, 0, 0, 0};  // xx, yy, zz, xy, xz, yz
};

template <class Real>
using Twin = TwinVector<Real>;
template <class Real>
inline void add_lanes(double& total, Twin<Real> value) {
  for (int lane = 0; lane < kWidth<Real>; ++lane) total += static_cast<double>(value.first[lane] + value.second[lane]);
}

/// Four numbers of one site side by side, so that one load and one store move them.
template <class Real>
struct Row {
  typedef Real Type __attribute__((vector_size(4 * sizeof(Real))));
  typedef Real Unaligned __attribute__((vector_size(4 * sizeof(Real)), aligned(sizeof(Real)), may_alias));
};

struct PairCandidates {
  std::int64_t next, end;
};

inline PairCandidates pair_candidates(const Domain& domain, int i) {
  if (domain.long_offsets == nullptr) return {0, domain.n_sites - 1};
  return {domain.long_offsets[i], domain.long_offsets[i + 1]};
}

template <class Real, bool kAllSites>
inline int collect(const LongRange<Real>& task, int i, PairCandidates& candidates, Real* rows, int* slots) {
  const double* positions = task.domain->positions;
  const int* site_slot = task.domain->slot;
  const int* sites = task.domain->long_sites;
  using Wide = typename Row<double>::Type;
  const double* at = positions + 3 * static_cast<std::int64_t>(i);
  const Wide centre{at[0], at[1], at[2], 0};
  const Real cutoff_squared = static_cast<Real>(task.cutoff * task.cutoff);
  int count = 0;
  std::int64_t k = candidates.next;
  const std::int64_t end = candidates.end;
  for (; k < end && count < PairBlock<Real>::kSize; ++k) {
    const std::int64_t site = kAllSites ? k + (k >= i) : sites[k];
    const Wide d = *reinterpret_cast<const typename Row<double>::Unaligned*>(positions + 3 * site) - centre;
    const auto row = __builtin_convertvector(d, typename Row<Real>::Type);
    *reinterpret_cast<typename Row<Real>::Unaligned*>(rows + 4 * count) = row;
    slots[count] = site_slot[site];
    const auto square = row * row;
    // Whatever is beyond the cutoff is overwritten by the next candidate; a branch would often be predicted wrongly.
    count += static_cast<int>(square[0] + square[1] + square[2] < cutoff_squared);
  }
  candidates.next = k;
  return count;
}

/// Fills the block with the next candidates that lie within the cutoff, and the rest of its last vector with neighbours that
/// contribute nothing. Returns false when there were none.
template <class Real>
inline bool fill_block(const LongRange<Real>& task, int i, PairCandidates& candidates, PairBlock<Real>& block) {
  alignas(64) Real rows[4 * PairBlock<Real>::kSize];
  int slots[PairBlock<Real>::kSize];
  int count = task.domain->long_offsets == nullptr ? collect<Real, true>(task, i, candidates, rows, slots)
                                                   : collect<Real, false>(task, i, candidates, rows, slots);
  block.count = count;
  for (; count % Twin<Real>::kSize != 0; ++count) {
    rows[4 * count] = 1;
    rows[4 * count + 1] = rows[4 * count + 2] = 0;
    slots[count] = i;
  }
  for (int k = 0; k < count; ++k) {
    block.x[k] = rows[4 * k];
    block.y[k] = rows[4 * k + 1];
    block.z[k] = rows[4 * k + 2];
  }
  if (task.electrostatics)
    for (int k = 0; k < count; ++k) block.charge[k] = task.charge[slots[k]];
  if (task.dispersion)
    for (int k = 0; k < count; ++k) {
      block.alpha[k] = task.alpha[slots[k]];
      block.c6_factor[k] = task.c6_factor[slots[k]];
    }
  for (int k = block.count; k < count; ++k) block.charge[k] = block.alpha[k] = 0;
  return block.count > 0;
}

/// Distances of the block.
template <class Real>
inline void set_distances(PairBlock<Real>& block) {
  for (int k = 0; k < block.count; k += Twin<Real>::kSize) {
    const Twin<Real> x = Twin<Real>::load(block.x + k), y = Twin<Real>::load(block.y + k), z = Twin<Real>::load(block.z + k);
    const Twin<Real> r = VectorMath<Real>::square_root(x * x + y * y + z * z);
    (r).store(block.r + k);
    (Real(1) / r).store(block.inverse_r + k);
    Twin<Real>{}.store(block.pull + k);
  }
}

template <class Real>
inline void set_switch(Real on, Real inverse_width, PairBlock<Real>& block) {
  for (int k = 0; k < block.count; k += Twin<Real>::kSize) {
    const auto value = smooth_switch<VectorMath<Real>>(Twin<Real>::load(block.r + k), on, inverse_width);
    (value.value).store(block.switch_value + k);
    (value.slope).store(block.switch_slope + k);
  }
}

template <class Real>
inline void add_electrostatics(const ElectrostaticsConstants<Real>& constants, Real charge_i, PairBlock<Real>& block, PairSums& sums) {
  using Number = Twin<Real>;
  if (constants.truncated) set_switch(constants.switch_on, constants.inverse_width, block);
  const Real factor = static_cast<Real>(kCoulomb) * charge_i;
  Number charge_gradient{};
  for (int k = 0; k < block.count; k += Twin<Real>::kSize) {
    const Number inverse_r = Twin<Real>::load(block.inverse_r + k), charge = Twin<Real>::load(block.charge + k);
    const ValueAndSlope<Number> w{Twin<Real>::load(block.switch_value + k), Twin<Real>::load(block.switch_slope + k)};
    const auto pair = electrostatics_pair<VectorMath<Real>>(constants, Twin<Real>::load(block.r + k), inverse_r, w);
    charge_gradient += charge * pair.value;
    (charge * factor * pair.slope * inverse_r).store(block.pull + k);
  }
  add_lanes<Real>(sums.charge_gradient, charge_gradient);
}

template <class Real>
inline void add_dispersion(const DispersionConstants<Real>& constants, Real alpha_i, Real c_i, PairBlock<Real>& block, PairSums& sums) {
  using Number = Twin<Real>;
  if (constants.truncated) set_switch(constants.switch_on, constants.inverse_width, block);
  for (int k = 0; k < block.count; k += Twin<Real>::kSize) {
    const auto root = VectorMath<Real>::seventh_root((Twin<Real>::load(block.alpha + k) + alpha_i) * Real(0.5));
    (root.value).store(block.root_value + k);
    (root.slope).store(block.root_slope + k);
  }
  Number energy{}, alpha_gradient{};
  for (int k = 0; k < block.count; k += Twin<Real>::kSize) {
    const ValueAndSlope<Number> s{Twin<Real>::load(block.switch_value + k), Twin<Real>::load(block.switch_slope + k)};
    const ValueAndSlope<Number> root{Twin<Real>::load(block.root_value + k), Twin<Real>::load(block.root_slope + k)};
    const auto pair = dispersion_pair<VectorMath<Real>>(constants, Twin<Real>::load(block.r + k), VectorMath<Real>::constant(alpha_i), Twin<Real>::load(block.alpha + k),
                                                        VectorMath<Real>::constant(c_i), Twin<Real>::load(block.c6_factor + k), root, s);
    energy += pair.energy;
    alpha_gradient += pair.d_alpha;
    (Twin<Real>::load(block.pull + k) + pair.d_distance * Twin<Real>::load(block.inverse_r + k)).store(block.pull + k);
  }
  add_lanes<Real>(sums.dispersion_energy, energy);
  add_lanes<Real>(sums.alpha_gradient, alpha_gradient);
}

/// Force and virial from the pulls: dE/dd_ij = pull d_ij.
template <class Real>
inline void add_forces(const PairBlock<Real>& block, bool with_virial, PairSums& sums) {
  using Number = Twin<Real>;
  Number force[3] = {}, virial[6] = {};
  for (int k = 0; k < block.count; k += Twin<Real>::kSize) {
    const Number pull = Twin<Real>::load(block.pull + k);
    const Number x = Twin<Real>::load(block.x + k), y = Twin<Real>::load(block.y + k), z = Twin<Real>::load(block.z + k);
    const Number fx = pull * x, fy = pull * y, fz = pull * z;
    force[0] += fx;
    force[1] += fy;
    force[2] += fz;
    if (!with_virial) continue;
    virial[0] += fx * x;
    virial[1] += fy * y;
    virial[2] += fz * z;
    virial[3] += fx * y;
    virial[4] += fx * z;
    virial[5] += fy * z;
  }
  for (int k = 0; k < 3; ++k) add_lanes<Real>(sums.force[k], force[k]);
  if (!with_virial) return;
  for (int k = 0; k < 6; ++k) add_lanes<Real>(sums.virial[k], virial[k]);
}

/// Adds the sums to the rows of atom i. A pair energy belongs half to each of its atoms; so does its share of the virial.
template <class Real>
inline void add_to_atom(const LongRange<Real>& task, int i, const PairSums& sums) {
  if (task.electrostatics) {
    // All pairs of the atom share its charge: the sum was taken without it.
    const double gradient = kCoulomb * sums.charge_gradient;
    task.charge_gradient[i] += gradient;
    task.electrostatics_energy[i] += 0.5 * static_cast<double>(task.charge[i]) * gradient;
  }
  if (task.dispersion) {
    task.alpha_gradient[i] += sums.alpha_gradient;
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
    while (fill_block(task, i, candidates, block)) {
      set_distances(block);
      if (task.electrostatics) add_electrostatics(electrostatics, task.charge[i], block, sums);
      if (task.dispersion) add_dispersion(dispersion, task.alpha[i], task.c6_factor[i], block, sums);
      add_forces(block, task.virial != nullptr, sums);
    }
    add_to_atom(task, i, sums);
  }
}

}  // namespace SO3MD_CPU_NAMESPACE
