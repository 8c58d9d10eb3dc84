#include "library/library_engine.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <stdexcept>
#include <utility>

#include "common/number_text.h"
#include "evaluation/charge_and_spin.h"

namespace so3md {

namespace {

constexpr std::array<double, 9> kNoCell{};

Precision parse_precision(int number) {
  if (number == SO3MD_PRECISION_MIXED) return Precision::mixed;
  if (number == SO3MD_PRECISION_DOUBLE) return Precision::double_;
  throw std::invalid_argument("precision is " + std::to_string(number) + ": expected SO3MD_PRECISION_MIXED or SO3MD_PRECISION_DOUBLE");
}

Coulomb parse_coulomb(int number) {
  if (number == SO3MD_COULOMB_CUTOFF) return Coulomb::cutoff;
  if (number == SO3MD_COULOMB_EWALD) return Coulomb::ewald;
  throw std::invalid_argument("coulomb is " + std::to_string(number) + ": expected SO3MD_COULOMB_CUTOFF or SO3MD_COULOMB_EWALD");
}

EwaldMethod parse_ewald_method(int number) {
  if (number == SO3MD_EWALD_AUTO) return EwaldMethod::automatic;
  if (number == SO3MD_EWALD_SUM) return EwaldMethod::sum;
  if (number == SO3MD_EWALD_MESH) return EwaldMethod::mesh;
  throw std::invalid_argument("ewald_method is " + std::to_string(number) +
                              ": expected SO3MD_EWALD_AUTO, SO3MD_EWALD_SUM or SO3MD_EWALD_MESH");
}

bool parse_switch(int number, const char* name) {
  if (number == 0 || number == 1) return number == 1;
  throw std::invalid_argument(std::string(name) + " is " + std::to_string(number) + ": expected 1 (yes) or 0 (no)");
}

// Of the lattice vectors as they were given, A^3; 0 if one is missing.
double volume(const double* c) {
  return std::abs(c[0] * (c[4] * c[8] - c[5] * c[7]) - c[1] * (c[3] * c[8] - c[5] * c[6]) + c[2] * (c[3] * c[7] - c[4] * c[6]));
}

void require(const void* array, const char* name) {
  if (array == nullptr) throw std::invalid_argument(std::string(name) + " is NULL: expected an array, since the structure has atoms");
}

const double* data_or_null(const std::vector<double>& values) { return values.empty() ? nullptr : values.data(); }

}  // namespace

LibraryEngine::LibraryEngine(std::shared_ptr<const Model> model, const so3md_options& options)
    : model_(std::move(model)), given_{options.lr_cutoff, options.lr_damping}, skin_(options.skin), threads_(options.threads) {
  options_.precision = parse_precision(options.precision);
  options_.device = parse_device(options.device == nullptr ? "cpu" : options.device);
  options_.coulomb = parse_coulomb(options.coulomb);
  options_.ewald_method = parse_ewald_method(options.ewald_method);
  if (options.ewald_accuracy != 0.0) options_.ewald_accuracy = options.ewald_accuracy;
  options_.dispersion_tail = parse_switch(options.dispersion_tail, "dispersion_tail");
  const double* field = options.electric_field;
  options_.electric_field = {field[0], field[1], field[2]};
  const double network = model_->hyper.cutoff;
  if (model_->hyper.has_long_range() && given_.cutoff > 0.0 && given_.cutoff < network)
    throw std::invalid_argument("lr_cutoff " + number_text(given_.cutoff) + " A is shorter than the cutoff of the network, " +
                                number_text(network) + " A: give at least that, or SO3MD_OF_MODEL");
  warnings_ = entry(false).evaluator->engine().table_warning();  // made now, so that bad options are refused here
}

LibraryEngine::Lengths LibraryEngine::lengths(bool periodic) const {
  const LongRangeSettings& own = model_->long_range;
  return {given_.cutoff == SO3MD_OF_MODEL ? (periodic ? own.periodic : own.molecules) : given_.cutoff,
          given_.damping == SO3MD_OF_MODEL ? own.damping : given_.damping};
}

LibraryEngine::Entry& LibraryEngine::entry(bool periodic) {
  const Lengths wanted = lengths(periodic);
  if (const auto found = entries_.find(wanted); found != entries_.end()) return found->second;
  std::erase_if(entries_, [](const auto& each) { return !each.second.used; });  // it would only take memory
  EngineOptions options = options_;
  options.long_range_cutoff = wanted.cutoff;
  options.dispersion_damping = wanted.damping;
  return entries_[wanted] = {std::make_unique<Evaluator>(model_, options, threads_, skin_)};
}

System LibraryEngine::checked_system(const so3md_system& from) {
  if (from.num_atoms < 0 || from.num_atoms > std::numeric_limits<int>::max())
    throw std::invalid_argument("num_atoms is " + std::to_string(from.num_atoms) + ": expected 0 to 2^31 - 1");
  System system;
  system.n = static_cast<int>(from.num_atoms);
  if (system.n > 0) {
    require(from.atomic_numbers, "atomic_numbers");
    require(from.positions, "positions");
  }
  system.numbers = from.atomic_numbers;
  system.positions = from.positions;
  system.cell = from.cell == nullptr ? kNoCell.data() : from.cell;
  system.totals = {from.charge, from.spin};
  for (std::size_t k = 0; k < 3; ++k) {
    if (from.pbc[k] != 0 && from.pbc[k] != 1)
      throw std::invalid_argument("pbc[" + std::to_string(k) + "] is " + std::to_string(from.pbc[k]) + ": expected 1 (periodic) or 0");
    system.periodic[k] = from.pbc[k] == 1;
    if (system.periodic[k] && from.cell == nullptr)
      throw std::invalid_argument("cell is NULL: expected three lattice vectors, since the structure is periodic");
  }
  return system;
}

void LibraryEngine::check_electrons(const System& system) {
  double protons = 0.0;
  for (int i = 0; i < system.n; ++i) protons += system.numbers[i];
  const ChargeAndSpinCheck check = check_charge_and_spin(protons, system.totals);
  if (check.impossible) throw std::invalid_argument(check.message);
  if (!check.message.empty()) warnings_ += check.message + "\n";
  warnings_ += ignored_state_warning(model_->hyper, system.totals);
  if (uses_ewald(*model_, options_) && system.totals.charge != 0.0)
    warnings_ += "a periodic system has a total charge of " + number_text(system.totals.charge) +
                 " e: a uniform background neutralises it, so that its energy and stress depend on the size of the cell; add "
                 "counter-ions if it need not have a charge\n";
}

so3md_results LibraryEngine::evaluate(const so3md_system& from, int what) {
  if (what < 0 || what > (SO3MD_FORCES | SO3MD_ATOMIC_VIRIALS) || what == SO3MD_ATOMIC_VIRIALS)
    throw std::invalid_argument("what is " + std::to_string(what) +
                                ": expected SO3MD_ENERGY, SO3MD_FORCES, or SO3MD_FORCES + SO3MD_ATOMIC_VIRIALS");
  const System system = checked_system(from);
  const bool periodic = std::any_of(system.periodic.begin(), system.periodic.end(), [](bool direction) { return direction; });
  Entry& chosen = entry(periodic);
  Evaluator& evaluator = *chosen.evaluator;
  warnings_ = evaluator.engine().table_warning();
  if (!warnings_.empty()) warnings_ += "\n";
  check_system(*model_, evaluator.options(), system, system.make_cell());  // names an unknown element before its electrons are counted
  check_electrons(system);
  chosen.used = true;
  const bool forces = (what & SO3MD_FORCES) != 0;
  const DomainResults& found = evaluator.evaluate(system, forces, (what & SO3MD_ATOMIC_VIRIALS) != 0);

  so3md_results results{};
  results.num_atoms = system.n;
  fill_totals(found, results);
  results.volume = volume(system.cell);
  results.has_stress = forces && periodic && results.volume > 0.0 ? 1 : 0;
  if (results.has_stress) {
    const auto& v = results.virial;
    const double full[6] = {v[0], v[4], v[8], (v[5] + v[7]) / 2.0, (v[2] + v[6]) / 2.0, (v[1] + v[3]) / 2.0};
    for (int k = 0; k < 6; ++k) results.stress[k] = full[k] / results.volume;
  }
  results.energies = data_or_null(found.energies);
  results.forces = forces ? data_or_null(found.forces) : nullptr;
  results.atomic_virials = (what & SO3MD_ATOMIC_VIRIALS) != 0 ? data_or_null(found.virials) : nullptr;
  results.charges = data_or_null(found.charges);
  results.hirshfeld_ratios = data_or_null(found.hirshfeld_ratios);
  results.c6_ratios = data_or_null(found.c6_ratios);
  return results;
}

void LibraryEngine::fill_totals(const DomainResults& from, so3md_results& results) const {
  for (std::size_t at = 0; at < from.virials.size(); ++at) results.virial[at % 9] += from.virials[at];
  if (const std::string error = no_numbers(from.energy, results.virial); !error.empty()) throw std::invalid_argument(error);
  results.energy = from.energy.total();
  results.energy_network = from.energy.network + from.energy.shifts;
  results.energy_repulsion = from.energy.zbl;
  results.energy_electrostatics = from.energy.electrostatics;
  results.energy_dispersion = from.energy.dispersion;
}

}  // namespace so3md
