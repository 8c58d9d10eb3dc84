#include <vector>

#include "cuda/atoms.h"
#include "physics/dispersion_tail.h"

namespace so3md::cuda {

namespace {

constexpr int kThreads = 256;

unsigned blocks_for(int atoms) { return count_blocks(atoms, kThreads); }

__global__ void finish_readouts_kernel(DeviceDomain domain, SpeciesTables tables, DeviceReadouts readouts, AtomArrays atoms) {
  const std::int64_t i = global_thread();
  if (i >= domain.n_owned) return;
  const int species = domain.species[i];
  atoms.network_energy[i] = readouts.energy[i] * tables.energy_scale[species];
  atoms.shift[i] = tables.energy_shift[species];
  if (atoms.charges != nullptr) atoms.charges[i] = readouts.charge[i] + tables.charge[species];
  if (atoms.c6_ratios != nullptr) atoms.c6_ratios[i] = fabs(readouts.c6[i] + tables.c6_shift[species]);
  if (atoms.hirshfeld_ratios != nullptr) atoms.hirshfeld_ratios[i] = fabs(readouts.hirshfeld[i] + tables.hirshfeld_shift[species]);
}

__device__ int system_of(const SystemView& systems, std::int64_t i) { return systems.system == nullptr ? 0 : systems.system[i]; }

__global__ void conserve_charge_kernel(int n_owned, SystemView systems, double total_charge, const double* sums, double* charges) {
  const std::int64_t i = global_thread();
  if (i >= n_owned) return;
  const int s = system_of(systems, i);
  charges[i] += (total_charge - sums[s]) / systems.num_atoms[s];
}

/// C6 / alpha^2 of an atom with a C6 head (eq. 97).
__device__ AtomC6<double> own_c6_factor(const SpeciesTables& tables, const AtomArrays& atoms, int species, std::int64_t i) {
  return atom_c6(tables.dispersion_c6_factor[species], atoms.hirshfeld_ratios[i], atoms.c6_ratios[i]);
}

template <class Real>
__global__ void fill_pair_numbers_kernel(DeviceDomain domain, SpeciesTables tables, AtomArrays atoms, PairNumbers<Real>* numbers) {
  const std::int64_t slot = global_thread();
  if (slot >= domain.n_slots()) return;
  const int species = domain.species[slot];
  const bool owned = slot < domain.n_owned;
  PairNumbers<Real> out{0, 0, 0, 0};
  if (owned && atoms.electrostatics_energy != nullptr) out.charge = static_cast<Real>(atoms.charges[slot]);
  if (tables.dispersion_alpha != nullptr) {
    if (owned) out.alpha = static_cast<Real>(tables.dispersion_alpha[species] * atoms.hirshfeld_ratios[slot]);
    if (tables.c6_shift == nullptr)
      out.c6_factor = static_cast<Real>(tables.dispersion_c6_factor[species]);
    else if (owned)
      out.c6_factor = static_cast<Real>(own_c6_factor(tables, atoms, species, slot).value);
  }
  numbers[slot] = out;
}

__global__ void readout_gradients_kernel(DeviceDomain domain, SpeciesTables tables, DeviceReadouts readouts, AtomArrays atoms,
                                         SystemView systems, const double* sums, DeviceReadouts gradients) {
  const std::int64_t i = global_thread();
  if (i >= domain.n_owned) return;
  const int species = domain.species[i];
  gradients.energy[i] = tables.energy_scale[species];
  if (gradients.charge != nullptr) {
    const int s = system_of(systems, i);
    gradients.charge[i] = atoms.charge_gradient[i] - sums[s] / systems.num_atoms[s];
  }
  if (gradients.hirshfeld != nullptr) {
    const double sign = readouts.hirshfeld[i] + tables.hirshfeld_shift[species] < 0.0 ? -1.0 : 1.0;
    double gradient = atoms.alpha_gradient[i] * tables.dispersion_alpha[species];
    if (gradients.c6 != nullptr) {
      const AtomC6<double> factor = own_c6_factor(tables, atoms, species, i);
      const double c6_sign = readouts.c6[i] + tables.c6_shift[species] < 0.0 ? -1.0 : 1.0;
      gradients.c6[i] = c6_sign * atoms.c6_gradient[i] * factor.by_c6_ratio;
      gradient += atoms.c6_gradient[i] * factor.by_hirshfeld_ratio;
    }
    gradients.hirshfeld[i] = sign * gradient;
  }
}

__device__ double value_or_zero(const double* values, std::int64_t i) { return values == nullptr ? 0.0 : values[i]; }

__global__ void sum_atomic_energies_kernel(int n_owned, AtomArrays atoms) {
  const std::int64_t i = global_thread();
  if (i >= n_owned) return;
  atoms.energies[i] = atoms.network_energy[i] + atoms.zbl_energy[i] + value_or_zero(atoms.electrostatics_energy, i) +
                      value_or_zero(atoms.dispersion_energy, i) + atoms.shift[i];
}

}  // namespace

SpeciesTablesOnDevice::SpeciesTablesOnDevice(const Model& model, const Stream& stream) {
  std::vector<double> numbers;
  const std::size_t species = model.elements.size();
  const std::vector<double> factors = dispersion_c6_factors(model);
  const std::vector<double>* tables[] = {&model.energy_scale,    &model.energy_shift,     &model.charge_element,
                                         &model.hirshfeld_shift, &model.dispersion_alpha, &factors,
                                         &model.c6_shift};
  const double** places[] = {&view_.energy_scale,     &view_.energy_shift,         &view_.charge,  &view_.hirshfeld_shift,
                             &view_.dispersion_alpha, &view_.dispersion_c6_factor, &view_.c6_shift};
  for (const auto* table : tables) numbers.insert(numbers.end(), table->begin(), table->end());
  memory_.upload(numbers, stream);
  stream.synchronize();
  const double* next = memory_.data();
  for (std::size_t k = 0; k < std::size(tables); ++k) {
    if (tables[k]->size() != species) continue;
    *places[k] = next;
    next += species;
  }
}

void finish_readouts(const DeviceDomain& domain, const SpeciesTables& tables, const DeviceReadouts& readouts, const AtomArrays& atoms,
                     const Stream& stream) {
  launch(stream, finish_readouts_kernel, blocks_for(domain.n_owned), kThreads, 0, domain, tables, readouts, atoms);
}

void conserve_charge(int n_owned, const SystemView& systems, double total_charge, const double* sums, double* charges,
                     const Stream& stream) {
  launch(stream, conserve_charge_kernel, blocks_for(n_owned), kThreads, 0, n_owned, systems, total_charge, sums, charges);
}

template <class Real>
void fill_pair_numbers(const DeviceDomain& domain, const SpeciesTables& tables, const AtomArrays& atoms, PairNumbers<Real>* numbers,
                       const Stream& stream) {
  launch(stream, fill_pair_numbers_kernel<Real>, blocks_for(domain.n_slots()), kThreads, 0, domain, tables, atoms, numbers);
}

template void fill_pair_numbers(const DeviceDomain&, const SpeciesTables&, const AtomArrays&, PairNumbers<float>*, const Stream&);
template void fill_pair_numbers(const DeviceDomain&, const SpeciesTables&, const AtomArrays&, PairNumbers<double>*, const Stream&);

void readout_gradients(const DeviceDomain& domain, const SpeciesTables& tables, const DeviceReadouts& readouts, const AtomArrays& atoms,
                       const SystemView& systems, const double* sums, const DeviceReadouts& gradients, const Stream& stream) {
  launch(stream, readout_gradients_kernel, blocks_for(domain.n_owned), kThreads, 0, domain, tables, readouts, atoms, systems, sums,
         gradients);
}

void sum_atomic_energies(int n_owned, const AtomArrays& atoms, const Stream& stream) {
  launch(stream, sum_atomic_energies_kernel, blocks_for(n_owned), kThreads, 0, n_owned, atoms);
}

}  // namespace so3md::cuda
