// Electrostatics from LAMMPS's Ewald summation, for charges that depend on the positions.
#pragma once

#include <mpi.h>

#include <span>
#include <vector>

#include "evaluation/engine.h"
#include "lammps.h"

namespace so3md {

/// The model's charges interact as erf(r/s)/r. Summed over all periodic images, that is exactly the reciprocal-space part of an Ewald sum
/// with g_ewald = 1/s, minus each charge's interaction with itself, which LAMMPS subtracts too; there is no real-space part.
///
/// LAMMPS computes energy, forces and virial of the charges as they are in atom->q, after the pair style. What it cannot know is that the
/// charges depend on the positions: for that the engine asks for the potentials at the atoms. They are 2 eatom_i / q_i, of an
/// evaluation of the kspace style in between, so that it works twice per step.
class KspacePotential final : public ChargePotential {
 public:
  /// `sigma`: s of the model, A. `energy_unit`: 1 eV in LAMMPS's unit.
  KspacePotential(LAMMPS_NS::LAMMPS* lammps, double sigma, double energy_unit);

  /// Sets the kspace style's g_ewald, before it is initialised. Collective: ends the run with LAMMPS's error if another value was given.
  void set_splitting() const;

  /// Ends the run with LAMMPS's error if there is no suitable kspace style. Collective.
  void check() const;

  /// Before the first evaluation of a run, to have the kspace style choose its mesh for the charges that it finds there.
  void start_run() {
    first_ = true;
    seconds_ = 0.0;
  }

  /// Indices of LAMMPS's arrays by row of the next evaluation; they must stay in place until then.
  void set_rows(std::span<const int> index_of_row) { index_of_row_ = index_of_row; }

  void evaluate(const double* charges, double* potentials) override;

  /// LAMMPS's energy of a cell with net charge Q holds -pi Q^2 / (2 g^2 V), which belongs to the real-space part of an Ewald sum and so
  /// does not apply here; its virial does not hold it. To be added to the energy: per charge q_i of the system, energy_per_charge() q_i.
  double energy_per_charge() const;

  double seconds() const { return seconds_; }  ///< spent here in this run

 private:
  void write_charges(const double* charges);
  void adapt_to_charges();
  void evaluate_at_fixed_forces();

  LAMMPS_NS::LAMMPS* lammps_;
  double sigma_;
  double energy_unit_;
  bool first_ = true;
  std::span<const int> index_of_row_;
  std::vector<double> saved_forces_;
  double charge_ = 0.0, square_charge_ = 0.0;  // sums over all processes of q and q^2
  double seconds_ = 0.0;
};

}  // namespace so3md
