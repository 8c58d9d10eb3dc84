// Heat flux and current of polarization, for the computes of these names.
#include <algorithm>
#include <stdexcept>

#include "atom.h"
#include "collective_error.h"
#include "common/default_arithmetic.h"
#include "force.h"
#include "heat_flux/polarization_current.h"
#include "pair_so3krates.h"
#include "update.h"

namespace so3md {

std::string PairSo3krates::why_no_heat_flux() const {
  if (committee_ != nullptr) return "it is there for a single model, and these are " + settings_.models_text();
  if (in_hybrid() || force->bond != nullptr || force->angle != nullptr || force->dihedral != nullptr || force->improper != nullptr)
    return "it has the flux of pair style so3krates alone, and there are other interactions (a hybrid pair style, bonds, angles, ...): "
           "remove them";
  if (kspace_) return "it has no flux of coulomb kspace: use coulomb cut";
  if (settings_.engine.coulomb == Coulomb::ewald) return "it has no flux of coulomb ewald: use coulomb cut";
  if (settings_.engine.dispersion_tail) return "it has no flux of dispersion_tail: leave that out";
  if (!settings_.engine.electric_field.is_zero()) return "it has no flux in an electric_field: leave that out";
  if (engine_->makes_lists()) return "it is evaluated on processors only: use device cpu";
  if (model_->hyper.architecture != Architecture::so3krates)
    return "it is there for models of the architecture so3krates, and this one is of so3krates-2022";
  return {};
}

std::string PairSo3krates::why_no_polarization_current() const {
  if (committee_ != nullptr) return "it is there for a single model, and these are " + settings_.models_text();
  if (engine_->makes_lists()) return "it is evaluated on processors only: use device cpu";
  if (model_->hyper.architecture != Architecture::so3krates)
    return "it is there for models of the architecture so3krates, and this one is of so3krates-2022";
  if (!model_->hyper.charge_head) return "it is there for models with charges, and this one has none";
  return {};
}

bool PairSo3krates::is_evaluated() const { return evaluated_step_ == update->ntimestep && atoms_ != nullptr; }

// Between runs, commands may change anything. In a run, fix deform moves box and atoms before output is written: all that LAMMPS writes
// then, energies and pressures too, is of the atoms as they were evaluated.
void PairSo3krates::require_evaluated_atoms(const std::string& what) const {
  if (update->whichflag != 0) return;
  const bool same_box = cell() == *evaluated_box_;
  collectively(lmp, [&] {
    if (same_box && atoms_->are_as_placed(*atom)) return;
    throw std::runtime_error("atoms, types or the box have changed since the forces of this step: " + what + " needs another run 0");
  });
}

// Calls run(sweep, totals, velocities of the owned atoms).
template <class Run>
void PairSo3krates::sweep(const Run& run) {
  const DefaultArithmetic arithmetic;
  SystemTotals totals = settings_.totals;
  totals.cell = &*evaluated_box_;
  const HaloTraffic before = halo_->traffic();
  const std::span<const int> owned = atoms_->owned();
  std::vector<double> velocities(3 * owned.size());
  for (std::size_t row = 0; row < owned.size(); ++row) std::copy_n(atom->v[owned[row]], 3, velocities.begin() + 3 * static_cast<long>(row));
  collectively(lmp, [&] {
    require_usable_velocities(static_cast<int>(owned.size()), velocities.data(),
                              [&](int row) { return "atom " + std::to_string(atom->tag[owned[static_cast<std::size_t>(row)]]); });
  });
  try {
    if (heat_flux_ == nullptr) heat_flux_ = std::make_unique<HeatFlux>(model_, settings_.engine, *pool_);
    run(*heat_flux_, totals, velocities.data());
  } catch (const std::exception& unexpected) {
    stop_alone(unexpected);
  }
  const HaloTraffic& after = halo_->traffic();
  cost_.of_sweeps.messages += after.messages - before.messages;
  cost_.of_sweeps.bytes += after.bytes - before.bytes;
  cost_.of_sweeps.wait_seconds += after.wait_seconds - before.wait_seconds;
}

const HeatFlux& PairSo3krates::heat_flux() {
  sweep([this](HeatFlux& flux, const SystemTotals& totals, const double* velocities) {
    flux.evaluate(atoms_->local().domain(), atoms_->species(), totals, velocities, *halo_);
  });
  return *heat_flux_;
}

std::vector<double> PairSo3krates::polarization_current() {
  std::vector<double> shares;
  sweep([&](HeatFlux& flux, const SystemTotals& totals, const double* velocities) {
    shares = so3md::polarization_current(flux, atoms_->local().domain(), atoms_->species(), totals, velocities, *halo_);
  });
  return shares;
}

double PairSo3krates::energy_shift(int index) const {
  return model_->energy_shift[static_cast<std::size_t>(species_of_type_[static_cast<std::size_t>(atom->type[index])])];
}

}  // namespace so3md
