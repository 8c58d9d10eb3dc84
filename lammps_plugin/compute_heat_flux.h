// The LAMMPS compute so3krates/heat/flux.
#pragma once

#include <array>
#include <string>

#include "compute.h"

namespace so3md {

class PairSo3krates;

/// A vector of six numbers, as that of LAMMPS's compute heat/flux: the heat flux of the group's atoms, and what of it they carry.
/// docs/lammps.md is its manual, section 10 of docs/theory.md its definition.
class ComputeHeatFlux final : public LAMMPS_NS::Compute {
 public:
  /// compute ID group so3krates/heat/flux [shifts yes|no]
  ComputeHeatFlux(LAMMPS_NS::LAMMPS* lammps, int count, char** words);

  void init() override;
  void compute_vector() override;

 private:
  PairSo3krates& pair_style() const;
  [[noreturn]] void stop(const std::string& message) const;  ///< collective

  bool shifts_ = true;
  std::array<double, 6> flux_{};
};

}  // namespace so3md
