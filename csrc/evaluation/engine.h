// One evaluation of a model on a domain, whatever it is computed on.
#pragma once

#include <cstddef>
#include <cstdint>
#include <exception>
#include <functional>
#include <limits>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <stdexcept>
#include <string>
#include <vector>

#include "common/errors.h"
#include "common/stopwatch.h"
#include "common/thread_pool.h"
#include "evaluation/device.h"
#include "geometry/domain.h"
#include "halo/halo_exchange.h"
#include "model/model.h"
#include "network/any_network.h"
#include "physics/electric_field.h"
#include "physics/ewald_plan.h"
#include "physics/external_potential.h"

namespace so3md {

enum class Precision {
  mixed,   ///< weights, features and edge arithmetic in float; geometry and all sums of energy, force and virial in double; tabulated
           ///< filters
  double_  ///< everything in double, with the exact filter networks
};

/// How the partial charges of a model interact.
enum class Coulomb {
  cutoff,  ///< in pairs, up to the long-range cutoff
  ewald    ///< with all periodic images, without a cutoff
};

struct EngineOptions {
  Device device;
  bool device_messages = false;  ///< whether the transport takes memory of the device, as MPI libraries that know GPUs do
  Precision precision = Precision::mixed;
  double long_range_cutoff = 12.0;  ///< R of electrostatics and dispersion, A; infinity: none
  Coulomb coulomb = Coulomb::cutoff;
  std::optional<double> ewald_accuracy;  ///< of forces, eV/A, see physics/wave_vectors.h; if not given, beyond that of the precision
  EwaldMethod ewald_method = EwaldMethod::automatic;
  double dispersion_damping = 2.0;   ///< the dispersion is switched off between R - damping and R, A; unused without cutoff
  bool dispersion_tail = false;      ///< count the dispersion beyond R too, as physics/dispersion_tail.h does
  ElectricField electric_field;      ///< in which the charges are; needs unwrapped positions
  std::optional<bool> tabulate;      ///< radial filters from splines; if not given, in `mixed` where they are good enough
  std::optional<bool> keep_filters;  ///< for the adjoint, if they come from splines; if not given, where that takes little memory
  bool skip_nonlocal = true;         ///< leave out pairs that bounds in the space of chi show to have no weight; results are the same

  RadialTables radial_tables() const {
    if (tabulate) return *tabulate ? RadialTables::always : RadialTables::none;
    return precision == Precision::mixed ? RadialTables::if_acceptable : RadialTables::none;
  }

  double force_accuracy() const { return ewald_accuracy.value_or(precision == Precision::mixed ? 1e-7 : 1e-11); }
};

/// What the host knows about the whole system, over all processes.
struct SystemTotals {
  double charge = 0.0;  ///< e
  double spin = 0.0;    ///< total spin S, half the number of unpaired electrons
  const Cell* cell =
      nullptr;  ///< needed by attention in the space of chi, Ewald sums and the dispersion's tail; null: no direction is periodic
};

/// Several independent systems in one domain: the owned atoms of one after those of the other, and no pair of two systems in any list.
/// Domain::long_offsets must be given where the model has long-range terms, also without a cutoff. The totals of the call are those of each
/// system. Where they are not zero, all systems must have the same composition, on which the features before the first layer depend then.
/// For a process alone.
struct SystemRanges {
  int count = 0;
  const int* first = nullptr;          ///< [count + 1] the owned atoms of system s are first[s] .. first[s + 1] - 1, at least one
  const Cell* const* cells = nullptr;  ///< [count] in place of SystemTotals::cell
};

struct AtomOwner;
class PlannedHalo;

/// Processes that share points: each evaluates the atoms that it owns.
struct PointSharing {
  int process = 0;
  /// [n] whose atom a point shows, as LocalDomain::build takes them. Called when lists are about to be built, in all processes; valid until
  /// the next call.
  std::function<std::span<const AtomOwner>()> owners;
  PlannedHalo* halo = nullptr;  ///< the engine plans it for new lists
};

/// Points in space and a cell, as LocalDomain takes them, for engines that make the neighbour lists themselves.
struct PointSystem {
  int n = 0;
  const double* positions = nullptr;  ///< [n][3], A
  const int* species = nullptr;       ///< [n] positions in Model::elements
  const Cell* cell = nullptr;
  double skin = 0.0;  ///< of the lists, A
  /// [owned points][3], A: those along their paths, in the order of the results. Null: `positions` are that.
  const double* unwrapped = nullptr;
  std::int64_t points = 0;    ///< where this number changes, point k may be another atom than before, and lists are built
  bool host_decides = false;  ///< lists are built then only; else also where a pair may have come within a cutoff
  /// Null: every point is an atom of this process, which is alone. Processes whose points are not those of all must decide themselves.
  const PointSharing* sharing = nullptr;
};

/// Electrostatics that the host computes, in place of the engine's sum over pairs (LAMMPS: Ewald summation).
class ChargePotential {
 public:
  virtual ~ChargePotential() = default;

