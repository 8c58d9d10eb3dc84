#include <array>
#include <cmath>
#include <cstring>
#include <exception>
#include <functional>
#include <optional>
#include <string>
#include <utility>

#include "cuda/atoms.h"
#include "cuda/cuda_engine.h"
#include "cuda/device_array.h"
#include "cuda/dispersion_tail.h"
#include "cuda/domain_on_device.h"
#include "cuda/edges.h"
#include "cuda/electric_field.h"
#include "cuda/event_timer.h"
#include "cuda/ewald.h"
#include "cuda/halo_on_device.h"
#include "cuda/lists/point_lists.h"
#include "cuda/network/network.h"
#include "cuda/pair_physics.h"
#include "cuda/result_layout.h"
#include "cuda/step_graph.h"
#include "cuda/system_sums.h"
#include "evaluation/stage_order.h"

namespace so3md::cuda {

namespace {

/// `array` sized for owned atoms if the model has the term; else null.
double* room(bool wanted, std::size_t atoms, DeviceArray<double>& array) {
  if (!wanted) return nullptr;
  array.resize(atoms);
  return array.data();
}

// The stages of an evaluation are in the order of StageOrder; equation numbers refer to docs/theory.md. Everything is started without
// waiting; the host waits once, for the results. Only processes that share a system wait more often, for each other.
template <class Real>
class CudaEngine final : public Engine {
 public:
  CudaEngine(std::shared_ptr<const Model> model, const EngineOptions& options, std::shared_ptr<const Parameters<Real>> parameters,
             ThreadPool& pool)
      : model_(std::move(model)),
        options_(options),
        pool_(pool),
        device_(options.device.index),
        parameters_(std::move(parameters)),
        halo_(stream_, options.device_messages),
        timer_(stream_),
        edges_(*model_, stream_),
        tables_(*model_, stream_),
        network_(parameters_, stream_),
        description_(device_name()) {
    if (uses_ewald(*model_, options_)) ewald_.emplace(hyper().electrostatics_sigma, options_.force_accuracy());
    // Without a cutoff, there are no systems that have one.
    if (options_.dispersion_tail && std::isfinite(options_.long_range_cutoff))
      tail_.emplace(*model_, options_.long_range_cutoff, options_.dispersion_damping, stream_);
  }

  std::unique_ptr<Engine> create_sibling(ThreadPool& pool) const override {
    use_device(device_);
    return std::make_unique<CudaEngine>(model_, options_, parameters_, pool);
  }

  const DomainResults& evaluate(const Domain& domain, const int* species, HaloExchange& halo, const Request& request) override {
    start(domain.n_owned, halo, request);
    points_ = nullptr;
    graph_.forget();
    const std::exception_ptr failure = prepare([&] { domain_ = &host_domain_.update(domain, species, stream_); });
    const auto count = [&](std::vector<double>& counts) {
      for (int i = 0; i < domain.n_owned; ++i) counts[static_cast<std::size_t>(species[i])] += 1.0;
    };
    count_species(count, failure);
    if (terms_.dispersion_tail) prepare_tail(species);
    evaluate_domain();
    return fetch();
  }

  bool makes_lists() const override { return true; }

  const DomainResults& evaluate_points(const PointSystem& system, const Request& request) override {
    const PointSharing* sharing = system.sharing;
    start(system.n, sharing == nullptr ? static_cast<HaloExchange&>(no_halo_) : *sharing->halo, request);
    make_lists(system);
    std::exception_ptr failure = update_lists(system);
    if (!failure) failure = prepare([this] { domain_ = &points_->domain(); });
    const auto count = [&](std::vector<double>& counts) { count_owned(system, counts); };
    count_species(count, failure);
    if (terms_.dispersion_tail) prepare_tail(system.species);
    if (mode_.graph && halo_.alone() && !terms_.host_electrostatics) {
      const SystemTotals& totals = request.totals;
      graph_.run({domain_->build, request.forces, totals.charge, totals.spin, composition_.counts, ewald_ ? ewald_->num_waves() : 0},
                 stream_, [this] { evaluate_domain(); });
    } else {
      graph_.forget();
      evaluate_domain();
    }
    return fetch();
  }

