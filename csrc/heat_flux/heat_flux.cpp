#include "heat_flux/heat_flux.h"

#include <algorithm>
#include <cmath>
#include <exception>
#include <stdexcept>

#include "common/index.h"
#include "common/number_text.h"
#include "heat_flux/charge_shares.h"
#include "network/embedding.h"
#include "network/harmonics_table.h"
#include "physics/dispersion_tail.h"

namespace so3md {

using heat_flux::kMoment;
using heat_flux::kParts;
using heat_flux::kRate;
using heat_flux::kValue;

namespace {

constexpr int kHeatFluxTask = heat_flux::kBlock;

std::shared_ptr<const Model> check_architecture(std::shared_ptr<const Model> model) {
  if (model->hyper.architecture != Architecture::so3krates)
    throw std::invalid_argument(
        "the heat flux is there for models of the architecture so3krates, and this one is of so3krates-2022: use another model");
  return model;
}

void check_pairs(const Model& model, const EngineOptions& options) {
  if (uses_ewald(model, options))
    throw std::invalid_argument(
        "the heat flux is there for pairs of charges within a cutoff, and not for coulomb 'ewald': use coulomb 'cutoff'");
  if (options.dispersion_tail)
    throw std::invalid_argument("the heat flux is there for pairs within a cutoff, and not for dispersion_tail: leave it out");
  if (!options.electric_field.is_zero())
    throw std::invalid_argument("the heat flux is there without an electric field: leave electric_field out");
}

// All zero.
void clear(AlignedVector<double>& values, int rows, int stride) { values.assign(kParts * index_of(rows) * index_of(stride), 0.0); }

}  // namespace

HeatFlux::HeatFlux(std::shared_ptr<const Model> model, const EngineOptions& options, ThreadPool& pool)
    : model_(check_architecture(std::move(model))),
      options_(options),
      pool_(pool),
      parameters_(*model_, options.radial_tables()),
      kernels_(heat_flux::kernels()),
      harmonics_(make_harmonics_table<double>(model_->hyper)),
      free_c6_factors_(dispersion_c6_factors(*model_)),
      cutoff_(model_->hyper),
      zbl_(*model_),
      scratch_(index_of(pool.size())) {
  for (auto& scratch : scratch_) scratch.resize(kernels_.scratch_size(parameters_.layout));
}

void HeatFlux::evaluate(const Domain& domain, const int* species, const SystemTotals& totals, const double* velocities,
                        HaloExchange& halo) {
  check_pairs(*model_, options_);
  const Composition composition = evaluate_network(domain, species, totals, velocities, halo);
  conserve_charge(composition, totals.cell, halo);
  long_range(halo);
}

void HeatFlux::evaluate_charges(const Domain& domain, const int* species, const SystemTotals& totals, const double* velocities,
                                HaloExchange& halo) {
  if (!model_->hyper.charge_head)
    throw std::invalid_argument("the current of polarization is there for models with charges, and this one has none");
  evaluate_network(domain, species, totals, velocities, halo);
}

Composition HeatFlux::evaluate_network(const Domain& domain, const int* species, const SystemTotals& totals, const double* velocities,
                                       HaloExchange& halo) {
  domain_ = &domain;
  species_ = species;
  share_velocities(velocities, halo);
  clear(energy_, domain.n_owned, 1);
  const std::exception_ptr failure = build_edges();
  Composition composition = count_species(totals, halo, failure);
  embed(composition);
  run_layers(halo);
  read_out();
  return composition;
}

void HeatFlux::exchange(HaloExchange& halo, Reach reach, std::initializer_list<Rows<double>> rows) const {
  halo.start(reach, std::span<const Rows<double>>(rows.begin(), rows.size()));
  halo.finish();
}

void HeatFlux::share_velocities(const double* velocities, HaloExchange& halo) {
  velocities_.assign(3 * index_of(domain_->n_slots()), 0.0);
  std::copy_n(velocities, 3 * index_of(domain_->n_owned), velocities_.begin());
  exchange(halo, Reach::all, {{velocities_.data(), 3, 3}});
}

// Edges, and on the way the repulsion. Returns what went wrong.
std::exception_ptr HeatFlux::build_edges() {
  const double reach = model_->hyper.has_repulsion() ? zbl_.switch_off() : 0.0;
  const auto repel = [&](int i, int slot, const double* d, double r, double phi, double phi_slope) {
    if (r >= reach) return;
    double slope;
    double* energy = energy_.data() + kParts * index_of(i);
    const double *v_i = velocities_.data() + 3 * index_of(i), *v_j = velocities_.data() + 3 * index_of(slot);
    energy[kValue] += zbl_.energy(species_[i], species_[slot], r, phi, phi_slope, &slope);
    const double along_i = (d[0] * v_i[0] + d[1] * v_i[1] + d[2] * v_i[2]) / r;
    const double along_j = (d[0] * v_j[0] + d[1] * v_j[1] + d[2] * v_j[2]) / r;
    energy[kRate] += slope * (along_j - along_i);
    for (int a = 0; a < 3; ++a) energy[kMoment + a] -= d[a] * slope * along_j;
  };
  try {
    edges_.build(*domain_, model_->hyper.cutoff, cutoff_, pool_, repel);
  } catch (...) {
    return std::current_exception();
  }
  return nullptr;
}

// The first sum over all processes; it also tells whether one of them failed, so that all stop together.
Composition HeatFlux::count_species(const SystemTotals& totals, HaloExchange& halo, const std::exception_ptr& failure) const {
  Composition out;
  out.counts.assign(model_->elements.size(), 0.0);
  for (int i = 0; i < domain_->n_owned; ++i) out.counts[index_of(species_[i])] += 1.0;
  begin_together(out, totals, first_atoms(domain_->n_owned, nullptr), halo, failure);
  return out;
}

// The embedding x of each species (eq. 13, 94), which positions do not change, and chi = 0.
void HeatFlux::embed(const Composition& composition) {
  const Layout& layout = parameters_.layout;
  const int slots = domain_->n_feature_slots();
  clear(x_, slots, layout.feature_stride);
  clear(chi_, slots, layout.chi_stride);
  clear(chi_next_, slots, layout.chi_stride);
  projection_.resize(kParts * index_of(slots) * index_of(layout.projection_stride));
  normalised_.resize(layout.norm_input ? x_.size() : 0);
  Matrix rows = species_features(*model_, composition);
  if (model_->hyper.residual_scalars) {
    embedded_.assign(index_of(rows.rows) * index_of(layout.feature_stride), 0.0);
    for (int species = 0; species < rows.rows; ++species)
      std::copy_n(rows.data.data() + index_of(species) * index_of(layout.features), layout.features,
                  embedded_.data() + index_of(species) * index_of(layout.feature_stride));
    const LayerWeights& first = model_->layers.front();
    for (double& value : rows.data) value *= first.input_scale + first.embedding_scale;
  }
  for (int slot = 0; slot < slots; ++slot)
    std::copy_n(rows.data.data() + index_of(species_[slot]) * index_of(layout.features), layout.features,
                x_.data() + kParts * index_of(slot) * index_of(layout.feature_stride));
}

heat_flux::LayerStep HeatFlux::step(std::size_t layer) {
  heat_flux::LayerStep out;
  out.layout = &parameters_.layout;
  out.parameters = &parameters_.layers[layer];
  out.radial_functions = &parameters_.radial_functions;
  out.harmonics = &harmonics_;
  out.edges = edges_.view();
  out.velocities = velocities_.data();
  out.species = species_;
  out.embedded = embedded_.empty() || layer + 1 == parameters_.layers.size() ? nullptr : embedded_.data();
  out.radial_only = layer == 0 && parameters_.first_layer_by_species;
  out.x = x_.data();
  out.normalised = normalised_.data();
  out.projection = projection_.data();
  out.chi = chi_.data();
  out.chi_next = chi_next_.data();
  return out;
}

void HeatFlux::run(Kernel kernel, const heat_flux::LayerStep& step, int end) {
  pool_.parallel_for(end, kHeatFluxTask,
                     [&](int first, int last, int thread) { kernel(step, first, last, scratch_[index_of(thread)].data()); });
}

void HeatFlux::run_layers(HaloExchange& halo) {
  const Layout& layout = parameters_.layout;
  const int owned = domain_->n_owned, x_size = kParts * layout.feature_stride, chi_size = kParts * layout.chi_stride;
  if (layout.initial_scale != 0.0) {
    run(kernels_.initial, step(0), owned);
    chi_.swap(chi_next_);
    exchange(halo, Reach::near, {{chi_.data(), chi_size, chi_size}});
  }
  for (std::size_t layer = 0; layer < parameters_.layers.size(); ++layer) {
    const heat_flux::LayerStep s = step(layer);
    if (layer > 0) exchange(halo, Reach::near, {{x_.data(), x_size, x_size}, {chi_.data(), chi_size, chi_size}});
    run(kernels_.project, s, domain_->n_feature_slots());
    run(kernels_.attend, s, owned);
    run(kernels_.nodes, s, owned);
    chi_.swap(chi_next_);
  }
}

// Atomic energies of the network, raw charges (eq. 27), and ratios before the absolute value (eq. 30, 95).
void HeatFlux::read_out() {
  const Hyperparameters& hyper = model_->hyper;
  const int owned = domain_->n_owned;
  Rows5 network;
  clear(network, owned, 1);
  clear(charge_, hyper.charge_head ? domain_->n_slots() : 0, 1);
  clear(hirshfeld_, hyper.hirshfeld_head ? owned : 0, 1);
  clear(c6_, hyper.c6_head ? owned : 0, 1);
  heat_flux::ReadoutStep step;
  step.layout = &parameters_.layout;
  step.parameters = &parameters_;
  step.species = species_;
  step.x = x_.data();
  step.energy = network.data();
  step.charge = hyper.charge_head ? charge_.data() : nullptr;
  step.hirshfeld = hyper.hirshfeld_head ? hirshfeld_.data() : nullptr;
  step.c6 = hyper.c6_head ? c6_.data() : nullptr;
  pool_.parallel_for(owned, kHeatFluxTask,
                     [&](int begin, int end, int thread) { kernels_.readouts(step, begin, end, scratch_[index_of(thread)].data()); });
  for (int i = 0; i < owned; ++i) {
    const std::size_t species = index_of(species_[i]), at = kParts * index_of(i);
    for (std::size_t part = 0; part < kParts; ++part) energy_[at + part] += model_->energy_scale[species] * network[at + part];
    energy_[at] += model_->energy_shift[species];
    if (hyper.charge_head) charge_[at] += model_->charge_element[species];
    if (hyper.hirshfeld_head) hirshfeld_[at] += model_->hirshfeld_shift[species];
    if (hyper.c6_head) c6_[at] += model_->c6_shift[species];
  }
}

// Conserved charges q_i = c_i + (Q - sum of c) / N (eq. 28), and rate and moments of these charges (eq. 77).
void HeatFlux::conserve_charge(const Composition& composition, const Cell* cell, HaloExchange& halo) {
  if (!model_->hyper.electrostatics) return;
  const int owned = domain_->n_owned;
  double sums[2] = {0.0, 0.0};  // of raw charges, of atoms
  for (int i = 0; i < owned; ++i) sums[0] += charge_[kParts * index_of(i)];
  sums[1] = owned;
  halo.sum(sums, 2);
  const double atoms = sums[1];
  const heat_flux::ChargeShares shares(owned, domain_->positions, charge_.data(), cell, halo);
  for (int i = 0; i < owned; ++i) {
    double* charge = charge_.data() + kParts * index_of(i);
    const Vec3 moved = shares.at(domain_->positions + 3 * index_of(i));
    charge[kValue] += (composition.total_charge - sums[0]) / atoms;
    charge[kRate] -= shares.rate() / atoms;
    for (std::size_t a = 0; a < 3; ++a) charge[kMoment + static_cast<int>(a)] -= moved[a] / atoms;
  }
}

// Polarisabilities and C6 / alpha^2 of the dispersion (eq. 37, 97). Without a C6 head the latter is that of the free atom. What other
// processes' atoms have of their own is left to the exchange.
void HeatFlux::fill_polarisabilities() {
  const int slots = domain_->n_slots();
  clear(alpha_, slots, 1);
  clear(c6_factor_, slots, 1);
  for (int slot = 0; slot < slots; ++slot) {
    const std::size_t at = kParts * index_of(slot), species = index_of(species_[slot]);
    const double free_alpha = model_->dispersion_alpha[species];
    const bool owned = slot < domain_->n_owned;
    const double* ratio = hirshfeld_.data() + at;
    for (std::size_t part = 0; part < kParts && owned; ++part)
      alpha_[at + part] = free_alpha * (ratio[0] < 0.0 ? -ratio[part] : ratio[part]);
    if (!model_->hyper.c6_head)
      c6_factor_[at] = free_c6_factors_[species];
    else if (owned)
      set_c6_factor(slot);
  }
}

// C6 / alpha^2 of an owned atom with a C6 head.
void HeatFlux::set_c6_factor(int i) {
  const std::size_t at = kParts * index_of(i), species = index_of(species_[i]);
  const double *h = hirshfeld_.data() + at, *c = c6_.data() + at;
  const double sign_h = h[0] < 0.0 ? -1.0 : 1.0, sign_c = c[0] < 0.0 ? -1.0 : 1.0;
  const AtomC6<double> factor = atom_c6(free_c6_factors_[species], sign_h * h[0], sign_c * c[0]);
  c6_factor_[at] = factor.value;
  for (std::size_t part = 1; part < kParts; ++part)
    c6_factor_[at + part] = factor.by_hirshfeld_ratio * sign_h * h[part] + factor.by_c6_ratio * sign_c * c[part];
}

void HeatFlux::long_range(HaloExchange& halo) {
  const Hyperparameters& hyper = model_->hyper;
  if (!hyper.electrostatics && !hyper.dispersion) return;
  if (!hyper.electrostatics) charge_.clear();
  if (hyper.dispersion) fill_polarisabilities();
  if (hyper.electrostatics) exchange(halo, Reach::all, {{charge_.data(), kParts, kParts}});
  if (hyper.dispersion) exchange(halo, Reach::all, {{alpha_.data(), kParts, kParts}});
  if (hyper.dispersion && hyper.c6_head) exchange(halo, Reach::all, {{c6_factor_.data(), kParts, kParts}});
  heat_flux::PairStep step;
  step.pairs.domain = domain_;
  step.pairs.electrostatics = hyper.electrostatics;
  step.pairs.dispersion = hyper.dispersion;
  step.pairs.sigma = hyper.electrostatics_sigma;
  step.pairs.cutoff = options_.long_range_cutoff;
  step.pairs.damping = options_.dispersion_damping;
  step.pairs.damping_scale = hyper.dispersion_damping_scale;
  step.velocities = velocities_.data();
  step.charge = charge_.data();
  step.alpha = alpha_.data();
  step.c6_factor = c6_factor_.data();
  step.energy = energy_.data();
  pool_.parallel_for(domain_->n_owned, kHeatFluxTask, [&](int begin, int end, int) { kernels_.long_range(step, begin, end); });
}

void require_usable_velocities(int n, const double* velocities, const std::function<std::string(int)>& name) {
  for (int atom = 0; atom < n; ++atom)
    for (int k = 0; k < 3; ++k) {
      const double v = velocities[3 * index_of(atom) + index_of(k)];
      if (std::abs(v) < kLargestVelocity) continue;  // not so for NaN
      throw std::invalid_argument("the velocity of " + name(atom) + " has a component of " + number_text(v) +
                                  ": expected finite numbers below 1e8");
    }
}

}  // namespace so3md
