// Electrostatics and dispersion between owned atoms and all their long-range neighbours, on the device.
#pragma once

#include "cuda/device_array.h"
#include "cuda/seams.h"
#include "physics/dispersion.h"
#include "physics/electrostatics.h"

namespace so3md::cuda {

/// What a pair needs to know of an atom, in one load.
template <class Real>
struct alignas(4 * sizeof(Real)) PairNumbers {
  Real charge;     ///< e
  Real alpha;      ///< polarisability alpha0 h, Bohr^3
  Real c6_factor;  ///< C6 / alpha^2: of the free atom, or of the atom itself with a C6 head; Hartree
  Real unused;
};

/// As so3md::LongRange: each pair energy is split in halves, gradients and forces belong to the whole pair, each owned atom gathers from
/// all its neighbours. Pointers are of the device.
template <class Real>
struct PairPhysics {
  bool electrostatics = false;
  bool dispersion = false;
  double cutoff = 0.0;  ///< A; infinity: none
  ElectrostaticsConstants<Real> charge_constants{};
  DispersionConstants<Real> dispersion_constants{};
  const PairNumbers<Real>* numbers = nullptr;  ///< [n_slots]

  // Set, where the term is on; rows of owned atoms.
  double* electrostatics_energy = nullptr;  ///< eV
  double* dispersion_energy = nullptr;      ///< eV
  double* charge_gradient = nullptr;        ///< dE/dq_i, eV/e
  double* alpha_gradient = nullptr;         ///< dE/dalpha_i, eV/Bohr^3
  double* c6_gradient = nullptr;            ///< dE/d(c6_factor_i), eV/Hartree; null: not wanted

  // Added to; null: not wanted.
  double* forces = nullptr;   ///< [n_owned][3], eV/A
  double* virials = nullptr;  ///< [n_owned][9] halves of d (x) dE/dd, eV
};

/// Sets the rows of all owned atoms.
template <class Real>
void evaluate_pairs(const DeviceDomain& domain, const PairPhysics<Real>& pairs, const Stream& stream);

}  // namespace so3md::cuda
