#include "engine/cpu_engine.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <exception>
#include <optional>
#include <utility>

#include "common/index.h"
#include "engine/create_network.h"
#include "evaluation/stage_order.h"
#include "physics/all_images.h"
#include "physics/dispersion_tail.h"
#include "physics/electric_field.h"
#include "physics/long_range.h"
#include "physics/zbl.h"

namespace so3md {

namespace {

constexpr int kAtomsPerTask = 16;

// Equation numbers refer to docs/theory.md. The stages of an evaluation share its state through the members; each is one function, in the
// order of StageOrder.
template <class Real>
class EngineOf final : public Engine {
 public:
  EngineOf(std::shared_ptr<const Model> model, const EngineOptions& options, ThreadPool& pool)
      : EngineOf(model, options, create_network<Real>(*model, options, pool), pool) {}

  EngineOf(std::shared_ptr<const Model> model, const EngineOptions& options, std::unique_ptr<AnyNetwork<Real>> network, ThreadPool& pool)
      : model_(std::move(model)),
        options_(options),
        pool_(pool),
        network_(std::move(network)),
        kernels_(kernels<Real>()),
        cutoff_(model_->hyper),
        zbl_(*model_),
        free_c6_factors_(dispersion_c6_factors(*model_)) {
    if (uses_ewald(*model_, options_)) ewald_ = std::make_unique<AllImages<Real>>(kernels_.ewald, ewald_settings(*model_, options_), pool_);
    // Without a cutoff, there are no systems that have one.
    if (options_.dispersion_tail && std::isfinite(options_.long_range_cutoff))
      tail_.emplace(*model_, options_.long_range_cutoff, options_.dispersion_damping);
  }

  std::unique_ptr<Engine> create_sibling(ThreadPool& pool) const override {
    return std::make_unique<EngineOf>(model_, options_, network_->create_sibling(pool), pool);
  }

  const DomainResults& evaluate(const Domain& domain, const int* species, HaloExchange& halo, const Request& request) override {
    watch_.start();
    domain_ = &domain;
    species_ = species;
    halo_ = &halo;
    request_ = request;
    terms_ = long_range_terms(*model_, options_, request.coulomb != nullptr);
    terms_.external_potential = !request.external.is_none();
    keeps_forward_ = false;
    set_systems();
    clear();
    const std::exception_ptr failure = build_edges();
    count_species(failure);
    StageOrder::run(*this, terms_, request, halo, watch_);
    // An Ewald sum without forces takes a fraction of the time of one with them, and leaves nothing of use.
    keeps_forward_ = !request.forces && request.coulomb == nullptr && request.external.is_none() && !terms_.ewald;
    return results_;
  }

  const DomainResults* evaluate_forces(const Domain& domain, const int* species, HaloExchange& halo, const SystemTotals& totals) override {
    if (!keeps_forward_) return nullptr;
    keeps_forward_ = false;
    watch_.start();
    domain_ = &domain;
    species_ = species;
    halo_ = &halo;
    request_.totals = totals;
    request_.forces = true;
    results_.forces.swap(forces_before_adjoint_);
    results_.virials.swap(virials_before_adjoint_);
    StageOrder::finish(*this, terms_, true, watch_);
    return &results_;
  }

  EngineReport report() const override {
    return {.instruction_set = network_->instruction_set(),
            .tabulated = network_->tabulated(),
            .table_error = network_->table_error(),
            .seconds = watch_.seconds(),
            .device_memory = {},
            .device_work = {},
            .nonlocal_pairs = network_->nonlocal_pairs()};
  }

 private:
  friend struct so3md::StageOrder;

  int owned() const { return domain_->n_owned; }
  int species_of(int slot) const { return species_[slot]; }
  int num_systems() const { return static_cast<int>(systems_.first.size()) - 1; }

  template <class Body>
  void for_atoms(int system, const Body& body) const {
    for (int i = systems_.first[index_of(system)]; i < systems_.first[index_of(system) + 1]; ++i) body(index_of(i));
  }

