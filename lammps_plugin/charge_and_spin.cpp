#include "charge_and_spin.h"

#include <cmath>
#include <cstdio>

namespace so3md {

namespace {

std::string text_of(double value) {
  char text[32];
  std::snprintf(text, sizeof(text), "%g", value);
  return text;
}

}  // namespace

ChargeAndSpinCheck check_charge_and_spin(double protons, const SystemTotals& totals) {
  const double electrons = protons - totals.charge, unpaired = 2.0 * totals.spin;
  if (electrons < 0.0)
    return {true, "charge " + text_of(totals.charge) + ": the atoms have only " + text_of(protons) + " electrons to lose"};
  if (unpaired > electrons)
    return {true, "spin " + text_of(totals.spin) + ": it needs " + text_of(unpaired) + " unpaired electrons, and there are " +
                      text_of(electrons)};
  if (std::fmod(electrons - unpaired, 2.0) == 0.0) return {};
  const std::string parity = "charge " + text_of(totals.charge) + " leaves " + text_of(electrons) + " electrons, of which " +
                             text_of(unpaired) + " cannot be unpaired (spin " + text_of(totals.spin) + ")";
  if (totals.spin > 0.0) return {true, parity + "; change the charge, or the spin S by 1/2"};
  return {false, parity +
                     ": an odd number of electrons has at least one unpaired. Give the charge, or spin 0.5 for a radical. Going on with "
                     "spin 0, which tells the model nothing about the spin"};
}

}  // namespace so3md
