// The LAMMPS compute so3krates/atom.
#pragma once

#include <string>

#include "compute_of_pair.h"

namespace so3md {

/// A per-atom vector: one of the quantities of atoms that the pair style gives, in the order of fix pair, zero outside the group. Unlike
/// fix pair, it works in every run style, and takes nothing in steps in which nobody asks for it. docs/lammps.md is its manual.
class ComputeOfAtoms final : public ComputeOfPair {
 public:
  /// compute ID group so3krates/atom charge|hirshfeld_ratio|uncertainty [number]
  ComputeOfAtoms(LAMMPS_NS::LAMMPS* lammps, int count, char** words);
  ~ComputeOfAtoms() override;

  void compute_peratom() override;
  double memory_usage() override;

 private:
  std::string obstacle(const PairSo3krates& pair) const override;

  std::string quantity_;
  int room_ = 0;  ///< of vector_atom
};

}  // namespace so3md
