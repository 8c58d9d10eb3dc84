// What a kernel of the long-range pair physics reads and writes.
#pragma once

#include "geometry/domain.h"

namespace so3md {

/// Electrostatics and dispersion between the owned atoms of a domain and their long-range neighbours. Views only.
///
/// Each pair energy is split in halves between its two atoms. Gradients and forces belong to the whole pair energy: each owned atom
/// gathers them from all its neighbours, and only its own rows are written. Results are added to what the arrays hold.
template <class Real>
struct LongRange {
  const Domain* domain = nullptr;  ///< its long-range lists; neighbours at or beyond the cutoff contribute nothing
  bool electrostatics = false;
  bool dispersion = false;
  double sigma = 0.0;          ///< smearing length s of the charges, A
  double cutoff = 0.0;         ///< R, A; infinity: none
  double damping = 0.0;        ///< the dispersion is switched off between R - damping and R, A
  double damping_scale = 0.0;  ///< the 1.2 of the dispersion's damping radius p

  const Real* charge = nullptr;     ///< [slots] q, e
  const Real* alpha = nullptr;      ///< [slots] polarisability alpha0 h, Bohr^3
  const Real* c6_factor = nullptr;  ///< [slots] C6 / alpha^2: of the free atom, or of the atom itself with a C6 head; Hartree

  double* electrostatics_energy = nullptr;  ///< [n_owned], eV
  double* dispersion_energy = nullptr;      ///< [n_owned], eV
  double* charge_gradient = nullptr;        ///< [n_owned] dE/dq_i, eV/e
  double* alpha_gradient = nullptr;         ///< [n_owned] dE/dalpha_i, eV/Bohr^3
  double* c6_gradient = nullptr;            ///< [n_owned] dE/d(c6_factor_i), eV/Hartree; null: not wanted
  double* forces = nullptr;                 ///< [n_owned][3], eV/A
  double* virial = nullptr;                 ///< [n_owned][9] halves of d (x) dE/dd, eV; null: not wanted
};

}  // namespace so3md
