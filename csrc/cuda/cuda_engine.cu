#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <functional>
#include <limits>
#include <string>
#include <utility>

#include "cuda/atoms.h"
#include "cuda/cuda_engine.h"
#include "cuda/device_array.h"
#include "cuda/domain_on_device.h"
#include "cuda/edges.h"
#include "cuda/event_timer.h"
#include "cuda/halo_on_device.h"
#include "cuda/lists/point_lists.h"
#include "cuda/network/network.h"
#include "cuda/pair_physics.h"
#include "cuda/result_layout.h"
#include "cuda/system_sums.h"

namespace so3md::cuda {

namespace {

// Above it, the time of stages is always taken; below, only if asked for, since it would show in the time of a step.
constexpr int kTimedAtoms = 5000;

bool stages_asked_for() {
  const char* value = std::getenv("SO3MD_CUDA_STAGES");
  return value != nullptr && *value != '\0' && *value != '0';
}

/// `array` sized for owned atoms if the model has the term; else null.
double* room(bool wanted, std::size_t atoms, DeviceArray<double>& array) {
  if (!wanted) return nullptr;
  array.resize(atoms);
  return array.data();
}

// The stages are those of EngineOf (csrc/engine.cpp), in the same order, and equation numbers refer to docs/theory.md. Everything is
// started without waiting; the host waits once, for the results. Only processes that share a system wait more often, for each other.
template <class Real>
class CudaEngine final : public Engine {
 public:
  CudaEngine(std::shared_ptr<const Model> model, const EngineOptions& options, std::shared_ptr<const Parameters<Real>> parameters)
      : model_(std::move(model)),
        options_(options),
        device_(options.device.index),
        parameters_(std::move(parameters)),
        halo_(stream_),
        timer_(stream_),
        edges_(*model_, stream_),
        tables_(*model_, stream_),
        network_(parameters_, stream_),
        description_(device_name()) {}

  std::unique_ptr<Engine> create_sibling(ThreadPool&) const override {
    use_device(device_);
    return std::make_unique<CudaEngine>(model_, options_, parameters_);
  }

  const DomainResults& evaluate(const Domain& domain, const int* species, const SystemTotals& totals, HaloExchange& halo, bool forces,
                                std::vector<LayerFeatures>* features, ChargePotential* coulomb, const SystemRanges* systems) override {
    order_ = nullptr;
    coulomb_ = coulomb;
    return evaluate({domain.n_owned, species, [&] { domain_ = &host_domain_.update(domain, species, stream_); }}, totals, halo, forces,
                    features, systems);
  }

  bool makes_lists() const override { return true; }

  const DomainResults& evaluate_points(const PointSystem& system, const SystemTotals& totals, bool forces) override {
    coulomb_ = nullptr;
    if (!lists_ || system.skin != skin_) {
      lists_ = std::make_unique<PointLists>(hyper().cutoff, long_range_cutoff(*model_, options_), system.skin);
      skin_ = system.skin;
    }
    const auto make_domain = [&] {
      domain_ = &lists_->update(system, stream_);
      order_ = lists_->order();
    };
    return evaluate({system.n, system.species, make_domain}, totals, no_halo_, forces, nullptr, nullptr);
  }

  std::int64_t list_rebuilds() const override { return lists_ ? lists_->rebuilds() : 0; }

  const char* instruction_set() const override { return description_.c_str(); }
  bool tabulated() const override { return parameters_->tabulated; }
  const TableError& table_error() const override { return parameters_->table_error; }
  const Stopwatch& stopwatch() const override { return watch_; }
  DeviceMemory device_memory() const override { return memory_use(); }
  NonlocalPairs nonlocal_pairs() const override { return {}; }

 private:
  /// The owned atoms of an evaluation: their species on the host, in any order, and how their domain comes to the device.
  struct Atoms {
    int count;
    const int* species;
    std::function<void()> make_domain;
  };

  const DomainResults& evaluate(const Atoms& atoms, const SystemTotals& totals, HaloExchange& halo, bool forces,
                                std::vector<LayerFeatures>* features, const SystemRanges* systems) {
    use_device(device_);
    watch_.start();
    timer_.start(atoms.count >= kTimedAtoms || stages_asked_for());
    host_halo_ = &halo;
    forces_ = forces;
    const std::exception_ptr failure = start_evaluation(atoms, systems);
    count_species(atoms, totals, failure);
    network_.forward(*domain_, edge_view_, composition_, halo_, readouts_, timer_, features);
    charges_and_ratios();
    pair_physics();
    if (forces) adjoint();
    finish();
    fetch();
    timer_.add_to(watch_);
    watch_.start();
    return results_;
  }