  void set_systems() {
    const SystemRanges* ranges = request_.systems;
    systems_.first = first_atoms(owned(), ranges);
    if (ranges == nullptr)
      systems_.cells = {request_.totals.cell};
    else if (ranges->cells != nullptr)
      systems_.cells.assign(ranges->cells, ranges->cells + ranges->count);
    else
      systems_.cells.assign(index_of(ranges->count), nullptr);
  }

  void clear() {
    const auto atoms = index_of(owned());
    results_.energies.assign(atoms, 0.0);
    results_.forces.assign(3 * atoms, 0.0);
    results_.virials.assign(9 * atoms, 0.0);
    for (auto* values : {&zbl_energy_, &electrostatics_energy_, &dispersion_energy_, &charge_gradient_, &alpha_gradient_, &c6_gradient_})
      values->assign(atoms, 0.0);
  }

  void count_species(const std::exception_ptr& failure) {
    composition_.counts.assign(model_->elements.size(), 0.0);
    for (int i = 0; i < owned(); ++i) composition_.counts[index_of(species_of(i))] += 1.0;
    systems_.num_atoms = begin_together(composition_, request_.totals, systems_.first, *halo_, failure);
  }

  // Sums over the atoms of each system, on all processes.
  std::vector<double> sum_by_system(const std::vector<double>& values) {
    std::vector<double> sums;
    for (int s = 0; s < num_systems(); ++s) {
      double& total = sums.emplace_back(0.0);
      for_atoms(s, [&](std::size_t i) { total += values[i]; });
    }
    halo_->sum(sums.data(), num_systems());
    return sums;
  }

  // Edges, and on the way the repulsion of the few that are short enough for it. Returns what went wrong.
  std::exception_ptr build_edges() {
    const double reach = model_->hyper.has_repulsion() ? zbl_.switch_off() : 0.0;
    std::exception_ptr failure;
    try {
      network_->edges().build(*domain_, model_->hyper.cutoff, cutoff_, pool_,
                              [&](int i, int slot, const double* d, double r, double phi, double slope) {
                                if (r >= reach) return;
                                double derivative;
                                zbl_energy_[index_of(i)] += zbl_.energy(species_of(i), species_of(slot), r, phi, slope, &derivative);
                                add_pair_force(i, d, 2.0 * derivative / r);
                              });
    } catch (...) {
      failure = std::current_exception();
    }
    watch_.lap("edges");
    return failure;
  }

  // dE/dd = factor * d for a whole pair, as it lands on atom i.
  void add_pair_force(int i, const double* d, double factor) {
    double* force = results_.forces.data() + 3 * index_of(i);
    double* virial = results_.virials.data() + 9 * index_of(i);
    for (int a = 0; a < 3; ++a) {
      force[a] += factor * d[a];
      for (int b = 0; b < 3; ++b) virial[3 * a + b] += 0.5 * factor * d[a] * d[b];
    }
  }

  void network_forward(std::vector<LayerFeatures>* features) {
    network_->forward(*domain_, species_, composition_, systems_, *halo_, readouts_, watch_, features);
  }

  // Charges c_i, not yet conserved, Hirshfeld ratios h_i = | shift of the element + head output | (eq. 30), and ratios of C6 likewise (eq.
  // 95).
  void finish_readouts() {
    if (model_->hyper.charge_head) {
      results_.charges = readouts_.charge;
      for (int i = 0; i < owned(); ++i) results_.charges[index_of(i)] += model_->charge_element[index_of(species_of(i))];
    }
    set_uncertainties();
    if (!model_->hyper.hirshfeld_head) return;
    set_ratios(readouts_.hirshfeld, model_->hirshfeld_shift, results_.hirshfeld_ratios);
    if (model_->hyper.c6_head) set_ratios(readouts_.c6, model_->c6_shift, results_.c6_ratios);
  }

  // Uncertainties, scale d^exponent (eq. 108).
  void set_uncertainties() {
    const UncertaintyWeights& weights = model_->uncertainty;
    results_.force_uncertainties = readouts_.distance;
    for (double& value : results_.force_uncertainties) value = weights.scale * std::pow(value, 0.5 * weights.exponent);
  }

