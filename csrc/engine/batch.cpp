#include "engine/batch.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <stdexcept>
#include <tuple>
#include <utility>

#include "common/index.h"
#include "common/resources.h"
#include "engine/create_engine.h"
#include "geometry/joined_domain.h"

namespace so3md {

namespace {

// Enough rows to make the most of a weight that has been fetched. The time for ethanol is the same from 64 to 512 atoms; small batches
// are shared more evenly among threads.
constexpr int kBatchAtoms = 128;

// A GPU has work for all its units from some ten thousand atoms on.
constexpr int kDeviceBatchAtoms = 16384;

// From here on a system is large enough to share its own work among threads.
constexpr int kLargeSystem = 512;

/// What the features before the first layer depend on: systems with the same key may share a domain.
using Key = std::tuple<double, double, std::vector<int>>;

Key key_of(const Model& model, const System& system) {
  const double charge = system.totals.charge, spin = system.totals.spin;
  std::vector<int> numbers;
  if ((model.hyper.charge_embedding && charge != 0.0) || (model.hyper.spin_embedding && spin != 0.0)) {
    numbers.assign(system.numbers, system.numbers + system.n);
    std::sort(numbers.begin(), numbers.end());
  }
  return {charge, spin, std::move(numbers)};
}

}  // namespace

/// What all threads look at.
struct BatchEvaluator::Task {
  std::span<const System> systems;
  std::vector<std::int64_t> first_atom;  // of each system in the results
  bool forces, atom_virials;
  BatchResults& results;
};

/// One thread, or all of them together, with what an evaluation needs.
class BatchEvaluator::Worker {
 public:
  Worker(const Model& model, const EngineOptions& options, std::unique_ptr<Engine> engine, ThreadPool& pool)
      : model_(model), options_(options), pool_(pool), engine_(std::move(engine)) {}

  /// The worker of a single thread.
  Worker(const Model& model, const EngineOptions& options, const Engine& sibling)
      : model_(model),
        options_(options),
        own_pool_(std::make_unique<ThreadPool>(1)),
        pool_(*own_pool_),
        engine_(sibling.create_sibling(pool_)) {}

  const Engine& engine() const { return *engine_; }

  // Systems that cannot be evaluated are left out, and the others evaluated without them.
  void evaluate(const Task& task, Batch batch) {
    while (!batch.empty()) {
      join(task, batch);
      try {
        const SystemRanges ranges{static_cast<int>(batch.size()), domain_.first().data(), cell_pointers_.data()};
        if (batch.empty()) return;
        Request request{task.systems[index_of(batch[0])].totals, task.forces};
        request.systems = &ranges;
        request.atomic_virials = task.atom_virials;
        Domain domain = domain_.domain();
        if (!options_.electric_field.is_zero()) domain.unwrapped = unwrapped_.data();
        store(task, batch, engine_->evaluate(domain, species_.data(), halo_, request));
        return;
      } catch (const OverlappingAtoms& overlap) {
        const auto place = std::upper_bound(domain_.first().begin(), domain_.first().end(), overlap.i) - domain_.first().begin() - 1;
        task.results.errors[index_of(batch[static_cast<std::size_t>(place)])] = overlap_error(overlap, order_).what();
        batch.erase(batch.begin() + place);
      }
    }
  }

 private:
  // The domain of the batch, from which systems that have none are taken out.
  void join(const Task& task, Batch& batch) {
    domain_.clear();
    order_.clear();
    species_.clear();
    unwrapped_.clear();
    cells_.clear();
    std::erase_if(batch, [&](int number) {
      try {
        add(task.systems[index_of(number)]);
        return false;
      } catch (const std::invalid_argument& error) {
        task.results.errors[index_of(number)] = error.what();
        return true;
      }
    });
    domain_.finish();
    cell_pointers_.clear();
    for (const Cell& cell : cells_) cell_pointers_.push_back(&cell);
  }

  void add(const System& system) {
    const Cell cell = system.make_cell();
    check_system(model_, options_, system, cell);
    const double cutoff = long_range_cutoff(model_, options_);
    // A list of its own for each: what an old one leaves to a new one, such as its order of atoms, would depend on the division of the
    // work.
    NeighbourList neighbours(model_.hyper.cutoff, cutoff, 0.0);
    neighbours.update(system.n, system.positions, cell, pool_);
    cells_.push_back(cell);
    domain_.add(neighbours.domain(), std::isinf(cutoff));
    order_.insert(order_.end(), neighbours.order().begin(), neighbours.order().end());
    for (int atom : neighbours.order()) {
      species_.push_back(model_.species_of(system.numbers[atom]));
      unwrapped_.insert(unwrapped_.end(), system.positions + 3 * atom, system.positions + 3 * atom + 3);
    }
  }