  const Hyperparameters& hyper() const { return model_->hyper; }
  int owned() const { return domain_->n_owned; }
  double* result(std::size_t place) { return device_results_.data() + place; }
  bool pair_electrostatics() const { return hyper().electrostatics && coulomb_ == nullptr; }

  // What needs no other process: data to the device, edges and repulsion. Returns what went wrong.
  std::exception_ptr start_evaluation(const Atoms& atoms, const SystemRanges* systems) {
    try {
      atoms.make_domain();
      halo_.set_exchange(*host_halo_, domain_->build);
      set_systems(systems);
      allocate();
      timer_.lap("positions and lists");
      edge_view_ = edges_.build(*domain_, atoms_.zbl_energy, result(layout_.forces()), result(layout_.virials()), stream_);
      copy_on_device(result(layout_.overlap()), edges_.overlap_entry(), sizeof(double), stream_);
      timer_.lap("edges");
      if (!halo_.alone()) check_overlap();  // all processes stop together, or none
      return nullptr;
    } catch (...) {
      return std::current_exception();
    }
  }

  void set_systems(const SystemRanges* ranges) {
    std::vector<int> first = {0, domain_->n_owned};
    if (ranges != nullptr) first.assign(ranges->first, ranges->first + ranges->count + 1);
    sums_.set_systems(first, stream_);
    system_sizes_.clear();
    for (std::size_t s = 1; s < first.size(); ++s) system_sizes_.push_back(first[s] - first[s - 1]);
  }

  void allocate() {
    const auto atoms = static_cast<std::size_t>(owned());
    layout_ = ResultLayout(*model_, owned(), sums_.count());
    device_results_.resize(layout_.size());
    atoms_.network_energy = room(true, atoms, network_energy_);
    atoms_.shift = room(true, atoms, shift_);
    atoms_.zbl_energy = room(true, atoms, zbl_energy_);
    atoms_.electrostatics_energy = room(pair_electrostatics(), atoms, electrostatics_energy_);
    atoms_.dispersion_energy = room(hyper().dispersion, atoms, dispersion_energy_);
    atoms_.charge_gradient = room(hyper().electrostatics, atoms, charge_gradient_);
    atoms_.alpha_gradient = room(hyper().dispersion, atoms, alpha_gradient_);
    atoms_.energies = result(layout_.energies());
    atoms_.charges = hyper().charge_head ? result(layout_.charges()) : nullptr;
    atoms_.hirshfeld_ratios = hyper().hirshfeld_head ? result(layout_.hirshfeld_ratios()) : nullptr;
    readouts_ = {room(true, atoms, readout_[0]), room(hyper().charge_head, atoms, readout_[1]),
                 room(hyper().hirshfeld_head, atoms, readout_[2])};
    gradients_ = {room(true, atoms, gradient_[0]), room(hyper().electrostatics, atoms, gradient_[1]),
                  room(hyper().dispersion, atoms, gradient_[2])};
    numbers_.resize(static_cast<std::size_t>(domain_->n_slots()));
    system_sums_.resize(static_cast<std::size_t>(sums_.count()));
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
    if (order_ == nullptr) throw overlap;
    int points[2] = {overlap.i, overlap.slot};
    for (int& point : points) copy_to_host(&point, order_ + point, sizeof(int), stream_);
    stream_.synchronize();
    throw OverlappingAtoms(points[0], points[1], overlap.distance);
  }

  // The first sum over all processes; it also tells whether one of them failed, so that all stop together.
  void count_species(const Atoms& atoms, const SystemTotals& totals, const std::exception_ptr& failure) {
    std::vector<double>& counts = composition_.counts;
    counts.assign(model_->elements.size() + 1, 0.0);
    if (failure)
      counts.back() = 1.0;
    else
      for (int i = 0; i < atoms.count; ++i) counts[static_cast<std::size_t>(atoms.species[i])] += 1.0;
    host_halo_->sum(counts.data(), static_cast<int>(counts.size()));
    const bool failed = counts.back() > 0.0;
    counts.pop_back();
    if (failure) std::rethrow_exception(failure);
    if (failed) throw FailedElsewhere();
    composition_.total_charge = totals.charge;
    composition_.num_unpaired_electrons = 2.0 * totals.spin;
    if (sums_.count() == 1) {
      double all = 0.0;
      for (double count : counts) all += count;
      system_sizes_ = {all};
    } else {
      for (double& count : counts) count /= sums_.count();  // of one system, where that matters
    }
    if (system_sizes_ != known_sizes_) {
      known_sizes_ = system_sizes_;
      num_atoms_.upload(known_sizes_, stream_);
    }
    systems_ = {sums_.system(), num_atoms_.data()};
  }

