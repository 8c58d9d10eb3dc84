#include "evaluator.h"

#include <cmath>
#include <cstdio>
#include <stdexcept>
#include <string>

namespace so3md {

namespace {

std::string number_text(double value) {
  char text[32];
  std::snprintf(text, sizeof(text), "%g", value);
  return text;
}

void check_options(const EngineOptions& options, double skin, int threads) {
  if (!(options.long_range_cutoff > 0.0))
    throw std::invalid_argument("the long-range cutoff is " + number_text(options.long_range_cutoff) +
                                " A: expected a positive length, or none for isolated molecules");
  if (!std::isinf(options.long_range_cutoff) &&
      (!(options.dispersion_damping > 0.0) || options.dispersion_damping > options.long_range_cutoff))
    throw std::invalid_argument("the dispersion damping length is " + number_text(options.dispersion_damping) +
                                " A: expected a length between 0 and the long-range cutoff of " + number_text(options.long_range_cutoff) +
                                " A");
  if (!(skin >= 0.0) || !std::isfinite(skin))
    throw std::invalid_argument("the skin of the neighbour list is " + number_text(skin) + " A: expected a length of 0 or more");
  if (threads < 0)
    throw std::invalid_argument("the number of threads is " + std::to_string(threads) + ": expected 1 or more, or 0 for all cores");
}

// rows[order[k]] = rows of the domain's atom k.
void scatter(const std::vector<int>& order, std::size_t width, const std::vector<double>& from, std::vector<double>& to) {
  to.resize(from.size());
  if (from.empty()) return;
  for (std::size_t k = 0; k < order.size(); ++k)
    for (std::size_t c = 0; c < width; ++c) to[static_cast<std::size_t>(order[k]) * width + c] = from[k * width + c];
}

}  // namespace

Evaluator::Evaluator(std::shared_ptr<const Model> model, const EngineOptions& options, int threads, double skin)
    : model_((check_options(options, skin, threads), std::move(model))),
      options_(options),
      pool_(threads),
      engine_(Engine::create(model_, options, pool_)),
      neighbours_(model_->hyper.cutoff, long_range_cutoff(*model_, options), skin) {}

void Evaluator::check(const System& system) const {
  if (!std::isfinite(system.totals.charge))
    throw std::invalid_argument("the total charge is " + number_text(system.totals.charge) + ": expected a finite number of e");
  if (!std::isfinite(system.totals.spin) || system.totals.spin < 0.0)
    throw std::invalid_argument("the total spin is " + number_text(system.totals.spin) +
                                ": expected S = 0, 1/2, 1, ..., half the number of unpaired electrons");
  const bool periodic = system.periodic[0] || system.periodic[1] || system.periodic[2];
  if (periodic && std::isinf(long_range_cutoff(*model_, options_)))
    throw std::invalid_argument(
        "a periodic system needs a long-range cutoff: set lr_cutoff (12 A is the default), or switch periodic boundaries off");
  for (int i = 0; i < system.n; ++i) {
    if (model_->species_of(system.numbers[i]) >= 0) continue;
    std::string known;
    for (int element : model_->elements) known += (known.empty() ? "" : ", ") + std::to_string(element);
    throw std::invalid_argument("atom " + std::to_string(i) + " has atomic number " + std::to_string(system.numbers[i]) +
                                ", which this model was not trained for: it knows " + known + ". Remove the atom or use another model.");
  }
}

// Species follow the atoms in the list's internal order.
void Evaluator::set_species(const System& system) {
  const std::vector<int>& order = neighbours_.order();
  species_.resize(order.size());
  for (std::size_t k = 0; k < order.size(); ++k) species_[k] = model_->species_of(system.numbers[order[k]]);
}

const DomainResults& Evaluator::evaluate(const System& system, bool forces, std::vector<LayerFeatures>* features) {
  check(system);
  if (system.n == 0) {
    results_ = DomainResults{};
    return results_;
  }
  Stopwatch watch;
  neighbours_.update(system.n, system.positions, Cell(system.cell, system.periodic), pool_);
  watch.lap("neighbours");
  neighbour_seconds_ += watch.seconds().at("neighbours");
  set_species(system);
  const std::vector<int>& order = neighbours_.order();
  try {
    to_host_order(engine_->evaluate(neighbours_.domain(), species_.data(), system.totals, halo_, forces, features));
  } catch (const OverlappingAtoms& overlap) {
    throw std::invalid_argument("atoms " + std::to_string(order[static_cast<std::size_t>(overlap.i)]) + " and " +
                                std::to_string(order[static_cast<std::size_t>(overlap.slot)]) + " are at the same place (" +
                                number_text(overlap.distance) +
                                " A apart, periodic images included): remove one of them or check the cell");
  }
  if (features != nullptr) features_to_host_order(*features);
  return results_;
}

void Evaluator::to_host_order(const DomainResults& from) {
  const std::vector<int>& order = neighbours_.order();
  results_.energy = from.energy;
  scatter(order, 1, from.energies, results_.energies);
  scatter(order, 3, from.forces, results_.forces);
  scatter(order, 9, from.virials, results_.virials);
  scatter(order, 1, from.charges, results_.charges);
  scatter(order, 1, from.hirshfeld_ratios, results_.hirshfeld_ratios);
}

void Evaluator::features_to_host_order(std::vector<LayerFeatures>& features) const {
  const std::vector<int>& order = neighbours_.order();
  for (LayerFeatures& layer : features)
    for (auto* values : {&layer.x_in, &layer.chi_in, &layer.x_attended, &layer.chi_attended, &layer.x_out, &layer.chi_out}) {
      std::vector<double> sorted;
      scatter(order, values->size() / order.size(), *values, sorted);
      *values = std::move(sorted);
    }
}

}  // namespace so3md
