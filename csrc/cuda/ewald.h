// Electrostatics of all periodic images on the device (docs/theory.md, section 11).
#pragma once

#include <cstdint>
#include <vector>

#include "cuda/atoms.h"
#include "cuda/device_array.h"
#include "cuda/seams.h"
#include "geometry/cell.h"

namespace so3md::cuda {

/// A wave vector, and the factors of its structure factor.
struct Wave {
  double turns[3];        ///< k / 2 pi, 1/A
  double weight, strain;  ///< as in so3md::WaveWeights
  int system;
};

/// Rows of owned atoms, on the device. Energies and potentials are set; forces and virials are added to, and null if they are not wanted.
struct EwaldRows {
  const double* charges = nullptr;
  double* potentials = nullptr;
  double* energies = nullptr;
  double* forces = nullptr;
  double* virials = nullptr;
};

class EwaldOnDevice {
 public:
  EwaldOnDevice(double sigma, double accuracy) : sigma_(sigma), accuracy_(accuracy) {}

  /// Wave vectors for the cells of systems with so many atoms each; `first`: [systems + 1] their owned atoms. Not within recorded work.
  void prepare(const std::vector<const Cell*>& cells, const std::vector<double>& num_atoms, const std::vector<int>& first,
               const Stream& stream);

  int num_waves() const { return static_cast<int>(host_waves_.size()); }

  /// Structure factors of the owned atoms (eq. 80): [num_waves][2], to be summed over all processes.
  DeviceArray<double>& structure_factors(const DeviceDomain& domain, const double* charges, const Stream& stream);

  /// What they bring back to the atoms; `system`: of each, null where there is but one.
  void gather(const DeviceDomain& domain, const int* system, const EwaldRows& rows, const Stream& stream) const;

 private:
  void add_waves(const Cell& cell, double num_atoms, int system);

  double sigma_, accuracy_;
  std::vector<Cell> cells_;
  std::vector<double> num_atoms_;
  std::vector<int> first_, host_first_wave_;
  std::vector<Wave> host_waves_;
  DeviceArray<Wave> waves_;
  DeviceArray<int> first_atom_, first_wave_;  // [systems + 1]
  DeviceArray<double> factors_;
};

}  // namespace so3md::cuda
