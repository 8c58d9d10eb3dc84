// What tests/test_cuda_indices.py calls in the library of the emulation: kernels by themselves, with numbers that only systems of millions
// of atoms have.
#include <algorithm>
#include <vector>

#include "cuda/lists/scan.h"
#include "cuda/pair_physics.h"

namespace so3md::cuda {

namespace {

template <class T>
void download(T* to, const DeviceArray<T>& from, const Stream& stream) {
  copy_to_host(to, from.data(), from.size() * sizeof(T), stream);
}

}  // namespace

/// As Scan::run, on the host.
extern "C" __attribute__((visibility("default"))) void so3md_emulation_scan(const int* counts, int n, std::int64_t* offsets) {
  const Stream stream;
  DeviceArray<int> from;
  from.upload(std::span<const int>(counts, static_cast<std::size_t>(n)), stream);
  DeviceArray<std::int64_t> to(static_cast<std::size_t>(n) + 1);
  Scan().run(from.data(), n, to.data(), stream);
  download(offsets, to, stream);
}

/// Potentials (eV/e) of n unit charges, each with the next `neighbours` ones of the row of atoms as its list. The lists begin at entry
/// `first` of an array of which nothing else is there.
extern "C" __attribute__((visibility("default"))) void so3md_emulation_potentials(int n, int neighbours, const double* positions,
                                                                                  std::int64_t first, double* potentials) {
  const Stream stream;
  std::vector<std::int64_t> offsets;
  std::vector<int> sites, slots;
  for (int i = 0; i <= n; ++i) offsets.push_back(first + std::int64_t{i} * neighbours);
  for (int i = 0; i < n; ++i) slots.push_back(i);
  for (int i = 0; i < n; ++i)
    for (int k = 1; k <= neighbours; ++k) sites.push_back((i + k) % n);
  const auto atoms = static_cast<std::size_t>(n);
  DeviceArray<std::int64_t> device_offsets;
  DeviceArray<int> device_sites, device_slots;
  DeviceArray<double> device_positions, gradient(atoms), energy(atoms);
  DeviceArray<PairNumbers<double>> numbers;
  device_offsets.upload(offsets, stream);
  device_sites.upload(sites, stream);
  device_slots.upload(slots, stream);
  device_positions.upload(std::span<const double>(positions, 3 * atoms), stream);
  numbers.upload(std::vector<PairNumbers<double>>(atoms, {1.0, 0.0, 0.0, 0.0}), stream);
  DeviceDomain domain;
  domain.n_owned = domain.n_sites = n;
  domain.slot = device_slots.data();
  domain.positions = device_positions.data();
  domain.long_offsets = device_offsets.data();
  domain.long_sites = device_sites.data() - first;
  PairPhysics<double> pairs;
  pairs.electrostatics = true;
  pairs.cutoff = 1e6;
  pairs.charge_constants = electrostatics_constants<double>(4.0, pairs.cutoff);
  pairs.numbers = numbers.data();
  pairs.electrostatics_energy = energy.data();
  pairs.charge_gradient = gradient.data();
  evaluate_pairs(domain, pairs, stream);
  download(potentials, gradient, stream);
}

}  // namespace so3md::cuda
