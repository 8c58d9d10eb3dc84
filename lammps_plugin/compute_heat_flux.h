// The LAMMPS compute so3krates/heat/flux.
#pragma once

#include <array>
#include <string>

#include "compute_of_pair.h"

namespace so3md {

/// A vector of six numbers, as that of LAMMPS's compute heat/flux: the heat flux of the group's atoms, and what of it they carry.
/// docs/lammps.md is its manual, section 10 of docs/theory.md its definition.
class ComputeHeatFlux final : public ComputeOfPair {
 public:
  /// compute ID group so3krates/heat/flux [shifts yes|no]
  ComputeHeatFlux(LAMMPS_NS::LAMMPS* lammps, int count, char** words);

  void compute_vector() override;

 private:
  std::string obstacle(const PairSo3krates& pair) const override;

  bool shifts_ = true;
  std::array<double, 6> flux_{};
};

}  // namespace so3md
