// Which total charges and spins a number of electrons can have, and which a model knows.
#pragma once

#include <string>

#include "evaluation/engine.h"

namespace so3md {

struct ChargeAndSpinCheck {
  bool impossible = false;
  std::string message;  ///< empty if there is nothing to say
};

/// `protons`: sum of the atomic numbers. Impossible are a charge that is no integer, a spin that is no
/// multiple of 1/2, fewer electrons than none or than unpaired ones, and a spin S > 0 whose unpaired electrons cannot be an even or odd
/// number of electrons. An odd number with S = 0 deserves a warning only, since S = 0 also tells a model that nothing is known of the spin.
ChargeAndSpinCheck check_charge_and_spin(double protons, const SystemTotals& totals);

/// As python/so3md/ignored_states.py: a warning of one line for each of charge and spin that is not zero and changes nothing; else empty.
std::string ignored_state_warning(const Hyperparameters& hyper, const SystemTotals& totals);

}  // namespace so3md
