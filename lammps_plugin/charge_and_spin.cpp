#include "charge_and_spin.h"

#include <cmath>

#include "common/number_text.h"

namespace so3md {

ChargeAndSpinCheck check_charge_and_spin(double protons, const SystemTotals& totals) {
  const double electrons = protons - totals.charge, unpaired = 2.0 * totals.spin;
  if (electrons < 0.0)
    return {true, "charge " + number_text(totals.charge) + ": the atoms have only " + number_text(protons) + " electrons to lose"};
  if (unpaired > electrons)
    return {true, "spin " + number_text(totals.spin) + ": it needs " + number_text(unpaired) + " unpaired electrons, and there are " +
                      number_text(electrons)};
  if (std::fmod(electrons - unpaired, 2.0) == 0.0) return {};
  const std::string parity = "charge " + number_text(totals.charge) + " leaves " + number_text(electrons) + " electrons, of which " +
                             number_text(unpaired) + " cannot be unpaired (spin " + number_text(totals.spin) + ")";
  if (totals.spin > 0.0) return {true, parity + "; change the charge, or the spin S by 1/2"};
  return {false, parity +
                     ": an odd number of electrons has at least one unpaired. Give the charge, or spin 0.5 for a radical. Going on with "
                     "spin 0, which tells the model nothing about the spin"};
}

}  // namespace so3md
