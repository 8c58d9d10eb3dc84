#include <limits>

#include "cuda/device_math.h"
#include "cuda/dispersion_tail.h"
#include "cuda/warp.h"

namespace so3md::cuda {

namespace {

constexpr int kThreads = 128;

/// What the shares of species are made of, for each system.
struct ShareTask {
  int species, num_nodes;
  const double *nodes, *systems, *ratios;
  double* shares;
};

/// A warp per system and species, which passes over all other species and the nodes of the integral: DispersionTail::shares.
__global__ void tail_shares(ShareTask task, SpeciesTables tables, DispersionConstants<double> constants, std::int64_t count) {
  using Math = DeviceMath<double>;
  const std::int64_t which = global_thread() / kWarp;
  if (which >= count) return;
  const std::int64_t system = which / task.species;
  const int s = static_cast<int>(which % task.species);
  const double volume = task.systems[system * (task.species + 1)];
  const double* counts = task.systems + system * (task.species + 1) + 1;
  const double* ratios = task.ratios + system * task.species;
  double energy = 0.0, gradient = 0.0, mean = 0.0;
  if (counts[s] > 0.0) {
    mean = tables.dispersion_alpha[s] * ratios[s] / counts[s];
    for (int t = 0; t < task.species; ++t) {
      if (counts[t] == 0.0) continue;
      const double other = tables.dispersion_alpha[t] * ratios[t] / counts[t];
      const auto root = Math::seventh_root(0.5 * (mean + other));
      for (int k = lane_number(); k < task.num_nodes; k += kWarp) {
        const auto pair = dispersion_pair<Math>(constants, task.nodes[k], mean, other, tables.dispersion_c6_factor[s],
                                                tables.dispersion_c6_factor[t], root, ValueAndSlope<double>{1.0, 0.0});
        const double weight = counts[t] * task.nodes[task.num_nodes + k];
        energy += weight * pair.energy;
        gradient += weight * pair.d_alpha;
      }
    }
  }
  __syncwarp();
  energy = warp_sum(energy);
  gradient = warp_sum(gradient);
  if (lane_number() != 0) return;
  task.shares[2 * which] = mean > 0.0 ? 0.5 * energy / (volume * mean) : 0.0;
  task.shares[2 * which + 1] = gradient / volume;
}

__global__ void add_tail(DeviceDomain domain, SpeciesTables tables, const int* system, int species, const double* shares, TailRows rows) {
  const std::int64_t i = global_thread();
  if (i >= domain.n_owned) return;
  const int s = domain.species[i];
  const double* share = shares + 2 * (static_cast<std::int64_t>(system == nullptr ? 0 : system[i]) * species + s);
  const double energy = tables.dispersion_alpha[s] * rows.ratios[i] * share[0];
  rows.energies[i] += energy;
  rows.alpha_gradient[i] += share[1];
  if (rows.virials == nullptr) return;
  for (int c = 0; c < 9; c += 4) rows.virials[9 * i + c] -= energy;  // as the energy falls with the volume
}

}  // namespace

TailOnDevice::TailOnDevice(const Model& model, double cutoff, double damping, const Stream& stream)
    : species_(static_cast<int>(model.elements.size())),
      constants_(dispersion_constants<double>(model.hyper.dispersion_damping_scale, std::numeric_limits<double>::infinity(), damping)) {
  TailNodes nodes = make_tail_nodes(cutoff, damping);
  num_nodes_ = static_cast<int>(nodes.distances.size());
  nodes.distances.insert(nodes.distances.end(), nodes.weights.begin(), nodes.weights.end());
  nodes_.upload(nodes.distances, stream);
  stream.synchronize();
}

void TailOnDevice::prepare(const std::vector<const Cell*>& cells, const std::vector<double>& counts, const Stream& stream) {
  const auto species = static_cast<std::size_t>(species_);
  std::vector<double> numbers;
  for (std::size_t s = 0; s < cells.size(); ++s) {
    numbers.push_back(cells[s]->volume());
    const auto first = counts.begin() + static_cast<std::ptrdiff_t>(s * species);
    numbers.insert(numbers.end(), first, first + species_);
  }
  ratios_.resize(cells.size() * species);
  shares_.resize(2 * cells.size() * species);
  if (numbers == host_systems_) return;
  host_systems_ = numbers;
  systems_.upload(host_systems_, stream);
}

DeviceArray<double>& TailOnDevice::sum_ratios(const DeviceDomain& domain, const double* ratios, SystemSums& sums, const Stream& stream) {
  sums.sum_groups(ratios, domain.species, species_, ratios_.data(), stream);
  return ratios_;
}

void TailOnDevice::add(const DeviceDomain& domain, const SpeciesTables& tables, const int* system, const TailRows& rows,
                       const Stream& stream) {
  const auto count = static_cast<std::int64_t>(ratios_.size());
  const ShareTask task{species_, num_nodes_, nodes_.data(), systems_.data(), ratios_.data(), shares_.data()};
  launch(stream, tail_shares, count_blocks(count * kWarp, kThreads), kThreads, 0, task, tables, constants_, count);
  launch(stream, add_tail, count_blocks(domain.n_owned, kThreads), kThreads, 0, domain, tables, system, species_, shares_.data(), rows);
}

}  // namespace so3md::cuda
