#include "cuda/device_math.h"
#include "cuda/pair_physics.h"
#include "cuda/warp.h"

namespace so3md::cuda {

namespace {

constexpr int kThreads = 128;

// Pairs of a lane that are summed in Real before the sums go on in double: few, so that rounding does not grow with the list.
constexpr int kPairsPerFlush = 16;

/// Sums over the neighbours of one atom. Pair energies are whole here, and the charge of the atom itself is left out.
template <class Number>
struct PairSums {
  Number charge_gradient = 0, dispersion_energy = 0, alpha_gradient = 0, c6_gradient = 0;
  Number force[3] = {0, 0, 0};
  Number virial[6] = {0, 0, 0, 0, 0, 0};  // xx, yy, zz, xy, xz, yz

  template <class Other>
  __device__ void add(const PairSums<Other>& other) {
    charge_gradient += other.charge_gradient;
    dispersion_energy += other.dispersion_energy;
    alpha_gradient += other.alpha_gradient;
    c6_gradient += other.c6_gradient;
    for (int k = 0; k < 3; ++k) force[k] += other.force[k];
    for (int k = 0; k < 6; ++k) virial[k] += other.virial[k];
  }

  __device__ void add_pull(Number pull, const Number* d) {
    for (int k = 0; k < 3; ++k) {
      force[k] += pull * d[k];
      virial[k] += pull * d[k] * d[k];
    }
    virial[3] += pull * d[0] * d[1];
    virial[4] += pull * d[0] * d[2];
    virial[5] += pull * d[1] * d[2];
  }

  __device__ void sum_over_warp() {
    charge_gradient = warp_sum(charge_gradient);
    dispersion_energy = warp_sum(dispersion_energy);
    alpha_gradient = warp_sum(alpha_gradient);
    c6_gradient = warp_sum(c6_gradient);
    for (Number& value : force) value = warp_sum(value);
    for (Number& value : virial) value = warp_sum(value);
  }
};

template <class Real>
__device__ void add_pair(const PairPhysics<Real>& pairs, const PairNumbers<Real>& own, const PairNumbers<Real>& other, const Real* d,
                         Real squared, PairSums<Real>& sums) {
  using Math = DeviceMath<Real>;
  const Real inverse_r = Math::inverse_square_root(squared);
  const Real r = squared * inverse_r;
  Real pull = 0;  // (1/r) dE/dr
  if (pairs.electrostatics) {
    const auto& constants = pairs.charge_constants;
    ValueAndSlope<Real> w{};
    if (constants.truncated) w = smooth_switch<Math>(r, constants.switch_on, constants.inverse_width);
    const auto pair = electrostatics_pair<Math>(constants, r, inverse_r, w);
    sums.charge_gradient += other.charge * pair.value;
    pull += other.charge * (static_cast<Real>(kCoulomb) * own.charge) * pair.slope * inverse_r;
  }
  if (pairs.dispersion) {
    const auto& constants = pairs.dispersion_constants;
    ValueAndSlope<Real> s{};
    if (constants.truncated) s = smooth_switch<Math>(r, constants.switch_on, constants.inverse_width);
    const auto root = Math::seventh_root((other.alpha + own.alpha) * Real(0.5));
    const auto pair = dispersion_pair<Math>(constants, r, own.alpha, other.alpha, own.c6_factor, other.c6_factor, root, s);
    sums.dispersion_energy += pair.energy;
    sums.alpha_gradient += pair.d_alpha;
    if (pairs.c6_gradient != nullptr) sums.c6_gradient += pair.d_c;
    pull += pair.d_distance * inverse_r;
  }
  sums.add_pull(pull, d);
}

/// Adds to the rows of atom i. A pair energy belongs half to each of its atoms, and so does its share of the virial.
template <class Real>
__device__ void store_sums(const PairPhysics<Real>& pairs, std::int64_t i, Real charge, const PairSums<double>& sums) {
  if (pairs.electrostatics) {
    const double potential = kCoulomb * sums.charge_gradient;
    pairs.charge_gradient[i] = potential;
    pairs.electrostatics_energy[i] = 0.5 * static_cast<double>(charge) * potential;
  }
  if (pairs.dispersion) {
    pairs.alpha_gradient[i] = sums.alpha_gradient;
    if (pairs.c6_gradient != nullptr) pairs.c6_gradient[i] = sums.c6_gradient;
    pairs.dispersion_energy[i] = 0.5 * sums.dispersion_energy;
  }
  if (pairs.forces == nullptr) return;
  for (int k = 0; k < 3; ++k) pairs.forces[3 * i + k] += sums.force[k];
  constexpr int component[9] = {0, 3, 4, 3, 1, 5, 4, 5, 2};
  for (int k = 0; k < 9; ++k) pairs.virials[9 * i + k] += 0.5 * sums.virial[component[k]];
}

/// A warp per owned atom. Without lists, every other site is a neighbour.
template <class Real>
__global__ void __launch_bounds__(kThreads) gather_pairs(DeviceDomain domain, PairPhysics<Real> pairs) {
  const auto i = global_thread() / kWarp;
  if (i >= domain.n_owned) return;
  const int lane = lane_number();
  const bool all_sites = domain.long_offsets == nullptr;
  const std::int64_t begin = all_sites ? 0 : domain.long_offsets[i];
  const std::int64_t end = all_sites ? domain.n_sites - std::int64_t{1} : domain.long_offsets[i + 1];
  const double center[3] = {domain.positions[3 * i], domain.positions[3 * i + 1], domain.positions[3 * i + 2]};
  const PairNumbers<Real> own = pairs.numbers[i];
  const auto cutoff_squared = static_cast<Real>(pairs.cutoff * pairs.cutoff);
  PairSums<double> sums;
  PairSums<Real> part;
  int unflushed = 0;
  for (std::int64_t entry = begin + lane; entry < end; entry += kWarp) {
    const std::int64_t site = all_sites ? entry + (entry >= i ? 1 : 0) : domain.long_sites[entry];
    const double* position = domain.positions + 3 * site;
    Real d[3];
    for (int k = 0; k < 3; ++k) d[k] = static_cast<Real>(position[k] - center[k]);
    const Real squared = d[0] * d[0] + d[1] * d[1] + d[2] * d[2];
    if (squared < cutoff_squared) add_pair(pairs, own, pairs.numbers[domain.slot[site]], d, squared, part);
    if (++unflushed == kPairsPerFlush) {
      sums.add(part);
      part = {};
      unflushed = 0;
    }
  }
  sums.add(part);
  __syncwarp();
  sums.sum_over_warp();
  if (lane == 0) store_sums(pairs, i, own.charge, sums);
}

}  // namespace

template <class Real>
void evaluate_pairs(const DeviceDomain& domain, const PairPhysics<Real>& pairs, const Stream& stream) {
  launch(stream, gather_pairs<Real>, count_blocks(std::int64_t{domain.n_owned} * kWarp, kThreads), kThreads, 0, domain, pairs);
}

template void evaluate_pairs(const DeviceDomain&, const PairPhysics<float>&, const Stream&);
template void evaluate_pairs(const DeviceDomain&, const PairPhysics<double>&, const Stream&);

}  // namespace so3md::cuda