  /// Collective. From the charges of the owned atoms ([n_owned], e) dE/dq ([n_owned], eV/e). The host keeps the energy itself, the forces
  /// at fixed charges and their virial; the engine adds the forces by way of the charges.
  virtual void evaluate(const double* charges, double* potentials) = 0;
};

/// What is asked of one evaluation.
struct Request {
  SystemTotals totals;                             ///< of the system, or of each
  bool forces = true;                              ///< without, forces and virials stay zero
  std::vector<LayerFeatures>* features = nullptr;  ///< filled with the features of every layer; not with evaluate_points()
  ChargePotential* coulomb = nullptr;              ///< takes the place of the engine's sum over charges
  const SystemRanges* systems = nullptr;           ///< of several in the domain; null: it is one; not with evaluate_points()
  ExternalPotential external{};                    ///< at the owned atoms, in the order of the domain; on CPUs
  bool atomic_virials = true;  ///< without, only the sum of virials has a meaning, which a particle mesh gives in less time
};

/// Which long-range terms an evaluation has.
struct LongRangeTerms {
  bool charges = false;              ///< the model predicts them
  bool host_electrostatics = false;  ///< as ChargePotential
  bool ewald = false;                ///< with all periodic images
  bool pair_electrostatics = false;
  bool dispersion = false;
  bool dispersion_tail = false;  ///< what lies beyond the cutoff
  bool electric_field = false;
  bool external_potential = false;  ///< which the host knows at the atoms
  bool own_electrostatics() const { return ewald || pair_electrostatics; }
  bool electrostatics() const { return host_electrostatics || own_electrostatics(); }
  bool act_on_charges() const { return electrostatics() || electric_field || external_potential; }
  bool pairs() const { return pair_electrostatics || dispersion; }
};

/// Sums over the owned atoms, eV. The parts of the network are without the atomic shifts.
struct EnergyComponents {
  double network = 0.0, shifts = 0.0, zbl = 0.0, electrostatics = 0.0, dispersion = 0.0;
  double total() const { return network + zbl + electrostatics + dispersion + shifts; }
};

/// Results for the owned atoms of a domain, in its order.
struct DomainResults {
  EnergyComponents energy;
  std::vector<EnergyComponents> system_energies;  ///< of each system in the domain; a single one has the sums of this process
  std::vector<double> energies;                   ///< [n_owned] atomic energies with half of each pair, eV
  std::vector<double> forces;                     ///< [n_owned][3], eV/A
  std::vector<double> virials;                    ///< [n_owned][9] half of each pair's d (x) dE/dd, eV; their sum is dE/dstrain
  std::vector<double> charges;                    ///< [n_owned], e; empty without a charge head
  std::vector<double> hirshfeld_ratios;           ///< [n_owned]; empty without that head
  std::vector<double> c6_ratios;                  ///< [n_owned]; likewise
  std::vector<double> force_uncertainties;  ///< [n_owned] error of the force to be expected, eV/A; empty unless predicts_uncertainty()
};

/// Sizes of a domain (csrc/geometry/domain.h).
struct DomainCounts {
  int n_owned = 0, n_interior = 0, n_near = 0, n_far = 0;
};

/// How an engine works, and what it did so far.
struct EngineReport {
  std::string instruction_set;            ///< of the kernels; of a device, its name
  bool tabulated = false;                 ///< radial filters come from tables
  TableError table_error;                 ///< also of tables that were not good enough, so that networks are used
  std::map<std::string, double> seconds;  ///< by stage, of all evaluations
  DeviceMemory device_memory;
  DeviceWork device_work;        ///< of the last evaluation
  NonlocalPairs nonlocal_pairs;  ///< of the last evaluation, on this process
};

class Engine {
 public:
  virtual ~Engine() = default;

