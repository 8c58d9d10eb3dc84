// Many independent systems, most of them small: several share a domain, so that weights are fetched for all of them at once, and every
// thread works on domains of its own. Nothing is padded, and threads wait for one another only at the end.
#pragma once

#include <memory>
#include <span>
#include <string>
#include <vector>

#include "engine/evaluator.h"
#include "evaluation/engine.h"

namespace so3md {

/// Results of systems 0, 1, ...; rows of atoms in the host's order, those of one system after those of the other.
struct BatchResults {
  std::vector<std::string> errors;          ///< [systems] why a system could not be evaluated: its numbers mean nothing then; empty: it was
  std::vector<EnergyComponents> energy;     ///< [systems]
  std::vector<double> virials;              ///< [systems][9] dE/dstrain, eV
  std::vector<double> atom_virials;         ///< [atoms][9] that sum up to it, eV; empty unless asked for
  std::vector<double> energies;             ///< [atoms], eV
  std::vector<double> forces;               ///< [atoms][3], eV/A
  std::vector<double> charges;              ///< [atoms], e; empty without a charge head
  std::vector<double> hirshfeld_ratios;     ///< [atoms]; empty without that head
  std::vector<double> c6_ratios;            ///< [atoms]; likewise
  std::vector<double> force_uncertainties;  ///< [atoms], eV/A; empty unless predicts_uncertainty()
};

class BatchEvaluator {
 public:
  /// `threads` 0: all usable cores. Throws std::invalid_argument for impossible options.
  BatchEvaluator(std::shared_ptr<const Model> model, const EngineOptions& options, int threads);
  ~BatchEvaluator();

  /// Systems are put together in the order in which they come, whatever the number of threads: so are the bits of the results. Without
  /// `forces`, forces and virials stay zero. One call at a time.
  BatchResults evaluate(std::span<const System> systems, bool forces, bool atom_virials = false);

  const Model& model() const { return *model_; }
  int threads() const { return pool_.size(); }
  std::string table_warning() const;  ///< as Engine::table_warning()

 private:
  class Worker;
  struct Task;
  using Batch = std::vector<int>;  // numbers of systems

  // One device evaluates one batch after the other, large ones.
  bool on_device() const { return options_.device.kind != DeviceKind::cpu; }
  std::vector<Batch> group(std::span<const System> systems, std::vector<Batch>& large) const;
  void check_empty(std::span<const System> systems, BatchResults& results) const;

  std::shared_ptr<const Model> model_;
  EngineOptions options_;
  ThreadPool pool_;
  std::unique_ptr<Worker> together_;              // all threads on one system
  std::vector<std::unique_ptr<Worker>> workers_;  // one thread each
};

}  // namespace so3md