  std::int64_t list_rebuilds() const override { return lists_ ? lists_->rebuilds() : 0; }

  DomainCounts domain_counts() const override {
    if (!lists_) return {};
    const DeviceDomain& domain = lists_->domain();
    return {domain.n_owned, domain.n_interior, domain.n_near, domain.n_far};
  }

  EngineReport report() const override {
    return {.instruction_set = description_,
            .tabulated = parameters_->tabulated,
            .table_error = parameters_->table_error,
            .seconds = watch_.seconds(),
            .device_memory = memory_use(),
            .device_work = stream_.work(),
            .nonlocal_pairs = {}};
  }

 private:
  friend struct so3md::StageOrder;

  void start(int atoms, HaloExchange& halo, const Request& request) {
    use_device(device_);
    mode_ = choose_mode(atoms);
    stream_.work() = {};
    watch_.start();
    timer_.start(mode_.timed);
    host_halo_ = &halo;
    request_ = request;
    terms_ = long_range_terms(*model_, options_, request.coulomb != nullptr);
  }

  const Hyperparameters& hyper() const { return model_->hyper; }
  int owned() const { return domain_->n_owned; }
  double* result(std::size_t place) { return device_results_.data() + place; }

  // Without pairs of charges or dispersion, there is no long list.
  void make_lists(const PointSystem& system) {
    const ListKind kind{terms_.pairs() ? options_.long_range_cutoff : 0.0, system.skin};
    if (!lists_ || !(kind == kind_)) lists_ = std::make_unique<PointLists>(hyper().cutoff, kind.long_cutoff, kind.skin, pool_);
    kind_ = kind;
    points_ = lists_.get();
  }

  // Lists for these points. Where they are new, all processes that share the points learn at once if one of them failed, and plan their
  // exchange. Returns what went wrong otherwise.
  std::exception_ptr update_lists(const PointSystem& system) {
    const bool old = lists_->are_old(system);
    std::exception_ptr failure;
    try {
      if (old)
        lists_->build(system, stream_);
      else
        lists_->take(system, stream_);
    } catch (...) {
      failure = std::current_exception();
    }
    if (!old || system.sharing == nullptr) return failure;
    double failed = failure ? 1.0 : 0.0;
    host_halo_->sum(&failed, 1);
    if (failed > 0.0) lists_->forget();
    if (failure) std::rethrow_exception(failure);
    if (failed > 0.0) throw FailedElsewhere();
    const SiteSlots& slots = lists_->slots();
    system.sharing->halo->plan(lists_->domain().n_owned, slots.n_near, slots.halo, slots.slot_of_point);
    return nullptr;
  }

  // What needs no other process. Several look for overlapping atoms before they go on, so that all stop together, or none. Returns what
  // went wrong.
  template <class MakeDomain>
  std::exception_ptr prepare(const MakeDomain& make_domain) {
    try {
      make_domain();
      halo_.set_exchange(*host_halo_, domain_->build);
      set_systems();
      allocate();
      timer_.lap("positions and lists");
      if (halo_.alone()) return nullptr;
      build_edges();
      check_overlap();
      return nullptr;
    } catch (...) {
      return std::current_exception();
    }
  }

  // From positions to edges and repulsion.
  void build_edges() {
    if (points_ != nullptr) points_->place(stream_);
    edge_view_ = edges_.build(*domain_, atoms_.zbl_energy, result(layout_.forces()), result(layout_.virials()), stream_);
    copy_on_device(result(layout_.overlap()), edges_.overlap_entry(), sizeof(double), stream_);
    timer_.lap("edges");
  }

