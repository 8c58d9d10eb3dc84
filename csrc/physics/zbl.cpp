#include "physics/zbl.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <string>

#include "model/model.h"
#include "physics/scalar_math.h"

namespace so3md {
namespace {

// ln(1 + exp(x)) without overflow.
double softplus(double x) { return std::max(x, 0.0) + std::log1p(std::exp(-std::abs(x))); }

}  // namespace

Zbl::Zbl(const Model& model) {
  if (!model.hyper.has_repulsion()) return;
  switch_off_ = model.hyper.zbl_switch_off;
  constants_.switch_on = model.hyper.zbl_switch_on;
  constants_.inverse_width = 1.0 / (switch_off_ - constants_.switch_on);
  if (model.hyper.zbl)
    set_zbl(model);
  else
    set_nlh(model);
}

void Zbl::set_nlh(const Model& model) {
  const std::size_t species = model.elements.size();
  if (model.nlh.size() != 3 * species * species || species > kMaxSpecies)
    throw ModelError("NLH repulsion: expected three numbers for each pair of at most " + std::to_string(kMaxSpecies) + " elements, found " +
                     std::to_string(model.nlh.size()) + " for " + std::to_string(species) + " elements; is the model file complete?");
  num_species_ = species;
  for (std::size_t pair = 0; pair < species * species; ++pair) {
    const double* numbers = model.nlh.data() + 3 * pair;
    ZblConstants<double>& constants = pairs_.emplace_back(constants_);
    constants.coefficient[0] = numbers[0];
    constants.coefficient[1] = 1.0 - numbers[0];
    constants.exponent[0] = numbers[1];
    constants.exponent[1] = numbers[2];
  }
  for (std::size_t i = 0; i < species; ++i) {
    charge_[i] = model.elements[i];
    screening_[i] = 0.5;
  }
}

void Zbl::set_zbl(const Model& model) {
  if (model.zbl.a_raw.size() != 4 || model.zbl.c_raw.size() != 4 || model.elements.size() > kMaxSpecies)
    throw ModelError("ZBL repulsion: expected four exponents, four coefficients and at most " + std::to_string(kMaxSpecies) +
                     " elements, found " + std::to_string(model.zbl.a_raw.size()) + ", " + std::to_string(model.zbl.c_raw.size()) +
                     " and " + std::to_string(model.elements.size()) + "; is the model file complete?");
  std::transform(model.zbl.a_raw.begin(), model.zbl.a_raw.end(), constants_.exponent, softplus);
  std::transform(model.zbl.c_raw.begin(), model.zbl.c_raw.end(), constants_.coefficient, softplus);
  const double sum = std::accumulate(constants_.coefficient, constants_.coefficient + 4, 0.0);
  for (double& coefficient : constants_.coefficient) coefficient /= sum;
  const double power = softplus(model.zbl.p_raw);
  const double scale = softplus(model.zbl.d_raw);
  for (std::size_t species = 0; species < model.elements.size(); ++species) {
    charge_[species] = model.elements[species];
    screening_[species] = scale * std::pow(charge_[species], power);
  }
}

double Zbl::energy(int species_i, int species_j, double r, double phi, double dphi_dr, double* derivative) const {
  if (r >= switch_off_) {
    *derivative = 0.0;
    return 0.0;
  }
  const ZblConstants<double>& constants =
      pairs_.empty() ? constants_ : pairs_[static_cast<std::size_t>(species_i) * num_species_ + static_cast<std::size_t>(species_j)];
  const auto edge = zbl_edge<ScalarMath>(constants, r, ValueAndSlope<double>{phi, dphi_dr}, charge_[species_i] * charge_[species_j],
                                         screening_[species_i] + screening_[species_j]);
  *derivative = edge.slope;
  return edge.value;
}

}  // namespace so3md
