// Charges in an external potential that the host knows at each atom (docs/theory.md, section 17): the same text for CPU and GPU.
#pragma once

#include <cstdint>

#include "physics/electric_field.h"

namespace so3md {

/// At each atom, whatever makes it.
struct ExternalPotential {
  const double* potentials = nullptr;  ///< [n], V; null: there is none
  const double* fields = nullptr;      ///< [n][3], minus the gradients, V/A
  bool is_none() const { return potentials == nullptr; }
};

/// Adds what the potential does to atom i (eq. 104, 105). A strain of the atoms alone has no meaning for what stays where it is: virials
/// have no part of it.
SO3MD_FORMULA void add_external_potential(const ExternalPotential& external, std::int64_t i, const FieldRows& rows) {
  const double q = rows.charges[i], potential = external.potentials[i];
  rows.energies[i] += q * potential;
  rows.charge_gradient[i] += potential;
  for (int a = 0; a < 3; ++a) rows.forces[3 * i + a] += q * external.fields[3 * i + a];
}

}  // namespace so3md
