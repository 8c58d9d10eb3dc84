// The kernels of training for one instruction set; compiled once for each, with SO3MD_ISA naming it.
#include "cpu/training_edge_sums.h"
#include "cpu/training_filters.h"

namespace SO3MD_CPU_NAMESPACE {

namespace {

template <class Real>
so3md::training::KernelTable<Real> make_training_table() {
  return {.scratch_size = training::filter_scratch_size<Real>,
          .filter_forward = training::filter_forward<Real>,
          .filter_gradient = training::filter_gradient<Real>,
          .sums_forward = training::sums_forward<Real>,
          .sums_adjoint = training::sums_adjoint<Real>,
          .sums_tangent = training::sums_tangent<Real>,
          .sums_gradient = training::sums_gradient<Real>};
}

}  // namespace

const so3md::training::KernelTable<float>& float_training_kernels() {
  static const so3md::training::KernelTable<float> table = make_training_table<float>();
  return table;
}

const so3md::training::KernelTable<double>& double_training_kernels() {
  static const so3md::training::KernelTable<double> table = make_training_table<double>();
  return table;
}

}  // namespace SO3MD_CPU_NAMESPACE