  // From edges to results; those of a process alone need nothing of others.
  void evaluate_domain() {
    if (halo_.alone()) build_edges();
    StageOrder::run(*this, terms_, request_, halo_, timer_);
    download();
  }

  void set_systems() { sums_.set_systems(first_atoms(owned(), request_.systems), stream_); }

  void allocate() {
    const auto atoms = static_cast<std::size_t>(owned());
    layout_ = ResultLayout(*model_, owned(), sums_.count());
    device_results_.resize(layout_.size());
    atoms_.network_energy = room(true, atoms, network_energy_);
    atoms_.shift = room(true, atoms, shift_);
    atoms_.zbl_energy = room(true, atoms, zbl_energy_);
    atoms_.electrostatics_energy = room(terms_.own_electrostatics() || terms_.electric_field, atoms, electrostatics_energy_);
    atoms_.dispersion_energy = room(hyper().dispersion, atoms, dispersion_energy_);
    atoms_.charge_gradient = room(terms_.act_on_charges(), atoms, charge_gradient_);
    atoms_.alpha_gradient = room(hyper().dispersion, atoms, alpha_gradient_);
    atoms_.energies = result(layout_.energies());
    atoms_.charges = hyper().charge_head ? result(layout_.charges()) : nullptr;
    atoms_.hirshfeld_ratios = hyper().hirshfeld_head ? result(layout_.hirshfeld_ratios()) : nullptr;
    atoms_.c6_ratios = hyper().c6_head ? result(layout_.c6_ratios()) : nullptr;
    atoms_.c6_gradient = room(hyper().c6_head, atoms, c6_gradient_);
    readouts_ = {room(true, atoms, readout_[0]), room(hyper().charge_head, atoms, readout_[1]),
                 room(hyper().hirshfeld_head, atoms, readout_[2]), room(hyper().c6_head, atoms, readout_[3])};
    gradients_ = {room(true, atoms, gradient_[0]), room(terms_.act_on_charges(), atoms, gradient_[1]),
                  room(hyper().dispersion, atoms, gradient_[2]), room(hyper().c6_head, atoms, gradient_[3])};
    numbers_.resize(static_cast<std::size_t>(domain_->n_slots()));
    system_sums_.resize(static_cast<std::size_t>(sums_.count()));
    if (points_ != nullptr) ordered_results_.resize(layout_.size());
    host_results_.resize(layout_.size());
  }

  void check_overlap() {
    unsigned long long entry = 0;
    copy_to_host(&entry, edges_.overlap_entry(), sizeof(entry), stream_);
    stream_.synchronize();
    throw_overlap(entry);
  }

  void throw_overlap(unsigned long long entry) {
    if (entry == EdgeBuilder<Real>::kNoOverlap) return;
    const OverlappingAtoms overlap = edges_.describe_overlap(*domain_, entry, stream_);
    if (points_ == nullptr) throw overlap;
    throw OverlappingAtoms(points_->point_of_slot(overlap.i, stream_), points_->point_of_slot(overlap.slot, stream_), overlap.distance);
  }

  void count_owned(const PointSystem& system, std::vector<double>& counts) const {
    const auto add = [&](int point) { counts[static_cast<std::size_t>(system.species[point])] += 1.0; };
    if (system.sharing == nullptr)
      for (int point = 0; point < system.n; ++point) add(point);
    else
      for (int row = 0; row < domain_->n_owned; ++row) add(lists_->slots().point_of_slot[static_cast<std::size_t>(row)]);
  }

  template <class Count>
  void count_species(const Count& count_owned_atoms, const std::exception_ptr& failure) {
    composition_.counts.assign(model_->elements.size(), 0.0);
    if (!failure) count_owned_atoms(composition_.counts);
    const std::vector<double> num_atoms = begin_together(composition_, request_.totals, sums_.first(), *host_halo_, failure);
    if (num_atoms != known_sizes_) {
      known_sizes_ = num_atoms;
      num_atoms_.upload(known_sizes_, stream_);
    }
    systems_ = {sums_.system(), num_atoms_.data()};
    if (terms_.ewald) prepare_ewald();
  }

