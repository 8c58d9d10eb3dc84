#include "engine/committee.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <stdexcept>
#include <utility>

#include "common/number_text.h"
#include "engine/create_engine.h"

namespace so3md {

namespace {

using Members = std::vector<const DomainResults*>;

std::string terms_text(const Hyperparameters& hyper) {
  std::string text;
  for (const auto& [name, has] : {std::pair<const char*, bool>{"charge_head", hyper.charge_head},
                                  {"hirshfeld_head", hyper.hirshfeld_head},
                                  {"c6_head", hyper.c6_head},
                                  {"electrostatics", hyper.electrostatics},
                                  {"dispersion", hyper.dispersion}})
    if (has) text += std::string(text.empty() ? "" : ", ") + name;
  return text.empty() ? "none" : text;
}

std::string lengths_text(const Model& model) {
  if (!model.hyper.has_long_range()) return "none";
  const LongRangeSettings& lengths = model.long_range;
  return number_text(lengths.periodic) + ", of molecules " + number_text(lengths.molecules) + ", damping " + number_text(lengths.damping);
}

std::string elements_text(const Model& model) {
  std::string text;
  for (const int number : model.elements) {
    if (!text.empty()) text += ' ';
    text += std::to_string(number);
  }
  return text;
}

// What members must have in common, in words.
std::array<std::pair<const char*, std::string>, 3> what_it_predicts(const Model& model) {
  return {{{"elements (atomic numbers)", elements_text(model)},
           {"heads and long-range terms", terms_text(model.hyper)},
           {"long-range cutoffs (A)", lengths_text(model)}}};
}

// The mean of a vector of the results, such as the forces.
void take_mean(const Members& members, std::vector<double> DomainResults::* values, std::vector<double>& mean) {
  mean = members.front()->*values;
  for (std::size_t k = 1; k < members.size(); ++k)
    for (std::size_t i = 0; i < mean.size(); ++i) mean[i] += (members[k]->*values)[i];
  for (double& value : mean) value /= static_cast<double>(members.size());
}

void add(const EnergyComponents& from, double factor, EnergyComponents& to) {
  to.network += factor * from.network;
  to.shifts += factor * from.shifts;
  to.zbl += factor * from.zbl;
  to.electrostatics += factor * from.electrostatics;
  to.dispersion += factor * from.dispersion;
}

std::vector<double> deviation_of_forces(const Members& members, const std::vector<double>& mean) {
  std::vector<double> squares(mean.size() / 3, 0.0);
  for (const DomainResults* member : members)
    for (std::size_t i = 0; i < mean.size(); ++i) squares[i / 3] += std::pow(member->forces[i] - mean[i], 2);
  for (double& value : squares) value = std::sqrt(value / static_cast<double>(members.size()));
  return squares;
}

void sum_virials(const Members& members, std::vector<double>& sums) {
  sums.assign(9 * members.size(), 0.0);
  for (std::size_t k = 0; k < members.size(); ++k)
    for (std::size_t i = 0; i < members[k]->virials.size(); ++i) sums[9 * k + i % 9] += members[k]->virials[i];
}

}  // namespace

void check_members(const std::vector<std::shared_ptr<const Model>>& members, const std::vector<std::string>& names) {
  const auto first = what_it_predicts(*members.front());
  for (std::size_t k = 1; k < members.size(); ++k) {
    const auto found = what_it_predicts(*members[k]);
    for (std::size_t what = 0; what < first.size(); ++what)
      if (found[what].second != first[what].second)
        throw std::invalid_argument("expected models that predict the same, found " + std::string(first[what].first) + " " +
                                    first[what].second + " of " + names.front() + " and " + found[what].second + " of " + names[k] +
                                    ": take models that were trained with the same configuration");
  }
}

Committee::Committee(const std::vector<std::shared_ptr<const Model>>& members, const EngineOptions& options, ThreadPool& pool) {
  if (options.device.kind != DeviceKind::cpu)
    throw std::invalid_argument("several models are evaluated on processors only: use device cpu, or a single model");
  for (const auto& member : members) engines_.push_back(create_engine(member, options, pool));
}

std::unique_ptr<Engine> Committee::create_sibling(ThreadPool& pool) const {
  std::vector<std::unique_ptr<Engine>> siblings;
  for (const auto& engine : engines_) siblings.push_back(engine->create_sibling(pool));
  return std::unique_ptr<Engine>(new Committee(std::move(siblings)));
}

const DomainResults& Committee::evaluate(const Domain& domain, const int* species, HaloExchange& halo, const Request& request) {
  if (request.features != nullptr || request.coulomb != nullptr)
    throw std::logic_error("several models have no features of layers, and no electrostatics of the host");
  Members members;  // each engine keeps its results until it is called again
  for (const auto& engine : engines_) members.push_back(&engine->evaluate(domain, species, halo, request));
  const double share = 1.0 / static_cast<double>(members.size());
  mean_.energy = {};
  mean_.system_energies.assign(members.front()->system_energies.size(), {});
  for (const DomainResults* member : members) {
    add(member->energy, share, mean_.energy);
    for (std::size_t s = 0; s < mean_.system_energies.size(); ++s) add(member->system_energies[s], share, mean_.system_energies[s]);
  }
  for (const auto values : {&DomainResults::energies, &DomainResults::forces, &DomainResults::virials, &DomainResults::charges,
                            &DomainResults::hirshfeld_ratios, &DomainResults::c6_ratios})
    take_mean(members, values, mean_.*values);
  mean_.force_uncertainties.clear();
  if (request.forces) mean_.force_uncertainties = deviation_of_forces(members, mean_.forces);
  sum_virials(members, member_virials_);
  return mean_;
}

EngineReport Committee::report() const {
  for (const auto& engine : engines_)
    if (EngineReport found = engine->report(); !found.tabulated) return found;
  return engines_.front()->report();
}

}  // namespace so3md
