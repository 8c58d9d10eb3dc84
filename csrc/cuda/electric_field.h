// Charges in a uniform electric field on the device (docs/theory.md, section 14).
#pragma once

#include "cuda/seams.h"
#include "physics/electric_field.h"

namespace so3md::cuda {

/// Positions of the owned atoms along their paths, on the device.
struct AtomPaths {
  const double* positions = nullptr;  ///< rows of 3, A
  const int* rows = nullptr;          ///< [n_owned] which of them is that of an atom; null: they are in the order of the domain
};

/// add_field() for all owned atoms.
void add_electric_field(const DeviceDomain& domain, const ElectricField& field, const AtomPaths& paths, const FieldRows& rows,
                        const Stream& stream);

}  // namespace so3md::cuda
