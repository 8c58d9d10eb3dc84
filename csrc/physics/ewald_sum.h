// Electrostatics of all periodic images, without a cutoff: the order of the steps of an Ewald sum (docs/theory.md, section 11).
//
// Charges interact as erf(r/s)/r, which has no short-ranged part: the sum over reciprocal space is all of it.
#pragma once

#include <optional>
#include <vector>

#include "common/aligned.h"
#include "common/thread_pool.h"
#include "geometry/cell.h"
#include "halo/halo_exchange.h"
#include "physics/ewald.h"
#include "physics/ewald_atoms.h"

namespace so3md {

template <class Real>
class EwaldSum {
 public:
  EwaldSum(const EwaldKernels<Real>& kernels, double sigma, double accuracy, ThreadPool& pool)
      : kernels_(kernels), sigma_(sigma), accuracy_(accuracy), pool_(pool), scratch_(static_cast<std::size_t>(pool.size())) {}

  /// `num_atoms`: of the system, on all processes. Collective over the processes of `halo`. A charged system is neutralised by a uniform
  /// background. Bits depend on the division among processes and not on the number of threads.
  void evaluate(const EwaldAtoms& atoms, const Cell& cell, double num_atoms, HaloExchange& halo);

 private:
  void choose_waves(const Cell& cell, double num_atoms);
  void set_turns(const EwaldAtoms& atoms);
  EwaldStep<Real> step(const EwaldAtoms& atoms) const;
  void sum_waves(const EwaldStep<Real>& step, int n);
  void set_factors(bool forces);
  void add_moments(const EwaldAtoms& atoms, int begin, int end);

  const EwaldKernels<Real>& kernels_;
  double sigma_, accuracy_;
  ThreadPool& pool_;
  std::optional<Cell> cell_;  // of the wave vectors
  double num_atoms_ = 0.0;
  WaveVectors waves_;
  std::vector<double> turns_, shares_, sums_, moments_;
  AlignedVector<Real> factors_;
  std::vector<AlignedVector<Real>> scratch_;  // of each thread
};

extern template class EwaldSum<float>;
extern template class EwaldSum<double>;

}  // namespace so3md