  // Sums over the atoms of each system, on all processes; on the device.
  const double* sum_by_system(const double* values) {
    sums_.sum({values}, system_sums_.data(), stream_);
    if (!halo_.alone()) sum_over_processes(system_sums_);
    return system_sums_.data();
  }

  void sum_over_processes(DeviceArray<double>& values) {
    std::vector<double> sums(values.size());
    copy_to_host(sums.data(), values.data(), sums.size() * sizeof(double), stream_);
    stream_.synchronize();
    host_halo_->sum(sums.data(), static_cast<int>(sums.size()));
    values.upload(sums, stream_);
    stream_.synchronize();
  }

  void network_forward(std::vector<LayerFeatures>* features) {
    network_.forward(*domain_, edge_view_, composition_, halo_, readouts_, timer_, features);
  }

  void finish_readouts() { cuda::finish_readouts(*domain_, tables_.view(), readouts_, atoms_, stream_); }
  const double* charges() const { return atoms_.charges; }
  const double* charge_gradients() const { return atoms_.charge_gradient; }

  void conserve_charge(const double* totals) {
    cuda::conserve_charge(owned(), systems_, composition_.total_charge, totals, atoms_.charges, stream_);
  }

  std::vector<const Cell*> cells() const {
    std::vector<const Cell*> cells(1, request_.totals.cell);
    if (const SystemRanges* systems = request_.systems; systems != nullptr && systems->cells != nullptr)
      cells.assign(systems->cells, systems->cells + systems->count);
    for (const Cell* each : cells)
      if (each == nullptr) throw std::logic_error("an Ewald sum and the tail of the dispersion need the cell");
    return cells;
  }

  void prepare_ewald() { ewald_->prepare(cells(), known_sizes_, sums_.first(), stream_); }

  // `species`: of the owned atoms, where they are of several systems.
  void prepare_tail(const int* species) {
    std::vector<double> counts = composition_.counts;
    const std::vector<int>& first = sums_.first();
    if (sums_.count() > 1) {
      counts.assign(first.size() * model_->elements.size(), 0.0);
      for (std::size_t s = 0; s + 1 < first.size(); ++s)
        for (int i = first[s]; i < first[s + 1]; ++i) counts[s * model_->elements.size() + static_cast<std::size_t>(species[i])] += 1.0;
    }
    tail_->prepare(cells(), counts, stream_);
  }

  // With all periodic images.
  void ewald() {
    DeviceArray<double>& factors = ewald_->structure_factors(*domain_, atoms_.charges, stream_);
    if (!halo_.alone()) sum_over_processes(factors);
    EwaldRows rows{atoms_.charges, atoms_.charge_gradient, atoms_.electrostatics_energy};
    if (request_.forces) {
      rows.forces = result(layout_.forces());
      rows.virials = result(layout_.virials());
    }
    ewald_->gather(*domain_, sums_.system(), rows, stream_);
  }

  void fill_pairs() { fill_pair_numbers(*domain_, tables_.view(), atoms_, numbers_.data(), stream_); }
  // Charge and polarisability, and C6 over the square of the latter where it is no number of the element.
  std::array<Rows<Real>, 1> pair_rows() { return {{{&numbers_.data()->charge, hyper().c6_head ? 3 : 2, 4}}}; }

