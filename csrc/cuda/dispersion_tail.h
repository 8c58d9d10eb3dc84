// Dispersion beyond its cutoff on the device (docs/theory.md, section 13).
#pragma once

#include <vector>

#include "cuda/atoms.h"
#include "cuda/device_array.h"
#include "cuda/seams.h"
#include "cuda/system_sums.h"
#include "geometry/cell.h"
#include "physics/dispersion_tail.h"

namespace so3md::cuda {

/// Rows of owned atoms, on the device, which are added to; virials are null if they are not wanted.
struct TailRows {
  const double *ratios = nullptr, *c6_ratios = nullptr;  ///< read; the second is null where C6 follows from the polarisability
  double* energies = nullptr;
  double* alpha_gradient = nullptr;
  double* c6_gradient = nullptr;  ///< not looked at where c6_ratios is null
  double* virials = nullptr;
};

class TailOnDevice {
 public:
  TailOnDevice(const Model& model, double cutoff, double damping, const Stream& stream);

  /// The cells of the systems, and the numbers of their atoms over all processes, [systems][species]. Not within recorded work.
  void prepare(const std::vector<const Cell*>& cells, const std::vector<double>& counts, const Stream& stream);

  /// Hirshfeld ratios of the owned atoms, and with ratios of C6 their products with C6 / alpha^2, summed by system and species; to be
  /// summed over all processes.
  DeviceArray<double>& sum_ratios(const DeviceDomain& domain, const SpeciesTables& tables, const TailRows& rows, SystemSums& sums,
                                  const Stream& stream);

  /// What that brings to the atoms; `system`: of each, null where there is but one.
  void add(const DeviceDomain& domain, const SpeciesTables& tables, const int* system, const TailRows& rows, const Stream& stream);

 private:
  int species_;
  DispersionConstants<double> constants_;
  bool c6_head_;
  int num_nodes_;
  DeviceArray<double> nodes_;  // [2][num_nodes] distances and weights
  std::vector<double> host_systems_;
  DeviceArray<double> systems_;   // [systems][1 + species] volume and numbers of atoms
  DeviceArray<double> ratios_;    // [1 or 2][systems][species]: ratios, and their products with C6 / alpha^2
  DeviceArray<double> products_;  // [n_owned] ratio times C6 / alpha^2
  DeviceArray<double> shares_;    // [systems][species][kShare]
};

}  // namespace so3md::cuda
