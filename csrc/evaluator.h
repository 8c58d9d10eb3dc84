// The engine for hosts that only have positions and a cell: one process, the engine's own neighbour list.
#pragma once

#include <array>
#include <memory>
#include <vector>

#include "engine.h"
#include "geometry/neighbour_list.h"

namespace so3md {

/// A whole system in the host's order. Lengths in A, charge in e.
struct System {
  int n = 0;
  const int* numbers = nullptr;       ///< atomic numbers
  const double* positions = nullptr;  ///< [n][3]
  const double* cell = nullptr;       ///< [3][3], lattice vectors as rows
  std::array<bool, 3> periodic{};
  SystemTotals totals;
};

class Evaluator {
 public:
  /// `threads` 0: all usable cores. `skin` in A. Throws std::invalid_argument for impossible options.
  Evaluator(std::shared_ptr<const Model> model, const EngineOptions& options, int threads, double skin);

  /// Results in the host's order; valid until the next call. Throws std::invalid_argument with a finished message for input that
  /// cannot be evaluated. One call at a time.
  const DomainResults& evaluate(const System& system, bool forces, std::vector<LayerFeatures>* features = nullptr);

  const Model& model() const { return *model_; }
  const Engine& engine() const { return *engine_; }
  const EngineOptions& options() const { return options_; }
  const NeighbourList& neighbours() const { return neighbours_; }
  int threads() const { return pool_.size(); }
  double neighbour_seconds() const { return neighbour_seconds_; }

 private:
  void check(const System& system) const;
  void set_species(const System& system);
  void to_host_order(const DomainResults& from);
  void features_to_host_order(std::vector<LayerFeatures>& features) const;

  std::shared_ptr<const Model> model_;
  EngineOptions options_;
  ThreadPool pool_;
  std::unique_ptr<Engine> engine_;
  NeighbourList neighbours_;
  SerialHalo halo_;
  std::vector<int> species_;
  DomainResults results_;
  double neighbour_seconds_ = 0.0;
};

}  // namespace so3md
