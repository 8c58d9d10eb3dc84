// The LAMMPS pair style so3krates.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "engine/committee.h"
#include "evaluation/engine.h"
#include "exclusions.h"
#include "geometry/cell.h"
#include "halo/planned_halo.h"
#include "heat_flux/heat_flux.h"
#include "kspace_potential.h"
#include "local_atoms.h"
#include "model/model.h"
#include "mpi_transport.h"
#include "pair.h"
#include "pair_settings.h"
#include "uncertainty_output.h"

namespace so3md {

/// What a run has cost on this process.
struct RunCost {
  long evaluations = 0;
  double seconds = 0.0;
  HaloTraffic of_sweeps;  // heat fluxes and currents, which are no part of the pair time
};

/// Thin: it hands the atoms of each process to the engine and the engine's results to LAMMPS. docs/lammps.md is its manual.
///
/// It asks for no neighbour list of LAMMPS's: ghosts within the cutoff are all it needs. Its own search then leaves no room for lists that
/// lack bonded pairs (special_bonds) or that are half of what is needed (newton).
class PairSo3krates final : public LAMMPS_NS::Pair {
 public:
  explicit PairSo3krates(LAMMPS_NS::LAMMPS* lammps);
  ~PairSo3krates() override;

  void settings(int count, char** words) override;
  void coeff(int count, char** words) override;
  void modify_params(int count, char** words) override;
  void init_style() override;
  double init_one(int i, int j) override;
  void compute(int eflag, int vflag) override;
  void finish() override;

  void* extract(const char* name, int& dimension) override;
  void* extract_peratom(const char* name, int& columns) override;
  bool gives(const std::string& quantity) const;  ///< of atoms, by extract_peratom
  double memory_usage() override;

  void write_restart(FILE* file) override;
  void read_restart(FILE* file) override;
  void write_restart_settings(FILE* file) override;
  void read_restart_settings(FILE* file) override;

  // For the computes so3krates/heat/flux and so3krates/polarization/current.
  std::string why_no_heat_flux() const;             ///< what stands in its way; empty if nothing does
  std::string why_no_polarization_current() const;  ///< likewise
  bool is_evaluated() const;                        ///< in this step
  /// Collective: stops if these are not the atoms, types and box of that evaluation, which `what` needs.
  void require_evaluated_atoms(const std::string& what) const;
  const HeatFlux& heat_flux();                 ///< collective; rows are those of owned_atoms(), at their velocities
  std::vector<double> polarization_current();  ///< collective; [owned_atoms()][3], e A per unit of time
  std::span<const int> owned_atoms() const { return atoms_->owned(); }
  double energy_shift(int index) const;  ///< of an atom, eV
  double energy_unit() const { return energy_unit_; }

  int pack_forward_comm(int count, int* indices, double* buffer, int pbc_flag, int* pbc) override;
  void unpack_forward_comm(int count, int first, double* buffer) override;

 private:
  // Of settings and coeff.
  int process_on_node();  ///< collective
  void open_models();
  void read_models();
  void make_engine();
  void prepare_uncertainty();
  void choose_long_range();
  void map_elements();

  // Of init_style.
  enum class Moment { start_of_run, in_a_run };
  void check_host();
  void check_given_cutoff() const;
  void require_cutoff() const;
  void check_ghosts() const;
  void check_kspace() const;
  int number_of_pair(int i, int j) const;
  void check_pairs();
  void look_at_exclusions();  ///< collective, also whenever lists are made
  void check_computes();
  void check_electrons(Moment moment);  ///< collective, also whenever lists are made
  void check_monte_carlo(double protons) const;
  void warn_of_charged_cell() const;
  void warn_of_field() const;
  void warn_of_settings() const;
  void warn_of_threads() const;
  void warn_of_masses();
  void forget_charges();
  bool charges_were_changed() const;
  bool writes_charges() const;
  bool is_seen(int index) const;  ///< whether an atom is one of the model's
  void describe() const;
  std::string long_range_text() const;
  std::string coulomb_word() const;
  std::string field_text() const;