  // Sums over the atoms of each system, on all processes; on the device.
  const double* sum_by_system(const double* values) {
    sums_.sum({values}, system_sums_.data(), stream_);
    if (!halo_.alone()) {
      std::vector<double> sums(system_sums_.size());
      copy_to_host(sums.data(), system_sums_.data(), sums.size() * sizeof(double), stream_);
      stream_.synchronize();
      host_halo_->sum(sums.data(), static_cast<int>(sums.size()));
      system_sums_.upload(sums, stream_);
      stream_.synchronize();
    }
    return system_sums_.data();
  }

  void charges_and_ratios() {
    finish_readouts(*domain_, tables_.view(), readouts_, atoms_, stream_);
    if (hyper().charge_head)
      conserve_charge(owned(), systems_, composition_.total_charge, sum_by_system(atoms_.charges), atoms_.charges, stream_);
    timer_.lap("readouts");
  }

  void pair_physics() {
    if (hyper().electrostatics && coulomb_ != nullptr) host_electrostatics();
    if (!pair_electrostatics() && !hyper().dispersion) return;
    fill_pair_numbers(*domain_, tables_.view(), atoms_, numbers_.data(), stream_);
    timer_.lap("long range");
    const Rows<Real> sent[] = {{&numbers_.data()->charge, 2, 4}};  // charge and polarisability
    halo_.start(Reach::all, sent);
    halo_.finish();
    timer_.lap("exchange");
    PairPhysics<Real> pairs;
    pairs.electrostatics = pair_electrostatics();
    pairs.dispersion = hyper().dispersion;
    pairs.cutoff = options_.long_range_cutoff;
    pairs.charge_constants = electrostatics_constants<Real>(hyper().electrostatics_sigma, options_.long_range_cutoff);
    pairs.dispersion_constants =
        dispersion_constants<Real>(hyper().dispersion_damping_scale, options_.long_range_cutoff, options_.dispersion_damping);
    pairs.numbers = numbers_.data();
    pairs.electrostatics_energy = atoms_.electrostatics_energy;
    pairs.dispersion_energy = atoms_.dispersion_energy;
    pairs.charge_gradient = atoms_.charge_gradient;
    pairs.alpha_gradient = atoms_.alpha_gradient;
    if (forces_) {
      pairs.forces = result(layout_.forces());
      pairs.virials = result(layout_.virials());
    }
    evaluate_pairs(*domain_, pairs, stream_);
    timer_.lap("long range");
  }

  // The host gets the charges and gives dE/dq.
  void host_electrostatics() {
    const auto atoms = static_cast<std::size_t>(owned());
    std::vector<double> charges(atoms), potentials(atoms, 0.0);
    copy_to_host(charges.data(), atoms_.charges, atoms * sizeof(double), stream_);
    stream_.synchronize();
    coulomb_->evaluate(charges.data(), potentials.data());
    copy_to_device(atoms_.charge_gradient, potentials.data(), atoms * sizeof(double), stream_);
    stream_.synchronize();
    timer_.lap("host electrostatics");
  }

  void adjoint() {
    const double* means = hyper().electrostatics ? sum_by_system(atoms_.charge_gradient) : nullptr;
    readout_gradients(*domain_, tables_.view(), readouts_, atoms_, systems_, means, gradients_, stream_);
    timer_.lap("readouts");
    network_.adjoint(gradients_, halo_, result(layout_.forces()), result(layout_.virials()), timer_);
  }

  void finish() {
    sum_atomic_energies(owned(), atoms_, stream_);
    sums_.sum({atoms_.network_energy, atoms_.shift, atoms_.zbl_energy, atoms_.electrostatics_energy, atoms_.dispersion_energy},
              result(layout_.sums()), stream_);
    timer_.lap("sums");
  }

