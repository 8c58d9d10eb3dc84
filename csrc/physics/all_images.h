// Electrostatics of all periodic images, without a cutoff, in the way that takes less time (docs/theory.md, section 11).
#pragma once

#include <optional>

#include "physics/ewald_mesh.h"
#include "physics/ewald_plan.h"
#include "physics/ewald_sum.h"

namespace so3md {

template <class Real>
class AllImages {
 public:
  /// EwaldSettings::single_precision is that of Real.
  AllImages(const EwaldKernels<Real>& kernels, const EwaldSettings& settings, ThreadPool& pool);

  /// `num_atoms`: of the system, on all processes. Collective over the processes of `halo`, which are the same in all calls. A charged
  /// system is neutralised by a uniform background. Bits depend on the division among processes and not on the number of threads.
  void evaluate(const EwaldAtoms& atoms, const Cell& cell, double num_atoms, HaloExchange& halo);

 private:
  void choose(const Cell& cell, double num_atoms, HaloExchange& halo);

  EwaldSettings settings_;
  EwaldSum<Real> sum_;
  EwaldMesh mesh_;
  double num_processes_ = 0.0;  // 0: not yet known
  std::optional<Cell> cell_;    // of the plan
  double num_atoms_ = 0.0;
  EwaldPlan plan_;
};

extern template class AllImages<float>;
extern template class AllImages<double>;

}  // namespace so3md