  void set_ratios(const std::vector<double>& outputs, const std::vector<double>& shifts, std::vector<double>& ratios) const {
    ratios = outputs;
    for (int i = 0; i < owned(); ++i) ratios[index_of(i)] = std::abs(ratios[index_of(i)] + shifts[index_of(species_of(i))]);
  }

  const std::vector<double>& charges() const { return results_.charges; }
  const std::vector<double>& charge_gradients() const { return charge_gradient_; }

  // q_i = c_i + (Q - sum of c over all atoms of the system) / N (eq. 28).
  void conserve_charge(const std::vector<double>& totals) {
    for (int s = 0; s < num_systems(); ++s) {
      const double shift = (composition_.total_charge - totals[index_of(s)]) / systems_.num_atoms[index_of(s)];
      for_atoms(s, [&](std::size_t i) { results_.charges[i] += shift; });
    }
  }

  // With all periodic images, one system after the other.
  void ewald() {
    for (int s = 0; s < num_systems(); ++s) {
      const auto first = index_of(systems_.first[index_of(s)]);
      if (systems_.cells[index_of(s)] == nullptr) throw std::logic_error("an Ewald sum needs the cell");
      EwaldAtoms atoms;
      atoms.n = systems_.first[index_of(s) + 1] - systems_.first[index_of(s)];
      atoms.positions = domain_->positions + 3 * first;
      atoms.charges = results_.charges.data() + first;
      atoms.potentials = charge_gradient_.data() + first;
      atoms.energies = electrostatics_energy_.data() + first;
      if (request_.forces) {
        atoms.forces = results_.forces.data() + 3 * first;
        atoms.virials = results_.virials.data() + 9 * first;
        atoms.atomic_virials = request_.atomic_virials;
      }
      ewald_->evaluate(atoms, *systems_.cells[index_of(s)], systems_.num_atoms[index_of(s)], *halo_);
    }
  }

  void host_electrostatics() { request_.coulomb->evaluate(results_.charges.data(), charge_gradient_.data()); }

  // C6 / alpha^2 of an owned atom with a C6 head (eq. 97).
  AtomC6<double> own_c6_factor(std::size_t i) const {
    return atom_c6(free_c6_factors_[index_of(species_of(static_cast<int>(i)))], results_.hirshfeld_ratios[i], results_.c6_ratios[i]);
  }

  // Charges, polarisabilities alpha_i = alpha0 h_i and C6 / alpha^2 by slot, which without a C6 head is that of the free atom; those of
  // other processes' atoms are left to the exchange.
  void fill_pairs() {
    const int slots = domain_->n_slots();
    for (auto* values : {&charge_, &alpha_, &c6_factor_}) values->assign(index_of(slots), Real(0));
    for (int i = 0; i < owned(); ++i) {
      const auto at = index_of(i);
      if (terms_.electrostatics()) charge_[at] = static_cast<Real>(results_.charges[at]);
      if (terms_.dispersion)
        alpha_[at] = static_cast<Real>(model_->dispersion_alpha[index_of(species_of(i))] * results_.hirshfeld_ratios[at]);
    }
    if (!terms_.dispersion) return;
    if (model_->hyper.c6_head) {
      for (int i = 0; i < owned(); ++i) c6_factor_[index_of(i)] = static_cast<Real>(own_c6_factor(index_of(i)).value);
      return;
    }
    for (int slot = 0; slot < slots; ++slot) c6_factor_[index_of(slot)] = static_cast<Real>(free_c6_factors_[index_of(species_of(slot))]);
  }

  std::vector<Rows<Real>> pair_rows() {
    std::vector<Rows<Real>> rows = {{charge_.data(), 1, 1}, {alpha_.data(), 1, 1}};
    if (model_->hyper.c6_head) rows.push_back({c6_factor_.data(), 1, 1});
    return rows;
  }

