#include "kspace_potential.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <numbers>
#include <string>

#include "atom.h"
#include "comm.h"
#include "domain.h"
#include "error.h"
#include "force.h"
#include "kspace.h"
#include "update.h"
#include "utils.h"

namespace so3md {

namespace {

// Takes the place of a charge of exactly zero, at which 2 eatom / q is not defined: too small for any sum to notice.
constexpr double kNoCharge = 1e-100;

// The mesh is chosen for the mean square charge; it is chosen anew if that differs by more than this factor from what it was made for.
constexpr double kLargestChange = 1.5;

// The sum of q^2 that the kspace style was initialised with, and whether g_ewald was given, are protected, yet parts of its interface to
// derived classes.
struct KspaceAccess : LAMMPS_NS::KSpace {
  static bool given_splitting(const LAMMPS_NS::KSpace& kspace) { return kspace.*(&KspaceAccess::gewaldflag) != 0; }
  static double square_charge(const LAMMPS_NS::KSpace& kspace) { return kspace.*(&KspaceAccess::qsqsum); }
};

std::string text_of(double value) {
  char text[32];
  std::snprintf(text, sizeof(text), "%.10g", value);
  return text;
}

}  // namespace

KspacePotential::KspacePotential(LAMMPS_NS::LAMMPS* lammps, double sigma, double energy_unit)
    : lammps_(lammps), sigma_(sigma), energy_unit_(energy_unit) {}

void KspacePotential::set_splitting() const {
  LAMMPS_NS::KSpace* kspace = lammps_->force->kspace;
  if (kspace == nullptr) return;
  std::string keyword = "gewald", value = text_of(1.0 / sigma_);
  if (KspaceAccess::given_splitting(*kspace) && std::abs(kspace->g_ewald * sigma_ - 1.0) > 1e-9)
    lammps_->error->all(FLERR, "Pair style so3krates: the kspace style was given a gewald of " + text_of(kspace->g_ewald) +
                                   ", and the charges of this model are smeared by " + text_of(sigma_) + " A: use kspace_modify gewald " +
                                   value + ", or leave it out");
  char* words[] = {keyword.data(), value.data()};
  kspace->modify_params(2, words);
}

void KspacePotential::check() const {
  const auto stop = [this](const std::string& message) { lammps_->error->all(FLERR, "Pair style so3krates: " + message); };
  const LAMMPS_NS::KSpace* kspace = lammps_->force->kspace;
  if (kspace == nullptr) stop("coulomb kspace needs a kspace style: add, for example, kspace_style pppm 1.0e-5");
  const std::string style = lammps_->force->kspace_style;
  if (!LAMMPS_NS::utils::strmatch(style, "^ewald$") && !LAMMPS_NS::utils::strmatch(style, "^pppm$") &&
      !LAMMPS_NS::utils::strmatch(style, "^ewald/omp$") && !LAMMPS_NS::utils::strmatch(style, "^pppm/omp$"))
    stop("coulomb kspace works with kspace styles ewald and pppm, and this is " + style);
  if (kspace->compute_flag == 0) stop("coulomb kspace needs the energy and forces of the kspace style: remove kspace_modify compute no");
  if (lammps_->force->dielectric != 1.0)
    stop("coulomb kspace with a dielectric constant: the model has its own, remove the dielectric command");
  if (LAMMPS_NS::utils::strmatch(lammps_->update->integrate_style, "^respa"))
    stop("coulomb kspace does not work with run_style respa: use run_style verlet or coulomb cut");
  if (LAMMPS_NS::utils::strmatch(lammps_->force->pair_style, "^hybrid/scaled"))
    stop("coulomb kspace does not work with hybrid/scaled, which scales what pair styles add and not the kspace style: use coulomb cut");
}

void KspacePotential::evaluate(const double* charges, double* potentials) {
  const double begin = MPI_Wtime();
  write_charges(charges);
  adapt_to_charges();
  evaluate_at_fixed_forces();
  const double* energies = lammps_->force->kspace->eatom;
  for (int index : index_of_row_) *potentials++ = 2.0 * energies[index] / (lammps_->atom->q[index] * energy_unit_);
  seconds_ += MPI_Wtime() - begin;
}

void KspacePotential::write_charges(const double* charges) {
  const LAMMPS_NS::Atom& atom = *lammps_->atom;
  for (int index : index_of_row_) {
    atom.q[index] = *charges == 0.0 ? kNoCharge : *charges;
    ++charges;
  }
  double sums[2] = {0.0, 0.0};
  for (int i = 0; i < atom.nlocal; ++i) {
    sums[0] += atom.q[i];
    sums[1] += atom.q[i] * atom.q[i];
  }
  MPI_Allreduce(MPI_IN_PLACE, sums, 2, MPI_DOUBLE, MPI_SUM, lammps_->world);
  charge_ = sums[0];
  square_charge_ = sums[1];
}

// At the start of a run, LAMMPS has initialised the kspace style with the charges of the data file, often zeros; and it sets the style up
// for the box only after the first call of the pair style, also for each snapshot of a rerun.
void KspacePotential::adapt_to_charges() {
  LAMMPS_NS::KSpace& kspace = *lammps_->force->kspace;
  const double before = KspaceAccess::square_charge(kspace);
  if (first_ && (square_charge_ > kLargestChange * before || before > kLargestChange * square_charge_)) {
    if (lammps_->comm->me == 0)
      LAMMPS_NS::utils::logmesg(lammps_, std::string("so3krates: initialising the kspace style anew, for the charges of the model\n"));
    kspace.init();
  }
  if (first_ || lammps_->update->setupflag) kspace.setup();
  first_ = false;
  kspace.qsum_qsq(0);
}

// The kspace style adds forces; those that count are added when LAMMPS calls it after the pair style.
void KspacePotential::evaluate_at_fixed_forces() {
  const LAMMPS_NS::Atom& atom = *lammps_->atom;
  const auto values = 3 * static_cast<std::size_t>(atom.nlocal);
  const double* forces = atom.nlocal > 0 ? atom.f[0] : nullptr;
  saved_forces_.assign(forces, forces + values);
  lammps_->force->kspace->compute(LAMMPS_NS::ENERGY_GLOBAL | LAMMPS_NS::ENERGY_ATOM, LAMMPS_NS::VIRIAL_NONE);
  if (atom.nlocal > 0) std::copy(saved_forces_.begin(), saved_forces_.end(), atom.f[0]);
}

double KspacePotential::energy_per_charge() const {
  const LAMMPS_NS::Domain& domain = *lammps_->domain;
  const LAMMPS_NS::KSpace& kspace = *lammps_->force->kspace;
  const double volume = domain.xprd * domain.yprd * domain.zprd * kspace.slab_volfactor;
  return lammps_->force->qqrd2e * std::numbers::pi * charge_ / (2.0 * kspace.g_ewald * kspace.g_ewald * volume);
}

}  // namespace so3md
