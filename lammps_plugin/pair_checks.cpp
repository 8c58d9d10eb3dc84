// What is looked at before a run, and again where fixes may have changed it: the host's features, exclusions, electrons, masses.
#include <mpi.h>
#include <sched.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cmath>

#include "atom.h"
#include "atomic_masses.h"
#include "comm.h"
#include "common/number_text.h"
#include "compute.h"
#include "domain.h"
#include "elements.h"
#include "evaluation/charge_and_spin.h"
#include "force.h"
#include "group.h"
#include "host_features.h"
#include "modify.h"
#include "neighbor.h"
#include "pair_so3krates.h"

namespace so3md {

namespace {

// Ghosts of one process, some hundred bytes each, that nobody wants.
constexpr double kMostGhosts = 2e7;

}  // namespace

void PairSo3krates::check_host() {
  fixes_mind_groups_ = false;
  if (domain->dimension != 3) stop("it needs three dimensions: remove the command dimension 2");
  check_wrappers(lmp, *this);
  require_cutoff();
  if (periodic()) {
    cell();  // a box of absurd length crashes LAMMPS before it is evaluated
    check_ghosts();
  } else if (settings_.engine.coulomb == Coulomb::ewald || settings_.engine.dispersion_tail) {
    cell();
  }
  check_kspace();
  if (!writes_charges()) return;
  if (!kspace_ && force->kspace != nullptr)
    stop("the kspace style would act on the charges that the model predicts as if they were constants: remove kspace_style");
  check_charges_of_pairs(lmp, species_of_type_);
  fixes_mind_groups_ = check_charges_of_fixes(lmp, species_of_type_);
}

// As in Python, so3md.long_range: the long-range terms would lose what the model was trained with.
void PairSo3krates::check_given_cutoff() const {
  const double network = cutoff_of_network();
  if (!settings_.lr_cutoff || !model_->hyper.has_long_range() || *settings_.lr_cutoff >= network) return;
  stop("lr_cutoff " + number_text(*settings_.lr_cutoff) + " A is shorter than the cutoff of the network, " + number_text(network) +
       " A: give at least that, or leave it out for what the model was made with");
}

void PairSo3krates::require_cutoff() const {
  if (!periodic() || !std::isinf(cutoff())) return;
  if (settings_.lr_cutoff)
    stop(
        "lr_cutoff none, given on the pair_style line or kept by a restart file, needs a box without periodic directions, such as boundary "
        "s s s; for this one give pair_style again with a length, or without lr_cutoff");
  stop("the model " + settings_.models_text() +
       " was made without a long-range cutoff, for systems without periodic directions, and this box has some: give lr_cutoff in Angstrom "
       "(12 is that of SO3LR)");
}

// LAMMPS would copy the images of the atoms for hours before it ran out of memory.
void PairSo3krates::check_ghosts() const {
  const double reach = std::max(cutoff() + neighbor->skin, comm->cutghostuser);
  const std::array<double, 3> lengths{domain->xprd, domain->yprd, domain->zprd};
  const std::array<bool, 3> periodic{domain->xperiodic != 0, domain->yperiodic != 0, domain->zperiodic != 0};
  double copies = 1.0;
  for (std::size_t k = 0; k < 3; ++k) {
    const double own = lengths[k] / std::max(1, comm->procgrid[k]);
    copies *= 1.0 + (periodic[k] ? 2.0 * reach : std::min(2.0 * reach, lengths[k] - own)) / own;
  }
  const double atoms_each = static_cast<double>(atom->natoms) / comm->nprocs, ghosts = atoms_each * (copies - 1.0);
  if (ghosts <= kMostGhosts) return;
  stop("with a cutoff of " + number_text(cutoff()) + " A and a skin of " + number_text(neighbor->skin) + " A, each process would hold " +
       number_text(ghosts) + " images of atoms, and " + number_text(kMostGhosts) +
       " are the limit: give a shorter lr_cutoff, or coulomb ewald for the sum over all images of charges; check that the box is in "
       "Angstrom");
}

int PairSo3krates::number_of_pair(int i, int j) const { return i * (atom->ntypes + 1) + j; }

// A hybrid style may have given pairs of types of the model to another style, or to none: the model sees them all the same.
void PairSo3krates::check_pairs() {
  if (pairs_are_checked_) return;
  for (int i = 1; i <= atom->ntypes; ++i)
    for (int j = i; j <= atom->ntypes; ++j) {
      const bool both = species_of_type_[static_cast<std::size_t>(i)] >= 0 && species_of_type_[static_cast<std::size_t>(j)] >= 0;
      if (!both || given_pairs_[static_cast<std::size_t>(number_of_pair(i, j))]) continue;
      const std::string types = std::to_string(i) + " " + std::to_string(j);
      stop("pair_coeff " + types +
           " takes these atom types from it, and the network sees all pairs of types that have an element: use "
           "hybrid/overlay to add another style for them, or NULL for types that the model is not to see");
    }
  pairs_are_checked_ = true;
}

// Charges of the model stand where other parts of LAMMPS look for them.
bool PairSo3krates::writes_charges() const { return atom->q_flag && model_->hyper.charge_head; }

// Its own lists hold all pairs of atoms that it sees, whatever these commands say, and so the energy does.
void PairSo3krates::look_at_exclusions() {
  const Exclusions found = find_exclusions(lmp, species_of_type_);
  if (!found.of_pairs.empty()) {
    const std::string message = found.of_pairs +
                                " leaves out pairs of atoms, and the network sees all pairs within its cutoff: remove that command. Atoms "
                                "that must not move: fix setforce 0 0 0; atoms that the model is not to see: neigh_modify exclude group "
                                "NAME all";
    if (!in_hybrid()) stop(message);
    if (message != exclusion_warning_) warn(message);
    exclusion_warning_ = message;
  }
  if (found.invisible == invisible_) return;
  invisible_ = found.invisible;
  std::string names;
  for (int g = 0; g < LAMMPS_NS::Group::MAX_GROUP; ++g) {
    const char* name = group->names[g];
    if (name == nullptr || !(group->bitmask[g] & invisible_) || std::string(name).starts_with("Fix")) continue;
    names += std::string(names.empty() ? "" : " ") + name;
  }
  if (!names.empty()) warn("the model does not see the atoms of the group(s) " + names + ", which neigh_modify excludes from all");
}

bool PairSo3krates::is_seen(int index) const {
  return species_of_type_[static_cast<std::size_t>(atom->type[index])] >= 0 && !(atom->mask[index] & invisible_);
}

// Atoms may have come, gone or changed: the total charge and spin stay those of the pair_style line. Collective.
void PairSo3krates::check_electrons(Moment moment) {
  double sums[2] = {0.0, 0.0};  // of the atomic numbers, and of the atoms
  for (int i = 0; i < atom->nlocal; ++i) {
    if (!is_seen(i)) continue;
    sums[0] += model_->elements[static_cast<std::size_t>(species_of_type_[static_cast<std::size_t>(atom->type[i])])];
    sums[1] += 1.0;
  }
  MPI_Allreduce(MPI_IN_PLACE, sums, 2, MPI_DOUBLE, MPI_SUM, world);
  const bool first = protons_ < 0.0, changed = sums[0] != protons_ || sums[1] != seen_;
  if (moment == Moment::in_a_run && !first) check_monte_carlo(std::abs(sums[0] - protons_));
  protons_ = sums[0];
  seen_ = sums[1];
  if (moment == Moment::in_a_run && !changed) return;
  const ChargeAndSpinCheck check = check_charge_and_spin(protons_, settings_.totals);
  if (check.impossible) stop(check.message);
  // A student without either, beside a model that has both, would warn of what makes no difference to it.
  const Hyperparameters& hyper = model_->hyper;
  if (!hyper.spin_embedding && !hyper.charge_embedding && !hyper.charge_head) return;
  const bool is_news = moment == Moment::start_of_run ? check.message != electron_warning_ : electron_warning_.empty();
  if (is_news && !check.message.empty()) warn(check.message);
  if (moment == Moment::start_of_run || is_news) electron_warning_ = check.message;
  if (first || !changed || told_of_change_ || (settings_.totals.charge == 0.0 && settings_.totals.spin == 0.0)) return;
  told_of_change_ = true;
  warn("atoms came, went or changed: charge " + number_text(settings_.totals.charge) + " and spin " + number_text(settings_.totals.spin) +
       " are those of all atoms that are left; give pair_style again if they are to be others");
}

// Neutral molecules without unpaired electrons have an even number of protons; with others, the total charge, or spin, changes. `protons`:
// those that came or went. Collective.
void PairSo3krates::check_monte_carlo(double protons) const {
  if (std::fmod(protons, 2.0) == 0.0) return;
  for (const char* style : {"gcmc", "widom"})
    if (!modify->get_fix_by_style(std::string("^") + style + "$").empty())
      stop("fix " + std::string(style) + " inserts or deletes particles with an odd number of protons (" + number_text(protons) +
           "), ions or radicals: the charge and spin of the pair_style line are those of all atoms and would not change with them, so that "
           "energies would be those of other particles. Insert and delete neutral molecules with an even number of electrons, or a pair of "
           "ions as one molecule");
}

void PairSo3krates::warn_of_charged_cell() const {
  if (settings_.totals.charge == 0.0 || !periodic()) return;
  warn("a periodic system has a total charge of " + number_text(settings_.totals.charge) +
       " e: its energy depends on the size of the box and on the treatment of long-range electrostatics; add counter-ions if it need not "
       "have a charge");
}

void PairSo3krates::warn_of_field() const {
  if (settings_.engine.electric_field.is_zero() || !periodic()) return;
  warn(
      "electric_field in a box with periodic directions: where molecules touch others by their images, forces by the field are wrong by as "
      "much as they are large, as charge that flows there counts over the distance of the unwrapped positions; keep molecules whole, with "
      "vacuum along the field");
}

// What has no effect on this model.
void PairSo3krates::warn_of_settings() const {
  const Hyperparameters& hyper = model_->hyper;
  const auto ignored = [&](const char* keyword, double value, const std::string& but) {
    warn(std::string(keyword) + " " + number_text(value) + ": the network of the model " + settings_.models_text() + " was made without " +
         keyword + " and gives the same energy for any" + but);
  };
  if (settings_.totals.charge != 0.0 && !hyper.charge_embedding)
    ignored("charge", settings_.totals.charge, hyper.charge_head ? "; only the charges that it predicts are made to add up to it" : "");
  if (settings_.totals.spin != 0.0 && !hyper.spin_embedding) ignored("spin", settings_.totals.spin, "");
  if (!kspace_ && hyper.electrostatics && force->dielectric != 1.0)
    warn("the dielectric constant has no effect on the electrostatics of the model");
  warn_of_threads();
}

void PairSo3krates::warn_of_threads() const {
  const int threads = settings_.threads;
  if (threads == 1) return;
  cpu_set_t set;
  if (sched_getaffinity(0, sizeof(set), &set) == 0 && threads > CPU_COUNT(&set))
    warn("each process has " + std::to_string(threads) + " threads and may use " + std::to_string(CPU_COUNT(&set)) +
         " core(s): fewer threads are faster");
  else if (const long cores = sysconf(_SC_NPROCESSORS_ONLN); cores > 0 && static_cast<long>(threads) * processes_of_node_ > cores)
    warn(std::to_string(processes_of_node_) + " processes of " + std::to_string(threads) + " threads on a machine of " +
         std::to_string(cores) + " cores: fewer threads are faster");
}

// Masses may be given anew between two runs; what has been said of a type is not said again.
void PairSo3krates::warn_of_masses() {
  if (atom->mass == nullptr) return;
  told_of_masses_.resize(static_cast<std::size_t>(atom->ntypes) + 1);
  for (int type = 1; type <= atom->ntypes; ++type) {
    const int species = species_of_type_[static_cast<std::size_t>(type)];
    if (species < 0 || !atom->mass_setflag[type]) continue;
    const MassCheck check = check_mass(model_->elements[static_cast<std::size_t>(species)], atom->mass[type]);
    std::string& told = told_of_masses_[static_cast<std::size_t>(type)];
    if (check.message == told) continue;
    told = check.message;
    if (told.empty()) continue;
    const std::string message = "atom type " + std::to_string(type) + ": " + check.message;
    if (check.wrong)
      warn(message);
    else if (comm->me == 0)
      LAMMPS_NS::utils::logmesg(lmp, "so3krates: " + message + "\n");
  }
}

// Fixes that swap atoms ask at the start of a run whether all atoms of a type have one charge, which those of the model have not.
void PairSo3krates::forget_charges() {
  charges_move_ = fixes_move_charges(lmp);
  told_of_charges_ = false;
  if (!writes_charges()) return;
  const auto& computes = modify->get_compute_list();
  const bool perturbs =
      std::any_of(computes.begin(), computes.end(), [](const auto* compute) { return std::string(compute->style) == "fep"; });
  if (perturbs && !told_of_fep_) warn("compute fep cannot change charges: the model sets them in each evaluation");
  told_of_fep_ = perturbs;
  if (!fixes_need_equal_charges(lmp)) return;
  for (int i = 0; i < atom->nlocal; ++i)
    if (is_seen(i)) atom->q[i] = 0.0;
}

// Only between steps with the same lists, in which atoms keep their indices.
bool PairSo3krates::charges_were_changed() const {
  constexpr double kNothing = 1e-12;  // e; a charge of zero may have been given as a smaller number
  if (!writes_charges() || charges_move_ || told_of_charges_ || charges_.empty()) return false;
  const std::span<const int> owned = atoms_->owned();
  return std::any_of(owned.begin(), owned.end(),
                     [this](int i) { return std::abs(atom->q[i] - charges_[static_cast<std::size_t>(i)]) > kNothing; });
}

}  // namespace so3md