  // Results to the host, for which it waits.
  void fetch() {
    const std::size_t count = forces_ ? layout_.size() : layout_.size_without_forces();
    const double* results = device_results_.data();
    if (order_ != nullptr) {
      ordered_results_.resize(layout_.size());
      reorder_results(layout_, owned(), order_, forces_, results, ordered_results_.data(), stream_);
      results = ordered_results_.data();
    }
    host_results_.resize(count);
    copy_to_host(host_results_.data(), results, count * sizeof(double), stream_);
    timer_.lap("download");
    stream_.synchronize();
    unsigned long long entry = 0;
    std::memcpy(&entry, host_results_.data() + layout_.overlap(), sizeof(entry));
    throw_overlap(entry);
    const auto atoms = static_cast<std::size_t>(owned());
    const auto take = [&](std::vector<double>& to, std::size_t place, std::size_t numbers) {
      to.assign(host_results_.data() + place, host_results_.data() + place + numbers);
    };
    take(results_.energies, layout_.energies(), atoms);
    take(results_.charges, layout_.charges(), layout_.has_charges() ? atoms : 0);
    take(results_.hirshfeld_ratios, layout_.hirshfeld_ratios(), layout_.has_ratios() ? atoms : 0);
    if (forces_) {
      take(results_.forces, layout_.forces(), 3 * atoms);
      take(results_.virials, layout_.virials(), 9 * atoms);
    } else {
      results_.forces.assign(3 * atoms, 0.0);
      results_.virials.assign(9 * atoms, 0.0);
    }
    take_energies();
  }

  void take_energies() {
    results_.system_energies.clear();
    EnergyComponents all;
    const double* sums = host_results_.data() + layout_.sums();
    for (int s = 0; s < sums_.count(); ++s, sums += ResultLayout::kSums) {
      results_.system_energies.push_back({sums[0], sums[1], sums[2], sums[3], sums[4]});
      all.network += sums[0];
      all.shifts += sums[1];
      all.zbl += sums[2];
      all.electrostatics += sums[3];
      all.dispersion += sums[4];
    }
    results_.energy = all;
  }

  std::shared_ptr<const Model> model_;
  EngineOptions options_;
  int device_;
  std::shared_ptr<const Parameters<Real>> parameters_;
  Stream stream_;
  HaloOnDevice halo_;
  EventTimer timer_;
  EdgeBuilder<Real> edges_;
  SpeciesTablesOnDevice tables_;
  CudaNetwork<Real> network_;
  std::string description_;
  Stopwatch watch_;

  // Of the evaluation under way.
  HaloExchange* host_halo_ = nullptr;
  ChargePotential* coulomb_ = nullptr;
  bool forces_ = false;
  SerialHalo no_halo_;
  DomainOnDevice host_domain_;
  std::unique_ptr<PointLists> lists_;
  double skin_ = 0.0;           // of lists_
  const int* order_ = nullptr;  // point of each atom, on the device; null: results stay in the order of the domain
  const DeviceDomain* domain_ = nullptr;
  DeviceEdges<Real> edge_view_;
  Composition composition_;
  SystemSums sums_;
  std::vector<double> system_sizes_, known_sizes_;
  SystemView systems_;
  AtomArrays atoms_;
  DeviceReadouts readouts_, gradients_;
  ResultLayout layout_;

  DeviceArray<double> num_atoms_, system_sums_;
  DeviceArray<double> network_energy_, shift_, zbl_energy_, electrostatics_energy_, dispersion_energy_, charge_gradient_, alpha_gradient_;
  DeviceArray<double> readout_[3], gradient_[3];
  DeviceArray<PairNumbers<Real>> numbers_;
  DeviceArray<double> device_results_, ordered_results_;
  PinnedArray<double> host_results_;
  DomainResults results_;
};

template <class Real>
Engine* make_engine(std::shared_ptr<const Model> model, const EngineOptions& options) {
  const bool tabulate = options.tabulate.value_or(options.precision == Precision::mixed);
  auto parameters = std::make_shared<Parameters<Real>>(*model, tabulate);
  return new CudaEngine<Real>(std::move(model), options, std::move(parameters));
}

}  // namespace

Engine* create_engine(std::shared_ptr<const Model> model, const EngineOptions& options, ThreadPool&) {
  if (model->hyper.architecture != Architecture::so3krates)
    throw std::invalid_argument("models of the architecture so3krates-2022 are evaluated on the CPU only, and device '" +
                                so3md::device_name(options.device) + "' was asked for: use device 'cpu'");
  use_device(options.device.index);
  if (options.precision == Precision::mixed) return make_engine<float>(std::move(model), options);
  return make_engine<double>(std::move(model), options);
}

}  // namespace so3md::cuda
