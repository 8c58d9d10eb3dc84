// The heat flux of a model: atomic energies, and how they and their places change when atoms move (section 10 of docs/theory.md).
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "common/aligned.h"
#include "common/thread_pool.h"
#include "evaluation/engine.h"
#include "geometry/domain.h"
#include "halo/halo_exchange.h"
#include "heat_flux/kernels.h"
#include "network/edges.h"
#include "network/parameters.h"
#include "physics/zbl.h"

namespace so3md {

/// One forward evaluation in double precision, in which every quantity carries its rate and its moments (csrc/heat_flux/kernels.h). Nothing
/// is unfolded: images share the rows of their atoms, and what comes from a neighbour is moved to its centre along the edge.
///
/// The same steps as those of Engine in `double`, in plain order; radial filters are tabulated where EngineOptions say so for the engine.
class HeatFlux {
 public:
  /// Threads come from `pool`, which must live longer. Throws std::invalid_argument for a model of another architecture.
  HeatFlux(std::shared_ptr<const Model> model, const EngineOptions& options, ThreadPool& pool);

  /// `species`: by slot; `velocities`: [n_owned][3], A per unit of time. Collective over the processes of `halo`. Throws OverlappingAtoms
  /// where that is found, and FailedElsewhere in all other processes; std::invalid_argument for options that have no flux.
  void evaluate(const Domain& domain, const int* species, const SystemTotals& totals, const double* velocities, HaloExchange& halo);

  /// As far as raw_charge(), and with any options. Throws std::invalid_argument for a model without charges.
  void evaluate_charges(const Domain& domain, const int* species, const SystemTotals& totals, const double* velocities, HaloExchange& halo);

  /// Of the last evaluation, for owned atom i: its energy U_i in eV, with half of each pair, and the rate of that, eV per unit of time.
  double energy(int i) const { return row(i)[heat_flux::kValue]; }
  double rate(int i) const { return row(i)[heat_flux::kRate]; }

  /// The atom's share of the potential part of the heat flux: sum_j (r_i - r_j) dU_i/dr_j . v_j, eV A per unit of time.
  const double* moment(int i) const { return row(i) + heat_flux::kMoment; }

  /// After evaluate_charges(): of owned atom i the raw charge (eq. 27) in e, its rate, and its moments, [kParts].
  const double* raw_charge(int i) const { return charge_.data() + heat_flux::kParts * static_cast<std::size_t>(i); }

 private:
  using Rows5 = AlignedVector<double>;  // rows of kParts

  const double* row(int i) const { return energy_.data() + heat_flux::kParts * static_cast<std::size_t>(i); }
  Composition evaluate_network(const Domain& domain, const int* species, const SystemTotals& totals, const double* velocities,
                               HaloExchange& halo);
  void share_velocities(const double* velocities, HaloExchange& halo);
  std::exception_ptr build_edges();
  Composition count_species(const SystemTotals& totals, HaloExchange& halo, const std::exception_ptr& failure) const;
  void embed(const Composition& composition);
  void run_layers(HaloExchange& halo);
  void read_out();
  void conserve_charge(const Composition& composition, const Cell* cell, HaloExchange& halo);
  void fill_polarisabilities();
  void set_c6_factor(int i);
  void long_range(HaloExchange& halo);
  heat_flux::LayerStep step(std::size_t layer);
  using Kernel = void (*)(const heat_flux::LayerStep&, int, int, double*);
  void run(Kernel kernel, const heat_flux::LayerStep& step, int end);
  void exchange(HaloExchange& halo, Reach reach, std::initializer_list<Rows<double>> rows) const;

  std::shared_ptr<const Model> model_;
  EngineOptions options_;
  ThreadPool& pool_;
  Parameters<double> parameters_;
  const heat_flux::KernelTable& kernels_;
  HarmonicsTable<double> harmonics_;
  std::vector<double> free_c6_factors_;  // C6_0 / alpha0^2 of each species
  Cutoff cutoff_;
  Zbl zbl_;

  const Domain* domain_ = nullptr;
  const int* species_ = nullptr;
  Edges<double> edges_;
  std::vector<double> velocities_;                      // [slots][3]
  Rows5 x_, normalised_, projection_, chi_, chi_next_;  // by slot with features
  AlignedVector<double> embedded_;                      // [species] features after the embedding, if later layers need them
  Rows5 energy_, charge_, hirshfeld_, c6_;              // charge_ by slot
  Rows5 alpha_, c6_factor_;                             // by slot
  std::vector<AlignedVector<double>> scratch_;          // by thread
};

/// Velocities (in the unit of the host) are below this: with their cube, the flux is still a number.
inline constexpr double kLargestVelocity = 1e8;

/// Throws std::invalid_argument for velocities of n atoms that are not. `name` names an atom by its index.
void require_usable_velocities(int n, const double* velocities, const std::function<std::string(int)>& name);

}  // namespace so3md