  void evaluate_pairs() {
    const Hyperparameters& hyper = model_->hyper;
    LongRange<Real> pairs;
    pairs.electrostatics = terms_.pair_electrostatics;
    pairs.dispersion = terms_.dispersion;
    pairs.domain = domain_;
    pairs.sigma = hyper.electrostatics_sigma;
    pairs.cutoff = options_.long_range_cutoff;
    pairs.damping = options_.dispersion_damping;
    pairs.damping_scale = hyper.dispersion_damping_scale;
    pairs.charge = charge_.data();
    pairs.alpha = alpha_.data();
    pairs.c6_factor = c6_factor_.data();
    pairs.electrostatics_energy = electrostatics_energy_.data();
    pairs.dispersion_energy = dispersion_energy_.data();
    pairs.charge_gradient = charge_gradient_.data();
    pairs.alpha_gradient = alpha_gradient_.data();
    pairs.c6_gradient = model_->hyper.c6_head ? c6_gradient_.data() : nullptr;
    pairs.forces = results_.forces.data();
    pairs.virial = results_.virials.data();
    pool_.parallel_for(owned(), kAtomsPerTask, [&](int begin, int end, int) { kernels_.long_range(pairs, begin, end); });
  }

  // Beyond the cutoff, one system after the other.
  void dispersion_tail() {
    for (int s = 0; s < num_systems(); ++s) {
      const auto first = index_of(systems_.first[index_of(s)]);
      if (systems_.cells[index_of(s)] == nullptr) throw std::logic_error("the tail of the dispersion needs the cell");
      TailAtoms atoms;
      atoms.n = systems_.first[index_of(s) + 1] - systems_.first[index_of(s)];
      atoms.species = species_ + first;
      atoms.ratios = results_.hirshfeld_ratios.data() + first;
      if (model_->hyper.c6_head) atoms.c6_ratios = results_.c6_ratios.data() + first;
      atoms.c6_gradient = c6_gradient_.data() + first;
      atoms.energies = dispersion_energy_.data() + first;
      atoms.alpha_gradient = alpha_gradient_.data() + first;
      atoms.virials = results_.virials.data() + 9 * first;
      tail_->evaluate(atoms, systems_.cells[index_of(s)]->volume(), *halo_);
    }
  }

  FieldRows field_rows() {
    FieldRows rows{results_.charges.data(), electrostatics_energy_.data(), charge_gradient_.data()};
    rows.forces = results_.forces.data();  // also where the adjoint may come later
    rows.virials = results_.virials.data();
    return rows;
  }

  void external_potential() {
    const FieldRows rows = field_rows();
    for (int i = 0; i < owned(); ++i) add_external_potential(request_.external, i, rows);
  }

  void electric_field() {
    if (owned() > 0 && domain_->unwrapped == nullptr) throw std::logic_error("an electric field needs the unwrapped positions");
    const FieldRows rows = field_rows();
    for (int i = 0; i < owned(); ++i) add_field(options_.electric_field, domain_->unwrapped + 3 * index_of(i), i, rows);
  }

  // Adjoint of conserve_charge (eq. 43: the mean over a system's atoms drops out) and of finish_readouts; `totals`: of charge_gradients(),
  // empty where nothing acts on charges.
  void readout_gradients(const std::vector<double>& totals) {
    gradients_.charge.clear();
    gradients_.hirshfeld.clear();
    gradients_.c6.clear();
    gradients_.energy.resize(index_of(owned()));
    for (int i = 0; i < owned(); ++i) gradients_.energy[index_of(i)] = model_->energy_scale[index_of(species_of(i))];
    if (!totals.empty())
      for (int s = 0; s < num_systems(); ++s) {
        const double mean = totals[index_of(s)] / systems_.num_atoms[index_of(s)];
        for_atoms(s, [&](std::size_t i) { gradients_.charge.push_back(charge_gradient_[i] - mean); });
      }
    if (!terms_.dispersion) return;
    for (int i = 0; i < owned(); ++i) {
      const auto at = index_of(i), species = index_of(species_of(i));
      const double sign = readouts_.hirshfeld[at] + model_->hirshfeld_shift[species] < 0.0 ? -1.0 : 1.0;
      double gradient = alpha_gradient_[at] * model_->dispersion_alpha[species];
      if (model_->hyper.c6_head) {
        const AtomC6<double> factor = own_c6_factor(at);
        const double c6_sign = readouts_.c6[at] + model_->c6_shift[species] < 0.0 ? -1.0 : 1.0;
        gradients_.c6.push_back(c6_sign * c6_gradient_[at] * factor.by_c6_ratio);
        gradient += c6_gradient_[at] * factor.by_hirshfeld_ratio;
      }
      gradients_.hirshfeld.push_back(sign * gradient);
    }
  }

