// A step of the pair style.
#include <mpi.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdio>

#include "atom.h"
#include "collective_error.h"
#include "comm.h"
#include "common/default_arithmetic.h"
#include "common/index.h"
#include "domain.h"
#include "error.h"
#include "exceptions.h"
#include "force.h"
#include "host_features.h"
#include "kspace.h"
#include "neighbor.h"
#include "network/edges.h"
#include "pair_so3krates.h"
#include "update.h"

namespace so3md {

namespace {

// Rows and columns of the nine components of LAMMPS's virials; the first six are the global one's.
// Notices that processes give each other in each step.
constexpr int kOtherSpecies = 1, kOtherCharges = 2;

constexpr std::array<std::array<int, 2>, 9> kComponent{{{0, 0}, {1, 1}, {2, 2}, {0, 1}, {0, 2}, {1, 2}, {1, 0}, {2, 0}, {2, 1}}};

}  // namespace

void PairSo3krates::compute(int eflag, int vflag) {
  const DefaultArithmetic arithmetic;
  const double begin = MPI_Wtime();
  ev_init(eflag, vflag);
  const bool old = lists_are_old();
  if (old) build_lists();
  const int notices = collectively(lmp, [this, old] {
    atoms_->require_same_atoms(*atom);
    require_finite_positions();
    const bool changed = atoms_->update_species(*atom);
    return (changed && !old ? kOtherSpecies : 0) | (!old && charges_were_changed() ? kOtherCharges : 0);
  });
  if (fixes_mind_groups_) check_charges_of_fixes(lmp, species_of_type_);  // atoms come, and dynamic groups change
  if (notices & kOtherSpecies) check_electrons(Moment::in_a_run);
  if (notices & kOtherCharges) warn_of_changed_charges();
  if (!engine_->makes_lists()) atoms_->place(*atom, *pool_);
  const DomainResults& results = evaluate();
  add_forces(results);
  if (eflag_either) add_energies(results);
  if (vflag_either) add_virials(results);
  publish(results);
  if (uncertainty_output_) publish_uncertainty(results);
  evaluated_step_ = update->ntimestep;
  cost_.seconds += MPI_Wtime() - begin;
}

// LAMMPS counts its builds from 0 in each run, and again for each snapshot of a rerun, each of which begins with a setup.
bool PairSo3krates::lists_are_old() const {
  return update->setupflag || built_calls_ != neighbor->ncalls || built_step_ != neighbor->lastcall;
}

void PairSo3krates::build_lists() {
  collectively(lmp, [this] { require_finite_positions(); });
  check_pairs();
  look_at_exclusions();
  check_electrons(Moment::in_a_run);
  atoms_->hide(invisible_);
  discharge_invisible();
  const int process = transport_->process();
  built_calls_ = neighbor->ncalls;
  built_step_ = neighbor->lastcall;
  ++builds_;
  const bool alone = comm->nprocs == 1;
  if (engine_->makes_lists() && alone) {
    atoms_->take_own_atoms(*atom, process);
    return;
  }
  atoms_->number_points(*atom, process);
  exchange_ = Exchange::owners;
  comm->forward_comm(this);
  if (engine_->makes_lists()) {
    atoms_->take_points();
    return;
  }
  collectively(lmp, [this, process] { atoms_->build_lists(*atom, process, *pool_); });
  const LocalDomain& local = atoms_->local();
  try {
    halo_->plan(local.domain().n_owned, local.domain().n_near, local.halo(), local.slot_of_point());
  } catch (const std::exception& unexpected) {
    stop_alone(unexpected);
  }
}

// What the model does not see has none of its charges, for the kspace style too, which would act on old ones.
void PairSo3krates::discharge_invisible() {
  if (!invisible_ || !writes_charges()) return;
  for (int i = 0; i < atom->nlocal; ++i)
    if (species_of_type_[index_of(atom->type[i])] >= 0 && !is_seen(i)) atom->q[i] = 0.0;
  if (kspace_ && seen_ == 0.0) force->kspace->qsum_qsq(0);  // as there is no evaluation that does
}

void PairSo3krates::require_finite_positions() const {
  for (int i = 0; i < atom->nlocal; ++i) {
    const double* r = atom->x[i];
    if (std::abs(r[0]) < kLargestCoordinate && std::abs(r[1]) < kLargestCoordinate && std::abs(r[2]) < kLargestCoordinate) continue;
    char text[120];
    std::snprintf(text, sizeof(text), " has the position (%g, %g, %g) A", r[0], r[1], r[2]);
    throw std::runtime_error(
        name_of_atom(i) + text +
        ": expected finite numbers below 1e8; check the structure, and for a simulation that broke down the time step");
  }
}

std::string PairSo3krates::name_of_atom(int index) const {
  if (!atom->tag_enable) return "an atom of type " + std::to_string(atom->type[index]);
  return "atom " + std::to_string(atom->tag[index]);
}

// LAMMPS's box, which may have changed since the last step; all processes have the same.
Cell PairSo3krates::cell() const {
  const double* h = domain->h;
  const double vectors[9] = {h[0], 0.0, 0.0, h[5], h[1], 0.0, h[4], h[3], h[2]};
  try {
    const Cell box(vectors, {domain->xperiodic != 0, domain->yperiodic != 0, domain->zperiodic != 0});
    for (const auto& member : models_) check_nonlocal_cell(*member, box);
    check_electrostatics(*model_, settings_.engine, box, static_cast<double>(atom->natoms));
    check_dispersion_tail(settings_.engine, box);
    return box;
  } catch (const std::invalid_argument& unfit) {
    stop(unfit.what());
  }
}

const DomainResults& PairSo3krates::evaluate() {
  const Cell& box = evaluated_box_.emplace(cell());
  Request request{settings_.totals};
  request.totals.cell = &box;
  request.atomic_virials = vflag_atom != 0 || cvflag_atom != 0;
  request.coulomb = kspace_.get();
  if (kspace_) kspace_->set_rows(atoms_->owned());
  bool failed = false;
  std::string message;
  try {
    const HaloTraffic before = halo_->traffic();
    const DomainResults& results = engine_->makes_lists() ? evaluate_points(box, request) : evaluate_lists(request);
    components_[4] = static_cast<double>(halo_->traffic().bytes - before.bytes);
    components_[5] = static_cast<double>(halo_->traffic().messages - before.messages);
    return results;
  } catch (const OverlappingAtoms& overlap) {
    failed = true;
    const std::vector<int>& index = atoms_->index_of_slot();
    char text[120];
    std::snprintf(text, sizeof(text), " are at the same place (%g A apart, periodic images included): remove one of them or check the box",
                  overlap.distance);
    message = name_of_atom(index[index_of(overlap.i)]) + " and " + name_of_atom(index[index_of(overlap.slot)]) + text;
  } catch (const FailedElsewhere&) {
  } catch (const LAMMPS_NS::LAMMPSException&) {
    throw;  // from the kspace style
  } catch (const std::exception& unexpected) {
    stop_alone(unexpected);
  }
  stop_if_any_failed(lmp, failed, message);
  throw std::logic_error("an evaluation that failed on no process has no results");
}

const DomainResults& PairSo3krates::evaluate_lists(const Request& request) {
  Domain points = atoms_->local().domain();
  points.unwrapped = unwrapped_positions();
  return engine_->evaluate(points, atoms_->species(), *halo_, request);
}

// Of the owned atoms, by their image flags; for a field alone.
const double* PairSo3krates::unwrapped_positions() {
  if (settings_.engine.electric_field.is_zero()) return nullptr;
  unwrapped_.resize(3 * atoms_->owned().size());
  double* position = unwrapped_.data();
  for (int i : atoms_->owned()) {
    domain->unmap(atom->x[i], atom->image[i], position);
    position += 3;
  }
  return unwrapped_.data();
}

// A process alone knows every atom by itself and the box; several have ghosts in place of images.
const DomainResults& PairSo3krates::evaluate_points(const Cell& box, const Request& request) {
  const bool alone = comm->nprocs == 1;
  const double no_vectors[9] = {};
  const Cell no_cell(no_vectors, {false, false, false});
  const PointSharing sharing{comm->me, [this] { return atoms_->point_owners(); }, halo_.get()};
  PointSystem points{atoms_->n_points(), atoms_->positions(*atom), atoms_->species(), alone ? &box : &no_cell, neighbor->skin};
  points.points = builds_;
  points.host_decides = true;
  points.unwrapped = unwrapped_positions();
  points.sharing = alone ? nullptr : &sharing;
  return engine_->evaluate_points(points, request);
}

void PairSo3krates::warn_of_changed_charges() {
  told_of_charges_ = true;
  warn(
      "the charges q have been changed since the last step, by a fix such as adapt, set or qeq: this style sets them anew in each step, so "
      "that the change has no effect on the model");
}

// In the middle of an exchange of messages, the other processes cannot be told: all are ended.
void PairSo3krates::stop_alone(const std::exception& error_found) const {
  error->one(FLERR, std::string("Pair style so3krates: ") + error_found.what());
}

void PairSo3krates::add_forces(const DomainResults& results) {
  const double* force_row = results.forces.data();
  for (int i : atoms_->owned())
    for (int k = 0; k < 3; ++k) atom->f[i][k] += energy_unit_ * *force_row++;
}

void PairSo3krates::add_energies(const DomainResults& results) {
  const double per_charge = kspace_ ? kspace_->energy_per_charge() : 0.0;
  const auto background = [&](std::size_t row) { return kspace_ ? per_charge * results.charges[row] : 0.0; };
  const std::span<const int> owned = atoms_->owned();
  for (std::size_t row = 0; row < owned.size(); ++row) {
    if (eflag_global) eng_coul += background(row);
    if (eflag_atom) eatom[owned[row]] += energy_unit_ * results.energies[row] + background(row);
  }
  if (!eflag_global) return;
  eng_vdwl += energy_unit_ * (results.energy.total() - results.energy.electrostatics);
  eng_coul += energy_unit_ * results.energy.electrostatics;
}

// LAMMPS's virial is minus the derivative of the energy with respect to strain.
void PairSo3krates::add_virials(const DomainResults& results) {
  const std::span<const int> owned = atoms_->owned();
  for (std::size_t row = 0; row < owned.size(); ++row) {
    const double* derivative = results.virials.data() + 9 * row;
    for (std::size_t c = 0; c < 9; ++c) {
      const auto [a, b] = kComponent[c];
      const double value = -energy_unit_ * derivative[3 * a + b];
      const double symmetric = 0.5 * (value - energy_unit_ * derivative[3 * b + a]);
      if (cvflag_atom) cvatom[owned[row]][c] += value;
      if (c >= 6) continue;
      if (vflag_global) virial[c] += symmetric;
      if (vflag_atom) vatom[owned[row]][c] += symmetric;
    }
  }
}

// By index in LAMMPS's arrays. Fix pair takes no values for a property that does not exist, which it does here too where this process has
// no atom of the model.
void PairSo3krates::set_by_index(const std::vector<double>& rows, std::vector<double>& values) const {
  values.assign(index_of(std::max(1, atom->nmax)), 0.0);
  for (std::size_t row = 0; row < rows.size(); ++row) values[index_of(atoms_->owned()[row])] = rows[row];
}

// Compute pair adds up what the processes have, so that one has all.
void PairSo3krates::publish_uncertainty(const DomainResults& results) {
  std::vector<double> values = results.force_uncertainties, virials;
  for (double& value : values) value *= energy_unit_;
  set_by_index(values, uncertainties_);
  if (!eflag_global && !uncertainty_output_->is_due()) return;
  if (committee_ != nullptr) virials = committee_->member_virials();
  for (double& value : virials) value *= energy_unit_;
  const UncertaintyOfForces found = uncertainty_output_->look(values, atoms_->owned());
  components_.back() = comm->me == 0 ? found.largest : 0.0;
  uncertainty_output_->handle(found, virials);
}

// What computes, fixes and other styles can ask for.
void PairSo3krates::publish(const DomainResults& results) {
  components_[0] = energy_unit_ * (results.energy.network + results.energy.shifts);
  components_[1] = energy_unit_ * results.energy.zbl;
  components_[2] = energy_unit_ * results.energy.electrostatics;
  components_[3] = energy_unit_ * results.energy.dispersion;
  ++cost_.evaluations;
  set_by_index(results.charges, charges_);
  set_by_index(results.hirshfeld_ratios, hirshfeld_ratios_);
  if (!writes_charges()) return;  // on all processes alike, also where this one has no atom of the model
  if (!kspace_)
    for (int i : atoms_->owned()) atom->q[i] = charges_[index_of(i)];
  if (in_hybrid()) forward_charges();
}

// Other pair styles look at the charges of ghosts too.
void PairSo3krates::forward_charges() {
  exchange_ = Exchange::charges;
  comm->forward_comm(this);
}

int PairSo3krates::pack_forward_comm(int count, int* indices, double* buffer, int, int*) {
  for (int k = 0; k < count; ++k) {
    const AtomOwner& owner = atoms_->owner(indices[k]);
    *buffer++ = exchange_ == Exchange::owners ? owner.process : atom->q[indices[k]];
    *buffer++ = owner.point;
  }
  return 2 * count;
}

void PairSo3krates::unpack_forward_comm(int count, int first, double* buffer) {
  for (int index = first; index < first + count; ++index, buffer += 2) {
    if (exchange_ == Exchange::owners)
      atoms_->owner(index) = {static_cast<int>(buffer[0]), static_cast<int>(buffer[1])};
    else
      atom->q[index] = buffer[0];
  }
}

// LAMMPS calls this once at the end of a run.
void PairSo3krates::finish() {
  if (halo_ == nullptr || cost_.evaluations == 0) return;
  const double steps = static_cast<double>(cost_.evaluations);
  const HaloTraffic& all = halo_->traffic();
  const HaloTraffic& other = cost_.of_sweeps;
  std::array<double, 4> mean{static_cast<double>(all.messages - other.messages) / steps,
                             static_cast<double>(all.bytes - other.bytes) / steps, kspace_ ? kspace_->seconds() / cost_.seconds : 0.0,
                             (all.wait_seconds - other.wait_seconds) / cost_.seconds};
  std::array<double, 4> largest = mean;
  MPI_Allreduce(MPI_IN_PLACE, mean.data(), 4, MPI_DOUBLE, MPI_SUM, world);
  MPI_Allreduce(MPI_IN_PLACE, largest.data(), 4, MPI_DOUBLE, MPI_MAX, world);
  for (double& value : mean) value /= comm->nprocs;
  if (comm->me != 0) return;
  std::string message;
  char text[300];
  if (comm->nprocs > 1) {
    std::snprintf(
        text, sizeof(text),
        "so3krates: halo exchange of a process per step (mean / largest): %.1f / %.0f messages, %.0f / %.0f bytes, waiting %.1f / "
        "%.1f %% of the pair time\n",
        mean[0], largest[0], mean[1], largest[1], 100.0 * mean[3], 100.0 * largest[3]);
    message += text;
  }
  if (kspace_) {
    std::snprintf(text, sizeof(text), "so3krates: potentials from the kspace style: %.1f %% of the pair time\n", 100.0 * mean[2]);
    message += text;
  }
  if (!message.empty()) LAMMPS_NS::utils::logmesg(lmp, message);
}

}  // namespace so3md