  /// An engine for another thread that shares weights and tables with this one, and nothing that an evaluation writes.
  virtual std::unique_ptr<Engine> create_sibling(ThreadPool& pool) const = 0;

  /// `species`: by slot, positions in Model::elements. Collective over the processes of `halo`, also those that own no atom. Throws
  /// OverlappingAtoms where that is found, and FailedElsewhere in all other processes.
  virtual const DomainResults& evaluate(const Domain& domain, const int* species, HaloExchange& halo, const Request& request) = 0;

  /// The forces and virials that the last evaluate() was asked to leave out, with what it has kept: the adjoint alone. All results have the
  /// bits of an evaluation with forces. Domain, species, halo and system must be the same. Null: nothing was kept, and all is to be
  /// evaluated. Collective; which of both it is, is the same in all processes.
  virtual const DomainResults* evaluate_forces(const Domain&, const int*, HaloExchange&, const SystemTotals&) { return nullptr; }

  /// Whether evaluate_points() is there: the engine then makes lists where its atoms are, which is quicker than bringing them there.
  virtual bool makes_lists() const { return false; }

  /// As evaluate(), of the owned points in their order; numbers in OverlappingAtoms are those of points. Rows of Request::coulomb are those
  /// of the results.
  virtual const DomainResults& evaluate_points(const PointSystem& system, const Request& request);

  virtual std::int64_t list_rebuilds() const { return 0; }   ///< by evaluate_points()
  virtual DomainCounts domain_counts() const { return {}; }  ///< of the last evaluate_points()

  virtual EngineReport report() const = 0;
  std::string table_warning() const;  ///< in one line, that radial tables were not good enough; else empty
};

/// Which atoms each system of a domain owns, as SystemRanges::first; one has all `n_owned`.
std::vector<int> first_atoms(int n_owned, const SystemRanges* systems);

/// The first sum over all processes, which also tells whether one of them failed, so that all stop together. `composition.counts`: those of
/// the owned atoms ([elements]) become those of all, of one system. Returns the number of atoms of each system on all processes; `first` as
/// first_atoms() gives it. Throws `failure`, what went wrong on this process, or FailedElsewhere.
std::vector<double> begin_together(Composition& composition, const SystemTotals& totals, const std::vector<int>& first, HaloExchange& halo,
                                   const std::exception_ptr& failure);

/// `host_electrostatics`: the host computes them (Request::coulomb).
LongRangeTerms long_range_terms(const Model& model, const EngineOptions& options, bool host_electrostatics);

/// Long-range cutoff that the model's physics needs with these options: 0 if it has no such term.
double long_range_cutoff(const Model& model, const EngineOptions& options);

/// Attention in the space of chi sees one image of every atom, the nearest. Throws std::invalid_argument with a finished message where the
/// cell is so small that others are within the short cutoff.
void check_nonlocal_cell(const Model& model, const Cell& cell);

/// Whether results have force_uncertainties: the model file has what they are made of, and the device does it.
bool predicts_uncertainty(const Model& model, const EngineOptions& options);

/// Whether the charges of the model interact with all periodic images.
bool uses_ewald(const Model& model, const EngineOptions& options);

/// How they do; for a device, which has no mesh, by a sum over waves.
EwaldSettings ewald_settings(const Model& model, const EngineOptions& options);

/// Throws std::invalid_argument with a finished message for a system whose electrostatics the options do not allow.
void check_electrostatics(const Model& model, const EngineOptions& options, const Cell& cell, double num_atoms);

/// Throws std::invalid_argument with a finished message for a cell in which there is no dispersion beyond the cutoff, if that is to count.
void check_dispersion_tail(const EngineOptions& options, const Cell& cell);

/// Where the Ewald sum takes longer than all else of a step, in one line that says so; else empty.
std::string ewald_warning(const Model& model, const EngineOptions& options, const Cell& cell, double num_atoms);

/// Throws std::invalid_argument for lengths that make no sense, and for what a device does not have, with a finished message.
void check_options(const EngineOptions& options);

/// From the name that users give. Throws std::invalid_argument.
Coulomb parse_coulomb(const std::string& name);
EwaldMethod parse_ewald_method(const std::string& name);

}  // namespace so3md
