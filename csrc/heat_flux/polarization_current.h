// The current of polarization: charges that move with their atoms, and charge that flows from atom to atom (section 16 of docs/theory.md).
#pragma once

#include <vector>

#include "heat_flux/heat_flux.h"

namespace so3md {

/// What each owned atom brings to the current (eq. 101), [n_owned][3], e A per unit of time. Arguments as of HeatFlux::evaluate_charges(),
/// which throws what this throws. Collective.
std::vector<double> polarization_current(HeatFlux& sweep, const Domain& domain, const int* species, const SystemTotals& totals,
                                         const double* velocities, HaloExchange& halo);

}  // namespace so3md
