#include "cuda/device_math.h"
#include "cuda/edges.h"
#include "cuda/warp.h"
#include "model/cutoff_function.h"

namespace so3md::cuda {

namespace {

constexpr int kThreads = 128;

/// What the kernel reads and writes.
template <class Real>
struct EdgeTask {
  DeviceDomain domain;
  CutoffFunction cutoff_type;
  double cutoff_length, cutoff_exponent;

  double zbl_reach;  ///< A; 0: there is no repulsion
  ZblConstants<double> zbl;
  const ZblConstants<double>* pairs;  ///< [species][species] in the place of zbl; null: for all the same
  int num_species;
  const double *charges, *screenings;

  int *count, *slot;
  Real *ux, *uy, *uz;
  double* r;
  Real *cutoff, *cutoff_derivative;
  double *zbl_energy, *forces, *virials;
  unsigned long long* overlap_entry;
};

/// Sums over the repulsion of one atom.
struct Repulsion {
  double energy = 0.0;
  double force[3] = {0.0, 0.0, 0.0};
  double virial[6] = {0.0, 0.0, 0.0, 0.0, 0.0, 0.0};  // xx, yy, zz, xy, xz, yz

  __device__ void add(const double* d, double pair_energy, double factor) {
    energy += pair_energy;
    for (int a = 0; a < 3; ++a) {
      force[a] += factor * d[a];
      virial[a] += 0.5 * factor * d[a] * d[a];
    }
    virial[3] += 0.5 * factor * d[0] * d[1];
    virial[4] += 0.5 * factor * d[0] * d[2];
    virial[5] += 0.5 * factor * d[1] * d[2];
  }

  __device__ void sum_over_warp() {
    energy = warp_sum(energy);
    for (double& value : force) value = warp_sum(value);
    for (double& value : virial) value = warp_sum(value);
  }