  void network_adjoint() { network_->adjoint(gradients_, *halo_, results_.forces.data(), results_.virials.data(), watch_); }

  void sum_energies() {
    results_.system_energies.clear();
    EnergyComponents all;
    for (int s = 0; s < num_systems(); ++s) {
      const EnergyComponents& one = results_.system_energies.emplace_back(sum_energies(s));
      all.network += one.network;
      all.shifts += one.shifts;
      all.zbl += one.zbl;
      all.electrostatics += one.electrostatics;
      all.dispersion += one.dispersion;
    }
    results_.energy = all;
    if (request_.forces) return;
    // What came with the edges and the pairs waits for the adjoint.
    results_.forces.swap(forces_before_adjoint_);
    results_.virials.swap(virials_before_adjoint_);
    results_.forces.assign(forces_before_adjoint_.size(), 0.0);
    results_.virials.assign(virials_before_adjoint_.size(), 0.0);
  }

  // Atomic energies of a system, and their sums.
  EnergyComponents sum_energies(int system) {
    EnergyComponents sums;
    for_atoms(system, [&](std::size_t at) {
      const auto species = index_of(species_[at]);
      const double network = readouts_.energy[at] * model_->energy_scale[species];
      sums.network += network;
      sums.shifts += model_->energy_shift[species];
      sums.zbl += zbl_energy_[at];
      sums.electrostatics += electrostatics_energy_[at];
      sums.dispersion += dispersion_energy_[at];
      results_.energies[at] =
          network + zbl_energy_[at] + electrostatics_energy_[at] + dispersion_energy_[at] + model_->energy_shift[species];
    });
    return sums;
  }

  std::shared_ptr<const Model> model_;
  EngineOptions options_;
  ThreadPool& pool_;
  std::unique_ptr<AnyNetwork<Real>> network_;
  const KernelTable<Real>& kernels_;
  Cutoff cutoff_;
  Zbl zbl_;
  std::vector<double> free_c6_factors_;     // C6_0 / alpha0^2 of each species
  std::optional<DispersionTail> tail_;      // if it counts
  std::unique_ptr<AllImages<Real>> ewald_;  // null: charges interact in pairs
  Stopwatch watch_;

  const Domain* domain_ = nullptr;
  const int* species_ = nullptr;
  HaloExchange* halo_ = nullptr;
  Request request_;
  LongRangeTerms terms_;
  Composition composition_;
  Systems systems_;
  Readouts readouts_;   // of the network
  Readouts gradients_;  // of the energy with respect to them
  std::vector<double> zbl_energy_, electrostatics_energy_, dispersion_energy_, charge_gradient_, alpha_gradient_;
  std::vector<double> c6_gradient_;               // by C6 / alpha^2; zero without a C6 head
  std::vector<Real> charge_, alpha_, c6_factor_;  // by slot
  DomainResults results_;
  bool keeps_forward_ = false;  // of an evaluation without forces, all that its adjoint needs
  std::vector<double> forces_before_adjoint_, virials_before_adjoint_;
};

}  // namespace

std::unique_ptr<Engine> create_cpu_engine(std::shared_ptr<const Model> model, const EngineOptions& options, ThreadPool& pool) {
  if (options.precision == Precision::mixed) return std::make_unique<EngineOf<float>>(std::move(model), options, pool);
  return std::make_unique<EngineOf<double>>(std::move(model), options, pool);
}

}  // namespace so3md