  void evaluate_pairs() {
    PairPhysics<Real> pairs;
    pairs.electrostatics = terms_.pair_electrostatics;
    pairs.dispersion = terms_.dispersion;
    pairs.cutoff = options_.long_range_cutoff;
    pairs.charge_constants = electrostatics_constants<Real>(hyper().electrostatics_sigma, options_.long_range_cutoff);
    pairs.dispersion_constants =
        dispersion_constants<Real>(hyper().dispersion_damping_scale, options_.long_range_cutoff, options_.dispersion_damping);
    pairs.numbers = numbers_.data();
    pairs.electrostatics_energy = atoms_.electrostatics_energy;
    pairs.dispersion_energy = atoms_.dispersion_energy;
    pairs.charge_gradient = atoms_.charge_gradient;
    pairs.alpha_gradient = atoms_.alpha_gradient;
    pairs.c6_gradient = atoms_.c6_gradient;
    if (request_.forces) {
      pairs.forces = result(layout_.forces());
      pairs.virials = result(layout_.virials());
    }
    cuda::evaluate_pairs(*domain_, pairs, stream_);
  }

  // Beyond the cutoff.
  void dispersion_tail() {
    TailRows rows{atoms_.hirshfeld_ratios, hyper().c6_head ? atoms_.c6_ratios : nullptr, atoms_.dispersion_energy, atoms_.alpha_gradient,
                  atoms_.c6_gradient};
    DeviceArray<double>& ratios = tail_->sum_ratios(*domain_, tables_.view(), rows, sums_, stream_);
    if (!halo_.alone()) sum_over_processes(ratios);
    if (request_.forces) rows.virials = result(layout_.virials());
    tail_->add(*domain_, tables_.view(), sums_.system(), rows, stream_);
  }

  // The host gets the charges and gives dE/dq, in the order of the results.
  void host_electrostatics() {
    const auto atoms = static_cast<std::size_t>(owned());
    std::vector<double> charges(atoms), potentials(atoms, 0.0);
    double* sent = atoms_.charges;
    double* received = atoms_.charge_gradient;
    if (points_ != nullptr) {
      host_rows_.resize(atoms);
      sent = received = host_rows_.data();
      scatter_rows(owned(), points_->result_rows(), atoms_.charges, sent, stream_);
    }
    copy_to_host(charges.data(), sent, atoms * sizeof(double), stream_);
    stream_.synchronize();
    request_.coulomb->evaluate(charges.data(), potentials.data());
    copy_to_device(received, potentials.data(), atoms * sizeof(double), stream_);
    if (points_ != nullptr) gather_rows(owned(), points_->result_rows(), received, atoms_.charge_gradient, stream_);
    stream_.synchronize();
  }

  // Evaluator refuses it.
  void external_potential() { throw std::logic_error("an external potential is for CPUs"); }

  void electric_field() {
    const AtomPaths paths = points_ != nullptr ? points_->paths() : AtomPaths{host_domain_.unwrapped(), nullptr};
    if (owned() > 0 && paths.positions == nullptr) throw std::logic_error("an electric field needs the unwrapped positions");
    if (!terms_.own_electrostatics()) electrostatics_energy_.clear(stream_);
    if (!terms_.electrostatics()) charge_gradient_.clear(stream_);
    FieldRows rows{atoms_.charges, atoms_.electrostatics_energy, atoms_.charge_gradient};
    if (request_.forces) {
      rows.forces = result(layout_.forces());
      rows.virials = result(layout_.virials());
    }
    add_electric_field(*domain_, options_.electric_field, paths, rows, stream_);
  }

  // `totals`: of charge_gradients(), null where nothing acts on charges.
  void readout_gradients(const double* totals) {
    cuda::readout_gradients(*domain_, tables_.view(), readouts_, atoms_, systems_, totals, gradients_, stream_);
  }

  void network_adjoint() { network_.adjoint(gradients_, halo_, result(layout_.forces()), result(layout_.virials()), timer_); }

  void sum_energies() {
    sum_atomic_energies(owned(), atoms_, stream_);
    sums_.sum({atoms_.network_energy, atoms_.shift, atoms_.zbl_energy, atoms_.electrostatics_energy, atoms_.dispersion_energy},
              result(layout_.sums()), stream_);
  }

