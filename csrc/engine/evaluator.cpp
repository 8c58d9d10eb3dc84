#include "engine/evaluator.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <stdexcept>
#include <string>
#include <utility>

#include "common/elements.h"
#include "common/index.h"
#include "common/number_text.h"
#include "common/resources.h"
#include "engine/create_engine.h"
#include "geometry/partition.h"
#include "heat_flux/polarization_current.h"

namespace so3md {

namespace {

void check_all_options(const EngineOptions& options, double skin, int threads) {
  check_options(options);
  if (!(skin >= 0.0 && skin <= kLargestLength))
    throw std::invalid_argument("the skin of the neighbour list is " + number_text(skin) + " A: expected a length from 0 to " +
                                number_text(kLargestLength) + " A");
  check_threads(threads);
}

// Of charge and spin: far beyond what any structure holds, and far from what the numbers of a network can hold.
constexpr double kLargestTotal = 1e6;

// rows[order[k]] = rows of the domain's atom k.
void scatter(const std::vector<int>& order, std::size_t width, const std::vector<double>& from, std::vector<double>& to) {
  to.resize(from.size());
  if (from.empty()) return;
  for (std::size_t k = 0; k < order.size(); ++k)
    for (std::size_t c = 0; c < width; ++c) to[static_cast<std::size_t>(order[k]) * width + c] = from[k * width + c];
}

void check_external_potential(const Model& model, const EngineOptions& options) {
  if (!model.hyper.charge_head)
    throw std::invalid_argument("an external potential acts on charges, and this model predicts none: use one that does, such as so3lr");
  if (options.device.kind != DeviceKind::cpu)
    throw std::invalid_argument("an external potential is for the CPU, and the device is a GPU: use device 'cpu'");
}

}  // namespace

void check_system(const Model& model, const EngineOptions& options, const System& system, const Cell& cell) {
  if (!(std::abs(system.totals.charge) <= kLargestTotal))
    throw std::invalid_argument("the total charge is " + number_text(system.totals.charge) + ": expected a number of e from " +
                                number_text(-kLargestTotal) + " to " + number_text(kLargestTotal));
  if (!(system.totals.spin >= 0.0 && system.totals.spin <= kLargestTotal))
    throw std::invalid_argument("the total spin is " + number_text(system.totals.spin) + ": expected S = 0, 1/2, 1, ... up to " +
                                number_text(kLargestTotal) + ", half the number of unpaired electrons");
  if (cell.any_periodic() && std::isinf(long_range_cutoff(model, options)))
    throw std::invalid_argument(
        "a periodic system needs a long-range cutoff: give lr_cutoff in A (12 is that of SO3LR), or switch periodic boundaries off");
  if (uses_ewald(model, options)) check_electrostatics(model, options, cell, system.n);
  if (!system.external.is_none()) check_external_potential(model, options);
  check_dispersion_tail(options, cell);
  check_nonlocal_cell(model, cell);
  for (int i = 0; i < system.n; ++i) {
    if (model.species_of(system.numbers[i]) >= 0) continue;
    std::string known;
    for (int element : model.elements) known.append(" ").append(element_symbol(element));
    throw std::invalid_argument("atom " + std::to_string(i) + " is " + element_text(system.numbers[i]) +
                                ", for which this model was not trained: it knows" + known + ". Remove the atom or use another model.");
  }
}

std::string no_numbers(const EnergyComponents& energy, const double* virial) {
  const bool forces = std::all_of(virial, virial + 9, [](double component) { return std::isfinite(component); });
  if (forces && std::isfinite(energy.total())) return "";
  std::string terms;
  for (const auto& [name, value] : {std::pair{"network", energy.network},
                                    {"shifts", energy.shifts},
                                    {"repulsion", energy.zbl},
                                    {"electrostatics", energy.electrostatics},
                                    {"dispersion", energy.dispersion}})
    if (!std::isfinite(value)) terms += (terms.empty() ? "" : ", ") + std::string(name);
  return "the model gives no finite " + (terms.empty() ? "forces" : "energy (" + terms + ")") +
         " for this structure: check the distances between its atoms, its charge and the numbers of the model file, or try precision "
         "'double'";
}

std::invalid_argument overlap_error(const OverlappingAtoms& overlap, const std::vector<int>& points) {
  return std::invalid_argument("atoms " + std::to_string(points[static_cast<std::size_t>(overlap.i)]) + " and " +
                               std::to_string(points[static_cast<std::size_t>(overlap.slot)]) + " are at the same place (" +
                               number_text(overlap.distance) + " A apart, periodic images included): remove one of them or check the cell");
}

Evaluator::Evaluator(std::shared_ptr<const Model> model, const EngineOptions& options, int threads, double skin,
                     std::unique_ptr<Transport> transport)
    : model_((check_all_options(options, skin, threads), std::move(model))),
      options_(options),
      pool_(threads),
      engine_(create_engine(model_, options, pool_)),
      neighbours_(model_->hyper.cutoff, long_range_cutoff(*model_, options), skin),
      transport_(std::move(transport)),
      planned_halo_(transport_ ? std::make_unique<PlannedHalo>(*transport_) : nullptr),
      points_halo_(transport_ ? std::make_unique<PlannedHalo>(*transport_) : nullptr),
      skin_(skin) {
  // The threads start now, and not while other processes wait.
  if (!alone()) pool_.parallel_for(pool_.size() + 1, 1, [](int, int, int) {});
}

// Divides the system among the processes.
std::span<const AtomOwner> Evaluator::assign_owners(const System& system, const Cell& cell) {
  const std::vector<int> process = partition(system.n, system.positions, cell, transport_->num_processes());
  owners_.clear();
  for (int i = 0; i < system.n; ++i) owners_.push_back({process[static_cast<std::size_t>(i)], i});
  return owners_;
}

// Lists for these positions; where they are new, the system is divided among the processes anew as well.
void Evaluator::update_lists(const System& system, const Cell& cell) {
  watch_.start();
  if (alone())
    neighbours_.update(system.n, system.positions, cell, pool_);
  else
    update_shared_lists(system, cell);
  watch_.lap("neighbours");
}

void Evaluator::update_shared_lists(const System& system, const Cell& cell) {
  const auto assign = [&](std::vector<AtomOwner>& owners) {
    const auto assigned = assign_owners(system, cell);
    owners.assign(assigned.begin(), assigned.end());
  };
  try {
    if (!neighbours_.update(system.n, system.positions, cell, transport_->process(), assign, pool_)) return;
  } catch (const ListsTooLarge& error) {  // others may have more memory, and wait
    throw std::runtime_error(error.what());
  }
  const LocalDomain& local = neighbours_.local();
  planned_halo_->plan(local.domain().n_owned, local.domain().n_near, local.halo(), local.slot_of_point());
}

double Evaluator::neighbour_seconds() const {
  const auto seconds = watch_.seconds();
  return seconds.empty() ? 0.0 : seconds.at("neighbours");
}

// Species of the atom of each slot.
void Evaluator::set_species(const System& system) {
  const std::vector<int>& points = neighbours_.local().point_of_slot();
  species_.resize(points.size());
  for (std::size_t slot = 0; slot < points.size(); ++slot) species_[slot] = model_->species_of(system.numbers[points[slot]]);
}

// The lists, and where a field needs them, positions as they were given.
Domain Evaluator::domain(const System& system) {
  Domain domain = neighbours_.domain();
  if (options_.electric_field.is_zero()) return domain;
  unwrapped_.clear();
  for (int atom : neighbours_.order()) unwrapped_.insert(unwrapped_.end(), system.positions + 3 * atom, system.positions + 3 * atom + 3);
  domain.unwrapped = unwrapped_.data();
  return domain;
}

// In the order of the lists.
ExternalPotential Evaluator::own_external(const ExternalPotential& external) {
  if (external.is_none()) return {};
  external_potentials_.clear();
  external_fields_.clear();
  for (int atom : neighbours_.order()) {
    const auto at = index_of(atom);
    external_potentials_.push_back(external.potentials[at]);
    external_fields_.insert(external_fields_.end(), external.fields + 3 * at, external.fields + 3 * at + 3);
  }
  return {external_potentials_.data(), external_fields_.data()};
}

const DomainResults& Evaluator::evaluate(const System& system, bool forces, bool atomic_virials, std::vector<LayerFeatures>* features) {
  const bool evaluated = forces && features == nullptr && without_forces_.is(system);
  without_forces_.forget();
  const Cell cell = system.make_cell();
  check_system(*model_, options_, system, cell);
  if (system.n == 0) {
    results_ = DomainResults{};
    atoms_.clear();
    return results_;
  }
  // Features come in the order of the lists, which only those of the host tell.
  engine_lists_ = engine_->makes_lists() && features == nullptr;
  Request request{system.totals, forces, features};
  request.totals.cell = &cell;
  request.atomic_virials = atomic_virials;
  if (engine_lists_) return evaluate_points(system, request);
  if (evaluated)
    if (const DomainResults* found = engine_->evaluate_forces(domain(system), species_.data(), halo_exchange(), request.totals)) {
      to_host_order(*found);
      return results_;
    }
  evaluate_lists(system, request);
  if (!forces && features == nullptr && system.external.is_none()) without_forces_.set(system);
  return results_;
}

// With the lists of the host.
void Evaluator::evaluate_lists(const System& system, Request request) {
  update_lists(system, *request.totals.cell);
  set_species(system);
  request.external = own_external(system.external);
  try {
    to_host_order(engine_->evaluate(domain(system), species_.data(), halo_exchange(), request));
  } catch (const OverlappingAtoms& overlap) {
    throw overlap_error(overlap, neighbours_.local().point_of_slot());
  }
  if (request.features != nullptr) features_to_host_order(*request.features);
}

// Calls run(domain, totals, velocities of the own atoms) with lists of this system, and says which atoms these are.
template <class Run>
void Evaluator::sweep(const System& system, const double* velocities, const Run& run) {
  without_forces_.forget();
  if (heat_flux_ == nullptr) heat_flux_ = std::make_unique<HeatFlux>(model_, options_, pool_);
  const Cell cell = system.make_cell();
  check_system(*model_, options_, system, cell);
  require_usable_velocities(system.n, velocities, [](int atom) { return "atom " + std::to_string(atom) + " (counted from 0)"; });
  atoms_.clear();
  if (system.n == 0) return;
  engine_lists_ = false;
  update_lists(system, cell);
  set_species(system);
  std::vector<double> own;
  for (int atom : neighbours_.order()) own.insert(own.end(), velocities + 3 * atom, velocities + 3 * atom + 3);
  SystemTotals totals = system.totals;
  totals.cell = &cell;
  try {
    run(neighbours_.domain(), totals, own.data());
  } catch (const OverlappingAtoms& overlap) {
    throw overlap_error(overlap, neighbours_.local().point_of_slot());
  }
  atoms_ = neighbours_.order();
}

HeatFluxShares Evaluator::heat_flux(const System& system, const double* velocities) {
  sweep(system, velocities, [this](const Domain& domain, const SystemTotals& totals, const double* own) {
    heat_flux_->evaluate(domain, species_.data(), totals, own, halo_exchange());
  });
  HeatFluxShares out;
  for (int i = 0; i < static_cast<int>(atoms_.size()); ++i) {
    out.energies.push_back(heat_flux_->energy(i));
    out.rates.push_back(heat_flux_->rate(i));
    out.moments.insert(out.moments.end(), heat_flux_->moment(i), heat_flux_->moment(i) + 3);
  }
  return out;
}

std::vector<double> Evaluator::polarization_current(const System& system, const double* velocities) {
  std::vector<double> shares;
  sweep(system, velocities, [&](const Domain& domain, const SystemTotals& totals, const double* own) {
    shares = so3md::polarization_current(*heat_flux_, domain, species_.data(), totals, own, halo_exchange());
  });
  return shares;
}

// With the lists of the engine.
const DomainResults& Evaluator::evaluate_points(const System& system, const Request& request) {
  species_.resize(static_cast<std::size_t>(system.n));
  for (std::size_t i = 0; i < species_.size(); ++i) species_[i] = model_->species_of(system.numbers[i]);
  const Cell& cell = *request.totals.cell;
  PointSystem points{system.n, system.positions, species_.data(), &cell, skin_};
  PointSharing sharing;
  if (alone()) {
    atoms_.resize(species_.size());
    std::iota(atoms_.begin(), atoms_.end(), 0);
  } else {
    sharing = {transport_->process(), [&] { return assign_owners(system, cell); }, points_halo_.get()};
    points.sharing = &sharing;
  }
  try {
    const DomainResults& results = engine_->evaluate_points(points, request);
    if (!alone()) list_own_atoms();
    return results;
  } catch (const OverlappingAtoms& overlap) {
    atoms_.resize(species_.size());
    std::iota(atoms_.begin(), atoms_.end(), 0);
    throw overlap_error(overlap, atoms_);
  }
}

void Evaluator::list_own_atoms() {
  atoms_.clear();
  for (const AtomOwner& owner : owners_)
    if (owner.process == transport_->process()) atoms_.push_back(owner.point);
}

DomainCounts Evaluator::domain_counts() const {
  if (engine_lists_) return engine_->domain_counts();
  const Domain domain = neighbours_.domain();
  return {domain.n_owned, domain.n_interior, domain.n_near, domain.n_far};
}

void Evaluator::to_host_order(const DomainResults& from) {
  atoms_ = neighbours_.order();
  if (!alone()) {
    results_ = from;
    return;
  }
  const std::vector<int>& order = neighbours_.order();
  results_.energy = from.energy;
  scatter(order, 1, from.energies, results_.energies);
  scatter(order, 3, from.forces, results_.forces);
  scatter(order, 9, from.virials, results_.virials);
  scatter(order, 1, from.charges, results_.charges);
  scatter(order, 1, from.hirshfeld_ratios, results_.hirshfeld_ratios);
  scatter(order, 1, from.c6_ratios, results_.c6_ratios);
  scatter(order, 1, from.force_uncertainties, results_.force_uncertainties);
  std::iota(atoms_.begin(), atoms_.end(), 0);
}

// The features of a process that is not alone stay in the order of atoms().
void Evaluator::features_to_host_order(std::vector<LayerFeatures>& features) const {
  if (!alone()) return;
  const std::vector<int>& order = neighbours_.order();
  for (LayerFeatures& layer : features)
    for (auto* values : {&layer.x_in, &layer.chi_in, &layer.x_attended, &layer.chi_attended, &layer.x_out, &layer.chi_out}) {
      std::vector<double> sorted;
      scatter(order, values->size() / order.size(), *values, sorted);
      *values = std::move(sorted);
    }
}

}  // namespace so3md