  __device__ void store(std::int64_t i, double* energies, double* forces, double* virials) const {
    energies[i] = energy;
    for (int a = 0; a < 3; ++a) forces[3 * i + a] = force[a];
    constexpr int component[9] = {0, 3, 4, 3, 1, 5, 4, 5, 2};
    for (int k = 0; k < 9; ++k) virials[9 * i + k] = virial[component[k]];
  }
};

/// One directed edge.
struct Edge {
  int slot = 0;
  double d[3] = {0.0, 0.0, 0.0};
  double r = 0.0;
};

/// Whether the entry of the list is an edge, and which.
template <class Real>
__device__ bool find_edge(const EdgeTask<Real>& task, int i, std::int64_t entry, Edge& edge) {
  const int site = task.domain.short_sites[entry];
  const double* center = task.domain.positions + std::int64_t{3} * i;
  const double* other = task.domain.positions + std::int64_t{3} * site;
  for (int k = 0; k < 3; ++k) edge.d[k] = other[k] - center[k];
  const double squared = edge.d[0] * edge.d[0] + edge.d[1] * edge.d[1] + edge.d[2] * edge.d[2];
  if (!(squared < task.cutoff_length * task.cutoff_length)) return false;
  edge.r = sqrt(squared);
  edge.slot = task.domain.slot[site];
  if (edge.r >= kSmallestDistance) return true;
  atomicMin(task.overlap_entry, static_cast<unsigned long long>(entry));
  return false;
}

template <class Real>
__device__ void store_edge(const EdgeTask<Real>& task, std::int64_t at, const Edge& edge, const ValueAndSlope<double>& phi) {
  task.slot[at] = edge.slot;
  task.ux[at] = static_cast<Real>(edge.d[0] / edge.r);
  task.uy[at] = static_cast<Real>(edge.d[1] / edge.r);
  task.uz[at] = static_cast<Real>(edge.d[2] / edge.r);
  task.r[at] = edge.r;
  task.cutoff[at] = static_cast<Real>(phi.value);
  task.cutoff_derivative[at] = static_cast<Real>(phi.slope);
}

template <class Real>
__device__ void repel(const EdgeTask<Real>& task, int i, const Edge& edge, const ValueAndSlope<double>& phi, Repulsion& sums) {
  const int a = task.domain.species[i], b = task.domain.species[edge.slot];
  const ZblConstants<double>& constants = task.pairs == nullptr ? task.zbl : task.pairs[a * task.num_species + b];
  const auto pair =
      zbl_edge<DeviceMath<double>>(constants, edge.r, phi, task.charges[a] * task.charges[b], task.screenings[a] + task.screenings[b]);
  sums.add(edge.d, pair.value, 2.0 * pair.slope / edge.r);
}

/// A warp per owned atom, which closes up the edges that are left of its list.
template <class Real>
__global__ void __launch_bounds__(kThreads) build_edges(EdgeTask<Real> task) {
  const auto i = static_cast<int>(global_thread() / kWarp);
  if (i >= task.domain.n_owned) return;
  const int lane = lane_number();
  const std::int64_t begin = task.domain.short_offsets[i], end = task.domain.short_offsets[i + 1];
  std::int64_t at = begin;
  Repulsion repulsion;
  bool repelled = false;
  for (std::int64_t first = begin; first < end; first += kWarp) {
    Edge edge;
    const bool is_edge = first + lane < end && find_edge(task, i, first + lane, edge);
    const unsigned found = __ballot_sync(kFullWarp, is_edge ? 1 : 0);
    if (is_edge) {
      const auto phi = cutoff_function(task.cutoff_type, task.cutoff_length, task.cutoff_exponent, edge.r);
      store_edge(task, at + __popc(found & ((1u << lane) - 1u)), edge, phi);
      if (edge.r < task.zbl_reach) {
        repel(task, i, edge, phi, repulsion);
        repelled = true;
      }
    }
    at += __popc(found);
  }
  if (__any_sync(kFullWarp, repelled ? 1 : 0)) repulsion.sum_over_warp();
  if (lane != 0) return;
  task.count[i] = static_cast<int>(at - begin);
  repulsion.store(i, task.zbl_energy, task.forces, task.virials);
}

/// Finds the atom of an entry of the lists, slot of the other, and the distance: {i, slot, distance}.
__global__ void describe_entry(DeviceDomain domain, std::int64_t entry, double* out) {
  int low = 0, high = domain.n_owned;  // short_offsets[low] <= entry < short_offsets[high]
  while (high - low > 1) {
    const int middle = (low + high) / 2;
    if (domain.short_offsets[middle] <= entry)
      low = middle;
    else
      high = middle;
  }
  const int site = domain.short_sites[entry];
  double squared = 0.0;
  for (int k = 0; k < 3; ++k) {
    const double d = domain.positions[std::int64_t{3} * site + k] - domain.positions[std::int64_t{3} * low + k];
    squared += d * d;
  }
  out[0] = low;
  out[1] = domain.slot[site];
  out[2] = sqrt(squared);
}

}  // namespace

template <class Real>
EdgeBuilder<Real>::EdgeBuilder(const Model& model, const Stream& stream) : hyper_(model.hyper), zbl_(model), overlap_entry_(1) {
  const std::size_t species = model.elements.size();
  charges_.upload(std::span<const double>(zbl_.charges(), species), stream);
  screenings_.upload(std::span<const double>(zbl_.screenings(), species), stream);
  if (!zbl_.pairs().empty()) pairs_.upload(std::span<const ZblConstants<double>>(zbl_.pairs()), stream);
  stream.synchronize();
}

template <class Real>
void EdgeBuilder<Real>::resize(const DeviceDomain& domain) {
  const auto capacity = static_cast<std::size_t>(domain.n_short);
  count_.resize(static_cast<std::size_t>(domain.n_owned));
  slot_.resize(capacity);
  r_.resize(capacity);
  for (auto* values : {&ux_, &uy_, &uz_, &cutoff_, &cutoff_derivative_}) values->resize(capacity);
}

template <class Real>
DeviceEdges<Real> EdgeBuilder<Real>::build(const DeviceDomain& domain, double* zbl_energy, double* forces, double* virials,
                                           const Stream& stream) {
  resize(domain);
  set_bytes(overlap_entry_.data(), 0xff, sizeof(unsigned long long), stream);
  const double reach = hyper_.has_repulsion() ? zbl_.switch_off() : 0.0;
  const EdgeTask<Real> task{domain,
                            hyper_.cutoff_function,
                            hyper_.cutoff,
                            hyper_.cutoff_exponent,
                            reach,
                            zbl_.constants(),
                            zbl_.pairs().empty() ? nullptr : pairs_.data(),
                            static_cast<int>(charges_.size()),
                            charges_.data(),
                            screenings_.data(),
                            count_.data(),
                            slot_.data(),
                            ux_.data(),
                            uy_.data(),
                            uz_.data(),
                            r_.data(),
                            cutoff_.data(),
                            cutoff_derivative_.data(),
                            zbl_energy,
                            forces,
                            virials,
                            overlap_entry_.data()};
  launch(stream, build_edges<Real>, count_blocks(std::int64_t{domain.n_owned} * kWarp, kThreads), kThreads, 0, task);
  return {domain.n_short, domain.most_short, domain.short_offsets,     count_.data(), slot_.data(), ux_.data(), uy_.data(), uz_.data(),
          r_.data(),      cutoff_.data(),    cutoff_derivative_.data()};
}

template <class Real>
OverlappingAtoms EdgeBuilder<Real>::describe_overlap(const DeviceDomain& domain, unsigned long long entry, const Stream& stream) const {
  DeviceArray<double> found(3);
  double numbers[3];
  launch(stream, describe_entry, 1, 1, 0, domain, static_cast<std::int64_t>(entry), found.data());
  copy_to_host(numbers, found.data(), sizeof(numbers), stream);
  stream.synchronize();
  return {static_cast<int>(numbers[0]), static_cast<int>(numbers[1]), numbers[2]};
}

template class EdgeBuilder<float>;
template class EdgeBuilder<double>;

}  // namespace so3md::cuda
