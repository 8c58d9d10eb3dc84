// The kernels of training for one instruction set; compiled once for each, with SO3MD_ISA naming it.
#include "cpu/training_energy.h"
#include "cpu/training_geometry.h"

namespace SO3MD_CPU_NAMESPACE {

namespace {

template <class Real>
so3md::training::KernelTable<Real> make_training_table() {
  return {.pack = training::pack<Real>,
          .memory = training::network_memory<Real>,
          .forward = training::network_forward<Real>,
          .adjoint = training::network_adjoint<Real>,
          .tangent = training::network_tangent<Real>,
          .gradient = training::network_gradient<Real>,
          .energy_memory = training::energy_memory<Real>,
          .evaluate = training::energy_evaluate<Real>,
          .differentiate = training::energy_differentiate<Real>,
          .add = training::add<Real>,
          .harmonics = training::pair_harmonics<Real>};
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
