#include "evaluation/engine.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <stdexcept>
#include <string>

#include "common/largest_length.h"
#include "common/number_text.h"

namespace so3md {

namespace {

// Of a component, V/A: twice that at which an electron is held in hydrogen, far beyond what molecules endure.
constexpr double kLargestField = 100.0;

void check_field(const ElectricField& field) {
  for (const double component : {field.x, field.y, field.z})
    if (!(std::abs(component) <= kLargestField))
      throw std::invalid_argument("the electric field (electric_field) is " + number_text(field.x) + " " + number_text(field.y) + " " +
                                  number_text(field.z) + " V/A: expected components from " + number_text(-kLargestField) + " to " +
                                  number_text(kLargestField));
}

}  // namespace

const DomainResults& Engine::evaluate_points(const PointSystem&, const Request&) {
  throw std::logic_error("this engine makes no neighbour lists: give it a domain");
}

std::string Engine::table_warning() const {
  const EngineReport now = report();
  const TableError& error = now.table_error;
  if (now.tabulated || error.intervals == 0) return "";
  return "radial filters of this model change too fast for tables, so that they are computed by their networks, which takes longer: tables "
         "would be wrong by " +
         number_text(error.value / error.scale) + " of the largest filter, and their slopes by " +
         number_text(error.derivative / error.scale) + " of it per A (at most " + number_text(TableError::kWorstValue) + " and " +
         number_text(TableError::kWorstDerivative) + " are accepted)";
}

std::vector<int> first_atoms(int n_owned, const SystemRanges* systems) {
  if (systems == nullptr) return {0, n_owned};
  return {systems->first, systems->first + systems->count + 1};
}

std::vector<double> begin_together(Composition& composition, const SystemTotals& totals, const std::vector<int>& first, HaloExchange& halo,
                                   const std::exception_ptr& failure) {
  std::vector<double>& counts = composition.counts;
  counts.push_back(failure ? 1.0 : 0.0);
  halo.sum(counts.data(), static_cast<int>(counts.size()));
  const bool failed = counts.back() > 0.0;
  counts.pop_back();
  if (failure) std::rethrow_exception(failure);
  if (failed) throw FailedElsewhere();
  composition.total_charge = totals.charge;
  composition.num_unpaired_electrons = 2.0 * totals.spin;
  const auto systems = first.size() - 1;
  if (systems == 1) return {std::accumulate(counts.begin(), counts.end(), 0.0)};
  std::vector<double> num_atoms;
  for (std::size_t s = 0; s < systems; ++s) num_atoms.push_back(first[s + 1] - first[s]);
  for (double& count : counts) count /= static_cast<double>(systems);
  return num_atoms;
}

LongRangeTerms long_range_terms(const Model& model, const EngineOptions& options, bool host_electrostatics) {
  LongRangeTerms terms;
  const bool own = model.hyper.electrostatics && !host_electrostatics;
  terms.charges = model.hyper.charge_head;
  terms.host_electrostatics = model.hyper.electrostatics && host_electrostatics;
  terms.ewald = own && uses_ewald(model, options);
  terms.pair_electrostatics = own && !terms.ewald;
  terms.dispersion = model.hyper.dispersion;
  terms.dispersion_tail = terms.dispersion && options.dispersion_tail;
  terms.electric_field = !options.electric_field.is_zero();
  return terms;
}

double long_range_cutoff(const Model& model, const EngineOptions& options) {
  return long_range_terms(model, options, false).pairs() ? options.long_range_cutoff : 0.0;
}

bool predicts_uncertainty(const Model& model, const EngineOptions& options) {
  return model.uncertainty.given() && options.device.kind == DeviceKind::cpu;
}

bool uses_ewald(const Model& model, const EngineOptions& options) {
  return model.hyper.electrostatics && options.coulomb == Coulomb::ewald;
}

EwaldSettings ewald_settings(const Model& model, const EngineOptions& options) {
  EwaldSettings settings;
  settings.sigma = model.hyper.electrostatics_sigma;
  settings.accuracy = options.force_accuracy();
  settings.method = options.device.kind == DeviceKind::cpu ? options.ewald_method : EwaldMethod::sum;
  settings.single_precision = options.precision == Precision::mixed;
  return settings;
}

void check_electrostatics(const Model& model, const EngineOptions& options, const Cell& cell, double num_atoms) {
  if (uses_ewald(model, options)) check_ewald_cell(ewald_settings(model, options), cell, num_atoms);
}

void check_dispersion_tail(const EngineOptions& options, const Cell& cell) {
  if (!options.dispersion_tail) return;
  int directions = 0;
  for (int k = 0; k < 3; ++k) directions += cell.periodic(k) ? 1 : 0;
  if (directions == 3 && std::isinf(options.long_range_cutoff))
    throw std::invalid_argument("dispersion_tail: expected a long-range cutoff (lr_cutoff) in A, found none");
  if (directions == 3) return;
  throw std::invalid_argument("dispersion_tail is for systems that are periodic in all three directions, and this one is " +
                              (directions == 0 ? std::string("a molecule") : "periodic in " + std::to_string(directions)) +
                              ": leave it out, or make all directions periodic");
}

std::string ewald_warning(const Model& model, const EngineOptions& options, const Cell& cell, double num_atoms) {
  if (!uses_ewald(model, options) || num_atoms == 0.0) return "";
  // In microseconds of a core (benchmarks/ewald.py). Of few atoms in much vacuum, steps are short anyway.
  constexpr double kNoMatter = 1e4;
  const double rest_of_atom = options.precision == Precision::mixed ? 60.0 : 300.0;
  const double time = plan_ewald(ewald_settings(model, options), cell, num_atoms, 1.0).microseconds;
  const double ratio = time / (rest_of_atom * num_atoms);
  if (ratio < 1.0 || time < kNoMatter) return "";
  return "coulomb 'ewald' takes " + number_text(std::round(10.0 * ratio) / 10.0) +
         " times as long as the rest of a step in a cell of this volume: use a smaller cell, a larger ewald_accuracy, or coulomb kspace "
         "with pppm in LAMMPS";
}

Coulomb parse_coulomb(const std::string& name) {
  if (name == "cutoff") return Coulomb::cutoff;
  if (name == "ewald") return Coulomb::ewald;
  throw std::invalid_argument("coulomb is '" + name + "': expected cutoff or ewald");
}

EwaldMethod parse_ewald_method(const std::string& name) {
  if (name == "auto") return EwaldMethod::automatic;
  if (name == "sum") return EwaldMethod::sum;
  if (name == "mesh") return EwaldMethod::mesh;
  throw std::invalid_argument("ewald_method is '" + name + "': expected auto, sum or mesh");
}

void check_nonlocal_cell(const Model& model, const Cell& cell) {
  if (model.hyper.nonlocal_attention == NonlocalAttention::none) return;
  for (int k = 0; k < 3; ++k) {
    if (!cell.periodic(k) || cell.height(k) > 2.0 * model.hyper.cutoff) continue;
    throw std::invalid_argument(
        "the cell is " + number_text(cell.height(k)) + " A high along lattice vector " + std::to_string(k) +
        ", but non-local attention sees only the nearest image of every atom, so that it needs more than twice the " + "cutoff, which is " +
        number_text(2.0 * model.hyper.cutoff) + " A: repeat the cell, or switch periodic boundaries off");
  }
}

void check_options(const EngineOptions& options) {
  check_field(options.electric_field);
  if (options.ewald_accuracy && !(*options.ewald_accuracy >= 1e-12 && *options.ewald_accuracy <= 1.0))
    throw std::invalid_argument("the accuracy of the Ewald sum (ewald_accuracy) is " + number_text(*options.ewald_accuracy) +
                                " eV/A: expected an error of forces from 1e-12 to 1");
  if (options.ewald_method == EwaldMethod::mesh && options.device.kind != DeviceKind::cpu)
    throw std::invalid_argument(
        "ewald_method 'mesh' is for the CPU, and the device is a GPU, which sums over waves: use ewald_method 'auto', or the device 'cpu'");
  const std::string smallest = number_text(kSmallestLength), largest = number_text(kLargestLength);
  const double cutoff = options.long_range_cutoff, damping = options.dispersion_damping;
  if (!(cutoff >= kSmallestLength) || (cutoff > kLargestLength && !std::isinf(cutoff)))
    throw std::invalid_argument("the long-range cutoff (lr_cutoff) is " + number_text(cutoff) + " A: expected a length from " + smallest +
                                " to " + largest + " A, or none for isolated molecules");
  // Without a cutoff the damping is not used, and still is a length.
  if (damping >= kSmallestLength && damping <= std::min(cutoff, kLargestLength)) return;
  throw std::invalid_argument("the dispersion damping length (lr_damping) is " + number_text(damping) + " A: expected a length from " +
                              smallest + " A to " + (std::isinf(cutoff) ? largest : "the long-range cutoff of " + number_text(cutoff)) +
                              " A");
}

}  // namespace so3md
