#include "common/formula.h"
#include "cuda/ewald.h"
#include "cuda/warp.h"
#include "physics/wave_vectors.h"

namespace so3md::cuda {

namespace {

constexpr int kThreads = 128;
constexpr double kTwoPi = 6.283185307179586;

/// Cosine and sine of k.r.
__device__ void phase(const Wave& wave, const double* r, double& cosine, double& sine) {
  double turns = wave.turns[0] * r[0] + wave.turns[1] * r[1] + wave.turns[2] * r[2];
  turns -= rint(turns);
  cosine = cos(kTwoPi * turns);
  sine = sin(kTwoPi * turns);
}

/// A block per wave vector. The sums of eq. (80), in an order that depends on the number of atoms alone.
__global__ void __launch_bounds__(kThreads)
    sum_waves(DeviceDomain domain, const Wave* waves, const int* first_atom, const double* charges, double* factors) {
  __shared__ double parts[2][kThreads / kWarp];
  const Wave wave = waves[blockIdx.x];
  double re = 0.0, im = 0.0;
  for (std::int64_t i = first_atom[wave.system] + static_cast<int>(threadIdx.x); i < first_atom[wave.system + 1]; i += kThreads) {
    double cosine, sine;
    phase(wave, domain.positions + 3 * i, cosine, sine);
    re += charges[i] * cosine;
    im += charges[i] * sine;
  }
  re = warp_sum(re);
  im = warp_sum(im);
  if (lane_number() == 0) {
    parts[0][threadIdx.x / kWarp] = re;
    parts[1][threadIdx.x / kWarp] = im;
  }
  __syncthreads();
  if (threadIdx.x > 1) return;
  double total = 0.0;
  for (double part : parts[threadIdx.x]) total += part;
  factors[2 * static_cast<std::int64_t>(blockIdx.x) + threadIdx.x] = total;
}

/// A warp per owned atom: the potential of eq. (81) and the force of eq. (82), and strain terms of eq. (84).
__global__ void __launch_bounds__(kThreads) gather_waves(DeviceDomain domain, const Wave* waves, const int* first_wave,
                                                         const double* factors, const int* system, double self, EwaldRows rows) {
  const auto i = global_thread() / kWarp;
  if (i >= domain.n_owned) return;
  const int s = system == nullptr ? 0 : system[i];
  double potential = 0.0, force[3] = {0.0, 0.0, 0.0}, strain[6] = {0.0, 0.0, 0.0, 0.0, 0.0, 0.0};  // xx, yy, zz, xy, xz, yz
  for (std::int64_t w = first_wave[s] + lane_number(); w < first_wave[s + 1]; w += kWarp) {
    const Wave wave = waves[w];
    double cosine, sine;
    phase(wave, domain.positions + 3 * i, cosine, sine);
    const double re = factors[2 * w] * cosine + factors[2 * w + 1] * sine;
    const double im = factors[2 * w] * sine - factors[2 * w + 1] * cosine;
    potential += wave.weight * re;
    const double* k = wave.turns;
    for (int x = 0; x < 3; ++x) {
      force[x] += wave.weight * k[x] * im;
      strain[x] += wave.strain * k[x] * k[x] * re;
    }
    strain[3] += wave.strain * k[0] * k[1] * re;
    strain[4] += wave.strain * k[0] * k[2] * re;
    strain[5] += wave.strain * k[1] * k[2] * re;
  }
  __syncwarp();
  potential = warp_sum(potential);
  for (double& value : force) value = warp_sum(value);
  for (double& value : strain) value = warp_sum(value);
  if (lane_number() != 0) return;
  const double charge = rows.charges[i];
  rows.potentials[i] = potential - self * charge;
  rows.energies[i] = 0.5 * charge * rows.potentials[i];
  if (rows.forces == nullptr) return;
  constexpr int component[9] = {0, 3, 4, 3, 1, 5, 4, 5, 2};
  for (int x = 0; x < 3; ++x) rows.forces[3 * i + x] += kTwoPi * charge * force[x];
  for (int c = 0; c < 9; ++c)
    rows.virials[9 * i + c] += charge * (kTwoPi * kTwoPi * strain[component[c]] - (c % 4 == 0 ? 0.5 * potential : 0.0));
}

}  // namespace

void EwaldOnDevice::prepare(const std::vector<const Cell*>& cells, const std::vector<double>& num_atoms, const std::vector<int>& first,
                            const Stream& stream) {
  bool same = cells_.size() == cells.size() && num_atoms_ == num_atoms && first_ == first;
  for (std::size_t s = 0; same && s < cells.size(); ++s) same = cells_[s] == *cells[s];
  if (same) return;
  cells_.clear();
  num_atoms_ = num_atoms;
  first_ = first;
  host_waves_.clear();
  host_first_wave_ = {0};
  for (std::size_t s = 0; s < cells.size(); ++s) {
    cells_.push_back(*cells[s]);
    add_waves(*cells[s], num_atoms[s], static_cast<int>(s));
    host_first_wave_.push_back(num_waves());
  }
  waves_.upload(host_waves_, stream);
  first_atom_.upload(first_, stream);
  first_wave_.upload(host_first_wave_, stream);
  factors_.resize(2 * host_waves_.size());
}

void EwaldOnDevice::add_waves(const Cell& cell, double num_atoms, int system) {
  const WaveVectors found = make_wave_vectors(cell, sigma_, longest_wave_vector(num_atoms / cell.volume(), sigma_, accuracy_));
  const auto add = [&](const WaveRow& row, int c, double weight, double strain) {
    if (weight == 0.0) return;
    Wave wave{{0.0, 0.0, 0.0}, weight, strain, system};
    for (std::size_t x = 0; x < 3; ++x)
      wave.turns[x] = row.a * cell.inverse()[x][0] + row.b * cell.inverse()[x][1] + c * cell.inverse()[x][2];
    host_waves_.push_back(wave);
  };
  for (const WaveRow& row : found.rows)
    for (int c = 0; c < row.count; ++c) {
      const WaveWeights& weights = found.weights[static_cast<std::size_t>(row.first + c)];
      add(row, c, weights.plus, weights.strain_plus);
      add(row, -c, weights.minus, weights.strain_minus);
    }
}

DeviceArray<double>& EwaldOnDevice::structure_factors(const DeviceDomain& domain, const double* charges, const Stream& stream) {
  launch(stream, sum_waves, static_cast<unsigned>(num_waves()), kThreads, 0, domain, waves_.data(), first_atom_.data(), charges,
         factors_.data());
  return factors_;
}

void EwaldOnDevice::gather(const DeviceDomain& domain, const int* system, const EwaldRows& rows, const Stream& stream) const {
  const double self = 2.0 * kCoulomb / (sigma_ * 1.7724538509055159);
  launch(stream, gather_waves, count_blocks(std::int64_t{domain.n_owned} * kWarp, kThreads), kThreads, 0, domain, waves_.data(),
         first_wave_.data(), factors_.data(), system, self, rows);
}

}  // namespace so3md::cuda
