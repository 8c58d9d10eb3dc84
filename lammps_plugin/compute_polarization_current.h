// The LAMMPS compute so3krates/polarization/current.
#pragma once

#include <array>
#include <string>

#include "compute_of_pair.h"

namespace so3md {

/// A vector of three numbers: the current of polarization of the group's atoms, charge times velocity. docs/lammps.md is its manual,
/// section 16 of docs/theory.md its definition.
class ComputePolarizationCurrent final : public ComputeOfPair {
 public:
  /// compute ID group so3krates/polarization/current [number]
  ComputePolarizationCurrent(LAMMPS_NS::LAMMPS* lammps, int count, char** words);

  void compute_vector() override;

 private:
  std::string obstacle(const PairSo3krates& pair) const override;

  std::array<double, 3> current_{};
};

}  // namespace so3md
