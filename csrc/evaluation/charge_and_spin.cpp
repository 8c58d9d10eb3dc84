#include "evaluation/charge_and_spin.h"

#include <cmath>

#include "common/number_text.h"

namespace so3md {

ChargeAndSpinCheck check_charge_and_spin(double protons, const SystemTotals& totals) {
  if (totals.charge != std::round(totals.charge))
    return {true, "charge " + number_text(totals.charge, 10) + ": expected an integer, the total charge in units of e"};
  if (totals.spin < 0.0 || 2.0 * totals.spin != std::round(2.0 * totals.spin))
    return {true, "spin " + number_text(totals.spin, 10) +
                      ": expected 0, 0.5, 1, 1.5, ...: the total spin S, half the number of unpaired electrons"};
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

std::string ignored_state_warning(const Hyperparameters& hyper, const SystemTotals& totals) {
  const auto ignored = [](const std::string& name, double value) {
    return name + " " + number_text(value) + " changes nothing: this model has no " + name +
           " embedding, so that energies and forces are the same for every " + name +
           ". Take a model that was trained with one, or leave the " + name + " out\n";
  };
  std::string text;
  if (totals.charge != 0.0 && !hyper.charge_embedding && !hyper.electrostatics) text += ignored("charge", totals.charge);
  if (totals.spin != 0.0 && !hyper.spin_embedding) text += ignored("spin", totals.spin);
  return text;
}

}  // namespace so3md
