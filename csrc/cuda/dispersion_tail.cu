#include <limits>

#include "cuda/device_math.h"
#include "cuda/dispersion_tail.h"
#include "cuda/warp.h"

namespace so3md::cuda {

namespace {

constexpr int kThreads = 128;
constexpr int kShare = 4;  ///< numbers of DispersionTail::Share: energy, gradient, mean C6 / alpha^2, gradient by that

/// What the shares of species are made of, for each system.
struct ShareTask {
  int species, num_nodes;
  const double *nodes, *systems, *ratios;
  const double* products;  ///< null: C6 follows from the polarisability
  double* shares;
};

/// Mean C6 / alpha^2 of a species, weighted with the polarisability.
__device__ double mean_c6(const SpeciesTables& tables, const double* ratios, const double* products, int s) {
  return products == nullptr || ratios[s] == 0.0 ? tables.dispersion_c6_factor[s] : products[s] / ratios[s];
}

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
  const double* products = task.products == nullptr ? nullptr : task.products + system * task.species;
  const double own_c6 = mean_c6(tables, ratios, products, s);
  double energy = 0.0, gradient = 0.0, c6_gradient = 0.0, mean = 0.0;
  if (counts[s] > 0.0) {
    mean = tables.dispersion_alpha[s] * ratios[s] / counts[s];
    for (int t = 0; t < task.species; ++t) {
      if (counts[t] == 0.0) continue;
      const double other = tables.dispersion_alpha[t] * ratios[t] / counts[t];
      const double other_c6 = mean_c6(tables, ratios, products, t);
      const auto root = Math::seventh_root(0.5 * (mean + other));
      for (int k = lane_number(); k < task.num_nodes; k += kWarp) {
        const auto pair =
            dispersion_pair<Math>(constants, task.nodes[k], mean, other, own_c6, other_c6, root, ValueAndSlope<double>{1.0, 0.0});
        const double weight = counts[t] * task.nodes[task.num_nodes + k];
        energy += weight * pair.energy;
        gradient += weight * pair.d_alpha;
        c6_gradient += weight * pair.d_c;
      }
    }
  }
  __syncwarp();
  energy = warp_sum(energy);
  gradient = warp_sum(gradient);
  c6_gradient = warp_sum(c6_gradient);
  if (lane_number() != 0) return;
  const double by_alpha = mean > 0.0 ? 1.0 / (volume * mean) : 0.0;
  double* share = task.shares + kShare * which;
  share[0] = 0.5 * energy * by_alpha;
  share[1] = gradient / volume;
  share[2] = own_c6;
  share[3] = c6_gradient * by_alpha;
}

__global__ void add_tail(DeviceDomain domain, SpeciesTables tables, const int* system, int species, const double* shares, TailRows rows) {
  const std::int64_t i = global_thread();
  if (i >= domain.n_owned) return;
  const int s = domain.species[i];
  const double* share = shares + kShare * (static_cast<std::int64_t>(system == nullptr ? 0 : system[i]) * species + s);
  const double alpha = tables.dispersion_alpha[s] * rows.ratios[i], energy = alpha * share[0];
  rows.energies[i] += energy;
  rows.alpha_gradient[i] += share[1];
  if (rows.c6_ratios != nullptr) {
    const double factor = atom_c6(tables.dispersion_c6_factor[s], rows.ratios[i], rows.c6_ratios[i]).value;
    rows.alpha_gradient[i] += share[3] * (factor - share[2]);
    rows.c6_gradient[i] += share[3] * alpha;
  }
  if (rows.virials == nullptr) return;
  for (int c = 0; c < 9; c += 4) rows.virials[9 * i + c] -= energy;  // as the energy falls with the volume
}

__global__ void multiply_ratios(DeviceDomain domain, SpeciesTables tables, TailRows rows, double* products) {
  const std::int64_t i = global_thread();
  if (i >= domain.n_owned) return;
  products[i] = rows.ratios[i] * atom_c6(tables.dispersion_c6_factor[domain.species[i]], rows.ratios[i], rows.c6_ratios[i]).value;
}

}  // namespace

TailOnDevice::TailOnDevice(const Model& model, double cutoff, double damping, const Stream& stream)
    : species_(static_cast<int>(model.elements.size())),
      constants_(dispersion_constants<double>(model.hyper.dispersion_damping_scale, std::numeric_limits<double>::infinity(), damping)),
      c6_head_(model.hyper.c6_head) {
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
  ratios_.resize((c6_head_ ? 2 : 1) * cells.size() * species);
  shares_.resize(kShare * cells.size() * species);
  if (numbers == host_systems_) return;
  host_systems_ = numbers;
  systems_.upload(host_systems_, stream);
}

DeviceArray<double>& TailOnDevice::sum_ratios(const DeviceDomain& domain, const SpeciesTables& tables, const TailRows& rows,
                                              SystemSums& sums, const Stream& stream) {
  sums.sum_groups(rows.ratios, domain.species, species_, ratios_.data(), stream);
  if (!c6_head_) return ratios_;
  products_.resize(static_cast<std::size_t>(domain.n_owned));
  launch(stream, multiply_ratios, count_blocks(domain.n_owned, kThreads), kThreads, 0, domain, tables, rows, products_.data());
  sums.sum_groups(products_.data(), domain.species, species_, ratios_.data() + ratios_.size() / 2, stream);
  return ratios_;
}

void TailOnDevice::add(const DeviceDomain& domain, const SpeciesTables& tables, const int* system, const TailRows& rows,
                       const Stream& stream) {
  const auto count = static_cast<std::int64_t>(shares_.size() / kShare);
  const double* products = c6_head_ ? ratios_.data() + count : nullptr;
  const ShareTask task{species_, num_nodes_, nodes_.data(), systems_.data(), ratios_.data(), products, shares_.data()};
  launch(stream, tail_shares, count_blocks(count * kWarp, kThreads), kThreads, 0, task, tables, constants_, count);
  launch(stream, add_tail, count_blocks(domain.n_owned, kThreads), kThreads, 0, domain, tables, system, species_, shares_.data(), rows);
}

}  // namespace so3md::cuda
