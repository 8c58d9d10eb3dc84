// Charges in a uniform electric field (docs/theory.md, section 14): the same text for CPU and GPU.
#pragma once

#include <cstdint>

#include "common/formula.h"

namespace so3md {

/// V/A, which is eV/(e A).
struct ElectricField {
  double x = 0.0, y = 0.0, z = 0.0;
  bool is_zero() const { return x == 0.0 && y == 0.0 && z == 0.0; }
};

/// Rows of owned atoms, which are added to.
struct FieldRows {
  const double* charges = nullptr;    ///< e, read
  double* energies = nullptr;         ///< eV
  double* charge_gradient = nullptr;  ///< dE/dq_i, eV/e
  double* forces = nullptr;           ///< [n][3] at fixed charges, eV/A; null: not wanted, nor virials
  double* virials = nullptr;          ///< [n][9] whose sum is dE/dstrain at fixed charges, eV
};

/// Adds what the field does to atom i, whose position along its path is r (eq. 89 to 91).
SO3MD_FORMULA void add_field(const ElectricField& field, const double* r, std::int64_t i, const FieldRows& rows) {
  const double q = rows.charges[i], components[3] = {field.x, field.y, field.z};
  const double potential = -(r[0] * field.x + r[1] * field.y + r[2] * field.z);
  rows.energies[i] += q * potential;
  rows.charge_gradient[i] += potential;
  if (rows.forces == nullptr) return;
  for (int b = 0; b < 3; ++b) {
    rows.forces[3 * i + b] += q * components[b];
    for (int a = 0; a < 3; ++a) rows.virials[9 * i + 3 * a + b] -= q * r[a] * components[b];
  }
}

}  // namespace so3md
