// The kernels of training for one instruction set; compiled once for each, with SO3MD_ISA naming it.
#include "cpu/training_edge_sums.h"
#include "cpu/training_filters.h"

namespace SO3MD_CPU_NAMESPACE {

namespace {

template <class Real>
so3md::training::KernelTable<Real> make_training_table() {
  return {training::filter_scratch_size<Real>, training::filter_forward<Real>, training::filter_gradient<Real>,
          training::sums_forward<Real>,        training::sums_adjoint<Real>,   training::sums_tangent<Real>,
          training::sums_gradient<Real>};
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
