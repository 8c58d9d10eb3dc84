// The engine for hosts that only have positions and a cell, on one process or several that all know the whole system.
#pragma once

#include <array>
#include <memory>
#include <span>
#include <stdexcept>
#include <string>
#include <vector>

#include "common/stopwatch.h"
#include "engine/system.h"
#include "evaluation/engine.h"
#include "geometry/neighbour_list.h"
#include "halo/planned_halo.h"
#include "heat_flux/heat_flux.h"

namespace so3md {

/// Throws std::invalid_argument with a finished message for a system that the model cannot evaluate, whatever its positions. `cell`: that
/// of the system.
void check_system(const Model& model, const EngineOptions& options, const System& system, const Cell& cell);

/// Empty, or the finished message for results of a system (energy, and its derivatives by strain, [9]) that are no numbers.
std::string no_numbers(const EnergyComponents& energy, const double* virial);

/// The finished message for atoms of a system; `points`: their numbers in it, by slot.
std::invalid_argument overlap_error(const OverlappingAtoms& overlap, const std::vector<int>& points);

/// What the atoms() of one process bring to the heat flux, in their order.
struct HeatFluxShares {
  std::vector<double> energies;  ///< [n], eV
  std::vector<double> rates;     ///< [n] of the energies, eV per unit of time
  std::vector<double> moments;   ///< [n][3], eV A per unit of time; their sum is the potential part of the flux
};

class Evaluator {
 public:
  /// `threads` 0: all usable cores. `skin` in A. `transport`: between the processes that share the work; null: this process is alone.
  /// Throws std::invalid_argument for impossible options; see check_threads() in common/resources.h.
  Evaluator(std::shared_ptr<const Model> model, const EngineOptions& options, int threads, double skin,
            std::unique_ptr<Transport> transport = nullptr);

  /// Results of the atoms(); energies are sums over them. Valid until the next call. Throws std::invalid_argument with a finished message
  /// for input that cannot be evaluated, the same in all processes; std::runtime_error for what only this process cannot do, while others
  /// wait for it. One call at a time; collective over the processes, which must all give the same system. Without `atomic_virials` their
  /// sum is right, as Request says. Forces of the system whose energy was asked for last take the adjoint alone where the engine has kept
  /// what it needs; results have the same bits either way.
  const DomainResults& evaluate(const System& system, bool forces, bool atomic_virials = true,
                                std::vector<LayerFeatures>* features = nullptr);

  /// Heat flux at `velocities` ([n][3], A per unit of time), evaluated on the CPU whatever the device. As evaluate() for all else.
  HeatFluxShares heat_flux(const System& system, const double* velocities);

  /// What the atoms() bring to the current of polarization at `velocities`, [n][3], e A per unit of time. As heat_flux() for all else.
  std::vector<double> polarization_current(const System& system, const double* velocities);

  /// The host's numbers of the atoms that this process evaluated, by row of the results: all in the host's order for a process alone,
  /// else this process's part in an order of its own.
  const std::vector<int>& atoms() const { return atoms_; }

  const Model& model() const { return *model_; }
  const Engine& engine() const { return *engine_; }
  const EngineOptions& options() const { return options_; }
  DomainCounts domain_counts() const;  ///< of the last evaluation, on this process
  /// Of the last evaluation; null for a process alone.
  const PlannedHalo* halo() const { return (engine_lists_ ? points_halo_ : planned_halo_).get(); }
  int threads() const { return pool_.size(); }
  double neighbour_seconds() const;
  std::int64_t neighbour_rebuilds() const { return neighbours_.rebuilds() + engine_->list_rebuilds(); }

 private:
  void evaluate_lists(const System& system, Request request);
  const DomainResults& evaluate_points(const System& system, const Request& request);
  template <class Run>
  void sweep(const System& system, const double* velocities, const Run& run);
  std::span<const AtomOwner> assign_owners(const System& system, const Cell& cell);
  void list_own_atoms();
  void update_lists(const System& system, const Cell& cell);
  void update_shared_lists(const System& system, const Cell& cell);
  void set_species(const System& system);
  Domain domain(const System& system);
  ExternalPotential own_external(const ExternalPotential& external);
  void to_host_order(const DomainResults& from);
  void features_to_host_order(std::vector<LayerFeatures>& features) const;
  bool alone() const { return transport_ == nullptr; }
  HaloExchange& halo_exchange() { return alone() ? static_cast<HaloExchange&>(serial_halo_) : *planned_halo_; }

  std::shared_ptr<const Model> model_;
  EngineOptions options_;
  ThreadPool pool_;
  std::unique_ptr<Engine> engine_;
  std::unique_ptr<HeatFlux> heat_flux_;  // made when it is asked for
  NeighbourList neighbours_;
  std::unique_ptr<Transport> transport_;
  std::unique_ptr<PlannedHalo> planned_halo_, points_halo_;  // with a transport: for the lists of the host and of the engine
  SerialHalo serial_halo_;
  std::vector<int> species_;
  std::vector<double> unwrapped_;                              // positions of the own atoms, for a field
  std::vector<double> external_potentials_, external_fields_;  // at the own atoms
  std::vector<int> atoms_;
  std::vector<AtomOwner> owners_;  // of the lists of the engine
  bool engine_lists_ = false;      // the last evaluation was with them
  SystemCopy without_forces_;      // the last system, if it was evaluated without forces
  DomainResults results_;
  Stopwatch watch_;
  double skin_;
};

}  // namespace so3md
