// What is done for each atom by itself between the network and the pair physics: charges, ratios, energies, and their adjoints.
#pragma once

#include "cuda/device_array.h"
#include "cuda/pair_physics.h"
#include "cuda/seams.h"
#include "model/model.h"

namespace so3md::cuda {

/// Tables of the model by species, on the device; null where the model has no such term.
struct SpeciesTables {
  const double *energy_scale = nullptr, *energy_shift = nullptr;              ///< eV
  const double *charge = nullptr, *hirshfeld_shift = nullptr;                 ///< e; one
  const double *dispersion_alpha = nullptr, *dispersion_c6_factor = nullptr;  ///< Bohr^3; C6 / alpha^2, Hartree
  const double* c6_shift = nullptr;                                           ///< one; null without a C6 head
};

/// Owns the tables.
class SpeciesTablesOnDevice {
 public:
  SpeciesTablesOnDevice(const Model& model, const Stream& stream);
  const SpeciesTables& view() const { return view_; }

 private:
  DeviceArray<double> memory_;
  SpeciesTables view_;
};

/// Atoms by system; on the device.
struct SystemView {
  const int* system = nullptr;        ///< [n_owned]; null: all are of one
  const double* num_atoms = nullptr;  ///< [systems] over all processes
};

/// Arrays of owned atoms, on the device; null where the model has no such term.
struct AtomArrays {
  double *network_energy = nullptr, *shift = nullptr, *zbl_energy = nullptr;    ///< eV
  double *electrostatics_energy = nullptr, *dispersion_energy = nullptr;        ///< eV
  double *charge_gradient = nullptr, *alpha_gradient = nullptr;                 ///< of the pair physics
  double *energies = nullptr, *charges = nullptr, *hirshfeld_ratios = nullptr;  ///< results
  double *c6_ratios = nullptr, *c6_gradient = nullptr;                          ///< result; of the pair physics, by C6 / alpha^2
};

/// charges = readout + offset of the element; ratios = |shift of the element + readout| (eq. 28, 30). network_energy and shift.
void finish_readouts(const DeviceDomain& domain, const SpeciesTables& tables, const DeviceReadouts& readouts, const AtomArrays& atoms,
                     const Stream& stream);

/// Adds (Q - sum of the charges) / N to the charges (eq. 28), `sums` being those of each system.
void conserve_charge(int n_owned, const SystemView& systems, double total_charge, const double* sums, double* charges,
                     const Stream& stream);

/// What the pair physics needs, for all slots; charges and polarisabilities of other processes' atoms are left to the exchange.
template <class Real>
void fill_pair_numbers(const DeviceDomain& domain, const SpeciesTables& tables, const AtomArrays& atoms, PairNumbers<Real>* numbers,
                       const Stream& stream);

/// Gradients of the energy with respect to the readouts: the adjoint of finish_readouts() and conserve_charge() (eq. 43), `sums` being
/// those of charge_gradient in each system. Null members of `gradients` are left out.
void readout_gradients(const DeviceDomain& domain, const SpeciesTables& tables, const DeviceReadouts& readouts, const AtomArrays& atoms,
                       const SystemView& systems, const double* sums, const DeviceReadouts& gradients, const Stream& stream);

/// energies = sum of the parts.
void sum_atomic_energies(int n_owned, const AtomArrays& atoms, const Stream& stream);

}  // namespace so3md::cuda