  void download() {
    const std::size_t count = request_.forces ? layout_.size() : layout_.size_without_forces();
    const double* results = device_results_.data();
    if (points_ != nullptr) {
      reorder_results(layout_, owned(), points_->result_rows(), request_.forces, results, ordered_results_.data(), stream_);
      results = ordered_results_.data();
    }
    copy_to_host(host_results_.data(), results, count * sizeof(double), stream_);
    timer_.lap("download");
  }

  // Results on the host, for which it waits.
  const DomainResults& fetch() {
    stream_.synchronize();
    unsigned long long entry = 0;
    std::memcpy(&entry, host_results_.data() + layout_.overlap(), sizeof(entry));
    throw_overlap(entry);
    unpack_results(layout_, host_results_.data(), request_.forces, results_);
    timer_.add_to(watch_);
    watch_.start();
    return results_;
  }

  std::shared_ptr<const Model> model_;
  EngineOptions options_;
  ThreadPool& pool_;
  int device_;
  std::shared_ptr<const Parameters<Real>> parameters_;
  Stream stream_;
  HaloOnDevice halo_;
  EventTimer timer_;
  EdgeBuilder<Real> edges_;
  SpeciesTablesOnDevice tables_;
  CudaNetwork<Real> network_;
  std::optional<TailOnDevice> tail_;    // if it counts
  std::optional<EwaldOnDevice> ewald_;  // not there: charges interact in pairs
  std::string description_;
  Stopwatch watch_;

  // Of the evaluation under way.
  StepMode mode_{};
  HaloExchange* host_halo_ = nullptr;
  Request request_;
  LongRangeTerms terms_;
  SerialHalo no_halo_;
  DomainOnDevice host_domain_;
  struct ListKind {
    double long_cutoff = 0.0, skin = 0.0;
    bool operator==(const ListKind&) const = default;
  } kind_;  // of lists_
  std::unique_ptr<PointLists> lists_;
  PointLists* points_ = nullptr;  // the same, where the domain is theirs; null: results stay in the order of the host's domain
  StepGraph graph_;
  const DeviceDomain* domain_ = nullptr;
  DeviceEdges<Real> edge_view_;
  Composition composition_;
  SystemSums sums_;
  std::vector<double> known_sizes_;  // of the systems, as on the device
  SystemView systems_;
  AtomArrays atoms_;
  DeviceReadouts readouts_, gradients_;
  ResultLayout layout_;

  DeviceArray<double> num_atoms_, system_sums_;
  DeviceArray<double> network_energy_, shift_, zbl_energy_, electrostatics_energy_, dispersion_energy_, charge_gradient_, alpha_gradient_;
  DeviceArray<double> c6_gradient_;
  DeviceArray<double> readout_[4], gradient_[4];
  DeviceArray<PairNumbers<Real>> numbers_;
  DeviceArray<double> device_results_, ordered_results_, host_rows_;
  PinnedArray<double> host_results_;
  DomainResults results_;
};

template <class Real>
Engine* make_engine(std::shared_ptr<const Model> model, const EngineOptions& options, ThreadPool& pool) {
  auto parameters = std::make_shared<Parameters<Real>>(*model, options.radial_tables());
  return new CudaEngine<Real>(std::move(model), options, std::move(parameters), pool);
}

}  // namespace

Engine* create_engine(std::shared_ptr<const Model> model, const EngineOptions& options, ThreadPool& pool) {
  if (model->hyper.architecture != Architecture::so3krates)
    throw std::invalid_argument("models of the architecture so3krates-2022 are evaluated on the CPU only, and device '" +
                                so3md::device_name(options.device) + "' was asked for: use device 'cpu'");
  use_device(options.device.index);
  if (options.precision == Precision::mixed) return make_engine<float>(std::move(model), options, pool);
  return make_engine<double>(std::move(model), options, pool);
}

}  // namespace so3md::cuda