  // Of compute.
  bool lists_are_old() const;
  void build_lists();
  void discharge_invisible();
  void require_finite_positions() const;
  Cell cell() const;
  const DomainResults& evaluate();
  const DomainResults& evaluate_lists(const Request& request);
  const DomainResults& evaluate_points(const Cell& box, const Request& request);
  const double* unwrapped_positions();
  void add_forces(const DomainResults& results);
  void add_energies(const DomainResults& results);
  void add_virials(const DomainResults& results);
  void publish(const DomainResults& results);
  void publish_uncertainty(const DomainResults& results);
  void set_by_index(const std::vector<double>& rows, std::vector<double>& values) const;
  void warn_of_changed_charges();
  void forward_charges();

  template <class Run>
  void sweep(const Run& run);

  [[noreturn]] void stop(const std::string& message) const;  ///< collective
  [[noreturn]] void stop_alone(const std::exception& error_found) const;
  void warn(const std::string& message) const;  ///< from process 0
  std::string name_of_atom(int index) const;
  double cutoff() const;             ///< the longest, A
  double cutoff_of_network() const;  ///< of several models the longest, A
  bool periodic() const;
  std::vector<std::string> words_for_restart() const;
  bool in_hybrid() const;

  PairSettings settings_;
  int processes_of_node_ = 1;
  std::vector<std::string> settings_words_, element_words_;
  double energy_unit_ = 1.0;  // 1 eV in LAMMPS's unit
  std::vector<int> species_of_type_;

  std::vector<std::shared_ptr<const Model>> models_;
  std::shared_ptr<const Model> model_;  // the first; the others predict the same
  std::unique_ptr<ThreadPool> pool_;
  std::unique_ptr<Engine> engine_;
  const Committee* committee_ = nullptr;  // it, of several models
  std::unique_ptr<UncertaintyOutput> uncertainty_output_;
  EngineOptions engine_options_;  // with which it was made
  std::unique_ptr<MpiTransport> transport_;
  std::unique_ptr<PlannedHalo> halo_;
  std::unique_ptr<KspacePotential> kspace_;  // with coulomb kspace
  std::unique_ptr<LocalAtoms> atoms_;
  std::unique_ptr<HeatFlux> heat_flux_;  // made when it is asked for

  bool described_ = false;
  bool from_restart_file_ = false;
  std::string electron_warning_, compute_warning_, exclusion_warning_;
  std::vector<std::string> told_of_masses_;  // by type
  int invisible_ = 0;                        // bits of groups whose atoms the model does not see
  double protons_ = -1.0, seen_ = 0.0;       // sum of the atomic numbers of the atoms that it sees, and their number, when last counted
  std::vector<bool> given_pairs_;            // of types, for which LAMMPS asked this style
  bool pairs_are_checked_ = false;
  bool told_of_change_ = false;     // of these
  bool fixes_mind_groups_ = false;  // and must not get atoms of the model into them
  bool charges_move_ = false, told_of_charges_ = false, told_of_fep_ = false;
  LAMMPS_NS::bigint built_calls_ = -1, built_step_ = -1;  // of LAMMPS's neighbour lists at the last build of ours
  LAMMPS_NS::bigint evaluated_step_ = -1;
  std::optional<Cell> evaluated_box_;
  std::int64_t builds_ = 0;
  enum class Exchange { owners, charges } exchange_ = Exchange::owners;

  double cut_coulomb_ = 0.0;                                        // for the kspace style
  std::vector<double> charges_, hirshfeld_ratios_, uncertainties_;  // by index
  std::vector<double> unwrapped_;                                   // positions of owned atoms, in a field
  std::vector<double> components_;                                  // what pvector points to
  RunCost cost_;
};

}  // namespace so3md