  void store(const Task& task, const Batch& batch, const DomainResults& from) const {
    BatchResults& to = task.results;
    for (std::size_t s = 0; s < batch.size(); ++s) {
      const auto number = index_of(batch[s]);
      to.energy[number] = from.system_energies[s];
      double* virial = to.virials.data() + 9 * number;
      for (auto i = index_of(domain_.first()[s]); i < index_of(domain_.first()[s + 1]); ++i) {
        const auto atom = static_cast<std::size_t>(task.first_atom[number] + order_[i]);
        for (std::size_t c = 0; c < 9; ++c) virial[c] += from.virials[9 * i + c];
        if (!to.atom_virials.empty()) std::copy_n(from.virials.data() + 9 * i, 9, to.atom_virials.data() + 9 * atom);
        for (std::size_t c = 0; c < 3; ++c) to.forces[3 * atom + c] = from.forces[3 * i + c];
        to.energies[atom] = from.energies[i];
        if (!from.charges.empty()) to.charges[atom] = from.charges[i];
        if (!from.hirshfeld_ratios.empty()) to.hirshfeld_ratios[atom] = from.hirshfeld_ratios[i];
        if (!from.c6_ratios.empty()) to.c6_ratios[atom] = from.c6_ratios[i];
        if (!from.force_uncertainties.empty()) to.force_uncertainties[atom] = from.force_uncertainties[i];
      }
      to.errors[number] = no_numbers(to.energy[number], virial);
    }
  }

  const Model& model_;
  const EngineOptions& options_;
  std::unique_ptr<ThreadPool> own_pool_;
  ThreadPool& pool_;
  std::unique_ptr<Engine> engine_;
  SerialHalo halo_;
  JoinedDomain domain_;
  std::vector<int> order_;         // of each owned atom: its number in its system
  std::vector<int> species_;       // of each owned atom
  std::vector<double> unwrapped_;  // positions of each owned atom as they were given
  std::vector<Cell> cells_;        // of each system
  std::vector<const Cell*> cell_pointers_;
};

BatchEvaluator::BatchEvaluator(std::shared_ptr<const Model> model, const EngineOptions& options, int threads)
    : model_((check_options(options), check_threads(threads), std::move(model))), options_(options), pool_(threads) {
  together_ = std::make_unique<Worker>(*model_, options_, create_engine(model_, options_, pool_), pool_);
  for (int thread = 0; thread < pool_.size() && !on_device(); ++thread)
    workers_.push_back(std::make_unique<Worker>(*model_, options_, together_->engine()));
}

BatchEvaluator::~BatchEvaluator() = default;

std::string BatchEvaluator::table_warning() const { return together_->engine().table_warning(); }

// The batches for one thread each, in the order of their first systems; `large`: the systems that are for all threads.
std::vector<BatchEvaluator::Batch> BatchEvaluator::group(std::span<const System> systems, std::vector<Batch>& large) const {
  struct Open {
    std::size_t batch;
    int atoms;
  };
  std::vector<Batch> batches;
  std::map<Key, Open> open;
  for (int number = 0; number < static_cast<int>(systems.size()); ++number) {
    const System& system = systems[index_of(number)];
    if (system.n == 0) continue;  // check_empty
    // Totals that are no numbers cannot be sorted; the check of the system says so.
    if (system.n >= (on_device() ? kDeviceBatchAtoms : kLargeSystem) || std::isnan(system.totals.charge) ||
        std::isnan(system.totals.spin)) {
      large.push_back({number});
      continue;
    }
    const auto [place, is_new] = open.try_emplace(key_of(*model_, system), Open{batches.size(), 0});
    Open& batch = place->second;
    if (is_new || batch.atoms + system.n > (on_device() ? kDeviceBatchAtoms : kBatchAtoms)) {
      batch = {batches.size(), 0};
      batches.emplace_back();
    }
    batch.atoms += system.n;
    batches[batch.batch].push_back(number);
  }
  return batches;
}

// Systems without atoms are in no batch; what is wrong with their cells or totals is said as of any other.
void BatchEvaluator::check_empty(std::span<const System> systems, BatchResults& results) const {
  for (std::size_t number = 0; number < systems.size(); ++number) {
    const System& system = systems[number];
    if (system.n > 0) continue;
    try {
      check_system(*model_, options_, system, system.make_cell());
    } catch (const std::invalid_argument& error) {
      results.errors[number] = error.what();
    }
  }
}

BatchResults BatchEvaluator::evaluate(std::span<const System> systems, bool forces, bool atom_virials) {
  BatchResults results;
  Task task{systems, {}, forces, atom_virials, results};
  std::int64_t total = 0;
  for (const System& system : systems) {
    task.first_atom.push_back(total);
    total += system.n;
  }
  const auto atoms = static_cast<std::size_t>(total);
  results.errors.resize(systems.size());
  results.energy.resize(systems.size());
  results.virials.resize(9 * systems.size());
  if (atom_virials) results.atom_virials.resize(9 * atoms);
  results.energies.resize(atoms);
  results.forces.resize(3 * atoms);
  if (model_->hyper.charge_head) results.charges.resize(atoms);
  if (model_->hyper.hirshfeld_head) results.hirshfeld_ratios.resize(atoms);
  if (model_->hyper.c6_head) results.c6_ratios.resize(atoms);
  if (predicts_uncertainty(*model_, options_)) results.force_uncertainties.resize(atoms);

  check_empty(systems, results);
  std::vector<Batch> large;
  const std::vector<Batch> batches = group(systems, large);
  for (const Batch& batch : large) together_->evaluate(task, batch);
  if (on_device()) {
    for (const Batch& batch : batches) together_->evaluate(task, batch);
    return results;
  }
  pool_.parallel_for(static_cast<int>(batches.size()), 1, [&](int begin, int end, int thread) {
    for (int number = begin; number < end; ++number) workers_[index_of(thread)]->evaluate(task, batches[index_of(number)]);
  });
  return results;
}

}  // namespace so3md
